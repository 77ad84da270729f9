// Knows the requests over HTTP/1: in which rhythm they come, and which are in flight if somebody asks.
//
// The channel on which Node publishes them fires before the user's handler, also for `checkContinue`, and
// changes nothing in how Node treats a request. A `request` listener would come too late for a handler that
// answers at once, or be wrapped and reordered by libraries that take the listeners over. The channel is process-wide,
// so it is listened to only while a server that has a terminator listens or has connections.
//
// While serving, nobody is told when a request ends: to hear of that costs a request more than everything here. Node itself
// knows which answer it is writing to a connection, and from the first moment of a termination on each answer is
// listened to. Neither are connections followed one by one: a listener on each for its end would cost it more, too.

const diagnosticsChannel = require('node:diagnostics_channel');
const { performance } = require('node:perf_hooks');
const { hasHeadLeft, isToUpgrade, parserOn, requestComingInOn, responseOn } = require('./internals');
const { noteHandedOut } = require('./records');
const { attachments } = require('./registry');

/** @typedef {import('node:net').Server} Server */
/** @typedef {import('node:net').Socket} Socket */
/** @typedef {import('node:http').IncomingMessage} IncomingMessage */
/** @typedef {import('node:http').ServerResponse} ServerResponse */

/** A request in flight over HTTP/1. */
class Request {
  /** Whether it came only during a termination. */
  late = false;
  /**
   * What we have its answer say of the connection, if that is to say close.
   *
   * @type {string | null}
   */
  closeHeader = null;
  /**
   * What it had said before.
   *
   * @type {ReturnType<ServerResponse['getHeader']>}
   */
  connectionHeader = undefined;
  /** Whether it says so even if its handler says otherwise. */
  isOverruled = false;

  /**
   * @param {ServerResponse} response
   * @param {number} startedAt as of `performance.now()`
   */
  constructor(response, startedAt) {
    this.response = response;
    this.startedAt = startedAt;
  }

  /** @returns {import('./connection').Head} */
  get head() {
    return this.response.req;
  }

  get headersSent() {
    return hasHeadLeft(this.response);
  }
}

/** When the requests on one connection come. */
class Rhythm {
  /** The gap is not known before the second request. */
  gap = Number.NaN;

  /** @param {number} last when the last one came; `performance.now()` */
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

  /** @param {number} now when the first request of another connection comes */
  beginAnew(now) {
    this.gap = Number.NaN;
    this.last = now;
  }
}

/**
 * By the connection's parser, which Node uses for another connection afterwards: most connections would be gone before a
 * weak map could forget them, and burden the garbage collector. So nothing in it may hold a socket or a server.
 *
 * By its socket, where there is no parser or nothing shows that it has another connection.
 *
 * @type {WeakMap<object, Rhythm>}
 */
let rhythms = new WeakMap();

/**
 * What clients have pipelined, oldest first: Node shows the first of these answers only. Kept until more is
 * pipelined on the same connection.
 *
 * @type {WeakMap<Socket, Request[]>}
 */
let pipelined = new WeakMap();

/**
 * Those that had requests in flight before anybody listened.
 *
 * @type {WeakSet<Socket>}
 */
const adopted = new WeakSet();

let watchers = 0;
let watchersOfAnswers = 0;

/** Whether the runtime publishes requests: not every one does. */
let isPublished = false;

function watchRequests() {
  watchers += 1;
  if (watchers === 1) diagnosticsChannel.subscribe('http.server.request.start', onStart);
}

function unwatchRequests() {
  watchers -= 1;
  if (watchers > 0) return;
  diagnosticsChannel.unsubscribe('http.server.request.start', onStart);
  // From now on, requests come unseen.
  rhythms = new WeakMap();
  pipelined = new WeakMap();
}

/** As long as a server with a terminator terminates. */
function watchAnswers() {
  watchersOfAnswers += 1;
  if (watchersOfAnswers === 1) diagnosticsChannel.subscribe('http.server.response.finish', onFinish);
}

function unwatchAnswers() {
  watchersOfAnswers -= 1;
  if (watchersOfAnswers === 0) diagnosticsChannel.unsubscribe('http.server.response.finish', onFinish);
}

/** @param {any} message */
function onStart(message) {
  isPublished = true;
  start(message);
}

/**
 * Begins a request of which no channel tells. By the event it is known too late for a handler that was added
 * before, and not if somebody else decides whether it is to continue.
 *
 * @this {Server}
 * @param {IncomingMessage & { socket: Socket }} request
 * @param {ServerResponse} response
 */
function onRequest(request, response) {
  if (isPublished) return;
  const { socket } = request;
  start({ server: this, socket, response });
  response.once('finish', () => onFinish({ server: this, socket, response }));
}

/** @param {any} message */
function onFinish({ server, socket, response }) {
  attachments.get(server)?.requestFinished(socket, response);
}

/** @param {{ server: Server, socket: Socket, response: ServerResponse }} message */
function start({ server, socket, response }) {
  const attachment = attachments.get(server);
  if (attachment === undefined) return;
  const now = performance.now();
  const current = responseOn(socket);
  if (current === null || current === undefined || current === response) {
    // Other runtimes than Node have assigned the answer before they tell, and so hide which is a connection's first.
    const key = current === response ? socket : keyOf(socket);
    const rhythm = rhythms.get(key);
    if (rhythm === undefined) {
      rhythms.set(key, new Rhythm(now));
      attachment.newcomer(socket, now);
    } else if (current === undefined) {
      rhythm.beginAnew(now);
      attachment.newcomer(socket, now);
    } else {
      rhythm.beat(now);
      attachment.lastInRhythm = now;
    }
  } else {
    queue(socket, current, new Request(response, now));
  }
  if (attachment.isSecure) noteHandedOut(socket);
  attachment.requestStarted(socket, response, now);
}

/**
 * @param {Socket} socket
 * @param {ServerResponse} current the one that is being written
 * @param {Request} request behind it
 */
function queue(socket, current, request) {
  const known = pipelined.get(socket);
  const place = known?.findIndex(({ response }) => response === current) ?? -1;
  if (known === undefined || place === -1) {
    pipelined.set(socket, [requestOf(socket, current), request]);
  } else {
    known.splice(0, place);
    known.push(request);
  }
}

/**
 * @param {Socket} socket
 * @param {ServerResponse} response the one that is being written to it, which is no pipelined one
 */
function requestOf(socket, response) {
  return new Request(response, rhythmOn(socket)?.last ?? performance.now());
}

/**
 * What was there before anybody listened. How old that is, is not known.
 *
 * @param {Socket} socket
 */
function adoptRequests(socket) {
  rhythms.delete(keyOf(socket));
  if (!responseOn(socket)) return;
  rhythms.set(keyOf(socket), new Rhythm(performance.now()));
  adopted.add(socket);
}

/**
 * @param {Socket} socket
 * @returns {Rhythm | undefined}
 */
function rhythmOn(socket) {
  // Its parser may have served another connection.
  if (responseOn(socket) === undefined) return undefined;
  return rhythms.get(keyOf(socket)) ?? rhythms.get(socket);
}

/**
 * @param {Socket} socket
 * @returns {object} by which its rhythm is kept
 */
function keyOf(socket) {
  return parserOn(socket) ?? socket;
}

/**
 * The requests in flight on a socket, oldest first. Of what was pipelined before the terminator was created, only the one
 * that is being answered is known; see `isFollowed()`.
 *
 * @param {Socket} socket
 * @returns {Request[]}
 */
function requestsOn(socket) {
  const current = responseOn(socket);
  // Who takes over an upgraded connection may write an answer of their own to it.
  if (!current || isToUpgrade(current)) return [];
  const known = pipelined.get(socket) ?? [];
  const place = known.findIndex(({ response }) => response === current);
  return place === -1 ? [requestOf(socket, current)] : known.slice(place);
}

/**
 * The request that has been answered although its body is still coming in, if there is one.
 *
 * @param {Socket} socket
 */
function answeredEarlyOn(socket) {
  const request = requestComingInOn(socket);
  return request !== null && !request.complete && !responseOn(socket) ? request : null;
}

/**
 * Whether another request has begun behind this one that was pipelined before the terminator was created. It is not known
 * before it is its turn to be answered.
 *
 * @param {Socket} socket
 * @param {IncomingMessage} request
 */
function isFollowed(socket, request) {
  if (!adopted.has(socket)) return false;
  const newest = requestComingInOn(socket);
  return newest !== null && newest !== request;
}

exports.Request = Request;
exports.adoptRequests = adoptRequests;
exports.answeredEarlyOn = answeredEarlyOn;
exports.isFollowed = isFollowed;
exports.onRequest = onRequest;
exports.requestsOn = requestsOn;
exports.rhythmOn = rhythmOn;
exports.unwatchAnswers = unwatchAnswers;
exports.unwatchRequests = unwatchRequests;
exports.watchAnswers = watchAnswers;
exports.watchRequests = watchRequests;
