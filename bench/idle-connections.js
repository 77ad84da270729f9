// Ending a server that thousands of connections are open to: all of them idle, and with one request in flight among them.

const { start } = require('./child');
const { OURS, floor, floorInTurns, libraries } = require('./libraries');
const { connectionsAllowed } = require('./open-files');
const { progress } = require('./progress');
const { median, rotated } = require('./statistics');
const { spread, verdict } = require('./table');

const CONNECTIONS = 8000;
const ROUNDS = 5;
const ROUNDS_IN_FLIGHT = 3;
const BUDGET_RATIO = 1.1;
const BUDGET_STALL_MS = 10;

/** How long after the call the request in flight is answered. */
const ANSWER_AFTER_MS = 50;

/**
 * @typedef {object} Ending
 * @property {number} milliseconds from the call until the server has closed
 * @property {number} letGoMilliseconds from the call until Node has let go of its connections, too
 * @property {number} cpuMilliseconds until then
 * @property {number} stallMilliseconds the longest turn of the event loop
 * @property {boolean} answeredWhole whether the request in flight was, if there was one
 */

const variants = [floor, floorInTurns, ...libraries].map(({ name }) => name);

async function measure({ quick }) {
  const connections = connectionsAllowed(quick ? CONNECTIONS / 10 : CONNECTIONS);
  const rounds = quick ? 1 : ROUNDS;
  const roundsInFlight = quick ? 1 : ROUNDS_IN_FLIGHT;
  const idle = await endAll(connections, rounds, false);
  const inFlight = await endAll(connections, roundsInFlight, true);

  const all = (endings, name, what) => endings.get(name).map((ending) => ending[what]);
  const typical = (endings, name, what) => median(all(endings, name, what));
  const ratios = (name, what) => all(idle, name, what).map((value, round) => value / idle.get(floor.name)[round][what]);
  const byLibrary = (values) => Object.fromEntries(libraries.map(({ name }) => [name, spread(values(name))]));
  return {
    title: `Ending a server with ${connections} idle connections`,
    columns: [
      '',
      'time, ms',
      'over the floor',
      'until all is let go, ms',
      'over the floor',
      'CPU, ms',
      'longest stall, ms',
      'with a request in flight: time, ms',
      'longest stall, ms',
      'which was',
    ],
    rows: variants.map((name) => [
      name,
      typical(idle, name, 'milliseconds').toFixed(0),
      `x ${median(ratios(name, 'milliseconds')).toFixed(2)}`,
      typical(idle, name, 'letGoMilliseconds').toFixed(0),
      `x ${median(ratios(name, 'letGoMilliseconds')).toFixed(2)}`,
      typical(idle, name, 'cpuMilliseconds').toFixed(0),
      typical(idle, name, 'stallMilliseconds').toFixed(1),
      typical(inFlight, name, 'milliseconds').toFixed(0),
      typical(inFlight, name, 'stallMilliseconds').toFixed(1),
      inFlight.get(name).every(({ answeredWhole }) => answeredWhole) ? 'answered whole' : 'cut',
    ]),
    notes: [
      `Medians of ${rounds} rounds side by side, and of ${roundsInFlight} with a request in flight, which is answered ${ANSWER_AFTER_MS} ms after the call.`,
      `Time is from the call until the server has closed, and then until Node has let go of the sockets and parsers, which`,
      `keeps the event loop busy. The floor is ${floor.name}, which cuts everything in one turn; in several turns, Node`,
      'does before the last close what it leaves for later otherwise. A stall is how long nothing else was served. What',
      'keeps the connection of the request in flight open ends at the deadline of one second.',
      verdict(`${OURS} over the floor, until closed`, median(ratios(OURS, 'milliseconds')), BUDGET_RATIO, ' times'),
      verdict(`${OURS}, until all is let go`, median(ratios(OURS, 'letGoMilliseconds')), BUDGET_RATIO, ' times'),
      verdict(`${OURS}, longest stall`, typical(idle, OURS, 'stallMilliseconds'), BUDGET_STALL_MS, ' ms'),
      verdict(
        `${OURS}, longest stall with a request in flight`,
        typical(inFlight, OURS, 'stallMilliseconds'),
        BUDGET_STALL_MS,
        ' ms',
      ),
    ],
    figures: [
      {
        title: `${connections} idle connections: time over the floor, times`,
        digits: 2,
        values: byLibrary((name) => ratios(name, 'milliseconds')),
      },
      {
        title: `${connections} idle connections: time until all is let go, over the floor, times`,
        digits: 2,
        values: byLibrary((name) => ratios(name, 'letGoMilliseconds')),
      },
      {
        title: `${connections} idle connections: longest stall, ms`,
        digits: 1,
        values: byLibrary((name) => all(idle, name, 'stallMilliseconds')),
      },
      {
        title: 'the same while a request is in flight, ms',
        digits: 1,
        values: byLibrary((name) => all(inFlight, name, 'stallMilliseconds')),
      },
    ],
  };
}

/**
 * @param {number} connections
 * @param {number} rounds
 * @param {boolean} requestInFlight
 * @returns {Promise<Map<string, Ending[]>>}
 */
async function endAll(connections, rounds, requestInFlight) {
  const endings = new Map(variants.map((name) => [name, []]));
  for (let round = 0; round < rounds; round += 1) {
    for (const name of rotated(variants, round)) {
      const among = requestInFlight ? ' and a request in flight' : '';
      progress(`Idle connections${among}: round ${round + 1} of ${rounds}, ${name}`);
      endings.get(name).push(await endWithConnections(name, connections, requestInFlight));
    }
  }
  return endings;
}

/**
 * @param {string} library
 * @param {number} connections that are idle
 * @param {boolean} [requestInFlight] on one more
 * @returns {Promise<Ending>}
 */
async function endWithConnections(library, connections, requestInFlight = false) {
  const server = start('server');
  const clients = start('idle-clients');
  const port = await server.ask('listen', { library });
  await clients.ask('open', { port, connections });
  if (requestInFlight) {
    await clients.ask('hold', { port });
    await server.ask('held');
  }
  const ending = await server.ask('terminate', { answerAfterMs: ANSWER_AFTER_MS });
  const answeredWhole = await clients.ask('heldAnsweredWhole');
  await clients.end();
  await server.end();
  return { ...ending, answeredWhole };
}

module.exports = { endWithConnections, measure };
