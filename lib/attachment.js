// Wires one server to its machine: Node's events in, the machine's actions out. Nothing is decided here.

const { Connection, Stream } = require('./connection');
const { CutList } = require('./cut-list');
const http1 = require('./http1');
const http2 = require('./http2');
const { acceptedSockets, httpSockets, idleSockets, responseOn, socketBelow } = require('./internals');
const { Intake } = require('./intake');
const { closeListener } = require('./listener');
const native = require('./native');
const { isObserved, publish } = require('./observer');
const { connections, unwatchRequests, watchRequests } = require('./requests');

/** @typedef {import('node:net').Server} Server */
/** @typedef {import('node:net').Socket} Socket */
/** @typedef {import('node:http').IncomingMessage} IncomingMessage */
/** @typedef {import('node:http').ServerResponse} ServerResponse */
/** @typedef {import('node:http2').ServerHttp2Session} ServerHttp2Session */
/** @typedef {import('node:http2').ServerHttp2Stream} ServerHttp2Stream */
/** @typedef {import('node:http2').IncomingHttpHeaders} IncomingHttpHeaders */
/**
 * A terminator that shares the attachment.
 *
 * @typedef {object} User
 * @property {() => void} terminationBegan
 * @property {() => void} drainingBegan
 * @property {() => void} deadlinePassed
 * @property {() => void} servingAgain
 */
/** @typedef {{ counts: import('./binding').Report, cut: CutList, taskErrors: string[] }} Outcome */

const { ActionKind, Arriving, Milestone, Transport } = native;

/** @typedef {{ delay: number, timeout: number }} Plan in milliseconds */

/** What a milestone is called outside. */
const PHASES = /** @type {const} */ ({
  [Milestone.Delaying]: 'delaying',
  [Milestone.Draining]: 'draining',
  [Milestone.HalfTime]: 'half time',
  [Milestone.Deadline]: 'deadline',
  [Milestone.Terminated]: 'terminated',
});

/** How many errors of tasks a report names. The rest is only counted. */
const ERRORS_AT_MOST = 100;

/** The events that hand a connection over. Node goes by whether they have listeners at all. */
const HIJACKING_EVENTS = ['upgrade', 'connect'];

/**
 * By server, so that two terminators on one server share what is known of it, and agree.
 *
 * @type {WeakMap<Server, Attachment>}
 */
const attachments = new WeakMap();

/** RFC 9113, section 7. */
const NO_ERROR = 0;

const released = new FinalizationRegistry(native.release);

class Attachment {
  #server;
  #transport;
  #key = native.create();
  /** @type {Set<User>} */
  #users = new Set();
  /** @type {Set<Connection>} */
  #open = new Set();
  /**
   * By the machine's id, during a termination.
   *
   * @type {(Connection | undefined)[]}
   */
  #draining = [];
  #watching = false;
  /** @type {Set<symbol>} */
  #tasks = new Set();

  /** @type {Promise<Outcome> | null} */
  #termination = null;
  #terminating = false;
  #turning = false;
  /** @type {(outcome: Outcome | Promise<never>) => void} */
  #resolve = () => {};
  /** @type {{ error: unknown } | null} */
  #failure = null;
  #cut = new CutList();
  /** @type {string[]} */
  #taskErrors = [];

  /**
   * @param {Server} server
   * @param {User} user
   */
  static attach(server, user) {
    let attachment = attachments.get(server);
    if (attachment === undefined) {
      attachment = new Attachment(server);
      attachments.set(server, attachment);
    }
    attachment.#users.add(user);
    return attachment;
  }

  /** @param {Server} server */
  constructor(server) {
    this.#server = server;
    this.#transport = 'setSecureContext' in server ? Transport.Tls : Transport.Plain;
    released.register(this, this.#key);
    for (const [event, listener] of this.#listeners) server.on(event, listener);
    if (isHttp2(server)) {
      server.on('session', this.#sessionOpened);
      // First, so that a handler that terminates is known to be in flight itself.
      server.prependListener('stream', this.#streamOpened);
    }
    for (const event of HIJACKING_EVENTS) if (server.listenerCount(event) > 0) this.#followHijacking(event);
    this.#adoptOpenConnections();
    if (server.listening) this.#watch();
  }

  get state() {
    return native.state(this.#key);
  }

  stats() {
    if (this.#terminating) return native.stats(this.#key);
    // While the server is serving the machine knows no connections: it would decide nothing, and two calls
    // for each cost half a per cent of what it costs Node. So they are shown to it for a moment.
    for (const connection of this.#open) this.#enter(connection);
    native.inFlight(this.#key, this.#requestCounts());
    const stats = native.stats(this.#key);
    for (const { id } of this.#open) native.closed(this.#key, id);
    this.#draining = [];
    return stats;
  }

  /** @param {User} user */
  detach(user) {
    this.#users.delete(user);
    this.#takeOffIfUnused();
  }

  /**
   * @param {Plan} plan
   * @returns {Promise<Outcome>}
   */
  terminate(plan) {
    if (this.#terminating) {
      this.#perform(this.#terminate(plan));
    } else if (this.#termination === null || this.state === 'serving' || this.#open.size > 0) {
      this.#termination = this.#begin(plan);
    }
    return /** @type {Promise<Outcome>} */ (this.#termination);
  }

  /** @param {PromiseLike<unknown>} promise */
  waitUntil(promise) {
    const task = Symbol();
    /** @param {boolean} fulfilled */
    const finished = (fulfilled) => {
      // A task that a termination gave up at its deadline is nobody's any more.
      if (this.#tasks.delete(task)) this.#perform(native.taskFinished(this.#key, fulfilled));
    };
    this.#tasks.add(task);
    this.#perform(native.taskStarted(this.#key));
    promise.then(
      () => finished(true),
      (error) => {
        if (this.#terminating && this.#taskErrors.length < ERRORS_AT_MOST) {
          this.#taskErrors.push(error instanceof Error ? error.message : String(error));
        }
        finished(false);
      },
    );
  }

  /**
   * @param {Connection} connection
   * @param {ServerResponse} response
   */
  requestStarted(connection, response) {
    connection.push(response, this.#terminating);
    if (!this.#terminating) return;
    const more = intakeOf(connection).accountFor(response.req);
    this.#perform(native.requestStarted(this.#key, connection.id, more));
    // That there is more is concluded from numbers. When Node has worked through its input, it shows; and
    // if that is only a part of it, as under TLS, the next request to start sets it right again.
    if (more) process.nextTick(() => this.#lookForMore(connection, response));
  }

  /**
   * @param {Connection} connection
   * @param {ServerResponse} response
   */
  requestFinished(connection, response) {
    // Pipelined before the terminator was created: nothing was known of it.
    if (connection.oldest?.response !== response) return;
    const { late } = connection.oldest;
    connection.shift();
    connection.answeredEarly = response.req.complete ? null : response.req;
    if (!this.#terminating) return;
    const saidClose = http1.saidClose(response);
    const arriving = this.#arrivingAfter(connection, response.req);
    this.#perform(native.requestFinished(this.#key, connection.id, arriving, saidClose, late));
  }

  /** @param {Connection} connection */
  closed(connection) {
    connections.delete(connection.accepted);
    connections.delete(connection.socket);
    this.#open.delete(connection);
    if (!this.#terminating) return;
    this.#perform(native.closed(this.#key, connection.id));
    this.#draining[connection.id] = undefined;
  }

  /** @type {[event: string, listener: (...args: any[]) => void][]} */
  #listeners = [
    ['listening', () => this.#listening()],
    ['connection', (socket) => this.#opened(socket)],
    ['secureConnection', (socket) => this.#secured(socket)],
    ['close', () => this.#serverClosed()],
    ['newListener', (event, listener) => this.#listenerAdded(event, listener)],
    ['removeListener', (event) => this.#listenerRemoved(event)],
  ];

  #listening() {
    if (this.#terminating) return;
    native.listening(this.#key);
    for (const user of this.#users) user.servingAgain();
    this.#watch();
  }

  /** The server does not listen, and has no connections left. */
  #serverClosed() {
    if (this.#terminating) this.#perform(native.serverClosed(this.#key));
    else this.#unwatch();
  }

  /** @param {Socket} socket */
  #opened(socket) {
    if (connections.has(socket)) return;
    const connection = new Connection(this, socket);
    connections.set(socket, connection);
    this.#open.add(connection);
    socket.on('close', closed);
    this.#watch();
    if (this.#terminating) {
      this.#enter(connection);
      this.#perform(native.due(this.#key));
    }
    this.#adoptSession(connection);
  }

  /** @param {Connection} connection */
  #enter(connection) {
    connection.id = native.opened(this.#key, this.#transport);
    this.#draining[connection.id] = connection;
    if (connection.hijackedBy !== null) native.hijacked(this.#key, connection.id);
  }

  /** @param {Socket} socket */
  #secured(socket) {
    const accepted = socketBelow(socket);
    this.#opened(accepted);
    const connection = /** @type {Connection} */ (connections.get(accepted));
    connection.socket = socket;
    connection.intake = null;
    connections.set(socket, connection);
    this.#adoptSession(connection);
  }

  /**
   * The session that Node made of the connection whose event is just being emitted. Our listener for that
   * event comes after Node's.
   *
   * @type {ServerHttp2Session | null}
   */
  #newSession = null;

  /** @param {ServerHttp2Session} session */
  #sessionOpened = (session) => {
    this.#newSession = session;
  };

  /** @param {Connection} connection */
  #adoptSession(connection) {
    if (this.#newSession === null) return;
    connection.session = this.#newSession;
    connection.streams = new Map();
    connections.set(this.#newSession, connection);
    const session = this.#newSession;
    session.once('close', () => connections.delete(session));
    this.#newSession = null;
    if (this.#terminating) this.#perform(native.multiplexed(this.#key, connection.id));
  }

  /**
   * @param {ServerHttp2Stream} stream
   * @param {IncomingHttpHeaders} headers
   */
  #streamOpened = (stream, headers) => {
    const connection = stream.session && connections.get(stream.session);
    if (!connection) return;
    const head = { method: headers[':method'], url: headers[':path'] };
    const request = new Stream(stream, head, this.#terminating);
    connection.streams?.set(stream, request);
    stream.once('close', () => this.#streamClosed(connection, request));
    if (this.#terminating) this.#perform(native.requestStarted(this.#key, connection.id, false));
  };

  /**
   * @param {Connection} connection
   * @param {Stream} request
   */
  #streamClosed(connection, { stream, late }) {
    connection.streams?.delete(stream);
    if (!this.#terminating) return;
    const { id } = connection;
    const answered = stream.rstCode === NO_ERROR && stream.headersSent;
    const actions = answered
      ? native.requestFinished(this.#key, id, Arriving.Nothing, false, late)
      : native.requestAborted(this.#key, id);
    this.#perform(actions);
  }

  // Node upgrades a connection only if somebody listens to `upgrade`, and closes it on CONNECT unless
  // somebody listens to `connect`. So we listen exactly as long as somebody else does.

  /**
   * @param {string} event
   * @param {unknown} listener
   */
  #listenerAdded(event, listener) {
    if (HIJACKING_EVENTS.includes(event) && listener !== this.#hijacked) this.#followHijacking(event);
  }

  /** @param {string} event */
  #listenerRemoved(event) {
    if (!HIJACKING_EVENTS.includes(event)) return;
    const [left, ...others] = this.#server.rawListeners(event);
    if (left === this.#hijacked && others.length === 0) this.#server.removeListener(event, this.#hijacked);
  }

  /** @param {string} event */
  #followHijacking(event) {
    if (!this.#server.rawListeners(event).includes(this.#hijacked)) {
      this.#server.prependListener(event, this.#hijacked);
    }
  }

  /**
   * @param {IncomingMessage} request
   * @param {Socket} socket
   */
  #hijacked = ({ method, url }, socket) => {
    const connection = connections.get(socket);
    if (connection === undefined) return;
    connection.hijackedBy = { method, url };
    if (this.#terminating) this.#perform(native.hijacked(this.#key, connection.id));
  };

  /**
   * Connections that were opened before anybody listened. Among these, an upgraded one looks like one
   * on which half a request has come, and has the same grace.
   */
  #adoptOpenConnections() {
    for (const socket of acceptedSockets(this.#server)) this.#opened(socket);
    for (const socket of httpSockets(this.#server)) {
      if (this.#transport === Transport.Tls) this.#secured(socket);
      else this.#opened(socket);
      const response = responseOn(socket);
      if (response !== null) connections.get(socket)?.push(response, false);
    }
  }

  /** @param {Plan} plan */
  #begin(plan) {
    for (const connection of this.#open) this.#enter(connection);
    native.inFlight(this.#key, this.#requestCounts());
    this.#observe();
    const actions = this.#terminate(plan);
    this.#terminating = true;
    /** @type {Promise<Outcome>} */
    const termination = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    this.#perform(actions);
    for (const { id, answeredEarly } of this.#open) {
      if (answeredEarly?.complete === false) this.#perform(native.answeredEarly(this.#key, id));
    }
    for (const user of this.#users) user.terminationBegan();
    return termination;
  }

  /** @param {Plan} plan */
  #terminate({ delay, timeout }) {
    return native.terminate(this.#key, delay, timeout, isObserved(), this.#wake);
  }

  #observe() {
    const idle = idleSockets(this.#server);
    for (const connection of this.#open) this.#observeConnection(connection, idle);
  }

  /**
   * @param {Connection} connection
   * @param {Set<Socket> | undefined} idle
   */
  #observeConnection(connection, idle) {
    if (connection.hijackedBy !== null) return;
    if (connection.session !== null && connection.socket.bytesRead > 0) {
      this.#perform(native.multiplexed(this.#key, connection.id));
      return;
    }
    if (connection.answeredEarly?.complete === false) {
      // To the parser, the rest of its body looks like half a request.
      this.#perform(native.answeredEarly(this.#key, connection.id));
      return;
    }
    const receiving = http1.isReceiving(connection, idle);
    if (receiving) native.receiving(this.#key, connection.id);
    const first = receiving && connection.newest === null && connection.socket.bytesWritten === 0;
    connection.intake = first ? Intake.fromBeginning(connection) : Intake.fromNow(connection);
  }

  // Called on Node's thread, but caused on another one, which keeps time while this one is blocked.
  #wake = () => this.#perform(native.timedOut(this.#key));

  /** @param {import('./binding').Actions} actions */
  #perform(actions) {
    if (actions === null) return;
    for (let index = 0; index < actions.length; index += 2) {
      const connection = /** @type {Connection} */ (this.#draining[actions[index + 1]]);
      switch (actions[index]) {
        case ActionKind.Announce:
          this.#announce(actions[index + 1]);
          break;
        case ActionKind.Observe:
          this.#observe();
          break;
        case ActionKind.CloseServer:
          this.#closeServer();
          break;
        case ActionKind.SayClose:
          http1.sayClose(connection);
          break;
        case ActionKind.SayKeepAlive:
          http1.sayKeepAlive(connection);
          break;
        case ActionKind.Close:
          if (this.#isSilent(connection)) http1.close(connection);
          break;
        case ActionKind.CloseNotify:
          if (this.#isSilent(connection)) http1.linger(connection);
          break;
        case ActionKind.End:
          http1.end(connection);
          break;
        case ActionKind.Linger:
          http1.linger(connection);
          break;
        case ActionKind.Ping:
          http2.ping(connection, () => this.#perform(native.ponged(this.#key, connection.id)));
          break;
        case ActionKind.CloseSession:
          http2.closeSession(connection);
          break;
        case ActionKind.Cut:
          this.#cut.add(connection);
          break;
        case ActionKind.Destroy:
          http2.destroySession(connection);
          http1.destroy(connection);
          break;
        case ActionKind.AwaitTurn:
          this.#awaitTurn();
          break;
        case ActionKind.Resolve:
          this.#resolved();
          break;
      }
    }
  }

  /**
   * @param {Connection} connection
   * @param {IncomingMessage} request
   */
  #arrivingAfter(connection, request) {
    if (!request.complete) return Arriving.Body;
    // What comes after an upgrade is no request.
    if (connection.hijackedBy !== null) return Arriving.Nothing;
    if (http1.isReceiving(connection, idleSockets(this.#server))) return Arriving.NextRequest;
    connection.intake = Intake.fromNow(connection);
    return Arriving.Nothing;
  }

  /**
   * @param {Connection} connection
   * @param {ServerResponse} response
   */
  #lookForMore(connection, response) {
    if (!this.#terminating || connection.newest?.response !== response) return;
    if (http1.isReceiving(connection, idleSockets(this.#server))) return;
    this.#perform(native.nothingMore(this.#key, connection.id));
  }

  #awaitTurn() {
    const turned = () => {
      this.#turning = true;
      this.#perform(native.turned(this.#key));
      this.#turning = false;
    };
    // Between two immediates the loop polls; before the first one it may not.
    if (this.#turning) setImmediate(turned);
    else setImmediate(() => setImmediate(turned));
  }

  /** @param {number} milestone */
  #announce(milestone) {
    if (milestone === Milestone.Draining) for (const user of this.#users) user.drainingBegan();
    if (milestone === Milestone.Deadline) for (const user of this.#users) user.deadlinePassed();
    if (!isObserved()) return;
    const open = new CutList();
    if (milestone === Milestone.HalfTime) for (const connection of this.#open) open.add(connection);
    publish({
      phase: PHASES[milestone],
      server: /** @type {import('node:http').Server} */ (this.#server),
      stats: native.stats(this.#key),
      open: open.rows,
    });
  }

  #closeServer() {
    try {
      if (this.#server.listening) {
        closeListener(this.#server);
        return;
      }
    } catch (error) {
      // Thrown by somebody's own `close()`. Whoever terminates hears of it when everything else has ended.
      this.#failure = { error };
    }
    this.#perform(native.serverClosed(this.#key));
  }

  /** @param {Connection} connection */
  #isSilent(connection) {
    const { isSilent } = intakeOf(connection);
    if (isSilent) return true;
    this.#perform(native.receiving(this.#key, connection.id));
    if (connection.session !== null) this.#perform(native.multiplexed(this.#key, connection.id));
    return false;
  }

  #resolved() {
    const outcome = { counts: native.report(this.#key), cut: this.#cut, taskErrors: this.#taskErrors };
    this.#terminating = false;
    this.#draining = [];
    this.#cut = new CutList();
    this.#taskErrors = [];
    this.#tasks.clear();
    this.#resolve(this.#failure === null ? outcome : Promise.reject(this.#failure.error));
    this.#failure = null;
    // Somebody listened again before everything had ended.
    if (this.#server.listening) this.#listening();
    else this.#unwatch();
    this.#takeOffIfUnused();
  }

  /** By id, as the machine wants them. */
  #requestCounts() {
    const counts = new Uint32Array(this.#draining.length);
    for (const connection of this.#open) {
      for (const _ of connection.requests()) counts[connection.id] += 1;
    }
    return counts;
  }

  /** Requests are watched for only while there can be any. */
  #watch() {
    if (!this.#watching) watchRequests();
    this.#watching = true;
  }

  #unwatch() {
    if (this.#watching) unwatchRequests();
    this.#watching = false;
  }

  #takeOffIfUnused() {
    // A termination that runs is seen through: its promise must settle.
    if (this.#users.size > 0 || this.#terminating) return;
    for (const [event, listener] of this.#listeners) this.#server.removeListener(event, listener);
    for (const event of HIJACKING_EVENTS) this.#server.removeListener(event, this.#hijacked);
    this.#server.removeListener('session', this.#sessionOpened);
    this.#server.removeListener('stream', this.#streamOpened);
    for (const { accepted, session, socket } of this.#open) {
      accepted.removeListener('close', closed);
      connections.delete(accepted);
      connections.delete(socket);
      if (session !== null) connections.delete(session);
    }
    attachments.delete(this.#server);
    this.#unwatch();
  }
}

/**
 * By what only they can do: the module itself is loaded only by those who use it.
 *
 * @param {Server} server
 */
function isHttp2(server) {
  return 'updateSettings' in server;
}

/**
 * What came in only during the termination has no account yet.
 *
 * @param {Connection} connection
 */
function intakeOf(connection) {
  connection.intake ??= Intake.fromBeginning(connection);
  return connection.intake;
}

/** @this {Socket} */
function closed() {
  const connection = connections.get(this);
  if (connection !== undefined) connection.attachment.closed(connection);
}

exports.Attachment = Attachment;
