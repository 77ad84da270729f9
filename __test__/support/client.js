// A client that shows what the wire shows: bytes in, bytes out, and how the connection ended.

const { once } = require('node:events');
const net = require('node:net');
const { turn } = require('./server');

class Client {
  #received = '';
  #waiting = [];
  /** @type {string | null} */
  #end = null;

  /**
   * @param {import('node:net').Socket} socket
   * @param {{ reading?: boolean }} [options] `reading: false` leaves everything in the kernel until `read()`
   */
  constructor(socket, { reading = true } = {}) {
    this.socket = socket;
    /** Resolves to `FIN`, or to the code of the error that ended the connection. */
    this.ended = new Promise((resolve) => {
      const end = (how) => {
        this.#end ??= how;
        this.#wake();
        resolve(this.#end);
      };
      socket.on('end', () => {
        end('FIN');
        socket.end();
      });
      socket.on('error', (error) => end(error.code));
      socket.on('close', () => end('closed'));
    });
    if (reading) this.read();
  }

  read() {
    this.socket.setEncoding('latin1').on('data', (data) => {
      this.#received += data;
      this.#wake();
    });
  }

  /** Reads piece by piece, and nothing for a turn of the event loop after each, until it has so much; then whatever comes. */
  async readSlowly(length) {
    this.socket.setEncoding('latin1');
    // To listen for it keeps everything else from flowing.
    const readable = () => {};
    this.socket.on('readable', readable);
    while (this.#received.length < length && this.#end === null) {
      this.#received += this.socket.read() ?? '';
      this.#wake();
      await turn();
    }
    this.socket.removeListener('readable', readable);
    this.read();
  }

  get received() {
    return this.#received;
  }

  /** Resolves when the bytes have been handed to the kernel. */
  write(data) {
    return new Promise((resolve, reject) => this.socket.write(data, (error) => (error ? reject(error) : resolve())));
  }

  /** Resolves when what was received matches; rejects if the connection ends before. */
  async until(pattern) {
    while (!pattern.test(this.#received)) {
      if (this.#end !== null) throw new Error(`ended by ${this.#end} before ${pattern}: ${this.#received}`);
      await new Promise((resolve) => this.#waiting.push(resolve));
    }
    return this.#received;
  }

  /** The answers received, parsed; the last one may be cut short. */
  get answers() {
    return parseAnswers(this.#received);
  }

  #wake() {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

/** Connects, and waits for the server to have accepted and, under TLS, for both to have shaken hands. */
async function connect(transport, server, options) {
  const accepted = once(server, transport.secure ? 'secureConnection' : 'connection');
  const socket = transport.connect(addressOf(server));
  const [[serverSocket]] = await Promise.all([accepted, once(socket, transport.connected)]);
  const client = new Client(socket, options);
  return Object.assign(client, { serverSocket });
}

/** Connects to a server of another process. */
async function connectTo(test, port) {
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  test.after(() => socket.destroy());
  await once(socket, 'connect');
  return new Client(socket);
}

function addressOf(server) {
  const address = server.address();
  return typeof address === 'string' ? { path: address } : { port: address.port, host: '127.0.0.1' };
}

/** Enough of a parser for answers with a content-length, chunks, or neither. */
function parseAnswers(text) {
  const answers = [];
  let rest = text;
  while (rest !== '') {
    const headEnd = rest.indexOf('\r\n\r\n');
    if (headEnd === -1) return [...answers, { whole: false }];
    const [statusLine, ...fields] = rest.slice(0, headEnd).split('\r\n');
    const headers = Object.fromEntries(fields.map((field) => field.split(/:\s*(.*)/s).slice(0, 2)).map(lowerName));
    const status = Number(statusLine.split(' ')[1]);
    rest = rest.slice(headEnd + 4);
    if (status === 100) {
      answers.push({ status, headers, body: '', whole: true });
      continue;
    }
    const { body, length, whole } = bodyOf(rest, headers);
    answers.push({ status, headers, body, whole });
    rest = rest.slice(length);
  }
  return answers;
}

function lowerName([name, value]) {
  return [name.toLowerCase(), value];
}

function bodyOf(rest, headers) {
  if (headers['transfer-encoding'] !== 'chunked') {
    const length = Number(headers['content-length'] ?? 0);
    return { body: rest.slice(0, length), length, whole: rest.length >= length };
  }
  let body = '';
  let at = 0;
  for (;;) {
    const lineEnd = rest.indexOf('\r\n', at);
    if (lineEnd === -1) return { body, length: rest.length, whole: false };
    const size = Number.parseInt(rest.slice(at, lineEnd), 16);
    const next = lineEnd + 2 + size + 2;
    if (next > rest.length) return { body, length: rest.length, whole: false };
    body += rest.slice(lineEnd + 2, next - 2);
    at = next;
    if (size === 0) return { body, length: at, whole: true };
  }
}

/** A request as it goes over the wire. */
function requestText(path = '/', { method = 'GET', headers = {}, body = '' } = {}) {
  const fields = Object.entries({ Host: 'localhost', ...headers }).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${path} HTTP/1.1\r\n${fields.join('')}\r\n${body}`;
}

module.exports = { Client, addressOf, connect, connectTo, requestText };
