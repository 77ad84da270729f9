// What belongs to servers and sockets, by these themselves: nothing is written on what is not ours.

/**
 * By server, so that two terminators on one server share what is known of it, and agree.
 *
 * @type {WeakMap<import('node:net').Server, import('./attachment').Attachment>}
 */
const attachments = new WeakMap();

/**
 * By each of its sockets, and its HTTP/2 session: every connection that is followed.
 *
 * @type {Map<object, import('./connection').Connection>}
 */
const connections = new Map();

module.exports = { attachments, connections };
