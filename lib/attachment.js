// What is attached to one server while it is serving: as little as there can be. A termination knows the rest.

const { performance } = require('node:perf_hooks');
const { isFar } = require('./distance');
const { native } = require('./early');
const { acceptedSockets, endsOf, httpSockets, listsConnections, socketBelow } = require('./internals');
const { noteHandedOut } = require('./records');
const { attachments } = require('./registry');
const {
  adoptRequests,
  onRequest,
  unwatchAnswers,
  unwatchRequests,
  watchAnswers,
  watchRequests,
} = require('./requests');

/** @typedef {import('node:net').Server} Server */
/** @typedef {import('node:net').Socket} Socket */
/** @typedef {import('node:http').IncomingMessage} IncomingMessage */
/** @typedef {import('node:http').ServerResponse} ServerResponse */
/** @typedef {import('node:http2').ServerHttp2Session} ServerHttp2Session */
/** @typedef {import('node:http2').ServerHttp2Stream} ServerHttp2Stream */
/** @typedef {import('node:http2').IncomingHttpHeaders} IncomingHttpHeaders */
/** @typedef {import('./connection').Connection} Connection */
/** @typedef {import('./termination').Termination} Termination */
/** @typedef {import('./termination').Outcome} Outcome */
/** @typedef {import('./termination').Plan} Plan */
/**
 * A terminator that shares the attachment.
 *
 * @typedef {object} User
 * @property {() => void} terminationBegan
 * @property {() => void} drainingBegan
 * @property {() => void} deadlinePassed
 * @property {() => void} terminationEnded
 */

/** The events that hand a connection over. Node goes by whether they have listeners at all. */
const HIJACKING_EVENTS = ['upgrade', 'connect'];

/**
 * To look where a connection comes from takes two system calls, and there may be thousands a second. The first ones are looked at,
 * as one of them may be a probe, and then one in a while: where few come, each of them.
 */
const NEWCOMERS_AT_FIRST = 8;
const LOOK_EVERY_MS = 50;

const released = new FinalizationRegistry(native.release);

class Attachment {
  /** Names the server's machine. */
  key = native.create();
  /** @type {Set<User>} */
  users = new Set();
  /**
   * The connections that are followed from event to event. While serving, these are the ones that Node's own list
   * of connections does not show: TLS handshakes, HTTP/2, tunnels, and those of servers that have no list.
   *
   * @type {Set<Connection>}
   */
  open = new Set();
  /**
   * The same by each of their sockets, and their HTTP/2 session. Not one map for all servers: a socket may belong to several, as
   * one that carries a tunnel which another server is at the end of.
   *
   * @type {Map<object, Connection>}
   */
  connections = new Map();
  /** When the last request came that was not the first on its connection; `performance.now()`. */
  lastInRhythm = Number.NEGATIVE_INFINITY;
  /** At how many newcomers it was looked, and when the next one is due if these were enough at first; `performance.now()`. */
  #looks = 0;
  #lookAgainAt = 0;
  /**
   * Whether any of those that were looked at came from another machine, if that is known. They may be gone when a termination
   * begins, with others on their way.
   *
   * @type {boolean | null}
   */
  wasNewcomerFar = null;
  /** @type {Termination | null} the one that runs */
  #termination = null;
  /** @type {Promise<Outcome> | null} */
  #outcome = null;
  /** Whether Node shows the server's HTTP/1 connections to whoever asks. */
  #isListed = false;
  #isFollowing = false;
  /** Whether the server listens again although a termination runs, which leaves it alone. */
  isReopened = false;
  #watching = false;
  /** @type {Set<symbol>} */
  #tasks = new Set();
  /** Whether the termination that runs has given them up. */
  #hasAbandonedTasks = false;
  #socketClosed = closeListener(this);

  /**
   * All of them, or none.
   *
   * @param {readonly Server[]} servers
   * @param {User} user
   */
  static attachAll(servers, user) {
    /** @type {Attachment[]} */
    const attached = [];
    try {
      for (const server of servers) attached.push(Attachment.#attach(server, user));
    } catch (error) {
      for (const attachment of attached) errorsOf(() => attachment.detach(user));
      throw error;
    }
    for (const attachment of attached) attachment.#termination?.joined(user);
    return attached;
  }

  /**
   * @param {Server} server
   * @param {User} user
   */
  static #attach(server, user) {
    const attachment = attachments.get(server) ?? new Attachment(server);
    attachment.users.add(user);
    return attachment;
  }

  /** @param {Server} server */
  constructor(server) {
    attachments.set(server, this);
    this.server = server;
    this.isSecure = 'setSecureContext' in server;
    released.register(this, this.key);
    try {
      this.#listen();
    } catch (error) {
      // Somebody's `newListener` throws, and `removeListener` may do so, too.
      errorsOf(() => this.#takeOff());
      throw error;
    }
  }

  #listen() {
    const { server } = this;
    for (const [event, listener] of this.#listeners) server.on(event, listener);
    if (this.isSecure) server.on('secureConnection', this.#secured);
    if (isHttp2(server)) {
      server.on('session', this.#sessionOpened);
      // First, so that a handler that terminates is known to be in flight itself.
      server.prependListener('stream', this.#streamOpened);
    }
    for (const event of HIJACKING_EVENTS) if (server.listenerCount(event) > 0) this.#followHijacking(event);
    this.#followIfNeeded();
    this.#adoptOpenConnections();
    if (server.listening) this.#watch();
  }

  /** @returns {'http' | 'https' | 'http2'} */
  get protocol() {
    if (isHttp2(this.server)) return 'http2';
    return this.isSecure ? 'https' : 'http';
  }

  /** Whether it is a server of HTTP, and not of node:net or node:tls. */
  get speaksHttp() {
    return 'setTimeout' in this.server;
  }

  get state() {
    return native.state(this.key);
  }

  stats() {
    if (this.#termination !== null) return this.#termination.stats();
    const { Survey } = require('./survey');
    // While it is serving, nothing is to be done.
    return new Survey(this, () => {}).statsWhileServing();
  }

  /** How many tasks have not settled. */
  get tasks() {
    return native.stats(this.key).tasks;
  }

  /** @param {User} user */
  detach(user) {
    this.users.delete(user);
    this.#takeOffIfUnused();
  }

  /**
   * @param {Plan} plan
   * @returns {Promise<Outcome>}
   */
  terminate(plan) {
    // If it listens again, the event may be still to come.
    if (this.server.listening && this.#hasClosedServer) this.perform(native.listening(this.key));
    if (this.#termination !== null) {
      this.isReopened = false;
      this.#termination.bringForward(plan);
    } else if (this.#outcome === null || this.state === 'serving' || this.#hasConnections()) {
      const termination = new (loadTermination().Termination)(this);
      try {
        // From now on every connection counts that comes in. First, as somebody's `newListener` may throw.
        this.#follow();
        termination.arm();
      } catch (error) {
        errorsOf(() => this.#followIfNeeded());
        return Promise.reject(error);
      }
      watchAnswers();
      this.#termination = termination;
      this.#outcome = termination.outcome;
      termination.begin(plan);
    }
    return /** @type {Promise<Outcome>} */ (this.#outcome);
  }

  /** @param {PromiseLike<unknown>} promise */
  waitUntil(promise) {
    const task = Symbol();
    /** @param {boolean} fulfilled */
    const finished = (fulfilled) => {
      // A task that a termination gave up at its deadline is nobody's any more.
      if (this.#tasks.delete(task)) this.perform(native.taskFinished(this.key, fulfilled));
    };
    if (!this.#hasAbandonedTasks) this.#tasks.add(task);
    this.perform(native.taskStarted(this.key));
    promise.then(
      () => finished(true),
      (error) => {
        if (this.#tasks.has(task)) this.#termination?.taskFailed(error);
        finished(false);
      },
    );
  }

  /**
   * @param {Socket} socket that was accepted just now, or on which the first request has come
   * @param {number} now
   */
  newcomer(socket, now) {
    // One from another machine is enough.
    if (this.wasNewcomerFar === true) return;
    if (this.#looks >= NEWCOMERS_AT_FIRST && now < this.#lookAgainAt) return;
    this.#looks += 1;
    this.#lookAgainAt = now + LOOK_EVERY_MS;
    this.wasNewcomerFar = isFar(endsOf(socketBelow(socket))) ?? this.wasNewcomerFar;
  }

  /**
   * @param {Socket} socket
   * @param {ServerResponse} response
   * @param {number} now
   */
  requestStarted(socket, response, now) {
    this.#termination?.requestStarted(socket, response, now);
  }

  /**
   * @param {Socket} socket
   * @param {ServerResponse} response
   */
  requestFinished(socket, response) {
    this.#termination?.requestFinished(socket, response);
  }

  /** @param {unknown} error that somebody's own code has thrown: the termination that runs ends, and rejects with it */
  failed(error) {
    this.#termination?.failed(error);
  }

  /** The termination that runs waits for no task any more, nor for those that come. */
  abandonTasks() {
    this.#tasks.clear();
    this.#hasAbandonedTasks = true;
  }

  /** The termination that runs, if there is one, does not wait for upgraded connections and tunnels. */
  endHijacked() {
    this.#termination?.endHijacked();
  }

  /** The termination that runs has ended. */
  terminated() {
    this.#termination = null;
    this.isReopened = false;
    unwatchAnswers();
    this.#tasks.clear();
    this.#hasAbandonedTasks = false;
    // Code of others is called by each step, and what that throws must not keep the next ones from being taken.
    const errors = [...this.users].flatMap((user) => errorsOf(() => user.terminationEnded()));
    // Somebody listened again before everything had ended.
    errors.push(...errorsOf(() => (this.server.listening ? this.#listening() : this.#unwatch())));
    errors.push(...errorsOf(() => this.#takeOffIfUnused()));
    if (errors.length > 0) throw errors[0];
  }

  /**
   * Follows a connection until it closes.
   *
   * @param {Socket} accepted
   * @param {Socket} socket the TLS socket above it, or the same
   */
  follow(accepted, socket) {
    const connection = new (require('./connection').Connection)(this, accepted, socket);
    this.connections.set(accepted, connection);
    this.connections.set(socket, connection);
    this.open.add(connection);
    accepted.on('close', this.#socketClosed);
    return connection;
  }

  /** @param {Connection} connection */
  forget(connection) {
    const { accepted, counter, session, socket } = connection;
    counter?.stop();
    accepted.removeListener('close', this.#socketClosed);
    this.connections.delete(accepted);
    this.connections.delete(socket);
    if (session !== null) this.connections.delete(session);
    this.open.delete(connection);
  }

  /** @param {Connection} connection */
  closed(connection) {
    this.forget(connection);
    this.#termination?.closed(connection);
  }

  /** @param {import('./binding').Actions} actions of the machine, for the termination that runs: another one may have caused them */
  perform(actions) {
    this.#termination?.perform(actions);
  }

  /** Whether whatever listens now does so behind the end of a listener that was closed by a termination. */
  get #hasClosedServer() {
    return this.#termination?.hasClosedServer ?? true;
  }

  #hasConnections() {
    return this.open.size > 0 || httpSockets(this.server).length > 0;
  }

  /** @type {[event: string, listener: (...args: any[]) => void][]} */
  #listeners = [
    ['listening', () => this.#listening()],
    ['close', () => this.#serverClosed()],
    ['newListener', (event, listener) => this.#listenerAdded(event, listener)],
    ['removeListener', (event) => this.#listenerRemoved(event)],
  ];

  #listening() {
    const wasTerminating = this.#termination !== null;
    // Otherwise it is the event of the very listener that is about to close.
    this.isReopened = wasTerminating && this.#hasClosedServer;
    this.perform(native.listening(this.key));
    if (wasTerminating) return;
    // Others may come to where it listens now.
    this.#looks = 0;
    this.wasNewcomerFar = null;
    this.#followIfNeeded();
    this.#watch();
  }

  /** The server does not listen, and has no connections left. */
  #serverClosed() {
    // Connections may be emitted by hand from now on.
    this.#follow();
    // Last, since everything is taken off if that was the end for a terminator that is detached.
    if (this.#termination !== null) this.#termination.serverClosed();
    else this.#unwatch();
  }

  // Connections are followed from their beginning only where they can't be found later.

  #followIfNeeded() {
    this.#isListed = listsConnections(this.server);
    if (this.#isListed && this.server.listening && !this.isSecure && !isHttp2(this.server)) this.#unfollow();
    else this.#follow();
    this.server.removeListener('request', onRequest);
    // HTTP/1 that is not Node's own, and whose requests may not be published. A server of HTTP/2 would answer streams
    // otherwise than without a listener.
    if (!this.#isListed && this.server.listening && 'closeIdleConnections' in this.server && !isHttp2(this.server)) {
      this.server.prependListener('request', onRequest);
    }
  }

  #follow() {
    if (!this.#isFollowing) this.server.on('connection', this.#opened);
    this.#isFollowing = true;
  }

  #unfollow() {
    this.server.removeListener('connection', this.#opened);
    this.#isFollowing = false;
  }

  /** @param {Socket} socket */
  #opened = (socket) => {
    this.#watch();
    if (this.connections.has(socket)) return;
    this.newcomer(socket, performance.now());
    const connection = this.follow(socket, socket);
    this.#termination?.opened(connection);
    this.#adoptSession(connection);
  };

  /** @param {Socket} socket */
  #secured = (socket) => {
    const accepted = socketBelow(socket);
    this.#opened(accepted);
    const connection = /** @type {Connection} */ (this.connections.get(accepted));
    connection.socket = socket;
    this.connections.set(socket, connection);
    this.#adoptSession(connection);
    this.#termination?.secured(connection);
    if (this.#termination !== null || connection.session !== null) return;
    noteHandedOut(socket);
    if (this.#isListed) this.forget(connection);
  };

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
    this.connections.set(this.#newSession, connection);
    const session = this.#newSession;
    session.once('close', () => this.connections.delete(session));
    // Until then the client has said nothing, and counts as one that never used its connection.
    session.once('remoteSettings', () => this.#termination?.multiplexed(connection));
    this.#newSession = null;
  }

  /**
   * @param {ServerHttp2Stream} stream
   * @param {IncomingHttpHeaders} headers
   */
  #streamOpened = (stream, headers) => {
    const connection = stream.session && this.connections.get(stream.session);
    if (!connection) return;
    const { Stream } = require('./connection');
    const request = new Stream(stream, { method: headers[':method'], url: headers[':path'] });
    connection.streams?.set(stream, request);
    stream.once('close', () => {
      connection.streams?.delete(stream);
      this.#termination?.streamClosed(connection, request);
    });
    this.#termination?.streamOpened(connection, request);
  };

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
    const [left, ...others] = this.server.rawListeners(event);
    if (left === this.#hijacked && others.length === 0) this.server.removeListener(event, this.#hijacked);
  }

  /** @param {string} event */
  #followHijacking(event) {
    if (!this.server.rawListeners(event).includes(this.#hijacked)) {
      this.server.prependListener(event, this.#hijacked);
    }
  }

  /**
   * @param {IncomingMessage} request
   * @param {Socket} socket
   */
  #hijacked = (request, socket) => {
    // Over HTTP/2 it is a stream, which is followed as one.
    if (request.httpVersionMajor === 2) return;
    // If the request has a body, Node 26 hands out a stream of its own, from which that is kept away.
    const spokenOn = request.socket ?? socket;
    // Node's list shows it no longer.
    const connection = this.connections.get(spokenOn) ?? this.follow(socketBelow(spokenOn), spokenOn);
    connection.hijackedBy = { method: request.method, url: request.url };
    // Whoever has it now may read it in another way.
    connection.counter?.stop();
    this.#termination?.hijacked(connection);
  };

  /**
   * Connections that were opened before anybody listened. Among these, an upgraded one looks like one
   * on which half a request has come, and has the same grace.
   */
  #adoptOpenConnections() {
    const listed = new Set(httpSockets(this.server));
    for (const socket of listed) adoptRequests(socket);
    const below = new Set([...listed].map(socketBelow));
    for (const socket of acceptedSockets(this.server)) if (!below.has(socket)) this.#opened(socket);
  }

  /** Requests are watched for only while there can be any. */
  #watch() {
    if (this.#watching) return;
    watchRequests();
    this.#watching = true;
    // Now, and not in the middle of a termination, when there may be neither time nor descriptors for it.
    loadTermination();
    require('./connection');
    require('./websockets');
  }

  #unwatch() {
    if (this.#watching) unwatchRequests();
    this.#watching = false;
  }

  #takeOffIfUnused() {
    // A termination that runs is seen through: its promise must settle.
    if (this.users.size === 0 && this.#termination === null) this.#takeOff();
  }

  #takeOff() {
    // First, as a server that lets nobody listen does not let anybody cease to, either.
    attachments.delete(this.server);
    this.#unwatch();
    for (const connection of this.open) this.forget(connection);
    /** @type {[event: string, listener: (...args: any[]) => void][]} */
    const listeners = [
      ...this.#listeners,
      ['secureConnection', this.#secured],
      ['request', onRequest],
      ['session', this.#sessionOpened],
      ['stream', this.#streamOpened],
    ];
    for (const event of HIJACKING_EVENTS) listeners.push([event, this.#hijacked]);
    // Somebody's `removeListener` may throw, when the listener is gone.
    const errors = listeners.flatMap((listener) => errorsOf(() => this.server.removeListener(...listener)));
    errors.push(...errorsOf(() => this.#unfollow()));
    if (errors.length > 0) throw errors[0];
  }
}

/**
 * What a step throws that must not keep others from being taken.
 *
 * @param {() => void} step
 * @returns {unknown[]}
 */
function errorsOf(step) {
  try {
    step();
    return [];
  } catch (error) {
    return [error];
  }
}

/** Most of the package is in it, and a process that only defines servers does without. */
function loadTermination() {
  return require('./termination');
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
 * One function for all sockets, which call it with themselves.
 *
 * @param {Attachment} attachment
 * @returns {(this: Socket) => void}
 */
function closeListener(attachment) {
  return function closed() {
    const connection = attachment.connections.get(this);
    if (connection !== undefined) attachment.closed(connection);
  };
}

exports.Attachment = Attachment;
