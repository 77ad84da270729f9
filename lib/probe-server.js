// The probe server that users hold. A native thread answers; what JavaScript knows and that thread does not is
// told it here: signals, heartbeats, the outcome of checks, what is open, and that the process is about to go.

const { asyncDispose } = require('./async-dispose');
const { Attachment } = require('./attachment');
const { native, timers } = require('./early');
const { listenFailed } = require('./errors');
const { whenLeaving } = require('./leaving');
const { parseProbeOptions } = require('./probe-options');

const { clearInterval, clearTimeout, setInterval, setTimeout } = timers;

/** @typedef {import('../index').ProbeServer} ProbeServer */
/** @typedef {import('./probe-options').Check} Check */

/** How often the event loop shows that it turns. A stall is noticed so much later at most. */
const HEARTBEAT_MS = 100;

/**
 * How often it is counted what is open. That takes a look at every connection, about a millisecond if there are
 * 8,000, and Prometheus asks every 15 seconds or less often.
 */
const COUNT_EVERY_MS = 1_000;

/**
 * Everything that is wrong rejects, as with functions of Node that return promises.
 *
 * @param {unknown} options
 * @returns {Promise<ProbeServer>}
 */
async function createProbeServer(options) {
  const { terminators, servers, checks, checkInterval, checkTimeout, ...listening } = parseProbeOptions(options);
  // What happens is seen where it is decided, without us.
  const user = {
    terminationBegan() {},
    drainingBegan() {},
    deadlinePassed() {},
    terminationEnded() {},
  };
  // An attachment of our own: a terminator that is detached and used again finds the machine that is watched.
  const attachments = Attachment.attachAll(servers, user);
  /** @type {import('./binding').OpenProbeServer} */
  let opened;
  try {
    opened = open(listening, {
      checks: checks.map(([name]) => JSON.stringify(name)),
      servers: attachments.map(({ key, protocol }) => ({ key, protocol })),
    });
  } catch (error) {
    detach();
    throw error;
  }
  const { key, host, port } = opened;
  let closed = false;
  count();
  const intervals = [
    setInterval(() => native.beat(key), HEARTBEAT_MS).unref(),
    setInterval(count, COUNT_EVERY_MS).unref(),
  ];
  /** @type {(() => void)[]} */
  const stops = [
    ...terminators.map((terminator) => whenLeaving(terminator, () => native.leaving(key))),
    ...checks.map(([, check], place) =>
      repeat(check, checkInterval, checkTimeout, (passed) => native.checked(key, place, passed)),
    ),
  ];

  // Nothing here uses `this`: callers take it apart.
  return {
    signalReady: () => signal(() => native.signalReady(key, true)),
    signalNotReady: () => signal(() => native.signalReady(key, false)),
    signalStarted: () => signal(() => native.signalStarted(key)),
    address: () => (closed ? null : { address: host, family: host.includes(':') ? 'IPv6' : 'IPv4', port }),
    close,
    port,
    [asyncDispose]: close,
  };

  async function close() {
    if (closed) return;
    closed = true;
    for (const interval of intervals) clearInterval(interval);
    for (const stop of stops) stop();
    detach();
    native.closeProbeServer(key);
  }

  /** @param {() => void} send */
  function signal(send) {
    // In the course of a shutdown it does not matter which comes first.
    if (!closed) send();
  }

  function count() {
    attachments.forEach((attachment, place) => {
      const { idle, active, upgraded, requests } = attachment.stats();
      native.counted(key, place, idle, active, upgraded, requests);
    });
  }

  function detach() {
    for (const attachment of attachments) attachment.detach(user);
  }
}

/**
 * @param {{ hosts: readonly string[], port: number, stallThreshold: number, paths: readonly { path: string, endpoint: number }[] }} listening
 * @param {{ checks: string[], servers: { key: number, protocol: string }[] }} watched
 */
function open({ hosts, port, stallThreshold, paths }, watched) {
  const plan = { port, stallThreshold, paths: [...paths], heartbeat: HEARTBEAT_MS, ...watched };
  for (const host of hosts) {
    const outcome = native.openProbeServer({ ...plan, host });
    if ('key' in outcome) return outcome;
    const error = listenFailed(outcome, host, port);
    // A machine without IPv6 has no address of it.
    const another = host !== hosts.at(-1) && ['EAFNOSUPPORT', 'EADDRNOTAVAIL'].includes(error.code);
    if (!another) throw error;
  }
  throw new Error('there is no address to listen on');
}

/**
 * Runs a check again and again, until what it returns is called.
 *
 * @param {Check} check
 * @param {number} interval
 * @param {number} timeout
 * @param {(passed: boolean) => void} ended
 */
function repeat(check, interval, timeout, ended) {
  /** @type {NodeJS.Timeout} */
  let next;
  /** @type {AbortController} */
  let controller;
  let stopped = false;
  run();
  return () => {
    stopped = true;
    clearTimeout(next);
    controller.abort();
  };

  async function run() {
    const running = new AbortController();
    controller = running;
    let over = false;
    const tooLate = setTimeout(() => settle(false, true), timeout).unref();
    try {
      await check(running.signal);
      settle(true);
    } catch {
      settle(false);
    }

    /**
     * @param {boolean} passed
     * @param {boolean} [gaveUp]
     */
    function settle(passed, gaveUp = false) {
      if (over || stopped) return;
      over = true;
      clearTimeout(tooLate);
      // What it does from now on is nobody's any more.
      if (gaveUp) running.abort();
      ended(passed);
      next = setTimeout(run, interval).unref();
    }
  }
}

module.exports = { createProbeServer };
