// What is known of one connection: its sockets, and the requests in flight on it.

const { performance } = require('node:perf_hooks');
const { counterOf } = require('./received');
const { answeredEarlyOn } = require('./requests');

/** @typedef {import('node:net').Socket} Socket */
/** @typedef {import('node:http2').ServerHttp2Session} ServerHttp2Session */
/** @typedef {import('node:http2').ServerHttp2Stream} ServerHttp2Stream */
/** @typedef {import('./requests').Request} Request */
/** @typedef {{ method?: string | undefined, url?: string | undefined }} Head */

/** A request in flight over HTTP/2. */
class Stream {
  /** Whether it came only during a termination. */
  late = false;
  startedAt = performance.now();

  /**
   * @param {ServerHttp2Stream} stream
   * @param {Head} head
   */
  constructor(stream, head) {
    this.stream = stream;
    this.head = head;
  }

  get headersSent() {
    return this.stream.headersSent;
  }
}

class Connection {
  /** @type {ServerHttp2Session | null} */
  session = null;
  /** @type {Map<ServerHttp2Stream, Stream> | null} */
  streams = null;

  /**
   * The head of the request by which HTTP handed the connection over.
   *
   * @type {Head | null}
   */
  hijackedBy = null;

  // These are kept during a termination.

  /**
   * The requests in flight over HTTP/1, oldest first.
   *
   * @type {Request[]}
   */
  pipelined = [];

  /** @type {import('./intake').Intake | null} */
  intake = null;

  /**
   * What is read and discarded when HTTP has let go of the connection.
   *
   * @type {Socket | null}
   */
  rest = null;

  /** The machine's name for it, which it has during a termination. */
  id = -1;

  /** Whether it was ended here, and not by its peer, since its end is watched; see `watchEnd()`. */
  #isEndedHere = false;
  #isEndWatched = false;

  /**
   * @param {import('./attachment').Attachment} attachment
   * @param {Socket} accepted
   * @param {Socket} socket
   */
  constructor(attachment, accepted, socket) {
    this.attachment = attachment;
    /** The accepted socket, whose end is the connection's. */
    this.accepted = accepted;
    /** The socket that HTTP is spoken on: the accepted one, or the TLS socket above it. */
    this.socket = socket;
    this.counter = counterOf(accepted);
  }

  get protocol() {
    if (this.session !== null) return 'http2';
    // Before the handshake has ended there is no TLS socket.
    return this.socket !== this.accepted || this.attachment.isSecure ? 'https' : 'http';
  }

  /** The newest request in flight over HTTP/1. */
  get newest() {
    return this.pipelined.at(-1) ?? null;
  }

  /** Whether the body of a request that was answered already is still coming in. */
  get isAnsweredEarly() {
    return answeredEarlyOn(this.socket) !== null;
  }

  /**
   * Notes from now on which side ends the connection first. The other one follows: most clients close when they see FIN, and Node
   * does when its client has.
   */
  watchEnd() {
    if (this.#isEndWatched) return;
    this.#isEndWatched = true;
    // Before Node's own listener, which ends the socket.
    this.socket.prependOnceListener('end', () => {
      this.#isEndedHere = this.socket.writableEnded;
    });
  }

  /** Whether it was closed or broken off by its peer, and not here, once it has closed. */
  get isClosedByPeer() {
    if (this.#isEndedHere) return false;
    const broken = this.pipelined[0]?.response.errored;
    return [this.accepted, this.socket].some(({ errored, readableEnded }) => {
      const { code, syscall } = /** @type {NodeJS.ErrnoException} */ (errored ?? {});
      // What the operating system says, it says of the peer; but not that somebody here has destroyed what was still writing, nor what
      // an answer was broken off with, such as the error of another connection.
      return readableEnded || (syscall !== undefined && code !== 'ECANCELED' && errored !== broken);
    });
  }

  /** @returns {Generator<Request | Stream>} */
  *requests() {
    yield* this.pipelined;
    if (this.streams !== null) yield* this.streams.values();
  }
}

exports.Connection = Connection;
exports.Stream = Stream;
