// How much has been received on a connection. Any Duplex may be one: see the `connection` event of `http.Server` in Node's
// documentation. Those that are no sockets don't say it.

/** @typedef {import('node:net').Socket} Socket */
/** @typedef {{ http: number, wire: number }} Received how much, on the socket and on the accepted one below it */

/** Counts what comes, where the connection itself does not. */
class Counter {
  #socket;
  received = 0;

  /** @param {Socket} socket */
  constructor(socket) {
    this.#socket = socket;
    // Before the parser hears of it. To listen does not make it flow, as `on()` would.
    socket.prependListener('data', this.#count);
  }

  /** @param {Buffer} chunk */
  #count = ({ length }) => {
    this.received += length;
  };

  stop() {
    this.#socket.removeListener('data', this.#count);
  }
}

/** @param {Socket} socket */
function counterOf(socket) {
  return socket.bytesRead === undefined ? new Counter(socket) : null;
}

/**
 * @param {Socket} socket
 * @returns {number} NaN, which is equal to nothing, if it does not say it
 */
function receivedOn(socket) {
  return socket.bytesRead ?? Number.NaN;
}

/**
 * Whether anything has ever come.
 *
 * @param {Socket} socket
 */
function hasReceived(socket) {
  return socket.bytesRead === undefined ? socket.readableDidRead : socket.bytesRead > 0;
}

module.exports = { counterOf, hasReceived, receivedOn };
