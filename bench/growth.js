// How the cost of ending a server grows with the number of idle connections to it.

const { endWithConnections } = require('./idle-connections');
const { OURS, floor } = require('./libraries');
const { connectionsAllowed } = require('./open-files');
const { progress } = require('./progress');
const { median, rotated, straightLine } = require('./statistics');

/** The smallest are at the beginning of the picture; those between the largest show whether the line bends. */
const CONNECTIONS = [10, 100, 1000, 4000, 7000, 10_000, 13_000, 16_000];
const QUICK_CONNECTIONS = [10, 100, 500, 1000];
const ROUNDS = 3;

const KINDS = { milliseconds: 'Time', cpuMilliseconds: 'Processor time' };
const variants = [floor.name, OURS];

async function measure({ quick }) {
  const rounds = quick ? 1 : ROUNDS;
  const sizes = [...new Set((quick ? QUICK_CONNECTIONS : CONNECTIONS).map(connectionsAllowed))];
  const runs = sizes.flatMap((connections) => variants.map((name) => ({ name, connections, endings: [] })));
  for (let round = 0; round < rounds; round += 1) {
    for (const { name, connections, endings } of rotated(runs, round)) {
      progress(`Growth: round ${round + 1} of ${rounds}, ${name}, ${connections} connections`);
      endings.push(await endWithConnections(name, connections));
    }
  }

  const curves = Object.entries(KINDS).map(([kind, title]) => ({
    kind,
    title: `${title} to end a server, by the number of its idle connections`,
    x: 'connections',
    y: 'milliseconds',
    series: variants.map((name) => curve(name, kind, runs)),
  }));
  const cells = ({ points }, connections) => {
    const milliseconds = median(points.find(({ x }) => x === connections).values);
    return [milliseconds.toFixed(1), ((milliseconds * 1000) / connections).toFixed(1)];
  };
  const columns = curves.flatMap(({ kind, series }) => series.map((one) => ({ ...one, kind })));
  return {
    title: 'How the cost of ending a server grows',
    columns: [
      'idle connections',
      ...columns.flatMap(({ name, kind }) => [
        `${name === OURS ? OURS : 'floor'}: ${KINDS[kind].toLowerCase()}, ms`,
        'us each',
      ]),
    ],
    rows: sizes.map((connections) => [connections, ...columns.flatMap((column) => cells(column, connections))]),
    notes: [
      `Medians of ${rounds} rounds side by side. The floor is ${floor.name}, which cuts everything.`,
      ...columns.map(({ name, kind, fit, points }) => describeFit(`${KINDS[kind]}, ${name}`, fit, points)),
    ],
    curves,
  };
}

function curve(name, kind, runs) {
  const points = runs
    .filter((run) => run.name === name)
    .map(({ connections, endings }) => ({ x: connections, values: endings.map((ending) => ending[kind]) }));
  return { name, points, fit: straightLine(points.map(({ x, values }) => ({ x, y: median(values) }))) };
}

function describeFit(what, { slope, intercept, explained }, points) {
  const distances = points.map(({ x, values }) => Math.abs(median(values) - intercept - slope * x));
  const fixed = `${intercept.toFixed(1)} ms and ${(slope * 1000).toFixed(1)} us for each connection`;
  return `${what}: ${fixed}; R² ${explained.toFixed(4)}, no median is further than ${Math.max(...distances).toFixed(1)} ms from this line.`;
}

module.exports = { measure };
