// What is coming in on one connection, as far as the kernel, Node and its parser tell.

const { Arriving } = require('./early').native;
const { activeSockets, isParsed, responseOn } = require('./internals');
const { Intake } = require('./intake');
const { hasReceived } = require('./received');
const { attachments } = require('./registry');
const { isFollowed } = require('./requests');
const { hasUnread } = require('./queues');

/** @typedef {import('node:net').Socket} Socket */
/** @typedef {import('node:http').IncomingMessage} IncomingMessage */
/** @typedef {import('./connection').Connection} Connection */

/**
 * What came in only during the termination has no account yet.
 *
 * @param {Connection} connection
 */
function intakeOf(connection) {
  connection.intake ??= Intake.fromBeginning(connection);
  return connection.intake;
}

/**
 * Whether nothing has come since the connection was known to be idle, or what has come is no part of a request: some
 * clients send an empty line behind one.
 *
 * @param {Connection} connection
 */
function isSilent(connection) {
  if (hasUnread(connection.accepted)) return false;
  if (intakeOf(connection).isSilent) return true;
  const { accepted, attachment, socket } = connection;
  const active = activeSockets(attachment.server);
  // Under TLS it may as well be the beginning of a record.
  return socket === accepted && isParsed(socket) && active !== undefined && !isReceiving(connection, active);
}

/**
 * Whether what has come on a connection that is not silent may be no request: nobody has read it yet, or it is so little
 * that TLS may have kept it to itself (a KeyUpdate, RFC 8446, section 4.6.3). Then nothing tells but time.
 *
 * @param {Connection} connection
 */
function mayBeNothing(connection) {
  const { accepted, attachment, socket } = connection;
  if (isReceiving(connection, activeSockets(attachment.server))) return false;
  return hasUnread(accepted) || (socket !== accepted && intakeOf(connection).isAlmostSilent);
}

/**
 * Whether a request, or a TLS handshake before it, has been received in part, or whole if it is not known. What is missing
 * of a request that is in flight already does not count.
 *
 * @param {Connection} connection
 * @param {Set<Socket> | undefined} active the sockets on whose parser a message has begun, if known
 */
function isReceiving({ accepted, attachment, socket, newest }, active) {
  if (newest !== null && !newest.response.req.complete) return false;
  if (newest !== null && isFollowed(socket, newest.response.req)) return true;
  // Where somebody has ended it, as for what is no request, no answer can leave any more.
  if (!hasReceived(socket) || socket.writableEnded) return false;
  // In the middle of a handshake.
  if (attachment.isSecure && socket === accepted) return true;
  // What is no HTTP has no end that could be known, unless it is handed on to a server that speaks it.
  if (!attachment.speaksHttp) return !isParsed(socket) || isBusyElsewhere(socket);
  return active === undefined ? newest === null && isUnanswered(socket) : active.has(socket) || !isParsed(socket);
}

/**
 * Whether a request is under way on a socket that was handed on to another server, or that one is followed, too: then it is for
 * that to end what is idle.
 *
 * @param {Socket} socket
 */
function isBusyElsewhere(socket) {
  const { server } = /** @type {{ server?: import('node:net').Server }} */ (/** @type {unknown} */ (socket));
  return (server !== undefined && attachments.has(server)) || Boolean(responseOn(socket)) || isUnanswered(socket);
}

/**
 * Whether nothing has ever been written to it.
 *
 * @param {Socket} socket
 */
function isUnanswered(socket) {
  // A Duplex that is no socket does not count.
  return socket.bytesWritten === undefined ? responseOn(socket) === undefined : socket.bytesWritten === 0;
}

/**
 * What is still coming in on a connection when an answer on it has ended.
 *
 * @param {Connection} connection
 * @param {IncomingMessage} request
 */
function arrivingAfter(connection, request) {
  if (!request.complete) {
    connection.intake = Intake.amidBody(connection, request);
    return Arriving.Body;
  }
  // What comes after an upgrade is no request.
  if (connection.hijackedBy !== null) return Arriving.Nothing;
  if (isFollowed(connection.socket, request)) return Arriving.NextRequest;
  const active = activeSockets(connection.attachment.server);
  if (isReceiving(connection, active)) {
    if (active?.has(connection.socket)) connection.intake = Intake.amidHead(connection);
    return Arriving.NextRequest;
  }
  if (hasUnread(connection.accepted)) return Arriving.NextRequest;
  // While another one is in flight, Node's parser may be in the middle of its input.
  if (connection.newest === null) connection.intake = Intake.fromNow(connection);
  return Arriving.Nothing;
}

module.exports = { arrivingAfter, intakeOf, isReceiving, isSilent, isUnanswered, mayBeNothing };
