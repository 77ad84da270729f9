// From a signal to the exit of the process: hooks, terminators, hooks, exit.

const fs = require('node:fs');
const os = require('node:os');
const { performance } = require('node:perf_hooks');
const { inspect } = require('node:util');
const { createAbortController } = require('./abort-controller');
const { native, timers } = require('./early');
const { hookTimedOut } = require('./errors');
const { isExiting } = require('./internals');
const { leave } = require('./leaving');
const { debug } = require('./observer');
const { parseShutdownOptions } = require('./shutdown-options');
const { describeReport, underWay } = require('./under-way');

/** @typedef {import('../index').GracefulShutdown} GracefulShutdown */
/** @typedef {import('../index').ShutdownReport} ShutdownReport */
/** @typedef {import('../index').TerminationReport} TerminationReport */
/** @typedef {import('./shutdown-options').Hook} Hook */
/** @typedef {import('./shutdown-options').Terminator} Terminator */

const { clearTimeout, setImmediate, setTimeout } = timers;

const GRACEFUL = 0;
const FORCED = 1;

const DEFAULT_REASON = 'start()';

/** How much longer than `timeout` the event loop has to end the process before a native timer does. */
const ENFORCED_AFTER_MS = 1000;

/** Node takes a longer time for none at all. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

const STDERR = 2;

const PREFIX = 'http-terminator-native: ';

/**
 * @param {unknown} options
 * @returns {GracefulShutdown}
 */
function createGracefulShutdown(options) {
  const shutdown = new Shutdown(parseShutdownOptions(options));
  shutdown.install();
  // Nothing here uses `this`: callers take it apart, as in `const { start } = createGracefulShutdown(…)`.
  return {
    start: (reason = DEFAULT_REASON) => shutdown.start(reason),
    uninstall: () => shutdown.uninstall(),
    get state() {
      return shutdown.state;
    },
    get signal() {
      return shutdown.signal;
    },
  };
}

class Shutdown {
  /** @type {GracefulShutdown['state']} */
  state = 'running';
  #options;
  #controller = createAbortController();
  /** @type {[event: string, listener: (...args: any[]) => void][]} */
  #listeners;
  #isSignalled = false;
  /** @type {unknown} */
  #reason;
  #startedAt = 0;
  /** @type {ShutdownReport['exitCode']} */
  #exitCode = GRACEFUL;
  /** @type {ShutdownReport['errors']} */
  #errors = [];
  /** @type {ShutdownReport['terminations']} */
  #terminations;
  /**
   * The names of hooks and terminators that have begun and not settled, among them hooks that have timed out.
   *
   * @type {Set<string>}
   */
  #running = new Set();
  /** @type {NodeJS.Timeout | undefined} */
  #timer;
  /** @type {NodeJS.Timeout | undefined} */
  #hookTimer;
  /** @type {number | null} names what ends the process if the event loop does not */
  #enforcement = null;
  /** @type {number | null} names what does so when a signal comes of which the event loop does not even hear */
  #guard = null;
  /** @type {(report: ShutdownReport) => void} */
  #resolve = () => {};
  /** @type {Promise<ShutdownReport>} */
  #report = new Promise((resolve) => {
    this.#resolve = resolve;
  });

  /** @param {import('./shutdown-options').ShutdownOptions} options */
  constructor(options) {
    this.#options = options;
    this.#terminations = options.terminators.map(() => null);
    this.#listeners = options.signals.map((name) => [name, () => this.#signalled(name)]);
    // Node tells it of unhandled rejections, too, unless somebody handles them or a flag makes less of them.
    if (options.onError) this.#listeners.push(['uncaughtException', (error) => this.#uncaught(error)]);
  }

  get signal() {
    return this.#controller.signal;
  }

  install() {
    for (const [event, listener] of this.#listeners) process.on(event, listener);
    if (this.#options.enforce && this.#options.signals.length > 0) this.#guardSignals();
  }

  uninstall() {
    if (this.#guard !== null) native.unguard(this.#guard);
    this.#guard = null;
    for (const [event, listener] of this.#listeners) process.removeListener(event, listener);
  }

  /** @param {unknown} reason */
  start(reason) {
    if (this.state === 'running') this.#begin(reason);
    return this.#report;
  }

  /** @param {string} name */
  #signalled(name) {
    if (this.#isSignalled) {
      this.#force(`${name} came while it was running`);
      return;
    }
    this.#isSignalled = true;
    this.start(name);
  }

  /** @param {unknown} error */
  #uncaught(error) {
    printUncaught(error);
    if (this.#hasEnded) {
      // The report is handed out, and the exit about to come.
      process.exitCode = FORCED;
      return;
    }
    this.#exitCode = FORCED;
    this.#errors.push({ name: 'uncaughtException', error });
    this.start(error);
  }

  /** @param {unknown} reason */
  #begin(reason) {
    const { enforce, terminators, timeout } = this.#options;
    this.state = 'stopping';
    this.#reason = reason;
    this.#startedAt = performance.now();
    this.#timer = setTimer(timeout, () => this.#force(`it took longer than ${timeout} ms`));
    if (enforce) this.#enforce();
    for (const terminator of terminators) leave(terminator);
    this.#controller.abort(reason);
    this.#run();
  }

  async #run() {
    const { afterTerminate, beforeTerminate, terminators } = this.#options;
    for (const hook of beforeTerminate) await this.#runHook(hook);
    if (this.#hasEnded) return;
    await Promise.all(terminators.map((terminator, index) => this.#terminate(terminator, index)));
    for (const hook of afterTerminate) await this.#runHook(hook);
    this.#end();
  }

  get #hasEnded() {
    return this.state === 'stopped';
  }

  /** @param {Hook} hook */
  async #runHook(hook) {
    if (this.#hasEnded) return;
    const { hookTimeout } = this.#options;
    const timedOut = new Promise((resolve) => {
      this.#hookTimer = setTimer(hookTimeout, () => {
        this.#failed(hook.name, hookTimedOut(hook.name, hookTimeout));
        resolve(undefined);
      });
    });
    const timer = this.#hookTimer;
    // What a hook does after its time is no concern of the others, but may be what the process still waits for.
    const settled = this.#follow(hook.name, async () => hook.run(this.#reason)).then(() => clearTimeout(timer));
    await Promise.race([settled, timedOut]);
  }

  /**
   * @param {Terminator} terminator
   * @param {number} index
   */
  async #terminate(terminator, index) {
    await this.#follow(`terminators[${index}]`, async () => {
      const report = await terminator.terminate();
      if (isReport(report)) this.#terminated(report, index);
    });
  }

  /**
   * @param {TerminationReport} report
   * @param {number} index
   */
  #terminated(report, index) {
    if (this.#hasEnded) return;
    this.#terminations[index] = report;
    if (report.graceful) return;
    this.#exitCode = FORCED;
    const left = describeReport(report);
    say(`terminators[${index}] had to force an end${left.length > 0 ? ` to what was left: ${left.join(', ')}` : ''}`);
  }

  /**
   * Runs what may fail, and knows it to be running until it settles.
   *
   * @param {string} name
   * @param {() => Promise<unknown>} run
   */
  async #follow(name, run) {
    this.#running.add(name);
    try {
      await run();
    } catch (error) {
      this.#failed(name, error);
    }
    this.#running.delete(name);
  }

  /**
   * @param {string} name
   * @param {unknown} error
   */
  #failed(name, error) {
    // With `exit: false` the process goes on, and what comes too late does not change the report any more.
    if (this.#hasEnded) return;
    this.#exitCode = FORCED;
    this.#errors.push({ name, error });
    say(`${name} failed: ${show(error)}`);
  }

  /** @param {string} why completes "it was forced, since …" */
  #force(why) {
    if (this.#hasEnded) return;
    const running = this.#describeRunning();
    say(`the shutdown was forced, since ${why}; still running: ${running.join(', ') || 'nothing'}`);
    this.#exitCode = FORCED;
    this.#end({ atOnce: true });
  }

  #describeRunning() {
    const running = [...this.#running];
    try {
      running.push(...underWay(this.#options.terminators));
    } catch (error) {
      // The process must end, whatever this says.
      running.push(String(error));
    }
    return running;
  }

  /** @param {{ atOnce?: boolean }} [how] */
  #end({ atOnce = false } = {}) {
    if (this.#hasEnded) return;
    this.state = 'stopped';
    clearTimeout(this.#timer);
    // A hook that is given up must not keep the process.
    clearTimeout(this.#hookTimer);
    const exitCode = this.#exitCode;
    // A failure that somebody has noted before remains one.
    if (exitCode === FORCED || !Number(process.exitCode)) process.exitCode = exitCode;
    this.#resolve({
      graceful: exitCode === GRACEFUL,
      exitCode,
      reason: this.#reason,
      durationMs: performance.now() - this.#startedAt,
      terminations: this.#terminations,
      errors: this.#errors,
    });
    if (!this.#options.exit) {
      // The caller decides when the process ends. The next signal ends it as if we had never been here.
      this.uninstall();
      this.#relent();
    } else if (atOnce) {
      this.#exit();
    } else {
      // Whoever waits for the report gets to see it. The native timer stays: listeners to `exit` may block, too.
      setImmediate(() => this.#exit());
    }
  }

  #exit() {
    try {
      process.exit(process.exitCode);
    } catch (error) {
      // Thrown by whoever has replaced it, as test runners do.
      if (!isExiting()) throw error;
      // Or by a listener to `exit`. Those are asked only once, so now nothing keeps the process.
      printUncaught(error);
      process.exit(FORCED);
    }
  }

  #enforce() {
    try {
      this.#enforcement = native.enforce(this.#enforcedAfter, this.#lastLine);
    } catch (error) {
      say(`the shutdown is not enforced: ${/** @type {Error} */ (error).message}`);
    }
  }

  #guardSignals() {
    /** @type {Record<string, number | undefined>} */
    const numbers = os.constants.signals;
    const signals = this.#options.signals.flatMap((name) => numbers[name] ?? []);
    try {
      this.#guard = native.guard(signals, this.#enforcedAfter, this.#lastLine);
    } catch (error) {
      debug('signals count from when JavaScript hears of them: %s', /** @type {Error} */ (error).message);
    }
  }

  get #enforcedAfter() {
    return this.#options.timeout + ENFORCED_AFTER_MS;
  }

  get #lastLine() {
    const after = this.#enforcedAfter;
    return `${PREFIX}the event loop has not ended the shutdown within ${after} ms, so the process is ended\n`;
  }

  #relent() {
    if (this.#enforcement !== null) native.relent(this.#enforcement);
    this.#enforcement = null;
  }
}

/**
 * @param {unknown} value
 * @returns {value is TerminationReport}
 */
function isReport(value) {
  return typeof (/** @type {Partial<TerminationReport> | null | undefined} */ (value)?.graceful) === 'boolean';
}

/**
 * What can be thrown may throw itself when it is looked at. That must not keep the process.
 *
 * @param {unknown} error
 */
function show(error) {
  try {
    return inspect(error);
  } catch {
    return 'something that cannot be shown';
  }
}

/**
 * A timer that keeps the process as any other does, and never rings if its time is longer than Node's timers can wait.
 *
 * @param {number} time in milliseconds
 * @param {() => void} ring
 */
function setTimer(time, ring) {
  const timer = setTimeout(
    () => (time > LONGEST_TIMER_MS ? timer.refresh() : ring()),
    Math.min(time, LONGEST_TIMER_MS),
  );
  return timer;
}

/**
 * In the words of Node, but for the line of code above them, which it shows to nobody.
 *
 * @param {unknown} error
 */
function printUncaught(error) {
  print(`${show(error)}\n\nNode.js ${process.version}`);
}

/** @param {string} line */
function say(line) {
  print(PREFIX + line);
}

/**
 * Now, and not when the stream gets to it: the process may end in this very tick.
 *
 * @param {string} text
 */
function print(text) {
  try {
    fs.writeSync(STDERR, `${text}\n`);
  } catch {
    // It is closed, or full and not to be waited for.
  }
}

module.exports = { createGracefulShutdown };
