// How HTTP/2 ends: a PING, so that what the peer has sent arrives, then GOAWAY twice and the end of the last stream.

// Not the global ones, which test runners replace by ones that wait for the test.
const { setImmediate, setTimeout } = require('node:timers');

/** @typedef {import('./connection').Connection} Connection */
/** @typedef {import('node:http2').ServerHttp2Session} ServerHttp2Session */

/** The error code of an end without an error (RFC 9113, section 7). */
const NO_ERROR = 0;

/** The highest id that a stream can have: a GOAWAY with it takes nothing back. */
const HIGHEST_ID = 2 ** 31 - 1;

/** How often a GOAWAY that has to wait is looked after, in milliseconds. Nothing tells when it has left. */
const LOOK_AGAIN_AFTER = 10;

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
 * One that announces the end goes before it, and only when that has left is the session closed. For Node refuses a
 * stream that comes to a closed session, and many versions (20.20, 22.20 and 24.15 among them) send what waits in the
 * midst of reading then: if GOAWAY waits, nghttp2 frees the very stream that it is reading, and the process dies, at
 * once or later. Once any GOAWAY has left, nghttp2 ignores new streams, and Node hears of none. That is also why none
 * is sent before the PING.
 *
 * @param {Connection} connection
 */
function closeSession({ session }) {
  if (session === null || session.closed || session.destroyed) return;
  session.goaway(NO_ERROR, HIGHEST_ID);
  // Node sends it before it runs an immediate, unless it is still writing.
  setImmediate(closeOnceSent, session);
}

/** @param {ServerHttp2Session} session */
function closeOnceSent(session) {
  if (session.destroyed) return;
  if (session.state.outboundQueueSize === 0) session.close();
  else setTimeout(closeOnceSent, LOOK_AGAIN_AFTER, session);
}

/** @param {Connection} connection */
function destroySession({ session }) {
  session?.destroy();
}

module.exports = { closeSession, destroySession, ping };
