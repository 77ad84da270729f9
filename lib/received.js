// How much has been received on a connection. Any Duplex may be one: see the `connection` event of `http.Server` in Node's
// documentation. Those that are no sockets don't say it.

const { bytesReadOn } = require('./internals');

/** @typedef {import('node:net').Socket} Socket */

/**
 * By those that don't say it themselves.
 *
 * @type {WeakMap<Socket, number>}
 */
const counted = new WeakMap();

/**
 * Counts from now on, if the connection does not do so itself.
 *
 * @param {Socket} socket
 */
function countReceived(socket) {
  if (bytesReadOn(socket) !== undefined || counted.has(socket)) return;
  let received = 0;
  counted.set(socket, received);
  // Before the parser hears of it. To listen does not make it flow, as `on()` would.
  socket.prependListener('data', (chunk) => {
    received += chunk.length;
    counted.set(socket, received);
  });
}

/**
 * @param {Socket} socket
 * @returns {number} since the connection began, or since it is counted; NaN, which is equal to nothing, if nobody knows
 */
function receivedOn(socket) {
  return bytesReadOn(socket) ?? counted.get(socket) ?? Number.NaN;
}

/**
 * Whether anything has ever come.
 *
 * @param {Socket} socket
 */
function hasReceived(socket) {
  return socket.bytesRead === undefined ? socket.readableDidRead : socket.bytesRead > 0;
}

module.exports = { countReceived, hasReceived, receivedOn };
