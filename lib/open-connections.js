// The connections of a serving server, without a hold on them.

/** @typedef {import('./connection').Connection} Connection */

const COMPACT_AT_LEAST = 64;

/**
 * While a server is serving, nobody needs to know that a connection has closed. A `close` listener on each
 * socket would tell, at 200 bytes apiece: Node adds one of its own to every socket for each request, and
 * behind ours V8 would keep room for eighteen more. So connections are held weakly, and those
 * that are gone are let go when the list has doubled since that was done last.
 */
class OpenConnections {
  /** @type {Connection[]} */
  #connections = [];
  #compactAt = COMPACT_AT_LEAST;

  /** @param {Connection} connection */
  add(connection) {
    if (this.#connections.length === this.#compactAt) {
      this.#connections = [...this];
      this.#compactAt = Math.max(COMPACT_AT_LEAST, 2 * this.#connections.length);
    }
    this.#connections.push(connection);
  }

  clear() {
    this.#connections = [];
    this.#compactAt = COMPACT_AT_LEAST;
  }

  *[Symbol.iterator]() {
    for (const connection of this.#connections) if (connection.isOpen) yield connection;
  }
}

exports.OpenConnections = OpenConnections;
