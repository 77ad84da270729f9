// What each library remembers of an idle connection.
//
// Memory of JavaScript is what V8 counts after a collection, and it is exact. Memory outside of it is seen only
// in the size of the process, where it drowns in the noise of thousands of sockets. This package has none there:
// its native part is told of connections when a termination begins.

const { start } = require('./child');
const { BARE, OURS, libraries } = require('./libraries');
const { connectionsAllowed } = require('./open-files');
const { progress } = require('./progress');
const { median } = require('./statistics');
const { signed, verdict } = require('./table');

const CONNECTIONS = 8000;

/** What the first ones make a process load and compile stays, and is no connection's. */
const UNCOUNTED_SHARE = 1 / 16;

const ROUNDS = 2;
const BUDGET_BYTES = 300;

async function measure({ quick }) {
  const connections = connectionsAllowed(quick ? CONNECTIONS / 10 : CONNECTIONS);
  const rounds = quick ? 1 : ROUNDS;
  /** @type {Map<string, { javascript: number, resident: number }[]>} in bytes per connection */
  const memory = new Map(libraries.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round += 1) {
    for (const [name, measured] of memory) {
      progress(`Memory: round ${round + 1} of ${rounds}, ${name}`);
      measured.push(await memoryPerConnection(name === BARE ? null : name, connections));
    }
  }
  const typical = (name, kind) => median(memory.get(name).map((bytes) => bytes[kind]));
  const own = (name, kind) => typical(name, kind) - typical(BARE, kind);
  return {
    title: `Memory of a connection, ${connections} idle ones open`,
    columns: ['bytes per connection', 'JavaScript', 'over plain Node', 'process', 'over plain Node'],
    rows: libraries.map(({ name }) => [
      name,
      ...['javascript', 'resident'].flatMap((kind) => [
        typical(name, kind).toFixed(0),
        name === BARE ? '' : signed(own(name, kind), 0),
      ]),
    ]),
    notes: [
      `JavaScript: heapUsed and external after collection, against the same process without connections; medians of ${rounds}.`,
      'Process: its resident size, in which a difference of some hundred bytes per connection is noise.',
      verdict(OURS, own(OURS, 'javascript'), BUDGET_BYTES, ' bytes'),
    ],
    figures: [
      {
        title: 'memory of JavaScript for a connection, over plain Node, bytes',
        digits: 0,
        values: Object.fromEntries(libraries.map(({ name }) => [name, { value: own(name, 'javascript') }])),
      },
    ],
  };
}

/**
 * @param {string | null} library
 * @param {number} connections
 * @param {string[]} [execArgv] options for Node
 */
async function memoryPerConnection(library, connections, execArgv = []) {
  const uncounted = Math.ceil(connections * UNCOUNTED_SHARE);
  const counted = connections - uncounted;
  const server = start('server', ['--expose-gc', ...execArgv]);
  const clients = start('idle-clients');
  const port = await server.ask('listen', { library });
  await clients.ask('open', { port, connections: uncounted });
  const before = await server.ask('memory');
  await clients.ask('open', { port, connections: counted });
  const after = await server.ask('memory');
  await clients.end();
  await server.end();
  return {
    javascript: (after.javascript - before.javascript) / counted,
    resident: (after.resident - before.resident) / counted,
  };
}

module.exports = { measure, memoryPerConnection };
