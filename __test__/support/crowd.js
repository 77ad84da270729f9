// Many clients in a worker, so that they go on connecting while the event loop of the test, and with it the
// server, is blocked. They are certain to wait in the kernel's accept queue then.

const { once } = require('node:events');
const net = require('node:net');
const tls = require('node:tls');
const { isMainThread, parentPort, Worker, workerData } = require('node:worker_threads');
const { addressOf, Client } = require('./client');
const { trust } = require('./transports');

if (isMainThread) module.exports = { remoteCrowd };
else work();

/** A crowd that has not connected yet. */
async function remoteCrowd(test, transport, server) {
  const flag = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(__filename, { workerData: { secure: transport.secure, address: addressOf(server), flag } });
  test.after(() => worker.terminate());
  await once(worker, 'online');
  return {
    /**
     * Connects so many clients while this thread is blocked, and returns when the kernel has accepted them and has
     * what they send: a request, or the beginning of a TLS handshake. `after` sends the request only then.
     */
    connectWhileBlocked(count, request, { after = false } = {}) {
      Atomics.store(flag, 0, 0);
      worker.postMessage({ count, request, after });
      if (Atomics.wait(flag, 0, 0, 10_000) === 'timed-out') throw new Error('the clients did not connect');
    },
    /** What each client has received when its connection has ended, and how it ended. */
    async ended() {
      const result = once(worker, 'message');
      worker.postMessage({ report: true });
      return (await result)[0];
    },
  };
}

function work() {
  const { secure, address, flag } = workerData;
  let clients = [];
  parentPort.on('message', async ({ count, request, after, report }) => {
    if (report) {
      const ends = await Promise.all(clients.map(({ ended }) => ended));
      parentPort.postMessage(clients.map(({ answers }, index) => ({ how: ends[index], answers })));
      return;
    }
    clients = await Promise.all(Array.from({ length: count }, () => connectOne(after ? null : request)));
    Atomics.store(flag, 0, 1);
    Atomics.notify(flag, 0);
    if (after) for (const client of clients) client.write(request).catch(() => {});
  });

  async function connectOne(request) {
    const accepted = net.connect({ allowHalfOpen: true, ...address });
    await once(accepted, 'connect');
    const socket = secure ? tls.connect({ ...trust, socket: accepted }) : accepted;
    const client = new Client(socket);
    if (request !== null) {
      const written = client.write(request).catch(() => {});
      // Under TLS it is written only after the handshake, for which the server must not be blocked.
      if (!secure) await written;
    }
    while (secure && accepted.bytesWritten === 0) await new Promise((resolve) => setImmediate(resolve));
    return client;
  }
}
