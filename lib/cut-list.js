// What a report says of the requests that a termination cut.

/** @typedef {import('./connection').Connection} Connection */
/** @typedef {import('../index').CutRequest} CutRequest */

const ROWS_AT_MOST = 100;

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
    const { hijackedBy, oldest } = connection;
    if (hijackedBy !== null) this.#addOnce(connection, connection, { ...hijackedBy, headersSent: true });
    else if (oldest === null) this.#addOnce(connection, connection, { headersSent: false });
    for (const { response, startedAt } of connection.requests()) {
      const { method, url } = response.req;
      this.#addOnce(response, connection, { method, url, startedAt, headersSent: response.headersSent });
    }
  }

  /**
   * @param {object} what
   * @param {Connection} connection
   * @param {{ method?: string | undefined, url?: string | undefined, startedAt?: number, headersSent: boolean }} details
   */
  #addOnce(what, { socket, accepted }, { method, url, startedAt, headersSent }) {
    if (this.#listed.has(what)) return;
    this.#listed.add(what);
    if (this.rows.length === ROWS_AT_MOST) {
      this.omitted += 1;
      return;
    }
    this.rows.push({
      protocol: socket === accepted ? 'http' : 'https',
      method: method ?? null,
      url: url ?? null,
      remoteAddress: accepted.remoteAddress ?? null,
      ageMs: startedAt === undefined ? null : performance.now() - startedAt,
      headersSent,
    });
  }
}

exports.CutList = CutList;
