// Clients that send one request after another and never retry, until the server has left.

const http2 = require('node:http2');
const { EventEmitter, on, once } = require('node:events');
const { setTimeout: delay } = require('node:timers/promises');
const { answer } = require('../child');
const { Ended, Http1Connection } = require('../http1-connection');

const BODY = JSON.stringify({ order: 'one of each', comment: 'x'.repeat(200) });
const ANSWER_WITHIN_MS = 5_000;

/** @param {'keep-alive' | 'close'} connection */
const post = (connection) =>
  [
    'POST /soon HTTP/1.1',
    'Host: 127.0.0.1',
    `Connection: ${connection}`,
    'Content-Type: application/json',
    `Content-Length: ${BODY.length}`,
    '',
    BODY,
  ].join('\r\n');

const POST_AND_KEEP = post('keep-alive');
const POST_AND_CLOSE = post('close');

/** These say that a request was never sent. */
const NEVER_SENT = ['ERR_HTTP2_GOAWAY_SESSION', 'ERR_HTTP2_INVALID_SESSION'];

/** Emits how many requests have been answered, with each. */
const answers = new EventEmitter();
let served = 0;
/** Requests that the client knows not to have been processed. */
let refused = 0;
/** @type {Record<string, number>} by what their connection or stream ended by */
const lost = {};

let running = null;

/** How long a client waits before each request, on average. */
let thinkMs = 0;

/** Where new connections go. */
let destination = null;
/** The connections that were there before they went elsewhere. */
const first = new Set();
let moved = false;

const kinds = { 'keep-alive': keepAliveClient, 'new-connections': newConnectionsClient, http2: http2Client };

answer({
  start({ kind, clients, port, secure, thinkMs: think }) {
    thinkMs = think;
    destination = { port, secure };
    running = Promise.all(Array.from({ length: clients }, () => kinds[kind]()));
    // A client that fails is found by whoever asks whether all have stopped.
    running.catch(() => {});
  },

  /** Answers as soon as so many requests have been answered. */
  async served({ requests }) {
    if (served >= requests) return;
    for await (const [count] of on(answers, 'answer')) if (count === requests) return;
  },

  /** From now on, new connections go to another server: what a balancer of layer 4 does. */
  moveTo({ port }) {
    destination = { ...destination, port };
    moved = true;
  },

  async stopped() {
    await running;
    return { served, refused, lost };
  },
});

async function keepAliveClient() {
  let connection = null;
  for (;;) {
    connection ??= await connect();
    if (connection === null) return;
    if (!moved) first.add(connection);
    await think();
    if (moved && first.size === 0) {
      connection.close();
      return;
    }
    if (!connection.over) await request(connection, POST_AND_KEEP);
    if (connection.over) {
      first.delete(connection);
      connection = null;
      if (!moved) return;
    }
  }
}

async function newConnectionsClient() {
  for (;;) {
    await think();
    const connection = await connect();
    if (connection === null) return;
    await request(connection, POST_AND_CLOSE);
    connection.close();
  }
}

/** @returns {Promise<Http1Connection | null>} null when the server has left */
async function connect() {
  for (;;) {
    const connection = new Http1Connection(destination);
    try {
      await connection.connected();
      return connection;
    } catch (error) {
      if (!(error instanceof Ended)) throw error;
      if (error.code === 'ECONNREFUSED') return null;
      // The kernel had accepted it, and the request would have been the first thing on it.
      countLost(error.code);
      await think();
    }
  }
}

/**
 * @param {Http1Connection} connection
 * @param {string} text
 */
async function request(connection, text) {
  // Ended between the connection's being established and now: the request would have been sent next.
  if (connection.over) return countLost('FIN');
  try {
    await connection.answered(text);
    countServed();
  } catch (error) {
    if (!(error instanceof Ended)) throw error;
    countLost(error.code);
  }
}

async function http2Client() {
  const session = http2.connect(`http://127.0.0.1:${destination.port}`);
  session.on('error', () => {});
  let told = false;
  session.on('goaway', () => {
    told = true;
  });
  await once(session, 'connect');
  for (;;) {
    await think();
    if (told || session.closed || session.destroyed) return;
    await requestStream(session);
  }
}

/** @param {http2.ClientHttp2Session} session */
async function requestStream(session) {
  let stream;
  try {
    stream = session.request({ ':method': 'POST', ':path': '/soon', 'content-length': BODY.length });
  } catch (error) {
    if (!NEVER_SENT.includes(error.code)) throw error;
    refused += 1;
    return;
  }
  let status = 0;
  let whole = false;
  let endedBy = null;
  stream
    .setTimeout(ANSWER_WITHIN_MS, () => {
      endedBy ??= 'silence';
      stream.close(http2.constants.NGHTTP2_CANCEL);
    })
    .on('response', (headers) => {
      status = headers[':status'];
    })
    .on('error', (error) => {
      endedBy ??= error.code;
    })
    .on('end', () => {
      whole = stream.rstCode === http2.constants.NGHTTP2_NO_ERROR && status !== 0;
    })
    .resume()
    .end(BODY);
  // Not with events.once(), which rejects on an error before that.
  await new Promise((resolve) => stream.once('close', resolve));
  if (whole && status === 200) countServed();
  else if (
    stream.pending ||
    stream.rstCode === http2.constants.NGHTTP2_REFUSED_STREAM ||
    NEVER_SENT.includes(endedBy)
  ) {
    refused += 1;
  } else countLost(whole ? `status ${status}` : (endedBy ?? 'end without an answer'));
}

/** Exponentially: a client is as likely to send in this millisecond as in any other, and no rhythm helps the server. */
function think() {
  return delay(-thinkMs * Math.log(1 - Math.random()));
}

function countServed() {
  served += 1;
  answers.emit('answer', served);
}

/** @param {string} code */
function countLost(code) {
  lost[code] = (lost[code] ?? 0) + 1;
}
