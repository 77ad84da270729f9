// How HTTP/2 ends: a PING, so that what the peer has sent arrives, then GOAWAY and the end of the last stream.

const http1 = require('./http1');

/** @typedef {import('./connection').Connection} Connection */
/** @typedef {import('./connection').Stream} Stream */
/** @typedef {import('node:http2').ServerHttp2Session} ServerHttp2Session */

// RFC 9113, section 7.
const NO_ERROR = 0;
const INTERNAL_ERROR = 2;
const CANCEL = 8;

/**
 * @param {Connection} connection
 * @param {() => void} ponged called once, also if no PING can be sent; never if it is not acknowledged
 */
function ping({ session }, ponged) {
  // A session refuses to ping when it is closing, or has too many PINGs on the way (`maxOutstandingPings`).
  if (session === null || session.closed || session.destroyed || !session.ping(ponged)) ponged();
}

/**
 * GOAWAY with the last stream that is served, so that clients know that they may retry later ones
 * (RFC 9113, section 6.8). Node closes the connection after the last stream.
 *
 * A GOAWAY that announces the end before, with the highest possible id, is not sent: nghttp2 ignores
 * streams that are opened after any GOAWAY.
 *
 * @param {Connection} connection
 */
function closeSession({ session }) {
  session?.close();
}

/**
 * Whether half a request has come on a session that is closing: what else keeps it open without a stream?
 *
 * @param {Connection} connection
 */
function isReceiving({ session, streams }) {
  return session !== null && !session.destroyed && streams?.size === 0;
}

/**
 * With a stream in flight, GOAWAY gives a reason: without one, clients of Node take the part of an answer that they
 * have for all of it. Any other reason would be an error of the stream here, too, which nobody may listen to.
 *
 * @param {Connection} connection
 */
function destroy(connection) {
  const { session, streams } = connection;
  if (streams?.size) session?.destroy(/** @type {any} */ (null), CANCEL);
  else session?.destroy();
  // Not in the same turn, in which the session writes its last: clients of Node may not notice the end of a TLS
  // connection that ends without an alert.
  setImmediate(() => http1.destroy(connection));
}

/**
 * Whether the answer on a stream that has closed was sent whole.
 *
 * @param {Stream} request
 */
function isAnswered({ stream }) {
  return stream.rstCode === NO_ERROR && stream.headersSent && stream.writableFinished;
}

/**
 * Whether the stream was reset by its client, as far as the code tells: Node does not, but itself uses no others.
 *
 * @param {Stream} request
 */
function isTakenBack({ stream: { rstCode } }) {
  return rstCode !== NO_ERROR && rstCode !== INTERNAL_ERROR;
}

module.exports = { closeSession, destroy, isAnswered, isReceiving, isTakenBack, ping };
