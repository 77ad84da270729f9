// What serving and ending cost, in numbers that are the same on every machine: `npm run test:regression`. Times are not among
// them.
//
// Each bound is above what was measured by about a quarter, and what was measured is beside it. Whoever exceeds a bound has
// made something dearer, and should know; whoever stays far below may lower it.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const http = require('node:http');
const http2 = require('node:http2');
const { describe, it } = require('node:test');
const { native } = require('../lib/early');
const { Http1Connection } = require('./http1-connection');
const { OURS } = require('./libraries');
const { scenarios, terminateUnderLoad } = require('./lost-requests');
const { memoryPerConnection } = require('./memory');
const { startServing } = require('./serving-cost');
const { median } = require('./statistics');

/** What is released is up to the garbage collector. */
const UNCOUNTED = ['release'];
let nativeCalls = 0;
// Before anything else loads them.
for (const [name, call] of Object.entries(native)) {
  if (typeof call !== 'function' || UNCOUNTED.includes(name)) continue;
  native[name] = (...parameters) => {
    nativeCalls += 1;
    return call(...parameters);
  };
}
const { createHttpTerminator } = require('..');

/**
 * Without optimised code, of which every run has another share, what is allocated is nearly the same each time. Nothing is
 * collected before the young generation is full.
 */
const REPEATABLE = ['--expose-gc', '--no-opt', '--min-semi-space-size=128', '--max-semi-space-size=128'];

const ROUNDS = 5;
/** With 2000, a table of Node's has grown or is just about to: 48 bytes for each of them, in one process of ten. */
const CONNECTIONS_KEPT = 1700;

describe('native calls', () => {
  it('are none while HTTP/1.1 is served, per connection and per request', async (test) => {
    const { connections, port } = await serveHttp1(test);
    const before = nativeCalls;
    await open(connections, port, { connections: 20, requests: 10 });
    assert.equal(nativeCalls - before, 0);
  });

  it('are none while HTTP/2 is served, per stream', async (test) => {
    const server = http2.createServer((_request, response) => response.end('x'));
    const terminator = createHttpTerminator({ server });
    test.after(() => terminator.terminate());
    const session = await connectHttp2(server);
    await requestStream(session);
    const before = nativeCalls;
    for (let stream = 0; stream < 20; stream += 1) await requestStream(session);
    assert.equal(nativeCalls - before, 0);
  });

  it('are few for an idle connection that is closed', async (test) => {
    const { connections, terminator, port } = await serveHttp1(test);
    await open(connections, port, { connections: 400, requests: 1 });
    const before = nativeCalls;
    await terminator.terminate();
    atMost((nativeCalls - before) / 400, 0.2, 0.12, 'native calls per idle connection');
  });

  it('are few for a request in flight', async (test) => {
    const { connections, terminator, port, held } = await serveHttp1(test);
    await open(connections, port, { connections: 100, requests: 1 });
    const answers = connections.map((connection) => connection.answered(request('/held')));
    await held(100);
    const before = nativeCalls;
    const terminated = terminator.terminate();
    for (const response of await held(100)) response.end('x');
    await Promise.all([...answers, terminated]);
    atMost((nativeCalls - before) / 100, 6.5, 5.1, 'native calls per request in flight');
  });
});

describe('memory of JavaScript', () => {
  for (const [of, command, requests, bound, measured] of [
    ['a request on a connection that is kept open', 'requestsOnOpenConnections', 4000, 340, 265],
    ['a request on a connection of its own', 'requestsOnNewConnections', 4000, 250, 135],
  ]) {
    it(`is hardly allocated for ${of}`, async () => {
      const more = await overPlainNode((library) => allocatedPerRequest(library, command, requests));
      atMost(more, bound, measured, `bytes allocated for ${of}, over plain Node`);
    });
  }

  it('is hardly kept for a connection', async () => {
    const more = await overPlainNode(
      async (library) => (await memoryPerConnection(library, CONNECTIONS_KEPT, REPEATABLE)).javascript,
    );
    atMost(more, 135, 111, 'bytes kept for a connection, over plain Node');
  });
});

/** On a machine that has other things to do, clients may happen to be still, and the server not under load. */
const BUSY = 10;
const TERMINATIONS = 5;

describe('requests', {
  skip: process.platform !== 'linux' && 'who waits to be accepted is known on Linux only',
}, () => {
  for (const name of ['keep-alive-15', 'new-connections', 'http2']) {
    it(`are not lost: ${scenarios[name].title}`, async () => {
      for (let termination = 0; termination < TERMINATIONS; termination += 1) {
        const { served, lost } = await terminateUnderLoad(scenarios[name], { name: OURS, library: OURS }, BUSY);
        assert.deepEqual(lost, {});
        assert.ok(served >= scenarios[name].warmAfter, `only ${served} were served`);
      }
    });
  }
});

/**
 * @param {number} value
 * @param {number} bound
 * @param {number} measured when the bound was set
 * @param {string} what
 */
function atMost(value, bound, measured, what) {
  console.log(`${value.toFixed(2)} ${what}; at most ${bound}, ${measured} when that was set`);
  assert.ok(value <= bound, `${value.toFixed(2)} ${what}, more than ${bound}`);
}

/**
 * Medians, since tables that V8 and Node keep for themselves grow now and then.
 *
 * @param {(library: string | null) => Promise<number>} bytes
 */
async function overPlainNode(bytes) {
  const bare = [];
  const own = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    bare.push(await bytes(null));
    own.push(await bytes(OURS));
  }
  return median(own) - median(bare);
}

/** @param {import('node:test').TestContext} test */
async function serveHttp1(test) {
  const waiting = [];
  const server = http.createServer((incoming, response) => {
    if (incoming.url !== '/held') return response.end('x');
    waiting.push(response);
    server.emit('held');
  });
  server.keepAliveTimeout = 60_000;
  const terminator = createHttpTerminator({ server, httpResponseTimeout: 60_000 });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  test.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return {
    terminator,
    port: server.address().port,
    connections: [],
    /** Resolves when so many requests wait for their answers. */
    async held(count) {
      while (waiting.length < count) await once(server, 'held');
      return waiting;
    },
  };
}

async function open(opened, port, { connections, requests }) {
  for (let count = 0; count < connections; count += 1) {
    const connection = new Http1Connection({ port, secure: false });
    await connection.connected();
    for (let sent = 0; sent < requests; sent += 1) await connection.answered(request('/'));
    opened.push(connection);
  }
}

/** @param {string} path */
function request(path) {
  return `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`;
}

async function connectHttp2(server) {
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const session = http2.connect(`http://127.0.0.1:${server.address().port}`);
  await once(session, 'connect');
  return session;
}

/** @param {http2.ClientHttp2Session} session */
async function requestStream(session) {
  const stream = session.request().resume();
  stream.end();
  await once(stream, 'close');
}

/**
 * @param {string | null} library
 * @param {'requestsOnOpenConnections' | 'requestsOnNewConnections'} command
 * @param {number} requests
 */
async function allocatedPerRequest(library, command, requests) {
  const connections = 16;
  const { server, client, port } = await startServing({ command, connections }, library, REPEATABLE);
  await client.ask(command, { port, connections, requests: 1000 });
  // Collects, so that nothing is collected in the middle of what follows.
  await server.ask('memory');
  const before = await server.ask('heapUsed');
  await client.ask(command, { port, connections, requests });
  const after = await server.ask('heapUsed');
  await client.end();
  await server.end();
  return (after - before) / requests;
}
