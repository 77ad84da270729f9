// Ending a busy server, whose clients never retry: what they lose.

const { start } = require('./child');
const { libraries } = require('./libraries');
const { progress } = require('./progress');
const { median, rotated, sum } = require('./statistics');

const CLIENTS = 100;
const TERMINATIONS = 5;
const TIMEOUT_MS = 1000;

/** The server is ended as soon as so many requests have been answered. */
const WARM_AFTER_REQUESTS = 1000;

const KEEP_ALIVE_TIMEOUT_MS = 5000;

async function measure() {
  const variants = libraries.flatMap(({ name }) => [true, false].map((keepAlive) => ({ name, keepAlive })));
  const terminations = new Map(variants.map((variant) => [variant, []]));
  for (let round = 0; round < TERMINATIONS; round += 1) {
    for (const variant of rotated(variants, round)) {
      progress(`Lost requests: termination ${round + 1} of ${TERMINATIONS}, ${variant.name}`);
      terminations.get(variant).push(await terminateUnderLoad(variant));
    }
  }
  return {
    title: `Ending a server under load: ${CLIENTS} clients that never retry, ${TERMINATIONS} terminations each`,
    columns: ['', 'clients', 'served', 'lost', 'a termination', 'time, ms', 'errors'],
    rows: variants
      .toSorted((left, right) => Number(right.keepAlive) - Number(left.keepAlive))
      .map((variant) => row(variant, terminations.get(variant))),
    notes: [
      'Clients keep their connection open or open a new one for each POST, and stop when they are refused. Lost is what',
      `was sent and not answered. Every library has ${TIMEOUT_MS} ms; time is the median from the call until the server has closed.`,
    ],
  };
}

function row({ name, keepAlive }, terminations) {
  const lost = sumByCode(terminations.map((termination) => termination.lost));
  const lostInAll = sum(Object.values(lost));
  return [
    name,
    keepAlive ? 'keep-alive' : 'new connections',
    sum(terminations.map(({ served }) => served)),
    lostInAll,
    (lostInAll / terminations.length).toFixed(1),
    median(terminations.map(({ milliseconds }) => milliseconds)).toFixed(0),
    Object.entries(lost)
      .map(([code, count]) => `${count} ${code}`)
      .join(', '),
  ];
}

async function terminateUnderLoad({ name, keepAlive }) {
  const server = start('server');
  const clients = start('requesting-clients');
  const port = await server.ask('listen', {
    library: name,
    timeout: TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
  });
  await clients.ask('start', { port, clients: CLIENTS, keepAlive });
  await clients.ask('served', { requests: WARM_AFTER_REQUESTS });
  const { milliseconds } = await server.ask('terminate');
  const { served, lost } = await clients.ask('stopped');
  await clients.end();
  await server.end();
  return { served, lost, milliseconds };
}

/** @param {Record<string, number>[]} counts */
function sumByCode(counts) {
  const total = {};
  for (const [code, count] of counts.flatMap(Object.entries)) total[code] = (total[code] ?? 0) + count;
  return total;
}

module.exports = { measure };
