const { createHttpTerminator } = require('./lib/terminator');

module.exports = { createGracefulShutdown, createHttpTerminator, createProbeServer };

// Loaded by the first call: who only ends servers pays nothing for them.

/** @type {import('./index').createGracefulShutdown} */
function createGracefulShutdown(options) {
  return require('./lib/shutdown').createGracefulShutdown(options);
}

/** @type {import('./index').createProbeServer} */
function createProbeServer(options) {
  return require('./lib/probe-server').createProbeServer(options);
}
