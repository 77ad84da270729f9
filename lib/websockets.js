// Ends the clients of WebSocket servers, of which the machine knows only that their connections were upgraded.

/** @typedef {import('../index').WebSocketServerLike} WebSocketServerLike */

/**
 * Sends each client a close frame (RFC 6455, section 7.4.1). It then has time to answer.
 *
 * @param {Iterable<WebSocketServerLike>} servers
 * @param {number} code
 */
function closeClients(servers, code) {
  for (const client of clientsOf(servers)) client.close(code);
}

/** @param {Iterable<WebSocketServerLike>} servers */
function terminateClients(servers) {
  for (const client of clientsOf(servers)) client.terminate();
}

/** @param {Iterable<WebSocketServerLike>} servers */
function clientsOf(servers) {
  // A copy: clients take themselves out of their server's set while it is walked.
  return [...servers].flatMap(({ clients }) => [...clients]);
}

module.exports = { closeClients, terminateClients };
