// Finds out who is there, and tells the machine: of each connection on which something is under way by an id, and of
// the quiet ones by their number.

const { performance } = require('node:perf_hooks');
const { descriptorIfFar, isFar } = require('./distance');
const { native } = require('./early');
const { Intake } = require('./intake');
const {
  acceptedSockets,
  activeSockets,
  descriptorOf,
  lookAtIdle,
  requestComingInOn,
  socketBelow,
} = require('./internals');
const { QuietConnections } = require('./quiet-connections');
const { hasReceived } = require('./received');
const { isReceiving, isUnanswered } = require('./receiving');
const { requestsOn, rhythmOn } = require('./requests');
const { unreadInKernel, unreadOf } = require('./queues');

/** @typedef {import('node:net').Socket} Socket */
/** @typedef {import('./attachment').Attachment} Attachment */
/** @typedef {import('./binding').Actions} Actions */
/** @typedef {import('./connection').Connection} Connection */

const { Transport } = native;

/**
 * How many quiet connections are surveyed in one turn of the event loop, in which requests in flight are to be served.
 *
 * To follow one, which all under TLS have to be and those in rhythm, takes about 10 µs.
 */
const SURVEYED_PER_TURN = 256;

/** Of so many clients it is looked up where they are, to know of all: one that is far away is enough. */
const ENOUGH = 8;

/** No descriptor any more, which would tell how far away. */
const CLOSED = -1;

class Survey {
  #attachment;
  #connections;
  #server;
  #key;
  #transport;
  #perform;
  /**
   * By the machine's id.
   *
   * @type {(Connection | undefined)[]}
   */
  #known = [];
  /** Connections on which nothing is under way, and which the machine knows only as one of many. */
  #quiet = new QuietConnections();

  /**
   * @param {Attachment} attachment
   * @param {(actions: Actions) => void} perform
   */
  constructor(attachment, perform) {
    this.#attachment = attachment;
    this.#connections = attachment.connections;
    this.#server = attachment.server;
    this.#key = attachment.key;
    this.#transport = attachment.isSecure ? Transport.Tls : Transport.Plain;
    this.#perform = perform;
  }

  /** What is open, although no termination runs: the machine is shown it for a moment. */
  statsWhileServing() {
    const followed = new Set(this.#attachment.open);
    this.#enterEverybody();
    const stats = native.stats(this.#key);
    native.quiet(this.#key, 0);
    for (const connection of this.#attachment.open) {
      native.closed(this.#key, connection.id, true);
      connection.pipelined = [];
      if (!followed.has(connection)) this.#attachment.forget(connection);
    }
    return stats;
  }

  stats() {
    this.forgetDestroyed();
    return native.stats(this.#key);
  }

  // Those that the machine knows by an id.

  /** @param {number} id */
  connection(id) {
    return this.#known[id];
  }

  /** @param {Connection} connection */
  knows(connection) {
    return this.#known[connection.id] === connection;
  }

  /** @param {Connection} connection accepted just now */
  opened(connection) {
    this.#name(connection, native.opened(this.#key, this.#transport, descriptorIfFar(connection.accepted)));
    this.#perform(native.due(this.#key));
  }

  /** @param {Connection} connection of which the machine knows that it has closed */
  forget({ id }) {
    this.#known[id] = undefined;
  }

  /** Tells where clients come from: those that were there, and some of those who are. */
  tellWhere() {
    const { wasNewcomerFar } = this.#attachment;
    if (wasNewcomerFar !== null) native.cameFrom(this.#key, wasNewcomerFar ? CLOSED : null);
    let looked = 0;
    for (const socket of this.#acceptedSockets()) {
      const far = isFar(socket);
      if (far !== null) native.cameFrom(this.#key, far ? descriptorOf(socket) : null);
      looked += 1;
      if (far || looked === ENOUGH) break;
    }
  }

  *#acceptedSockets() {
    for (const { accepted } of this.#attachment.open) yield accepted;
    for (const socket of this.#quiet.sockets()) yield socketBelow(socket);
  }

  /**
   * The connection on which something turns out to be under way, followed from now on if it was not before.
   *
   * @param {Socket} socket
   */
  find(socket) {
    const known = this.#connections.get(socket);
    if (known !== undefined) return known;
    const connection = this.#follow(socket);
    this.include(connection);
    return connection;
  }

  /** @param {Socket} socket */
  #follow(socket) {
    return this.#attachment.follow(socketBelow(socket), socket);
  }

  /** @param {Connection} connection that was one of many */
  include(connection) {
    this.#enter(connection);
    if (this.#quiet.has(connection.socket)) {
      const received = this.#quiet.delete(connection.socket);
      // Without TLS in between, what comes in next belongs to a head: one that it begins, or one that has begun.
      connection.intake = received === null ? Intake.amidHead(connection) : new Intake(connection, received);
      this.#perform(native.quiet(this.#key, this.#quiet.size));
    }
    this.#perform(native.due(this.#key));
  }

  /** @param {Connection} connection */
  #enter(connection) {
    const { last, gap } = rhythmOn(connection.socket) ?? { last: Number.NaN, gap: Number.NaN };
    const far = descriptorIfFar(connection.accepted);
    this.#name(connection, native.found(this.#key, this.#transport, far, performance.now() - last, gap));
    // What follows from being found comes with it.
    if (connection.hijackedBy !== null) this.#perform(native.hijacked(this.#key, connection.id));
  }

  /**
   * @param {Connection} connection
   * @param {number} id
   */
  #name(connection, id) {
    connection.id = id;
    this.#known[id] = connection;
  }

  // The look at all of them.

  /** Tells the machine who is there, and what is coming in, when a termination is about to begin. */
  begin() {
    const active = this.#enterEverybody();
    if (this.#transport === Transport.Tls) this.#quiet.noteHandedOut();
    this.#observe(active);
  }

  /**
   * Tells it of everything that is followed, has requests in flight or is receiving one, and the number of the rest.
   *
   * @returns {Set<Socket> | undefined} those on whose parser a message has begun, if that is known
   */
  #enterEverybody() {
    const { speaksHttp } = this.#attachment;
    for (const connection of this.#attachment.open) this.#enter(connection);
    const active = activeSockets(this.#server);
    for (const socket of active ?? []) {
      if (this.#transport === Transport.Tls || hasReceived(socket)) this.find(socket);
    }
    this.#enterIdle(active);
    for (const socket of active ?? []) if (!this.#connections.has(socket)) this.#quiet.addUnused(socket);
    for (const connection of this.#attachment.open) {
      // Over a tunnel, or on what a server of node:net has handed on, another server may speak it.
      if (speaksHttp && connection.hijackedBy === null) connection.pipelined = requestsOn(connection.socket);
      for (const _ of connection.requests()) native.requestStarted(this.#key, connection.id, false);
    }
    native.quiet(this.#key, this.#quiet.size);
    return active;
  }

  /**
   * Of these there may be thousands, and answers in flight are to say close before the event loop turns. So only that
   * is looked at which can't be known later.
   *
   * @param {Set<Socket> | undefined} active those on whose parser a message has begun, if that is known
   */
  #enterIdle(active = new Set()) {
    // Since Node 26 those that were never used are among the idle ones, too.
    const someAreKnown = active.size > 0 || this.#attachment.open.size > 0;
    const { answering, others } = lookAtIdle(this.#server);
    for (const socket of answering) if (!this.#connections.has(socket)) this.#enter(this.#follow(socket));
    let size = others.length - answering.length;
    for (let place = 0; someAreKnown && place < others.length; place += 1) {
      const socket = others[place];
      if (socket === null || !(active.has(socket) || this.#connections.has(socket))) continue;
      others[place] = null;
      size -= 1;
    }
    this.#quiet.fill(others, size);
  }

  /**
   * Surveys quiet connections, as many as one turn of the event loop may take, and tells whether these were the last.
   *
   * @param {number} horizon how old the last request on a connection may be for its rhythm to matter, in milliseconds
   */
  takeSome(horizon) {
    const isLast = this.#take(horizon, SURVEYED_PER_TURN);
    this.#perform(native.surveyed(this.#key, isLast));
  }

  /**
   * Surveys all that are left, and looks at what the kernel holds.
   *
   * @param {number} horizon
   */
  takeAll(horizon) {
    this.#take(horizon, Number.POSITIVE_INFINITY);
    this.#observeUnread();
    this.#perform(native.surveyed(this.#key, true));
  }

  /**
   * @param {number} horizon
   * @param {number} count
   * @returns {boolean} whether none is left
   */
  #take(horizon, count) {
    if (this.#someAreFollowed(horizon)) {
      const since = performance.now() - horizon;
      const { gone, sockets } = this.#quiet.survey(count);
      for (const socket of sockets) if (!this.#isOneOfMany(socket, since)) this.find(socket);
      this.#quietClosed(gone);
      if (!this.#quiet.isSurveyed) return false;
    }
    const active = activeSockets(this.#server);
    // One whose end has been noticed just now may still be among them.
    for (const socket of active ?? []) if (hasReceived(socket) && !socket.destroyed) this.find(socket);
    this.#observe(active);
    return true;
  }

  /**
   * Whether some quiet connections are to be followed: all under TLS, where an end is a conversation of its own, and those
   * that are in rhythm, or may be at the beginning of one. It takes a while to look at thousands one by one.
   *
   * @param {number} horizon
   */
  #someAreFollowed(horizon) {
    const isInRhythm = this.#attachment.lastInRhythm >= performance.now() - horizon;
    return this.#transport === Transport.Tls || isInRhythm || native.expectsRequests(this.#key);
  }

  /**
   * @param {Socket} socket
   * @param {number} since when a request must have come for the rhythm of its connection to matter
   */
  #isOneOfMany(socket, since) {
    if (this.#transport === Transport.Tls) return false;
    const rhythm = rhythmOn(socket);
    return rhythm === undefined || rhythm.last < since;
  }

  /**
   * Tells the machine what is coming in on the connections that it knows by an id.
   *
   * @param {Set<Socket> | undefined} active those on whose parser a message has begun, if that is known
   */
  #observe(active) {
    const { open } = this.#attachment;
    const received = [];
    for (const { accepted, newest } of open) if (newest?.response.req.complete) received.push(accepted);
    // An answer may leave before what has come behind its request is read.
    const followed = unreadInKernel(received);
    for (const connection of open) this.#observeConnection(connection, active, followed.has(connection.accepted));
  }

  /**
   * @param {Connection} connection
   * @param {Set<Socket> | undefined} active
   * @param {boolean} isFollowed whether something has come behind what is known
   */
  #observeConnection(connection, active, isFollowed) {
    if (connection.hijackedBy !== null) return;
    if (connection.session !== null && hasReceived(connection.socket)) {
      this.#perform(native.multiplexed(this.#key, connection.id));
      return;
    }
    const { newest, socket } = connection;
    if (connection.isAnsweredEarly) {
      // To the parser, the rest of its body looks like half a request.
      connection.intake = Intake.amidBody(connection, requestComingInOn(socket));
      this.#perform(native.answeredEarly(this.#key, connection.id));
      return;
    }
    const isHalf = isReceiving(connection, active);
    if (isHalf || isFollowed) this.#perform(native.receiving(this.#key, connection.id));
    // Where the parsers are not known, what has come since the last look may still be half a request.
    if (active === undefined && connection.intake !== null) return;
    if (newest !== null && !newest.response.req.complete) {
      connection.intake = Intake.amidBody(connection, newest.response.req);
    } else if (isHalf && newest === null && isUnanswered(socket)) {
      connection.intake = Intake.fromBeginning(connection);
    } else if (isHalf && active?.has(socket)) {
      connection.intake = Intake.amidHead(connection);
    } else if (connection.intake === null) {
      connection.intake = Intake.fromHandedOut(connection);
    } else if (socket === connection.accepted || !connection.intake.isExact) {
      connection.intake = Intake.fromNow(connection);
    }
    // Otherwise TLS may have received the beginning of a record since there is an account, and shows nothing of it yet.
  }

  /** Finds the connections for which the kernel holds what may be a request. */
  #observeUnread() {
    for (const socket of unreadOf([...this.#quiet.sockets()])) {
      this.#perform(native.receiving(this.#key, this.find(socket).id));
    }
    const known = [...this.#attachment.open].filter(
      ({ session, hijackedBy }) => session === null && hijackedBy === null,
    );
    for (const socket of unreadOf(known.map(({ accepted }) => accepted))) {
      const connection = /** @type {Connection} */ (this.#connections.get(socket));
      // It may as well be the rest of a request that is known.
      if (connection.newest?.response.req.complete ?? !connection.isAnsweredEarly) {
        this.#perform(native.receiving(this.#key, connection.id));
      }
    }
  }

  // Those that it knows by their number.

  /** @param {number} count */
  closeQuiet(count) {
    // Those that were never used are among these, and there may be thousands.
    const used = this.#quiet.usedAreLeft ? activeSockets(this.#server) : undefined;
    // The kernel goes on sending if this process is gone, but not if with it the network is that is the way to other machines, as
    // with the last process of a container. For clients on this one it would take some 3 % longer, for little.
    const mayBeReading = this.#attachment.wasNewcomerFar !== false;
    const { closed, touched } = this.#quiet.close(count, used ?? new Set(), mayBeReading);
    const active = used ?? (touched.length > 0 ? activeSockets(this.#server) : undefined);
    // What nobody has read is read when the loop has turned, and they are looked at once more.
    for (const socket of touched) this.#observeConnection(this.find(socket), active, false);
    this.#quietClosed(closed);
  }

  destroyQuiet() {
    for (const socket of this.#quiet.sockets()) socket.destroy();
    // Whatever else is open has escaped everything that is known of Node.
    for (const socket of acceptedSockets(this.#server)) if (!this.#connections.has(socket)) socket.destroy();
    const closed = this.#quiet.size;
    this.#quiet.clear();
    this.#quietClosed(closed);
  }

  /** Tells it of those that have been closed by others, whom nobody has told of. */
  forgetDestroyed() {
    this.#quietClosed(this.#quiet.deleteDestroyed());
  }

  /** @param {number} count how many there are less since the machine was last told */
  #quietClosed(count) {
    this.#perform(native.quietClosed(this.#key, count, this.#quiet.size));
  }
}

exports.Survey = Survey;
