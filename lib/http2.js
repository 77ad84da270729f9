// How HTTP/2 ends: a PING, so that what the peer has sent arrives, then GOAWAY twice and the end of the last stream.

const { setImmediate, setTimeout } = require('./early').timers;
const http1 = require('./http1');
const { handlersEndOf, isWriting } = require('./internals');
const { hasUnread } = require('./queues');

/** @typedef {import('./connection').Connection} Connection */
/** @typedef {import('./connection').Stream} Stream */
/** @typedef {import('node:http2').ServerHttp2Session} ServerHttp2Session */
/** @typedef {import('node:http2').ServerHttp2Stream} ServerHttp2Stream */

// Error codes (RFC 9113, section 7).
const NO_ERROR = 0;
const CANCEL = 8;

/** The highest id that a stream can have: a GOAWAY with it takes nothing back. */
const HIGHEST_ID = 2 ** 31 - 1;

/** How often a GOAWAY that has to wait is looked after, in milliseconds. Nothing tells when it has left. */
const LOOK_AGAIN_AFTER = 10;

/**
 * @param {Connection} connection
 * @param {() => void} ponged called once, also if no PING can be sent; never if it is not acknowledged
 */
function ping({ accepted, session }, ponged) {
  // What has come with the acknowledgement, and behind it, is read first. TLS hands it on record by record, and Node sends what
  // waits behind each: the GOAWAY would leave between two of them, and nghttp2 ignore the requests in the second one. Another
  // turn reads what waits in the kernel, unless Node has ceased to read, which nobody waits for.
  const heard = () => setImmediate(() => (hasUnread(accepted) ? setImmediate(ponged) : ponged()));
  // It calls back, too, if it refuses since too many PINGs are on the way (`maxOutstandingPings`).
  if (session === null || session.closed || session.destroyed) ponged();
  else session.ping(heard);
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
 * @param {() => void} closing called when no further streams are taken
 */
function closeSession(connection, closing) {
  const { session } = connection;
  if (session === null || session.destroyed) return;
  if (session.closed) {
    closed(connection, closing);
    return;
  }
  session.goaway(NO_ERROR, HIGHEST_ID);
  // Node sends it before it runs an immediate, unless it is still writing.
  const isSending = () => hasMoreToSend(session);
  setImmediate(onceSent, session, isSending, () => {
    session.close();
    closed(connection, closing);
  });
}

/**
 * @param {ServerHttp2Session} session
 * @param {() => boolean} isSending
 * @param {() => void} sent not called if the session is destroyed before
 */
function onceSent(session, isSending, sent) {
  if (session.destroyed) return;
  if (isSending()) setTimeout(onceSent, LOOK_AGAIN_AFTER, session, isSending, sent);
  else sent();
}

/**
 * @param {Connection} connection whose session takes no further streams
 * @param {() => void} closing
 */
function closed({ streams }, closing) {
  for (const stream of streams?.keys() ?? []) {
    if (stream.writableFinished) discardBody(stream);
    else stream.once('finish', () => discardBody(stream));
  }
  closing();
}

/**
 * Lets the rest of a request be read whose answer has left, if its handler has stopped reading: before that its stream can't
 * end. Not RST_STREAM with NO_ERROR, which is meant for it (RFC 9113, section 8.1): clients of Node 24 and before that have
 * more to write don't close then.
 *
 * @param {ServerHttp2Stream} stream
 */
function discardBody(stream) {
  // If nobody has begun to read, Node resets it like that all the same, and does not if somebody reads.
  if (stream.readableFlowing === null && !stream.readableDidRead) return;
  const body = handlersEndOf(stream);
  if (!http1.isRead(body)) body.resume();
}

/**
 * Whether half a request has come on a session that is closing, and has written its last: what else keeps it open
 * without a stream?
 *
 * @param {Connection} connection
 */
function isReceiving({ session, streams }) {
  return session !== null && !session.destroyed && streams?.size === 0;
}

/**
 * Lets the client of a session that has streams in flight know that they are cut, then ends the connection with FIN and reads on.
 *
 * A connection that is not destroyed here is destroyed later, if the client does not close it. So nothing is to be done where
 * somebody has destroyed the session.
 *
 * @param {Connection} connection
 */
function cut({ accepted, session }) {
  if (session === null || session.destroyed) return;
  giveReason(session);
  const isSending = () => isHeldUp(session, accepted);
  setImmediate(onceSent, session, isSending, () => {
    // Of one that was closed before, Node does not destroy the socket with it.
    session.close();
    breakOff(session);
  });
}

/** @param {Connection} connection */
function destroy(connection) {
  const { session, streams } = connection;
  if (!streams?.size || session === null || session.destroyed) {
    session?.destroy();
    destroySocket(connection);
    return;
  }
  giveReason(session);
  // Not in the same turn: where TLS is still writing, as it is to clients that are a round trip away, the reason would not leave
  // before the end of the connection.
  setImmediate(() => {
    // What waits when a session is destroyed is not sent. A client that has heard of nothing takes FIN for the end of what it has,
    // but not a reset. One that has had a GOAWAY before takes either for that, and whether it has does not show.
    const isUntold = !session.destroyed && isHeldUp(session, connection.accepted);
    if (isUntold) http1.reset(connection);
    breakOff(session);
    destroySocket(connection);
  });
}

/**
 * With a stream in flight, GOAWAY gives a reason: without one, clients of Node take the part of an answer that they
 * have for all of it.
 *
 * @param {ServerHttp2Session} session
 */
function giveReason(session) {
  session.goaway(CANCEL);
}

/** @param {ServerHttp2Session} session */
function breakOff(session) {
  // Any other reason would be an error of its streams here, too, which nobody may listen to.
  session.destroy(/** @type {any} */ (null), CANCEL);
}

/** @param {ServerHttp2Session} session that is not destroyed, and may have handed more to its connection than that has sent */
function hasMoreToSend(session) {
  return session.state.outboundQueueSize !== 0;
}

/**
 * Whether something has not left, of what the session is to send or of what its connection was handed.
 *
 * @param {ServerHttp2Session} session that is not destroyed
 * @param {Connection['accepted']} accepted
 */
function isHeldUp(session, accepted) {
  return hasMoreToSend(session) || isWriting(accepted);
}

/**
 * Not in the turn in which the session writes its last: clients of Node may not notice the end of a TLS connection that
 * ends without an alert.
 *
 * @param {Connection} connection
 */
function destroySocket(connection) {
  setImmediate(() => http1.destroy(connection));
}

/**
 * Whether the answer on a stream that has closed was sent whole. If its request had come whole, Node closes it with the last
 * byte, and never says that it has finished. One that is broken off behind its `end()` without an error, here or by its client
 * with NO_ERROR, looks the same.
 *
 * @param {Connection} connection
 * @param {Stream} request
 */
function isAnswered(connection, { stream }) {
  const isEnded = stream.writableFinished || (stream.writableEnded && !stream.errored && !connection.isClosedByPeer);
  return stream.rstCode === NO_ERROR && stream.headersSent && isEnded && !stream.aborted;
}

/**
 * Whether the stream was reset by its client, or broken off with its session. Node does not tell, but then it ends the
 * answer itself, and does not if somebody here destroys the stream. `stream.close()` called here looks like a client's reset.
 *
 * @param {Stream} request
 */
function isTakenBack({ stream }) {
  const { code } = /** @type {NodeJS.ErrnoException} */ (stream.errored ?? {});
  // What has yet to leave is not ended, but Node makes no error of it either.
  const isReset = stream.rstCode !== NO_ERROR && !stream.errored;
  return stream.writableFinished || isReset || code === 'ERR_HTTP2_SESSION_ERROR';
}

module.exports = { closeSession, cut, destroy, isAnswered, isReceiving, isTakenBack, ping };
