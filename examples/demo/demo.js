// Ends a busy server in the middle of its work, by hand and with this package in turn, and counts what
// its clients lose: `npm run demo`. All that it prints is measured while it runs.

const { fork } = require('node:child_process');
const path = require('node:path');
const { clear, showDone, showNow } = require('./progress');
const { describe } = require('./results');

const ROUNDS = 3;
const CLIENTS = 100;
const DOWNLOADS = 6;
const ROUND_AT_MOST_MS = 20_000;

/** What server.js calls the ways to terminate, by their titles. */
const ways = { 'server.close() and a timer': 'by-hand', 'http-terminator-native': 'package' };

main();

async function main() {
  console.log(
    `${CLIENTS} clients send orders, ${DOWNLOADS} downloads run. In the middle of it the server is terminated.\n`,
  );
  const results = Object.fromEntries(Object.keys(ways).map((title) => [title, []]));
  for (let round = 1; round <= ROUNDS; round += 1) {
    for (const [title, way] of Object.entries(ways)) {
      results[title].push(await terminateUnderLoad(way, `Round ${round} of ${ROUNDS}, ${title}`));
    }
  }
  clear();
  console.log(`\n${describe(results)}`);
}

/**
 * @param {string} way
 * @param {string} heading of the progress shown
 * @returns {Promise<import('./results').Result>}
 */
async function terminateUnderLoad(way, heading) {
  const processes = [];
  const start = (file, ...options) => {
    const child = fork(path.join(__dirname, file), options.map(String));
    processes.push(child);
    return child;
  };
  const watchdog = setTimeout(() => endAll(processes), ROUND_AT_MOST_MS);
  try {
    const server = start('server.js', way);
    const { port } = await message(server, 'listening');
    const clients = start('clients.js', port, CLIENTS, DOWNLOADS);
    clients.on('message', ({ counts }) => counts && showNow(`${heading}: ${summary(counts)}`));
    const stopped = message(clients, 'stopped');
    await message(clients, 'downloading');
    server.send('terminate');
    const [{ milliseconds, connectionsCut }, { counts }] = await Promise.all([message(server, 'ended'), stopped]);
    showDone(`${heading}: ${summary(counts)}`);
    return { ...counts, milliseconds, connectionsCut };
  } finally {
    clearTimeout(watchdog);
    endAll(processes);
  }
}

/** The next message of a type. */
function message(child, type) {
  return new Promise((resolve, reject) => {
    child.on('message', (received) => {
      if (received.type === type) resolve(received);
    });
    child.once('disconnect', () => reject(new Error(`a process ended before it was ${type}`)));
  });
}

function summary({ served, lost }) {
  const lostInAll = Object.values(lost).reduce((sum, count) => sum + count, 0);
  return `${served} requests served, ${lostInAll} lost`;
}

function endAll(processes) {
  for (const child of processes) child.kill('SIGKILL');
}
