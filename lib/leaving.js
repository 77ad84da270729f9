// Which terminators' servers are about to go: from the first moment of a shutdown on, when their terminations
// may still wait for hooks. Whoever reports readiness learns it here, in that very tick.

/** @type {WeakSet<object>} */
const leaving = new WeakSet();

/** @type {WeakMap<object, Set<() => void>>} */
const watchers = new WeakMap();

/**
 * The terminator's servers are about to go.
 *
 * @param {object} terminator
 */
function leave(terminator) {
  if (leaving.has(terminator)) return;
  leaving.add(terminator);
  for (const watcher of watchers.get(terminator) ?? []) watcher();
  watchers.delete(terminator);
}

/**
 * Calls back when the terminator's servers are about to go, once, or at once if they are already.
 *
 * @param {object} terminator
 * @param {() => void} watcher must not throw
 * @returns {() => void} takes it back
 */
function whenLeaving(terminator, watcher) {
  if (leaving.has(terminator)) {
    watcher();
    return () => {};
  }
  const all = watchers.get(terminator) ?? new Set();
  watchers.set(terminator, all);
  all.add(watcher);
  return () => {
    all.delete(watcher);
  };
}

module.exports = { leave, whenLeaving };
