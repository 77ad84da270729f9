// Keeps account of what is received on a connection during a termination: what belongs to requests that
// are known, and whether there is more.

const { native } = require('./early');
const { inputOn } = require('./internals');
const { receivedOn } = require('./received');
const { handedOutOn, Records } = require('./records');

/** @typedef {import('./connection').Connection} Connection */
/** @typedef {import('node:http').IncomingMessage} IncomingMessage */

/** What may be more records than are counted, and no request: two small ones. */
const OVERLOOKED = 64;

const HEAD_END = '\r\n\r\n';
/** They are allowed before a head, and some clients send one behind a body (RFC 9112, section 2.2). */
const EMPTY_LINES = /[\r\n]*/y;
const WRITTEN_HEAD = /.+?\r?\n\r?\n/sy;

class Intake {
  #connection;
  /** How much is accounted for of what was received on the socket that HTTP is spoken on; NaN if nobody knows. */
  #http;
  /** The same on the socket below, and of how much on the one above that is the account. */
  #wire;
  #above;
  /** Whether the next request to begin is one of which a part has come before. */
  #isAmidHead = false;
  /** Whether the last one was taken to be such, and may have come whole. */
  #isGuess = false;
  /**
   * The last request that was accounted for, and where its head ended.
   *
   * @type {IncomingMessage | undefined}
   */
  #request;
  #headEnd = Number.NaN;
  /** @type {Records | null} null if there is no TLS in between */
  #records;
  /** What was read last, as latin1, and how much had been received then: to ask Node for it is to copy it. */
  #input = '';
  #inputEnd = Number.NaN;

  /**
   * @param {Connection} connection
   * @param {{ http: number, wire: number }} accounted how much of what was received is accounted for:
   * on the socket that HTTP is spoken on, and on the one below
   * @param {number} [above] what the latter is the account of, if the former is not known
   */
  constructor(connection, { http, wire }, above = http) {
    this.#connection = connection;
    this.#http = http;
    this.#wire = wire;
    this.#above = above;
    const { accepted, socket } = connection;
    this.#records = socket === accepted ? null : new Records(socket, { http: above, wire });
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
   * Everything is accounted for that has been received so far, but for the beginning of a record that TLS keeps to itself.
   *
   * @param {Connection} connection
   */
  static fromHandedOut(connection) {
    const { accepted, counter, socket } = connection;
    if (socket === accepted || counter !== null) return Intake.fromNow(connection);
    return new Intake(connection, handedOutOn(socket));
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
   * The connection's account while a request's body is coming in. Unless that is accounted for, nobody knows how much of
   * what comes next belongs to it.
   *
   * @param {Connection} connection
   * @param {IncomingMessage | null} request
   */
  static amidBody(connection, request) {
    const { intake } = connection;
    return intake !== null && intake.#request === request ? intake : Intake.#fromUnknown(connection);
  }

  /**
   * The connection's account when half a head has come. Unless there is one already, nobody knows how much of what was
   * received is older.
   *
   * @param {Connection} connection
   */
  static amidHead(connection) {
    if (connection.intake !== null && !Number.isNaN(connection.intake.#http)) return connection.intake;
    const intake = Intake.#fromUnknown(connection);
    intake.#isAmidHead = true;
    return intake;
  }

  /**
   * Whether more has been received than a request whose handler is running: Node's parser comes to it when that has returned.
   * If it shows how much belongs to the request, that is the connection's account.
   *
   * @param {Connection} connection
   * @param {IncomingMessage} request
   */
  static isMoreBehind(connection, request) {
    const intake = Intake.#fromUnknown(connection);
    const input = intake.#inputUpTo(intake.#above);
    if (!input.includes(requestLineOf(request))) {
      // It may as well be a part of its body that the input begins with.
      if (endedBy(input, headOf(request)).length === 0) return false;
      intake.#isAmidHead = true;
    }
    const isMore = intake.accountFor(request, false);
    if (!Number.isNaN(intake.#http)) connection.intake = intake;
    return isMore;
  }

  /** @param {Connection} connection */
  static #fromUnknown(connection) {
    const { http, wire } = received(connection);
    return new Intake(connection, { http: Number.NaN, wire }, http);
  }

  /** Whether nothing was received that is not accounted for. */
  get isSilent() {
    const { http, wire } = received(this.#connection);
    return http === this.#http && wire === this.#wire;
  }

  /** Whether that is too little to be a request, besides what has come out of TLS. */
  get isAlmostSilent() {
    const { http, wire } = received(this.#connection);
    const plain = http - this.#http;
    return wire - this.#wire - (plain > 0 ? this.#lengthBelow(plain) : 0) <= OVERLOOKED;
  }

  /** Whether nothing of it was computed, as what TLS adds to a request is. */
  get isExact() {
    return this.#request === undefined && !Number.isNaN(this.#http + this.#wire);
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
    const { http } = received(this.#connection);
    const headEnd = this.#headEndOf(request, http);
    const end = this.#behindEmptyLines(headEnd + this.#bodyLengthOf(request, headEnd, http), http);
    this.#wire += this.#lengthBelow(end - this.#above);
    this.#above = end;
    this.#http = end;
    this.#request = request;
    this.#headEnd = headEnd;
    this.#isAmidHead = false;
    // Each record is to be seen, also those behind which nobody asks.
    const isMoreBelow = this.isMoreBelow(Math.max(0, end - http));
    return Number.isNaN(end) ? isPipelined : http > end || isMoreBelow;
  }

  /**
   * Whether the next request may have been received, but not yet decrypted.
   *
   * @param {number} awaited how much of the last request is still to be handed out
   */
  isMoreBelow(awaited = 0) {
    if (this.#records === null) return false;
    const now = received(this.#connection);
    return this.#records.isMore(now, this.#inputUpTo(now.http).length, awaited);
  }

  /**
   * Where a head ends. It need not have been written in the usual way: then its end is looked for in the input.
   *
   * @param {IncomingMessage} request
   * @param {number} http how much has been received
   */
  #headEndOf(request, http) {
    const head = headOf(request);
    const usual = this.#http + head.length;
    if (usual === http) return usual;
    const input = this.#inputUpTo(http);
    if (input === '') return usual;
    const inputBegin = http - input.length;
    const begin = this.#http - inputBegin;
    if (begin >= 0) return inputBegin + endOf(head, input, begin, this.#isGuess);
    // It began before the input, or nobody knows where.
    const hasBegun = begin < 0 || this.#isAmidHead;
    this.#isGuess = hasBegun;
    if (hasBegun) return inputBegin + restLengthOf(head, input);
    return inputBegin + this.#findHeadEnd(request, input, inputBegin);
  }

  /**
   * Where in the input the head ends behind the rest of a body, of which nobody knows how long it is. In doubt it is the
   * first place that may be it: then there is more than there seems to be, and not less.
   *
   * @param {IncomingMessage} request
   * @param {string} input
   * @param {number} inputBegin how much had been received before
   */
  #findHeadEnd(request, input, inputBegin) {
    const from = Number.isNaN(this.#headEnd) ? 0 : this.#headEnd - inputBegin;
    const line = input.indexOf(requestLineOf(request), from);
    const end = line === -1 ? -1 : input.indexOf(HEAD_END, line);
    return end === -1 ? Number.NaN : end + HEAD_END.length;
  }

  /**
   * @param {IncomingMessage} request
   * @param {number} headEnd
   * @param {number} http how much has been received
   */
  #bodyLengthOf({ headers }, headEnd, http) {
    if (headers['transfer-encoding'] === undefined) return Number(headers['content-length'] ?? 0);
    const behind = http - headEnd;
    const input = behind > 0 ? this.#inputUpTo(http) : '';
    // A body begins in the input in which its head ends.
    if (!(behind <= input.length)) return Number.NaN;
    return native.chunkedLength(Buffer.from(input.slice(-behind), 'latin1')) ?? Number.NaN;
  }

  /** @param {number} length of what has been received on the socket that HTTP is spoken on */
  #lengthBelow(length) {
    return this.#records === null ? length : this.#records.lengthOf(length);
  }

  /**
   * Those behind a request belong to it, as far as they have come: alone they are no further one.
   *
   * @param {number} end of the request, of which more than it may have been received
   * @param {number} http how much has been received
   */
  #behindEmptyLines(end, http) {
    if (!(http > end)) return end;
    const input = this.#inputUpTo(http);
    const place = end - (http - input.length);
    return place < 0 ? end : end + lengthAt(EMPTY_LINES, input, place);
  }

  /** @param {number} http how much has been received */
  #inputUpTo(http) {
    if (this.#inputEnd !== http) {
      this.#input = inputOn(this.#connection.socket)?.toString('latin1') ?? '';
      this.#inputEnd = http;
    }
    return this.#input;
  }
}

/** @param {Connection} connection */
function received({ accepted, counter, socket }) {
  const wire = counter?.received ?? receivedOn(accepted);
  return { http: socket === accepted ? wire : receivedOn(socket), wire };
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

/**
 * The beginning of that.
 *
 * @param {IncomingMessage} request
 */
function requestLineOf({ method, url }) {
  return `${method} ${url} HTTP/1.`;
}

/**
 * Where in the input a head ends that begins there.
 *
 * @param {string} head
 * @param {string} input
 * @param {number} begin where it does, or the empty lines before it
 * @param {boolean} isGuess whether that is so only if the one before had begun earlier
 */
function endOf(head, input, begin, isGuess) {
  const line = begin + lengthAt(EMPTY_LINES, input, begin);
  if (input.startsWith(head, line)) return line + head.length;
  const place = isGuess ? input.indexOf(head, line) : -1;
  if (place !== -1) return place + head.length;
  return line + (lengthAt(WRITTEN_HEAD, input, line) || head.length);
}

/**
 * @param {RegExp} sticky
 * @param {string} input
 * @param {number} place
 * @returns {number} how much of it matches there
 */
function lengthAt(sticky, input, place) {
  sticky.lastIndex = place;
  return sticky.exec(input)?.[0].length ?? 0;
}

/**
 * How much of the input belongs to a head that had begun before. If it was not written in the usual way, and even its end
 * is cut in two, a line may be taken for its last one.
 *
 * @param {string} head
 * @param {string} input
 * @returns {number} NaN if there is no end of a head
 */
function restLengthOf(head, input) {
  return endedBy(input, head).at(-1) ?? restLengthsOf(input)[0] ?? Number.NaN;
}

/**
 * @param {string} input
 * @param {string} head that may have begun before
 * @returns {number[]} how much of the input may be the end of it
 */
function endedBy(input, head) {
  return restLengthsOf(input).filter((length) => head.endsWith(input.slice(0, length)));
}

/**
 * @param {string} input
 * @returns {number[]} how much of it may be the end of a head
 */
function restLengthsOf(input) {
  const lengths = [1, 2, 3].filter((length) => input.startsWith(HEAD_END.slice(-length)));
  const whole = input.indexOf(HEAD_END);
  return whole === -1 ? lengths : [...lengths, whole + HEAD_END.length];
}

exports.Intake = Intake;
