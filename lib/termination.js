// One termination of one server: Node's events in, the machine's actions out. Nothing is decided here.

// Not the global ones, which test runners replace by ones that wait for the test.
const { nextTick } = require('node:process');
const { setImmediate } = require('node:timers');
const { connections } = require('./attachment');
const { CutList } = require('./cut-list');
const http1 = require('./http1');
const http2 = require('./http2');
const internals = require('./internals');
const { Intake } = require('./intake');
const { closeListener } = require('./listener');
const native = require('./native');
const { debug, isObserved, publish } = require('./observer');
const { QuietConnections } = require('./quiet-connections');
const { begun, conversationOn } = require('./requests');
const { isRead, unreadOf } = require('./unread');

const { acceptedSockets, activeSockets, descriptorOf, idleSockets, isBoundHere, socketBelow } = internals;

/** @typedef {import('node:net').Socket} Socket */
/** @typedef {import('node:http').IncomingMessage} IncomingMessage */
/** @typedef {import('./attachment').Attachment} Attachment */
/** @typedef {import('./connection').Connection} Connection */
/** @typedef {import('./connection').Stream} Stream */
/** @typedef {import('./requests').Request} Request */
/** @typedef {{ counts: import('./binding').Report, cut: CutList, taskErrors: string[] }} Outcome */
/**
 * @typedef {object} Plan
 * @property {number} delay in milliseconds
 * @property {number} timeout in milliseconds
 * @property {number | null} keepAlive in milliseconds; null leaves it to the rhythm of each connection
 */

const { ActionKind, Arriving, Milestone, Transport } = native;

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

/**
 * How long it takes Node to let go of the function that another thread can call: in the first turn of the loop it
 * hears that it is to, in the second it closes a handle, and in the third it tells `async_hooks`.
 */
const TURNS_OF_RELEASE = 3;

class Termination {
  #attachment;
  #server;
  #key;
  #transport;
  /**
   * By the machine's id.
   *
   * @type {(Connection | undefined)[]}
   */
  #known = [];
  /** Connections on which nothing is under way, and which the machine knows only as one of many. */
  #quiet = new QuietConnections();
  /**
   * Idle connections of which a survey decides whether they are quiet.
   *
   * @type {Socket[]}
   */
  #undecided = [];
  /**
   * Connections on which nothing has come yet, until a survey counts them among the quiet ones.
   *
   * @type {Socket[]}
   */
  #silent = [];
  /**
   * Those on which Node is in the middle of a message, from a look until the survey for which it was taken. Null is
   * before a look, and undefined where Node does not show them.
   *
   * @type {Set<Socket> | undefined | null}
   */
  #active = null;
  #turning = false;
  /** @type {(outcome: Outcome | Promise<never>) => void} */
  #resolve = () => {};
  /** @type {{ error: unknown } | null} */
  #failure = null;
  #cut = new CutList();
  /** @type {string[]} */
  #taskErrors = [];

  /** @param {Attachment} attachment */
  constructor(attachment) {
    this.#attachment = attachment;
    this.#server = attachment.server;
    this.#key = attachment.key;
    this.#transport = attachment.isSecure ? Transport.Tls : Transport.Plain;
  }

  /** What is open, although no termination runs: the machine is shown it for a moment. */
  statsWhileServing() {
    const followed = new Set(this.#attachment.open);
    this.#enterWhatIsUnderWay();
    native.quiet(this.#key, this.#quiet.size + this.#undecided.length + this.#silent.length, 0);
    const stats = native.stats(this.#key);
    native.quiet(this.#key, 0, 0);
    for (const connection of this.#attachment.open) {
      native.closed(this.#key, connection.id, true);
      if (!followed.has(connection)) this.#attachment.forget(connection);
    }
    return stats;
  }

  stats() {
    this.#quietClosed(this.#quiet.deleteDestroyed());
    return native.stats(this.#key);
  }

  /**
   * @param {Plan} plan
   * @returns {Promise<Outcome>}
   */
  begin(plan) {
    this.#enterWhatIsUnderWay();
    this.#observe();
    const actions = this.#terminate(plan);
    /** @type {Promise<Outcome>} */
    const outcome = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    this.perform(actions);
    for (const user of this.#attachment.users) user.terminationBegan();
    return outcome;
  }

  /** @param {Plan} plan */
  bringForward(plan) {
    this.perform(this.#terminate(plan));
  }

  /** @param {Plan} plan */
  #terminate({ delay, timeout, keepAlive }) {
    return native.terminate(this.#key, delay, timeout, keepAlive, isObserved(), this.#wake);
  }

  // Called on Node's thread, but caused on another one, which keeps time while this one is blocked.
  #wake = () => this.perform(native.timedOut(this.#key));

  // What happens.

  /** @param {Connection} connection accepted just now */
  opened(connection) {
    this.#name(connection, native.opened(this.#key, this.#transport));
    this.perform(native.due(this.#key));
  }

  /** @param {Connection} connection */
  closed(connection) {
    const { id } = connection;
    this.perform(native.closed(this.#key, id, http1.isClosedByPeer(connection)));
    this.#known[id] = undefined;
  }

  serverClosed() {
    // It closes after its last connection, of which not all were followed.
    this.#quietAreClosed();
    this.perform(native.serverClosed(this.#key));
  }

  /** @param {Connection} connection on which the TLS handshake has just ended */
  secured(connection) {
    connection.intake = Intake.fromNow(connection);
    this.perform(native.secured(this.#key, connection.id));
    this.perform(native.due(this.#key));
  }

  /**
   * @param {Socket} socket
   * @param {Request} request
   */
  requestStarted(socket, request) {
    request.late = true;
    const connection = this.#find(socket);
    const more = intakeOf(connection).accountFor(request.response.req);
    this.perform(native.requestStarted(this.#key, connection.id, more));
    // That there is more is concluded from numbers. When Node has worked through its input, it shows; and
    // if that is only a part of it, as under TLS, the next request to start sets it right again.
    if (more) nextTick(() => this.#lookForMore(connection, request));
  }

  /**
   * @param {Socket} socket
   * @param {Request} request
   */
  requestFinished(socket, { response, late }) {
    const connection = connections.get(socket);
    if (connection === undefined) return;
    const saidClose = http1.saidClose(response);
    const arriving = this.#arrivingAfter(connection, response.req);
    this.perform(native.requestFinished(this.#key, connection.id, arriving, saidClose, late));
  }

  /**
   * @param {Connection} connection
   * @param {Stream} request
   */
  streamClosed(connection, request) {
    const { id } = connection;
    if (http2.isAnswered(request)) {
      this.perform(native.requestFinished(this.#key, id, Arriving.Nothing, false, request.late));
    } else if (http2.isTakenBack(request) || http1.isClosedByPeer(connection)) {
      this.perform(native.requestAborted(this.#key, id));
    } else {
      this.#cut.addRequest(request, connection);
      this.perform(native.requestBrokenOff(this.#key, id));
    }
  }

  /** @param {Connection} connection */
  hijacked(connection) {
    if (this.#known[connection.id] !== connection) this.#include(connection);
    this.perform(native.hijacked(this.#key, connection.id));
  }

  /** @param {Connection} connection over which an HTTP/2 client has spoken */
  multiplexed({ id }) {
    this.perform(native.multiplexed(this.#key, id));
  }

  /** @param {unknown} error */
  taskFailed(error) {
    if (this.#taskErrors.length === ERRORS_AT_MOST) return;
    this.#taskErrors.push(error instanceof Error ? error.message : String(error));
  }

  // What is to be done.

  /** @param {import('./binding').Actions} actions */
  perform(actions) {
    if (actions === null) return;
    for (let index = 0; index < actions.length; index += 2) {
      const value = actions[index + 1];
      const connection = /** @type {Connection} */ (this.#known[value]);
      switch (actions[index]) {
        case ActionKind.Announce:
          this.#announce(value);
          break;
        case ActionKind.Survey:
          this.#survey(value);
          break;
        case ActionKind.LastSurvey:
          this.#survey(value, { isLast: true });
          break;
        case ActionKind.WatchListener:
          this.#watchListener();
          break;
        case ActionKind.HoldListener:
          this.#holdListener();
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
        case ActionKind.CloseQuiet:
          this.#closeQuiet(value);
          break;
        case ActionKind.DestroyQuiet:
          this.#destroyQuiet();
          break;
        case ActionKind.End:
          http1.end(connection);
          break;
        case ActionKind.Linger:
          http1.linger(connection);
          break;
        case ActionKind.Ping:
          http2.ping(connection, () => this.perform(native.ponged(this.#key, connection.id)));
          break;
        case ActionKind.CloseSession:
          http2.closeSession(connection, () => afterTurns(2, () => this.#observeClosing(connection)));
          break;
        case ActionKind.Cut:
          this.#cut.add(connection);
          break;
        case ActionKind.CutHalf:
          this.#cut.addHalf(connection);
          break;
        case ActionKind.Destroy:
          if (connection.session === null) http1.destroy(connection);
          else http2.destroy(connection);
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

  /** @param {number} milestone */
  #announce(milestone) {
    const { users, open } = this.#attachment;
    if (milestone === Milestone.Draining) for (const user of users) user.drainingBegan();
    if (milestone === Milestone.Deadline) {
      this.#attachment.abandonTasks();
      for (const user of users) user.deadlinePassed();
    }
    if (!isObserved()) return;
    const stillOpen = new CutList();
    if (milestone === Milestone.HalfTime) for (const connection of open) stillOpen.add(connection);
    publish({
      phase: PHASES[milestone],
      server: /** @type {import('node:http').Server} */ (this.#server),
      stats: native.stats(this.#key),
      open: stillOpen.rows,
    });
  }

  #watchListener() {
    const local = addressOf(this.#server);
    if (local === null) {
      // It does not listen, or nobody knows how many wait.
      this.perform(native.acceptQueue(this.#key, this.#server.listening ? null : 0));
      return;
    }
    const reason = native.watchListener(this.#key, descriptorOf(this.#server), local.address, local.port);
    if (reason !== null) debug('how many connections wait to be accepted is not known: %s', reason);
    this.perform(native.due(this.#key));
  }

  #holdListener() {
    const local = addressOf(this.#server);
    if (local === null || !isBoundHere(this.#server)) {
      debug('new connections are not held back while the listener closes: it may be shared');
      return;
    }
    const reason = native.holdListener(this.#key, descriptorOf(this.#server), local.address, local.port);
    if (reason !== null) debug('new connections are not held back while the listener closes: %s', reason);
    this.perform(native.due(this.#key));
  }

  #closeServer() {
    try {
      // Also if it does not listen: it may be about to, which Node takes back, and it says `close` all the same.
      closeListener(this.#server);
      this.perform(native.listenerClosed(this.#key));
    } catch (error) {
      // Thrown by somebody's own `close()`. Whoever terminates hears of it when everything else has ended.
      this.#failure = { error };
      this.perform(native.listenerClosed(this.#key));
      this.perform(native.serverClosed(this.#key));
    }
  }

  #awaitTurn() {
    const turned = () => {
      this.#turning = true;
      this.perform(native.turned(this.#key));
      this.#turning = false;
    };
    // Between two immediates the loop polls; before the first one it may not.
    if (this.#turning) setImmediate(turned);
    else setImmediate(() => setImmediate(turned));
  }

  #resolved() {
    const outcome = { counts: native.report(this.#key), cut: this.#cut, taskErrors: this.#taskErrors };
    this.#attachment.terminated();
    // Test runners look for what a suite has left behind as soon as its last hook has resolved.
    afterTurns(TURNS_OF_RELEASE, () => {
      this.#resolve(this.#failure === null ? outcome : Promise.reject(this.#failure.error));
    });
  }

  // Who is there.

  /** Tells the machine of everything that is followed, or has requests in flight. */
  #enterWhatIsUnderWay() {
    for (const connection of this.#attachment.open) this.#enter(connection);
    for (const [socket, { attachment }] of begun) {
      // What its client has given up may still be among them.
      if (attachment === this.#attachment && !socket.destroyed) this.#find(socket);
    }
    this.#look();
    for (const connection of this.#attachment.open) {
      for (const _ of connection.requests()) native.requestStarted(this.#key, connection.id, false);
    }
  }

  /** Looks at every connection that Node's list shows, and finds those on which something is under way. */
  #look() {
    this.#quiet.clear();
    this.#undecided = [];
    this.#silent = [];
    const { open } = this.#attachment;
    for (const socket of idleSockets(this.#server)) {
      if (open.size > 0 && connections.has(socket)) continue;
      const received = socket.bytesRead;
      // Since Node 26 those that were never used are among the idle ones, too.
      if (received === 0) continue;
      const conversation = conversationOn(socket);
      if (conversation !== undefined && conversation.oldest !== null) this.#find(socket);
      else if (this.#isQuiet(conversation)) this.#quiet.add(socket, received);
      else this.#undecided.push(socket);
    }
    this.#active = activeSockets(this.#server);
    for (const socket of this.#active ?? []) {
      if (connections.has(socket)) continue;
      if (this.#transport === Transport.Tls || socket.bytesRead > 0) this.#find(socket);
      else this.#silent.push(socket);
    }
  }

  /** @param {import('./requests').Conversation | undefined} conversation */
  #isQuiet(conversation) {
    // Under TLS an end is a conversation of its own.
    return this.#transport === Transport.Plain && (conversation === undefined || Number.isNaN(conversation.gap));
  }

  /** @param {Connection} connection */
  #enter(connection) {
    const { last, gap } = conversationOn(connection.socket) ?? { last: Number.NaN, gap: Number.NaN };
    this.#name(connection, native.found(this.#key, this.#transport, performance.now() - last, gap));
    // What follows from being found comes with it.
    if (connection.hijackedBy !== null) this.perform(native.hijacked(this.#key, connection.id));
  }

  /**
   * @param {Connection} connection
   * @param {number} id
   */
  #name(connection, id) {
    connection.id = id;
    this.#known[id] = connection;
  }

  /**
   * The connection on which something turns out to be under way, followed from now on if it was not before.
   *
   * @param {Socket} socket
   */
  #find(socket) {
    const known = connections.get(socket);
    if (known !== undefined) return known;
    const connection = this.#attachment.follow(socketBelow(socket), socket);
    this.#include(connection);
    return connection;
  }

  /** @param {Connection} connection that was one of many */
  #include(connection) {
    const { socket } = connection;
    this.#enter(connection);
    const received = this.#quiet.delete(socket);
    if (received !== undefined) {
      connection.intake = Intake.from(connection, received);
      this.perform(native.quiet(this.#key, this.#quiet.size, this.#quiet.unused));
    }
    this.perform(native.due(this.#key));
  }

  /**
   * Looks at every connection.
   *
   * @param {number} horizon how old the last request on a connection may be for its rhythm to matter, in milliseconds
   * @param {{ isLast?: boolean }} [options]
   */
  #survey(horizon, { isLast = false } = {}) {
    const since = performance.now() - horizon;
    let gone = 0;
    // What was seen in this tick, when the termination began, is still true.
    if (this.#active === null) {
      // Of those that were quiet at the last survey, clients may have closed some.
      gone = this.#quiet.deleteDestroyed();
      this.#look();
    }
    for (const socket of this.#undecided) {
      const last = conversationOn(socket)?.last ?? Number.NaN;
      if (this.#transport === Transport.Plain && last < since) this.#quiet.add(socket, socket.bytesRead);
      else this.#find(socket);
    }
    for (const socket of this.#silent) this.#quiet.add(socket, 0);
    this.#undecided = [];
    this.#silent = [];
    this.#observe();
    if (isLast) this.#observeUnread();
    this.#active = null;
    this.#quietClosed(gone);
  }

  #observe() {
    for (const connection of this.#attachment.open) this.#observeConnection(connection);
  }

  /** Finds the connections for which the kernel holds what may be a request. */
  #observeUnread() {
    for (const socket of unreadOf([...this.#quiet.sockets])) {
      this.#quiet.delete(socket);
      this.perform(native.receiving(this.#key, this.#find(socket).id));
    }
    const known = [...this.#attachment.open].filter(
      ({ session, hijackedBy }) => session === null && hijackedBy === null,
    );
    for (const socket of unreadOf(known.map(({ accepted }) => accepted))) {
      const connection = /** @type {Connection} */ (connections.get(socket));
      // It may as well be the rest of a request that is known.
      if (connection.newest?.response.req.complete ?? !connection.isAnsweredEarly) {
        this.perform(native.receiving(this.#key, connection.id));
      }
    }
  }

  /** @param {Connection} connection whose session closes */
  #observeClosing(connection) {
    if (this.#known[connection.id] !== connection || !http2.isReceiving(connection)) return;
    this.perform(native.receiving(this.#key, connection.id));
  }

  /** @param {Connection} connection */
  #observeConnection(connection) {
    if (connection.hijackedBy !== null) return;
    if (connection.session !== null && connection.socket.bytesRead > 0) {
      this.perform(native.multiplexed(this.#key, connection.id));
      return;
    }
    if (connection.isAnsweredEarly) {
      // To the parser, the rest of its body looks like half a request.
      this.perform(native.answeredEarly(this.#key, connection.id));
      return;
    }
    const receiving = http1.isReceiving(connection, this.#active ?? undefined) || isFollowed(connection);
    if (receiving) this.perform(native.receiving(this.#key, connection.id));
    const first = receiving && connection.newest === null && connection.socket.bytesWritten === 0;
    connection.intake = first ? Intake.fromBeginning(connection) : Intake.fromNow(connection);
  }

  /**
   * @param {Connection} connection
   * @param {IncomingMessage} request
   */
  #arrivingAfter(connection, request) {
    if (!request.complete) return Arriving.Body;
    // What comes after an upgrade is no request.
    if (connection.hijackedBy !== null) return Arriving.Nothing;
    if (http1.isReceiving(connection, activeSockets(this.#server)) || !isRead(connection.accepted)) {
      return Arriving.NextRequest;
    }
    connection.intake = Intake.fromNow(connection);
    return Arriving.Nothing;
  }

  /**
   * @param {Connection} connection
   * @param {Request} request
   */
  #lookForMore(connection, request) {
    if (this.#known[connection.id] !== connection || connection.newest !== request) return;
    if (http1.isReceiving(connection, activeSockets(this.#server))) return;
    this.perform(native.nothingMore(this.#key, connection.id));
  }

  /** @param {Connection} connection */
  #isSilent(connection) {
    if (intakeOf(connection).isSilent && isRead(connection.accepted)) return true;
    this.perform(native.receiving(this.#key, connection.id));
    if (connection.session !== null) this.perform(native.multiplexed(this.#key, connection.id));
    return false;
  }

  // Connections that are one of many.

  /** @param {number} count */
  #closeQuiet(count) {
    const { closed, receiving } = this.#quiet.close(count);
    for (const socket of receiving) this.perform(native.receiving(this.#key, this.#find(socket).id));
    this.#quietClosed(closed);
  }

  #destroyQuiet() {
    for (const socket of this.#quiet.sockets) socket.destroy();
    // Whatever else is open has escaped everything that is known of Node.
    for (const socket of acceptedSockets(this.#server)) if (!connections.has(socket)) socket.destroy();
    this.#quietAreClosed();
  }

  /** None is left of those that were quiet. */
  #quietAreClosed() {
    const closed = this.#quiet.size;
    this.#quiet.clear();
    this.#quietClosed(closed);
  }

  /** @param {number} count how many there are less since the machine was last told */
  #quietClosed(count) {
    this.perform(native.quietClosed(this.#key, count, this.#quiet.size, this.#quiet.unused));
  }
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

/**
 * The address that a server listens on, if it has one of the internet.
 *
 * @param {import('node:net').Server} server
 */
function addressOf(server) {
  const address = server.address();
  return typeof address === 'string' ? null : address;
}

/**
 * @param {number} turns of the event loop
 * @param {() => void} callback
 */
function afterTurns(turns, callback) {
  setImmediate(turns === 1 ? callback : () => afterTurns(turns - 1, callback));
}

/**
 * Whether the kernel has something behind a request that has come whole. Its answer may leave before that is read.
 *
 * @param {Connection} connection
 */
function isFollowed({ accepted, newest }) {
  return newest?.response.req.complete === true && !isRead(accepted);
}

exports.Termination = Termination;
