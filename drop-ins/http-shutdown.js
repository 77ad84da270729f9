// The functions and methods of the package `http-shutdown`, on top of terminators.

const http = require('node:http');
const https = require('node:https');
const { createHttpTerminator } = require('..');
const { parseServer } = require('../lib/options');
const { endHijacked, parseCallback, stop } = require('../lib/stop');

/** @param {unknown} server */
function addShutdown(server) {
  const decorated = Object.assign(parseServer('server', server), { shutdown, forceShutdown });
  const graceful = createHttpTerminator({ server: decorated, httpResponseTimeout: Number.POSITIVE_INFINITY });
  const forced = createHttpTerminator({ server: decorated, httpResponseTimeout: 0 });
  return decorated;

  // They do not use `this`: they are passed around, as in `setTimeout(server.shutdown, 100)`.
  /** @param {unknown} [callback] */
  function shutdown(callback) {
    end(graceful, callback);
    endHijacked(graceful);
  }

  /** @param {unknown} [callback] */
  function forceShutdown(callback) {
    end(forced, callback);
  }

  /**
   * @param {import('../index').HttpTerminator} terminator
   * @param {unknown} callback
   */
  function end(terminator, callback) {
    const ended = parseCallback(callback);
    stop(decorated, terminator, (error) => ended(error));
  }
}

/** Gives every server of node:http and node:https, existing and to come, a method `withShutdown()`. */
function extend() {
  for (const { prototype } of [http.Server, https.Server]) Object.assign(prototype, { withShutdown });
}

/** @this {import('node:http').Server} */
function withShutdown() {
  return addShutdown(this);
}

// @ts-expect-error For TypeScript a module is a function or has exports. For Node it may be both, and this is a form in
// which it finds what `import { extend }` names.
module.exports = addShutdown;
Object.defineProperty(module.exports, 'extend', { enumerable: true, value: extend });
