// Clients in a worker, as many as a test wants. What they do while the event loop of the test, and with it the
// server, is blocked, goes no further than the kernel: even their connections wait to be accepted.

const { once } = require('node:events');
const net = require('node:net');
const tls = require('node:tls');
const { isMainThread, parentPort, Worker, workerData } = require('node:worker_threads');
const { addressOf, Client } = require('./client');
const { turn } = require('./server');
const { trust } = require('./transports');

const DONE_WITHIN_MS = 10_000;

if (isMainThread) module.exports = { startCrowd };
else work();

/** @param {import('node:test').TestContext} test */
async function startCrowd(test) {
  const flag = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(__filename, { workerData: flag });
  test.after(() => worker.terminate());
  await once(worker, 'message');
  const blockUntilDone = (order) => {
    Atomics.store(flag, 0, 0);
    worker.postMessage(order);
    if (Atomics.wait(flag, 0, 0, DONE_WITHIN_MS) === 'timed-out') throw new Error('the clients are not done');
  };
  return {
    /** Connects one by one, and returns when the kernel has made each connection; nothing is sent on it. */
    connectWhileBlocked(transport, server, count) {
      blockUntilDone({ connect: { secure: transport.secure, address: addressOf(server), count } });
    },
    /** Writes the text on each connection, and returns when the kernel has it; of TLS, when it has the ClientHello. */
    writeWhileBlocked(text) {
      blockUntilDone({ text });
    },
    /** What each client has received when its connection has ended, and how it ended. */
    async ended() {
      const results = once(worker, 'message');
      worker.postMessage({ report: true });
      return (await results)[0];
    },
  };
}

function work() {
  let sockets = [];
  let clients = [];
  const obey = async ({ connect, text, report }) => {
    if (connect !== undefined) {
      for (let count = 0; count < connect.count; count += 1) {
        const socket = net.connect({ allowHalfOpen: true, ...connect.address });
        socket.setNoDelay(true);
        sockets.push(socket);
        if (!connect.secure) clients.push(new Client(socket));
        await once(socket, 'connect');
      }
    } else if (text !== undefined) {
      for (const [index, socket] of sockets.entries()) {
        // Not before: TLS speaks first.
        clients[index] ??= new Client(tls.connect({ socket, ...trust }));
        const { socket: speaking } = clients[index];
        speaking.write(text);
        while (socket.bytesWritten === 0) await turn();
      }
    } else if (report) {
      const closed = sockets.map((socket) => socket.closed || once(socket, 'close'));
      // One that has not spoken TLS has no client yet.
      for (const [index, socket] of sockets.entries()) clients[index] ??= new Client(socket);
      const results = await Promise.all(
        clients.map(async (client) => ({ how: await client.ended, answers: client.answers })),
      );
      await Promise.all(closed);
      [sockets, clients] = [[], []];
      parentPort.postMessage(results);
      return;
    }
    Atomics.store(workerData, 0, 1);
    Atomics.notify(workerData, 0);
  };
  parentPort.on('message', obey);
  parentPort.postMessage('ready');
}
