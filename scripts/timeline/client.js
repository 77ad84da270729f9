// A client on a raw socket that notes down when it sent what, and what it saw of the connection's end.

const net = require('node:net');
const { once } = require('node:events');

/**
 * @typedef {object} Exchange a request, as its client sees it; times are in milliseconds from the signal on
 * @property {number} from when its first byte was sent
 * @property {number} to when the last byte of its answer had come; NaN if it has not
 * @property {boolean} saidClose whether the answer said that the connection closes
 */
/**
 * @typedef {object} Row what was seen of one connection
 * @property {string} title
 * @property {number} opened
 * @property {number} ended when its end came, or its refusal
 * @property {Exchange[]} exchanges
 * @property {string} end how it ended
 */

const HEAD_END = '\r\n\r\n';

class Client {
  /** @type {Exchange[]} */
  #exchanges = [];
  #unanswered = 0;
  #received = Buffer.alloc(0);
  /** @type {() => void} */
  #answered = () => {};

  /**
   * @param {string} title
   * @param {number} port
   * @param {() => number} now
   */
  constructor(title, port, now) {
    this.title = title;
    this.now = now;
    this.opened = now();
    this.socket = net.connect(port, '127.0.0.1');
    this.socket.on('data', (bytes) => this.#receive(bytes));
    /** @type {Promise<Row>} */
    this.row = new Promise((resolve) => {
      const seen = (/** @type {string} */ end) =>
        resolve({ title, opened: this.opened, ended: now(), exchanges: this.#exchanges, end });
      this.socket.once('end', () => seen('FIN'));
      this.socket.once('error', (error) => seen(/** @type {NodeJS.ErrnoException} */ (error).code ?? error.message));
    });
  }

  /** Whether it may ask once more: whoever was told to close may not (RFC 9112, section 9.6), be FIN there yet or not. */
  get mayAsk() {
    return !this.socket.readableEnded && !this.socket.destroyed && !this.#exchanges.at(-1)?.saidClose;
  }

  connected() {
    return once(this.socket, 'connect');
  }

  /** @param {string} text the beginning of a request, or several */
  send(text, requests = 1) {
    for (let request = 0; request < requests; request += 1) {
      this.#exchanges.push({ from: this.now(), to: Number.NaN, saidClose: false });
    }
    this.#unanswered += requests;
    this.socket.write(text, 'latin1');
  }

  /** When everything sent has been answered. Never, if it isn't. */
  async answered() {
    while (this.#unanswered > 0) {
      await new Promise((resolve) => {
        this.#answered = () => resolve(undefined);
      });
    }
  }

  /** @param {Buffer} bytes */
  #receive(bytes) {
    this.#received = Buffer.concat([this.#received, bytes]);
    for (;;) {
      const headLength = this.#received.indexOf(HEAD_END) + HEAD_END.length;
      if (headLength < HEAD_END.length) return;
      const head = this.#received.toString('latin1', 0, headLength);
      const length = headLength + Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
      if (this.#received.length < length) return;
      this.#received = this.#received.subarray(length);
      const exchange = this.#exchanges[this.#exchanges.length - this.#unanswered];
      exchange.to = this.now();
      exchange.saidClose = /^connection: close/im.test(head);
      this.#unanswered -= 1;
      this.#answered();
    }
  }
}

exports.Client = Client;
