// All that is read of Node beyond its documentation, in one place. Each function says what becomes of a termination where Node
// does not have what it looks for. Nothing is written; only `hide()` of lib/listener.js hides for a moment what is found here.

/** @typedef {import('node:net').Server} Server */
/** @typedef {import('node:net').Socket} Socket */

/**
 * The sockets on whose HTTP parser a message has begun and not ended, or on which nothing has come yet; or
 * undefined if that can't be learnt.
 *
 * Only Node's parser knows whether half a head has come. Without it, a connection that has been used
 * before counts as idle even then.
 *
 * @param {Server} server
 * @returns {Set<Socket> | undefined}
 */
function activeSockets(server) {
  const sockets = parsedSockets(server, 'active');
  return sockets && new Set(sockets);
}

/**
 * The sockets on whose HTTP parser no message has begun, though one may have ended: those on which an answer is being
 * written, and, with a gap for each of these, the others. Since Node 26 those on which nothing has come yet are among them.
 *
 * To touch thousands of sockets takes milliseconds, so their parsers are asked first whether the last request has been
 * answered.
 *
 * Without it, no connection is one of many; see `QuietConnections`.
 *
 * @param {Server} server
 * @returns {{ answering: Socket[], others: (Socket | null)[] }}
 */
function lookAtIdle(server) {
  const others = parserList(server)?.idle() ?? [];
  const answering = [];
  for (let place = 0; place < others.length; place += 1) {
    const { incoming, socket } = others[place];
    const isAnswering = incoming !== null && Boolean(responseOn(socket));
    if (isAnswering) answering.push(socket);
    others[place] = isAnswering ? null : socket;
  }
  return { answering, others };
}

/**
 * The sockets on which the server speaks HTTP. Under TLS these are not the accepted ones, but stand
 * above them; without them, TLS connections that were opened before the terminator was created are
 * known from their next request on.
 *
 * @param {Server} server
 * @returns {Socket[]}
 */
function httpSockets(server) {
  return parsedSockets(server, 'all') ?? [];
}

/**
 * @param {Server} server
 * @param {'active' | 'all'} which
 * @returns {Socket[] | undefined}
 */
function parsedSockets(server, which) {
  const parsers = parserList(server)?.[which]();
  // There may be thousands, and this is code that has hardly ever run: a callback for each takes a millisecond.
  for (let place = 0; place < parsers?.length; place += 1) parsers[place] = parsers[place].socket;
  return parsers;
}

/**
 * What Node's parsers know of their connections, which is the list that `closeIdleConnections()` and its like go by. It
 * has no name but a symbol of Node's own, so it is recognised by its methods.
 *
 * To call `closeIdleConnections()` on a stand-in that shows an empty list would also tell, but only in Node: in
 * other runtimes it closes connections all the same.
 *
 * @param {Server} server
 * @returns {any}
 */
function parserList(server) {
  return Object.getOwnPropertySymbols(server)
    .map((key) => /** @type {any} */ (server)[key])
    .find((list) => typeof list?.idle === 'function' && typeof list.expired === 'function');
}

/**
 * Whether the server's HTTP/1 connections can be found at any time. If not, they are followed from their
 * beginning.
 *
 * @param {Server} server
 */
function listsConnections(server) {
  return parserList(server) !== undefined;
}

/**
 * The sockets that the server has accepted and not closed yet, as TCP has them.
 *
 * Without it, connections that were opened before the terminator was created are known from their
 * next request on.
 *
 * @param {Server} server
 * @returns {Socket[]}
 */
function acceptedSockets(server) {
  const { _getActiveHandles } = /** @type {any} */ (process);
  if (typeof _getActiveHandles !== 'function') return [];
  return _getActiveHandles.call(process).filter((/** @type {any} */ handle) => handle?.server === server);
}

/**
 * The TCP socket below a TLS socket, or the socket itself.
 *
 * Without it, the two count as two connections, of which the TCP one is never idle.
 *
 * @param {Socket} socket
 * @returns {Socket}
 */
function socketBelow(socket) {
  const { _handle, _parent } = /** @type {any} */ (socket);
  // Node wraps a Duplex that is none of its sockets.
  return _parent ?? _handle?._parentWrap?.stream ?? socket;
}

/**
 * The parser of what comes in on this socket. Node uses it for another connection afterwards.
 *
 * Without it, what is known of a connection is kept by its socket, which costs more.
 *
 * @param {Socket} socket
 * @returns {object | null}
 */
function parserOn(socket) {
  return /** @type {any} */ (socket).parser ?? null;
}

/**
 * The request whose body is coming in, or the last one to have come whole; null if neither is known.
 *
 * Without it, the rest of a body counts as half a request if its request has been answered.
 *
 * @param {Socket} socket
 * @returns {import('node:http').IncomingMessage | null}
 */
function requestComingInOn(socket) {
  return /** @type {any} */ (socket).parser?.incoming ?? null;
}

/**
 * What was read from this socket last. While a request starts, its parser is working through that.
 *
 * Without it, the end of a chunked body is known only when the parser has come to it.
 *
 * @param {Socket} socket
 * @returns {Buffer | null}
 */
function inputOn(socket) {
  return /** @type {any} */ (socket).parser?.getCurrentBuffer?.() ?? null;
}

/**
 * Whether HTTP/1 is spoken on this socket. It is not yet below a TLS handshake, and no more after an upgrade.
 *
 * Without it, a handshake that has begun is waited for as long as half a request, and so is what a tunnel was
 * before the terminator was created.
 *
 * @param {Socket} socket
 */
function isParsed(socket) {
  return parserOn(socket) !== null;
}

/**
 * The answer that is being written to this socket, or null if there is none. It is undefined before the connection's
 * first request; and when a request starts, Node has not set it yet.
 *
 * Without it, requests in flight are known only from when a termination has begun, and count as idle before.
 *
 * @param {Socket} socket
 * @returns {import('node:http').ServerResponse | null | undefined}
 */
function responseOn(socket) {
  return /** @type {any} */ (socket)._httpMessage;
}

/**
 * Whether Node closes the connection after this answer, whose head has left. It does because its client asked for that, too,
 * or because the handler gave the header to `writeHead()`, which `getHeader()` does not show.
 *
 * Without it, the connection does not linger after such an answer, and is reset if its client is still writing.
 *
 * @param {import('node:http').ServerResponse} response
 * @returns {boolean | undefined}
 */
function isLast(response) {
  return /** @type {any} */ (response)._last;
}

/**
 * Whether it answers a request by which HTTP has handed its connection over.
 *
 * Without it, such an answer counts as one in flight if somebody assigns it to the connection.
 *
 * @param {import('node:http').ServerResponse} response
 */
function isToUpgrade(response) {
  return /** @type {any} */ (response.req).upgrade === true;
}

/**
 * Whether the process has begun to exit, so that its listeners to `exit` have been called.
 *
 * Without it, an exit that one of these stops by throwing is not taken up again.
 */
function isExiting() {
  return /** @type {any} */ (process)._exiting === true;
}

/**
 * Where the server keeps its HTTP/2 sessions, which it closes with its listener since Node 24.
 *
 * Without it, they are closed before they have been asked whether they have more to say.
 *
 * @param {Server} server
 * @returns {symbol[]}
 */
function sessionSetsOf(server) {
  return Object.getOwnPropertySymbols(server).filter(({ description }) => description === 'sessions');
}

/**
 * What the handler of a stream reads its request from: the stream, or the request object that reads it for `request`
 * listeners.
 *
 * Without it, what such a handler has paused is waited for until the deadline.
 *
 * @param {import('node:http2').ServerHttp2Stream} stream
 * @returns {import('node:stream').Readable}
 */
function handlersEndOf(stream) {
  const key = Object.getOwnPropertySymbols(stream).find(({ description }) => description === 'request');
  return (key && /** @type {any} */ (stream)[key]) ?? stream;
}

/**
 * The descriptor of a listener's or a connection's socket, or -1. It is good for this tick only: afterwards
 * the number may name another file.
 *
 * Without it, what the kernel holds is not known: see the portable half of src/kernel.
 *
 * @param {Server | Socket} owner
 * @returns {number}
 */
function descriptorOf(owner) {
  return /** @type {any} */ (owner)._handle?.fd ?? -1;
}

/**
 * Whether the head of an answer has been written to its connection, and not only made.
 *
 * Without it, a head that waits for the first part of the body counts as written.
 *
 * @param {import('node:http').ServerResponse} response
 */
function hasHeadLeft(response) {
  const { _header, _headerSent, headersSent, socket } = /** @type {any} */ (response);
  // Bun has `_headerSent`, and never sets it; but its `_header` is no text.
  const isOnlyMade = typeof _header === 'string' && _headerSent === false;
  // It is not its turn while the answer to an earlier request is being written.
  return headersSent && socket !== null && !isOnlyMade;
}

/**
 * Whether something that was written on a connection waits for the kernel to take it.
 *
 * Without it, that is not known of HTTP/2, whose writes do not go through the socket's stream.
 *
 * @param {Socket} socket that was accepted
 */
function isWriting(socket) {
  return /** @type {any} */ (socket)._handle?.writeQueueSize > 0;
}

/**
 * The addresses of both ends of a connection. A socket's own getters would leave them on it.
 *
 * Without it, they are not known of connections that have gone when a termination begins, and a listener is closed without
 * holding back who comes, if nobody is there.
 *
 * @param {Socket} socket
 * @returns {import('./distance').Ends}
 */
function endsOf(socket) {
  const { _handle } = /** @type {any} */ (socket);
  /** @type {{ address?: string }[]} */
  const [remote, local] = [{}, {}];
  _handle?.getpeername?.(remote);
  _handle?.getsockname?.(local);
  return { remoteAddress: remote.address, localAddress: local.address };
}

/**
 * A socket of a connection's second descriptor, which reads nothing before it is resumed. Node's documentation does
 * not know that option.
 *
 * Without it, the socket reads at once, as much as it buffers, and Node's parser may miss that.
 *
 * @param {number} descriptor
 */
function unreadSocket(descriptor) {
  // Loaded by now, as there is a server; and not before, by those who only load this package.
  const net = require('node:net');
  return new net.Socket(/** @type {any} */ ({ fd: descriptor, manualStart: true }));
}

/**
 * Whether this process has bound the server's listener itself, so that only those share it to whom it has
 * handed it on: it does not belong to a cluster, nor was it opened by `listen({ fd })` or by a handle.
 *
 * Without it, no listener counts as bound here, and none is held while it closes.
 *
 * @param {Server} server
 */
function isBoundHere(server) {
  // The family, address and port that it was bound to; a handle that came from elsewhere has none.
  const isBound = /^[46]:/.test(/** @type {any} */ (server)._connectionKey);
  const cluster = /** @type {import('node:cluster').Cluster} */ (/** @type {unknown} */ (require('node:cluster')));
  return isBound && cluster.isPrimary;
}

/**
 * Whether connections are accepted by the primary of a cluster, and handed to this process: then what stands for the listener has
 * no descriptor, not even -1.
 *
 * Without it, a worker does not wait until the primary knows that its listener has closed.
 *
 * @param {Server} server
 */
function isAcceptedByPrimary(server) {
  const { _handle } = /** @type {any} */ (server);
  return process.connected === true && _handle !== null && typeof _handle === 'object' && !('fd' in _handle);
}

module.exports = {
  acceptedSockets,
  activeSockets,
  descriptorOf,
  endsOf,
  handlersEndOf,
  hasHeadLeft,
  httpSockets,
  inputOn,
  isAcceptedByPrimary,
  isBoundHere,
  isExiting,
  isLast,
  isParsed,
  isToUpgrade,
  isWriting,
  listsConnections,
  lookAtIdle,
  parserOn,
  requestComingInOn,
  responseOn,
  sessionSetsOf,
  socketBelow,
  unreadSocket,
};
