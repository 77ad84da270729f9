// The processor time that a server spends per request, with each library attached and with none.
//
// Each server has a process of its own: in a shared one, what one library does to the shape of sockets
// and to the code that V8 makes for all would be paid for by the others. The servers of a group, one for each
// library, take turns, and all have served equally many requests. Processes differ by chance, too, so groups are
// started anew many times. Two of them have no library.
//
// They are measured when V8 has given young objects all the space that it gives them. While that grows, by steps in the
// first ten thousand requests or so, what a request costs depends on when a process took which step, and one that has
// loaded more takes them at other times: with nothing listened to at all it differs by up to 5 % then (`--trace-gc` shows
// the steps).

const { sharingOneProcessor, start } = require('./child');
const { BARE, OURS, libraries } = require('./libraries');
const { progress } = require('./progress');
const { median, quantile, rotated } = require('./statistics');
const { quartiles, signed, spread, verdict } = require('./table');

const BARE_AGAIN = `${BARE}, again`;
const BUDGET_PERCENT = 2;
const QUICK = { groups: 1, warmUpRounds: 1, rounds: 2 };

/** Of rounds. It spares them other work on the machine, and the larger garbage collections. */
const UNDISTURBED = 0.25;

/** @typedef {{ name: string, library: string | null }} Variant */

/** @typedef {{ server: ReturnType<typeof start>, client: ReturnType<typeof start>, port: number }} Serving */

/** @type {Variant[]} */
const variants = [
  { name: BARE, library: null },
  { name: BARE_AGAIN, library: null },
  ...libraries.filter(({ name }) => name !== BARE).map(({ name }) => ({ name, library: name })),
];

/**
 * @param {object} plan
 * @param {string} plan.title
 * @param {string} plan.figure what it is called beside others
 * @param {boolean} plan.quick
 * @param {number} plan.groups how often the processes are started anew
 * @param {number} plan.warmUpRounds in each process, until its heap has grown
 * @param {number} plan.rounds after these
 * @param {number} plan.requests in a round
 * @param {number} plan.connections at a time
 * @param {'requestsOnOpenConnections' | 'requestsOnNewConnections'} plan.command
 */
async function measureServingCost({ quick, ...whole }) {
  const plan = { ...whole, ...(quick ? QUICK : {}), launcher: sharingOneProcessor() };
  /** @type {Map<string, number>[]} in microseconds per request */
  const groups = [];
  while (groups.length < plan.groups) {
    progress(`${plan.title}: group ${groups.length + 1} of ${plan.groups}`);
    groups.push(await measureGroup(plan));
  }
  return table(plan, groups);
}

async function measureGroup(plan) {
  const servings = [];
  for (const { library } of variants) servings.push(await startServing(plan, library, [], plan.launcher));
  /** @type {Map<Serving, number[]>} */
  const costs = new Map(servings.map((serving) => [serving, []]));
  // They take turns from the beginning: V8 takes back memory and code from who is idle for seconds.
  for (let round = -plan.warmUpRounds; round < plan.rounds; round += 1) {
    for (const serving of rotated(servings, plan.warmUpRounds + round)) {
      const cost = await costPerRequest(plan, serving);
      if (round >= 0) costs.get(serving).push(cost);
    }
  }
  for (const { server, client } of servings) {
    await client.end();
    await server.end();
  }
  return new Map(variants.map(({ name }, place) => [name, quantile(costs.get(servings[place]), UNDISTURBED)]));
}

/**
 * A server and a client for it.
 *
 * @param {{ command: string, connections: number }} plan
 * @param {string | null} library
 * @param {string[]} [execArgv] options for Node
 * @param {readonly string[]} [launcher]
 */
async function startServing({ command, connections }, library, execArgv = [], launcher = []) {
  const server = start('server', execArgv, launcher);
  const client = start('wire-client', [], launcher);
  const port = await server.ask('listen', { library });
  if (command === 'requestsOnOpenConnections') await client.ask('connect', { port, connections });
  return { server, client, port };
}

async function costPerRequest({ command, connections, requests }, { server, client, port }) {
  const before = await server.ask('cpuMicroseconds');
  await client.ask(command, { port, connections, requests });
  return ((await server.ask('cpuMicroseconds')) - before) / requests;
}

function table({ title, figure, groups: count, rounds, requests, connections, launcher }, groups) {
  const costs = (name) => groups.map((group) => group.get(name));
  /** @param {Map<string, number>} group */
  const bare = (group) => (group.get(BARE) + group.get(BARE_AGAIN)) / 2;
  const overheads = (name) => groups.map((group) => (group.get(name) / bare(group) - 1) * 100);
  return {
    title,
    columns: ['', 'us', 'more, %', 'quartiles, %'],
    rows: variants.map(({ name }) => [
      name,
      median(costs(name)).toFixed(2),
      signed(median(overheads(name))),
      quartiles(overheads(name)),
    ]),
    notes: [
      `Processor time per request, user and system, of the server's process: medians of ${count} groups of processes side by`,
      `side, and in each the lower quartile of ${rounds} rounds of ${requests} requests, by ${connections} connections at once. More is`,
      `over the mean of the two without a library; what these have over it is noise. ${
        launcher.length > 0
          ? 'Servers and clients take turns on one processor.'
          : 'Servers and clients are on whichever processor is free, which adds to it.'
      }`,
      verdict(OURS, median(overheads(OURS)), BUDGET_PERCENT, ' %'),
    ],
    figures: [
      {
        title: figure,
        digits: 1,
        values: Object.fromEntries(libraries.map(({ name }) => [name, spread(overheads(name))])),
      },
    ],
  };
}

module.exports = { measureServingCost, startServing };
