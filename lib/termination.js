// One termination of one server: Node's events in, the machine's actions out. Nothing is decided here.

const { inspect, types } = require('node:util');
const { CutList, LISTED_AT_MOST } = require('./cut-list');
const { noThread } = require('./errors');
const { native, timers } = require('./early');
const http1 = require('./http1');
const http2 = require('./http2');
const { Intake } = require('./intake');
const { activeSockets, descriptorOf, isAcceptedByPrimary, responseOn } = require('./internals');
const listener = require('./listener');
const { isObserved, publish } = require('./observer');
const { whenPrimaryKnows } = require('./primary');
const { arrivingAfter, intakeOf, isReceiving, isSilent, mayBeNothing } = require('./receiving');
const { Request, isFollowed, requestsOn } = require('./requests');
const { Survey } = require('./survey');

/** @typedef {import('node:net').Socket} Socket */
/** @typedef {import('./attachment').Attachment} Attachment */
/** @typedef {import('./connection').Connection} Connection */
/** @typedef {import('./connection').Stream} Stream */
/** @typedef {import('node:http').ServerResponse} ServerResponse */
/** @typedef {{ counts: import('./binding').Report, cut: CutList, taskErrors: string[] }} Outcome */
/**
 * @typedef {object} Plan
 * @property {number} delay in milliseconds
 * @property {number} timeout in milliseconds
 * @property {number | null} keepAlive in milliseconds; null leaves it to the rhythm of each connection
 */

const { ActionKind, Arriving, Milestone } = native;
const { nextTick, setImmediate } = timers;

/** What a milestone is called outside. */
const PHASES = /** @type {const} */ ({
  [Milestone.Delaying]: 'delaying',
  [Milestone.Draining]: 'draining',
  [Milestone.HalfTime]: 'half time',
  [Milestone.Deadline]: 'deadline',
  [Milestone.Terminated]: 'terminated',
});

/**
 * How long it takes Node to let go of the function that another thread can call: in the first turn of the loop it
 * hears that it is to, in the second it closes a handle, and in the third it tells `async_hooks`.
 */
const TURNS_OF_RELEASE = 3;

/** How long a session that closes takes to write its last, and to be gone if nothing keeps it. */
const TURNS_OF_CLOSING = 2;

class Termination {
  #attachment;
  #server;
  #key;
  /** Who is there. */
  #survey;
  #turning = false;
  #endsHijacked = false;
  /** Whether it has called the server's own `close()`, and that has returned, or settled if it is asynchronous. */
  hasClosedServer = false;
  /** @type {Promise<void> | null} when the primary of a cluster knows, too */
  #primaryKnows = null;
  #hasResolved = false;
  /** @type {(outcome: Outcome | Promise<never>) => void} */
  #resolve = () => {};
  /**
   * There before it begins: that calls code of users, who may ask for it.
   *
   * @type {Promise<Outcome>}
   */
  outcome = new Promise((resolve) => {
    this.#resolve = resolve;
  });
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
    this.#survey = new Survey(attachment, (actions) => this.perform(actions));
  }

  stats() {
    return this.#survey.stats();
  }

  /** Gets what the deadline takes. If it can't be had, this throws, and nothing has begun. */
  arm() {
    const refusal = native.arm(this.#key, this.#wake);
    if (refusal !== null) throw noThread(refusal);
  }

  /** @param {Plan} plan */
  begin(plan) {
    this.#survey.begin();
    // What comes to be handled when everything has been cut counts by itself.
    if (plan.delay > 0 || plan.timeout > 0)
      for (const connection of this.#attachment.open) this.#lookBehindHandler(connection);
    this.perform(this.#terminate(plan));
    for (const connection of this.#attachment.open) if (connection.newest !== null) connection.watchEnd();
    for (const user of this.#attachment.users) user.terminationBegan();
  }

  /** @param {import('./attachment').User} user who has come while it runs */
  joined(user) {
    user.terminationBegan();
    if (this.#attachment.state === 'draining') this.#tell(() => user.drainingBegan());
  }

  /** @param {Plan} plan */
  bringForward(plan) {
    this.perform(this.#terminate(plan));
  }

  /** @param {Plan} plan */
  #terminate({ delay, timeout, keepAlive }) {
    return native.terminate(this.#key, delay, timeout, keepAlive, isObserved());
  }

  // Called on Node's thread, but caused on another one, which keeps time while this one is blocked. Until it comes, this
  // termination may have ended, and another one begun.
  #wake = () => this.#attachment.perform(native.timedOut(this.#key));

  // What happens.

  /** @param {Connection} connection accepted just now */
  opened(connection) {
    this.#survey.opened(connection);
  }

  /** @param {Connection} connection */
  closed(connection) {
    const { rest } = connection;
    if (rest !== null && !rest.closed) {
      rest.once('close', () => this.closed(connection));
      return;
    }
    this.perform(native.closed(this.#key, connection.id, connection.isClosedByPeer));
    this.#survey.forget(connection);
  }

  serverClosed() {
    // It closes after its last connection, of which not all were followed. Those that somebody has emitted by hand it does
    // not know, and they are still open.
    this.#survey.forgetDestroyed();
    const known = this.#primaryKnows;
    if (known === null) {
      this.perform(native.serverClosed(this.#key));
      return;
    }
    known.then(() => {
      // Meanwhile it may have resolved, or the server may have listened again and have been closed once more.
      if (!this.#hasResolved && known === this.#primaryKnows) this.perform(native.serverClosed(this.#key));
    });
  }

  /** @param {Connection} connection on which the TLS handshake has just ended */
  secured(connection) {
    connection.intake = Intake.fromNow(connection);
    this.perform(native.secured(this.#key, connection.id));
  }

  /**
   * @param {Socket} socket
   * @param {ServerResponse} response
   * @param {number} now
   */
  requestStarted(socket, response, now) {
    const connection = this.#survey.find(socket);
    const request = new Request(response, now);
    request.late = true;
    const isPipelined = connection.pipelined.push(request) > 1;
    connection.watchEnd();
    const more = intakeOf(connection).accountFor(response.req, isPipelined);
    this.perform(native.requestStarted(this.#key, connection.id, more));
    // That there is more is concluded from numbers. When Node has worked through its input, it shows; and if that is only a part of
    // it, as under TLS, when TLS has handed out the rest. Then the next request to start sets it right again.
    if (more) nextTick(() => this.#lookBehindRequest(connection, request));
  }

  /**
   * @param {Socket} socket
   * @param {ServerResponse} response
   */
  requestFinished(socket, response) {
    const connection = this.#attachment.connections.get(socket);
    if (connection === undefined) return;
    const isUnknown = connection.pipelined[0]?.response !== response;
    // Over TLS, several that nobody has told of may end in one go.
    if (isUnknown && responseOn(socket) === response) this.#findPipelined(connection);
    const [request] = connection.pipelined;
    // HTTP/1 answers in order.
    if (request?.response !== response) return;
    connection.pipelined.shift();
    const saidClose = http1.saidClose(response);
    const arriving = arrivingAfter(connection, response.req);
    this.perform(native.requestFinished(this.#key, connection.id, arriving, saidClose, request.late));
    // Before Node writes the head of the next one, unless that has ended already.
    if (isFollowed(socket, response.req)) nextTick(() => this.#findPipelined(connection));
  }

  /** @param {Connection} connection on which a request is being answered now that may be one that nobody has told of */
  #findPipelined(connection) {
    const [current] = requestsOn(connection.socket);
    if (!this.#survey.knows(connection) || !current) return;
    if (current.response === connection.pipelined[0]?.response) return;
    connection.pipelined.unshift(current);
    const more = isReceiving(connection, activeSockets(this.#server));
    this.perform(native.requestStarted(this.#key, connection.id, more));
  }

  /**
   * @param {Connection} connection
   * @param {import('node:http').IncomingMessage} request which was answered before its body had come whole
   */
  #bodyEnded(connection, request) {
    if (!this.#survey.knows(connection) || connection.newest !== null) return;
    const more = arrivingAfter(connection, request) === Arriving.NextRequest;
    this.perform(native.bodyEnded(this.#key, connection.id, more));
  }

  /**
   * @param {Connection} connection
   * @param {Stream} request
   */
  streamOpened(connection, request) {
    request.late = true;
    this.perform(native.requestStarted(this.#key, connection.id, false));
  }

  /**
   * @param {Connection} connection
   * @param {Stream} request
   */
  streamClosed(connection, request) {
    const { id } = connection;
    if (http2.isAnswered(connection, request)) {
      this.perform(native.requestFinished(this.#key, id, Arriving.Nothing, false, request.late));
    } else if (http2.isTakenBack(request) || connection.isClosedByPeer) {
      this.perform(native.requestAborted(this.#key, id));
    } else {
      this.#cut.addRequest(request, connection);
      this.perform(native.requestBrokenOff(this.#key, id));
    }
  }

  /** @param {Connection} connection */
  hijacked(connection) {
    if (this.#survey.knows(connection)) this.perform(native.hijacked(this.#key, connection.id));
    else this.#survey.include(connection);
    // Behind what its handler, which is called after this, answers at once.
    if (this.#endsHijacked) nextTick(() => http1.end(connection));
  }

  /**
   * Ends the upgraded connections and CONNECT tunnels, those that become such from now on, too. Without a deadline they would
   * be waited for until their clients leave.
   */
  endHijacked() {
    this.#endsHijacked = true;
    for (const connection of this.#attachment.open) if (connection.hijackedBy !== null) http1.end(connection);
  }

  /** @param {Connection} connection that may have closed: Node calls back then, too */
  #ponged(connection) {
    if (this.#survey.knows(connection)) this.perform(native.ponged(this.#key, connection.id));
  }

  /** @param {Connection} connection over which an HTTP/2 client has spoken */
  multiplexed({ id }) {
    this.perform(native.multiplexed(this.#key, id));
  }

  /** @param {unknown} error */
  taskFailed(error) {
    if (this.#taskErrors.length === LISTED_AT_MOST) return;
    this.#taskErrors.push(messageOf(error));
  }

  /** @param {unknown} error that is heard of when everything has ended */
  failed(error) {
    this.#failure ??= { error };
  }

  // What is to be done.

  /** @param {import('./binding').Actions} actions */
  perform(actions) {
    if (actions === null) return;
    for (let index = 0; index < actions.length; index += 2) {
      const value = actions[index + 1];
      const connection = /** @type {Connection} */ (this.#survey.connection(value));
      switch (actions[index]) {
        case ActionKind.Announce:
          this.#announce(value);
          break;
        case ActionKind.Survey:
          this.#survey.takeSome(value);
          break;
        case ActionKind.LastSurvey:
          this.#survey.takeAll(value);
          break;
        case ActionKind.WatchListener:
          this.#survey.tellWhere();
          this.perform(listener.watch(this.#server, this.#key));
          break;
        case ActionKind.HoldListener:
          this.perform(listener.hold(this.#server, this.#key));
          break;
        case ActionKind.CloseServer:
          this.#closeServer();
          break;
        case ActionKind.SayClose:
          this.#tell(() => http1.sayClose(connection));
          break;
        case ActionKind.SayKeepAlive:
          this.#tell(() => http1.sayKeepAlive(connection));
          break;
        case ActionKind.Close:
          this.#closeIfSilent(connection, http1.close);
          break;
        case ActionKind.CloseNotify:
          this.#closeIfSilent(connection, http1.linger);
          break;
        case ActionKind.CloseQuiet:
          this.#survey.closeQuiet(value);
          break;
        case ActionKind.DestroyQuiet:
          this.#survey.destroyQuiet();
          break;
        case ActionKind.LookUnsent:
          this.#lookUnsent(connection);
          break;
        case ActionKind.End:
          this.#lookUnsent(connection);
          http1.end(connection);
          break;
        case ActionKind.EndNotify:
          this.#lookUnsent(connection);
          http1.linger(connection);
          break;
        case ActionKind.Linger:
          http1.linger(connection);
          break;
        case ActionKind.HearBody:
          http1.hearBody(connection, (request) => this.#bodyEnded(connection, request));
          break;
        case ActionKind.HearOut:
          http1.hearOut(connection);
          break;
        case ActionKind.Ping:
          http2.ping(connection, () => this.#ponged(connection));
          break;
        case ActionKind.CloseSession:
          http2.closeSession(connection, () => {
            afterTurns(TURNS_OF_CLOSING, () => this.#lookBehindSession(connection));
          });
          break;
        case ActionKind.Cut:
          this.#cut.add(connection);
          break;
        case ActionKind.CutHalf:
          this.#cut.addHalf(connection);
          break;
        case ActionKind.CutSession:
          http2.cut(connection);
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
    if (milestone === Milestone.Draining) for (const user of users) this.#tell(() => user.drainingBegan());
    if (milestone === Milestone.Deadline) {
      this.#attachment.abandonTasks();
      for (const user of users) this.#tell(() => user.deadlinePassed());
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

  /** @param {() => void} tell by which code of others may be called, and throw: that of a WebSocket client, or of a response */
  #tell(tell) {
    try {
      tell();
    } catch (error) {
      this.failed(error);
    }
  }

  #closeServer() {
    const closed = () => {
      this.hasClosedServer = true;
    };
    this.hasClosedServer = false;
    const isHandedOver = isAcceptedByPrimary(this.#server);
    try {
      // Also if it does not listen: it may be about to, which Node takes back, and it says `close` all the same.
      const closing = listener.close(this.#server);
      if (closing === undefined) closed();
      else closing.then(closed, (error) => this.#closeFailed(error));
    } catch (error) {
      this.#closeFailed(error);
    }
    this.#primaryKnows = isHandedOver ? whenPrimaryKnows() : null;
    this.perform(native.listenerClosed(this.#key));
  }

  /** @param {unknown} error that somebody's own `close()` has thrown */
  #closeFailed(error) {
    this.failed(error);
    // It may never say that it has closed. If it says so late, that may be in the next termination.
    if (!this.#hasResolved) this.perform(native.serverClosed(this.#key));
  }

  /**
   * @param {Connection} connection
   * @param {(connection: Connection) => void} close
   */
  #closeIfSilent(connection, close) {
    if (isSilent(connection)) {
      this.#lookUnsent(connection);
      close(connection);
      return;
    }
    if (connection.session === null && mayBeNothing(connection)) {
      // When it is looked at again, only what has come meanwhile counts.
      connection.intake = Intake.fromNow(connection);
      this.perform(native.stirred(this.#key, connection.id));
      return;
    }
    this.perform(native.receiving(this.#key, connection.id));
    if (connection.session !== null) this.perform(native.multiplexed(this.#key, connection.id));
  }

  /** @param {Connection} connection on its way out, whose client may still be reading */
  #lookUnsent({ accepted, id, rest }) {
    this.perform(native.lookUnsent(this.#key, id, descriptorOf(rest ?? accepted)));
  }

  /** @param {Connection} connection whose session closes */
  #lookBehindSession(connection) {
    if (!this.#survey.knows(connection) || !http2.isReceiving(connection)) return;
    this.perform(native.receiving(this.#key, connection.id));
  }

  /** @param {Connection} connection on which a handler may be running that has called for this, with more requests behind its own */
  #lookBehindHandler(connection) {
    const request = connection.newest;
    if (request === null || connection.session !== null || request.response.req.complete) return;
    if (!Intake.isMoreBehind(connection, request.response.req)) return;
    this.perform(native.receiving(this.#key, connection.id));
    nextTick(() => this.#lookBehindRequest(connection, request));
  }

  /**
   * @param {Connection} connection
   * @param {Request} request
   * @param {boolean} [hasTurned] whether TLS has handed out all that it had
   */
  #lookBehindRequest(connection, request, hasTurned = false) {
    if (!this.#survey.knows(connection) || connection.newest !== request) return;
    const { req } = request.response;
    if (!req.complete) {
      // Node hands out its body in the middle of its input, of which the rest shows only behind that.
      req.once('end', () => nextTick(() => this.#lookBehindRequest(connection, request)));
      return;
    }
    if (isReceiving(connection, activeSockets(this.#server))) return;
    if (!hasTurned && intakeOf(connection).isMoreBelow()) {
      setImmediate(() => this.#lookBehindRequest(connection, request, true));
      return;
    }
    this.perform(native.nothingMore(this.#key, connection.id));
  }

  #awaitTurn() {
    const turned = () => {
      this.#turning = true;
      // Until then this termination may have ended, and another one begun: the turn is that one's.
      this.#attachment.perform(native.turned(this.#key));
      this.#turning = false;
    };
    // Between two immediates the loop polls; before the first one it may not.
    if (this.#turning) setImmediate(turned);
    else setImmediate(() => setImmediate(turned));
  }

  #resolved() {
    this.#hasResolved = true;
    const outcome = { counts: native.report(this.#key), cut: this.#cut, taskErrors: this.#taskErrors };
    this.#tell(() => this.#attachment.terminated());
    // Test runners look for what a suite has left behind as soon as its last hook has resolved.
    afterTurns(TURNS_OF_RELEASE, () => {
      this.#resolve(this.#failure === null ? outcome : Promise.reject(this.#failure.error));
    });
  }
}

/**
 * @param {unknown} error which may be of another realm, and need not be one
 * @returns {string}
 */
function messageOf(error) {
  const message = error instanceof Error || types.isNativeError(error) ? error.message : error;
  return typeof message === 'string' ? message : inspect(message, { customInspect: false });
}

/**
 * @param {number} turns of the event loop
 * @param {() => void} callback
 */
function afterTurns(turns, callback) {
  setImmediate(turns === 1 ? callback : () => afterTurns(turns - 1, callback));
}

exports.Termination = Termination;
