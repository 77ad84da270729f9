const { createHttpTerminator } = require('./lib/terminator');

module.exports = { createHttpTerminator, createGracefulShutdown };

/**
 * Loaded by the first call: who only ends servers pays nothing for it.
 *
 * @param {unknown} options
 */
function createGracefulShutdown(options) {
  return require('./lib/shutdown').createGracefulShutdown(options);
}
