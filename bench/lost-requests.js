// Ending a busy server, whose clients never retry: what they lose. `npm run bench:loss` measures every
// scenario, `npm run bench` two of them, and shortly.

const { start } = require('./child');
const { OURS, libraries } = require('./libraries');
const { connectionsAllowed } = require('./open-files');
const { progress } = require('./progress');
const { median, rotated, sum } = require('./statistics');
const { spread } = require('./table');

/** A client that opens one connection after another may have two open for a moment. */
const CLIENTS = Math.floor(connectionsAllowed(200) / 2);
const SHORT_TERMINATIONS = 5;
const TIMEOUT_MS = 1000;

/** What has not ended so long after its time is up counts as never ending, and is killed. */
const OVERTIME_MS = 1000;

/** How long the server goes on accepting behind a balancer. */
const SHUTDOWN_DELAY_MS = 300;

/** Some libraries set a header that HTTP/2 does not have, of which Node warns each time. */
const SERVER_EXEC_ARGV = ['--no-warnings'];

/** Far longer than a client thinks: the server closes no connection by itself. */
const KEEP_ALIVE_TIMEOUT_MS = 60_000;

/**
 * @typedef {object} Variant
 * @property {string} name
 * @property {string} library
 * @property {object} [options] only this package has any here
 */

/** @type {Variant[]} */
const everyLibrary = libraries.map(({ name }) => ({ name, library: name }));

/** @type {Variant[]} */
const everyDrain = [
  ...everyLibrary,
  ...[0, 500].map((keepAliveDrainTimeout) => ({
    name: `${OURS}, keepAliveDrainTimeout: ${keepAliveDrainTimeout}`,
    library: OURS,
    options: { keepAliveDrainTimeout },
  })),
];

/**
 * @typedef {object} Scenario
 * @property {string} title
 * @property {'keep-alive' | 'new-connections' | 'http2'} clients how they are connected
 * @property {'http' | 'https' | 'http2'} protocol
 * @property {number} thinkMs what a client waits before each request, on average
 * @property {number} warmAfter the server is ended as soon as so many requests have been answered
 * @property {boolean} [balanced] whether a second server gets the new connections from the call on
 * @property {Variant[]} variants
 */

/** @type {Record<string, Scenario>} */
const scenarios = {
  'keep-alive-15': {
    title: 'connections kept open, 15 ms between requests',
    clients: 'keep-alive',
    protocol: 'http',
    thinkMs: 15,
    warmAfter: 1000,
    variants: everyDrain,
  },
  'keep-alive-100': {
    title: 'connections kept open, 100 ms between requests',
    clients: 'keep-alive',
    protocol: 'http',
    thinkMs: 100,
    warmAfter: 1000,
    variants: everyDrain,
  },
  'new-connections': {
    title: 'a new connection for each request, 15 ms between requests',
    clients: 'new-connections',
    protocol: 'http',
    thinkMs: 15,
    warmAfter: 1000,
    variants: everyLibrary,
  },
  http2: {
    title: 'HTTP/2 without TLS, one session for each client, 15 ms between requests',
    clients: 'http2',
    protocol: 'http2',
    thinkMs: 15,
    warmAfter: 1000,
    variants: everyLibrary,
  },
  'tls-keep-alive-15': {
    title: 'TLS, connections kept open, 15 ms between requests',
    clients: 'keep-alive',
    protocol: 'https',
    thinkMs: 15,
    warmAfter: 1000,
    variants: everyLibrary,
  },
  'tls-new-connections': {
    title: 'TLS, a new connection for each request, 15 ms between requests',
    clients: 'new-connections',
    protocol: 'https',
    thinkMs: 15,
    // Handshakes are most of the work here.
    warmAfter: 300,
    variants: everyLibrary,
  },
  'balancer-15': {
    title: `behind a layer 4 balancer, ${SHUTDOWN_DELAY_MS} ms of delay, connections kept open, 15 ms between requests`,
    clients: 'keep-alive',
    protocol: 'http',
    thinkMs: 15,
    warmAfter: 1000,
    balanced: true,
    variants: everyDrain,
  },
  'balancer-100': {
    title: `behind a layer 4 balancer, ${SHUTDOWN_DELAY_MS} ms of delay, connections kept open, 100 ms between requests`,
    clients: 'keep-alive',
    protocol: 'http',
    thinkMs: 100,
    warmAfter: 1000,
    balanced: true,
    variants: everyDrain,
  },
};

const SHORT_SCENARIOS = ['keep-alive-15', 'new-connections'];

async function measure({ quick }) {
  const tables = [];
  for (const name of SHORT_SCENARIOS) tables.push(await measureScenario(name, quick ? 1 : SHORT_TERMINATIONS));
  return tables;
}

/**
 * @param {string} name of a scenario
 * @param {number} rounds in each of which every variant is terminated once
 */
async function measureScenario(name, rounds) {
  const scenario = scenarios[name];
  /** @type {Map<Variant, Termination[]>} */
  const terminations = new Map(scenario.variants.map((variant) => [variant, []]));
  for (let round = 0; round < rounds; round += 1) {
    for (const variant of rotated(scenario.variants, round)) {
      progress(`Lost requests, ${name}: termination ${round + 1} of ${rounds}, ${variant.name}`);
      terminations.get(variant).push(await terminateUnderLoad(scenario, variant));
    }
  }
  return {
    title: `Ending a server under load: ${scenario.title}\n${CLIENTS} clients that never retry, ${rounds} terminations each`,
    columns: ['', 'served', 'lost', 'a termination', 'refused, safe to retry', 'time, ms', 'lost by'],
    rows: scenario.variants.map((variant) => row(variant, terminations.get(variant))),
    notes: notes(scenario),
    figures: [
      {
        title: `requests lost in a termination: ${scenario.title}`,
        digits: 1,
        values: byLibrary(terminations, (all) => ({ value: sum(all.map(lostIn)) / all.length })),
      },
      {
        title: 'the time that it took, ms',
        digits: 0,
        values: byLibrary(terminations, (all) => spread(all.map(({ milliseconds }) => milliseconds))),
      },
    ],
  };
}

/** @param {Scenario} scenario */
function notes({ clients, protocol, balanced }) {
  const waits = 'Each client waits before each POST, for a time that is distributed exponentially.';
  const connections = {
    'keep-alive': balanced
      ? 'When its connection has ended, or was told to, it goes on with a second server, until every first connection is gone.'
      : 'It stops when its connection has ended, or when an answer told it that it will.',
    'new-connections': 'It stops when a connection is refused.',
    http2: 'It stops when its session has ended, or when GOAWAY told it that it will.',
  }[clients];
  const lost = {
    http: 'Lost is what was sent on a connection that was established, and not answered whole.',
    https: 'Lost is what was sent, or had a connection that ended in the handshake, and was not answered whole.',
    http2: 'Lost is what was sent and not answered whole; a stream that was refused or never sent is safe to retry.',
  }[protocol];
  const delay = balanced
    ? ` after ${SHUTDOWN_DELAY_MS} ms of delay, which are its \`shutdownDelay\` or written by hand`
    : '';
  return [
    waits,
    connections,
    lost,
    `Every library has ${TIMEOUT_MS} ms${delay}. Time is the median from the call until the server has closed. Then its process exits.`,
  ];
}

/**
 * @param {Variant} variant
 * @param {Termination[]} terminations
 */
function row({ name }, terminations) {
  const lost = sumByCode(terminations.map((termination) => termination.lost));
  const lostInAll = sum(Object.values(lost));
  return [
    name,
    sum(terminations.map(({ served }) => served)),
    lostInAll,
    (lostInAll / terminations.length).toFixed(1),
    sum(terminations.map(({ refused }) => refused)),
    median(terminations.map(({ milliseconds }) => milliseconds)).toFixed(0),
    Object.entries(lost)
      .map(([code, count]) => `${count} ${code}`)
      .join(', '),
  ];
}

/**
 * This package as it is without options, and the others.
 *
 * @param {Map<Variant, Termination[]>} terminations
 * @param {(terminations: Termination[]) => import('./table').Spread} summary
 */
function byLibrary(terminations, summary) {
  const plain = [...terminations].filter(([{ name, library }]) => name === library);
  return Object.fromEntries(plain.map(([{ name }, all]) => [name, summary(all)]));
}

/** @param {Termination} termination */
function lostIn({ lost }) {
  return sum(Object.values(lost));
}

/** @typedef {{ served: number, refused: number, lost: Record<string, number>, milliseconds: number }} Termination */

/**
 * @param {Scenario} scenario
 * @param {Variant} variant
 * @param {number} [busy] how many requests have to be in flight, if any
 * @returns {Promise<Termination>}
 */
async function terminateUnderLoad(
  { clients: kind, protocol, thinkMs, warmAfter, balanced },
  { library, options },
  busy = 0,
) {
  const ownDelay = balanced && library === OURS ? { shutdownDelay: SHUTDOWN_DELAY_MS } : {};
  const delayMs = balanced && library !== OURS ? SHUTDOWN_DELAY_MS : 0;

  const startServer = () => start('server', SERVER_EXEC_ARGV);
  const children = [startServer(), start('requesting-clients'), ...(balanced ? [startServer()] : [])];
  const [server, clients, secondServer] = children;
  try {
    const listening = { protocol, timeout: TIMEOUT_MS, keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS };
    const port = await server.ask('listen', { ...listening, library, options: { ...options, ...ownDelay } });
    const secondPort = await secondServer?.ask('listen', { ...listening, library: null });
    await clients.ask('start', { kind, port, secure: protocol === 'https', thinkMs, clients: CLIENTS });
    await clients.ask('served', { requests: warmAfter });
    if (balanced) await clients.ask('moveTo', { port: secondPort });
    const withinMs = TIMEOUT_MS + SHUTDOWN_DELAY_MS + OVERTIME_MS;
    const { milliseconds } = await server.ask('terminate', { delayMs, withinMs, busy });
    // As deployed processes do. It also ends the clients of a server that a library has not ended.
    await server.end();
    const { served, refused, lost } = await clients.ask('stopped');
    return { served, refused, lost, milliseconds };
  } finally {
    await Promise.all(children.map((child) => child.end()));
  }
}

/** @param {Record<string, number>[]} counts */
function sumByCode(counts) {
  const total = {};
  for (const [code, count] of counts.flatMap(Object.entries)) total[code] = (total[code] ?? 0) + count;
  return total;
}

module.exports = { measure, measureScenario, scenarios, terminateUnderLoad };
