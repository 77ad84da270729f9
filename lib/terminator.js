// The terminator that users hold: a view of the servers it ends.

const { createAbortController } = require('./abort-controller');
const { asyncDispose } = require('./async-dispose');
const { Attachment } = require('./attachment');
const { LISTED_AT_MOST } = require('./cut-list');
const { invalidArgumentType } = require('./errors');
const { parseOptions } = require('./options');

/** @typedef {import('../index').HttpTerminator} HttpTerminator */
/** @typedef {import('../index').TerminationReport} TerminationReport */
/** @typedef {import('./termination').Outcome} Outcome */

/** Of several servers, the first of these that one is in is the state of all. */
const STATES = /** @type {const} */ (['draining', 'delaying', 'serving']);

/**
 * What terminators are about, for those who are given them: the servers that each ends, and the attachments to them
 * if it is not detached.
 *
 * @type {WeakMap<object, { servers: readonly import('node:net').Server[], attachments: () => readonly Attachment[] }>}
 */
const insides = new WeakMap();

/**
 * @param {unknown} terminator
 * @returns {readonly import('node:net').Server[] | undefined} nothing if it is none of ours
 */
function serversOf(terminator) {
  return insides.get(/** @type {object} */ (terminator))?.servers;
}

/**
 * @param {unknown} terminator
 * @returns {readonly Attachment[]} none if it is none of ours
 */
function attachmentsOf(terminator) {
  return insides.get(/** @type {object} */ (terminator))?.attachments() ?? [];
}

/**
 * @param {unknown} options
 * @returns {HttpTerminator}
 */
function createHttpTerminator(options) {
  const { servers, webSocketServers, webSocketCloseCode, ...times } = parseOptions(options);
  /** @type {AbortController | null} */
  let controller = null;
  /** @type {{ outcomes: Promise<Outcome>[], report: Promise<TerminationReport> } | null} */
  let termination = null;
  /** @type {Promise<Outcome>[]} what the last report has told of */
  let told = [];
  /** @type {(() => void) | null} undoes what closes WebSocket clients that are still to come */
  let closesComing = null;

  const plan = {
    delay: times.shutdownDelay,
    timeout: times.httpResponseTimeout,
    keepAlive: times.keepAliveDrainTimeout,
  };
  const user = {
    terminationBegan() {
      controller ??= createAbortController();
      controller.abort();
    },
    drainingBegan() {
      const { closeClients, closeComing } = require('./websockets');
      closesComing ??= closeComing(webSocketServers, webSocketCloseCode, (error) => {
        for (const attachment of attachments()) attachment.failed(error);
      });
      closeClients(webSocketServers, webSocketCloseCode);
    },
    deadlinePassed: () => require('./websockets').terminateClients(webSocketServers),
    terminationEnded() {
      if (terminator.state !== 'draining') stopClosing();
    },
  };
  /** @type {Attachment[] | null} */
  let attached = null;
  attachments();

  // Nothing here uses `this`: callers take it apart, as in `const { terminate } = createHttpTerminator(…)`.
  /** @type {HttpTerminator} */
  const terminator = {
    terminate,
    waitUntil,
    detach,
    stats: () =>
      attachments()
        .map((attachment) => attachment.stats())
        .reduce(sum),
    get state() {
      const states = new Set(attachments().map((attachment) => attachment.state));
      return STATES.find((state) => states.has(state)) ?? 'terminated';
    },
    get signal() {
      const isServing = terminator.state === 'serving' && servers.some(({ listening }) => listening);
      // That of an earlier termination says nothing of the next one.
      if (isServing && controller?.signal.aborted) controller = null;
      controller ??= createAbortController();
      return controller.signal;
    },
    async [asyncDispose]() {
      await terminate();
    },
  };
  insides.set(terminator, { servers, attachments: () => attached ?? [] });
  return terminator;

  function terminate() {
    const outcomes = attachments().map((attachment) => attachment.terminate(plan));
    const known = termination?.outcomes.every((outcome, index) => outcome === outcomes[index]);
    if (termination !== null && known) return termination.report;
    // What the last report has told, of servers that have not listened since, is no part of this one.
    const ended = allEnded(outcomes.filter((outcome) => !told.includes(outcome))).finally(() => {
      told = outcomes;
    });
    termination = { outcomes, report: ended.then(report) };
    return termination.report;
  }

  /** @param {unknown} task */
  function waitUntil(task) {
    if (typeof (/** @type {any} */ (task)?.then) !== 'function') {
      throw invalidArgumentType('task', 'a promise', task);
    }
    // The others may have ended already, and wait for nothing.
    const waiting = attachments().find(({ state }) => state === terminator.state);
    waiting?.waitUntil(Promise.resolve(task));
  }

  function detach() {
    for (const attachment of attached ?? []) attachment.detach(user);
    attached = null;
    stopClosing();
  }

  /** Whoever uses a detached terminator attaches it again. */
  function attachments() {
    attached ??= Attachment.attachAll(servers, user);
    return attached;
  }

  function stopClosing() {
    closesComing?.();
    closesComing = null;
  }
}

/**
 * If one has failed, the others are waited for all the same.
 *
 * @param {Promise<Outcome>[]} outcomes
 */
async function allEnded(outcomes) {
  await Promise.allSettled(outcomes);
  return Promise.all(outcomes);
}

/**
 * @param {Outcome[]} outcomes
 * @returns {TerminationReport}
 */
function report(outcomes) {
  const counts = outcomes.map((outcome) => outcome.counts).reduce(sum);
  const rows = outcomes.flatMap((outcome) => outcome.cut.rows);
  const omitted = outcomes.reduce((total, outcome) => total + outcome.cut.omitted, 0);
  return {
    graceful: outcomes.every((outcome) => outcome.counts.graceful),
    durationMs: Math.max(...outcomes.map((outcome) => outcome.counts.durationMs)),
    connections: { idle: counts.idle, drained: counts.drained, forced: counts.forced },
    requests: { completed: counts.completed, late: counts.late, cut: counts.cut },
    tasks: {
      completed: counts.tasksCompleted,
      rejected: counts.tasksRejected,
      abandoned: counts.tasksAbandoned,
      errors: outcomes.flatMap((outcome) => outcome.taskErrors).slice(0, LISTED_AT_MOST),
    },
    cut: rows.slice(0, LISTED_AT_MOST),
    cutOmitted: omitted + Math.max(0, rows.length - LISTED_AT_MOST),
  };
}

/**
 * @template {object} Counts
 * @param {Counts} left
 * @param {Counts} right
 * @returns {Counts}
 */
function sum(left, right) {
  const entries = Object.entries(left).map(([name, count]) => [name, count + /** @type {any} */ (right)[name]]);
  return Object.fromEntries(entries);
}

module.exports = { attachmentsOf, createHttpTerminator, serversOf };
