// How HTTP/2 ends: a PING, so that what the peer has sent arrives, then GOAWAY and the end of the last stream.

/** @typedef {import('./connection').Connection} Connection */
/** @typedef {import('node:http2').ServerHttp2Session} ServerHttp2Session */

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

/** @param {Connection} connection */
function destroySession({ session }) {
  session?.destroy();
}

module.exports = { closeSession, destroySession, ping };
