const { createHttpTerminator } = require('./lib/terminator');

/** @type {import('./index').createProbeServer} */
function createProbeServer(options) {
  // Whoever only ends servers does not load it.
  return require('./lib/probe-server').createProbeServer(options);
}

module.exports = { createHttpTerminator, createProbeServer };
