// Turns what the caller of createProbeServer() passed into what lib/probe-server.js relies on, or throws.

const { isIP } = require('node:net');
const { ProbeEndpoint } = require('./early').native;
const { invalidArgumentType, invalidArgumentValue, outOfRange } = require('./errors');
const { parseBoolean, parseEach, parseNumber, parseObject } = require('./options');
const { serversOf } = require('./terminator');

/** Far beyond what collecting garbage or a large document takes, and within one period of the kubelet's. */
const DEFAULT_STALL_THRESHOLD = 10_000;
const DEFAULT_CHECK_INTERVAL = 10_000;
const DEFAULT_CHECK_TIMEOUT = 5_000;

/** What setTimeout() can wait for at most. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** The kubelet asks at the address of the pod. */
const DEFAULT_HOSTS = ['::', '0.0.0.0'];
const LOCALHOST = '127.0.0.1';

/** By the names that Kubernetes has for them, and the paths that they are at by default. */
const ENDPOINTS = {
  livez: { endpoint: ProbeEndpoint.Live, paths: ['/livez', '/live'] },
  readyz: { endpoint: ProbeEndpoint.Ready, paths: ['/readyz', '/ready'] },
  startupz: { endpoint: ProbeEndpoint.Startup, paths: ['/startupz'] },
  healthz: { endpoint: ProbeEndpoint.Health, paths: ['/healthz', '/health'] },
  metrics: { endpoint: ProbeEndpoint.Metrics, paths: ['/metrics'] },
};

/** @typedef {import('../index').HttpTerminator} HttpTerminator */
/** @typedef {(signal: AbortSignal) => unknown} Check */

/**
 * @typedef {object} ProbeOptions
 * @property {number} port
 * @property {readonly string[]} hosts of which the first one that can be had is listened on
 * @property {readonly object[]} terminators
 * @property {readonly import('node:net').Server[]} servers
 * @property {number} stallThreshold
 * @property {readonly { path: string, endpoint: number }[]} paths
 * @property {readonly [name: string, check: Check][]} checks
 * @property {number} checkInterval
 * @property {number} checkTimeout
 */

/**
 * @param {unknown} options
 * @returns {ProbeOptions}
 */
function parseProbeOptions(options) {
  const {
    port,
    host,
    terminators = [],
    stallThreshold = DEFAULT_STALL_THRESHOLD,
    paths = {},
    metrics = true,
    checks = {},
    checkInterval = DEFAULT_CHECK_INTERVAL,
    checkTimeout = DEFAULT_CHECK_TIMEOUT,
  } = parseObject('options', options);
  const hasMetrics = parseBoolean('options.metrics', metrics);
  return {
    port: parsePort('options.port', port),
    hosts: parseHosts('options.host', host),
    ...parseTerminators('options.terminators', terminators),
    stallThreshold: parseThreshold('options.stallThreshold', stallThreshold),
    paths: parsePaths('options.paths', paths, hasMetrics),
    checks: parseChecks('options.checks', checks),
    checkInterval: parseTimer('options.checkInterval', checkInterval),
    checkTimeout: parseTimer('options.checkTimeout', checkTimeout),
  };
}

/**
 * @param {string} name
 * @param {unknown} value
 */
function parsePort(name, value) {
  const port = parseNumber(name, value);
  if (!(Number.isInteger(port) && port >= 0 && port <= 65535)) {
    throw outOfRange(name, 'an integer >= 0 and <= 65535', port);
  }
  return port;
}

/**
 * @param {string} name
 * @param {unknown} host
 */
function parseHosts(name, host) {
  if (host === undefined) return DEFAULT_HOSTS;
  if (typeof host !== 'string') throw invalidArgumentType(name, 'of type string', host);
  if (host === 'localhost') return [LOCALHOST];
  // Nobody is asked for names: what listens must not depend on who answers. A zone is not part of an address.
  if (isIP(host) === 0 || host.includes('%')) {
    throw invalidArgumentValue(name, host, "must be an IP address or 'localhost'");
  }
  return [host];
}

/**
 * @param {string} name
 * @param {unknown} terminators
 */
function parseTerminators(name, terminators) {
  if (!Array.isArray(terminators)) throw invalidArgumentType(name, 'a list of terminators', terminators);
  const servers = parseEach(name, terminators, parseServersOf).flat();
  return { terminators, servers: [...new Set(servers)] };
}

/**
 * @param {string} name
 * @param {any} terminator
 */
function parseServersOf(name, terminator) {
  const servers = serversOf(terminator);
  if (servers === undefined) {
    throw invalidArgumentType(name, 'a terminator made by createHttpTerminator()', terminator);
  }
  return servers;
}

/**
 * @param {string} name
 * @param {unknown} value
 */
function parseThreshold(name, value) {
  const threshold = parseNumber(name, value);
  // Every loop is late by some microseconds.
  if (!(threshold > 0)) throw outOfRange(name, '> 0 milliseconds, or Infinity', threshold);
  return threshold;
}

/**
 * @param {string} name
 * @param {unknown} value
 */
function parseTimer(name, value) {
  const time = parseNumber(name, value);
  if (!(time >= 1 && time <= LONGEST_TIMER)) {
    throw outOfRange(name, `>= 1 and <= ${LONGEST_TIMER} milliseconds`, time);
  }
  return time;
}

/**
 * @param {string} name
 * @param {unknown} value
 * @param {boolean} metrics
 */
function parsePaths(name, value, metrics) {
  const given = parseNamed(name, value);
  // A misspelt name would leave open what was to be switched off.
  const unknown = Object.keys(given).find((key) => !Object.hasOwn(ENDPOINTS, key));
  if (unknown !== undefined) {
    throw invalidArgumentValue(name, unknown, `may name only ${Object.keys(ENDPOINTS).join(', ')}`);
  }
  const chosen = Object.entries(ENDPOINTS).flatMap(([key, { endpoint, paths }]) => {
    const own = given[key] === undefined ? paths : parsePathsOf(`${name}.${key}`, given[key]);
    return key === 'metrics' && !metrics ? [] : own.map((path) => ({ path, endpoint }));
  });
  const twice = chosen.find(({ path }, index) => chosen.findIndex((other) => other.path === path) !== index);
  if (twice !== undefined) throw invalidArgumentValue(name, twice.path, 'must not use a path twice');
  return chosen;
}

/**
 * @param {string} name
 * @param {unknown} value
 * @returns {string[]}
 */
function parsePathsOf(name, value) {
  if (value === false) return [];
  if (Array.isArray(value)) return parseEach(name, value, parsePath);
  if (typeof value !== 'string') throw invalidArgumentType(name, 'a path, a list of paths, or false', value);
  return [parsePath(name, value)];
}

/**
 * @param {string} name
 * @param {unknown} path
 */
function parsePath(name, path) {
  if (typeof path !== 'string') throw invalidArgumentType(name, 'of type string', path);
  // Others can't be in a request.
  if (!/^\/[!"$-;=@-_a-~]*$/.test(path)) {
    throw invalidArgumentValue(name, path, "must begin with '/' and be a path as requests have it, without a query");
  }
  return path;
}

/**
 * A Map or a list would be an object without any names.
 *
 * @param {string} name
 * @param {unknown} value
 */
function parseNamed(name, value) {
  const object = parseObject(name, value);
  if (Symbol.iterator in object) throw invalidArgumentType(name, 'an object of names and their values', value);
  return object;
}

/**
 * @param {string} name
 * @param {unknown} value
 * @returns {[name: string, check: Check][]}
 */
function parseChecks(name, value) {
  return Object.entries(parseNamed(name, value)).map(([key, check]) => {
    if (typeof check !== 'function') throw invalidArgumentType(`${name}.${key}`, 'a function', check);
    return [key, /** @type {Check} */ (check)];
  });
}

module.exports = { parseProbeOptions };
