// What TLS has received and not handed out yet. It hands out record by record, each in a call of its own, and nothing tells
// whether another one follows. But how much has been received on the socket below does.

const { socketBelow } = require('./internals');
const { receivedOn } = require('./received');

/** @typedef {import('node:net').Socket} Socket */
/** @typedef {import('node:tls').TLSSocket} TLSSocket */
/** @typedef {import('./received').Received} Received */

/** How much is in one at most (RFC 8446, section 5.1). */
const RECORD_AT_MOST = 2 ** 14;

/** `GET / HTTP/1.0` and an empty line. What else a client may send in between is shorter: an alert, or a KeyUpdate. */
const SHORTEST_REQUEST = 18;

/**
 * What had been received on connections when it had just been handed out: at the beginning of the last request, or at the end of the
 * handshake.
 *
 * @type {WeakMap<Socket, Received>}
 */
const handedOut = new WeakMap();

class Records {
  #socket;
  /** How much is known to have been handed out, and how much that was on the socket below. */
  #http;
  #wire;
  /** @type {number | undefined} what TLS adds to each, when it was first asked for: most connections send nothing more */
  #overhead;

  /**
   * @param {import('node:net').Socket} socket
   * @param {Received} handedOut everything that has been received so far
   */
  constructor(socket, { http, wire }) {
    this.#socket = /** @type {TLSSocket} */ (socket);
    this.#http = http;
    this.#wire = wire;
  }

  /**
   * Whether more has been received than was handed out.
   *
   * @param {Received} received
   * @param {number} last how much of it was handed out last, if that is what is being worked through
   * @param {number} awaited how much is still to be handed out of what is known to come
   */
  isMore({ http, wire }, last, awaited) {
    const plain = http - this.#http;
    if (plain > 0) {
      // What was handed out last is one record. What came before it, as the beginning of a head or a body, came in one or more,
      // and nobody has counted them. If there were more, there seems to be more than there is, which loses nothing.
      const before = plain - Math.min(plain, last);
      this.#wire += this.lengthOf(before) + this.lengthOf(plain - before);
      this.#http = http;
    }
    return wire - this.#wire - this.lengthOf(awaited) >= this.lengthOf(SHORTEST_REQUEST);
  }

  /**
   * How much it is below TLS.
   *
   * @param {number} plain of which nobody knows in how many records it comes: it is in as few as can be
   */
  lengthOf(plain) {
    this.#overhead ??= overheadOf(this.#socket);
    return plain + this.#overhead * Math.ceil(plain / RECORD_AT_MOST);
  }
}

/**
 * What TLS adds to each record: RFC 8446, section 5.2; RFC 5288, section 3; RFC 7905, section 2.
 *
 * @param {TLSSocket} socket
 * @returns {number} at least, for ciphers that pad (RFC 5246, section 6.2.3.2): they are of clients that hardly pipeline
 */
function overheadOf(socket) {
  if (socket.getProtocol?.() === 'TLSv1.3') return 22;
  const cipher = socket.getCipher?.()?.name ?? '';
  if (/GCM/.test(cipher)) return 29;
  return /CHACHA20/.test(cipher) ? 21 : 42;
}

/** @param {Socket} socket over TLS, which has handed out all that it had, as far as is known */
function noteHandedOut(socket) {
  handedOut.set(socket, receivedOver(socket));
}

/**
 * How much of what has been received over TLS has been handed out. What has come behind it is the beginning of a record, as of a
 * head that is longer than a segment of TCP. Where a body has been handed out since it was noted, nobody knows, and everything counts.
 *
 * @param {Socket} socket
 * @returns {Received}
 */
function handedOutOn(socket) {
  const noted = handedOut.get(socket);
  const now = receivedOver(socket);
  return noted !== undefined && noted.http === now.http ? noted : now;
}

/** @param {Socket} socket */
function receivedOver(socket) {
  return { http: receivedOn(socket), wire: receivedOn(socketBelow(socket)) };
}

exports.handedOutOn = handedOutOn;
exports.noteHandedOut = noteHandedOut;
exports.Records = Records;
