// A client's connection of HTTP/1.1 that shows how it ended. On raw sockets, where nothing retries
// and what was sent is known.

const net = require('node:net');
const tls = require('node:tls');

/** A held back SYN is sent again after one second, and after two more. */
const WAIT_AT_MOST_MS = 5_000;

/** The server's certificate was made for the tests. */
const TRUST = { rejectUnauthorized: false };

const STATUS = /^HTTP\/1\.1 (\d+)/;
const CONTENT_LENGTH = /^content-length: (\d+)/im;
const SAYS_CLOSE = /^connection: close/im;

/** What a connection ended by while something was waited for. */
class Ended extends Error {
  /** @param {string} code */
  constructor(code) {
    super(`The connection ended by ${code}`);
    this.code = code;
  }
}

class Http1Connection {
  /** Whether it has ended, or was told to. */
  over = false;
  #received = '';
  #socket;
  #phase = '';
  /** @type {{ resolve: () => void, reject: (error: Ended) => void } | null} */
  #waiting = null;

  /** @param {{ port: number, secure: boolean }} server */
  constructor({ port, secure }) {
    const address = { port, host: '127.0.0.1' };
    this.#socket = secure ? tls.connect({ ...address, ...TRUST }) : net.connect(address);
    this.#socket
      .setNoDelay(true)
      .setTimeout(WAIT_AT_MOST_MS, () => {
        // An idle connection may be as silent as it likes.
        if (this.#waiting === null) return;
        this.#fail('silence');
        this.#socket.destroy();
      })
      .setEncoding('latin1')
      .on('data', (data) => this.#read(data))
      .once('connect', () => {
        if (secure) this.#phase = ' in the handshake';
        else this.#proceed();
      })
      .once('secureConnect', () => {
        this.#phase = '';
        this.#proceed();
      })
      .on('end', () => this.#end('FIN'))
      .on('error', (error) => this.#end(error.code))
      .on('close', () => this.#end('close'));
  }

  /** Resolves when a request can be sent. */
  connected() {
    return this.#wait();
  }

  /**
   * Resolves when the request has been answered whole.
   *
   * @param {string} request
   */
  async answered(request) {
    this.#socket.write(request, 'latin1');
    await this.#wait();
  }

  close() {
    this.over = true;
    this.#socket.end();
  }

  /** @returns {Promise<void>} */
  #wait() {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
  }

  #proceed() {
    this.#waiting?.resolve();
    this.#waiting = null;
  }

  /** @param {string} data */
  #read(data) {
    this.#received += data;
    this.#phase = ' in the answer';
    const headLength = this.#received.indexOf('\r\n\r\n');
    if (headLength === -1) return;
    const head = this.#received.slice(0, headLength);
    const bodyLength = Number(CONTENT_LENGTH.exec(head)[1]);
    if (this.#received.length < headLength + '\r\n\r\n'.length + bodyLength) return;
    const status = STATUS.exec(head)[1];
    this.#received = '';
    this.#phase = '';
    if (SAYS_CLOSE.test(head)) this.close();
    // Any other status is an answer of the server itself: the handler has not seen the request.
    if (status === '200') this.#proceed();
    else this.#fail(`status ${status}`);
  }

  /** @param {string} code */
  #end(code) {
    this.over = true;
    this.#fail(`${code}${this.#phase}`);
  }

  /** @param {string} code */
  #fail(code) {
    this.#waiting?.reject(new Ended(code));
    this.#waiting = null;
  }
}

module.exports = { Ended, Http1Connection };
