// The idle connections that the machine knows by their number only: there may be thousands, and nothing is under way
// on them.

const { LOOKED_AT_TOGETHER, unreadAmong } = require('./unread');

/** @typedef {import('node:net').Socket} Socket */

class QuietConnections {
  /**
   * How much has been received on each.
   *
   * @type {Map<Socket, number>}
   */
  #received = new Map();
  /**
   * In the order in which they are to be closed, and how far that has come. Some of these may not be quiet any more.
   *
   * @type {Socket[]}
   */
  #sockets = [];
  #next = 0;
  /** How many have never been used. */
  unused = 0;

  get size() {
    return this.#received.size;
  }

  /** @returns {Iterable<Socket>} */
  get sockets() {
    return this.#received.keys();
  }

  /**
   * @param {Socket} socket which is closed after all others that are in here
   * @param {number} received
   */
  add(socket, received) {
    this.#received.set(socket, received);
    this.#sockets.push(socket);
    if (received === 0) this.unused += 1;
  }

  /**
   * @param {Socket} socket
   * @returns {number | undefined} how much had been received when it was added, if it was
   */
  delete(socket) {
    const received = this.#received.get(socket);
    if (this.#received.delete(socket) && received === 0) this.unused -= 1;
    return received;
  }

  clear() {
    this.#received.clear();
    this.#sockets = [];
    this.#next = 0;
    this.unused = 0;
  }

  /** @returns {number} how many of them clients have closed, and are forgotten now */
  deleteDestroyed() {
    const { size } = this;
    for (const socket of this.#received.keys()) if (socket.destroyed) this.delete(socket);
    return size - this.size;
  }

  /**
   * Closes the next ones, but not those on which something has come since they were added.
   *
   * A request that comes between the look at the kernel and the close is lost, so only a few are looked at together.
   *
   * @param {number} count
   * @returns {{ closed: number, receiving: Socket[] }} the latter are not closed
   */
  close(count) {
    /** @type {Socket[]} */
    const receiving = [];
    let taken = 0;
    while (taken < count) {
      const sockets = this.#take(Math.min(LOOKED_AT_TOGETHER, count - taken));
      if (sockets.length === 0) break;
      taken += sockets.length;
      this.#closeSilent(sockets, receiving);
    }
    return { closed: taken - receiving.length, receiving };
  }

  /** @param {number} count */
  #take(count) {
    const sockets = [];
    while (sockets.length < count && this.#next < this.#sockets.length) {
      const socket = this.#sockets[this.#next];
      this.#next += 1;
      if (this.#received.has(socket)) sockets.push(socket);
    }
    return sockets;
  }

  /**
   * @param {Socket[]} sockets
   * @param {Socket[]} receiving those on which something has come are added to these
   */
  #closeSilent(sockets, receiving) {
    const unread = unreadAmong(sockets);
    for (let place = 0; place < sockets.length; place += 1) {
      const socket = sockets[place];
      if (socket.destroyed || (socket.bytesRead === this.#received.get(socket) && !unread?.includes(place))) {
        this.delete(socket);
        socket.destroy();
      } else {
        receiving.push(socket);
      }
    }
  }
}

exports.QuietConnections = QuietConnections;
