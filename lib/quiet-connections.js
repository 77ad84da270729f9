// The idle connections that the machine knows by their number only: there may be thousands, and nothing is under way
// on them.

const { LOOKED_AT_TOGETHER, unreadAmong } = require('./unread');

/** @typedef {import('node:net').Socket} Socket */
/** @typedef {{ http: number, wire: number }} Received how much, on the socket and on the accepted one below it */

class QuietConnections {
  /**
   * In the order in which they are to be closed, and how much has been received on each. Those that are quiet no more
   * have left a gap.
   *
   * @type {(Socket | null)[]}
   */
  #sockets = [];
  /** @type {number[]} */
  #http = [];
  /** @type {number[] | null} where TLS is in between */
  #wire = null;
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
  /** How many have never been used. */
  unused = 0;

  get isSurveyed() {
    return this.#surveyed >= this.#sockets.length;
  }

  /** @returns {Iterable<Socket>} */
  *sockets() {
    for (const socket of this.#sockets) if (socket !== null) yield socket;
  }

  /**
   * These are the first, and the arrays are kept.
   *
   * @param {(Socket | null)[]} sockets
   * @param {number[]} http how much has been received on each
   * @param {number[] | null} wire the same on the sockets below, if these are others
   */
  fill(sockets, http, wire) {
    this.#sockets = sockets;
    this.#http = http;
    this.#wire = wire;
    for (let place = 0; place < sockets.length; place += 1) if (sockets[place] !== null) this.size += 1;
  }

  /** @param {Socket} socket on which nothing has been received, and which is closed after all others */
  addUnused(socket) {
    this.#sockets.push(socket);
    this.#http.push(0);
    this.#wire?.push(0);
    this.size += 1;
    this.unused += 1;
  }

  /**
   * @param {Socket} socket
   * @returns {Received | undefined} what had been received when it was added, if it was
   */
  delete(socket) {
    if (this.size === 0) return undefined;
    this.#places ??= this.#findPlaces();
    const place = this.#places.get(socket);
    if (place === undefined || this.#sockets[place] === null) return undefined;
    this.#deleteAt(place);
    const http = this.#http[place];
    return { http, wire: this.#wire?.[place] ?? http };
  }

  clear() {
    this.#sockets = [];
    this.#http = [];
    this.#wire = null;
    this.#places = null;
    this.#surveyed = 0;
    this.#next = 0;
    this.size = 0;
    this.unused = 0;
  }

  /** @returns {number} how many of them clients have closed, and are forgotten now */
  deleteDestroyed() {
    const { size } = this;
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
   * Closes the next ones, but not those on which something has come since they were added.
   *
   * A request that comes between the look at the kernel and the close is lost, so only a few are looked at together.
   *
   * @param {number} count
   * @returns {{ closed: number, touched: Socket[] }} the latter are those that were not
   */
  close(count) {
    /** @type {Socket[]} */
    const touched = [];
    let taken = 0;
    while (taken < count) {
      const places = this.#take(Math.min(LOOKED_AT_TOGETHER, count - taken));
      if (places.length === 0) break;
      taken += places.length;
      this.#closeSilent(places, touched);
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
   * @param {number[]} places
   * @param {Socket[]} touched those on which something has come are added to these
   */
  #closeSilent(places, touched) {
    const sockets = places.map((place) => /** @type {Socket} */ (this.#sockets[place]));
    const unread = unreadAmong(sockets);
    for (let index = 0; index < places.length; index += 1) {
      const socket = sockets[index];
      if (socket.destroyed || (socket.bytesRead === this.#http[places[index]] && !unread?.includes(index))) {
        this.#deleteAt(places[index]);
        socket.destroy();
      } else {
        touched.push(socket);
      }
    }
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
    if (this.#http[place] === 0) this.unused -= 1;
  }
}

exports.QuietConnections = QuietConnections;
