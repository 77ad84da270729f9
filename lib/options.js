// Turns what the caller passed into what the rest of the package relies on, or throws.

const { invalidArgumentType, invalidArgumentValue, outOfRange } = require('./errors');

const DEFAULT_HTTP_RESPONSE_TIMEOUT = 1000;

/**
 * @typedef {object} Options
 * @property {readonly import('node:net').Server[]} servers
 * @property {number} httpResponseTimeout
 */

/**
 * @param {unknown} options
 * @returns {Options}
 */
function parseOptions(options) {
  if (typeof options !== 'object' || options === null) {
    throw invalidArgumentType('options', 'an object', options);
  }
  const { server, httpResponseTimeout, gracefulTerminationTimeout } = /** @type {Record<string, unknown>} */ (options);
  return {
    servers: [parseServer(server)],
    httpResponseTimeout:
      parseTimeouts({ httpResponseTimeout, gracefulTerminationTimeout }) ?? DEFAULT_HTTP_RESPONSE_TIMEOUT,
  };
}

/**
 * @param {unknown} server
 * @returns {import('node:net').Server}
 */
function parseServer(server) {
  // What a server can do counts, not its class: `instanceof` fails across realms, and an application
  // (Express, Koa) listens too but is not the server.
  const candidate = /** @type {import('node:net').Server | null | undefined} */ (server);
  const isServer =
    typeof candidate === 'object' &&
    typeof candidate?.on === 'function' &&
    typeof candidate.close === 'function' &&
    typeof candidate.getConnections === 'function';
  if (!isServer) {
    throw invalidArgumentType('options.server', 'a server of node:http, node:https or node:net', server);
  }
  return candidate;
}

/**
 * The same setting under its own name and under the one that http-terminator has used since version 2.
 *
 * @param {{ httpResponseTimeout: unknown, gracefulTerminationTimeout: unknown }} names
 */
function parseTimeouts({ httpResponseTimeout, gracefulTerminationTimeout }) {
  const own = parseTimeout('options.httpResponseTimeout', httpResponseTimeout);
  const other = parseTimeout('options.gracefulTerminationTimeout', gracefulTerminationTimeout);
  if (own !== undefined && other !== undefined && own !== other) {
    throw invalidArgumentValue(
      'options.gracefulTerminationTimeout',
      other,
      `is another name for 'options.httpResponseTimeout' and must equal it (${own}) if both are given`,
    );
  }
  return own ?? other;
}

/**
 * @param {string} name
 * @param {unknown} value
 */
function parseTimeout(name, value) {
  if (value === undefined) return undefined;
  if (typeof value !== 'number') throw invalidArgumentType(name, 'of type number', value);
  if (!(value >= 0)) throw outOfRange(name, '>= 0 milliseconds, or Infinity', value);
  return value;
}

module.exports = { parseOptions };
