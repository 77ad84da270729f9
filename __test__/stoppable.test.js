// The drop-in for stoppable: the same cases against that package and against ours.

const assert = require('node:assert/strict');
const { spawnSync } = require('node:child_process');
const { once } = require('node:events');
const http = require('node:http');
const { it } = require('node:test');
const peerPackage = require('stoppable');
const { version } = require('stoppable/package.json');
const ourPackage = require('http-terminator-native/stoppable');
const { requestText } = require('./support/client');
const { commonCases, compare, refused, OWN_PATIENCE, PEER_PATIENCE } = require('./support/differential');
const { root } = require('./support/process');
const { gatedHandler, turn } = require('./support/server');
const { closeEverything } = require('./support/transports');

const subject = (name, stoppable, patience) => ({
  name,
  stoppable,
  patience,
  deadline: Number.POSITIVE_INFINITY,
  attach: (server) => stopper(stoppable(server)),
});

const stopper = (server) => () =>
  new Promise((resolve) => {
    server.stop((error, gracefully) => resolve(`calls back (${error?.code}, ${gracefully})`));
  });

const STOPPED = 'calls back (undefined, true)';
const NOT_RUNNING = 'calls back (ERR_SERVER_NOT_RUNNING, true)';
const { upgraded, neverListened, aboutToListen, ...common } = commonCases(STOPPED, NOT_RUNNING);

/** An answer never comes, and this grace says when that is to be enough. */
const hanging = (grace) => ({
  name: `an answer that never comes, with a grace of ${grace}`,
  async play(stage) {
    const { handler, arrived } = gatedHandler();
    const server = stage.subject.stoppable(stage.createServer(handler), grace);
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const client = await stage.connect(server);
    await client.write(requestText('/never'));
    await arrived('/never');
    return [await stage.limited(stopper(server))(), await stage.seen(client)].join('; ');
  },
  ours: 'calls back (undefined, false); no answer; FIN',
});

const stoppedTwice = {
  name: 'listening again while an answer is in flight, and stopping again',
  async play(stage) {
    const { handler, arrived, open } = gatedHandler();
    const server = stage.subject.stoppable(stage.createServer(handler));
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const client = await stage.connect(server);
    await client.write(requestText('/slow'));
    await arrived('/slow');
    const first = stopper(server)();
    while (server.listening) await turn();
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const second = stage.limited(stopper(server))();
    open('/slow');
    return [await stage.limited(() => first)(), await second, `listening: ${server.listening}`].join('; ');
  },
  ours: `${STOPPED}; ${STOPPED}; listening: false`,
};

const wrong = (name, call, code) => refused(`arguments: ${name}`, ({ stoppable }) => call(stoppable), code);

compare(subject(`stoppable ${version}`, peerPackage, PEER_PATIENCE), subject('ours', ourPackage, OWN_PATIENCE), [
  ...Object.values(common),
  stoppedTwice,
  // Without a grace it would be waited for until its client leaves.
  { ...upgraded, ours: `FIN; ${STOPPED}` },
  {
    ...upgraded,
    name: `${upgraded.name}, with a grace`,
    play(stage) {
      const { stoppable } = stage.subject;
      const subject = { ...stage.subject, attach: (server) => stopper(stoppable(server, 60_000)) };
      return upgraded.play(Object.assign(stage, { subject }));
    },
  },
  { ...neverListened, why: undefined },
  {
    ...aboutToListen,
    why: 'it is ended before it listens, as `server.close()` would, and is not started first: stoppable waits a turn',
  },
  hanging(0),
  hanging(50),
  {
    name: 'a grace that is not used up',
    async play(stage) {
      const { handler, arrived, open } = gatedHandler();
      const server = stage.subject.stoppable(stage.createServer(handler), 60_000);
      await once(server.listen(0, '127.0.0.1'), 'listening');
      const client = await stage.connect(server);
      await client.write(requestText('/slow'));
      await arrived('/slow');
      const stopped = stopper(server)();
      await turn();
      open('/slow');
      return stopped;
    },
    ours: STOPPED,
  },
  {
    name: "what comes first: stop()'s callback, or a listener of 'close' that was added after",
    async play(stage) {
      const server = stage.subject.stoppable(stage.createServer());
      await once(server.listen(0, '127.0.0.1'), 'listening');
      const order = [];
      const stopped = stopper(server)().then(() => order.push('callback'));
      server.once('close', () => order.push('close'));
      await stopped;
      return order.join(', ');
    },
    ours: 'close, callback',
    why: 'the event comes first',
  },
  {
    name: 'stop() without a callback',
    async play(stage) {
      const server = stage.subject.stoppable(stage.createServer());
      await once(server.listen(0, '127.0.0.1'), 'listening');
      const closed = once(server, 'close');
      const returned = server.stop();
      await closed;
      return String(returned);
    },
    ours: 'undefined',
  },
  {
    name: 'a method that was taken off its server',
    async play(stage) {
      const server = stage.subject.stoppable(stage.createServer());
      await once(server.listen(0, '127.0.0.1'), 'listening');
      const { stop } = server;
      return new Promise((resolve) => stop((error, gracefully) => resolve(`${error}, ${gracefully}`)));
    },
    ours: 'undefined, true',
  },
  {
    name: 'what it adds to a server',
    async play(stage) {
      const server = stage.createServer();
      const before = Reflect.ownKeys(server);
      const returned = stage.subject.stoppable(server);
      const added = Reflect.ownKeys(server).filter((key) => !before.includes(key));
      return `${returned === server ? 'returns it' : 'returns another'}; adds ${added.join(', ')}`;
    },
    ours: 'returns it; adds stop',
    why: '`_pendingSockets` was never documented',
  },
  wrong('no server', (stoppable) => stoppable(), 'TypeError ERR_INVALID_ARG_TYPE'),
  wrong("a grace of '50'", (stoppable) => stoppable(http.createServer(), '50'), 'TypeError ERR_INVALID_ARG_TYPE'),
  wrong('a grace of NaN', (stoppable) => stoppable(http.createServer(), Number.NaN), 'RangeError ERR_OUT_OF_RANGE'),
  wrong('a grace of -1', (stoppable) => stoppable(http.createServer(), -1), 'RangeError ERR_OUT_OF_RANGE'),
  wrong('no grace', (stoppable) => stoppable(http.createServer(), undefined), 'accepted'),
]);

it('refuses a callback that is none, and stops nothing then', async (test) => {
  const server = ourPackage(http.createServer());
  test.after(() => closeEverything(server));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  for (const callback of ['SIGTERM', 0, {}]) {
    assert.throws(() => server.stop(callback), {
      name: 'TypeError',
      code: 'ERR_INVALID_ARG_TYPE',
      message: /"callback"/,
    });
  }
  assert.equal(server.listening, true);
});

it('names what was wrong, and attaches nothing then', () => {
  const server = http.createServer();
  const before = Reflect.ownKeys(server);
  assert.throws(() => ourPackage(server, -1), { message: /"grace"/ });
  assert.throws(() => ourPackage([server]), { message: /"server" argument/ });
  assert.deepEqual(Reflect.ownKeys(server), before);
});

it('passes on what the callback throws as an uncaught exception, as an event would', async () => {
  const server = ourPackage(http.createServer());
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const caught = new Promise((resolve) => process.setUncaughtExceptionCaptureCallback(resolve));
  server.stop(() => {
    throw new Error('thrown by the callback');
  });
  assert.equal((await caught).message, 'thrown by the callback');
  process.setUncaughtExceptionCaptureCallback(null);
});

it('keeps no process alive for the rest of its grace', () => {
  const program = `
    const http = require('node:http');
    const stoppable = require('http-terminator-native/stoppable');
    const server = stoppable(http.createServer((request, response) => {
      server.stop((error, gracefully) => console.log(error, gracefully));
      setImmediate(() => response.end('hello'));
    }), 2 ** 31 - 1);
    server.listen(0, '127.0.0.1', () => http.get({ host: '127.0.0.1', port: server.address().port }, (response) => response.resume()));`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--eval', program], { cwd: root, encoding: 'utf8' });
  assert.equal(stdout, 'undefined true\n', stderr);
});

it('can be imported', async () => {
  const imported = await import('http-terminator-native/stoppable');
  assert.equal(imported.default, ourPackage);
});
