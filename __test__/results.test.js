// What `npm run bench` writes of what it has measured, here of figures that nobody has measured.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { it } = require('node:test');
const { BARE, OURS } = require('../bench/libraries');
const { writeResults } = require('../bench/results');
const { straightLine } = require('../bench/statistics');

const table = {
  title: 'Ending a server\nwith many connections',
  columns: ['', 'time, ms'],
  rows: [
    [BARE, 1.5],
    [OURS, '2 | 3'],
  ],
  notes: ['Of one round.'],
  figures: [
    { title: 'time to end, ms', digits: 1, values: { [BARE]: { value: 1.5 }, [OURS]: { value: 2, low: -1, high: 3 } } },
  ],
};

const curve = {
  title: 'How it grows',
  x: 'connections',
  y: 'milliseconds',
  series: [{ name: OURS, points: [10, 20].map((x) => ({ x, values: [x, x + 1] })), fit: straightLine(line(3, 2)) }],
};

it('writes every table, and shows in the overview who has the least', (test) => {
  const { document } = write(test, [{ name: 'idle', tables: [table] }]);
  assert.match(document, /^## Ending a server\n\nwith many connections\n\n`npm run bench -- idle`$/m);
  assert.match(document, /^\| http-terminator-native \| 2 \\\| 3 \|$/m);
  assert.match(document, /^\| time to end, ms \| \*\*1\.5\*\* \|(?: {2}\|){4} 2\.0 \| `npm run bench -- idle` \|$/m);
});

it('draws a picture for each table with figures, and each curve, and shows them', (test) => {
  const withoutFigures = { ...table, figures: undefined };
  const { document, directory } = write(test, [
    { name: 'idle', tables: [table, withoutFigures, { ...table, curves: [curve] }] },
  ]);
  const shown = [...document.matchAll(/!\[[^\]]+\]\((.+)\)/g)].map(([, file]) => file);
  assert.deepEqual(shown, ['results/idle.svg', 'results/idle-3.svg', 'results/idle-3-curve-1.svg']);
  assert.deepEqual(
    fs.readdirSync(path.join(directory, 'results')).toSorted(),
    shown.map((file) => path.basename(file)).toSorted(),
  );
  for (const file of shown) {
    assert.doesNotMatch(fs.readFileSync(path.join(directory, file), 'utf8'), /NaN|undefined|Infinity/);
  }
});

it('gives what is compared with others a table of its own', (test) => {
  const probes = { ...table, figures: [{ title: 'latency', digits: 0, values: { lightship: { value: 2 } } }] };
  const { document } = write(test, [{ name: 'probes', tables: [probes] }]);
  assert.match(document, /^\| {2}\| lightship \| command \|$/m);
});

it('fits a straight line', () => {
  assert.deepEqual(straightLine(line(3, 2)), { slope: 2, intercept: 3, explained: 1 });
});

function line(intercept, slope) {
  return [0, 1, 2, 3].map((x) => ({ x, y: intercept + slope * x }));
}

function write(test, parts) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'results-'));
  test.after(() => fs.rmSync(directory, { recursive: true }));
  return { directory, document: fs.readFileSync(writeResults(directory, parts, 60), 'utf8') };
}
