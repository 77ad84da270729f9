// What it takes a test suite to end its server after each test, when the client keeps its connection: 200 cycles
// of create, listen, request, end. And once more with a connection that was opened and never used, as browsers and
// pools do.

const { start } = require('./child');
const { OURS, floor, libraries } = require('./libraries');
const { progress } = require('./progress');
const { median, rotated, sum } = require('./statistics');
const { spread } = require('./table');

const ROUNDS = 4;
const CYCLES = 50;
const WARM_UP_CYCLES = 5;

/** Fewer, since some libraries take a second for each. */
const CYCLES_WITH_UNUSED_CONNECTION = 5;

const variants = [floor, ...libraries].map(({ name }) => name);

async function measure({ quick }) {
  const rounds = quick ? 1 : ROUNDS;
  /** @type {Map<string, { whole: number[], end: number[], endWithUnused: number[], cpu: number[] }>} in milliseconds */
  const measured = new Map(variants.map((name) => [name, { whole: [], end: [], endWithUnused: [], cpu: [] }]));
  for (let round = 0; round < rounds; round += 1) {
    for (const library of rotated(variants, round)) {
      progress(`Teardown: round ${round + 1} of ${rounds}, ${library}`);
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
  const byLibrary = (times) =>
    Object.fromEntries(libraries.map(({ name }) => [name, spread(times(measured.get(name)))]));
  return {
    title: `${rounds * CYCLES} cycles of create, listen, request, end with a client that keeps its connection`,
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
        ...[whole, end].flatMap((times) => [median(times).toFixed(2), quartilesOf(times)]),
        median(cpu).toFixed(2),
        median(endWithUnused).toFixed(1),
      ];
    }),
    notes: [
      `Medians of cycles in ${rounds} rounds side by side, each library in processes of its own, server and client in one.`,
      `Plain Node is server.close(), which closes idle connections since version 19, and closeAllConnections() after a second;`,
      `${floor.name} is both at once, and cuts everything. Processor time is of whole cycles. Unused: a further connection`,
      `on which nothing was sent, in ${rounds * CYCLES_WITH_UNUSED_CONNECTION} cycles.`,
      `${OURS} resolves three turns of the event loop after its end, when nothing of it is left for a test runner to find.`,
    ],
    figures: [
      { title: 'cycle of create, listen, request, end: its end, ms', digits: 2, values: byLibrary(({ end }) => end) },
      {
        title: 'the same with a connection that was never used, ms',
        digits: 1,
        values: byLibrary(({ endWithUnused }) => endWithUnused),
      },
    ],
  };
}

/** @param {number[]} values */
function quartilesOf(values) {
  const { low, high } = spread(values);
  return `${low.toFixed(2)} to ${high.toFixed(2)}`;
}

module.exports = { measure };
