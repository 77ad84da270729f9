// Why no native call is made per request while a server serves: what the ways to follow a request cost.

const { channel } = require('node:diagnostics_channel');
const { once } = require('node:events');
const http = require('node:http');
const net = require('node:net');
const { createHttpTerminator } = require('..');
const { native } = require('../lib/early');
const { progress } = require('./progress');
const { median, rotated } = require('./statistics');

const ROUNDS = 15;
const REQUESTS = 200_000;

async function measure({ quick }) {
  const rounds = quick ? 1 : ROUNDS;
  const connection = await openConnection();
  /** @type {Record<string, (requests: number) => void>} */
  const ways = {
    'a write to shared memory at start and end': sharedMemory(),
    'a native call at start and end': nativeCalls(),
    'two channels of diagnostics_channel, whose listener does nothing': channels(
      channelWithListener('bench.start'),
      channelWithListener('bench.finish'),
      connection.socket,
    ),
    'what is done: one channel, and the time kept in JavaScript': channels(
      channel('http.server.request.start'),
      channel('http.server.response.finish'),
      connection.socket,
    ),
  };
  /** @type {Map<string, number[]>} in nanoseconds per request */
  const times = new Map(Object.keys(ways).map((way) => [way, []]));
  for (const follow of Object.values(ways)) follow(REQUESTS);
  for (let round = 0; round < rounds; round += 1) {
    progress(`Native calls: round ${round + 1} of ${rounds}`);
    for (const [way, follow] of rotated(Object.entries(ways), round)) {
      const startedAt = performance.now();
      follow(REQUESTS);
      times.get(way).push(((performance.now() - startedAt) * 1e6) / REQUESTS);
    }
  }
  await connection.end();
  return {
    title: 'Following a request from its start to its end, and nothing else',
    columns: ['', 'ns per request'],
    rows: [...times].map(([way, measured]) => [way, median(measured).toFixed(0)]),
    notes: [`Medians of ${rounds} rounds of ${REQUESTS} requests that nobody sent.`],
  };
}

function sharedMemory() {
  const requests = new Uint32Array(1024);
  return (count) => {
    for (let request = 0; request < count; request += 1) {
      requests[request & 1023] += 1;
      requests[request & 1023] -= 1;
    }
  };
}

/** The calls that a termination makes. */
function nativeCalls() {
  const key = native.create();
  const id = native.opened(key, native.Transport.Plain);
  return (count) => {
    for (let request = 0; request < count; request += 1) {
      native.requestStarted(key, id, false);
      native.requestFinished(key, id, native.Arriving.Nothing, false, false);
    }
  };
}

/** Publishes what Node's server does. */
function channels(start, finish, socket) {
  return (count) => {
    for (let index = 0; index < count; index += 1) {
      const request = {};
      const response = {};
      if (start.hasSubscribers) start.publish({ request, response, socket, server: socket.server });
      if (finish.hasSubscribers) finish.publish({ request, response, socket, server: socket.server });
    }
  };
}

/** @param {string} name */
function channelWithListener(name) {
  const own = channel(name);
  own.subscribe(() => {});
  return own;
}

/** A connection to a server with a terminator, as the server sees it. */
async function openConnection() {
  const server = http.createServer();
  const terminator = createHttpTerminator({ server });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = net.connect(server.address().port, '127.0.0.1');
  const [socket] = await once(server, 'connection');
  // A connection on which nothing has been answered yet would begin a rhythm each time.
  client.write('GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n');
  const [, response] = await once(server, 'request');
  response.end();
  await once(client, 'data');
  return {
    socket,
    async end() {
      client.destroy();
      await terminator.terminate();
    },
  };
}

module.exports = { measure };
