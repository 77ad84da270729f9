// Tells whoever wants to know how a termination goes: NODE_DEBUG=http-terminator prints a line for each
// phase, and the diagnostics channel `http-terminator:phase` publishes the same.

const diagnosticsChannel = require('node:diagnostics_channel');
const { debuglog, format } = require('node:util');

/** @typedef {import('../index').PhaseMessage} PhaseMessage */

const channel = diagnosticsChannel.channel('http-terminator:phase');
const debug = debuglog('http-terminator');

/** Whether anybody would hear; if not, nothing is gathered either. */
function isObserved() {
  return debug.enabled || channel.hasSubscribers;
}

/** @param {PhaseMessage} message */
function publish(message) {
  channel.publish(message);
  if (debug.enabled) debug('%s', line(message));
}

/** @param {PhaseMessage} message */
function line({ phase, server, stats, open }) {
  const address = server.address();
  const where = address === null || typeof address === 'string' ? (address ?? 'not listening') : `port ${address.port}`;
  const { connections, active, idle, upgraded, requests, tasks } = stats;
  const requestList = open.map(({ protocol, method, url }) => `${protocol} ${method ?? '(half a head)'} ${url ?? ''}`);
  return format(
    '%s (%s): %d connections (%d active, %d idle, %d upgraded), %d requests, %d tasks%s',
    phase,
    where,
    connections,
    active,
    idle,
    upgraded,
    requests,
    tasks,
    open.length > 0 ? `; still open: ${requestList.join(', ').trimEnd()}` : '',
  );
}

module.exports = { debug, isObserved, publish };
