const { execFileSync } = require('node:child_process');

/** What a process has open besides connections: its libraries, pipes and event loop. */
const OPENED_BY_NODE = 200;

/**
 * As many connections as wanted, or as the limit of open files allows. Where no shell tells the limit,
 * there is none to speak of.
 *
 * @param {number} wanted
 */
function connectionsAllowed(wanted) {
  if (process.platform === 'win32') return wanted;
  const limit = Number(execFileSync('sh', ['-c', 'ulimit -n'], { encoding: 'utf8' }));
  return Number.isNaN(limit) ? wanted : Math.min(wanted, limit - OPENED_BY_NODE);
}

module.exports = { connectionsAllowed };
