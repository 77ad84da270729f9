// Health probes and metrics, as the kubelet, Prometheus and strangers ask for them.

const assert = require('node:assert/strict');
const { execFile, spawnSync } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const { constants } = require('node:os');
const path = require('node:path');
const { describe, it } = require('node:test');
const { promisify } = require('node:util');
const { createHttpTerminator, createProbeServer } = require('..');
const { gone, ofMany } = require('./support/addresses');
const { Client, connect, requestText } = require('./support/client');
const { startProber } = require('./support/prober');
const { startProgram } = require('./support/process');
const { gatedHandler, serve } = require('./support/server');
const { transports } = require('./support/transports');

const root = path.join(__dirname, '..');
const [plain, ...others] = transports;

async function open(test, options = {}) {
  const probes = await createProbeServer({ port: 0, host: '127.0.0.1', ...options });
  test.after(() => probes.close());
  return probes;
}

async function ask({ port }, target, options = {}) {
  const response = await fetch(`http://127.0.0.1:${port}${target}`, options);
  const text = await response.text();
  return { status: response.status, headers: response.headers, text, body: text.startsWith('{') && JSON.parse(text) };
}

async function statuses(probes, targets = ['/livez', '/readyz', '/startupz', '/healthz']) {
  const answers = [];
  for (const target of targets) answers.push((await ask(probes, target)).status);
  return answers;
}

/** A connection on which everything is visible. */
async function raw(test, { port }) {
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  test.after(() => socket.destroy());
  await once(socket, 'connect');
  return new Client(socket);
}

/** Polls until something is so; the test's own timeout is the limit. */
async function until(condition) {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5));
}

describe('the endpoints', () => {
  it('begin neither ready nor started, and follow the signals', async (test) => {
    const probes = await open(test);
    assert.deepEqual(await statuses(probes), [200, 503, 503, 503]);
    probes.signalStarted();
    assert.deepEqual(await statuses(probes), [200, 503, 200, 503]);
    probes.signalReady();
    assert.deepEqual(await statuses(probes), [200, 200, 200, 200]);
    probes.signalNotReady();
    assert.deepEqual(await statuses(probes), [200, 503, 200, 503]);
  });

  it('count what is ready as started', async (test) => {
    const probes = await open(test);
    probes.signalReady();
    assert.deepEqual(await statuses(probes), [200, 200, 200, 200]);
  });

  it("are at lightship's paths, too", async (test) => {
    const probes = await open(test);
    assert.deepEqual(await statuses(probes, ['/live', '/ready', '/health']), [200, 503, 503]);
    probes.signalReady();
    assert.deepEqual(await statuses(probes, ['/live', '/ready', '/health']), [200, 200, 200]);
  });

  it('say why in JSON, and more if asked', async (test) => {
    const name = 'a "name"\nof any kind';
    const probes = await open(test, { checks: { [name]: () => {} } });
    await until(async () => (await ask(probes, '/healthz?verbose')).body.checks[name] === 'passed');
    const unavailable = await ask(probes, '/healthz');
    assert.deepEqual(unavailable.body, { status: 'unavailable', reasons: ['not-ready', 'not-started'] });
    assert.equal(unavailable.headers.get('content-type'), 'application/json');
    assert.equal(unavailable.headers.get('cache-control'), 'no-store');
    probes.signalReady();
    assert.deepEqual((await ask(probes, '/readyz')).body, { status: 'ok' });
    for (const query of ['?verbose', '?verbose=1', '?timeout=1s&verbose']) {
      for (const target of ['/livez', '/readyz', '/startupz', '/healthz']) {
        const { stalledMs, ...verbose } = (await ask(probes, target + query)).body;
        const checks = { [name]: 'passed' };
        assert.deepEqual(verbose, { status: 'ok', state: 'serving', ready: true, started: true, checks });
        assert.ok(stalledMs >= 0);
      }
    }
  });

  it('answer HEAD without a body, other methods with 405 and other paths with 404', async (test) => {
    const probes = await open(test);
    const head = await ask(probes, '/livez', { method: 'HEAD' });
    assert.deepEqual([head.status, head.text], [200, '']);
    assert.equal(head.headers.get('content-length'), '15');
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH']) {
      const refused = await ask(probes, '/livez', { method });
      assert.equal(refused.status, 405);
      assert.equal(refused.headers.get('allow'), 'GET, HEAD');
    }
    for (const target of ['/', '/livez/', '/LIVEZ', '/nothing?verbose']) {
      assert.equal((await ask(probes, target)).status, 404);
    }
  });

  it('repeat nothing of a request', async (test) => {
    const probes = await open(test);
    const client = await raw(test, probes);
    const head = { headers: { 'X-Name': 'echo-me', Connection: 'close' } };
    await client.write(requestText('/echo-me?echo-me', head));
    assert.equal(await client.ended, 'FIN');
    assert.doesNotMatch(client.received, /echo-me/);
  });

  it('can be moved and switched off', async (test) => {
    const paths = { livez: '/alive', readyz: ['/a', '/b'], startupz: false, metrics: '/prometheus' };
    const probes = await open(test, { paths });
    assert.deepEqual(
      await statuses(probes, ['/alive', '/a', '/b', '/healthz', '/prometheus']),
      [200, 503, 503, 503, 200],
    );
    const gone = ['/livez', '/live', '/readyz', '/ready', '/startupz', '/metrics'];
    assert.deepEqual(
      await statuses(probes, gone),
      gone.map(() => 404),
    );
    assert.equal((await ask(await open(test, { metrics: false }), '/metrics')).status, 404);
  });
});

describe('a termination', () => {
  for (const transport of [plain, ...others]) {
    it(`takes readiness away at once and leaves liveness, over ${transport.name}`, async (test) => {
      const { handler, arrived, open: answer } = gatedHandler();
      const { server, terminator } = await serve(test, transport, handler);
      const probes = await open(test, { terminators: [terminator] });
      probes.signalReady();
      assert.deepEqual(await statuses(probes), [200, 200, 200, 200]);
      const client = await connect(transport, server);
      await client.write(requestText('/hanging'));
      await arrived('/hanging');
      const prober = await startProber(test, probes.port, ['/readyz', '/livez']);

      const terminated = terminator.terminate();
      const began = Date.now();
      // What is answered from here on was asked while JavaScript could not say anything.
      prober.blockUntilAnswered(8, 300);
      const answers = (await prober.stop()).filter(({ asked }) => asked > began);
      assert.ok(answers.length >= 4, `${answers.length} answers`);
      for (const { path: target, status, body } of answers) {
        assert.equal(status, target === '/readyz' ? 503 : 200);
        if (target === '/readyz') assert.deepEqual(JSON.parse(body).reasons, ['terminating']);
      }
      assert.equal((await ask(probes, '/healthz?verbose')).body.state, 'draining');

      answer('/hanging');
      await terminated;
      assert.deepEqual(await statuses(probes), [200, 503, 200, 503]);
      assert.equal((await ask(probes, '/readyz?verbose')).body.state, 'terminated');

      server.listen({ port: 0, host: '127.0.0.1' });
      await once(server, 'listening');
      assert.deepEqual(await statuses(probes), [200, 200, 200, 200]);
    });
  }

  it('counts during the delay, of any terminator, and through another one of the same server', async (test) => {
    const { terminator } = await serve(test, plain, () => {}, { shutdownDelay: 60_000 });
    const { server: otherServer, terminator: other } = await serve(test, plain, () => {});
    const probes = await open(test, { terminators: [terminator, other] });
    probes.signalReady();
    terminator.terminate();
    const { status, body } = await ask(probes, '/readyz?verbose');
    assert.deepEqual([status, body.state], [503, 'delaying']);

    const second = await open(test, { terminators: [other] });
    second.signalReady();
    assert.deepEqual(await statuses(second), [200, 200, 200, 200]);
    other.detach();
    await createHttpTerminator({ server: otherServer }).terminate();
    assert.deepEqual(await statuses(second), [200, 503, 200, 503]);
  });

  it('of a terminator that was detached and used again counts', async (test) => {
    const { terminator } = await serve(test, plain, () => {});
    const probes = await open(test, { terminators: [terminator] });
    probes.signalReady();
    terminator.detach();
    assert.deepEqual(await statuses(probes), [200, 200, 200, 200]);
    await terminator.terminate();
    assert.deepEqual(await statuses(probes), [200, 503, 200, 503]);
  });
});

describe('a blocked event loop', () => {
  it('turns liveness red beyond the threshold, and green again after it, while every probe is answered', async (test) => {
    const probes = await open(test, { stallThreshold: 1000 });
    probes.signalReady();
    const prober = await startProber(test, probes.port, ['/livez', '/readyz', '/metrics']);
    const began = Date.now();
    prober.blockUntilAnswered(102, 3000);
    const ended = Date.now();
    await until(async () => (await ask(probes, '/livez')).status === 200);
    const answers = await prober.stop();

    const between = (from, to) => answers.filter(({ asked, at }) => asked >= began + from && at < began + to);
    const of = (target, list) => [
      ...new Set(list.filter((answer) => answer.path === target).map(({ status }) => status)),
    ];
    assert.ok(between(0, ended - began).length > 100, 'probes were answered all the time');
    // A loop that beats every 100 ms is found out within 100 ms; the margins are the machine's.
    assert.deepEqual(of('/livez', between(0, 700)), [200]);
    assert.deepEqual(of('/livez', between(1400, 2900)), [503]);
    assert.deepEqual(of('/readyz', between(1400, 2900)), [503]);
    assert.deepEqual(of('/metrics', answers), [200]);
    const stalled = between(1400, 2900).find((answer) => answer.path === '/livez');
    assert.deepEqual(JSON.parse(stalled.body).reasons, ['stalled']);
    const lag = ({ body }) => Number(/^nodejs_eventloop_lag_seconds (.*)$/m.exec(body)[1]);
    const lags = between(2000, 2900)
      .filter((answer) => answer.path === '/metrics')
      .map(lag);
    assert.ok(lags.length > 0 && lags.every((seconds) => seconds > 1.5 && seconds < 4), `${lags}`);
    assert.deepEqual(await statuses(probes), [200, 200, 200, 200]);
  });

  it('is no stall with a threshold of Infinity', async (test) => {
    const probes = await open(test, { stallThreshold: Number.POSITIVE_INFINITY });
    const prober = await startProber(test, probes.port, ['/livez']);
    prober.blockUntilAnswered(10, 500);
    assert.deepEqual([...new Set((await prober.stop()).map(({ status }) => status))], [200]);
  });
});

describe('checks', () => {
  it('are run by themselves and decide on readiness', async (test) => {
    let works = true;
    let runs = 0;
    const checks = {
      async database() {
        runs += 1;
        if (!works) throw new Error('a secret');
      },
      cache: () => true,
    };
    const probes = await open(test, { checks, checkInterval: 5 });
    probes.signalReady();
    await until(async () => (await ask(probes, '/readyz')).status === 200);
    works = false;
    await until(async () => (await ask(probes, '/readyz')).status === 503);
    const { body, text } = await ask(probes, '/readyz?verbose');
    assert.deepEqual(body.reasons, ['check-failed']);
    assert.deepEqual(body.checks, { database: 'failed', cache: 'passed' });
    assert.doesNotMatch(text, /secret/);
    assert.equal((await ask(probes, '/livez')).status, 200);
    works = true;
    await until(async () => (await ask(probes, '/readyz')).status === 200);

    await probes.close();
    const runsAtClose = runs;
    await new Promise((resolve) => setTimeout(resolve, 30));
    assert.equal(runs, runsAtClose);
  });

  it('that take too long have failed, are told so, and are run again', async (test) => {
    const signals = [];
    const checks = {
      slow(signal) {
        signals.push(signal);
        if (signals.length === 1) return new Promise(() => {});
      },
    };
    const probes = await open(test, { checks, checkInterval: 20, checkTimeout: 100 });
    probes.signalReady();
    const pending = await ask(probes, '/readyz?verbose');
    assert.deepEqual([pending.body.reasons, pending.body.checks], [['check-pending'], { slow: 'pending' }]);
    await until(() => signals[0].aborted);
    await until(async () => (await ask(probes, '/readyz')).status === 200);
    assert.ok(signals.length >= 2);
    assert.equal(signals[1].aborted, false);
  });

  it('are never run by a probe', async (test) => {
    let runs = 0;
    const probes = await open(test, { checks: { count: () => (runs += 1) } });
    await statuses(probes, ['/readyz', '/healthz?verbose', '/metrics', '/readyz']);
    assert.equal(runs, 1);
  });
});

describe('metrics', () => {
  it('are valid, and tell of connections and of what a termination did', async (test) => {
    const { handler, arrived, open: answer } = gatedHandler();
    const { server, terminator } = await serve(test, plain, handler);
    const idle = await connect(plain, server);
    await idle.write(requestText('/'));
    await idle.until(/answer to/);
    const active = await connect(plain, server);
    await active.write(requestText('/hanging'));
    await arrived('/hanging');
    const probes = await open(test, { terminators: [terminator] });
    const value = async (name) => {
      const { text } = await ask(probes, '/metrics');
      return Number(
        text
          .split('\n')
          .find((line) => line.startsWith(`${name} `))
          ?.slice(name.length),
      );
    };
    const { headers, text } = await ask(probes, '/metrics');
    assert.equal(headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
    assertValid(text);
    assert.equal(await value('http_terminator_state{state="serving"}'), 1);
    assert.equal(await value('http_terminator_connections{protocol="http",state="idle"}'), 1);
    assert.equal(await value('http_terminator_connections{protocol="http",state="active"}'), 1);
    assert.equal(await value('http_terminator_active_requests'), 1);
    assert.equal(await value('http_terminator_drain_duration_seconds'), 0);

    const terminated = terminator.terminate();
    assert.equal(await value('http_terminator_state{state="serving"}'), 0);
    assert.equal(await value('http_terminator_state{state="draining"}'), 1);
    answer('/hanging');
    const { durationMs, connections, requests } = await terminated;
    assert.equal(await value('http_terminator_state{state="terminated"}'), 1);
    for (const [reason, count] of Object.entries(connections)) {
      assert.equal(await value(`http_terminator_connections_closed_total{reason="${reason}"}`), count);
    }
    for (const [outcome, count] of Object.entries(requests)) {
      assert.equal(await value(`http_terminator_requests_during_drain_total{outcome="${outcome}"}`), count);
    }
    assert.equal(requests.completed, 1);
    assert.equal(await value('http_terminator_connections{protocol="http",state="idle"}'), 0);
    assert.ok(Math.abs((await value('http_terminator_drain_duration_seconds')) * 1e3 - durationMs) < 0.01);
    assertValid((await ask(probes, '/metrics')).text);
  });

  it('are refreshed while the server is serving', async (test) => {
    const { server, terminator } = await serve(test, plain, () => {});
    const probes = await open(test, { terminators: [terminator] });
    await connect(plain, server);
    await until(async () =>
      / 1$/m.test(/^http_terminator_connections\{.*idle.*$/m.exec((await ask(probes, '/metrics')).text)[0]),
    );
  });

  it('pass promtool', { skip: withoutPromtool() }, async (test) => {
    const { terminator } = await serve(test, plain, () => {});
    const { text } = await ask(await open(test, { terminators: [terminator] }), '/metrics');
    const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' });
    assert.deepEqual({ status, said: stdout + stderr }, { status: 0, said: '' });
  });
});

/** CI must have it, and elsewhere its absence is no failure. */
function withoutPromtool() {
  const { error } = spawnSync('promtool', ['--version']);
  if (error === undefined) return false;
  if (process.env.REQUIRE_PROMTOOL === '1') throw error;
  return 'promtool is not on the PATH';
}

/** What promtool looks at first: each family is described before its samples, and only once. */
function assertValid(text) {
  assert.match(text, /\n$/);
  let family = '';
  const families = [];
  for (const line of text.trimEnd().split('\n')) {
    const described = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line);
    if (described?.[1] === 'HELP') {
      family = described[2];
      families.push(family);
    } else if (described) {
      assert.equal(described[2], family);
      assert.equal(described[3] === 'counter', family.endsWith('_total'));
    } else {
      assert.match(line, new RegExp(`^${family}(\\{\\w+="\\w+"(,\\w+="\\w+")*\\})? \\d+(\\.\\d+)?$`));
    }
  }
  assert.equal(new Set(families).size, 7);
  assert.equal(families.length, 7);
}

describe('strangers', () => {
  it('have 64 connections, of which the one that was silent for longest makes room', async (test) => {
    const probes = await open(test);
    const clients = [];
    for (let count = 0; count < 64; count += 1) {
      const client = await raw(test, probes);
      await client.write(requestText('/livez'));
      await client.until(/ok/);
      clients.push(client);
    }
    // The first one speaks once more, so the second one has been silent for longest.
    await clients[0].write(requestText('/livez'));
    await until(() => clients[0].answers.length === 2);
    const another = await raw(test, probes);
    await another.write(requestText('/livez'));
    await another.until(/ok/);
    assert.equal(await clients[1].ended, 'FIN');
    await clients[0].write(requestText('/livez'));
    await until(() => clients[0].answers.length === 3);
  });

  const stops = { skip: process.platform !== 'linux' && 'nothing shows that a process has stopped' };

  it('keep nobody out who asked before they came, however many come at once', stops, async (test) => {
    const program = startProgram(
      test,
      `require('http-terminator-native').createProbeServer({ port: 0, host: '127.0.0.1' }).then(({ port }) => say({ port }));`,
    );
    const probes = await program.said((message) => message.port);
    program.child.kill('SIGSTOP');
    const tasks = `/proc/${program.child.pid}/task`;
    const isStopped = (task) => /\) T /.test(fs.readFileSync(path.join(tasks, task, 'stat'), 'latin1'));
    await until(() => fs.readdirSync(tasks).every(isStopped));
    const client = await raw(test, probes);
    await client.write(requestText('/livez'));
    for (let count = 0; count < 100; count += 1) await raw(test, probes);
    program.child.kill('SIGCONT');
    await client.until(/ok/);
  });

  it('have five seconds for a request, on a new connection as on a used one', async (test) => {
    const probes = await open(test);
    const [silent, half, used, deaf] = [
      await raw(test, probes),
      await raw(test, probes),
      await raw(test, probes),
      await raw(test, probes),
    ];
    const began = performance.now();
    await half.write('GET /livez HTTP/1.1\r\nHost: ');
    await used.write(requestText('/livez'));
    await used.until(/ok/);
    // Asks for more than anybody's buffers hold and takes nothing of it.
    deaf.socket.pause();
    deaf.socket.write(requestText('/metrics').repeat(20_000));
    // A byte now and then makes no request. Whoever does not read learns by writing that it was cut off.
    const trickle = setInterval(() => {
      for (const { socket } of [half, deaf]) if (socket.writable) socket.write('a');
    }, 200);
    test.after(() => clearInterval(trickle));
    await Promise.all([silent.ended, half.ended, used.ended]);
    const took = performance.now() - began;
    assert.ok(took > 4900 && took < 15_000, `${took} ms`);
    assert.equal(used.answers.length, 1);
    assert.equal(used.answers[0].headers['keep-alive'], 'timeout=5');
    assert.match(await deaf.ended, /^(ECONNRESET|EPIPE)$/);
    assert.deepEqual(await statuses(probes, ['/livez']), [200]);
  });

  it('are refused heads over 8 KiB', async (test) => {
    const probes = await open(test);
    const fits = await raw(test, probes);
    await fits.write(requestText('/livez', { headers: { 'X-Long': 'a'.repeat(7000), Connection: 'close' } }));
    assert.equal(await fits.ended, 'FIN');
    assert.equal(fits.answers[0].status, 200);
    for (const text of [
      requestText('/livez', { headers: { 'X-Long': 'a'.repeat(9000) } }),
      requestText('/livez', { headers: Object.fromEntries(Array.from({ length: 200 }, (_, at) => [`X-${at}`, '1'])) }),
      requestText(`/livez?${'a'.repeat(9000)}`),
    ]) {
      const client = await raw(test, probes);
      await client.write(text);
      assert.equal(await client.ended, 'FIN');
      assert.match(String(client.answers[0].status), /^(431|414)$/);
      assert.equal(client.answers.length, 1);
    }
  });

  it('are refused bodies', async (test) => {
    const probes = await open(test);
    for (const [method, status, request] of [
      ['GET', 413, { headers: { 'Content-Length': 20 }, body: 'half of a ' }],
      ['GET', 413, { headers: { 'Transfer-Encoding': 'chunked' }, body: '4\r\nbody\r\n0\r\n\r\n' }],
      ['GET', 413, { headers: { 'Content-Length': 50_000 }, body: 'b'.repeat(50_000) }],
      ['GET', 413, { headers: { 'Content-Length': 20, Expect: '100-continue' } }],
      ['POST', 405, { headers: { 'Content-Length': 20 }, body: 'half of a ' }],
    ]) {
      const client = await raw(test, probes);
      await client.write(requestText('/livez', { method, ...request }));
      assert.equal(await client.ended, 'FIN');
      assert.deepEqual(
        client.answers.map((answer) => answer.status),
        [status],
      );
      assert.equal(client.answers[0].headers.connection, 'close');
    }
  });

  it('get 400 for what is no HTTP, and an answer after half a close', async (test) => {
    const probes = await open(test);
    const wrong = await raw(test, probes);
    await wrong.write('what is this\r\n\r\n');
    assert.equal(await wrong.ended, 'FIN');
    assert.match(wrong.received, /^HTTP\/1\.1 400 /);
    const half = await raw(test, probes);
    half.socket.end('GET /livez HTTP/1.0\r\n\r\n');
    assert.equal(await half.ended, 'FIN');
    assert.equal(half.answers[0].body, '{"status":"ok"}');
  });

  it('may send requests one behind the other', async (test) => {
    const probes = await open(test);
    const client = await raw(test, probes);
    await client.write(requestText('/livez') + requestText('/readyz') + requestText('/nothing'));
    await until(() => client.answers.length === 3 && client.answers[2].whole);
    assert.deepEqual(
      client.answers.map(({ status }) => status),
      [200, 503, 404],
    );
  });
});

describe('the probe server', () => {
  it('says where it listens until it is closed, and then its port is free', async (test) => {
    const probes = await open(test);
    const { port } = probes;
    assert.deepEqual(probes.address(), { address: '127.0.0.1', family: 'IPv4', port });
    const client = await raw(test, probes);
    await probes.close();
    assert.equal(probes.address(), null);
    assert.equal(probes.port, port);
    await client.ended;
    // The same port at once, and a second close that closes nobody else's server.
    const again = await open(test, { port });
    await probes.close();
    probes.signalReady();
    probes.signalNotReady();
    probes.signalStarted();
    assert.equal((await ask(again, '/readyz')).status, 503);
    await again[Symbol.asyncDispose]();
    const server = net.createServer().listen(port, '127.0.0.1');
    await once(server, 'listening');
    server.close();
  });

  it('listens on every address by default, and on localhost by name', async (test) => {
    const everywhere = await open(test, { host: undefined });
    assert.equal((await ask(everywhere, '/livez')).status, 200);
    assert.match(everywhere.address().address, /^(::|0\.0\.0\.0)$/);
    const local = await open(test, { host: 'localhost' });
    assert.equal(local.address().address, '127.0.0.1');
  });

  it('rejects with the code of what keeps it from listening, and names the address', async (test) => {
    const { terminator, server } = await serve(test, plain, () => {});
    terminator.detach();
    const before = server.eventNames();
    const { port } = await open(test);
    const errno = -constants.errno.EADDRINUSE;
    const taken = { code: 'EADDRINUSE', errno, syscall: 'listen', address: '127.0.0.1', port };
    const message = `listen EADDRINUSE: address already in use 127.0.0.1:${port}`;
    await assert.rejects(createProbeServer({ port, host: '127.0.0.1', terminators: [terminator] }), {
      ...taken,
      message,
    });
    assert.deepEqual(server.eventNames(), before, 'nothing is left attached');
    await assert.rejects(createProbeServer({ port: 0, host: '192.0.2.1' }), {
      code: 'EADDRNOTAVAIL',
      message: /address not available 192\.0\.2\.1:0$/,
    });
  });

  it('leaves nothing attached when it is closed', async (test) => {
    const { terminator, server } = await serve(test, plain, () => {});
    terminator.detach();
    const before = server.eventNames();
    const probes = await open(test, { terminators: [terminator] });
    assert.notDeepEqual(server.eventNames(), before);
    await probes.close();
    assert.deepEqual(server.eventNames(), before);
  });

  const invalidType = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' };
  const invalidValue = { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' };
  const outOfRange = { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' };
  for (const [what, options, error, message] of [
    ['no options', undefined, invalidType, 'The "options" argument must be an object. Received undefined'],
    ['no port', {}, invalidType, 'The "options.port" property must be of type number. Received undefined'],
    ['a port of text', { port: '80' }, invalidType, /"options\.port".* Received type string \('80'\)$/],
    ...[-1, 65536, 1.5, Number.NaN].map((port) => [
      `port ${port}`,
      { port },
      outOfRange,
      new RegExp(`Received ${port}$`),
    ]),
    ['a host that is no text', { host: 5 }, invalidType, /"options\.host".*\(5\)$/],
    ...['no.such.host', '', '127.0.0.1:80', '300.1.1.1', 'fe80::1%lo'].map((host) => [
      `the host '${host}'`,
      { host },
      invalidValue,
      `The property 'options.host' must be an IP address or 'localhost'. Received '${host}'`,
    ]),
    [
      'a terminator outside of a list',
      { terminators: {} },
      invalidType,
      /"options\.terminators" .*an instance of Object$/,
    ],
    [
      'a server for a terminator',
      { terminators: [http.createServer()] },
      invalidType,
      /"options\.terminators\[0\]".* Received an instance of Server$/,
    ],
    ['null for a terminator', { terminators: [null] }, invalidType, /"options\.terminators\[0\]".* Received null$/],
    ['a threshold of text', { stallThreshold: '1s' }, invalidType, /"options\.stallThreshold"/],
    ...[0, -1, Number.NaN].map((stallThreshold) => [
      `a threshold of ${stallThreshold}`,
      { stallThreshold },
      outOfRange,
      new RegExp(`> 0 milliseconds, or Infinity\\. Received ${stallThreshold}$`),
    ]),
    ['paths that are no object', { paths: '/livez' }, invalidType, /"options\.paths" .*'\/livez'/],
    [
      'a path for what there is not',
      { paths: { alive: '/' } },
      invalidValue,
      /'options\.paths' may name only livez,.* Received 'alive'$/,
    ],
    ['a gap in the paths', { paths: { livez: new Array(1) } }, invalidType, /"options\.paths\.livez\[0\]".*undefined$/],
    ['a gap in the terminators', { terminators: new Array(1) }, invalidType, /"options\.terminators\[0\]".*undefined$/],
    ['a path that is true', { paths: { livez: true } }, invalidType, /"options\.paths\.livez".*\(true\)$/],
    ...['livez', '', '/live?z', '/a b', '/a#b', '/a`b', '/ü'].map((livez) => [
      `the path '${livez}'`,
      { paths: { livez } },
      invalidValue,
      /'options\.paths\.livez' must begin with/,
    ]),
    ['a path twice', { paths: { livez: '/readyz' } }, invalidValue, /must not use a path twice\. Received '\/readyz'$/],
    ['metrics that are no boolean', { metrics: 'no' }, invalidType, /"options\.metrics".*'no'/],
    ['checks in a Map', { checks: new Map([['database', () => {}]]) }, invalidType, /"options\.checks".*of Map$/],
    ['paths in a list', { paths: ['/livez'] }, invalidType, /"options\.paths".*of Array$/],
    ['checks that are no object', { checks: 5 }, invalidType, /"options\.checks"/],
    [
      'a check that is no function',
      { checks: { database: 5 } },
      invalidType,
      /"options\.checks\.database" property must be a function/,
    ],
    ['an interval of text', { checkInterval: '1' }, invalidType, /"options\.checkInterval"/],
    ['no interval', { checkInterval: 0 }, outOfRange, /"options\.checkInterval".* Received 0$/],
    [
      'an endless timeout',
      { checkTimeout: Number.POSITIVE_INFINITY },
      outOfRange,
      /"options\.checkTimeout".* Received Infinity$/,
    ],
  ]) {
    it(`refuses ${what}`, async () => {
      const given = options === undefined || what === 'no port' ? options : { port: 0, ...options };
      const promise = createProbeServer(given);
      assert.ok(promise instanceof Promise);
      await assert.rejects(promise, { ...error, message });
    });
  }
});

describe('a process', () => {
  const start = `
    const { createHttpTerminator, createProbeServer } = require('http-terminator-native');`;

  /** Runs a program in a process of its own, which must end by itself and say nothing on stderr. */
  async function run(program, type = 'commonjs') {
    const parameters = [`--input-type=${type}`, '--eval', program];
    const { stdout, stderr } = await promisify(execFile)(process.execPath, parameters, { cwd: root, timeout: 30_000 });
    assert.equal(stderr, '');
    return stdout.trim();
  }

  it('exits although a probe server is open', async () => {
    const checks = '{ never: () => new Promise(() => {}) }';
    assert.equal(
      await run(`${start} createProbeServer({ port: 0, checks: ${checks} }).then(() => console.log('open'));`),
      'open',
    );
    await run(`${start} createProbeServer({ port: 0 }).then(() => process.exit(0));`);
  });

  it('loads nothing of it unless it is called, and can import it by name', async () => {
    const loaded = 'Object.keys(require.cache).some((file) => /probe-[a-z]+\\.js$/.test(file))';
    assert.equal(await run(`${start} console.log(${loaded});`), 'false');
    const program = `import { createProbeServer } from 'http-terminator-native';
      const probes = await createProbeServer({ port: 0 });
      console.log(typeof probes.port);`;
    assert.equal(await run(program, 'module'), 'number');
  });

  it('ends the probe servers of a worker with the worker, and no others', async () => {
    const program = `${start}
      const { Worker } = require('node:worker_threads');
      const net = require('node:net');
      const inWorker = \`
        const { createProbeServer } = require('http-terminator-native');
        createProbeServer({ port: 0, host: '${gone}' }).then(({ port }) => {
          require('node:worker_threads').parentPort.postMessage(port);
          setInterval(() => {}, 1000);
        });\`;
      const refused = (port) => new Promise((resolve) => {
        const socket = net.connect(port, '${gone}');
        socket.on('error', (error) => resolve(error.code)).on('connect', () => { socket.destroy(); resolve('connected'); });
      });
      (async () => {
        const ours = await createProbeServer({ port: 0, host: '${gone}' });
        const workers = Array.from({ length: 3 }, () => new Worker(inWorker, { eval: true }));
        const ports = await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once('message', resolve))));
        console.log(await Promise.all(ports.map(refused)));
        await Promise.all(workers.map((worker) => worker.terminate()));
        console.log(await Promise.all(ports.map(refused)), await refused(ours.port));
      })();`;
    const connected = "[ 'connected', 'connected', 'connected' ]";
    const refused = "[ 'ECONNREFUSED', 'ECONNREFUSED', 'ECONNREFUSED' ]";
    assert.equal(await run(program), `${connected}\n${refused} connected`);
  });

  it('opens and closes a thousand of them and has no thread more', { skip: process.platform !== 'linux' }, async () => {
    const program = `${start}
      const threads = () => require('node:fs').readdirSync('/proc/self/task').length;
      (async () => {
        const before = threads();
        for (let count = 0; count < 1000; count += 1) await (await createProbeServer({ port: 0, host: '${ofMany(0)}' })).close();
        console.log(threads() - before);
      })();`;
    assert.equal(await run(program), '0');
  });
});
