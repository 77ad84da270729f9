// Tells connections of their requests, through the channels that Node publishes for that purpose.
//
// The channels fire before the user's handler, also for `checkContinue`, and change nothing in how Node
// treats a request. A `request` listener would come too late for a handler that answers at once, or
// be wrapped and reordered by libraries that take the listeners over. The channels are process-wide,
// so they are listened to only while some server with a terminator is awake.

const diagnosticsChannel = require('node:diagnostics_channel');

/** @typedef {import('./connection').Connection} Connection */

/**
 * By each of a connection's sockets, and its HTTP/2 session, until it closes. Not a weak map, which costs
 * more: what is in it survives young collections, even after it has been taken out.
 *
 * @type {Map<object, Connection>}
 */
const connections = new Map();

let watchers = 0;

function watchRequests() {
  watchers += 1;
  if (watchers > 1) return;
  diagnosticsChannel.subscribe('http.server.request.start', onStart);
  diagnosticsChannel.subscribe('http.server.response.finish', onFinish);
}

function unwatchRequests() {
  watchers -= 1;
  if (watchers > 0) return;
  diagnosticsChannel.unsubscribe('http.server.request.start', onStart);
  diagnosticsChannel.unsubscribe('http.server.response.finish', onFinish);
}

/** @param {any} message */
function onStart({ socket, response }) {
  const connection = connections.get(socket);
  if (connection !== undefined) connection.attachment.requestStarted(connection, response);
}

/** @param {any} message */
function onFinish({ socket, response }) {
  const connection = connections.get(socket);
  if (connection !== undefined) connection.attachment.requestFinished(connection, response);
}

module.exports = { connections, unwatchRequests, watchRequests };
