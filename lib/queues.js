// What the kernel holds of connections: what it has received and Node has not read yet, and what Node has written and has not left
// yet. A connection that is closed with something unread is reset, and the request in it is lost. One that is closed with
// something unsent is reset by the next that its client writes, and the rest of the answer is lost.

const { native } = require('./early');
const { descriptorOf } = require('./internals');

/** @typedef {import('node:net').Socket} Socket */

/**
 * How many connections are looked at in one call. A request that comes between the look and the close is lost, so
 * fewer lose less; and looking costs next to nothing.
 */
const LOOKED_AT_TOGETHER = 16;

/** One array for all calls: to make one, and to pass it for the first time, takes longer than the look itself. */
const descriptors = new Int32Array(LOOKED_AT_TOGETHER);

/**
 * The places of those for which the kernel holds unread bytes, or null if there are none.
 *
 * @param {Socket[]} sockets at most `LOOKED_AT_TOGETHER`
 */
function unreadAmong(sockets) {
  sockets.forEach(noteDescriptor);
  return native.unread(descriptors, sockets.length);
}

/**
 * The places of those for which it holds anything in either direction, or null if there are none.
 *
 * @param {Socket[]} sockets at most `LOOKED_AT_TOGETHER`
 */
function heldAmong(sockets) {
  const unread = unreadAmong(sockets);
  const unsent = native.unsent(descriptors, sockets.length);
  return unread && unsent ? [...unread, ...unsent] : (unread ?? unsent);
}

/**
 * @param {Socket} socket
 * @param {number} place
 */
function noteDescriptor(socket, place) {
  descriptors[place] = descriptorOf(socket);
}

/**
 * Those, of any number, for which it does.
 *
 * @param {Socket[]} sockets
 */
function unreadInKernel(sockets) {
  /** @type {Set<Socket>} */
  const unread = new Set();
  for (let place = 0; place < sockets.length; place += LOOKED_AT_TOGETHER) {
    const some = sockets.slice(place, place + LOOKED_AT_TOGETHER);
    for (const found of unreadAmong(some) ?? []) unread.add(some[found]);
  }
  return unread;
}

/**
 * The same, and those for which Node keeps what its parser has not seen.
 *
 * @param {Socket[]} sockets
 */
function unreadOf(sockets) {
  return new Set([...sockets.filter(({ readableLength }) => readableLength > 0), ...unreadInKernel(sockets)]);
}

/** @param {Socket} socket */
function hasUnread(socket) {
  return unreadAmong([socket]) !== null;
}

module.exports = { LOOKED_AT_TOGETHER, hasUnread, heldAmong, unreadAmong, unreadInKernel, unreadOf };
