// Plays a script: a server, its clients, a termination. What happened is numbered, so that it can be said what came
// before what.

const { once } = require('node:events');
const { createHttpTerminator } = require('../..');
const { addressOf } = require('../support/client');
const { block, gate, turn } = require('../support/server');
const { closeEverything, http2Transports, transports } = require('../support/transports');
const { Http1Client } = require('./http1-client');
const { Http2Client } = require('./http2-client');
const { answerTo, FAR } = require('./script');

/** Whatever takes longer hangs. */
const SCRIPT_TAKES_AT_MOST_MS = 10_000;

/**
 * On Linux all of 127.0.0.0/8 is this machine, so each process may have an address of its own, where no server of
 * another test listens when a client comes late.
 */
const HOST =
  process.platform === 'linux' ? `127.${1 + ((process.pid >> 8) % 254)}.${process.pid % 256}.1` : '127.0.0.1';

/** The ports of all scripts that are being played, also when their server has closed: one of its clients may be late. */
const taken = new Set();

/** Everything that is known when the termination has ended and all clients are gone. */
async function play(script) {
  const director = new Director(script);
  await director.open();
  const late = gate();
  const timer = setTimeout(late.open, SCRIPT_TAKES_AT_MOST_MS);
  const hung = late.passed.then(() => {
    throw new Error([`it hangs: ${director.whatIsOpen()}`, ...director.story()].join('\n'));
  });
  try {
    await Promise.race([director.run(), hung]);
  } finally {
    clearTimeout(timer);
    if (director.report === null) closeEverything(director.server);
    taken.delete(director.address.port);
  }
  return director;
}

class Director {
  #clock = 0;
  #steps = 0;
  /** @type {Map<string, any>} */
  #plans = new Map();
  #begun = gate();
  /** What the server knows of each request, by its URL, in the order in which their handlers were called. */
  requests = new Map();
  /** The connections that it has accepted. */
  accepted = [];
  terminatedAt = null;
  report = null;

  constructor(script) {
    this.script = script;
    this.transport = [...transports, ...http2Transports].find(({ name }) => name === script.transport);
    const speaksHttp2 = http2Transports.includes(this.transport);
    const speaksBoth = script.transport === 'h2 beside http/1.1';
    this.clients = script.connections.map((connection, number) => {
      const Client = speaksHttp2 && !(speaksBoth && !connection.multiplexed) ? Http2Client : Http1Client;
      return new Client(this, number, connection);
    });
  }

  now() {
    this.#clock += 1;
    return this.#clock;
  }

  async open() {
    await this.#listen();
    while (taken.has(this.address.port)) {
      this.terminator.detach();
      this.server.close();
      await this.#listen();
    }
    taken.add(this.address.port);
    for (const task of this.script.tasks) this.terminator.waitUntil(this.#do(task));
  }

  async #listen() {
    const { allowsHalfOpen, timeout, keepAlive, delay } = this.script;
    this.server = this.transport.createServer({ keepAliveTimeout: 60_000 }, (request, response) =>
      this.#serve(request, response),
    );
    // No option, and under TLS sockets are not half-open whatever it says.
    this.allowsHalfOpen = allowsHalfOpen && this.script.transport === 'http';
    if (this.allowsHalfOpen) this.server.httpAllowHalfOpen = true;
    this.server.on('connection', (socket) => this.#accepted(socket));
    this.server.on('secureConnection', (socket) => {
      const accepted = this.accepted.find(({ port }) => port === socket.remotePort);
      if (accepted) accepted.secured = socket;
    });
    this.server.on('upgrade', (_request, socket) => {
      socket.on('error', () => {});
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
      socket.on('data', (data) => socket.write(data));
      socket.on('end', () => socket.end());
    });
    this.events = this.server.eventNames().map((event) => [event, this.server.listenerCount(event)]);
    this.terminator = createHttpTerminator({
      server: this.server,
      httpResponseTimeout: timeout,
      keepAliveDrainTimeout: keepAlive,
      shutdownDelay: delay,
    });
    await once(this.server.listen(0, HOST), 'listening');
    this.address = { host: HOST, port: addressOf(this.server).port };
  }

  async run() {
    await Promise.all(this.clients.map((client) => client.play()));
    this.#terminate();
    await Promise.all(this.clients.map((client) => client.finish()));
    this.report = await this.#terminated;
    // What the last close of a connection brings about, such as the `close` of a response, comes a little later.
    await turn();
  }
  #terminated;

  /** A client has done something. */
  stepped() {
    this.#steps += 1;
    if (this.#steps > this.script.terminatesAfter && this.script.terminatesIn === null) this.#terminate();
  }

  expect(url, answer) {
    this.#plans.set(url, answer);
  }

  /**
   * Whether a handler never answers. Without a deadline each does: not every client that goes away is noticed, as long
   * as nobody reads from it or half-open connections are allowed.
   */
  isEndless({ after }) {
    return after === 'never' && this.script.timeout !== FAR;
  }

  /** Whether the server has said on a client's connection that nothing more comes. */
  hasClosed({ localPort }) {
    const accepted = this.accepted.find(({ port }) => port === localPort);
    if (accepted === undefined) return false;
    return accepted.socket.destroyed || (accepted.secured ?? accepted.socket).writableEnded;
  }

  /** What happened, for whoever looks for the reason. */
  story() {
    const clients = this.clients.map((client) => `client ${client.number}: ${client.story()}`);
    const requests = [...this.requests].map(([url, known]) => `${url}: ${JSON.stringify(known)}`);
    const report = `terminated at ${this.terminatedAt}, resolved at ${this.resolvedAt}: ${JSON.stringify(this.report)}`;
    return [...clients, ...requests, report];
  }

  whatIsOpen() {
    const clients = this.clients.filter(({ endedAt }) => endedAt === null).map(({ number }) => number);
    return JSON.stringify({ state: this.terminator.state, stats: this.terminator.stats(), clients });
  }

  #terminate() {
    if (this.terminatedAt !== null) return;
    this.terminatedAt = this.now();
    for (const client of this.clients) client.receivedBefore = client.received;
    for (const accepted of this.accepted) accepted.readBefore = (accepted.secured ?? accepted.socket).bytesRead;
    this.#terminated = this.terminator.terminate();
    this.#begun.open();
    this.resolvedAt = Number.POSITIVE_INFINITY;
    this.#terminated.then(() => {
      this.resolvedAt = this.now();
    });
    if (this.script.blocks > 0) block(this.script.blocks);
  }

  #accepted(socket) {
    const accepted = {
      socket,
      port: socket.remotePort,
      openedAt: this.now(),
      closedAt: null,
      secured: null,
      readBefore: 0,
    };
    this.accepted.push(accepted);
    socket.once('close', () => {
      accepted.closedAt = this.now();
    });
  }

  async #do({ milliseconds, fails }) {
    await this.#begun.passed;
    if (milliseconds === null && this.script.timeout !== FAR) await new Promise(() => {});
    await new Promise((resolve) => setTimeout(resolve, milliseconds ?? 0));
    if (fails) throw new Error('a task that fails');
  }

  async #serve(request, response) {
    const { url } = request;
    const plan = this.#plans.get(url);
    const known = { startedAt: this.now(), answeringAt: null, finishedAt: null };
    this.requests.set(url, known);
    const finished = () => {
      known.finishedAt = this.now();
    };
    request.on('error', () => {});
    response.on('error', () => {});
    // Over HTTP/2 an answer also finishes when its stream was taken back, and its stream ends only with the request.
    if (request.httpVersionMajor === 1) response.on('finish', finished);
    else response.stream.on('close', () => response.writableEnded && response.stream.rstCode === 0 && finished());
    if (this.script.terminatesIn === this.requests.size - 1) this.#terminate();
    // Node does not notice that a client goes away whose body nobody reads.
    if (plan.after !== 'body') request.resume();
    if (this.isEndless(plan)) return;
    if (plan.after === 'body' && !(await receive(request))) return;
    for (let turns = plan.after.turns ?? 0; turns > 0; turns -= 1) await turn();
    const { milliseconds } = plan.after;
    if (milliseconds !== undefined) await new Promise((resolve) => setTimeout(resolve, milliseconds));
    known.answeringAt = this.now();
    // HTTP/2 has no such header.
    if (plan.connection !== null && request.httpVersionMajor === 1) response.setHeader('Connection', plan.connection);
    const body = answerTo({ url, answer: plan });
    if (plan.sized) response.setHeader('Content-Length', body.length);
    const length = Math.ceil(body.length / plan.parts);
    for (let part = 0; part < plan.parts - 1; part += 1) {
      response.write(body.slice(part * length, (part + 1) * length));
      await turn();
    }
    response.end(body.slice((plan.parts - 1) * length));
  }
}

/** Whether the body has come whole. */
async function receive(request) {
  try {
    for await (const _ of request);
    return true;
  } catch {
    return false;
  }
}

module.exports = { play };
