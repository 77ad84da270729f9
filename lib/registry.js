// What belongs to servers, by these themselves: nothing is written on what is not ours.

/**
 * By server, so that two terminators on one server share what is known of it, and agree.
 *
 * @type {WeakMap<import('node:net').Server, import('./attachment').Attachment>}
 */
const attachments = new WeakMap();

module.exports = { attachments };
