// The listener of a server that ends: who waits to be accepted, how nobody else comes, and how it closes.

const { descriptorOf, isBoundHere } = require('./internals');
const native = require('./native');
const { debug } = require('./observer');

/** @typedef {import('node:net').Server} Server */

/**
 * Tells the machine how many wait to be accepted, now and before every turn.
 *
 * @param {Server} server
 * @param {number} key
 */
function watch(server, key) {
  const local = addressOf(server);
  // It does not listen, or nobody knows how many wait.
  if (local === null) return native.acceptQueue(key, server.listening ? null : 0);
  const reason = native.watchListener(key, descriptorOf(server), local.address, local.port);
  if (reason !== null) debug('how many connections wait to be accepted is not known: %s', reason);
  return native.due(key);
}

/**
 * Lets no further connection reach the listener, if that can be done.
 *
 * @param {Server} server
 * @param {number} key
 */
function hold(server, key) {
  const local = addressOf(server);
  if (local === null || !isBoundHere(server)) {
    debug('new connections are not held back while the listener closes: it may be shared');
    return null;
  }
  const reason = native.holdListener(key, descriptorOf(server), local.address, local.port);
  if (reason !== null) debug('new connections are not held back while the listener closes: %s', reason);
  return native.due(key);
}

/**
 * Stops listening, but leaves idle keep-alive connections alone, which `http.Server#close()` destroys
 * since Node 19: they may have requests waiting in the kernel.
 *
 * The server's own `close()` must run, since it also stops the timer that checks for slow requests. So
 * it runs on a stand-in that passes everything through except `closeIdleConnections()`.
 *
 * @param {Server} server
 */
function close(server) {
  const emit = server.emit.bind(server);
  const standIn = new Proxy(server, {
    get(target, key) {
      if (key === 'closeIdleConnections') return () => {};
      const value = Reflect.get(target, key);
      // The set of HTTP/2 sessions, which Node closes here since version 24.
      if (typeof key === 'symbol' && typeof value?.delete === 'function') return new Set();
      // So that listeners of `close` are called on the server itself.
      if (key === 'emit') return emit;
      return value;
    },
  });
  // The method of the class: an own property may be somebody's wrapper that calls terminate().
  Object.getPrototypeOf(server).close.call(standIn);
}

/**
 * The address that a server listens on, if it has one of the internet.
 *
 * @param {Server} server
 */
function addressOf(server) {
  const address = server.address();
  return typeof address === 'string' ? null : address;
}

module.exports = { close, hold, watch };
