// What it takes a test suite to end its server after each test, when the client keeps its connection: 200 cycles
// of create, listen, request, end. And once more with a connection that was opened and never used, as browsers and
// pools do.

const { start } = require('./child');
const { OURS, floor, libraries } = require('./libraries');
const { progress } = require('./progress');
const { median, quantile, rotated, sum } = require('./statistics');

const ROUNDS = 4;
const CYCLES = 50;
const WARM_UP_CYCLES = 5;

/** Fewer, since some libraries take a second for each. */
const CYCLES_WITH_UNUSED_CONNECTION = 5;

const variants = [floor, ...libraries].map(({ name }) => name);

async function measure() {
  /** @type {Map<string, { whole: number[], end: number[], endWithUnused: number[], cpu: number[] }>} in milliseconds */
  const measured = new Map(variants.map((name) => [name, { whole: [], end: [], endWithUnused: [], cpu: [] }]));
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const library of rotated(variants, round)) {
      progress(`Teardown: round ${round + 1} of ${ROUNDS}, ${library}`);
      const child = start('teardown', ['--no-warnings']);
      await child.ask('cycles', { library, cycles: WARM_UP_CYCLES });
      const { times, cpuMilliseconds } = await child.ask('cycles', { library, cycles: CYCLES });
      const withUnused = await child.ask('cycles', {
        library,
        cycles: CYCLES_WITH_UNUSED_CONNECTION,
        withUnusedConnection: true,
      });
      await child.end();
      const { whole, end, endWithUnused, cpu } = measured.get(library);
      whole.push(...times.map((cycle) => cycle.whole));
      end.push(...times.map((cycle) => cycle.end));
      endWithUnused.push(...withUnused.times.map((cycle) => cycle.end));
      cpu.push(cpuMilliseconds / CYCLES);
    }
  }
  return {
    title: `${ROUNDS * CYCLES} cycles of create, listen, request, end with a client that keeps its connection`,
    columns: [
      '',
      'all, ms',
      'a cycle, ms',
      'quartiles',
      'its end, ms',
      'quartiles',
      'CPU, ms',
      'end with an unused one, ms',
    ],
    rows: variants.map((name) => {
      const { whole, end, endWithUnused, cpu } = measured.get(name);
      return [
        name,
        sum(whole).toFixed(0),
        ...[whole, end].flatMap((times) => [median(times).toFixed(2), spread(times)]),
        median(cpu).toFixed(2),
        median(endWithUnused).toFixed(1),
      ];
    }),
    notes: [
      `Medians of cycles in ${ROUNDS} rounds side by side, each library in processes of its own, server and client in one.`,
      `Plain Node is server.close(), which closes idle connections since version 19, and closeAllConnections() after a second;`,
      `${floor.name} is both at once, and cuts everything. Processor time is of whole cycles. Unused: a further connection`,
      `on which nothing was sent, in ${ROUNDS * CYCLES_WITH_UNUSED_CONNECTION} cycles.`,
      `${OURS} resolves three turns of the event loop after its end, when nothing of it is left for a test runner to find.`,
    ],
  };
}

/** @param {number[]} values */
function spread(values) {
  return [0.25, 0.75].map((share) => quantile(values, share).toFixed(2)).join(' to ');
}

module.exports = { measure };
