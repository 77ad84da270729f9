// A client of HTTP/2 that plays its part of a script, and notes what it did and what it saw.

const http2 = require('node:http2');
const { trust } = require('../support/transports');
const { Player } = require('./player');
const { answerTo, FAR } = require('./script');

const { NGHTTP2_CANCEL, NGHTTP2_REFUSED_STREAM } = http2.constants;

/** Sessions of Node before 26 do not always notice that a client goes while they are answering it: see README, Limits. */
const OVERLOOKS_LEAVING = Number.parseInt(process.versions.node, 10) < 26;

class Http2Client extends Player {
  /** One for each stream, in the order in which they were opened. */
  requests = [];
  /** The error of the session, if it had one. */
  failure = null;
  #hasClosed = false;

  connect() {
    const { transport, address } = this.director;
    this.session = http2.connect(`${transport.scheme}://${address.host}:${address.port}`, trust);
    this.session.once('connect', () => {
      this.localPort = this.session.socket?.localPort;
    });
    this.session.once('remoteSettings', () => {
      this.connectedAt = this.director.now();
    });
    this.session.on('error', (error) => {
      this.failure = error;
    });
    this.ended = new Promise((resolve) => {
      this.session.once('close', () => {
        this.endedAt = this.director.now();
        resolve();
      });
    });
  }

  get #isOpen() {
    return this.endedAt === null && this.leftAt === null && !this.#hasClosed;
  }

  async take(step) {
    switch (step.does) {
      case 'request':
        if (this.#isOpen) this.#begin(step);
        break;
      case 'write':
        for (const request of this.requests) this.#write(request, step.share);
        break;
      case 'answers':
        await this.#answered();
        break;
      case 'switch':
        this.#cancel(this.requests.at(-1));
        break;
      case 'half-close':
        if (this.#isOpen) this.session.close();
        this.#hasClosed = true;
        break;
      case 'reset':
      case 'leave':
        this.leave();
        break;
    }
  }

  #begin({ body, answer, share }) {
    const url = `/${this.number}/${this.requests.length}`;
    this.director.expect(url, answer);
    const left = body.kind === 'none' ? '' : 'x'.repeat(body.size);
    const request = { url, answer, left, stream: null, cancelledAt: null, outcome: null };
    this.requests.push(request);
    const method = body.kind === 'none' ? 'GET' : 'POST';
    try {
      request.stream = this.session.request({ ':path': url, ':method': method }, { endStream: body.kind === 'none' });
    } catch (error) {
      // It was never sent.
      request.outcome = isRefusal(error) ? 'refused' : error;
      request.settled = Promise.resolve();
      return;
    }
    request.settled = outcomeOf(request);
    this.#write(request, share);
  }

  #write({ stream, ...request }, share) {
    const found = this.requests.find(({ url }) => url === request.url);
    if (!stream || stream.writableEnded || stream.destroyed) return;
    const length = Math.ceil(found.left.length * share);
    const part = found.left.slice(0, length);
    found.left = found.left.slice(length);
    if (found.left === '') stream.end(part);
    else if (part !== '') stream.write(part);
  }

  #cancel(request) {
    if (!request?.stream || request.outcome !== null || request.cancelledAt !== null) return;
    request.cancelledAt = this.director.now();
    request.stream.close(NGHTTP2_CANCEL);
  }

  async #answered() {
    // A session that is destroyed while it connects may never say what has become of its streams.
    if (this.leftAt !== null) return;
    // A stream stays open as long as this end of it.
    const due = this.requests.filter(
      ({ answer, stream }) => !this.director.isEndless(answer) && stream?.writableEnded !== false,
    );
    await Promise.all(due.map(({ settled }) => settled));
  }

  story() {
    const { connectedAt, leftAt, endedAt } = this;
    const requests = this.requests.map(({ url, outcome, cancelledAt }) => [url, outcome, cancelledAt]);
    return JSON.stringify({ connectedAt, leftAt, endedAt, failure: this.failure?.message, requests });
  }

  leave() {
    if (this.leftAt !== null || this.endedAt !== null) return;
    if (OVERLOOKS_LEAVING && this.requests.some(({ outcome }) => outcome === null)) return;
    this.leftAt = this.director.now();
    this.session.destroy();
  }

  async finish() {
    if (this.director.script.timeout === FAR) {
      for (const request of this.requests) this.#write(request, 1);
      await this.#answered();
      for (const request of this.requests) this.#cancel(request);
    }
    // Nor that it has closed.
    if (this.leftAt !== null) return;
    await this.ended;
    await Promise.all(this.requests.map(({ settled }) => settled));
  }
}

/** Notes what became of a request: `answered`, `refused` if it may be tried again, or what else it was. */
function outcomeOf(request) {
  const { stream } = request;
  return new Promise((resolve) => {
    let failure = null;
    request.status = null;
    request.body = '';
    stream.on('response', (headers) => {
      request.status = headers[':status'];
    });
    stream.setEncoding('latin1').on('data', (data) => {
      request.body += data;
    });
    // Answered early, a client of Node goes on with its request otherwise, though nobody listens any more.
    stream.on('end', () => stream.close());
    stream.on('error', (error) => {
      failure = error;
    });
    stream.on('close', () => {
      if (request.status === 200 && request.body === answerTo(request) && failure === null)
        request.outcome = 'answered';
      else if (stream.rstCode === NGHTTP2_REFUSED_STREAM) request.outcome = 'refused';
      else if (stream.pending && isRefusal(failure)) request.outcome = 'refused';
      else
        request.outcome = {
          failure: failure?.message,
          status: request.status,
          length: request.body.length,
          code: stream.rstCode,
          pending: stream.pending,
        };
      resolve();
    });
  });
}

function isRefusal(error) {
  const codes = ['ERR_HTTP2_GOAWAY_SESSION', 'ERR_HTTP2_INVALID_SESSION', 'ECONNREFUSED'];
  return codes.includes((error?.cause ?? error)?.code);
}

module.exports = { Http2Client };
