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
// Not the global one, which test runners replace by one that stands still, and which takes longer to read.
const { performance } = require('node:perf_hooks');
const { isKeptAlive } = require('./internals');
const { attachments } = require('./registry');

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

  /** @param {ServerResponse} response */
  constructor(response) {
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

/** The requests on one connection over HTTP/1. Times are those of `performance.now()`. */
class Conversation {
  /**
   * The oldest request in flight.
   *
   * @type {Request | null}
   */
  oldest = null;
  /** When the last request came that has been answered. */
  last = Number.NaN;
  /** The smoothed time between two requests, in milliseconds. */
  gap = Number.NaN;

  /** @param {Attachment} attachment */
  constructor(attachment) {
    this.attachment = attachment;
  }

  /** The newest request in flight. */
  get newest() {
    let newest = this.oldest;
    while (newest?.next) newest = newest.next;
    return newest;
  }

  /** @param {Request} request */
  push(request) {
    const { newest } = this;
    if (newest === null) this.oldest = request;
    else newest.next = request;
  }

  /**
   * Keeps the rhythm, as TCP smooths its round-trip time (RFC 6298, section 2).
   *
   * @param {number} startedAt
   */
  beat(startedAt) {
    const gap = startedAt - this.last;
    this.gap = Number.isNaN(this.gap) ? gap : this.gap + (gap - this.gap) / 8;
    this.last = startedAt;
    if (startedAt > this.attachment.lastInRhythm && gap >= 0) this.attachment.lastInRhythm = startedAt;
  }
}

/**
 * Those on connections that are kept alive after their first request. Most others would be gone before a weak
 * map could forget them, and burden the garbage collector.
 *
 * @type {WeakMap<Socket, Conversation>}
 */
let keptAlive = new WeakMap();

/**
 * Those whose first request is in flight.
 *
 * @type {Map<Socket, Conversation>}
 */
const begun = new Map();

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
  // From now on, requests begin and end unseen.
  begun.clear();
  keptAlive = new WeakMap();
}

/** @param {any} message */
function onStart({ server, socket, response }) {
  const conversation = keptAlive.get(socket);
  if (conversation === undefined || conversation.attachment.isDetached) begin(server, socket, response);
  else startRequest(conversation, socket, response);
}

/**
 * A connection's first request, or the first that anybody is interested in.
 *
 * @param {Server} server
 * @param {Socket} socket
 * @param {ServerResponse} response
 */
function begin(server, socket, response) {
  const attachment = attachments.get(server);
  if (attachment === undefined) return;
  let conversation = begun.get(socket);
  if (conversation === undefined) {
    conversation = new Conversation(attachment);
    begun.set(socket, conversation);
    keptAlive.delete(socket);
    if (begun.size > forgetAt) forgetAborted();
  }
  startRequest(conversation, socket, response);
}

/**
 * @param {Conversation} conversation
 * @param {Socket} socket
 * @param {ServerResponse} response
 */
function startRequest(conversation, socket, response) {
  const request = new Request(response);
  conversation.push(request);
  conversation.attachment.requestStarted(socket, request);
}

/**
 * Begins a request of which no channel told: not every runtime has them. By the event it is known too late for a
 * handler that was added before, and not if somebody else decides whether it is to continue.
 *
 * @this {Server}
 * @param {IncomingMessage & { socket: Socket }} request
 * @param {ServerResponse} response
 */
function onRequest(request, response) {
  const { socket } = request;
  if (conversationOn(socket)?.newest?.response === response) return;
  onStart({ server: this, socket, response });
  response.once('finish', () => onFinish({ socket, response }));
}

/** @param {any} message */
function onFinish({ socket, response }) {
  const conversation = conversationOn(socket);
  const request = conversation?.oldest;
  // What was pipelined before the terminator was created is not known.
  if (!conversation || !request || request.response !== response) return;
  // HTTP/1 answers in order.
  conversation.oldest = request.next;
  if (isKeptAlive(response)) {
    conversation.beat(request.startedAt);
    if (begun.size > 0 && begun.delete(socket)) keptAlive.set(socket, conversation);
  } else {
    begun.delete(socket);
  }
  if (!response.req.complete) answeredEarly.set(socket, response.req);
  conversation.attachment.requestFinished(socket, request);
}

/** @param {Socket} socket */
function conversationOn(socket) {
  return keptAlive.get(socket) ?? begun.get(socket);
}

/**
 * The oldest request in flight on a socket.
 *
 * @param {Socket} socket
 */
function oldestOn(socket) {
  return conversationOn(socket)?.oldest ?? null;
}

/**
 * The requests in flight on a socket, oldest first.
 *
 * @param {Socket} socket
 */
function* requestsOn(socket) {
  for (let request = oldestOn(socket); request !== null; request = request.next) yield request;
}

/**
 * Whether the body of a request that was answered already is still coming in.
 *
 * @param {Socket} socket
 */
function isAnsweredEarly(socket) {
  return answeredEarly.get(socket)?.complete === false && oldestOn(socket) === null;
}

/** @param {Socket} socket */
function answeredEarlyOn(socket) {
  return answeredEarly.get(socket);
}

// What a client gives up does not finish. It is forgotten when so much has gathered that looking for it
// costs a request next to nothing, and at the latest when the last server closes.
const FORGET_AT_LEAST = 64;
let forgetAt = FORGET_AT_LEAST;

function forgetAborted() {
  for (const socket of begun.keys()) if (socket.destroyed) begun.delete(socket);
  forgetAt = Math.max(FORGET_AT_LEAST, 2 * begun.size);
}

exports.Conversation = Conversation;
exports.Request = Request;
exports.answeredEarlyOn = answeredEarlyOn;
exports.begin = begin;
exports.begun = begun;
exports.conversationOn = conversationOn;
exports.isAnsweredEarly = isAnsweredEarly;
exports.oldestOn = oldestOn;
exports.onRequest = onRequest;
exports.requestsOn = requestsOn;
exports.unwatchRequests = unwatchRequests;
exports.watchRequests = watchRequests;
