// In a cluster it is the primary that accepts connections, and hands them to its workers.

/** Nothing can be bound there, as a device has no entries. */
const NOWHERE = '/dev/null/none';

/**
 * Tells when everything has come that the primary has handed to this worker before it knew that a listener has closed. Node gives
 * back what comes too late, and the primary hands it to another worker. But it does so as long as the process lives: what is
 * on its way when that exits is neither answered nor closed.
 *
 * @returns {Promise<void> | null} null if no primary accepts for this process
 */
function whenPrimaryKnows() {
  // On Windows each worker accepts by itself.
  if (!process.connected || process.platform === 'win32') return null;
  const cluster = /** @type {import('node:cluster').Cluster} */ (/** @type {unknown} */ (require('node:cluster')));
  if (!cluster.isWorker) return null;
  const net = require('node:net');
  return new Promise((resolve) => {
    const settle = () => {
      process.removeListener('disconnect', settle);
      resolve();
    };
    process.once('disconnect', settle);
    // The primary is asked to listen where it can't, and says so behind all that it has sent before.
    const listener = net.createServer();
    listener.once('error', settle);
    listener.once('listening', () => listener.close(settle));
    listener.listen(NOWHERE);
  });
}

module.exports = { whenPrimaryKnows };
