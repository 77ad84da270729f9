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

const CONNECTIONS = connectionsAllowed(8000);

/** What the first ones make a process load and compile stays, and is no connection's. */
const UNCOUNTED = CONNECTIONS >> 4;
const COUNTED = CONNECTIONS - UNCOUNTED;

const ROUNDS = 2;
const BUDGET_BYTES = 300;

async function measure() {
  /** @type {Map<string, { javascript: number, resident: number }[]>} in bytes per connection */
  const memory = new Map(libraries.map(({ name }) => [name, []]));
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const [name, measured] of memory) {
      progress(`Memory: round ${round + 1} of ${ROUNDS}, ${name}`);
      measured.push(await memoryPerConnection(name === BARE ? null : name));
    }
  }
  const typical = (name, kind) => median(memory.get(name).map((bytes) => bytes[kind]));
  const own = (name, kind) => typical(name, kind) - typical(BARE, kind);
  return {
    title: `Memory of a connection, ${CONNECTIONS} idle ones open`,
    columns: ['bytes per connection', 'JavaScript', 'over plain Node', 'process', 'over plain Node'],
    rows: libraries.map(({ name }) => [
      name,
      ...['javascript', 'resident'].flatMap((kind) => [
        typical(name, kind).toFixed(0),
        name === BARE ? '' : signed(own(name, kind), 0),
      ]),
    ]),
    notes: [
      `JavaScript: heapUsed and external after collection, against the same process without connections; medians of ${ROUNDS}.`,
      'Process: its resident size, in which a difference of some hundred bytes per connection is noise.',
      verdict(OURS, own(OURS, 'javascript'), BUDGET_BYTES, ' bytes'),
    ],
  };
}

/** @param {string | null} library */
async function memoryPerConnection(library) {
  const server = start('server', ['--expose-gc']);
  const clients = start('idle-clients');
  const port = await server.ask('listen', { library });
  await clients.ask('open', { port, connections: UNCOUNTED });
  const before = await server.ask('memory');
  await clients.ask('open', { port, connections: COUNTED });
  const after = await server.ask('memory');
  await clients.end();
  await server.end();
  return {
    javascript: (after.javascript - before.javascript) / COUNTED,
    resident: (after.resident - before.resident) / COUNTED,
  };
}

module.exports = { measure };
