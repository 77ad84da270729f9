// Errors as Node makes them: a code to match on, the option named, the received value shown.
// They are made here and not in Rust because a native error is not `instanceof Error` in Jest's realm.

const { inspect } = require('node:util');

/** @typedef {import('./binding').Refusal} Refusal the operating system's */

/**
 * Node's own words for what the operating system says.
 *
 * @type {Record<string, string | undefined>}
 */
const WORDS = {
  EACCES: 'permission denied',
  EADDRINUSE: 'address already in use',
  EADDRNOTAVAIL: 'address not available',
  EAGAIN: 'resource temporarily unavailable',
};

/**
 * @param {string} name
 * @param {string} expected completes "must be …"
 * @param {unknown} received
 */
function invalidArgumentType(name, expected, received) {
  return withCode(
    new TypeError(
      `The "${name}" ${name.includes('.') ? 'property' : 'argument'} must be ${expected}. Received ${describe(received)}`,
    ),
    'ERR_INVALID_ARG_TYPE',
  );
}

/**
 * @param {string} name
 * @param {unknown} received
 * @param {string} reason
 */
function invalidArgumentValue(name, received, reason) {
  return withCode(
    new TypeError(`The property '${name}' ${reason}. Received ${inspect(received)}`),
    'ERR_INVALID_ARG_VALUE',
  );
}

/**
 * @param {string} name
 * @param {string} range completes "It must be …"
 * @param {unknown} received
 */
function outOfRange(name, range, received) {
  return withCode(
    new RangeError(`The value of "${name}" is out of range. It must be ${range}. Received ${inspect(received)}`),
    'ERR_OUT_OF_RANGE',
  );
}

/** @param {string} signal */
function unknownSignal(signal) {
  return withCode(new TypeError(`Unknown signal: ${signal}`), 'ERR_UNKNOWN_SIGNAL');
}

/** @param {string} what begins the sentence */
function unsupportedInWorker(what) {
  return withCode(new TypeError(`${what} is not supported in workers`), 'ERR_WORKER_UNSUPPORTED_OPERATION');
}

/**
 * @param {string} name
 * @param {number} time in milliseconds
 */
function hookTimedOut(name, time) {
  return withCode(new Error(`${name} took longer than ${time} ms`), 'ERR_HOOK_TIMEOUT');
}

/** As `net.Server#close()` fails. */
function serverNotRunning() {
  return withCode(new Error('Server is not running.'), 'ERR_SERVER_NOT_RUNNING');
}

/** @param {Refusal} refusal of a thread that keeps the deadline */
function noThread(refusal) {
  return refused(refusal, 'terminate', '');
}

/**
 * As `net.Server#listen()` fails.
 *
 * @param {Refusal} refusal
 * @param {string} host
 * @param {number} port
 */
function listenFailed(refusal, host, port) {
  return Object.assign(refused(refusal, 'listen', ` ${host}:${port}`), { address: host, port });
}

/**
 * @param {Refusal} refusal
 * @param {string} syscall what was to be done
 * @param {string} details end the message
 */
function refused({ errno, reason }, syscall, details) {
  const { constants } = require('node:os');
  const [name = 'UNKNOWN'] = Object.entries(constants.errno).find(([, number]) => number === errno) ?? [];
  // Windows has numbers of its own for sockets.
  const code = name.replace(/^WSA/, '');
  const error = withCode(new Error(`${syscall} ${code}: ${WORDS[code] ?? reason}${details}`), code);
  return Object.assign(error, errno ? { errno: -errno, syscall } : { syscall });
}

/**
 * @template {Error} E
 * @param {E} error
 * @param {string} code
 * @returns {E & { code: string }}
 */
function withCode(error, code) {
  return Object.assign(error, { code });
}

/** @param {unknown} value */
function describe(value) {
  if (value === null || value === undefined) return String(value);
  if (typeof value === 'function') return `function ${value.name}`.trimEnd();
  if (typeof value === 'object') {
    const className = value.constructor?.name;
    return typeof className === 'string' && className !== ''
      ? `an instance of ${className}`
      : inspect(value, { depth: -1 });
  }
  const shown = inspect(value);
  return `type ${typeof value} (${shown.length > 28 ? `${shown.slice(0, 25)}...` : shown})`;
}

module.exports = {
  hookTimedOut,
  invalidArgumentType,
  invalidArgumentValue,
  listenFailed,
  noThread,
  outOfRange,
  serverNotRunning,
  unknownSignal,
  unsupportedInWorker,
};
