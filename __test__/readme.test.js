// Every piece of code in the README and in docs, run as it stands there.

const assert = require('node:assert/strict');
const diagnosticsChannel = require('node:diagnostics_channel');
const { getEventListeners, once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const http2 = require('node:http2');
const path = require('node:path');
const { it } = require('node:test');
const grpc = require('@grpc/grpc-js');
const fastify = require('fastify');
const { Server: SocketServer } = require('socket.io');
const { WebSocket, WebSocketServer } = require('ws');
const { createGracefulShutdown, createHttpTerminator, createProbeServer } = require('..');
const { connect, requestText } = require('./support/client');
const { gate, turn } = require('./support/server');
const { closeEverything, credentials, transports } = require('./support/transports');

const root = path.join(__dirname, '..');
const readme = fs.readFileSync(path.join(root, 'README.md'), 'utf8');
const migrating = fs.readFileSync(path.join(root, 'docs', 'migrating.md'), 'utf8');
const [plain] = transports;

/** The pieces of JavaScript, in order, and those of them that were run. */
const pieces = piecesOf(readme);
const docs = fs.readdirSync(path.join(root, 'docs')).filter((name) => name.endsWith('.md'));
const piecesOfDocs = docs.flatMap((name) => piecesOf(fs.readFileSync(path.join(root, 'docs', name), 'utf8')));
const ran = new Set();

function piecesOf(text) {
  // Whatever is shown in another language would go unseen here.
  for (const [, language] of text.matchAll(/^```(\w+)$/gm)) assert.match(language, /^(js|sh)$/);
  return [...text.matchAll(/```js\n(.*?)```/gs)].map(([, code]) => code);
}

/** Runs the one piece that has a text in it, with what it takes for granted, and gives what it declares. */
function run(containing, given, declares = []) {
  const found = pieces.filter((code) => code.includes(containing));
  assert.equal(found.length, 1, `one piece of the README has ${containing}`);
  return runPiece(found[0], given, declares);
}

function runPiece(piece, given, declares = []) {
  ran.add(piece);
  const code = `'use strict';${piece.replace('8080', '0')}\nreturn { ${declares.join(', ')} };`;
  // One that awaits is the body of a module.
  const Body = /^(const .* = )?await /m.test(piece) ? (async () => {}).constructor : Function;
  return new Body(...Object.keys(given), code)(...Object.values(given));
}

async function listening(test, server) {
  test.after(() => closeEverything(server));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return server;
}

it('the first example ends on SIGTERM', async (test) => {
  const lines = [];
  const given = {
    require: (name) => (name === 'http-terminator-native' ? { createHttpTerminator } : require(name)),
    process: { once: (event, listener) => (given.signals[event] = listener) },
    console: { log: (line) => lines.push(line) },
    signals: {},
  };
  const { server } = run('nothing was lost', given, ['server']);
  test.after(() => closeEverything(server));
  await given.signals.SIGTERM();
  assert.deepEqual(lines, ['nothing was lost']);
});

it('the hooks of a test suite', async () => {
  const hooks = {};
  const server = http.createServer();
  const terminator = createHttpTerminator({ server });
  const runner = { before: (hook) => (hooks.before = hook), after: (hook) => (hooks.after = hook) };
  run('before(() =>', { require: () => runner, server, terminator });
  hooks.before();
  assert.equal(server.listening, true);
  await hooks.after();
  assert.equal(server.listening, false);
});

it('the report has the shape that is shown', async () => {
  const { report: shown } = run('const report = {', {}, ['report']);
  const report = await createHttpTerminator({ server: http.createServer() }).terminate();
  const shape = (value) =>
    typeof value === 'object' && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, shape(inner)]))
      : Array.isArray(value)
        ? 'array'
        : typeof value;
  assert.deepEqual(shape(shown), shape(report));
});

it('frameworks', async (test) => {
  const app = fastify();
  const terminator = createHttpTerminator({ server: app.server });
  const signals = {};
  const closed = [];
  app.addHook('onClose', async () => {
    closed.push(terminator.state);
  });
  run('app.close()', { terminator, app, process: { once: (event, listener) => (signals[event] = listener) } });
  test.after(() => app.close());
  await app.listen({ host: '127.0.0.1', port: 0 });
  await signals.SIGTERM();
  assert.deepEqual(closed, ['terminated']);
});

it('HTTP/2', async (test) => {
  const given = { http2, createHttpTerminator, ...credentials, handler: (_request, response) => response.end('ok') };
  const { server, terminator } = run('allowHTTP1', given, ['server', 'terminator']);
  await listening(test, server);
  const session = http2.connect(`https://localhost:${server.address().port}`, { ca: credentials.cert });
  await once(session, 'remoteSettings');
  const closed = once(session, 'close');
  assert.equal((await terminator.terminate()).connections.idle, 1);
  await closed;
});

it('gRPC', async () => {
  const grpcServer = new grpc.Server();
  await new Promise((resolve) => grpcServer.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), resolve));
  const { terminator } = run('grpcServer', { createHttpTerminator, grpcServer }, ['terminator']);
  assert.equal(terminator.state, 'serving');
  assert.equal((await terminator.terminate()).graceful, true);
});

it('WebSockets', async (test) => {
  const server = http.createServer();
  const { terminator } = run('new WebSocketServer', { WebSocketServer, createHttpTerminator, server }, ['terminator']);
  await listening(test, server);
  const client = new WebSocket(`ws://127.0.0.1:${server.address().port}`);
  await once(client, 'open');
  const closed = once(client, 'close');
  await terminator.terminate();
  assert.equal((await closed)[0], 1001);
});

it('socket.io', async (test) => {
  const server = http.createServer();
  const terminator = createHttpTerminator({ server });
  const io = new SocketServer(server);
  test.after(() => io.close());
  let told = false;
  io.disconnectSockets = () => {
    told = true;
  };
  run('disconnectSockets', { terminator, io });
  await terminator.terminate();
  assert.equal(told, true);
});

it('event streams', async (test) => {
  const server = http.createServer((request, response) => events(request, response));
  const terminator = createHttpTerminator({ server });
  const { events } = run('text/event-stream', { terminator }, ['events']);
  await listening(test, server);
  const client = await connect(plain, server);
  await client.write(requestText());
  await client.until(/hello/);
  const { signal } = terminator;
  const gone = await connect(plain, server);
  await gone.write(requestText());
  await gone.until(/hello/);
  assert.equal(getEventListeners(signal, 'abort').length, 2);
  gone.socket.destroy();
  await once(gone.serverSocket, 'close');
  assert.equal(getEventListeners(signal, 'abort').length, 1, 'who has gone is forgotten');
  const late = await connect(plain, server);
  await late.write(requestText().slice(0, 10));
  while (late.serverSocket.bytesRead === 0) await turn();
  const terminated = terminator.terminate();
  await late.write(requestText().slice(10));
  assert.deepEqual((await terminated).requests, { completed: 1, late: 1, cut: 0 });
  for (const { ended } of [client, late]) assert.equal(await ended, 'FIN');
});

it('background work', async (test) => {
  const server = http.createServer((request, response) => order(request, response));
  const terminator = createHttpTerminator({ server });
  const sendReceipt = async () => {
    throw new Error('no ink');
  };
  let sent;
  const given = {
    terminator,
    sendReceipt: () => (sent = new Promise((resolve) => setImmediate(resolve)).then(sendReceipt)),
  };
  const { order } = run('sendReceipt', given, ['order']);
  await listening(test, server);
  const client = await connect(plain, server);
  await client.write(requestText());
  await once(server, 'request');
  const report = await terminator.terminate();
  await assert.rejects(sent);
  assert.deepEqual(report.tasks.errors, ['no ink']);
});

it('several servers', async (test) => {
  const [publicServer, adminServer] = [http.createServer(), http.createServer()];
  const given = { createHttpTerminator, publicServer, adminServer };
  const { terminator } = run('adminServer', given, ['terminator']);
  await listening(test, publicServer);
  await listening(test, adminServer);
  await terminator.terminate();
  assert.deepEqual([publicServer.listening, adminServer.listening], [false, false]);
});

it('behind a load balancer', async (test) => {
  const server = http.createServer();
  const { terminator, health } = run('shutdownDelay: 5000', { createHttpTerminator, server }, ['terminator', 'health']);
  server.on('request', health);
  await listening(test, server);
  const status = async () => (await fetch(`http://127.0.0.1:${server.address().port}`)).status;
  assert.equal(await status(), 200);
  const terminated = terminator.terminate();
  assert.equal(terminator.state, 'delaying');
  assert.equal(await status(), 503);
  await createHttpTerminator({ server }).terminate();
  await terminated;
});

it('from SIGTERM to exit', async (test) => {
  const server = http.createServer();
  const terminator = createHttpTerminator({ server });
  await listening(test, server);
  const steps = [];
  const step = (name) => async () => steps.push([name, server.listening]);
  const { shutdown } = run(
    'createGracefulShutdown',
    {
      // The tests exit by themselves, and with a code of their own.
      createGracefulShutdown: (options) => createGracefulShutdown({ ...options, signals: [], exit: false }),
      terminator,
      registry: { leave: step('registry') },
      database: { end: step('database') },
      cache: { quit: step('cache') },
    },
    ['shutdown'],
  );
  const { exitCode } = process;
  assert.equal((await shutdown.start()).graceful, true);
  process.exitCode = exitCode;
  assert.deepEqual(steps, [
    ['registry', true],
    ['cache', false],
    ['database', false],
  ]);
});

it('health probes', async (test) => {
  const server = http.createServer();
  // Its port may be in use where this runs.
  const anyPort = (options) => createProbeServer({ ...options, port: 0, host: '127.0.0.1' });
  const database = { ping: async ({ signal }) => assert.equal(signal.aborted, false) };
  const { start } = run('createProbeServer', { createHttpTerminator, createProbeServer: anyPort, server, database }, [
    'start',
  ]);
  test.after(() => closeEverything(server));
  const { terminator, probes } = await start();
  test.after(() => probes.close());
  await once(server, 'listening');
  const status = async () => (await fetch(`http://127.0.0.1:${probes.port}/readyz`)).status;
  assert.equal(await status(), 200);
  const terminated = terminator.terminate();
  assert.equal(await status(), 503);
  await createHttpTerminator({ server }).terminate();
  await terminated;
});

it('migrating, all of it together', async (test) => {
  const [piece, ...others] = piecesOf(migrating).filter((code) => code.includes('app.listen'));
  assert.deepEqual(others, []);
  let ended = false;
  const given = {
    app: { listen: () => http.createServer().listen(0, '127.0.0.1') },
    createHttpTerminator: (options) => createHttpTerminator({ ...options, shutdownDelay: 0 }),
    createGracefulShutdown: (options) => createGracefulShutdown({ ...options, signals: [], exit: false }),
    createProbeServer: (options) => createProbeServer({ ...options, port: 0, host: '127.0.0.1' }),
    database: { end: () => (ended = true) },
  };
  const { server, shutdown, probes } = await runPiece(piece, given, ['server', 'shutdown', 'probes']);
  test.after(() => closeEverything(server));
  test.after(() => probes.close());
  const status = async () => (await fetch(`http://127.0.0.1:${probes.port}/readyz`)).status;
  assert.equal(await status(), 200);
  const { exitCode } = process;
  assert.equal((await shutdown.start()).graceful, true);
  process.exitCode = exitCode;
  assert.equal(await status(), 503);
  assert.equal(ended, true);
});

// Before and after: each ends a server when it is told to, the latter also one with clients.
for (const piece of piecesOf(migrating).filter((code) => !code.includes('app.listen'))) {
  const isOurs = piece.includes("require('http-terminator-native");
  const [, name] = /require\('(?!node:)(.*?)'\)/.exec(piece) ?? [
    null,
    piece.split('\n').find((line) => /server/.test(line)),
  ];

  it(`migrating, ${isOurs ? 'to' : 'from'} ${name.trim()}: ends the server`, async (test) => {
    const [arrived, answer] = [gate(), gate()];
    const server = http.createServer(async (_request, response) => {
      arrived.open();
      await answer.passed;
      response.end('hello');
    });
    const told = {};
    let databaseEnded = false;
    const given = {
      server,
      process: { once: (signal, listener) => Object.assign(told, { [signal]: listener }) },
      console: { log() {} },
      database: { end: () => (databaseEnded = true) },
      require(id) {
        if (id === 'node:test') return { after: (hook) => Object.assign(told, { SIGTERM: hook }) };
        // Of the packages that are compared, only this one is not installed.
        if (id === 'http-close')
          return (options, closed) => assert.deepEqual([options, closed], [{ timeout: 2000 }, server]);
        if (id === 'http-terminator-native') {
          const asTold = (options) => {
            const shutdown = createGracefulShutdown({ ...options, signals: [], exit: false });
            return Object.assign(told, { SIGTERM: () => shutdown.start() });
          };
          return { createHttpTerminator, createGracefulShutdown: asTold };
        }
        if (id === 'http-graceful-shutdown') {
          const asTold = (closed, options) => {
            const shutdown = require(id)(closed, { ...options, signals: '', forceExit: false });
            return Object.assign(told, { SIGTERM: shutdown });
          };
          return asTold;
        }
        return require(id);
      },
    };
    runPiece(piece, given);
    await listening(test, server);
    const closed = once(server, 'close');
    const { exitCode } = process;
    if (isOurs) {
      const client = await connect(plain, server);
      await client.write(requestText());
      await arrived.passed;
      const terminated = told.SIGTERM();
      answer.open();
      assert.equal(await client.ended, 'FIN');
      assert.equal(client.answers[0].headers.connection, 'close');
      await terminated;
    } else {
      await told.SIGTERM();
    }
    await closed;
    process.exitCode = exitCode;
    assert.equal(databaseEnded, piece.includes('database'));
  });
}

it('watching it', async () => {
  const lines = [];
  const console = { log: (...line) => lines.push(line) };
  run('diagnosticsChannel.subscribe', { diagnosticsChannel, console });
  await createHttpTerminator({ server: http.createServer() }).terminate();
  assert.deepEqual(
    lines.map(([phase]) => phase),
    ['draining', 'terminated'],
  );
});

it('nothing was left out', () => {
  const all = [...pieces, ...piecesOfDocs];
  assert.deepEqual(
    all.filter((piece) => !ran.has(piece)),
    [],
  );
});

it('its defaults are those of the code', () => {
  const files = ['options.js', 'probe-options.js'].map((name) => path.join(__dirname, '..', 'lib', name));
  const options = files
    .map((file) => fs.readFileSync(file, 'utf8'))
    .join('')
    .replaceAll('_000;', '000;');
  const types = fs.readFileSync(path.join(__dirname, '..', 'index.d.ts'), 'utf8');
  for (const [name, constant] of [
    ['httpResponseTimeout', 'DEFAULT_HTTP_RESPONSE_TIMEOUT'],
    ['shutdownDelay', 'DEFAULT_SHUTDOWN_DELAY'],
    ['webSocketCloseCode', 'DEFAULT_WEB_SOCKET_CLOSE_CODE'],
    ['stallThreshold', 'DEFAULT_STALL_THRESHOLD'],
  ]) {
    const [, value] = new RegExp(`const ${constant} = (\\d+);`).exec(options);
    assert.match(readme, new RegExp(`\\| \`${name}\` \\| \`${value}\` \\|`));
    assert.match(types, new RegExp(`@default ${value}\\n   \\*/\\n  ${name}\\?:`));
  }
});

it('the defaults of a shutdown are those of the code', () => {
  const options = fs.readFileSync(path.join(__dirname, '..', 'lib', 'shutdown-options.js'), 'utf8');
  const types = fs.readFileSync(path.join(__dirname, '..', 'index.d.ts'), 'utf8');
  for (const [name, constant] of [
    ['hookTimeout', 'DEFAULT_HOOK_TIMEOUT'],
    ['timeout', 'DEFAULT_TIMEOUT'],
  ]) {
    const value = new RegExp(`const ${constant} = ([\\d_]+);`).exec(options)[1].replace('_', '');
    assert.match(readme, new RegExp(`\\| \`${name}\` \\| \`${value}\` \\|`));
    assert.match(types, new RegExp(`@default ${value}\\n   \\*/\\n  ${name}\\?:`));
  }
});

it('its numbers are those of the machine and of the probe server', () => {
  const constants = constantsOf([
    'drain/closing',
    'drain/distance',
    'drain/keep_alive',
    'drain/listener',
    'drain/patience',
  ]);
  const probes = constantsOf(['probe/server']);
  const words = new Map([
    [3, 'three'],
    [5000, 'five'],
    [8, 'eight'],
  ]);
  const word = (name) => words.get(constants[name]);
  const flowing = (text) => text.replaceAll(/\n\s*(\* )?\s*/g, ' ');
  const prose = flowing(readme);
  const types = flowing(fs.readFileSync(path.join(root, 'index.d.ts'), 'utf8'));
  const { RHYTHM_AT_LEAST, RHYTHM_AT_MOST, SPEAKS_WITHIN, ASKS_AGAIN_WITHIN, CROWD } = constants;
  const { ACCEPT_AT_MOST, HELD_UP_GETS, ROUND_TRIPS_IN_RHYTHM } = constants;
  for (const [text, phrase] of [
    [prose, `for ${word('HEAR_OUT_AT_MOST')} seconds and a round trip at most`],
    [prose, `is ${word('GAPS')} of its usual gaps old, which is taken as ${RHYTHM_AT_LEAST} ms at least`],
    [prose, `${RHYTHM_AT_LEAST} ms at least and ${RHYTHM_AT_MOST} ms at most`],
    [prose, `a single request has ${SPEAKS_WITHIN} ms for the next`],
    [prose, `just accepted has ${SPEAKS_WITHIN} ms to speak`],
    [prose, `no more than ${word('FEW')} connections`],
    [prose, `has ${ASKS_AGAIN_WITHIN} ms to ask again`],
    [prose, `the limit of ${RHYTHM_AT_MOST} ms is ${ROUND_TRIPS_IN_RHYTHM} ms higher`],
    [prose, `has ${HELD_UP_GETS} ms more, once`],
    [prose, `no longer than that and ${ACCEPT_AT_MOST} ms`],
    [prose, `only under load, then ${SPEAKS_WITHIN} ms`],
    [prose, `at most ${RHYTHM_AT_MOST} ms (a second for clients far away)`],
    [types, `usual gaps old, ${RHYTHM_AT_MOST} ms at most; and every one for ${SPEAKS_WITHIN} ms`],
    [types, `More than ${CROWD} do not all close`],
    [prose, `takes ${probes.CONNECTIONS_AT_MOST} connections, ${probes.REQUEST_WITHIN / 1000} seconds`],
    [prose, `heads of ${probes.HEAD_AT_MOST / 1024} KiB`],
  ]) {
    assert.ok(text.includes(phrase), phrase);
  }
});

/**
 * @param {string[]} modules of src
 * @returns {Record<string, number>} their numbers; times in milliseconds
 */
function constantsOf(modules) {
  const source = modules.map((name) => fs.readFileSync(path.join(root, 'src', `${name}.rs`), 'utf8')).join('');
  const pattern = /const (\w+): \w+ = (?:Duration::from_(millis|secs)\((\d+)\)|(\d+)(?: \* (\d+))?);/g;
  return Object.fromEntries(
    [...source.matchAll(pattern)].map(([, name, unit, time, factor, other = 1]) => [
      name,
      unit === undefined ? factor * other : time * (unit === 'secs' ? 1000 : 1),
    ]),
  );
}
