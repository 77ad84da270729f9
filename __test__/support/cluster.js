// Two workers on one port. On request the first one terminates with a request in flight.

const cluster = require('node:cluster');
const { once } = require('node:events');
const http = require('node:http');
const net = require('node:net');
const { createHttpTerminator } = require('../..');

if (cluster.isPrimary) lead();
else work();

async function lead() {
  const workers = [cluster.fork(), cluster.fork()];
  const ports = await Promise.all(workers.map(async (worker) => (await once(worker, 'message'))[0].port));
  process.send({ port: ports[0] });
  await once(process, 'message');
  workers[0].send('terminate');
  const [result] = await once(workers[0], 'message');
  process.send(result);
  await once(process, 'message');
  workers[0].disconnect();
  workers[1].disconnect();
  process.disconnect();
}

function work() {
  let answer = () => {};
  const server = http.createServer((request, response) => {
    if (request.url === '/slow') answer = () => response.end('in flight');
    else response.end(`worker ${cluster.worker.id}`);
  });
  const terminator = createHttpTerminator({ server, httpResponseTimeout: 300_000 });
  server.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }));
  process.on('message', async () => {
    // A connection of its own, since the primary would give one from outside to either worker.
    const pair = net.createServer();
    await once(pair.listen(0, '127.0.0.1'), 'listening');
    const client = net.connect(pair.address().port, '127.0.0.1');
    const [socket] = await once(pair, 'connection');
    pair.close();
    server.emit('connection', socket);
    client.write('GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await once(server, 'request');
    const terminated = terminator.terminate();
    answer();
    let received = '';
    for await (const chunk of client) received += chunk;
    const { graceful } = await terminated;
    process.send({ graceful, answered: received.split('\r\n\r\n')[1] });
  });
}
