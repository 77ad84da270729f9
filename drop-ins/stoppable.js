// The function and the method of the package `stoppable`, on top of a terminator.

const { createHttpTerminator } = require('..');
const { parseServer, parseTimeout } = require('../lib/options');
const { endHijacked, parseCallback, stop } = require('../lib/stop');

/**
 * @param {unknown} server
 * @param {unknown} [grace]
 */
function stoppable(server, grace) {
  const { POSITIVE_INFINITY } = Number;
  const httpResponseTimeout = parseTimeout('grace', grace) ?? POSITIVE_INFINITY;
  const decorated = Object.assign(parseServer('server', server), { stop: stopDecorated });
  const terminator = createHttpTerminator({ server: decorated, httpResponseTimeout });
  return decorated;

  // It does not use `this`: it is passed around, as in `setTimeout(server.stop, 100)`.
  /** @param {unknown} [callback] */
  function stopDecorated(callback) {
    stop(decorated, terminator, parseCallback(callback));
    if (httpResponseTimeout === POSITIVE_INFINITY) endHijacked(terminator);
  }
}

module.exports = stoppable;
