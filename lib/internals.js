// All that is read of Node beyond its documentation, in one place. Nothing is ever written, and each
// function says what becomes of a termination where Node does not have what it looks for.

/** @typedef {import('node:net').Server} Server */
/** @typedef {import('node:net').Socket} Socket */

/**
 * The sockets on whose HTTP parser no message has begun, or undefined if that can't be learnt.
 *
 * Only Node's parser knows whether half a head has come. Without it, a connection that has been used
 * before counts as idle even then.
 *
 * @param {Server} server
 * @returns {Set<Socket> | undefined}
 */
function idleSockets(server) {
  const sockets = parsedSockets(server, 'idle');
  return sockets && new Set(sockets);
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
 * Node shows what its parsers know to nobody but `closeIdleConnections()` and its like. So that method is
 * run dry: on a stand-in for the server that passes everything through, except that the list of
 * connections which the method asks for turns out empty, after we have seen what is in it.
 *
 * @param {Server} server
 * @param {'idle' | 'all'} list
 * @returns {Socket[] | undefined}
 */
function parsedSockets(server, list) {
  const { closeIdleConnections } = /** @type {import('node:http').Server} */ (server);
  if (typeof closeIdleConnections !== 'function') return undefined;
  /** @type {Socket[] | undefined} */
  let sockets;
  const standIn = new Proxy(server, {
    get(target, key) {
      const value = Reflect.get(target, key);
      if (typeof value?.[list] !== 'function') return value;
      sockets = value[list]().map((/** @type {{ socket: Socket }} */ { socket }) => socket);
      return { idle: () => [] };
    },
  });
  closeIdleConnections.call(standIn);
  return sockets;
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
  return /** @type {any} */ (socket)._parent ?? socket;
}

/**
 * The answer that is being written to this socket, if there is one.
 *
 * Needed only for requests that were in flight before the terminator was created. Without it, those
 * count as idle.
 *
 * @param {Socket} socket
 * @returns {import('node:http').ServerResponse | null}
 */
function responseOn(socket) {
  return /** @type {any} */ (socket)._httpMessage ?? null;
}

module.exports = { acceptedSockets, httpSockets, idleSockets, responseOn, socketBelow };
