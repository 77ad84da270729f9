// The listener of a server that ends: who waits to be accepted, how nobody else comes, and how it closes.

const { native } = require('./early');
const { descriptorOf, isBoundHere, sessionSetsOf } = require('./internals');
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
  // It does not listen.
  if (local === null) return null;
  if (!isBoundHere(server)) {
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
 * The server's own `close()` must run, since it also stops the timer that checks for slow requests. So what it would close
 * is hidden from it meanwhile. Not by a stand-in for the server: a class of somebody's own may look for itself.
 *
 * @param {Server} server
 * @returns {PromiseLike<unknown> | undefined} if that `close()` is asynchronous
 */
function close(server) {
  const showIdle = hide(server, 'closeIdleConnections', nothing);
  // Only as long as the call takes: those that begin meanwhile are added to what is seen in their place.
  const showSessions = sessionSetsOf(server).map((key) => hide(server, key, new Set()));
  let closing;
  try {
    // The method of the class: an own property may be somebody's wrapper that calls terminate().
    closing = Object.getPrototypeOf(server).close.call(server);
  } finally {
    for (const show of showSessions) show();
    // One that is asynchronous may have yet to come to that.
    if (typeof closing?.then === 'function') closing.then(showIdle, showIdle);
    else showIdle();
  }
  return typeof closing?.then === 'function' ? closing : undefined;
}

function nothing() {}

/**
 * @param {object} owner
 * @param {string | symbol} key
 * @param {unknown} value that is seen in its place
 */
function hide(owner, key, value) {
  const own = Object.getOwnPropertyDescriptor(owner, key);
  // An asynchronous close() of an earlier termination hides it still.
  if (own?.value === value) return nothing;
  Object.defineProperty(owner, key, { value, configurable: true, writable: true });
  return () => {
    if (own === undefined) Reflect.deleteProperty(owner, key);
    else Object.defineProperty(owner, key, own);
  };
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
