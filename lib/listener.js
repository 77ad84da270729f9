// Closing a server's listener, and nothing but the listener.

/**
 * Stops listening, but leaves idle keep-alive connections alone, which `http.Server#close()` destroys
 * since Node 19: they may have requests waiting in the kernel.
 *
 * The server's own `close()` must run, since it also stops the timer that checks for slow requests. So
 * it runs on a stand-in that passes everything through except `closeIdleConnections()`.
 *
 * @param {import('node:net').Server} server
 */
function closeListener(server) {
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

module.exports = { closeListener };
