// What is known of one connection: its sockets, and the requests in flight on it, oldest first.

/** @typedef {import('node:net').Socket} Socket */
/** @typedef {import('node:http').ServerResponse} ServerResponse */

/**
 * One request in flight. They form a chain because that costs an idle connection nothing and a
 * request one small object; more than one is in flight only when a client pipelines.
 *
 * @typedef {object} Request
 * @property {ServerResponse} response
 * @property {number} startedAt as of performance.now()
 * @property {Request | null} next the one that was received after it
 * @property {boolean} saysClose whether we made its answer say close
 * @property {ReturnType<ServerResponse['getHeader']>} connectionHeader what it said before that
 */

class Connection {
  /** @type {Request | null} */
  oldest = null;
  /** @type {Request | null} */
  newest = null;

  /**
   * The request last answered before its body had come whole.
   *
   * @type {import('node:http').IncomingMessage | null}
   */
  answeredEarly = null;

  /**
   * The head of the request by which HTTP handed the connection over.
   *
   * @type {{ method: string | undefined, url: string | undefined } | null}
   */
  hijackedBy = null;

  /**
   * Kept during a termination.
   *
   * @type {import('./intake').Intake | null}
   */
  intake = null;

  /**
   * @param {import('./attachment').Attachment} attachment
   * @param {number} id the machine's name for it
   * @param {Socket} accepted
   */
  constructor(attachment, id, accepted) {
    this.attachment = attachment;
    this.id = id;
    /** The accepted socket, whose end is the connection's. */
    this.accepted = accepted;
    /** The socket that HTTP is spoken on: the accepted one, or the TLS socket above it. */
    this.socket = accepted;
  }

  /** @param {ServerResponse} response */
  push(response) {
    /** @type {Request} */
    const request = {
      response,
      startedAt: performance.now(),
      next: null,
      saysClose: false,
      connectionHeader: undefined,
    };
    if (this.newest === null) this.oldest = request;
    else this.newest.next = request;
    this.newest = request;
  }

  /** Forgets the oldest request: HTTP/1 answers in order. */
  shift() {
    this.oldest = this.oldest?.next ?? null;
    if (this.oldest === null) this.newest = null;
  }

  *requests() {
    for (let request = this.oldest; request !== null; request = request.next) yield request;
  }
}

exports.Connection = Connection;
