// How long it takes to notice that nothing is left to wait for: from the last byte of the last answer until the server
// has closed. The client keeps its connection open for as long as it may.

const { start } = require('./child');
const { Http1Connection } = require('./http1-connection');
const { libraries } = require('./libraries');
const { progress } = require('./progress');
const { rotated, sum } = require('./statistics');
const { spread } = require('./table');

const ROUNDS = 10;
/** Enough for one library that waits for longer: its rounds end when so much has passed. */
const PATIENCE_MS = 12_000;

/** Node's own default. */
const KEEP_ALIVE_TIMEOUT_MS = 5_000;
const TIMEOUT_MS = 10_000;
const ANSWER_AFTER_MS = 50;

const SITUATIONS = {
  '/held': 'not begun',
  '/begun': 'begun',
};

async function measure({ quick }) {
  const rounds = quick ? 1 : ROUNDS;
  const runs = libraries.flatMap(({ name }) => Object.keys(SITUATIONS).map((path) => ({ name, path, waits: [] })));
  for (let round = 0; round < rounds; round += 1) {
    for (const { name, path, waits } of rotated(runs, round)) {
      if (sum(waits) >= PATIENCE_MS) continue;
      progress(`Last byte: round ${round + 1} of ${rounds}, ${name}, answer ${SITUATIONS[path]}`);
      waits.push(await waitAfterLastByte(name, path));
    }
  }
  const waitsOf = (library, situation) => runs.find(({ name, path }) => name === library && path === situation).waits;
  const shown = ({ value, low, high }) => [value.toFixed(1), `${low.toFixed(1)} to ${high.toFixed(1)}`];
  return {
    title: 'From the last byte of the last answer until the server has closed',
    columns: [
      '',
      ...Object.values(SITUATIONS).flatMap((answer) => [`answer ${answer}: ms`, 'quartiles', 'terminations']),
    ],
    rows: libraries.map(({ name }) => [
      name,
      ...Object.keys(SITUATIONS).flatMap((path) => {
        const waits = waitsOf(name, path);
        return [...shown(spread(waits)), waits.length];
      }),
    ]),
    notes: [
      'One request in flight, of a client that closes only when it is told to. Its answer has not begun when the server is told to',
      'end, or has: then its head can no longer say that the connection will close. Measured in the server, from the `finish` of',
      `the answer on. \`keepAliveTimeout\` is ${KEEP_ALIVE_TIMEOUT_MS} ms, as Node has it by default, to which newer ones add a second; the`,
      `deadline is ${TIMEOUT_MS} ms from the call. Whoever waits for one of them is shown with it, and measured less often.`,
    ],
    figures: Object.entries(SITUATIONS).map(([path, answer]) => ({
      title: `from the last byte of an answer that had ${answer} to the end, ms`,
      digits: 1,
      values: Object.fromEntries(libraries.map(({ name }) => [name, spread(waitsOf(name, path))])),
    })),
  };
}

/**
 * @param {string} library
 * @param {string} path
 * @returns {Promise<number>} in milliseconds
 */
async function waitAfterLastByte(library, path) {
  const server = start('server');
  const port = await server.ask('listen', {
    library,
    timeout: TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
  });
  const client = new Http1Connection({ port, secure: false });
  await client.connected();
  const answered = client.answered(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`);
  await server.ask('held');
  const { lastByteMilliseconds } = await server.ask('terminate', { answerAfterMs: ANSWER_AFTER_MS });
  await answered;
  client.close();
  await server.end();
  return lastByteMilliseconds;
}

module.exports = { measure };
