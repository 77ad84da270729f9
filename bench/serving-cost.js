// The processor time that a server spends per request, with each library attached and with none.
//
// Each server has a process of its own: in a shared one, what one library does to the shape of sockets
// and to the code that V8 makes for all would be paid for by the others. Servers are measured in pairs,
// of which one is without a library and both have served equally many requests. Processes differ by
// chance too, so pairs are started anew a few times; and one is of two servers without a library: what
// the second costs over the first is noise.

const { start } = require('./child');
const { BARE, OURS, libraries } = require('./libraries');
const { progress } = require('./progress');
const { median, quantile, rotated } = require('./statistics');
const { quartiles, signed, spread, verdict } = require('./table');

const BUDGET_PERCENT = 2;
const QUICK = { processes: 1, rounds: 2, warmUpRequests: 500 };

/** Half of the cheapest quarter of rounds is cheaper than this. */
const CHEAPEST_QUARTER = 0.125;

/** @typedef {{ name: string, library: string | null }} Variant */

/** @type {Variant[]} */
const variants = libraries.map(({ name }) =>
  name === BARE ? { name: `${BARE}, again`, library: null } : { name, library: name },
);

/**
 * @param {object} plan
 * @param {string} plan.title
 * @param {string} plan.figure what it is called beside others
 * @param {boolean} plan.quick
 * @param {number} plan.processes how often the processes are started anew
 * @param {number} plan.rounds for each of them
 * @param {number} plan.requests in a round
 * @param {number} plan.warmUpRequests in each process, before the first round
 * @param {number} plan.connections at a time
 * @param {'requestsOnOpenConnections' | 'requestsOnNewConnections'} plan.command
 */
async function measureServingCost({ quick, ...whole }) {
  const plan = quick ? { ...whole, ...QUICK } : whole;
  /** @type {Map<string, { bare: number, own: number }[]>} in microseconds per request */
  const costs = new Map(variants.map(({ name }) => [name, []]));
  for (let turn = 0; turn < plan.processes; turn += 1) {
    for (const variant of rotated(variants, turn)) {
      progress(`${plan.title}: processes ${turn + 1} of ${plan.processes}, ${variant.name}`);
      costs.get(variant.name).push(...(await measurePair(plan, variant)));
    }
  }
  return table(plan, costs);
}

/**
 * @param {object} plan
 * @param {Variant} variant
 */
async function measurePair(plan, variant) {
  const bare = await startServing(plan, null);
  const own = await startServing(plan, variant.library);
  for (const serving of [bare, own]) await costPerRequest(plan, serving, plan.warmUpRequests);
  const costs = [];
  for (let round = 0; round < plan.rounds; round += 1) {
    const cost = new Map();
    for (const serving of rotated([bare, own], round)) cost.set(serving, await costPerRequest(plan, serving));
    costs.push({ bare: cost.get(bare), own: cost.get(own) });
  }
  for (const { server, client } of [bare, own]) {
    await client.end();
    await server.end();
  }
  return costs;
}

/**
 * A server and a client for it.
 *
 * @param {{ command: string, connections: number }} plan
 * @param {string | null} library
 * @param {string[]} [execArgv] options for Node
 */
async function startServing({ command, connections }, library, execArgv = []) {
  const server = start('server', execArgv);
  const client = start('wire-client');
  const port = await server.ask('listen', { library });
  if (command === 'requestsOnOpenConnections') await client.ask('connect', { port, connections });
  return { server, client, port };
}

async function costPerRequest({ command, connections, requests }, { server, client, port }, count = requests) {
  const before = await server.ask('cpuMicroseconds');
  await client.ask(command, { port, connections, requests: count });
  return ((await server.ask('cpuMicroseconds')) - before) / count;
}

function table({ title, figure, processes, rounds, requests, connections }, costs) {
  const overheads = (name) => costs.get(name).map(({ bare, own }) => (own / bare - 1) * 100);
  return {
    title,
    columns: ['', 'plain Node, us', 'with it, us', 'more, %', 'quartiles, %', 'undisturbed, %'],
    rows: [...costs].map(([name, pairs]) => [
      name,
      median(pairs.map(({ bare }) => bare)).toFixed(2),
      median(pairs.map(({ own }) => own)).toFixed(2),
      signed(median(overheads(name))),
      quartiles(overheads(name)),
      signed(undisturbed(pairs)),
    ]),
    notes: [
      `Processor time per request, user and system, of the server's process: medians of ${processes * rounds} pairs of rounds`,
      `of ${requests} requests, by ${connections} connections at a time. Plain Node over itself is noise.`,
      'Undisturbed: the cheapest quarter of rounds on either side, which spares them other work on the machine, but large',
      'garbage collections too.',
      verdict(`${OURS}, median`, median(overheads(OURS)), BUDGET_PERCENT, ' %'),
      verdict(`${OURS}, undisturbed`, undisturbed(costs.get(OURS)), BUDGET_PERCENT, ' %'),
    ],
    figures: [
      {
        title: figure,
        digits: 1,
        values: Object.fromEntries(libraries.map(({ name }, place) => [name, spread(overheads(variants[place].name))])),
      },
    ],
  };
}

/** @param {{ bare: number, own: number }[]} pairs */
function undisturbed(pairs) {
  const [bare, own] = ['bare', 'own'].map((side) =>
    quantile(
      pairs.map((pair) => pair[side]),
      CHEAPEST_QUARTER,
    ),
  );
  return (own / bare - 1) * 100;
}

module.exports = { measureServingCost, startServing };
