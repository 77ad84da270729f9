// Ends the clients of WebSocket servers, of which the machine knows only that their connections were upgraded.

/** @typedef {import('../index').WebSocketServerLike} WebSocketServerLike */
/** @typedef {WebSocketServerLike['clients'] extends Iterable<infer Client> ? Client : never} WebSocketClient */

/**
 * Sends each client a close frame (RFC 6455, section 7.4.1). It then has time to answer.
 *
 * @param {Iterable<WebSocketServerLike>} servers
 * @param {number} code
 */
function closeClients(servers, code) {
  forEachClient(servers, (client) => client.close(code));
}

/**
 * The same for those who are still to come, as a handler may be about to accept one. Servers of `ws` and its like tell.
 *
 * @param {Iterable<any>} servers
 * @param {number} code
 * @param {(error: unknown) => void} failed
 * @returns {() => void} undoes it
 */
function closeComing(servers, code, failed) {
  /** @param {Partial<WebSocketClient> | undefined} client which may be something else where the event means something else */
  const close = (client) => {
    try {
      if (typeof client?.terminate === 'function') client.close?.(code);
    } catch (error) {
      failed(error);
    }
  };
  const telling = [...servers].filter((server) => typeof server.on === 'function' && 'removeListener' in server);
  for (const server of telling) server.on('connection', close);
  return () => {
    for (const server of telling) server.removeListener('connection', close);
  };
}

/** @param {Iterable<WebSocketServerLike>} servers */
function terminateClients(servers) {
  forEachClient(servers, (client) => client.terminate());
}

/**
 * If one throws, or a server does when it is asked for its clients, the others have their turn first.
 *
 * @param {Iterable<WebSocketServerLike>} servers
 * @param {(client: WebSocketClient) => void} act
 */
function forEachClient(servers, act) {
  /** @type {unknown[]} */
  const errors = [];
  /** @param {() => void} step */
  const attempt = (step) => {
    try {
      step();
    } catch (error) {
      errors.push(error);
    }
  };
  for (const server of servers) {
    attempt(() => {
      // A copy: clients take themselves out of their server's set while it is walked.
      for (const client of [...server.clients]) attempt(() => act(client));
    });
  }
  if (errors.length > 0) throw errors[0];
}

module.exports = { closeClients, closeComing, terminateClients };
