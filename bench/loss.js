// Ends busy servers in every way that clients may be connected to them, and counts what the clients lose: `npm run bench:loss`,
// or `npm run bench:loss -- --terminations 5 keep-alive-15 balancer-100` for some scenarios and a shorter run.

const { parseArgs } = require('node:util');
const { measureScenario, scenarios } = require('./lost-requests');
const { describeMachine } = require('./machine');
const { progress } = require('./progress');
const { format } = require('./table');

const TERMINATIONS = '20';

main(parseArgs({ allowPositionals: true, options: { terminations: { type: 'string', default: TERMINATIONS } } }));

async function main({ values, positionals: chosen }) {
  const terminations = Number(values.terminations);
  const unknown = chosen.filter((name) => !Object.hasOwn(scenarios, name));
  if (unknown.length > 0 || !Number.isInteger(terminations) || terminations < 1) {
    console.error('node bench/loss.js [--terminations <1 or more>] [scenario...]\n\nScenarios:');
    for (const [name, { title }] of Object.entries(scenarios)) console.error(`  ${name}: ${title}`);
    process.exitCode = 1;
    return;
  }
  const startedAt = performance.now();
  console.log(`${describeMachine()}\n`);
  for (const name of chosen.length > 0 ? chosen : Object.keys(scenarios)) {
    const table = await measureScenario(name, terminations);
    progress('');
    console.log(`${format(table)}\n`);
  }
  console.log(`Measured in ${Math.round((performance.now() - startedAt) / 1000)} s.`);
}
