// A process that creates, uses and terminates servers of one transport, two thousand in a batch, and tells what they have
// left behind: `node --expose-gc many-servers.js https`.

const diagnosticsChannel = require('node:diagnostics_channel');
const fs = require('node:fs');
const { once } = require('node:events');
const { createHttpTerminator } = require('../..');
const { ofMany } = require('./addresses');
const { transports } = require('./transports');

const BATCH = 2_000;
const BATCHES = 5;
const BATCHES_AT_MOST = 10;

/** In bytes for each server: one that were kept would weigh thousands; what is measured is the heap's own unrest. */
const UNREST = 50;

const CHANNELS = ['http.server.request.start', 'http.server.response.finish'];

/** So that a client can resume its session with the next server: a whole handshake takes longer than everything else. */
const ticketKeys = Buffer.alloc(48);
/** @type {Buffer | undefined} */
let session;

const transport = transports.find(({ name }) => name === process.argv[2]);

main();

async function main() {
  process.on('warning', (warning) => console.error(warning));
  // What Node loads for its first server stays, threads and descriptors among it.
  await cycle(0, (server) => () => once(server.close(), 'close'));
  let used = await memory();
  const before = possessions();
  const growths = [];
  // What leaks, leaks in every batch. V8 compiles when it finds the time, which is heap, too: if it has not come to rest by then,
  // more batches tell.
  while (growths.length < BATCHES || (growths.length < BATCHES_AT_MOST && Math.min(...growths) >= UNREST)) {
    for (let count = 0; count < BATCH; count += 1) await cycle(count, terminatorOf);
    const earlier = used;
    used = await memory();
    growths.push((used - earlier) / BATCH);
  }
  await threadsToEnd(before.threads);
  const left = possessions();
  console.log(JSON.stringify({ servers: growths.length * BATCH, before, left, leaks: Math.min(...growths) >= UNREST }));
}

/**
 * @param {number} number
 * @param {(server: import('node:net').Server) => () => Promise<unknown>} attach gives what ends the server
 */
async function cycle(number, attach) {
  const host = ofMany(number);
  const server = transport.createServer({ ticketKeys }, (_request, response) => response.end());
  const end = attach(server);
  await once(server.listen(0, host), 'listening');
  const socket = transport.connect({ port: server.address().port, host, allowHalfOpen: false, session });
  socket.once('session', (next) => {
    session = next;
  });
  socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await once(socket, 'data');
  const closed = once(socket, 'close');
  await end();
  await closed;
}

/** @param {import('node:net').Server} server */
function terminatorOf(server) {
  return createHttpTerminator({ server }).terminate;
}

/** What a process has besides memory. */
function possessions() {
  return {
    listeners: process.eventNames().map((event) => [String(event), process.listenerCount(event)]),
    channels: CHANNELS.filter((name) => diagnosticsChannel.hasSubscribers(name)),
    handles: process.getActiveResourcesInfo(),
    descriptors: listed('/proc/self/fd').length,
    threads: listed('/proc/self/task').length,
  };
}

/**
 * The thread of the alarms is told to end when a termination resolves, and may take a moment longer.
 *
 * @param {number} count how many are to be left
 */
async function threadsToEnd(count) {
  const givenUpAt = Date.now() + 5_000;
  while (listed('/proc/self/task').length > count && Date.now() < givenUpAt) await new Promise(setImmediate);
}

/** @param {string} directory that only Linux has */
function listed(directory) {
  return fs.existsSync(directory) ? fs.readdirSync(directory) : [];
}

async function memory() {
  // Finalizers of one collection free what the next one collects.
  for (let round = 0; round < 5; round += 1) {
    globalThis.gc();
    await new Promise(setImmediate);
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
