// How HTTP/1 ends: what is said to the peer, how each kind of close is done, how far a request has come.

/** @typedef {import('./connection').Connection} Connection */
/** @typedef {import('node:net').Socket} Socket */
/** @typedef {import('node:http').ServerResponse} ServerResponse */
/** @typedef {import('node:http').IncomingMessage} IncomingMessage */

// TLS adds at least so many bytes to each record (RFC 8446, section 5.2), and seldom more than this in all.
const TLS_RECORD_OVERHEAD = 22;
const TLS_RECORD_TOLERANCE = 64;

/**
 * Lets the last answer in flight say `Connection: close`, and no other. An answer whose head has left
 * can't be changed; its connection is closed after it.
 *
 * @param {Connection} connection
 */
function sayClose(connection) {
  for (const request of connection.requests()) {
    if (request !== connection.newest) keepAlive(request);
    else if (!request.response.headersSent) {
      request.connectionHeader = request.response.getHeader('Connection');
      request.saysClose = true;
      request.response.setHeader('Connection', 'close');
    }
  }
}

/** @param {Connection} connection */
function sayKeepAlive(connection) {
  for (const request of connection.requests()) keepAlive(request);
}

/** @param {import('./connection').Request} request */
function keepAlive(request) {
  if (!request.saysClose || request.response.headersSent) return;
  request.saysClose = false;
  request.response.setHeader('Connection', request.connectionHeader ?? 'keep-alive');
}

/**
 * Whether the answer told its client that the connection closes. Node ends the connection itself then.
 *
 * @param {ServerResponse} response
 */
function saidClose(response) {
  return /\bclose\b/i.test(String(response.getHeader('Connection')));
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
  socket.destroySoon();
}

/**
 * FIN after the last byte, then read and discard what comes until the peer closes (RFC 9112, section
 * 9.6): a reset would erase an answer that the peer has not read yet.
 *
 * @param {Connection} connection
 */
function linger({ socket }) {
  socket.end();
  // After an answer that says close Node calls `socket.destroySoon()`, which destroys the socket as
  // soon as FIN is sent, and so resets it if the client is still writing. That happens after the
  // event by which we learn of the answer's end, and takes effect on `finish`.
  process.nextTick(() => socket.removeListener('finish', socket.destroy));
}

/** @param {Connection} connection */
function destroy({ accepted, socket }) {
  socket.destroy();
  // A TLS socket takes the accepted one with it; a handshake that has not ended has no TLS socket yet.
  accepted.destroy();
}

/**
 * Whether a request, or a TLS handshake before it, has been received in part. What is missing of a
 * request that is in flight already does not count.
 *
 * @param {Connection} connection
 * @param {Set<Socket> | undefined} idle the sockets on whose parser no message has begun, if known
 */
function isReceiving({ socket, newest }, idle) {
  if (newest !== null && !newest.response.req.complete) return false;
  if (!(socket.bytesRead > 0)) return false;
  return idle === undefined ? newest === null && socket.bytesWritten === 0 : !idle.has(socket);
}

/**
 * Whether all that was received on a connection belongs to its first request.
 *
 * @param {Connection} connection
 */
function isFirstRequest({ accepted, socket, newest }) {
  return newest === null && socket === accepted && socket.bytesWritten === 0;
}

/**
 * Accounts for a request that has just begun, and tells whether more than it has been received: then
 * another one follows on the same connection, in the piece of input that Node is parsing.
 *
 * Nothing tells that directly, but the request's length does. Where it can't be known (a chunked body)
 * the answer is no, which is right for every client that does not pipeline.
 *
 * @param {Connection} connection
 * @param {IncomingMessage} request
 */
function accountFor(connection, request) {
  const tls = connection.socket !== connection.accepted;
  connection.bytesAccounted += lengthOf(request) + (tls ? TLS_RECORD_OVERHEAD : 0);
  return connection.bytesReceived - connection.bytesAccounted > (tls ? TLS_RECORD_TOLERANCE : 0);
}

/**
 * How long a request was on the wire, if its headers were written in the usual way.
 *
 * @param {IncomingMessage} request
 */
function lengthOf({ method = '', url = '', headers, rawHeaders }) {
  if (headers['transfer-encoding'] !== undefined) return Number.NaN;
  const requestLine = `${method} ${url} HTTP/1.1\r\n`.length;
  // Each name and each value is followed by two bytes: a colon and a space, a carriage return and a newline.
  const fields = rawHeaders.reduce((length, part) => length + part.length + 2, 0);
  return requestLine + fields + '\r\n'.length + Number(headers['content-length'] ?? 0);
}

module.exports = {
  accountFor,
  close,
  destroy,
  end,
  isFirstRequest,
  isReceiving,
  linger,
  saidClose,
  sayClose,
  sayKeepAlive,
};
