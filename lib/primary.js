// In a cluster it is the primary that accepts connections, and hands them to its workers.

/** Nothing can be bound there, as a device has no entries. */
const NOWHERE = '/dev/null';

/** How often the primary was asked: it takes the same question twice, from whomever, for one. */
let asked = 0;

/**
 * Those who wait for an answer.
 *
 * @type {Set<() => void>}
 */
const waiting = new Set();

/**
 * Tells when everything has come that the primary has handed to this worker before it knew that a listener has closed. Node gives
 * back what comes too late, and the primary hands it to another worker. But it does so as long as the process lives: what is
 * on its way when that exits is neither answered nor closed.
 *
 * Call it when the listener has closed.
 *
 * @returns {Promise<void>}
 */
function whenPrimaryKnows() {
  const net = require('node:net');
  return new Promise((resolve) => {
    const settle = () => {
      waiting.delete(settle);
      if (waiting.size === 0) process.removeListener('disconnect', disconnected);
      resolve();
    };
    if (waiting.size === 0) process.on('disconnect', disconnected);
    waiting.add(settle);
    asked += 1;
    // The primary is asked to listen where it can't, and says so behind all that it has sent before.
    const listener = net.createServer();
    listener.once('error', settle);
    listener.once('listening', () => listener.close(settle));
    listener.listen(`${NOWHERE}/${process.pid}/${asked}`);
  });
}

/** There is nobody any more to answer. */
function disconnected() {
  for (const settle of waiting) settle();
}

module.exports = { whenPrimaryKnows };
