// Whoever has no binary hears of it here, and not from the first call. That would not be the place to load it, either: the addon
// has a handle of its own, and test runners would take it for one that the test has left behind.
require('./lib/native');

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
