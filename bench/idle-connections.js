// Ending a server that thousands of connections are open to: all of them idle, and with one request in flight among them.

const { start } = require('./child');
const { OURS, floor, floorInTurns, libraries } = require('./libraries');
const { connectionsAllowed } = require('./open-files');
const { progress } = require('./progress');
const { median, rotated } = require('./statistics');
const { spread, verdict } = require('./table');

const CONNECTIONS = 8000;
const ROUNDS = 11;
const ROUNDS_IN_FLIGHT = 5;
const BUDGET_RATIO = 1.1;
const BUDGET_STALL_MS = 10;

/** V8's own threads would take a processor from the server, by chance: a machine that has two shows that as stalls. */
const ONE_THREAD = ['--single-threaded'];

/** How long after the call the request in flight is answered. */
const ANSWER_AFTER_MS = 50;

/**
 * @typedef {object} Ending
 * @property {number} seenMilliseconds from the call until the last client has seen the end of its connection
 * @property {number} milliseconds from the call until the server has closed
 * @property {number} letGoMilliseconds from the call until Node has let go of its connections, too
 * @property {number} cpuMilliseconds of the server's process until then
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
  const overFloor = (name, what) => median(ratios(name, what));
  const timed = (name, what) => [typical(idle, name, what).toFixed(0), `x ${overFloor(name, what).toFixed(2)}`];
  const byLibrary = (values) => Object.fromEntries(libraries.map(({ name }) => [name, spread(values(name))]));
  return {
    title: `Ending a server with ${connections} idle connections`,
    columns: [
      '',
      'until clients have seen it, ms',
      'over the floor',
      'until closed, ms',
      'over the floor',
      'until let go, ms',
      'over the floor',
      'CPU, ms',
      'longest stall, ms',
      'with a request in flight: until closed, ms',
      'longest stall, ms',
      'which was',
    ],
    rows: variants.map((name) => [
      name,
      ...timed(name, 'seenMilliseconds'),
      ...timed(name, 'milliseconds'),
      ...timed(name, 'letGoMilliseconds'),
      typical(idle, name, 'cpuMilliseconds').toFixed(0),
      typical(idle, name, 'stallMilliseconds').toFixed(1),
      typical(inFlight, name, 'milliseconds').toFixed(0),
      typical(inFlight, name, 'stallMilliseconds').toFixed(1),
      inFlight.get(name).every(({ answeredWhole }) => answeredWhole) ? 'answered whole' : 'cut',
    ]),
    notes: [
      `Medians of ${rounds} rounds side by side, and of ${roundsInFlight} with a request in flight, which is answered ${ANSWER_AFTER_MS} ms after the call.`,
      'Times are from the call until the last client has seen the end of its connection, until the server has closed, and',
      `until Node has let go of sockets and parsers. The floor is ${floor.name}, which cuts everything in one turn`,
      'of the loop; in several turns, Node does before the last close what it leaves for later otherwise. A stall is how long',
      'nothing else was served. What keeps the connection of the request in flight open ends at the deadline of one second.',
      verdict(
        `${OURS} over the floor, until clients have seen it`,
        overFloor(OURS, 'seenMilliseconds'),
        BUDGET_RATIO,
        ' times',
      ),
      verdict(`${OURS} over the floor, until closed`, overFloor(OURS, 'milliseconds'), BUDGET_RATIO, ' times'),
      verdict(`${OURS} over the floor, until let go`, overFloor(OURS, 'letGoMilliseconds'), BUDGET_RATIO, ' times'),
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
        title: `${connections} idle connections: time until clients have seen it, over the floor, times`,
        digits: 2,
        values: byLibrary((name) => ratios(name, 'seenMilliseconds')),
      },
      {
        title: `${connections} idle connections: time until closed, over the floor, times`,
        digits: 2,
        values: byLibrary((name) => ratios(name, 'milliseconds')),
      },
      {
        title: `${connections} idle connections: time until let go, over the floor, times`,
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
  const clients = start('idle-clients', ONE_THREAD);
  const port = await server.ask('listen', { library });
  await clients.ask('open', { port, connections });
  if (requestInFlight) {
    await clients.ask('hold', { port });
    await server.ask('held');
  }
  const ending = await server.ask('terminate', { answerAfterMs: ANSWER_AFTER_MS });
  const ended = await clients.ask('ended');
  const answeredWhole = await clients.ask('heldAnsweredWhole');
  await clients.end();
  await server.end();
  return { ...ending, seenMilliseconds: ended - ending.startedAt, answeredWhole };
}

module.exports = { endWithConnections, measure };
