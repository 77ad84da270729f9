// Where the peers of connections are: on this machine, as those of a server's tests, or on another one.

const { descriptorOf } = require('./internals');

/** @typedef {import('node:net').Socket} Socket */
/** @typedef {{ remoteAddress?: string | undefined, localAddress?: string | undefined }} Ends */

/** Addresses of this machine (RFC 1122, section 3.2.1.3, and RFC 4291, section 2.5.3). */
const LOOPBACK = /^(::ffff:)?127\.|^::1$/;

/**
 * Whether its peer is on another machine, so that what it sends is on its way for a while.
 *
 * @param {Ends} ends of a connection that was accepted
 * @returns {boolean | null} null where there is no address, or the connection has gone
 */
function isFar({ remoteAddress, localAddress }) {
  if (remoteAddress === undefined) return null;
  return remoteAddress !== localAddress && !LOOPBACK.test(remoteAddress);
}

/**
 * @param {Socket} socket that was accepted
 * @returns {number | null} its descriptor, which tells how far away its peer is, if that is on another machine
 */
function descriptorIfFar(socket) {
  return isFar(socket) ? descriptorOf(socket) : null;
}

exports.descriptorIfFar = descriptorIfFar;
exports.isFar = isFar;
