// Sends requests as cheaply as it can, so that the server is what limits their rate.

const net = require('node:net');
const { once } = require('node:events');
const { answer } = require('../child');

/**
 * What `fetch` sends.
 *
 * @param {'keep-alive' | 'close'} connection
 */
const request = (connection) =>
  [
    'GET /now HTTP/1.1',
    'Host: 127.0.0.1',
    `Connection: ${connection}`,
    'Accept: */*',
    'Accept-Language: *',
    'Sec-Fetch-Mode: cors',
    'User-Agent: node',
    'Accept-Encoding: gzip, deflate',
    '\r\n',
  ].join('\r\n');

const KEEP_ALIVE = request('keep-alive');
const CLOSE = request('close');

let sockets = [];
let answerLength = 0;

answer({
  async connect({ port, connections }) {
    sockets = await Promise.all(Array.from({ length: connections }, () => connected(port)));
    answerLength = await lengthOfAnswer(sockets[0]);
  },

  /**
   * Requests come in bursts, one on each connection, and a burst follows the answers to the one before: so the server
   * finds as many at once each time. What it spends on one of them depends on that.
   */
  async requestsOnOpenConnections({ requests }) {
    for (let sent = 0; sent < requests; sent += sockets.length) await Promise.all(sockets.map(requestOn));
  },

  async requestsOnNewConnections({ port, connections, requests }) {
    for (let sent = 0; sent < requests; sent += connections) {
      await Promise.all(Array.from({ length: connections }, () => requestOnNewConnection(port)));
    }
  },
});

/** Resolves when the answer has come. */
function requestOn(socket) {
  let missing = answerLength;
  return new Promise((resolve) => {
    socket.on('data', function count(chunk) {
      missing -= chunk.length;
      if (missing > 0) return;
      socket.removeListener('data', count);
      resolve();
    });
    socket.write(KEEP_ALIVE, 'latin1');
  });
}

/** Resolves when the server has closed the connection. */
function requestOnNewConnection(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1').resume();
    socket.once('close', resolve);
    socket.write(CLOSE, 'latin1');
  });
}

async function connected(port) {
  const socket = net.connect(port, '127.0.0.1').setNoDelay();
  await once(socket, 'connect');
  return socket;
}

/** All answers are equally long, which saves parsing them. */
async function lengthOfAnswer(socket) {
  socket.write(KEEP_ALIVE, 'latin1');
  const [chunk] = await once(socket, 'data');
  const [head] = chunk.toString('latin1').split('\r\n\r\n');
  const contentLength = Number(/^content-length: (\d+)$/im.exec(head)[1]);
  return head.length + '\r\n\r\n'.length + contentLength;
}
