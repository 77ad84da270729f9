// The idle connections that the machine knows by their number only: there may be thousands, and nothing is under way
// on them.

const { hasReceived } = require('./received');
const { handedOutOn } = require('./records');
const { LOOKED_AT_TOGETHER, heldAmong, unreadAmong } = require('./queues');

/** @typedef {import('node:net').Socket} Socket */
/** @typedef {import('./received').Received} Received */

class QuietConnections {
  /**
   * In the order in which they are to be closed, those that were never used last. Those that are quiet no more have left
   * a gap.
   *
   * @type {(Socket | null)[]}
   */
  #sockets = [];
  /** How many places there are before those of the ones that were never used. */
  #usedPlaces = 0;
  /** @type {(Received | null)[] | null} what had been handed out on each at the beginning, where TLS is in between */
  #received = null;
  /**
   * Where each is. Most terminations never ask, and to find that out for thousands takes a while.
   *
   * @type {Map<Socket, number> | null}
   */
  #places = null;
  /** How far the survey has come, and how far their end. */
  #surveyed = 0;
  #next = 0;
  size = 0;

  get isSurveyed() {
    return this.#surveyed >= this.#sockets.length;
  }

  /** Whether those that are to be closed next have been used. */
  get usedAreLeft() {
    return this.#next < this.#usedPlaces;
  }

  /** @returns {Iterable<Socket>} */
  *sockets() {
    for (const socket of this.#sockets) if (socket !== null) yield socket;
  }

  /**
   * These are the first, and the array is kept.
   *
   * @param {(Socket | null)[]} sockets
   * @param {number} size how many there are without the gaps
   */
  fill(sockets, size) {
    this.#sockets = sockets;
    this.#usedPlaces = sockets.length;
    this.size = size;
  }

  /**
   * Notes how much has been handed out on each, where TLS is in between: it may be holding the beginning of a request of which HTTP
   * knows nothing. Without it Node's parser knows, and to ask thousands of connections for that takes milliseconds.
   */
  noteHandedOut() {
    this.#received = this.#sockets.map((socket) => socket && handedOutOn(socket));
  }

  /** @param {Socket} socket on which nothing has been received */
  addUnused(socket) {
    this.#sockets.push(socket);
    this.size += 1;
  }

  /** @param {Socket} socket */
  has(socket) {
    return this.#placeOf(socket) !== undefined;
  }

  /**
   * @param {Socket} socket that is one of them
   * @returns {Received | null} what had been handed out at the beginning, where TLS is in between
   */
  delete(socket) {
    const place = /** @type {number} */ (this.#placeOf(socket));
    this.#deleteAt(place);
    return this.#received?.[place] ?? null;
  }

  /** @param {Socket} socket */
  #placeOf(socket) {
    if (this.size === 0) return undefined;
    this.#places ??= this.#findPlaces();
    const place = this.#places.get(socket);
    return place === undefined || this.#sockets[place] === null ? undefined : place;
  }

  clear() {
    this.#sockets = [];
    this.#usedPlaces = 0;
    this.#received = null;
    this.#places = null;
    this.#surveyed = 0;
    this.#next = 0;
    this.size = 0;
  }

  /** @returns {number} how many of them clients have closed, and are forgotten now */
  deleteDestroyed() {
    const { size } = this;
    // There may be thousands of gaps.
    if (size === 0) return 0;
    for (let place = 0; place < this.#sockets.length; place += 1) {
      if (this.#sockets[place]?.destroyed) this.#deleteAt(place);
    }
    return size - this.size;
  }

  /**
   * Surveys the next ones.
   *
   * @param {number} count
   * @returns {{ sockets: Socket[], gone: number }} and how many clients have closed, which are forgotten now
   */
  survey(count) {
    const end = Math.min(this.#surveyed + count, this.#sockets.length);
    const sockets = [];
    let gone = 0;
    for (let place = this.#surveyed; place < end; place += 1) {
      const socket = this.#sockets[place];
      if (socket?.destroyed) {
        this.#deleteAt(place);
        gone += 1;
      } else if (socket !== null) {
        sockets.push(socket);
      }
    }
    this.#surveyed = end;
    return { sockets, gone };
  }

  /**
   * Closes the next ones, but not those on which something has come, or whose clients are still reading.
   *
   * A request that comes between the look at the kernel and the close is lost, so only a few are looked at together.
   *
   * @param {number} count
   * @param {Set<Socket>} active those on whose parser a message has begun, if some that were used are left
   * @param {boolean} mayBeReading whether it is to be looked whose clients are still reading
   * @returns {{ closed: number, touched: Socket[] }} the latter are those that were not
   */
  close(count, active, mayBeReading) {
    /** @type {Socket[]} */
    const touched = [];
    let taken = 0;
    while (taken < count) {
      const places = this.#take(Math.min(LOOKED_AT_TOGETHER, count - taken));
      if (places.length === 0) break;
      taken += places.length;
      this.#closeSilent(places, active, mayBeReading ? heldAmong : unreadAmong, touched);
    }
    return { closed: taken - touched.length, touched };
  }

  /** @param {number} count */
  #take(count) {
    const places = [];
    while (places.length < count && this.#next < this.#sockets.length) {
      if (this.#sockets[this.#next] !== null) places.push(this.#next);
      this.#next += 1;
    }
    return places;
  }

  /**
   * By the methods of arrays: a loop that calls destroy() for thousands has V8 compile what Node does there once more, into
   * that loop, on threads that take a processor from this one.
   *
   * @param {number[]} places
   * @param {Set<Socket>} active
   * @param {typeof heldAmong} look
   * @param {Socket[]} touched those that are not closed are added to these
   */
  #closeSilent(places, active, look, touched) {
    const held = look(places.map(this.#socketAt, this));
    const silent = places.filter((place, index) => !this.#hasBegunAt(place, active) && !held?.includes(index));
    if (silent.length < places.length) {
      touched.push(...places.filter((place) => !silent.includes(place)).map(this.#socketAt, this));
    }
    silent.forEach(this.#closeAt, this);
  }

  /** @param {number} place that is no gap */
  #socketAt(place) {
    return /** @type {Socket} */ (this.#sockets[place]);
  }

  /**
   * Whether Node has read the beginning of a request.
   *
   * @param {number} place that is no gap
   * @param {Set<Socket>} active
   */
  #hasBegunAt(place, active) {
    const socket = this.#socketAt(place);
    if (socket.destroyed) return false;
    return place < this.#usedPlaces ? active.has(socket) : hasReceived(socket);
  }

  /** @param {number} place */
  #closeAt(place) {
    const socket = this.#socketAt(place);
    this.#deleteAt(place);
    socket.destroy();
  }

  #findPlaces() {
    const places = new Map();
    for (let place = 0; place < this.#sockets.length; place += 1) {
      const socket = this.#sockets[place];
      if (socket !== null) places.set(socket, place);
    }
    return places;
  }

  /** @param {number} place */
  #deleteAt(place) {
    this.#sockets[place] = null;
    this.size -= 1;
  }
}

exports.QuietConnections = QuietConnections;
