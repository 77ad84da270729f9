// A real termination for the picture: clients of every kind, who note down what they see while their server ends.

const diagnosticsChannel = require('node:diagnostics_channel');
const http = require('node:http');
const http2 = require('node:http2');
const { EventEmitter, once } = require('node:events');
const { setTimeout: delay } = require('node:timers/promises');
const { WebSocket, WebSocketServer } = require('ws');
const { createHttpTerminator } = require('../..');
const { Client } = require('./client');

/** @typedef {import('./client').Row} Row */
/** @typedef {{ phase: string, at: number }} Phase */
/** @typedef {() => number} Clock gives milliseconds from the signal on */

/** How long everything runs before the signal. */
const BEFORE_MS = 250;
const SHUTDOWN_DELAY_MS = 70;

const ORDER_TAKES_MS = 6;
const REPORT_TAKES_MS = 300;
const CHUNKS = 30;
const CHUNK_EVERY_MS = 15;
const CHUNK = Buffer.alloc(4 * 1024);

const ORDER = 'GET /order HTTP/1.1\r\nHost: localhost\r\n\r\n';
const REPORT = ORDER.replace('order', 'report');
const DOWNLOAD = ORDER.replace('order', 'download');
const UPLOAD_HEAD = 'POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40\r\n\r\n';

/** @type {Record<string, (request: import('node:stream').Readable, response: any) => void>} */
const handlers = {
  '/order': (_request, response) => setTimeout(() => response.end('thank you'), ORDER_TAKES_MS),
  '/report': (_request, response) => setTimeout(() => response.end('as you asked'), REPORT_TAKES_MS),
  '/upload': (request, response) => request.resume().once('end', () => response.end('stored')),
  '/download': async (_request, response) => {
    response.setHeader('Content-Length', CHUNKS * CHUNK.length);
    for (let chunk = 0; chunk < CHUNKS; chunk += 1) {
      response.write(CHUNK);
      await delay(CHUNK_EVERY_MS);
    }
    response.end();
  },
};

/** @returns {Promise<{ rows: Row[], phases: Phase[], report: import('../..').TerminationReport }>} */
async function play() {
  const signalledAt = performance.now() + BEFORE_MS;
  const now = () => performance.now() - signalledAt;
  const answer = (/** @type {any} */ request, /** @type {any} */ response) => handlers[request.url](request, response);
  const server = http.createServer(answer);
  const multiplexed = http2.createServer(answer);
  const webSocketServer = new WebSocketServer({ server });
  const terminator = createHttpTerminator({
    server: [server, multiplexed],
    httpResponseTimeout: 10_000,
    shutdownDelay: SHUTDOWN_DELAY_MS,
    webSocketServers: [webSocketServer],
  });
  const port = await portOf(server);

  /** @type {Phase[]} */
  const phases = [{ phase: 'serving', at: -BEFORE_MS }];
  const told = new EventEmitter();
  const note = (/** @type {any} */ message) => {
    if (message.server !== server || message.phase === 'terminated') return;
    phases.push({ phase: message.phase, at: now() });
    told.emit(message.phase);
  };
  diagnosticsChannel.subscribe('http-terminator:phase', note);

  const streams = streaming(await portOf(multiplexed), now);
  const client = (/** @type {string} */ title) => new Client(title, port, now);
  const rows = [
    idle(client('idle')),
    client('opened, never used').row,
    ...[19, 29, 37, 45].map((gap) => inRhythm(client(`a request every ${gap} ms`), gap)),
    asking(client('a slow answer'), REPORT),
    asking(client('a download'), DOWNLOAD),
    inTwoParts(client('half a head'), ORDER.slice(0, 25), ORDER.slice(25), 130),
    inTwoParts(client('half an upload'), `${UPLOAD_HEAD}${'x'.repeat(20)}`, 'x'.repeat(20), 230),
    pipelining(client('two requests at once')),
    streams.row,
    chatting(port, now),
    coming(client, 'new, during the delay', once(told, 'delaying'), SHUTDOWN_DELAY_MS / 2),
    coming(client, 'new, later', once(told, 'draining'), SHUTDOWN_DELAY_MS),
  ];
  // On a busy machine the last stream may be opened later than planned, and would be refused.
  await Promise.all([delay(-now()), streams.opened]);
  const report = await terminator.terminate();
  phases.push({ phase: 'terminated', at: now() });
  diagnosticsChannel.unsubscribe('http-terminator:phase', note);
  return { rows: await Promise.all(rows), phases, report };
}

/** @param {import('node:net').Server} server */
async function portOf(server) {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return /** @type {import('node:net').AddressInfo} */ (server.address()).port;
}

// What the clients do.

/** @param {Client} client */
function idle(client) {
  client.send(ORDER);
  return client.row;
}

/**
 * @param {Client} client
 * @param {number} gap between two requests, in milliseconds
 */
async function inRhythm(client, gap) {
  while (client.mayAsk) {
    client.send(ORDER);
    await Promise.race([client.answered(), client.row]);
    await Promise.race([delay(gap), client.row]);
  }
  return client.row;
}

/**
 * @param {Client} client
 * @param {string} request
 */
async function asking(client, request) {
  await delay(BEFORE_MS / 2);
  client.send(request);
  return client.row;
}

/**
 * @param {Client} client
 * @param {string} first
 * @param {string} second
 * @param {number} apart in milliseconds
 */
async function inTwoParts(client, first, second, apart) {
  await delay(BEFORE_MS - 20);
  client.send(first);
  await delay(apart);
  client.socket.write(second, 'latin1');
  return client.row;
}

/** @param {Client} client */
async function pipelining(client) {
  await delay(BEFORE_MS - 30);
  client.send(REPORT + REPORT, 2);
  return client.row;
}

/**
 * @param {(title: string) => Client} client
 * @param {string} title
 * @param {Promise<unknown>} begun
 * @param {number} later in milliseconds
 */
async function coming(client, title, begun, later) {
  await begun;
  await delay(later);
  const newcomer = client(title);
  newcomer.send(ORDER);
  return newcomer.row;
}

/**
 * Streams over HTTP/2 as long as it may open new ones.
 *
 * @param {number} port
 * @param {Clock} now
 * @returns {{ opened: Promise<unknown>, row: Promise<Row> }}
 */
function streaming(port, now) {
  const since = now();
  const session = http2.connect(`http://127.0.0.1:${port}`);
  /** @type {import('./client').Exchange[]} */
  const exchanges = [];
  const stream = async (/** @type {string} */ path) => {
    const exchange = { from: now(), to: Number.NaN, saidClose: false };
    exchanges.push(exchange);
    const request = session.request({ ':path': path });
    await once(request.resume(), 'end');
    exchange.to = now();
  };
  let goaway = false;
  session.once('goaway', () => {
    goaway = true;
  });
  const closed = once(session, 'close');
  /** @type {Promise<void>[]} */
  const streams = [];
  const opened = (async () => {
    for (const path of ['/order', '/report', '/order', '/download']) {
      streams.push(stream(path));
      await delay(BEFORE_MS / 4);
    }
  })();
  const row = opened
    .then(() => Promise.all([closed, ...streams]))
    .then(() => {
      const end = goaway ? 'GOAWAY' : 'FIN';
      return { title: 'HTTP/2, four streams', opened: since, ended: now(), exchanges, end };
    });
  return { opened, row };
}

/**
 * @param {number} port
 * @param {Clock} now
 * @returns {Promise<Row>}
 */
async function chatting(port, now) {
  const opened = now();
  const webSocket = new WebSocket(`ws://127.0.0.1:${port}`);
  const [code] = await once(webSocket, 'close');
  return { title: 'a WebSocket', opened, ended: now(), exchanges: [], end: `close frame ${code}` };
}

exports.play = play;
