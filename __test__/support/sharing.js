// Two processes that share one listener, in each of the ways there are. One of them terminates its server, and the
// other one goes on. The process that the test starts is the first; orders and answers of the other pass through it.

const { fork } = require('node:child_process');
const cluster = require('node:cluster');
const { once } = require('node:events');
const fs = require('node:fs');
const { createHttpTerminator } = require('../..');
const { gate } = require('./server');
const { transports } = require('./transports');

const STDIN = 0;
const FIRST_FREE_DESCRIPTOR = 4;

/** The role of the process that the test starts. */
const FIRST = { handle: 'ending', descriptor: 'going on', cluster: 'primary' };

const { how, scheme, role = FIRST[how] } = JSON.parse(process.env.SHARING);

/** By role. */
const others = new Map();

if (role === 'primary') lead();
else serve();

async function lead() {
  cluster.schedulingPolicy = cluster.SCHED_NONE;
  for (const each of ['ending', 'going on']) {
    others.set(each, cluster.fork({ SHARING: JSON.stringify({ how, scheme, role: each }) }));
    const [message] = await once(others.get(each), 'message');
    if (each === 'going on') process.send({ ...message, pids: pids() });
  }
  relay();
}

async function serve() {
  const go = gate();
  const { createServer } = transports.find((transport) => transport.name === scheme);
  const server = createServer({}, async (request, response) => {
    if (request.url === '/') {
      response.end(role);
      return;
    }
    // So that the client knows where it is.
    await new Promise((resolve) => response.write(`${role} `, resolve));
    if (request.url === '/terminate') {
      fs.readSync(STDIN, Buffer.alloc(1));
      terminator.terminate().then(({ graceful, requests }) => process.send({ graceful, requests }));
    }
    await go.passed;
    response.end('after all');
  });
  const terminator = createHttpTerminator({ server, httpResponseTimeout: 60_000 });
  const listening = once(server, 'listening');
  server.listen(await listenOptions());
  await listening;
  const { port } = server.address();
  if (role === FIRST[how]) await startOther(server);
  relay(() => go.open());
  process.send({ port, pids: pids() });
}

async function listenOptions() {
  if (how === 'cluster' || role === FIRST[how]) return { port: 0, host: '127.0.0.1' };
  if (how === 'descriptor') return { fd: FIRST_FREE_DESCRIPTOR };
  process.send('ready');
  return new Promise((resolve) => process.once('message', (_message, handle) => resolve(handle)));
}

async function startOther(server) {
  const other = role === 'ending' ? 'going on' : 'ending';
  const env = { ...process.env, SHARING: JSON.stringify({ how, scheme, role: other }) };
  const stdio = ['inherit', 'inherit', 'inherit', 'ipc'];
  if (how === 'descriptor') stdio.push(server._handle.fd);
  const child = fork(__filename, { env, stdio });
  others.set(other, child);
  if (how === 'handle') {
    await once(child, 'message');
    child.send('listener', server);
  }
  await once(child, 'message');
}

/** Answers from the other process to the test, and orders of the test to everybody. */
function relay(obey = () => {}) {
  for (const other of others.values()) other.on('message', (message) => process.send(message));
  process.on('message', (message) => {
    obey();
    for (const other of others.values()) other.send(message);
  });
  // Whoever started it is gone.
  process.once('disconnect', () => process.exit());
}

function pids() {
  return Object.fromEntries([
    [role, process.pid],
    ...[...others].map(([name, { pid, process }]) => [name, pid ?? process.pid]),
  ]);
}
