// A client of HTTP/1.1 that plays its part of a script, and notes what it did and what it saw.

const { Client, requestText } = require('../support/client');
const { Player } = require('./player');
const { FAR } = require('./script');

/** How much of a body comes in one chunk. */
const CHUNK = 10_000;

class Http1Client extends Player {
  /**
   * In the order in which they were begun; `begin` and `end` are places in all that this client writes, and `writtenUpTo`
   * is how far it wrote when it wrote the end of the head.
   */
  requests = [];
  /** All that is to be written, how far that was done, and how far the kernel has it. */
  #text = '';
  #given = 0;
  received = 0;
  /** The same, when the termination began. */
  receivedBefore = 0;
  /** When it said that it would write no more. */
  halfClosedAt = null;
  /** Whether that was in the middle of a request. */
  isBrokenOff = false;
  /** What has ended its connection: FIN, or the code of an error of the system. */
  endedBy = null;
  /** Whether it wrote when the server had closed already, which the server answers with a reset. */
  wroteTooLate = false;
  /** Where its request to switch ends in all that it writes, if it made one. */
  switchEnd = 0;

  connect() {
    const { transport, address } = this.director;
    const socket = transport.connect(address);
    socket.setNoDelay(true);
    socket.once('connect', () => {
      this.localPort = socket.localPort;
    });
    socket.once(transport.connected, () => {
      this.connectedAt = this.director.now();
    });
    this.#client = new Client(socket);
    let failure = null;
    socket.on('error', (error) => {
      failure = error;
    });
    this.ended = this.#client.ended.then(() => {
      this.endedAt = this.director.now();
      // What has no system call is FIN, too, as a client sees it that was about to shake hands.
      this.endedBy = failure?.syscall === undefined ? 'FIN' : failure.code;
    });
  }
  #client;

  get #socket() {
    return this.#client.socket;
  }

  get answers() {
    return this.#client.answers.filter(({ status }) => status !== 100);
  }

  get hasSwitched() {
    return this.switchEnd > 0;
  }

  get #mayWrite() {
    return this.endedAt === null && this.leftAt === null && this.halfClosedAt === null;
  }

  async take(step) {
    switch (step.does) {
      case 'request':
        if (this.hasSwitched || !this.#mayWrite) break;
        this.#begin(step);
        this.#write(step.share);
        break;
      case 'write':
        if (this.hasSwitched && this.#mayWrite) this.#text += 'a message';
        this.#write(step.share);
        break;
      case 'answers':
        await this.#answered();
        break;
      case 'stop reading':
        this.#socket.pause();
        break;
      case 'read on':
        this.#socket.resume();
        break;
      case 'switch':
        await this.#switch();
        break;
      case 'half-close':
        if (this.#mayWrite && !this.#socket.connecting) {
          this.halfClosedAt = this.director.now();
          this.isBrokenOff = this.requests.some(({ begin, end }) => begin < this.#given && this.#given < end);
          this.#socket.end();
        }
        break;
      case 'reset':
        this.leave({ reset: true });
        break;
      case 'leave':
        this.leave();
        break;
    }
  }

  /** @param {{ body: any, answer: any }} step */
  #begin({ body, answer }) {
    const url = `/${this.number}/${this.requests.length}`;
    const { text, headLength } = written(url, body);
    const begin = this.#text.length;
    const request = { url, begin, headEnd: begin + headLength, end: begin + text.length, answer, writtenUpTo: 0 };
    this.#text += text;
    this.requests.push(request);
    this.director.expect(url, answer);
  }

  #write(part) {
    if (!this.#mayWrite) return;
    const upTo = this.#given + Math.ceil((this.#text.length - this.#given) * part);
    if (upTo === this.#given) return;
    const text = this.#text.slice(this.#given, upTo);
    for (const request of this.requests) {
      if (this.#given < request.headEnd && request.headEnd <= upTo) request.writtenUpTo = upTo;
    }
    this.#given = upTo;
    if (this.director.hasClosed(this)) this.wroteTooLate = true;
    const handedOver = () => {
      this.received = Math.max(this.received, upTo);
    };
    this.#socket.write(text, (error) => error ?? handedOver());
    // The kernel took it at once, and so the other end has it.
    if (!this.#socket.connecting && this.#socket.writableLength === 0) handedOver();
  }

  /** Until everything is answered that is written and will be answered. */
  async #answered() {
    if (this.leftAt !== null || this.halfClosedAt !== null) return;
    this.#socket.resume();
    const endless = this.requests.findIndex(({ answer }) => this.director.isEndless(answer));
    const answerable = endless === -1 ? this.requests : this.requests.slice(0, endless);
    const count = answerable.filter(
      ({ end, headEnd, answer }) => (answer.after === 'body' ? end : headEnd) <= this.#given,
    );
    const all = { test: () => this.answers.filter(({ whole }) => whole).length >= count.length };
    await this.#client.until(all).catch(() => {});
  }

  /** Turns the connection into something that is not HTTP any more, when everything before has been answered. */
  async #switch() {
    if (this.hasSwitched || !this.#mayWrite || this.requests.some(({ answer }) => this.director.isEndless(answer)))
      return;
    this.#write(1);
    await this.#answered();
    if (!this.#mayWrite) return;
    this.#text += requestText(`/${this.number}/switch`, { headers: { Connection: 'Upgrade', Upgrade: 'echo' } });
    this.switchEnd = this.#text.length;
    this.#write(1);
  }

  story() {
    const { connectedAt, receivedBefore, halfClosedAt, leftAt, endedAt, endedBy, wroteTooLate } = this;
    const answers = this.answers.map(({ status, headers, whole }) => [status, headers?.connection, whole]);
    const requests = this.requests.map(({ url, headEnd, end }) => [url, headEnd, end]);
    const times = { connectedAt, receivedBefore, halfClosedAt, leftAt, endedAt, endedBy, wroteTooLate };
    return JSON.stringify({ ...times, requests, answers });
  }

  leave({ reset = false } = {}) {
    if (this.leftAt !== null || this.endedAt !== null) return;
    this.leftAt = this.director.now();
    // There is no such method under TLS.
    if (reset && !this.#socket.connecting && !this.director.transport.secure) this.#socket.resetAndDestroy();
    else this.#socket.destroy();
  }

  /** When all steps of all clients are taken: until the connection has ended. */
  async finish() {
    if (this.#client === undefined) return;
    this.#socket.resume();
    const { timeout, keepAlive } = this.director.script;
    if (timeout === FAR) {
      // Nobody else would end it.
      const hangs = this.hasSwitched || this.requests.some(({ answer }) => this.director.isEndless(answer));
      if (hangs) this.leave();
      this.#write(1);
      await this.#answered();
      if (keepAlive === Number.POSITIVE_INFINITY) this.leave();
    }
    await this.ended;
  }
}

/** A request as it is written, and how long its head is. */
function written(url, { kind, size, continues }) {
  if (kind === 'none') {
    const text = requestText(url);
    return { text, headLength: text.length };
  }
  const expect = continues ? { Expect: '100-continue' } : {};
  const framing = kind === 'sized' ? { 'Content-Length': size } : { 'Transfer-Encoding': 'chunked' };
  const head = requestText(url, { method: 'POST', headers: { ...expect, ...framing } });
  const body = 'x'.repeat(size);
  return { text: head + (kind === 'sized' ? body : chunked(body)), headLength: head.length };
}

function chunked(body) {
  let text = '';
  for (let at = 0; at < body.length; at += CHUNK) {
    const chunk = body.slice(at, at + CHUNK);
    text += `${chunk.length.toString(16)}\r\n${chunk}\r\n`;
  }
  return `${text}0\r\n\r\n`;
}

module.exports = { Http1Client };
