// Starts servers, lets clients use them, ends them and starts the next ones, for as long as it is told: `npm run soak`, or
// `npm run soak -- --minutes 30`. Nothing may grow: memory, handles, descriptors, threads.
//
// After each round no server is left, so what a process has then must always be the same. The first quarter of the time is
// not counted, because the code is still being compiled and the allocators still find their size. For what comes after, growth is
// the median of the slopes between all pairs of samples (Theil and Sen), times the time. A single step or outlier does not move
// it, and neither does noise in both directions; anything that every round leaves behind does.

const { parseArgs } = require('node:util');
const { start } = require('./child');
const { describeMachine } = require('./machine');
const { median } = require('./statistics');
const { format, signed } = require('./table');

const SAMPLES = 60;
const WARM_UP = 1 / 4;

/** A server is ended as soon as its clients have so many answers, and while they go on. */
const REQUESTS = 60;

/**
 * The young generation would grow step by step for minutes, by what nobody has leaked; and the allocator of the C library would
 * begin a heap for each new thread now and then.
 */
const SERVERS_EXEC_ARGV = ['--expose-gc', '--no-warnings', '--min-semi-space-size=2', '--max-semi-space-size=2'];
process.env.MALLOC_ARENA_MAX = '1';

const KINDS = ['http', 'https', 'http2', 'websocket'];
const MIB = 2 ** 20;

/**
 * How much each may grow while it is measured. Counts may not grow at all: less than one is none. Memory after a garbage
 * collection still depends on what the collector and the allocator make of the same work.
 */
const METRICS = {
  resident: { title: 'resident memory, MiB', unit: MIB, digits: 1, allowed: (size) => 0.05 * size },
  javascript: { title: 'memory of JavaScript, MiB', unit: MIB, digits: 2, allowed: (size) => 0.05 * size },
  handles: { title: 'handles', unit: 1, digits: 0, allowed: () => 1 },
  descriptors: { title: 'descriptors', unit: 1, digits: 0, allowed: () => 1 },
  threads: { title: 'threads', unit: 1, digits: 0, allowed: () => 1 },
};

/** @typedef {Record<keyof typeof METRICS, number> & { seconds: number }} Sample */

main(parseArgs({ options: { minutes: { type: 'string', default: '1' } } }));

async function main({ values }) {
  const seconds = Number(values.minutes) * 60;
  if (!(seconds > 0) || process.platform !== 'linux') {
    console.error('npm run soak -- [--minutes <more than 0>], on Linux, which shows descriptors and threads in /proc');
    process.exitCode = 1;
    return;
  }
  console.log(`${describeMachine()}\n`);
  const { samples, total } = await soak(seconds);
  const counted = samples.filter((sample) => sample.seconds >= seconds * WARM_UP);
  const verdicts = Object.keys(METRICS).map((metric) => ({ metric, ...judge(metric, counted) }));
  console.log(`\n${format(summary(verdicts, samples, counted, total))}`);
  if (verdicts.some(({ flat }) => !flat)) process.exitCode = 1;
}

/** @param {number} seconds */
async function soak(seconds) {
  const servers = start('soaked-servers', SERVERS_EXEC_ARGV);
  const clients = start('soaking-clients', ['--no-warnings']);
  const total = { servers: 0, answered: 0, forced: 0, lost: 0 };
  /** @type {Sample[]} */
  const samples = [];
  const startedAt = performance.now();
  const passed = () => (performance.now() - startedAt) / 1000;
  console.log(`${['seconds', 'servers', 'answered', ...Object.values(METRICS).map(({ title }) => title)].join('  ')}`);
  while (passed() < seconds) {
    await Promise.all(KINDS.map((kind) => useAndEnd(servers, clients, kind, total)));
    if (passed() < ((samples.length + 1) * seconds) / SAMPLES) continue;
    const sample = { seconds: passed(), ...(await servers.ask('sample')) };
    samples.push(sample);
    const shown = Object.entries(METRICS).map(([metric, { title, unit, digits }]) =>
      (sample[metric] / unit).toFixed(digits).padStart(title.length),
    );
    const so = [sample.seconds.toFixed(0), total.servers, total.answered];
    console.log([...so.map((value, place) => String(value).padStart([7, 7, 8][place])), ...shown].join('  '));
  }
  await clients.end();
  await servers.end();
  return { samples, total };
}

/** One server that ends in time, and one that has to cut what does not. */
async function useAndEnd(servers, clients, kind, total) {
  for (const cut of [false, true]) {
    try {
      await useAndEndOne(servers, clients, kind, cut, total);
    } catch (cause) {
      const now = JSON.stringify(await servers.ask('sample'));
      throw new Error(`After ${total.servers} servers, with ${kind} ${cut ? 'to be cut' : 'in time'}; now ${now}`, {
        cause,
      });
    }
  }
}

async function useAndEndOne(servers, clients, kind, cut, total) {
  const { id, port } = await servers.ask('start', { kind, cut });
  await clients.ask('start', { id, kind, port, cut });
  await clients.ask('answered', { id, requests: REQUESTS });
  const report = await servers.ask('terminate', { id });
  const { answered, lost } = await clients.ask('stopped', { id });
  const { forced } = report.connections;
  if (forced > 0 !== cut) throw new Error(JSON.stringify(report));
  total.servers += 1;
  total.answered += answered;
  total.forced += forced;
  // The deadline of the other ones may also cut what would have ended a little later.
  if (!cut) total.lost += lost;
}

/**
 * @param {keyof typeof METRICS} metric
 * @param {Sample[]} counted
 */
function judge(metric, counted) {
  const values = counted.map((sample) => sample[metric]);
  const slopes = counted.flatMap((from, place) =>
    counted.slice(place + 1).map((to) => (to[metric] - from[metric]) / (to.seconds - from.seconds)),
  );
  const growth = median(slopes) * (counted.at(-1).seconds - counted[0].seconds);
  const allowed = METRICS[metric].allowed(median(values));
  return { least: Math.min(...values), most: Math.max(...values), growth, allowed, flat: growth < allowed };
}

function summary(verdicts, samples, counted, { servers, answered, forced, lost }) {
  return {
    title: `After warm-up: ${counted.length} samples`,
    columns: ['', 'curve', 'least', 'most', 'growth', 'has to be below', ''],
    rows: verdicts.map(({ metric, least, most, growth, allowed, flat }) => {
      const { title, unit, digits } = METRICS[metric];
      const shown = (value) => (value / unit).toFixed(digits);
      return [
        title,
        sparkline(samples.map((sample) => sample[metric])),
        shown(least),
        shown(most),
        signed(growth / unit, 2),
        (allowed / unit).toFixed(2),
        flat ? 'flat' : 'GROWS',
      ];
    }),
    notes: [
      `${servers} servers, ${answered} requests answered, ${forced} connections cut at the deadline, as they were to be.`,
      `Requests lost on the other servers: ${lost}. Clients that a loaded machine stops for longer than their rhythm lose some.`,
      'The curve shows all samples, also those of the warm-up. Growth is the median slope over the time after it.',
    ],
  };
}

/** @param {number[]} values */
function sparkline(values) {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  return values.map((value) => '▁▂▃▄▅▆▇█'[Math.floor(((value - least) / (most - least || 1)) * 7.99)]).join('');
}
