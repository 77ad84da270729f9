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

  /** On each connection, the next request follows the answer to the one before. */
  requestsOnOpenConnections: ({ requests }) =>
    new Promise((resolve) => {
      let unsent = requests;
      let unanswered = requests;
      for (const socket of sockets) sendOn(socket);

      function sendOn(socket) {
        let missing = 0;
        socket.removeAllListeners('data');
        socket.on('data', (chunk) => {
          missing -= chunk.length;
          if (missing > 0) return;
          unanswered -= 1;
          if (unanswered === 0) resolve();
          send();
        });
        send();

        function send() {
          if (unsent === 0) return;
          unsent -= 1;
          missing = answerLength;
          socket.write(KEEP_ALIVE, 'latin1');
        }
      }
    }),

  requestsOnNewConnections: ({ port, connections, requests }) =>
    new Promise((resolve) => {
      let unsent = requests;
      let unanswered = requests;
      for (let connection = 0; connection < connections; connection += 1) send();

      function send() {
        if (unsent === 0) return;
        unsent -= 1;
        const socket = net.connect(port, '127.0.0.1');
        socket.resume();
        socket.once('close', () => {
          unanswered -= 1;
          if (unanswered === 0) resolve();
          send();
        });
        socket.write(CLOSE, 'latin1');
      }
    }),
});

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
