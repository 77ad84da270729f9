// One server in a process of its own, with one library attached or none.

const fs = require('node:fs');
const http = require('node:http');
const http2 = require('node:http2');
const https = require('node:https');
const path = require('node:path');
const { EventEmitter, once } = require('node:events');
const { monitorEventLoopDelay } = require('node:perf_hooks');
const { setImmediate: immediate, setTimeout: delay } = require('node:timers/promises');
const { answer, monotonicMilliseconds } = require('../child');
const { libraryNamed } = require('../libraries');

const GREETING = JSON.stringify({ message: 'Hello, world' });
const HELD_ANSWER = Buffer.alloc(64 * 1024, 'x');
const STALL_RESOLUTION_MS = 1;

/** In the first the sockets close, in the second their parsers are freed. */
const TURNS_OF_LETTING_GO = 3;

const COLLECTIONS = 8;

/** Connections are idle between rounds, and are to be closed by what is measured only. */
const KEEP_ALIVE_TIMEOUT_MS = 600_000;

const protocols = {
  http: () => http.createServer(handle),
  https: () => https.createServer(credentials(), handle),
  http2: () => http2.createServer(handle),
};

const handlers = {
  '/now': (_request, response) => {
    response.setHeader('Content-Type', 'application/json');
    response.end(GREETING);
  },
  '/soon': (request, response) => {
    inFlight += 1;
    holding.emit('in flight');
    response.once('close', () => {
      inFlight -= 1;
    });
    request.resume();
    request.once('end', () => setTimeout(() => response.end(GREETING), 1 + Math.random() * 9));
  },
  '/held': (_request, response) => {
    hold(response, HELD_ANSWER);
  },
  /** The same, but half of the answer is on its way. */
  '/begun': (_request, response) => {
    const half = HELD_ANSWER.length / 2;
    response.writeHead(200, { 'Content-Length': HELD_ANSWER.length }).write(HELD_ANSWER.subarray(0, half));
    hold(response, HELD_ANSWER.subarray(half));
  },
};

const holding = new EventEmitter();
/** @type {{ response: http.ServerResponse, rest: Buffer } | null} */
let held = null;
let terminator = null;
let inFlight = 0;

answer({
  /** Without a library, the server is left as it is. */
  async listen({ library, options, protocol = 'http', timeout = 1000, keepAliveTimeout = KEEP_ALIVE_TIMEOUT_MS }) {
    const server = protocols[protocol]();
    server.keepAliveTimeout = keepAliveTimeout;
    if (library !== null) terminator = libraryNamed(library).attach(server, timeout, options);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return server.address().port;
  },

  cpuMicroseconds,

  /**
   * What the most thorough of several collections has left: one may leave to the next what it has found to be unreachable, and
   * pages that it is still sweeping count as used. Either is some hundred kilobytes, at one collection and not at the next.
   */
  memory() {
    let javascript = Infinity;
    for (let collection = 0; collection < COLLECTIONS; collection += 1) {
      global.gc();
      const { heapUsed, external } = process.memoryUsage();
      javascript = Math.min(javascript, heapUsed + external);
    }
    return { javascript, resident: process.memoryUsage.rss() };
  },

  /** All of it was allocated, since the last collection at least. */
  heapUsed: () => process.memoryUsage().heapUsed,

  async held() {
    if (held === null) await once(holding, 'held');
  },

  /**
   * The request that is held, if there is one, is answered after a while. `delayMs` is the delay that users of a library
   * without one write by hand. A library that has not ended the server in time is not waited for. If it is to be busy, it is
   * ended as soon as so many requests are in flight.
   */
  async terminate({ answerAfterMs, delayMs = 0, withinMs = 30_000, busy = 0 } = {}) {
    const stalls = await watchForStalls();
    let lastByteAt = Number.NaN;
    if (held !== null) {
      held.response.once('finish', () => {
        lastByteAt = monotonicMilliseconds();
      });
      setTimeout(() => held.response.end(held.rest), answerAfterMs);
    }
    while (inFlight < busy) await once(holding, 'in flight');
    const cpuBefore = cpuMicroseconds();
    const startedAt = monotonicMilliseconds();
    if (delayMs > 0) await delay(delayMs);
    await Promise.race([terminator.terminate(), delay(withinMs)]);
    const endedAt = monotonicMilliseconds();
    // A server has closed when its last connection is about to: Node has its sockets and parsers still to let go of.
    for (let turn = 0; turn < TURNS_OF_LETTING_GO; turn += 1) await immediate();
    const cpuMilliseconds = (cpuMicroseconds() - cpuBefore) / 1000;
    return {
      startedAt,
      milliseconds: endedAt - startedAt,
      letGoMilliseconds: monotonicMilliseconds() - startedAt,
      /** Since the answer to the request that was held had left, if it has. */
      lastByteMilliseconds: endedAt - lastByteAt,
      cpuMilliseconds,
      stallMilliseconds: await stalls(),
    };
  },
});

function handle(request, response) {
  handlers[request.url](request, response);
}

/**
 * @param {http.ServerResponse} response
 * @param {Buffer} rest
 */
function hold(response, rest) {
  held = { response, rest };
  holding.emit('held');
}

/** Made for the tests and trusted by nobody else. */
function credentials() {
  const [key, cert] = ['key.pem', 'certificate.pem'].map((name) =>
    fs.readFileSync(path.join(__dirname, '../../__test__/support', name)),
  );
  return { key, cert };
}

function cpuMicroseconds() {
  const { user, system } = process.cpuUsage();
  return user + system;
}

async function watchForStalls() {
  const histogram = monitorEventLoopDelay({ resolution: STALL_RESOLUTION_MS });
  histogram.enable();
  await oneMoreLook(histogram);
  return async () => {
    await oneMoreLook(histogram);
    histogram.disable();
    return Math.max(0, histogram.max / 1e6 - STALL_RESOLUTION_MS);
  };
}

/** The monitor looks from a timer of its own, and tells nobody. */
async function oneMoreLook(histogram) {
  const { count } = histogram;
  while (histogram.count === count) await delay(STALL_RESOLUTION_MS);
}
