// How HTTP/1 ends: what is said to the peer, and how each kind of close is done.

const { native, timers } = require('./early');
const { descriptorOf, isLast, requestComingInOn, unreadSocket } = require('./internals');
const { answeredEarlyOn } = require('./requests');

/** @typedef {import('./connection').Connection} Connection */
/** @typedef {import('node:http').ServerResponse} ServerResponse */

/** Behind that answer it is HTTP no longer. */
const SWITCHING_PROTOCOLS = 101;

/**
 * Lets the last answer in flight say `Connection: close`, and no other. An answer whose head has left
 * can't be changed; its connection is closed after it.
 *
 * @param {Connection} connection
 */
function sayClose(connection) {
  for (const request of connection.pipelined) {
    if (request !== connection.newest) keepAlive(request);
    else if (request.closeHeader === null && !request.response.headersSent) {
      request.connectionHeader = request.response.getHeader('Connection');
      request.closeHeader = withClose(request.connectionHeader);
      request.response.setHeader('Connection', request.closeHeader);
      overrule(request);
    }
  }
}

/**
 * Whoever says something else of the connection in an answer, as proxies do that hand on the head of another one, does not know
 * that it is about to close, and the client would send its next request into FIN. What a head says is known when it is written,
 * so that is looked at, as libraries do that add to heads.
 *
 * @param {import('./connection').Request} request
 */
function overrule(request) {
  const { response } = request;
  if (request.isOverruled) return;
  request.isOverruled = true;
  const writeHead = /** @type {(...head: any[]) => any} */ (response.writeHead);
  /** @param {any[]} head */
  response.writeHead = function (status, ...head) {
    const isOurs = request.closeHeader !== null && !response.headersSent;
    const close = isOurs && Number(status) !== SWITCHING_PROTOCOLS;
    if (close) response.setHeader('Connection', withClose(response.getHeader('Connection')));
    else if (isOurs) unsayClose(request);
    const folded = isOnlyOurs(request) ? head.map(foldFields).map(refusedAlone) : head;
    return writeHead.call(this, status, ...(close ? folded.map(withCloseAmong) : folded));
  };
}

/**
 * @param {unknown} value of the field Connection, a list of options (RFC 9110, section 7.6.1)
 * @returns {string} the same list, which says close
 */
function withClose(value) {
  return [...otherOptions(value), 'close'].join(', ');
}

/**
 * @param {unknown} value of the same
 * @returns {string[]} what it says besides of whether the connection closes
 */
function otherOptions(value) {
  const options = String(value ?? '').split(',');
  return options.map((option) => option.trim()).filter((option) => !/^(|close|keep-alive)$/i.test(option));
}

/**
 * The fields of a head by their names. Where one has been set before, as we have, Node takes no pairs, only the last of several
 * fields of an object that have one name, and Node 20 the same of a list.
 *
 * @param {unknown} fields as `writeHead()` takes them: an object, or a list of pairs or of names and values in turn. Whatever else
 * it takes, or does not, is left as it is
 */
function foldFields(fields) {
  if (typeof fields !== 'object' || fields === null) return fields;
  const list = Array.isArray(fields) ? fields : Object.entries(fields);
  const isOfPairs = Array.isArray(list[0]);
  if (!isOfPairs && list.length % 2 === 1) return fields;
  /** @type {Map<string, [name: string, value: unknown]>} */
  const folded = new Map();
  for (let place = 0; place < list.length; place += isOfPairs ? 1 : 2) {
    const [name, value] = isOfPairs ? list[place] : [list[place], list[place + 1]];
    const key = String(name).toLowerCase();
    const known = folded.get(key);
    folded.set(key, known === undefined ? [name, value] : [known[0], [known[1], value].flat()]);
  }
  return Object.fromEntries(folded.values());
}

/**
 * The first value that Node refuses, if there is one, and otherwise all fields. Where one has been set before, as we have, it sets
 * those that come before that one and leaves them, and does not look at the values in a list; otherwise it sets none.
 *
 * @param {unknown} fields by their names, or what is left to Node
 */
function refusedAlone(fields) {
  if (typeof fields !== 'object' || fields === null || Array.isArray(fields)) return fields;
  const values = Object.entries(fields).flatMap(([name, value]) => [value].flat().map((each) => [name, each]));
  const refused = values.find(([name, value]) => name !== '' && isRefused(name, value));
  return refused === undefined ? fields : Object.fromEntries([refused]);
}

/**
 * @param {string} name
 * @param {any} value
 */
function isRefused(name, value) {
  // Loaded by now, as there is a server.
  const { validateHeaderName, validateHeaderValue } = require('node:http');
  try {
    validateHeaderName(name);
    validateHeaderValue(name, value);
    return false;
  } catch {
    return true;
  }
}

/**
 * Whether nobody has set a field of an answer but us.
 *
 * @param {import('./connection').Request} request
 */
function isOnlyOurs({ connectionHeader, response }) {
  return connectionHeader === undefined && response.getHeaderNames().every((name) => name === 'connection');
}

/**
 * The fields of a head, which say close if they say anything of the connection.
 *
 * @param {unknown} fields as `writeHead()` takes them
 * @returns {unknown}
 */
function withCloseAmong(fields) {
  if (typeof fields !== 'object' || fields === null) return fields;
  if (Array.isArray(fields)) {
    return fields.map((value, place) => (place % 2 === 1 ? closeIfConnection(fields[place - 1], value) : value));
  }
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, closeIfConnection(name, value)]));
}

/**
 * @param {unknown} name of a field
 * @param {unknown} value
 */
function closeIfConnection(name, value) {
  // Node has an error of its own for a value that is missing.
  return String(name).toLowerCase() === 'connection' && value !== undefined ? withClose(value) : value;
}

/** @param {Connection} connection */
function sayKeepAlive(connection) {
  for (const request of connection.pipelined) keepAlive(request);
}

/** @param {import('./connection').Request} request */
function keepAlive(request) {
  if (request.closeHeader === null || request.response.headersSent) return;
  unsayClose(request);
  request.closeHeader = null;
}

/**
 * Has the answer say again what it said of the connection before, or what its handler says now, but for our close.
 *
 * @param {import('./connection').Request} request
 */
function unsayClose({ closeHeader, connectionHeader, response }) {
  const value = response.getHeader('Connection');
  const unsaid = value === closeHeader ? connectionHeader : otherOptions(value).join(', ');
  // To remove the field would have Node say nothing of it.
  response.setHeader('Connection', unsaid || 'keep-alive');
}

/**
 * Whether the answer told its client that the connection closes. Node ends the connection itself then.
 *
 * @param {ServerResponse} response
 */
function saidClose(response) {
  return isLast(response) ?? /\bclose\b/i.test(String(response.getHeader('Connection')));
}

/**
 * FIN at once. With nothing unread in the kernel, destroying a socket does not reset the connection,
 * and costs a third less than ending it.
 *
 * @param {Connection} connection
 */
function close({ socket }) {
  socket.destroy();
}

/**
 * FIN after the last byte, and away.
 *
 * @param {Connection} connection
 */
function end({ socket }) {
  // A Duplex that is no socket has not got it.
  if (typeof socket.destroySoon === 'function') socket.destroySoon();
  else socket.end(() => socket.destroy());
}

/**
 * FIN after the last byte, then read and discard what comes until the peer closes (RFC 9112, section
 * 9.6): a reset would erase an answer that the peer has not read yet.
 *
 * @param {Connection} connection
 */
function linger(connection) {
  const { socket } = connection;
  // What comes is discarded below TLS, and no handler is to see it.
  if (connection.rest !== null) {
    end(connection);
    return;
  }
  discardBody(socket);
  socket.end();
  // After an answer that says close Node calls `socket.destroySoon()`, which destroys the socket as
  // soon as FIN is sent, and so resets it if the client is still writing. That happens after the
  // event by which we learn of the answer's end, and takes effect on `finish`.
  timers.nextTick(() => {
    socket.removeListener('finish', socket.destroy);
    keepAwake(socket);
  });
}

/**
 * Node ends a connection that is silent for its `keepAliveTimeout` behind an answer, although the rest of a body is still to come.
 *
 * @param {Connection['socket']} socket
 */
function keepAwake(socket) {
  // A Duplex that is no socket has no such time.
  socket.setTimeout?.(0);
}

/**
 * Lets the rest of a body be read whose request has been answered, if its handler does not. Node has seen to that if nobody has
 * begun to; Deno leaves as much unread as its stream takes; and who has had enough of a body pauses it.
 *
 * @param {Connection['socket']} socket
 * @returns {import('node:http').IncomingMessage | null} the request
 */
function discardBody(socket) {
  const request = requestComingInOn(socket);
  if (request === null || request.complete) return request;
  if (!isRead(request)) request.resume();
  return request;
}

/**
 * Whether somebody listens to what comes of a body.
 *
 * @param {import('node:stream').Readable} body
 */
function isRead(body) {
  return body.listenerCount('data') + body.listenerCount('readable') > 0;
}

/**
 * Lets the rest of a body be read and discarded whose request has been answered, and tells when it has come.
 *
 * @param {Connection} connection
 * @param {(request: import('node:http').IncomingMessage) => void} ended not called if it breaks off
 */
function hearBody({ socket }, ended) {
  const request = discardBody(socket);
  // Node sets its `keepAliveTimeout` when this has returned.
  timers.nextTick(keepAwake, socket);
  request?.once('close', () => {
    // By then the next one may have been answered, too, and have a body that is still coming.
    if (request.complete && answeredEarlyOn(socket) === null) ended(request);
  });
}

/**
 * Lets a connection be closed as it is about to be, with whatever comes behind its last answer: handlers
 * hear that their requests are broken off, and no further one is called. What the peer still writes would be answered
 * with a reset, so it is read and discarded through a second descriptor, which keeps the connection open.
 *
 * Where there can't be one, such a client is reset, as it is without us.
 *
 * @param {Connection} connection
 */
function hearOut(connection) {
  const descriptor = native.duplicate(descriptorOf(connection.accepted));
  if (descriptor === null) return;
  const rest = unreadSocket(descriptor);
  rest.on('error', () => {});
  connection.rest = rest;
  // Until then Node's parser reads; to take a part of its input would have it answer the rest with an error.
  connection.accepted.once('close', () => {
    // FIN has left, unless somebody has destroyed the socket: then there is none as long as a descriptor is open.
    rest.end();
    rest.resume();
  });
}

/**
 * Has the connection reset when it is destroyed, where there is a reset: TCP has one. Not by `resetAndDestroy()`: a socket that is
 * ending refuses that, and never closes then.
 *
 * @param {Connection} connection
 */
function reset({ accepted }) {
  native.resetAtClose(descriptorOf(accepted));
}

/** @param {Connection} connection */
function destroy({ accepted, socket, rest }) {
  socket.destroy();
  // A TLS socket takes the accepted one with it; a handshake that has not ended has no TLS socket yet.
  accepted.destroy();
  rest?.destroy();
}

module.exports = { close, destroy, end, hearBody, hearOut, isRead, linger, reset, saidClose, sayClose, sayKeepAlive };
