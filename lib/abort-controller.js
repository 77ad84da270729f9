// The signals by which handlers and tasks hear that the end has begun.

const { setMaxListeners } = require('node:events');

/** Whose signal as many may listen to as like: each event stream does, and each request that is long. */
function createAbortController() {
  const controller = new AbortController();
  try {
    setMaxListeners(0, controller.signal);
  } catch {
    // Not Node's own: test runners that imitate a browser replace it by one that never warns of many listeners.
  }
  return controller;
}

exports.createAbortController = createAbortController;
