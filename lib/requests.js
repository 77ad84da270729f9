// Knows the requests in flight over HTTP/1, through the channels that Node publishes for that purpose.
//
// The channels fire before the user's handler, also for `checkContinue`, and change nothing in how Node
// treats a request. A `request` listener would come too late for a handler that answers at once, or
// be wrapped and reordered by libraries that take the listeners over. The channels are process-wide,
// so they are listened to only while some server with a terminator is awake.
//
// This is all that is kept while a server is serving. Its connections are not followed one by one: a listener
// on each for its end would cost a connection more than everything here, in time and in memory.

const diagnosticsChannel = require('node:diagnostics_channel');
const { isKeptAlive } = require('./internals');

/** @typedef {import('node:net').Server} Server */
/** @typedef {import('node:net').Socket} Socket */
/** @typedef {import('node:http').IncomingMessage} IncomingMessage */
/** @typedef {import('node:http').ServerResponse} ServerResponse */
/** @typedef {import('./attachment').Attachment} Attachment */

/** A request in flight over HTTP/1. */
class Request {
  /**
   * The one that was received after it, if a client pipelines.
   *
   * @type {Request | null}
   */
  next = null;
  /** Whether it came only during a termination. */
  late = false;
  /** Whether we made its answer say close, and what it had said about the connection before. */
  saysClose = false;
  /** @type {ReturnType<ServerResponse['getHeader']>} */
  connectionHeader = undefined;
  startedAt = performance.now();

  /**
   * @param {Server} server
   * @param {ServerResponse} response
   */
  constructor(server, response) {
    this.server = server;
    this.response = response;
  }

  /** @returns {import('./connection').Head} */
  get head() {
    return this.response.req;
  }

  get headersSent() {
    return this.response.headersSent;
  }
}

/** When the requests on a connection come, on the clock of `performance.now()`. */
class Rhythm {
  /**
   * The smoothed time between two of them, in milliseconds.
   *
   * @type {number}
   */
  gap = Number.NaN;

  /** @param {number} last when the last one came */
  constructor(last) {
    this.last = last;
  }

  /**
   * As TCP smooths its round-trip time (RFC 6298, section 2).
   *
   * @param {number} now
   */
  beat(now) {
    const gap = now - this.last;
    this.gap = Number.isNaN(this.gap) ? gap : this.gap + (gap - this.gap) / 8;
    this.last = now;
  }
}

/**
 * By server, so that two terminators on one server share what is known of it, and agree.
 *
 * @type {WeakMap<Server, Attachment>}
 */
const attachments = new WeakMap();

/**
 * The oldest request in flight on each socket.
 *
 * @type {Map<Socket, Request>}
 */
const inFlight = new Map();

/**
 * Of sockets that are kept alive between requests. Others are gone before a weak map could forget them, and
 * would burden the garbage collector.
 *
 * @type {WeakMap<Socket, Rhythm>}
 */
const rhythms = new WeakMap();

/**
 * Requests that were answered before their body had come whole.
 *
 * @type {WeakMap<Socket, IncomingMessage>}
 */
const answeredEarly = new WeakMap();

let watchers = 0;

function watchRequests() {
  watchers += 1;
  if (watchers > 1) return;
  diagnosticsChannel.subscribe('http.server.request.start', onStart);
  diagnosticsChannel.subscribe('http.server.response.finish', onFinish);
}

function unwatchRequests() {
  watchers -= 1;
  if (watchers > 0) return;
  diagnosticsChannel.unsubscribe('http.server.request.start', onStart);
  diagnosticsChannel.unsubscribe('http.server.response.finish', onFinish);
  inFlight.clear();
}

/** @param {any} message */
function onStart({ server, socket, response }) {
  const attachment = attachments.get(server);
  if (attachment === undefined) return;
  const request = startRequest(server, socket, response);
  attachment.requestStarted(socket, request);
}

/**
 * @param {Server} server
 * @param {Socket} socket
 * @param {ServerResponse} response
 */
function startRequest(server, socket, response) {
  const request = new Request(server, response);
  const oldest = inFlight.get(socket);
  if (oldest === undefined) {
    inFlight.set(socket, request);
    if (inFlight.size > forgetAt) forgetAborted();
  } else {
    newestFrom(oldest).next = request;
  }
  return request;
}

/** @param {any} message */
function onFinish({ server, socket, response }) {
  const request = inFlight.get(socket);
  // Pipelined before the terminator was created: nothing was known of it.
  if (request === undefined || request.response !== response) return;
  // HTTP/1 answers in order.
  if (request.next === null) inFlight.delete(socket);
  else inFlight.set(socket, request.next);
  if (isKeptAlive(response)) {
    const rhythm = rhythms.get(socket);
    if (rhythm === undefined) rhythms.set(socket, new Rhythm(request.startedAt));
    else rhythm.beat(request.startedAt);
  }
  if (!response.req.complete) answeredEarly.set(socket, response.req);
  attachments.get(server)?.requestFinished(socket, request);
}

// What a client gives up does not finish. It is forgotten when so much has gathered that looking for it
// costs a request next to nothing, and at the latest when the last server closes.
const FORGET_AT_LEAST = 64;
let forgetAt = FORGET_AT_LEAST;

function forgetAborted() {
  for (const socket of inFlight.keys()) if (socket.destroyed) inFlight.delete(socket);
  forgetAt = Math.max(FORGET_AT_LEAST, 2 * inFlight.size);
}

/** @param {Request} request */
function newestFrom(request) {
  let newest = request;
  while (newest.next !== null) newest = newest.next;
  return newest;
}

exports.Request = Request;
exports.answeredEarly = answeredEarly;
exports.attachments = attachments;
exports.inFlight = inFlight;
exports.newestFrom = newestFrom;
exports.rhythms = rhythms;
exports.startRequest = startRequest;
exports.unwatchRequests = unwatchRequests;
exports.watchRequests = watchRequests;
