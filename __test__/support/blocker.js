// A client in a worker, so that it goes on while the event loop of the test, and with it the server, is
// blocked. What is written then is certain to be in the kernel and not in Node.

const { once } = require('node:events');
const net = require('node:net');
const tls = require('node:tls');
const { isMainThread, parentPort, Worker, workerData } = require('node:worker_threads');
const { addressOf, Client } = require('./client');
const { trust } = require('./transports');

if (isMainThread) module.exports = { remoteClient };
else work();

/** Connects from another thread, and waits until the server knows the connection. */
async function remoteClient(test, transport, server) {
  const accepted = once(server, transport.secure ? 'secureConnection' : 'connection');
  const flag = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(__filename, {
    workerData: { secure: transport.secure, address: addressOf(server), flag },
  });
  test.after(() => worker.terminate());
  const message = () => new Promise((resolve) => worker.once('message', resolve));
  await Promise.all([message(), accepted]);
  return {
    /** Writes the parts one by one while this thread is blocked, and returns when the kernel has them all. */
    writeWhileBlocked(parts) {
      Atomics.store(flag, 0, 0);
      worker.postMessage({ parts });
      if (Atomics.wait(flag, 0, 0, 10_000) === 'timed-out') throw new Error('the client did not write');
    },
    /** What the client has received when its connection has ended, and how it ended. */
    async ended() {
      const result = message();
      worker.postMessage({ report: true });
      return result;
    },
  };
}

function work() {
  const { secure, address, flag } = workerData;
  const socket = secure
    ? tls.connect({ allowHalfOpen: true, ...trust, ...address })
    : net.connect({ allowHalfOpen: true, ...address });
  socket.setNoDelay(true);
  const client = new Client(socket);
  socket.once(secure ? 'secureConnect' : 'connect', () => parentPort.postMessage('connected'));
  parentPort.on('message', async ({ parts, report }) => {
    if (report) {
      const how = await client.ended;
      parentPort.postMessage({ how, answers: client.answers });
      return;
    }
    for (const part of parts) await client.write(part);
    Atomics.store(flag, 0, 1);
    Atomics.notify(flag, 0);
  });
}
