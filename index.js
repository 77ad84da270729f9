require('./lib/early');

module.exports = { createGracefulShutdown, createHttpTerminator, createProbeServer };

// The rest is loaded by the first call: who uses one of them pays nothing for the others, and who uses none, for none.

/** @type {import('./index').createHttpTerminator} */
function createHttpTerminator(options) {
  return require('./lib/terminator').createHttpTerminator(options);
}

/** @type {import('./index').createGracefulShutdown} */
function createGracefulShutdown(options) {
  return require('./lib/shutdown').createGracefulShutdown(options);
}

/** @type {import('./index').createProbeServer} */
function createProbeServer(options) {
  return require('./lib/probe-server').createProbeServer(options);
}
