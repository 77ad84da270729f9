// Measures this package beside its peers: `npm run bench`, or `node bench/bench.js import memory` for
// some parts only.

const { describeMachine } = require('./machine');
const { progress } = require('./progress');
const { format } = require('./table');

const parts = {
  request: () => require('./request-cost'),
  connection: () => require('./connection-cost'),
  memory: () => require('./memory'),
  idle: () => require('./idle-connections'),
  lost: () => require('./lost-requests'),
  import: () => require('./import-time'),
  install: () => require('./install'),
  native: () => require('./native-calls'),
  probes: () => require('./probe-latency'),
  teardown: () => require('./teardown'),
};

main(process.argv.slice(2));

/** @param {string[]} chosen */
async function main(chosen) {
  const unknown = chosen.filter((name) => !Object.hasOwn(parts, name));
  if (unknown.length > 0) {
    console.error(`No such part: ${unknown.join(', ')}. There are ${Object.keys(parts).join(', ')}.`);
    process.exitCode = 1;
    return;
  }
  const startedAt = performance.now();
  console.log(`${describeMachine()}\n`);
  for (const name of chosen.length > 0 ? chosen : Object.keys(parts)) {
    const tables = [await parts[name]().measure()].flat();
    progress('');
    for (const table of tables) console.log(`${format(table)}\n`);
  }
  console.log(`Measured in ${Math.round((performance.now() - startedAt) / 1000)} s.`);
}
