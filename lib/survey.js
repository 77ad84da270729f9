// Finds out who is there, and tells the machine: of each connection on which something is under way by an id, and of
// the quiet ones by their number.

const { Intake } = require('./intake');
const { acceptedSockets, activeSockets, idleSockets, socketBelow } = require('./internals');
const native = require('./native');
const { QuietConnections } = require('./quiet-connections');
const { isReceiving } = require('./receiving');
const { connections } = require('./registry');
const { begun, conversationOn } = require('./requests');
const { unreadInKernel, unreadOf } = require('./unread');

const { Transport } = native;

/** @typedef {import('node:net').Socket} Socket */
/** @typedef {import('./attachment').Attachment} Attachment */
/** @typedef {import('./binding').Actions} Actions */
/** @typedef {import('./connection').Connection} Connection */

class Survey {
  #attachment;
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
   * Idle connections of which `take()` decides whether they are quiet.
   *
   * @type {Socket[]}
   */
  #undecided = [];
  /**
   * Connections on which nothing has come yet, until `take()` counts them among the quiet ones.
   *
   * @type {Socket[]}
   */
  #silent = [];
  /**
   * Those on which Node is in the middle of a message, from a look until the `take()` for which it was taken. Null is
   * before a look, and undefined where Node does not show them.
   *
   * @type {Set<Socket> | undefined | null}
   */
  #active = null;

  /**
   * @param {Attachment} attachment
   * @param {(actions: Actions) => void} perform
   */
  constructor(attachment, perform) {
    this.#attachment = attachment;
    this.#server = attachment.server;
    this.#key = attachment.key;
    this.#transport = attachment.isSecure ? Transport.Tls : Transport.Plain;
    this.#perform = perform;
  }

  /** What is open, although no termination runs: the machine is shown it for a moment. */
  statsWhileServing() {
    const followed = new Set(this.#attachment.open);
    this.enterWhatIsUnderWay();
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
    this.#name(connection, native.opened(this.#key, this.#transport));
    this.#perform(native.due(this.#key));
  }

  /** @param {Connection} connection of which the machine knows that it has closed */
  forget({ id }) {
    this.#known[id] = undefined;
  }

  /**
   * The connection on which something turns out to be under way, followed from now on if it was not before.
   *
   * @param {Socket} socket
   */
  find(socket) {
    const known = connections.get(socket);
    if (known !== undefined) return known;
    const connection = this.#attachment.follow(socketBelow(socket), socket);
    this.include(connection);
    return connection;
  }

  /** @param {Connection} connection that was one of many */
  include(connection) {
    const { socket } = connection;
    this.#enter(connection);
    const received = this.#quiet.delete(socket);
    if (received !== undefined) {
      connection.intake = Intake.from(connection, received);
      this.#perform(native.quiet(this.#key, this.#quiet.size, this.#quiet.unused));
    }
    this.#perform(native.due(this.#key));
  }

  /** @param {Connection} connection */
  #enter(connection) {
    const { last, gap } = conversationOn(connection.socket) ?? { last: Number.NaN, gap: Number.NaN };
    this.#name(connection, native.found(this.#key, this.#transport, performance.now() - last, gap));
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

  /** Tells the machine of everything that is followed, or has requests in flight. */
  enterWhatIsUnderWay() {
    for (const connection of this.#attachment.open) this.#enter(connection);
    for (const [socket, { attachment }] of begun) {
      // What its client has given up may still be among them.
      if (attachment === this.#attachment && !socket.destroyed) this.find(socket);
    }
    this.#look();
    for (const connection of this.#attachment.open) {
      for (const _ of connection.requests()) native.requestStarted(this.#key, connection.id, false);
    }
  }

  /**
   * Looks at every connection.
   *
   * @param {number} horizon how old the last request on a connection may be for its rhythm to matter, in milliseconds
   * @param {{ isLast?: boolean }} [options]
   */
  take(horizon, { isLast = false } = {}) {
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
      else this.find(socket);
    }
    for (const socket of this.#silent) this.#quiet.add(socket, 0);
    this.#undecided = [];
    this.#silent = [];
    this.observe();
    if (isLast) this.#observeUnread();
    this.#active = null;
    this.#quietClosed(gone);
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
      if (conversation !== undefined && conversation.oldest !== null) this.find(socket);
      else if (this.#isQuiet(conversation)) this.#quiet.add(socket, received);
      else this.#undecided.push(socket);
    }
    this.#active = activeSockets(this.#server);
    for (const socket of this.#active ?? []) {
      if (connections.has(socket)) continue;
      if (this.#transport === Transport.Tls || socket.bytesRead > 0) this.find(socket);
      else this.#silent.push(socket);
    }
  }

  /** @param {import('./requests').Conversation | undefined} conversation */
  #isQuiet(conversation) {
    // Under TLS an end is a conversation of its own.
    return this.#transport === Transport.Plain && (conversation === undefined || Number.isNaN(conversation.gap));
  }

  /** Tells the machine what is coming in on the connections that it knows by an id. */
  observe() {
    const { open } = this.#attachment;
    const received = [];
    for (const { accepted, newest } of open) if (newest?.response.req.complete) received.push(accepted);
    // An answer may leave before what has come behind its request is read.
    const followed = unreadInKernel(received);
    for (const connection of open) this.#observeConnection(connection, followed.has(connection.accepted));
  }

  /**
   * @param {Connection} connection
   * @param {boolean} isFollowed whether something has come behind a request that has come whole
   */
  #observeConnection(connection, isFollowed) {
    if (connection.hijackedBy !== null) return;
    if (connection.session !== null && connection.socket.bytesRead > 0) {
      this.#perform(native.multiplexed(this.#key, connection.id));
      return;
    }
    if (connection.isAnsweredEarly) {
      // To the parser, the rest of its body looks like half a request.
      this.#perform(native.answeredEarly(this.#key, connection.id));
      return;
    }
    const receiving = isReceiving(connection, this.#active ?? undefined) || isFollowed;
    if (receiving) this.#perform(native.receiving(this.#key, connection.id));
    const first = receiving && connection.newest === null && connection.socket.bytesWritten === 0;
    connection.intake = first ? Intake.fromBeginning(connection) : Intake.fromNow(connection);
  }

  /** Finds the connections for which the kernel holds what may be a request. */
  #observeUnread() {
    for (const socket of unreadOf([...this.#quiet.sockets])) {
      this.#quiet.delete(socket);
      this.#perform(native.receiving(this.#key, this.find(socket).id));
    }
    const known = [...this.#attachment.open].filter(
      ({ session, hijackedBy }) => session === null && hijackedBy === null,
    );
    for (const socket of unreadOf(known.map(({ accepted }) => accepted))) {
      const connection = /** @type {Connection} */ (connections.get(socket));
      // It may as well be the rest of a request that is known.
      if (connection.newest?.response.req.complete ?? !connection.isAnsweredEarly) {
        this.#perform(native.receiving(this.#key, connection.id));
      }
    }
  }

  // Those that it knows by their number.

  /** @param {number} count */
  closeQuiet(count) {
    const { closed, receiving } = this.#quiet.close(count);
    for (const socket of receiving) this.#perform(native.receiving(this.#key, this.find(socket).id));
    this.#quietClosed(closed);
  }

  destroyQuiet() {
    for (const socket of this.#quiet.sockets) socket.destroy();
    // Whatever else is open has escaped everything that is known of Node.
    for (const socket of acceptedSockets(this.#server)) if (!connections.has(socket)) socket.destroy();
    this.quietAreClosed();
  }

  /** None is left of those that were quiet. */
  quietAreClosed() {
    const closed = this.#quiet.size;
    this.#quiet.clear();
    this.#quietClosed(closed);
  }

  /** @param {number} count how many there are less since the machine was last told */
  #quietClosed(count) {
    this.#perform(native.quietClosed(this.#key, count, this.#quiet.size, this.#quiet.unused));
  }
}

exports.Survey = Survey;
