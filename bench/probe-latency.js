// How long health probes wait for their answers: with an idle event loop, a busy one and a blocked one. And what
// it costs a process to have something that answers them.

const net = require('node:net');
const { setTimeout: delay } = require('node:timers/promises');
const { start } = require('./child');
const { OURS } = require('./libraries');
const { probeLibraries } = require('./probe-libraries');
const { progress } = require('./progress');
const { median, quantile, rotated } = require('./statistics');
const { signed, verdict } = require('./table');

const ROUNDS = 3;
const SECONDS = 3;
const PROBE_EVERY_MS = 10;
const BUDGET_MS = 5;

const LOOPS = {
  idle: () => {},
  busy: (child) => child.ask('busy'),
  blocked: (child) => child.ask('block', { milliseconds: SECONDS * 1000 }),
};

async function measure({ quick }) {
  const rounds = quick ? 1 : ROUNDS;
  const latencies = new Map();
  const costs = new Map(probeLibraries.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round += 1) {
    for (const { name } of rotated(probeLibraries, round)) {
      for (const [loop, prepare] of Object.entries(LOOPS)) {
        progress(`Probes: round ${round + 1} of ${rounds}, ${name}, ${loop} event loop`);
        const child = start('probed', ['--expose-gc', '--no-warnings']);
        const { port, ...cost } = await child.ask('open', { library: name });
        costs.get(name).push(cost);
        // The first ones compile what they run through.
        await probes(port, 200);
        await prepare(child);
        const measured = await probes(port, SECONDS * 1000);
        latencies.set(`${name} ${loop}`, [...(latencies.get(`${name} ${loop}`) ?? []), ...measured]);
        await child.end();
      }
    }
  }
  return [latencyTable(latencies, rounds), costTable(costs, rounds)];
}

/**
 * @param {Map<string, number[]>} latencies
 * @param {number} rounds
 */
function latencyTable(latencies, rounds) {
  const of = (name, loop) => latencies.get(`${name} ${loop}`);
  const figures = (values) => [quantile(values, 0.5), quantile(values, 0.99), Math.max(...values)];
  return {
    title: 'Health probes: time to the answer, in milliseconds',
    columns: ['', ...Object.keys(LOOPS).flatMap((loop) => [`${loop}: p50`, 'p99', 'max'])],
    rows: probeLibraries.map(({ name, version }) => [
      `${name} ${version}`,
      ...Object.keys(LOOPS).flatMap((loop) => figures(of(name, loop)).map((value) => value.toFixed(2))),
    ]),
    notes: [
      `A probe every ${PROBE_EVERY_MS} ms, answered or not, each on a connection of its own, for ${rounds} times ${SECONDS} s. Of another process, over loopback.`,
      `Busy: no turn of the event loop takes less than 10 ms. Blocked: the event loop does not turn for ${SECONDS} s.`,
      verdict(`${OURS}, blocked, p99`, quantile(of(OURS, 'blocked'), 0.99), BUDGET_MS, ' ms'),
    ],
    figures: Object.keys(LOOPS).map((loop) => ({
      title: `health probe, event loop ${loop}: the slowest of 100, ms`,
      digits: 2,
      values: Object.fromEntries(
        probeLibraries.map(({ name, version }) => [`${name} ${version}`, { value: quantile(of(name, loop), 0.99) }]),
      ),
    })),
  };
}

/**
 * @param {Map<string, Record<'loading' | 'opening', { milliseconds: number, bytes: number }>[]>} costs
 * @param {number} rounds
 */
function costTable(costs, rounds) {
  const typical = (name, step, kind) => median(costs.get(name).map((cost) => cost[step][kind]));
  return {
    title: 'What answering health probes adds to a process that has a server',
    columns: ['', 'load, ms', 'KiB', 'open, ms', 'KiB'],
    rows: probeLibraries.map(({ name, version }) => [
      `${name} ${version}`,
      ...['loading', 'opening'].flatMap((step) => [
        signed(typical(name, step, 'milliseconds')),
        signed(typical(name, step, 'bytes') / 1024, 0),
      ]),
    ]),
    notes: [
      `Medians of ${rounds * Object.keys(LOOPS).length} processes: time, and resident memory after it.`,
      'This package loads with a terminator for the server, which its users have anyway.',
    ],
  };
}

/**
 * @param {number} port
 * @param {number} milliseconds for how long to ask
 * @returns {Promise<number[]>} how long each answer took to come
 */
async function probes(port, milliseconds) {
  const answers = [];
  const until = performance.now() + milliseconds - PROBE_EVERY_MS;
  while (performance.now() < until) {
    answers.push(probe(port));
    await delay(PROBE_EVERY_MS);
  }
  return Promise.all(answers);
}

/** @param {number} port */
function probe(port) {
  return new Promise((resolve, reject) => {
    const startedAt = performance.now();
    const socket = net.connect(port, '127.0.0.1', () => {
      socket.write('GET /live HTTP/1.1\r\nHost: localhost\r\nUser-Agent: kube-probe/1.30\r\nConnection: close\r\n\r\n');
    });
    socket.once('data', (answer) => {
      const milliseconds = performance.now() - startedAt;
      const text = answer.toString('latin1');
      if (text.startsWith('HTTP/1.1 200')) resolve(milliseconds);
      else reject(new Error(text));
      socket.destroy();
    });
    socket.once('error', reject);
  });
}

module.exports = { measure };
