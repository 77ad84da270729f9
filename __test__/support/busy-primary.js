// Two workers on one port, whose primary is busy while the first of them ends: who has connected meanwhile is handed to
// either of them, since the primary has yet to hear that one has gone.

const cluster = require('node:cluster');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const { createHttpTerminator } = require('../..');

const [flag] = process.argv.slice(2);

if (cluster.isPrimary) lead();
else work();

async function lead() {
  const workers = [cluster.fork(), cluster.fork()];
  const ports = await Promise.all(workers.map(async (worker) => (await once(worker, 'message'))[0].port));
  const exited = once(workers[0], 'exit');
  process.send({ port: ports[0], first: workers[0].process.pid });
  await once(process, 'message');
  process.send('busy');
  const moment = new Int32Array(new SharedArrayBuffer(4));
  while (!fs.existsSync(flag)) Atomics.wait(moment, 0, 0, 1);
  const [code] = await exited;
  process.send({ code });
  await once(process, 'message');
  workers[1].disconnect();
  process.disconnect();
}

function work() {
  const server = http.createServer((_request, response) => response.end('served'));
  // The primary is asked for each of them, and must not take these questions for one.
  const other = http.createServer().listen(0, '127.0.0.1');
  const terminator = createHttpTerminator({ server: [server, other], httpResponseTimeout: 300_000 });
  server.once('close', () => fs.writeFileSync(flag, ''));
  process.once('SIGTERM', async () => {
    await terminator.terminate();
    process.exit();
  });
  server.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }));
}
