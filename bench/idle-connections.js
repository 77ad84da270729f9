// Ending a server that thousands of connections are open to, all of them idle; and then once more with
// one request in flight among them.

const { start } = require('./child');
const { OURS, floor, libraries } = require('./libraries');
const { connectionsAllowed } = require('./open-files');
const { progress } = require('./progress');
const { median, rotated } = require('./statistics');
const { verdict } = require('./table');

const CONNECTIONS = connectionsAllowed(8000);
const ROUNDS = 5;
const BUDGET_RATIO = 1.1;
const BUDGET_STALL_MS = 10;

/** How long after the call the request in flight is answered. */
const ANSWER_AFTER_MS = 50;

const variants = [floor, ...libraries].map(({ name }) => name);

async function measure() {
  /** @type {Map<string, { milliseconds: number, cpuMilliseconds: number, stallMilliseconds: number }[]>} */
  const endings = new Map(variants.map((name) => [name, []]));
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const name of rotated(variants, round)) {
      progress(`Idle connections: round ${round + 1} of ${ROUNDS}, ${name}`);
      endings.get(name).push(await endIdle(name));
    }
  }
  const answeredWhole = new Map();
  for (const name of variants) {
    progress(`Idle connections and a request in flight: ${name}`);
    answeredWhole.set(name, await endWithRequestInFlight(name));
  }

  const typical = (name, what) => median(endings.get(name).map((ending) => ending[what]));
  const ratio = (name) => median(endings.get(name).map((_, round) => ratioInRound(endings, name, round)));
  return {
    title: `Ending a server with ${CONNECTIONS} idle connections`,
    columns: ['', 'time, ms', 'over the floor', 'CPU, ms', 'longest stall, ms', 'request in flight'],
    rows: variants.map((name) => [
      name,
      typical(name, 'milliseconds').toFixed(0),
      `x ${ratio(name).toFixed(2)}`,
      typical(name, 'cpuMilliseconds').toFixed(0),
      typical(name, 'stallMilliseconds').toFixed(0),
      answeredWhole.get(name) ? 'answered whole' : 'cut',
    ]),
    notes: [
      `Medians of ${ROUNDS} rounds side by side, from the call until the server has closed. The floor is ${floor.name},`,
      'which cuts everything. A stall is how long nothing else was served. The request in flight is of another run.',
      verdict(`${OURS} over the floor`, ratio(OURS), BUDGET_RATIO, ' times'),
      verdict(`${OURS}, longest stall`, typical(OURS, 'stallMilliseconds'), BUDGET_STALL_MS, ' ms'),
    ],
  };
}

function ratioInRound(endings, name, round) {
  return endings.get(name)[round].milliseconds / endings.get(floor.name)[round].milliseconds;
}

/** @param {string} library */
async function endIdle(library) {
  const { server, clients } = await startWithIdleConnections(library);
  const ending = await server.ask('terminate');
  await clients.end();
  await server.end();
  return ending;
}

/** @param {string} library */
async function endWithRequestInFlight(library) {
  const { server, clients, port } = await startWithIdleConnections(library);
  await clients.ask('hold', { port });
  await server.ask('held');
  await server.ask('terminate', { answerAfterMs: ANSWER_AFTER_MS });
  const whole = await clients.ask('heldAnsweredWhole');
  await clients.end();
  await server.end();
  return whole;
}

/** @param {string} library */
async function startWithIdleConnections(library) {
  const server = start('server');
  const clients = start('idle-clients');
  const port = await server.ask('listen', { library });
  await clients.ask('open', { port, connections: CONNECTIONS });
  return { server, clients, port };
}

module.exports = { measure };
