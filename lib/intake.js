// Keeps account of what is received on a connection during a termination: what belongs to requests that
// are known, and whether there is more.

const { inputOn } = require('./internals');
const native = require('./native');

/** @typedef {import('./connection').Connection} Connection */
/** @typedef {import('node:http').IncomingMessage} IncomingMessage */

// What TLS adds to each record: RFC 8446, section 5.2, and RFC 5288, section 3, for the ciphers in use.
const RECORD_OVERHEAD = 22;
// A request may come in more records than one. What they add must not be taken for a further request:
// an answer that then says keep-alive would make its client reuse a connection that is about to close.
// So up to two small records are overlooked, which is less than any browser or agent sends as a request.
const OVERLOOKED = 64;

class Intake {
  #connection;
  #http;
  #wire;
  /**
   * The last request that was accounted for.
   *
   * @type {IncomingMessage | undefined}
   */
  #request;
  /** Where its head ended, counted as `#http` is. */
  #headEnd = Number.NaN;

  /**
   * @param {Connection} connection
   * @param {{ http: number, wire: number }} accounted how much of what was received is accounted for:
   * on the socket that HTTP is spoken on, and on the one below
   */
  constructor(connection, { http, wire }) {
    this.#connection = connection;
    this.#http = http;
    this.#wire = wire;
  }

  /**
   * Everything received so far is accounted for.
   *
   * @param {Connection} connection
   */
  static fromNow(connection) {
    return new Intake(connection, received(connection));
  }

  /**
   * Nothing is accounted for: the connection's first request is still to come.
   *
   * @param {Connection} connection
   */
  static fromBeginning(connection) {
    // How much of what came in below TLS was the handshake is not known.
    return new Intake(connection, { http: 0, wire: connection.socket === connection.accepted ? 0 : Number.NaN });
  }

  /**
   * A request's body is still coming in. If that is not accounted for, nobody knows how much of what comes next belongs to
   * it, so nothing is concluded from numbers.
   *
   * @param {Connection} connection
   * @param {IncomingMessage | null} request
   */
  static amidBodyOf(connection, request) {
    const { intake } = connection;
    if (intake !== null && intake.#request === request) return intake;
    return new Intake(connection, { http: Number.NaN, wire: Number.NaN });
  }

  /**
   * Half a request has come, and nobody knows how much of what was received is older.
   *
   * @param {Connection} connection
   */
  static amidHead(connection) {
    return new Intake(connection, { http: Number.NaN, wire: received(connection).wire });
  }

  /** Whether nothing was received that is not accounted for. */
  get isSilent() {
    const { http, wire } = received(this.#connection);
    return http === this.#http && wire === this.#wire;
  }

  /**
   * Accounts for a request that has just begun, and tells whether more than it has been received: then
   * another one follows on the same connection, in the input that Node is working through.
   *
   * Nothing tells that directly, but the request's length does. Behind a chunked body that has not come whole nobody
   * knows: then the answer is yes for a client that has pipelined already.
   *
   * @param {IncomingMessage} request
   * @param {boolean} isPipelined whether another one is in flight before it
   */
  accountFor(request, isPipelined) {
    const { http, wire } = received(this.#connection);
    const head = headOf(request);
    const begin = Number.isNaN(this.#http) ? this.#find(head, http) : this.#http;
    this.#request = request;
    this.#headEnd = begin + head.length;
    this.#http = this.#headEnd + this.#bodyLengthOf(request, http - this.#headEnd);
    const tls = this.#connection.socket !== this.#connection.accepted;
    this.#wire += this.#http - begin + (tls ? RECORD_OVERHEAD : 0);
    if (Number.isNaN(this.#http)) return isPipelined;
    // Node hands out TLS records one by one, so the next request may have been received, but not yet decrypted.
    return http > this.#http || (tls && wire > this.#wire + OVERLOOKED);
  }

  /**
   * Where a request begins behind what nobody knows the length of. If that says the same as the request, it is taken for
   * it: then there is more than there seems to be, and not less.
   *
   * @param {string} head
   * @param {number} http how much has been received
   */
  #find(head, http) {
    const input = inputOn(this.#connection.socket)?.toString('latin1') ?? '';
    const inputBegin = http - input.length;
    const whole = input.indexOf(head, Number.isNaN(this.#headEnd) ? 0 : this.#headEnd - inputBegin);
    if (whole !== -1) return inputBegin + whole;
    // It began in what was read before.
    let rest = Math.min(head.length - 1, input.length);
    while (rest > 0 && !input.startsWith(head.slice(-rest))) rest -= 1;
    return rest > 0 ? inputBegin + rest - head.length : Number.NaN;
  }

  /**
   * @param {IncomingMessage} request
   * @param {number} received how much there is of its body, and of what may have come behind it
   */
  #bodyLengthOf({ headers }, received) {
    if (headers['transfer-encoding'] === undefined) return Number(headers['content-length'] ?? 0);
    const input = received > 0 ? inputOn(this.#connection.socket) : null;
    // A body begins in the input in which its head ends.
    if (input === null || received > input.length) return Number.NaN;
    return native.chunkedLength(input.subarray(-received)) ?? Number.NaN;
  }
}

/** @param {Connection} connection */
function received({ accepted, socket }) {
  const wire = accepted.bytesRead;
  return { http: socket === accepted ? wire : socket.bytesRead, wire };
}

/**
 * A request's head as it was on the wire, if it was written in the usual way.
 *
 * @param {IncomingMessage} request
 */
function headOf({ method, url, httpVersion, rawHeaders }) {
  let head = `${method} ${url} HTTP/${httpVersion}\r\n`;
  for (let place = 0; place < rawHeaders.length; place += 2) {
    head += `${rawHeaders[place]}: ${rawHeaders[place + 1]}\r\n`;
  }
  return `${head}\r\n`;
}

exports.Intake = Intake;
