// What is known of one connection: its sockets, and the requests in flight on it.

/** @typedef {import('node:net').Socket} Socket */
/** @typedef {import('node:http').ServerResponse} ServerResponse */
/** @typedef {import('node:http2').ServerHttp2Session} ServerHttp2Session */
/** @typedef {import('node:http2').ServerHttp2Stream} ServerHttp2Stream */
/** @typedef {{ method?: string | undefined, url?: string | undefined }} Head */

/** A request in flight over HTTP/1. */
class Request {
  /**
   * The one that was received after it. A chain costs an idle connection nothing and a request one small
   * object; it has more than one link only when a client pipelines.
   *
   * @type {Request | null}
   */
  next = null;
  /** Whether we made its answer say close, and what it had said about the connection before. */
  saysClose = false;
  /** @type {ReturnType<ServerResponse['getHeader']>} */
  connectionHeader = undefined;
  startedAt = performance.now();

  /**
   * @param {ServerResponse} response
   * @param {boolean} late whether it came only during a termination
   */
  constructor(response, late) {
    this.response = response;
    this.late = late;
  }

  /** @returns {Head} */
  get head() {
    return this.response.req;
  }

  get headersSent() {
    return this.response.headersSent;
  }
}

/** A request in flight over HTTP/2. */
class Stream {
  startedAt = performance.now();

  /**
   * @param {ServerHttp2Stream} stream
   * @param {Head} head
   * @param {boolean} late whether it came only during a termination
   */
  constructor(stream, head, late) {
    this.stream = stream;
    this.head = head;
    this.late = late;
  }

  get headersSent() {
    return this.stream.headersSent;
  }
}

class Connection {
  /** @type {Request | null} */
  oldest = null;
  /** @type {Request | null} */
  newest = null;

  /** @type {ServerHttp2Session | null} */
  session = null;
  /** @type {Map<ServerHttp2Stream, Stream> | null} */
  streams = null;

  /**
   * The request last answered before its body had come whole.
   *
   * @type {import('node:http').IncomingMessage | null}
   */
  answeredEarly = null;

  /**
   * The head of the request by which HTTP handed the connection over.
   *
   * @type {Head | null}
   */
  hijackedBy = null;

  /**
   * Kept during a termination.
   *
   * @type {import('./intake').Intake | null}
   */
  intake = null;

  /** The machine's name for it, which it has during a termination. */
  id = -1;

  /**
   * @param {import('./attachment').Attachment} attachment
   * @param {Socket} accepted
   */
  constructor(attachment, accepted) {
    this.attachment = attachment;
    /** The accepted socket, whose end is the connection's. */
    this.accepted = accepted;
    /** The socket that HTTP is spoken on: the accepted one, or the TLS socket above it. */
    this.socket = accepted;
  }

  get protocol() {
    if (this.session !== null) return 'http2';
    return this.socket === this.accepted ? 'http' : 'https';
  }

  /**
   * @param {ServerResponse} response
   * @param {boolean} late
   */
  push(response, late) {
    const request = new Request(response, late);
    if (this.newest === null) this.oldest = request;
    else this.newest.next = request;
    this.newest = request;
  }

  /** Forgets the oldest request: HTTP/1 answers in order. */
  shift() {
    this.oldest = this.oldest?.next ?? null;
    if (this.oldest === null) this.newest = null;
  }

  /** Those over HTTP/1, oldest first. */
  *pipelined() {
    for (let request = this.oldest; request !== null; request = request.next) yield request;
  }

  /** @returns {Generator<Request | Stream>} */
  *requests() {
    yield* this.pipelined();
    if (this.streams !== null) yield* this.streams.values();
  }
}

exports.Connection = Connection;
exports.Request = Request;
exports.Stream = Stream;
