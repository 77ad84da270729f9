// What a report says of the requests that a termination cut.

const { performance } = require('node:perf_hooks');

/** @typedef {import('./connection').Connection} Connection */
/** @typedef {import('../index').CutRequest} CutRequest */

/** How many requests a report lists, and how many errors of tasks. The rest is only counted. */
const LISTED_AT_MOST = 100;

class CutList {
  /** @type {CutRequest[]} */
  rows = [];
  /** How many more were cut than are listed. */
  omitted = 0;
  /** @type {WeakSet<object>} */
  #listed = new WeakSet();

  /**
   * Lists everything under way on a connection, once.
   *
   * @param {Connection} connection
   */
  add(connection) {
    const { hijackedBy } = connection;
    for (const request of connection.requests()) this.addRequest(request, connection);
    if (hijackedBy !== null) this.#addOnce(connection, connection, { head: hijackedBy, headersSent: true });
  }

  /**
   * @param {import('./requests').Request | import('./connection').Stream} request
   * @param {Connection} connection
   */
  addRequest(request, connection) {
    this.#addOnce(request, connection, request);
  }

  /**
   * Lists the request of which a connection has received a part.
   *
   * @param {Connection} connection
   */
  addHalf(connection) {
    this.#addOnce(connection, connection, { headersSent: false });
  }

  /**
   * @param {object} what
   * @param {Connection} connection
   * @param {{ head?: import('./connection').Head, startedAt?: number, headersSent: boolean }} details
   */
  #addOnce(what, { protocol, accepted }, { head, startedAt, headersSent }) {
    if (this.#listed.has(what)) return;
    this.#listed.add(what);
    if (this.rows.length === LISTED_AT_MOST) {
      this.omitted += 1;
      return;
    }
    this.rows.push({
      protocol,
      method: head?.method ?? null,
      url: head?.url ?? null,
      remoteAddress: accepted.remoteAddress ?? null,
      ageMs: startedAt === undefined ? null : performance.now() - startedAt,
      headersSent,
    });
  }
}

exports.CutList = CutList;
exports.LISTED_AT_MOST = LISTED_AT_MOST;
