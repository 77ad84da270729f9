// Measures this package beside its peers: `npm run bench`, which writes RESULTS.md and its pictures;
// `npm run bench -- import memory` prints some parts only. With `--quick` everything is measured too few times to
// say anything, to see that it can be; what that writes goes to target/bench.

const path = require('node:path');
const { parseArgs } = require('node:util');
const { describeMachine } = require('./machine');
const { progress } = require('./progress');
const { writeResults } = require('./results');
const { format } = require('./table');

const parts = {
  lost: () => require('./lost-requests'),
  request: () => require('./request-cost'),
  connection: () => require('./connection-cost'),
  idle: () => require('./idle-connections'),
  growth: () => require('./growth'),
  resolve: () => require('./last-byte'),
  memory: () => require('./memory'),
  import: () => require('./import-time'),
  install: () => require('./install'),
  native: () => require('./native-calls'),
  probes: () => require('./probe-latency'),
  teardown: () => require('./teardown'),
};

main(parseArgs({ allowPositionals: true, options: { quick: { type: 'boolean', default: false } } }));

/** @param {{ values: { quick: boolean }, positionals: string[] }} asked */
async function main({ values: { quick }, positionals: chosen }) {
  const unknown = chosen.filter((name) => !Object.hasOwn(parts, name));
  if (unknown.length > 0) {
    console.error(`No such part: ${unknown.join(', ')}. There are ${Object.keys(parts).join(', ')}.`);
    process.exitCode = 1;
    return;
  }
  const startedAt = performance.now();
  console.log(`${describeMachine()}\n`);
  /** @type {import('./results').Part[]} */
  const measured = [];
  for (const name of chosen.length > 0 ? chosen : Object.keys(parts)) {
    const tables = [await parts[name]().measure({ quick })].flat();
    progress('');
    for (const table of tables) console.log(`${format(table)}\n`);
    measured.push({ name, tables });
  }
  const seconds = Math.round((performance.now() - startedAt) / 1000);
  console.log(`Measured in ${seconds} s.`);
  // Figures of several runs are not comparable, so a run of some parts leaves the written ones alone.
  if (chosen.length > 0) return;
  const directory = quick ? path.join(__dirname, '..', 'target', 'bench') : __dirname;
  console.log(`Written: ${path.relative(process.cwd(), writeResults(directory, measured, seconds))}`);
}
