// How the methods of the drop-ins end a server in place of `server.close(callback)`.

const { nextTick } = require('./early').timers;
const { invalidArgumentType, serverNotRunning } = require('./errors');
const { attachmentsOf } = require('./terminator');

/** @typedef {import('../index').HttpTerminator} HttpTerminator */
/** @typedef {(error: Error | undefined, graceful?: boolean) => void} Callback */

/**
 * @param {unknown} callback
 * @returns {Callback}
 */
function parseCallback(callback) {
  if (callback === undefined || callback === null) return () => {};
  if (typeof callback !== 'function') throw invalidArgumentType('callback', 'of type function', callback);
  return /** @type {Callback} */ (callback);
}

/**
 * Terminates, and calls back as `server.close()` does: with an error if the server was not running.
 *
 * @param {import('node:net').Server} server
 * @param {HttpTerminator} terminator
 * @param {Callback} callback
 */
function stop(server, terminator, callback) {
  const isStopping = ['delaying', 'draining'].includes(terminator.state);
  const isReopened = attachmentsOf(terminator).some((attachment) => attachment.isReopened);
  const isRunning = server.listening && (!isStopping || isReopened);
  const error = isRunning ? undefined : serverNotRunning();
  // Not called by the promise itself, which would make a rejection of what a callback throws.
  terminator.terminate().then(
    ({ graceful }) => nextTick(callback, error, graceful),
    (failure) => nextTick(callback, failure, false),
  );
}

/** @param {HttpTerminator} terminator */
function endHijacked(terminator) {
  for (const attachment of attachmentsOf(terminator)) attachment.endHijacked();
}

module.exports = { endHijacked, parseCallback, stop };
