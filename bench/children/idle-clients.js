// Connections that have been used once and are kept open, and one request that is in flight meanwhile.

const http = require('node:http');
const net = require('node:net');
const { once } = require('node:events');
const { setTimeout: delay } = require('node:timers/promises');
const { answer, monotonicMilliseconds } = require('../child');

/** Fewer than fit into a listen backlog. */
const OPENED_AT_A_TIME = 256;

const REQUEST = 'GET /now HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n';

const sockets = [];
/** When the last one ended. */
let endedAt = Number.NaN;
let left = 0;
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
    while (left > 0) await delay(1);
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
    left -= 1;
    endedAt = monotonicMilliseconds();
  });
  socket.resume();
  sockets.push(socket);
  left += 1;
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
