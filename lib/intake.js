// Keeps account of what is received on a connection during a termination: what belongs to requests that
// are known, and whether there is more.

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
   * Nobody knows how much of what comes next belongs to a body, so nothing is concluded from numbers.
   *
   * @param {Connection} connection
   */
  static fromMiddle(connection) {
    return new Intake(connection, { http: Number.NaN, wire: Number.NaN });
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
   * Nothing tells that directly, but the request's length does. From a chunked body on nobody knows: then the answer is
   * yes for a client that has pipelined already.
   *
   * @param {IncomingMessage} request
   * @param {boolean} isPipelined whether another one is in flight before it
   */
  accountFor(request, isPipelined) {
    const length = lengthOf(request);
    const { http, wire } = received(this.#connection);
    const tls = this.#connection.socket !== this.#connection.accepted;
    this.#http += length;
    this.#wire += tls ? length + RECORD_OVERHEAD : length;
    if (Number.isNaN(this.#http)) return isPipelined;
    // Node hands out TLS records one by one, so the next request may have been received, but not yet decrypted.
    return http > this.#http || (tls && wire > this.#wire + OVERLOOKED);
  }
}

/** @param {Connection} connection */
function received({ accepted, socket }) {
  const wire = accepted.bytesRead;
  return { http: socket === accepted ? wire : socket.bytesRead, wire };
}

/**
 * How long a request was on the wire, if its headers were written in the usual way.
 *
 * @param {IncomingMessage} request
 */
function lengthOf({ method = '', url = '', headers, rawHeaders }) {
  if (headers['transfer-encoding'] !== undefined) return Number.NaN;
  const requestLine = `${method} ${url} HTTP/1.1\r\n`.length;
  // Each name and each value is followed by two bytes: a colon and a space, a carriage return and a newline.
  const fields = rawHeaders.reduce((length, part) => length + part.length + 2, 0);
  return requestLine + fields + '\r\n'.length + Number(headers['content-length'] ?? 0);
}

exports.Intake = Intake;
