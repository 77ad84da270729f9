// Connections that have been used once and are kept open, and one request that is in flight meanwhile.

const http = require('node:http');
const net = require('node:net');
const { EventEmitter, once } = require('node:events');
const { answer, monotonicMilliseconds } = require('../child');

/** Fewer than fit into a listen backlog. */
const OPENED_AT_A_TIME = 256;

const REQUEST = 'GET /now HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n';

/** Those that have not ended. */
const sockets = new Set();
/** When the last one ended. */
let endedAt = Number.NaN;
const ending = new EventEmitter();
let answered = null;

answer({
  async open({ port, connections }) {
    let unopened = connections;
    const openOneByOne = async () => {
      while (unopened > 0) {
        unopened -= 1;
        await openOne(port);
      }
    };
    await Promise.all(Array.from({ length: OPENED_AT_A_TIME }, openOneByOne));
  },

  /** When the last of the idle ones ended. */
  async ended() {
    if (sockets.size > 0) await once(ending, 'all ended');
    return endedAt;
  },

  /** Sends a request that the server holds. */
  hold({ port }) {
    answered = wholeAnswer(http.get({ port, host: '127.0.0.1', path: '/held' }));
  },

  /** Whether the request that the server held has been answered whole. */
  heldAnsweredWhole: () => answered,
});

async function openOne(port) {
  const socket = net.connect(port, '127.0.0.1');
  socket.write(REQUEST, 'latin1');
  await once(socket, 'data');
  socket.on('error', () => {});
  socket.once('close', () => {
    sockets.delete(socket);
    endedAt = monotonicMilliseconds();
    if (sockets.size === 0) ending.emit('all ended');
  });
  socket.resume();
  sockets.add(socket);
}

/** @param {http.ClientRequest} request */
async function wholeAnswer(request) {
  try {
    const [response] = await once(request, 'response');
    let length = 0;
    for await (const chunk of response) length += chunk.length;
    return length === Number(response.headers['content-length']);
  } catch {
    // Reset or hung up: what the benchmark wants to know.
    return false;
  }
}
