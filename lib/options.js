// Turns what the caller passed into what the rest of the package relies on, or throws.

const { invalidArgumentType, invalidArgumentValue, outOfRange } = require('./errors');

const DEFAULT_HTTP_RESPONSE_TIMEOUT = 1000;
const DEFAULT_SHUTDOWN_DELAY = 0;
const AUTO = 'auto';
/** "Going away" (RFC 6455, section 7.4.1). */
const DEFAULT_WEB_SOCKET_CLOSE_CODE = 1001;

/** @typedef {import('../index').WebSocketServerLike} WebSocketServerLike */

/**
 * @typedef {object} Options
 * @property {readonly import('node:net').Server[]} servers
 * @property {number} httpResponseTimeout
 * @property {number} shutdownDelay
 * @property {number | null} keepAliveDrainTimeout null for 'auto'
 * @property {readonly WebSocketServerLike[]} webSocketServers
 * @property {number} webSocketCloseCode
 */

/**
 * @param {unknown} options
 * @returns {Options}
 */
function parseOptions(options) {
  const {
    server,
    httpResponseTimeout,
    gracefulTerminationTimeout,
    shutdownDelay = DEFAULT_SHUTDOWN_DELAY,
    keepAliveDrainTimeout = AUTO,
    webSocketServers = [],
    webSocketCloseCode = DEFAULT_WEB_SOCKET_CLOSE_CODE,
  } = parseObject('options', options);
  return {
    servers: parseServers(server),
    httpResponseTimeout:
      parseTimeouts({ httpResponseTimeout, gracefulTerminationTimeout }) ?? DEFAULT_HTTP_RESPONSE_TIMEOUT,
    keepAliveDrainTimeout: parseKeepAlive('options.keepAliveDrainTimeout', keepAliveDrainTimeout),
    shutdownDelay: parseDelay('options.shutdownDelay', shutdownDelay),
    webSocketServers: parseWebSocketServers(webSocketServers),
    webSocketCloseCode: parseCloseCode('options.webSocketCloseCode', webSocketCloseCode),
  };
}

/**
 * @param {string} name
 * @param {unknown} value
 */
function parseObject(name, value) {
  if (typeof value !== 'object' || value === null) throw invalidArgumentType(name, 'an object', value);
  return /** @type {Record<string, unknown>} */ (value);
}

/**
 * @param {string} name
 * @param {unknown} value
 */
function parseBoolean(name, value) {
  if (typeof value !== 'boolean') throw invalidArgumentType(name, 'of type boolean', value);
  return value;
}

/**
 * @param {string} name
 * @param {unknown} value
 */
function parseNumber(name, value) {
  if (typeof value !== 'number') throw invalidArgumentType(name, 'of type number', value);
  return value;
}

/** @param {unknown} server */
function parseServers(server) {
  if (!Array.isArray(server)) return [parseServer('options.server', server)];
  if (server.length === 0) throw invalidArgumentValue('options.server', server, 'must name at least one server');
  return [...new Set(parseEach('options.server', server, parseServer))];
}

/**
 * @template Parsed
 * @param {string} name of the list
 * @param {Iterable<unknown>} list
 * @param {(name: string, each: unknown) => Parsed} parse
 * @returns {Parsed[]}
 */
function parseEach(name, list, parse) {
  // Not by `map()`, which leaves gaps out.
  return Array.from(list, (each, index) => parse(`${name}[${index}]`, each));
}

/**
 * @param {string} name
 * @param {unknown} server
 * @returns {import('node:net').Server}
 */
function parseServer(name, server) {
  // What a server can do counts, not its class: `instanceof` fails across realms, and an application
  // (Express, Koa) listens too but is not the server.
  const candidate = /** @type {import('node:net').Server | null | undefined} */ (server);
  const isServer =
    typeof candidate === 'object' &&
    typeof candidate?.on === 'function' &&
    typeof candidate.listenerCount === 'function' &&
    typeof candidate.close === 'function' &&
    typeof candidate.getConnections === 'function';
  if (!isServer) {
    throw invalidArgumentType(name, 'a server of node:http, node:https, node:http2 or node:net', server);
  }
  // To hear of its connections, and to close its listener without them, it has to change for a while.
  if (!Object.isExtensible(candidate)) throw invalidArgumentType(name, 'a server that is extensible', server);
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
  const timeout = parseNumber(name, value);
  if (!(timeout >= 0)) throw outOfRange(name, '>= 0 milliseconds, or Infinity', timeout);
  return timeout;
}

/**
 * @param {string} name
 * @param {unknown} value
 */
function parseDelay(name, value) {
  const delay = parseNumber(name, value);
  // A server that delays for ever would never end.
  if (!(delay >= 0 && delay < Number.POSITIVE_INFINITY)) throw outOfRange(name, '>= 0 milliseconds, and finite', delay);
  return delay;
}

/**
 * @param {string} name
 * @param {unknown} value
 */
function parseKeepAlive(name, value) {
  if (value === AUTO) return null;
  if (typeof value !== 'number') throw invalidArgumentType(name, `of type number or '${AUTO}'`, value);
  if (!(value >= 0)) throw outOfRange(name, `>= 0 milliseconds, Infinity or '${AUTO}'`, value);
  return value;
}

/**
 * @param {unknown} servers
 * @returns {readonly WebSocketServerLike[]}
 */
function parseWebSocketServers(servers) {
  const name = 'options.webSocketServers';
  if (!isIterable(servers)) throw invalidArgumentType(name, 'an iterable of WebSocket servers', servers);
  return parseEach(name, servers, parseWebSocketServer);
}

/**
 * @param {string} name
 * @param {any} server
 */
function parseWebSocketServer(name, server) {
  // `clients` is looked at again when they are to be closed: it may be a getter that makes a new list.
  if (!isIterable(server?.clients)) {
    throw invalidArgumentType(name, 'a WebSocket server with iterable clients', server);
  }
  return server;
}

/**
 * @param {any} value
 * @returns {value is Iterable<any>}
 */
function isIterable(value) {
  return typeof value === 'object' && typeof value?.[Symbol.iterator] === 'function';
}

/**
 * Those that an application may send (RFC 6455, section 7.4.2, and the IANA registry).
 *
 * @param {string} name
 * @param {unknown} value
 */
function parseCloseCode(name, value) {
  const code = parseNumber(name, value);
  const registered = code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code);
  if (!Number.isInteger(code) || !(registered || (code >= 3000 && code <= 4999))) {
    throw outOfRange(name, 'a close code that may be sent: 1000 to 1014 but for 1004 to 1006, or 3000 to 4999', code);
  }
  return code;
}

module.exports = { parseBoolean, parseEach, parseNumber, parseObject, parseOptions, parseServer, parseTimeout };
