// Servers whose handlers wait for the test instead of for time.

const { once } = require('node:events');
const { createHttpTerminator } = require('../..');
const { closeEverything } = require('./transports');

/** A promise that the test settles. */
function gate() {
  let open;
  const passed = new Promise((resolve) => {
    open = resolve;
  });
  return { passed, open };
}

/**
 * A listening server with a terminator, closed after the test whatever happens.
 *
 * Its deadline, and the end of Node's patience with idle connections, are so far away that a test which needs them fails by its
 * own timeout.
 */
async function serve(test, transport, handler, { serverOptions = {}, listen = { port: 0 }, ...options } = {}) {
  const server = transport.createServer({ keepAliveTimeout: 300_000, ...serverOptions }, handler);
  const terminator = createHttpTerminator({ server, httpResponseTimeout: 300_000, ...options });
  test.after(() => closeEverything(server));
  server.listen({ host: '127.0.0.1', ...listen });
  await once(server, 'listening');
  return { server, terminator };
}

/** A handler that answers at once, unless the path names a gate: then after that has opened. */
function gatedHandler() {
  const gates = new Map();
  const arrivals = new Map();
  const named = (map, name) => map.get(name) ?? map.set(name, gate()).get(name);
  const handler = async (request, response) => {
    named(arrivals, request.url).open({ request, response });
    if (request.url !== '/') await named(gates, request.url).passed;
    response.end(`answer to ${request.url}`);
  };
  return {
    handler,
    /** Resolves to the request and response for a path when the handler has been called. */
    arrived: (name) => named(arrivals, name).passed,
    open: (name) => named(gates, name).open(),
  };
}

/** Until the event loop has polled for input at least once. */
function turn() {
  return new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
}

/** Nothing but time passes. */
function block(milliseconds) {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

module.exports = { block, gate, gatedHandler, serve, turn };
