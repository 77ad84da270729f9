// Turns what the caller of `createGracefulShutdown()` passed into what the rest relies on, or throws.

const os = require('node:os');
const { isMainThread } = require('node:worker_threads');
const { invalidArgumentType, invalidArgumentValue, unknownSignal, unsupportedInWorker } = require('./errors');
const { parseBoolean, parseEach, parseObject, parseTimeout } = require('./options');

const DEFAULT_SIGNALS = /** @type {const} */ (['SIGTERM', 'SIGINT']);
const DEFAULT_HOOK_TIMEOUT = 5000;
/** It leaves a few seconds of the thirty that Kubernetes gives a container. */
const DEFAULT_TIMEOUT = 25_000;

/** Those that some platform does not have. A list of signals may be the same on all of them. */
const ELSEWHERE = ['SIGBREAK', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'];

/** No process hears of the first two. After the others no JavaScript can run. */
const NEVER_HEARD = ['SIGKILL', 'SIGSTOP', 'SIGBUS', 'SIGFPE', 'SIGILL', 'SIGSEGV'];

/** @typedef {import('../index').ShutdownHook} ShutdownHook */
/** @typedef {{ terminate(): PromiseLike<unknown> }} Terminator */
/**
 * @typedef {object} Hook
 * @property {string} name
 * @property {ShutdownHook} run
 */
/**
 * @typedef {object} ShutdownOptions
 * @property {readonly Terminator[]} terminators
 * @property {readonly NodeJS.Signals[]} signals
 * @property {readonly Hook[]} beforeTerminate in the order in which they run
 * @property {readonly Hook[]} afterTerminate in the order in which they run
 * @property {number} hookTimeout in milliseconds
 * @property {number} timeout in milliseconds
 * @property {boolean} exit
 * @property {boolean} onError
 * @property {boolean} enforce
 */

/**
 * @param {unknown} options
 * @returns {ShutdownOptions}
 */
function parseShutdownOptions(options) {
  const {
    terminators = [],
    signals = DEFAULT_SIGNALS,
    beforeTerminate = [],
    afterTerminate = [],
    hookTimeout,
    timeout,
    exit = true,
    onError = false,
    enforce = false,
  } = parseObject('options', options);
  const parsed = {
    terminators: parseTerminators(terminators),
    signals: parseSignals(signals),
    beforeTerminate: parseHooks('options.beforeTerminate', beforeTerminate),
    afterTerminate: parseHooks('options.afterTerminate', afterTerminate).reverse(),
    hookTimeout: parseTimeout('options.hookTimeout', hookTimeout) ?? DEFAULT_HOOK_TIMEOUT,
    timeout: parseTimeout('options.timeout', timeout) ?? DEFAULT_TIMEOUT,
    exit: parseBoolean('options.exit', exit),
    onError: parseBoolean('options.onError', onError),
    enforce: parseBoolean('options.enforce', enforce),
  };
  if (parsed.enforce && parsed.timeout === Number.POSITIVE_INFINITY) {
    throw invalidArgumentValue('options.timeout', timeout, "must be finite if 'options.enforce' is true");
  }
  // It would end the whole process from a thread that may only end itself.
  if (parsed.enforce && !isMainThread) throw unsupportedInWorker("The option 'enforce'");
  return parsed;
}

/** @param {unknown} terminators */
function parseTerminators(terminators) {
  const name = 'options.terminators';
  if (!Array.isArray(terminators)) return [parseTerminator(name, terminators)];
  return [...new Set(parseEach(name, terminators, parseTerminator))];
}

/**
 * @param {string} name
 * @param {any} terminator
 * @returns {Terminator}
 */
function parseTerminator(name, terminator) {
  if (typeof terminator?.terminate !== 'function') {
    throw invalidArgumentType(name, 'a terminator, or anything with a method terminate()', terminator);
  }
  return terminator;
}

/**
 * @param {unknown} signals
 * @returns {readonly NodeJS.Signals[]}
 */
function parseSignals(signals) {
  if (!Array.isArray(signals)) throw invalidArgumentType('options.signals', 'an array of signal names', signals);
  return [...new Set(parseEach('options.signals', signals, parseSignal))];
}

/**
 * @param {string} name
 * @param {unknown} signal
 */
function parseSignal(name, signal) {
  if (typeof signal !== 'string') throw invalidArgumentType(name, 'of type string', signal);
  if (NEVER_HEARD.includes(signal)) throw invalidArgumentValue(name, signal, 'must be a signal that can be handled');
  if (!Object.hasOwn(os.constants.signals, signal) && !ELSEWHERE.includes(signal)) throw unknownSignal(signal);
  return /** @type {NodeJS.Signals} */ (signal);
}

/**
 * @param {string} name
 * @param {unknown} hooks
 * @returns {Hook[]}
 */
function parseHooks(name, hooks) {
  if (typeof hooks === 'function') return [parseHook(name, hooks)];
  if (!Array.isArray(hooks)) throw invalidArgumentType(name, 'a function or an array of functions', hooks);
  return parseEach(name, hooks, parseHook);
}

/**
 * @param {string} name
 * @param {unknown} hook
 * @returns {Hook}
 */
function parseHook(name, hook) {
  if (typeof hook !== 'function') throw invalidArgumentType(name, 'of type function', hook);
  const place = name.replace('options.', '');
  // The name of `beforeTerminate: async () => {}` is that of the option.
  const isNamed = typeof hook.name === 'string' && hook.name !== '' && hook.name !== place;
  return { name: isNamed ? `${hook.name} (${place})` : place, run: /** @type {ShutdownHook} */ (hook) };
}

module.exports = { parseShutdownOptions };
