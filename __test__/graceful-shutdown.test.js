// From a signal to the exit of a process: processes of their own, real signals, and what is left of them.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const http = require('node:http');
const http2 = require('node:http2');
const net = require('node:net');
const { describe, it } = require('node:test');
const { createGracefulShutdown, createHttpTerminator, createProbeServer } = require('..');
const { whenLeaving } = require('../lib/leaving');
const { underWay } = require('../lib/under-way');
const { Client, connect, requestText } = require('./support/client');
const { startProgram } = require('./support/process');
const { gatedHandler, serve, turn } = require('./support/server');
const { transports } = require('./support/transports');

/** A server whose requests are answered when the program is told `answer`. It says its port. */
const serving = (options = '') => `
  const server = http.createServer(async (request, response) => {
    response.on('error', () => {});
    say('request ' + request.url);
    await told(request.url === '/never' ? 'never' : 'answer');
    response.end('answer to ' + request.url);
  });
  const terminator = createHttpTerminator({ server, httpResponseTimeout: 60_000, ${options} });
  server.listen(0, '127.0.0.1', () => say({ port: server.address().port }));`;

const portOf = async (program) => (await program.said((message) => message.port)).port;

/** A client that sends a request to the program, and waits until it has come. */
async function request(program, path, text = requestText(path)) {
  const socket = net.connect({ port: await portOf(program), host: '127.0.0.1', allowHalfOpen: true });
  await once(socket, 'connect');
  const client = new Client(socket);
  await client.write(text);
  return client;
}

describe('a graceful shutdown', () => {
  for (const signal of ['SIGTERM', 'SIGINT']) {
    it(`on ${signal} runs hooks, all terminators at once, hooks in reverse, and exits with 0`, async (test) => {
      const program = startProgram(
        test,
        `
        const step = (name) => async (reason) => {
          say(name + ' on ' + reason);
          await new Promise(setImmediate);
          say(name + ' has ended');
        };
        const ended = [];
        const terminator = (name) => ({
          terminate: () => new Promise((resolve) => {
            say(name);
            ended.push(resolve);
            if (ended.length < 2) return;
            say('both');
            for (const end of ended) end();
          }),
        });
        createGracefulShutdown({
          terminators: [terminator('one'), terminator('two')],
          beforeTerminate: [step('first'), step('second')],
          afterTerminate: [step('opened first'), step('opened last')],
        });
        setInterval(() => {}, 1000);
        process.on('exit', () => say('exit'));
        say('running');`,
      );
      await program.said('running');
      program.signal(signal);
      const { code, messages, stderr } = await program.ended;
      assert.equal(code, 0);
      assert.equal(stderr, '');
      assert.deepEqual(messages, [
        'running',
        `first on ${signal}`,
        'first has ended',
        `second on ${signal}`,
        'second has ended',
        'one',
        'two',
        'both',
        `opened last on ${signal}`,
        'opened last has ended',
        `opened first on ${signal}`,
        'opened first has ended',
        'exit',
      ]);
    });
  }

  it('answers the requests in flight whole, and then closes what they need', async (test) => {
    const program = startProgram(
      test,
      `${serving()}
      const { signal } = createGracefulShutdown({
        terminators: [terminator],
        afterTerminate: () => say(['after', terminator.state, server.listening]),
      });
      signal.addEventListener('abort', () => setImmediate(say, 'stopping'));`,
    );
    const client = await request(program, '/slow');
    await program.said('request /slow');
    program.signal('SIGTERM');
    await program.said('stopping');
    program.tell('answer');
    assert.equal(await client.ended, 'FIN');
    assert.equal(client.answers[0].body, 'answer to /slow');
    assert.equal(client.answers[0].headers.connection, 'close');
    const { code, messages, stderr } = await program.ended;
    assert.equal(code, 0);
    assert.equal(stderr, '');
    assert.deepEqual(messages.at(-1), ['after', 'terminated', false]);
  });

  for (const onError of [true, false]) {
    it(`exits with 1 if a listener to exit throws, with onError: ${onError}`, async (test) => {
      const program = startProgram(
        test,
        `process.on('exit', () => { throw new Error('on the way out'); });
        setInterval(() => {}, 1000);
        createGracefulShutdown({ onError: ${onError} }).start();`,
      );
      const { code, stderr } = await program.ended;
      assert.equal(code, 1);
      assert.equal(stderr.match(/Error: on the way out/g).length, 1);
    });
  }

  it('turns readiness red before the first hook runs', async () => {
    const server = http.createServer();
    const terminator = createHttpTerminator({ server });
    const seen = [];
    const look = (who) => seen.push([who, shutdown.state, shutdown.signal.aborted, terminator.state]);
    whenLeaving(terminator, () => look('readiness'));
    const notNow = whenLeaving(terminator, () => seen.push('taken back'));
    notNow();
    const shutdown = createGracefulShutdown({
      terminators: [terminator],
      signals: [],
      beforeTerminate: () => look('before'),
      afterTerminate: () => look('after'),
      exit: false,
    });
    shutdown.signal.addEventListener('abort', () => seen.push(`signal for ${shutdown.signal.reason}`));
    assert.equal(shutdown.state, 'running');
    assert.equal(shutdown.signal.aborted, false);
    const report = shutdown.start('the test');
    assert.deepEqual(seen.slice(0, 3), [
      ['readiness', 'stopping', false, 'serving'],
      'signal for the test',
      ['before', 'stopping', true, 'serving'],
    ]);
    await restoringExitCode(report);
    assert.deepEqual(seen.slice(3), [['after', 'stopping', true, 'terminated']]);
    assert.equal(shutdown.state, 'stopped');
    let told = false;
    whenLeaving(terminator, () => {
      told = true;
    });
    assert.equal(told, true, 'who asks later is told at once');
  });

  it('shares one promise between all callers, and shows them its report before it exits', async (test) => {
    const program = startProgram(
      test,
      `${serving()}
      const shutdown = createGracefulShutdown({ terminators: terminator, beforeTerminate: () => told('go on') });
      told('start').then(async () => {
        const { start } = shutdown;
        const first = start('asked');
        process.once('SIGTERM', async () => {
          say(['shared', first === start('again'), first === shutdown.start()]);
          const { durationMs, terminations, ...report } = await first;
          say([report, durationMs > 0, terminations[0].graceful, process.exitCode]);
        });
        say('started');
      });`,
    );
    await portOf(program);
    program.tell('start');
    await program.said('started');
    // The first signal joins the shutdown that was started by hand.
    program.signal('SIGTERM');
    await program.said((message) => message[0] === 'shared');
    program.tell('go on');
    const { code, messages, stderr } = await program.ended;
    assert.equal(code, 0);
    assert.equal(stderr, '');
    assert.deepEqual(messages.slice(2), [
      ['shared', true, true],
      [{ graceful: true, exitCode: 0, reason: 'asked', errors: [] }, true, true, 0],
    ]);
  });

  it('needs neither terminators nor hooks', async (test) => {
    const program = startProgram(test, `createGracefulShutdown({}); setInterval(() => {}, 1000); say('running');`);
    await program.said('running');
    program.signal('SIGTERM');
    const { code, stderr } = await program.ended;
    assert.deepEqual([code, stderr], [0, '']);
  });

  it('does not keep the process alive before it starts', async (test) => {
    const program = startProgram(
      test,
      `createGracefulShutdown({ afterTerminate: () => say('after'), enforce: true, onError: true });
      process.removeAllListeners('disconnect');
      process.disconnect();`,
    );
    const { code, messages } = await program.ended;
    assert.deepEqual([code, messages], [0, []]);
  });
});

describe('what fails in a shutdown', () => {
  it('never stops the others, and makes the exit code 1', async (test) => {
    const program = startProgram(
      test,
      `${serving()}
      const never = new Promise(() => {});
      createGracefulShutdown({
        terminators: [terminator, { async terminate() { throw new Error('no end'); } }, { terminate() { throw 5; } }],
        beforeTerminate: [function throwing() { throw new Error('thrown'); }, () => say('before')],
        afterTerminate: [
          () => say('after'),
          async function rejecting() { throw new Error('rejected'); },
          () => never,
          () => say('first of the last'),
        ],
        hookTimeout: 30,
      });`,
    );
    await portOf(program);
    program.signal('SIGTERM');
    const { code, messages, stderr } = await program.ended;
    assert.equal(code, 1);
    assert.deepEqual(messages.slice(1), ['before', 'first of the last', 'after']);
    assert.match(stderr, /^http-terminator-native: throwing \(beforeTerminate\[0\]\) failed: Error: thrown\n {4}at /m);
    assert.match(stderr, /^http-terminator-native: terminators\[1\] failed: Error: no end$/m);
    assert.match(stderr, /^http-terminator-native: terminators\[2\] failed: 5$/m);
    assert.match(stderr, /rejecting \(afterTerminate\[1\]\) failed: Error: rejected$/m);
    assert.match(stderr, /afterTerminate\[2\] failed: Error: afterTerminate\[2\] took longer than 30 ms$/m);
  });

  it('is in the report', async (test) => {
    const program = startProgram(
      test,
      `
      const shutdown = createGracefulShutdown({
        terminators: { terminate: () => Promise.reject(new Error('no end')) },
        beforeTerminate: () => new Promise(() => {}),
        hookTimeout: 20,
        signals: [],
      });
      shutdown.start().then(({ graceful, exitCode, errors, terminations }) => {
        say([graceful, exitCode, errors.map(({ name, error }) => [name, error.code ?? error.message]), terminations]);
      });`,
    );
    const { code, messages } = await program.ended;
    assert.equal(code, 1);
    assert.deepEqual(messages, [
      [
        false,
        1,
        [
          ['beforeTerminate', 'ERR_HOOK_TIMEOUT'],
          ['terminators[0]', 'no end'],
        ],
        [null],
      ],
    ]);
  });

  it('includes a termination that had to cut requests', async (test) => {
    const program = startProgram(
      test,
      `${serving().replace('60_000', '30')}
      createGracefulShutdown({ terminators: [terminator], afterTerminate: () => say('after') });`,
    );
    const client = await request(program, '/never');
    await program.said('request /never');
    program.signal('SIGTERM');
    const { code, messages, stderr } = await program.ended;
    assert.equal(code, 1);
    assert.equal(messages.at(-1), 'after');
    assert.match(
      stderr,
      /^http-terminator-native: terminators\[0\] had to force an end to what was left: GET \/never\n$/,
    );
    await client.ended;
  });
});

describe('what hooks and terminators of others may do', () => {
  it('a foreign report without details counts, and what cannot be shown stops nothing', async (test) => {
    const program = startProgram(
      test,
      `
      const { inspect } = require('node:util');
      const hostile = { [inspect.custom]() { throw hostile; } };
      createGracefulShutdown({
        terminators: [{ terminate: () => ({ graceful: false }) }, { terminate: () => null }],
        beforeTerminate: () => { throw hostile; },
        afterTerminate: () => say('after'),
      }).start();`,
    );
    const { code, messages, stderr } = await program.ended;
    assert.deepEqual([code, messages], [1, ['after']]);
    assert.equal(
      stderr,
      'http-terminator-native: beforeTerminate failed: something that cannot be shown\n' +
        'http-terminator-native: terminators[0] had to force an end\n',
    );
  });
});

describe('the timeout of a shutdown', () => {
  const forced =
    /^http-terminator-native: the shutdown was forced, since it took longer than 60 ms; still running: (.*)\n$/;

  it('exits with 1 and names the hook, and the requests and tasks that it kept waiting', async (test) => {
    const program = startProgram(
      test,
      `${serving()}
      terminator.waitUntil(new Promise(() => {}));
      createGracefulShutdown({
        terminators: [terminator],
        beforeTerminate: [async function leaveRegistry() { await new Promise(() => {}); }],
        afterTerminate: () => say('after'),
        timeout: 60,
      });`,
    );
    const client = await request(program, '/never?a=1', requestText('/never?a=1', { method: 'POST' }));
    await program.said('request /never?a=1');
    program.signal('SIGTERM');
    const { code, messages, stderr } = await program.ended;
    assert.equal(code, 1);
    assert.equal(messages.at(-1), 'request /never?a=1');
    const [, running] = forced.exec(stderr);
    assert.equal(running, 'leaveRegistry (beforeTerminate[0]), POST /never?a=1, 1 task');
    await client.ended;
  });

  it('names the terminators and what is under way on them', async (test) => {
    const program = startProgram(
      test,
      `${serving()}
      server.on('upgrade', (request, socket) => { socket.on('error', () => {}); say('request ' + request.url); });
      const tasks = [1, 2].map(() => terminator.waitUntil(new Promise(() => {})));
      createGracefulShutdown({
        terminators: [terminator, { terminate: () => new Promise(() => {}) }],
        timeout: 60,
      });`,
    );
    const [, upgraded] = [
      await request(program, '/never'),
      await request(program, '/chat', requestText('/chat', { headers: { Connection: 'upgrade', Upgrade: 'chat' } })),
    ];
    await program.said('request /never');
    await program.said('request /chat');
    program.signal('SIGTERM');
    const { code, stderr } = await program.ended;
    assert.equal(code, 1);
    const [, running] = forced.exec(stderr);
    assert.equal(running, 'terminators[0], terminators[1], GET /chat, GET /never, 2 tasks');
    await upgraded.ended;
  });

  it('counts half-received requests, and requests beyond the tenth', async (test) => {
    const half = startProgram(
      test,
      `${serving()}
      server.on('connection', (socket) => socket.once('data', () => say('data')));
      createGracefulShutdown({ terminators: [terminator], timeout: 60 });`,
    );
    await request(half, '', 'GET /ne');
    await half.said('data');
    half.signal('SIGTERM');
    assert.equal(forced.exec((await half.ended).stderr)[1], 'terminators[0], 1 half-received request');

    const many = startProgram(
      test,
      `${serving()}
      createGracefulShutdown({ terminators: [terminator], timeout: 60 });`,
    );
    const url = `/${'x'.repeat(300)}`;
    for (let number = 0; number < 12; number += 1) await request(many, `${url}${number}`);
    await many.said(`request ${url}11`);
    many.signal('SIGTERM');
    const [, running] = forced.exec((await many.ended).stderr);
    assert.equal(running.split(', ').length, 12);
    assert.match(running, /^terminators\[0\], (GET \/x{199}\.\.\., ){10}2 further requests$/);
  });

  it('counts what was done in time, even if the event loop was blocked when it passed', async (test) => {
    const program = startProgram(
      test,
      `createGracefulShutdown({
        beforeTerminate: () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100),
        afterTerminate: async () => say('after'),
        hookTimeout: 50,
        timeout: 60,
      }).start();`,
    );
    const { code, messages, stderr } = await program.ended;
    assert.deepEqual([code, messages, stderr], [0, ['after'], '']);
  });
});

describe('what is under way', () => {
  for (const transport of transports) {
    it(`is known while serving and while terminating, over ${transport.name}`, async (test) => {
      const { handler, arrived, open } = gatedHandler();
      const { server, terminator } = await serve(test, transport, handler);
      const [asking, halfway] = [await connect(transport, server), await connect(transport, server)];
      await connect(transport, server);
      await asking.write(requestText('/slow', { method: 'POST' }));
      await arrived('/slow');
      await halfway.write('GET /ha');
      while (!(halfway.serverSocket.bytesRead > 0)) await turn();
      terminator.waitUntil(Promise.resolve());
      terminator.waitUntil(new Promise(() => {}));
      await turn();
      const expected = ['POST /slow', '1 half-received request', '1 task'];
      assert.deepEqual(underWay([terminator]), expected);
      const another = createHttpTerminator({ server, httpResponseTimeout: 0 });
      const terminated = terminator.terminate();
      assert.deepEqual(underWay([terminator, another, {}]), expected);
      open('/slow');
      await Promise.all([terminated, another.terminate()]);
      assert.deepEqual(underWay([terminator]), []);
    });
  }

  it('is known over HTTP/2', async (test) => {
    const server = http2.createServer();
    const terminator = createHttpTerminator({ server, httpResponseTimeout: 0 });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const session = http2.connect(`http://127.0.0.1:${server.address().port}`);
    test.after(() => session.destroy());
    session.on('error', () => {});
    const stream = session.request({ ':path': '/stream' }).on('error', () => {});
    await once(server, 'stream');
    assert.deepEqual(underWay([terminator]), ['GET /stream']);
    // It ends by an error, as every stream does that is cut.
    const closed = new Promise((resolve) => stream.once('close', resolve));
    await terminator.terminate();
    await closed;
    assert.deepEqual(underWay([terminator]), []);
  });
});

describe('a second signal', () => {
  for (const [first, second] of [
    ['SIGINT', 'SIGINT'],
    ['SIGTERM', 'SIGINT'],
  ]) {
    it(`exits with 1 at once (${first}, ${second})`, async (test) => {
      const program = startProgram(
        test,
        `${serving()}
        const { signal } = createGracefulShutdown({ terminators: [terminator], afterTerminate: () => say('after') });
        signal.addEventListener('abort', () => setImmediate(say, 'stopping'));`,
      );
      const client = await request(program, '/never');
      await program.said('request /never');
      program.signal(first);
      await program.said('stopping');
      program.signal(second);
      const { code, signal, messages, stderr } = await program.ended;
      assert.deepEqual([code, signal], [1, null]);
      assert.equal(messages.at(-1), 'stopping');
      assert.equal(
        stderr,
        `http-terminator-native: the shutdown was forced, since ${second} came while it was running; ` +
          'still running: terminators[0], GET /never\n',
      );
      await client.ended;
    });
  }
});

for (const exit of [true, false]) {
  it(`leaves an exit code that is set and not 0 alone if all goes well, with exit: ${exit}`, async (test) => {
    const program = startProgram(
      test,
      `${serving()}
      const shutdown = createGracefulShutdown({ terminators: [terminator], exit: ${exit} });
      process.exitCode = 3;
      process.once('SIGTERM', async () => {
        const { exitCode, graceful } = await shutdown.start();
        say([exitCode, graceful]);
        process.removeAllListeners('disconnect');
        process.disconnect();
      });`,
    );
    await portOf(program);
    program.signal('SIGTERM');
    const { code, messages } = await program.ended;
    assert.equal(code, 3);
    assert.deepEqual(messages.at(-1), [0, true]);
  });
}

it('takes any number of listeners on its signal without a warning', async (test) => {
  const { signal } = createGracefulShutdown({ signals: [], exit: false });
  const warnings = [];
  const note = ({ message }) => warnings.push(message);
  process.on('warning', note);
  test.after(() => process.removeListener('warning', note));
  for (let count = 0; count < 20; count += 1) signal.addEventListener('abort', () => {});
  await turn();
  assert.deepEqual(warnings, []);
});

describe('with exit: false', () => {
  for (const [what, hook, exitCode] of [
    ['0', '() => {}', 0],
    ['1 after a failed hook', '() => Promise.reject(new Error())', 1],
  ]) {
    it(`only the exit code is set: ${what}`, async (test) => {
      const program = startProgram(
        test,
        `${serving()}
        const shutdown = createGracefulShutdown({ terminators: [terminator], beforeTerminate: ${hook}, exit: false });
        process.once('SIGTERM', async () => {
          const report = await shutdown.start();
          setImmediate(() => setImmediate(() => {
            say([report.exitCode, process.exitCode, process.listenerCount('SIGTERM'), process.listenerCount('SIGINT')]);
            process.removeAllListeners('disconnect');
            process.disconnect();
          }));
        });`,
      );
      await portOf(program);
      program.signal('SIGTERM');
      const { code, messages } = await program.ended;
      assert.equal(code, exitCode);
      assert.deepEqual(messages.at(-1), [exitCode, exitCode, 0, 0]);
    });
  }

  it('gives up at the timeout, begins nothing further, and leaves the next signal to Node', async (test) => {
    const program = startProgram(
      test,
      `
      const shutdown = createGracefulShutdown({
        terminators: { terminate: () => say('terminating') },
        beforeTerminate: () => told('go on'),
        afterTerminate: () => say('after'),
        timeout: 30,
        enforce: true,
        exit: false,
      });
      process.once('SIGTERM', async () => {
        const { durationMs, ...report } = await shutdown.start();
        say({ report, exitCode: process.exitCode, state: shutdown.state });
        await told('go on');
        setImmediate(() => say('went on'));
      });
      say('running');`,
    );
    await program.said('running');
    program.signal('SIGTERM');
    const { report, exitCode, state } = await program.said((message) => message.report);
    assert.deepEqual(report, { graceful: false, exitCode: 1, reason: 'SIGTERM', terminations: [null], errors: [] });
    assert.deepEqual([exitCode, state], [1, 'stopped']);
    program.tell('go on');
    await program.said('went on');
    program.signal('SIGTERM');
    const { code, signal, messages } = await program.ended;
    assert.deepEqual([code, signal], [null, 'SIGTERM']);
    assert.equal(messages.includes('terminating') || messages.includes('after'), false);
  });

  it('keeps the process no longer for a hook that it has given up', async (test) => {
    const program = startProgram(
      test,
      `
      const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
      const before = timers();
      const hookTimeouts = [5000, Infinity];
      Promise.all(
        hookTimeouts.map((hookTimeout) =>
          createGracefulShutdown({
            beforeTerminate: () => new Promise(() => {}),
            hookTimeout,
            timeout: 30,
            exit: false,
          }).start(),
        ),
      ).then(() => say({ left: timers() - before }));`,
    );
    assert.deepEqual(await program.said((message) => message.left !== undefined), { left: 0 });
  });

  it('resolves on a second signal', async (test) => {
    const program = startProgram(
      test,
      `
      const shutdown = createGracefulShutdown({ beforeTerminate: () => { say('hook'); return told('never'); }, exit: false });
      shutdown.start().then((report) => say(report.exitCode));`,
    );
    await program.said('hook');
    program.signal('SIGTERM');
    program.signal('SIGINT');
    assert.equal(await program.said((message) => message !== 'hook'), 1);
  });
});

describe('uninstall()', () => {
  it('takes every listener off, and nothing was on before', () => {
    const before = listeners();
    const options = { signals: ['SIGTERM', 'SIGINT', 'SIGTERM', 'SIGBREAK'], onError: true };
    const shutdowns = [createGracefulShutdown(options), createGracefulShutdown(options)];
    assert.equal(process.listenerCount('SIGTERM'), 2);
    assert.equal(process.listenerCount('uncaughtException') > 0, true);
    const [{ uninstall }, other] = shutdowns;
    uninstall();
    uninstall();
    assert.equal(process.listenerCount('SIGTERM'), 1);
    other.uninstall();
    assert.deepEqual(listeners(), before);
  });

  it('leaves a signal to Node again', async (test) => {
    const program = startProgram(
      test,
      `createGracefulShutdown({ beforeTerminate: () => say('hook') }).uninstall(); say('running'); setInterval(() => {}, 1000);`,
    );
    await program.said('running');
    program.signal('SIGTERM');
    const { code, signal, messages } = await program.ended;
    assert.deepEqual([code, signal, messages], [null, 'SIGTERM', ['running']]);
  });
});

describe('with onError: true', () => {
  for (const [what, failing, shown] of [
    [
      'an uncaught exception',
      "setImmediate(() => { throw new TypeError('oops'); })",
      /^TypeError: oops\n {4}at .*\n\nNode\.js v\d/s,
    ],
    [
      'an unhandled rejection',
      "Promise.reject(new RangeError('oops'))",
      /^RangeError: oops\n {4}at .*\n\nNode\.js v\d/s,
    ],
    [
      'a rejection with something else',
      'Promise.reject(7)',
      /rejected with the reason "7".*ERR_UNHANDLED_REJECTION.*Node\.js v/s,
    ],
  ]) {
    it(`${what} is printed and starts a shutdown with exit code 1`, async (test) => {
      const program = startProgram(
        test,
        `${serving()}
        createGracefulShutdown({
          terminators: [terminator],
          beforeTerminate: (error) => say('hook: ' + (error.message ?? error)),
          onError: true,
        });
        told('fail').then(() => { ${failing}; });`,
      );
      const client = await request(program, '/slow');
      await program.said('request /slow');
      program.tell('fail');
      await program.said((message) => /^hook: .*(oops|7)/.test(message));
      program.tell('answer');
      const { code, stderr } = await program.ended;
      assert.equal(code, 1);
      assert.match(stderr, shown);
      await client.ended;
      assert.equal(client.answers[0].body, 'answer to /slow');
    });
  }

  it('an error during the shutdown is printed, and the shutdown goes on', async (test) => {
    const program = startProgram(
      test,
      `
      createGracefulShutdown({
        beforeTerminate: () => new Promise((resolve) => {
          setImmediate(() => { setImmediate(resolve); throw new Error('on the way'); });
        }),
        afterTerminate: () => say('after'),
        onError: true,
      }).start();`,
    );
    const { code, messages, stderr } = await program.ended;
    assert.deepEqual([code, messages], [1, ['after']]);
    assert.match(stderr, /^Error: on the way\n/);
  });

  it('an error between the report and the exit makes the exit code 1, and changes the report no more', async (test) => {
    const program = startProgram(
      test,
      `
      let report;
      process.on('exit', (code) => say([code, report.exitCode, report.errors]));
      createGracefulShutdown({ onError: true }).start().then((ended) => {
        report = ended;
        throw new Error('behind the end');
      });`,
    );
    const { code, messages, stderr } = await program.ended;
    assert.deepEqual([code, messages], [1, [[1, 0, []]]]);
    assert.match(stderr, /^Error: behind the end\n/);
  });

  it('what a flag of Node makes of unhandled rejections holds', async (test) => {
    const program = startProgram(
      test,
      `createGracefulShutdown({ beforeTerminate: () => say('hook'), onError: true });
      Promise.reject(new Error('only a warning'));
      setImmediate(() => process.exit(7));`,
      { flags: ['--unhandled-rejections=warn'] },
    );
    const { code, messages } = await program.ended;
    assert.deepEqual([code, messages], [7, []]);
  });

  it('without it, errors are left to Node', async (test) => {
    const program = startProgram(
      test,
      `createGracefulShutdown({ beforeTerminate: () => say('hook') }); throw new Error('oops');`,
    );
    const { code, messages, stderr } = await program.ended;
    assert.deepEqual([code, messages], [1, []]);
    assert.match(stderr, /Error: oops/);
  });
});

describe('a probe server of its terminators', () => {
  it('is not ready from the tick of the signal on, even if a hook blocks and no termination has begun', async (test) => {
    const program = startProgram(
      test,
      `
      const { Worker } = require('node:worker_threads');
      const { createProbeServer } = require('http-terminator-native');
      const terminator = createHttpTerminator({ server: http.createServer() });
      createProbeServer({ port: 0, host: '127.0.0.1', terminators: [terminator] }).then((probes) => {
        probes.signalReady();
        createGracefulShutdown({
          terminators: [terminator],
          beforeTerminate() {
            // Whatever was to be done in another tick than the signal's is not done yet.
            const answered = new Int32Array(new SharedArrayBuffer(4));
            new Worker(\`
              const { answered, port } = require('node:worker_threads').workerData;
              fetch('http://127.0.0.1:' + port + '/readyz?verbose').then(async (response) => {
                require('node:fs').writeSync(1, response.status + ' ' + await response.text());
                Atomics.store(answered, 0, 1);
                Atomics.notify(answered, 0);
              });\`, { eval: true, workerData: { answered, port: probes.port } });
            Atomics.wait(answered, 0, 0);
          },
        });
        say('running');
      });
      setInterval(() => {}, 1000);`,
    );
    await program.said('running');
    program.signal('SIGTERM');
    const { code, stdout } = await program.ended;
    assert.equal(code, 0);
    const { reasons, state } = JSON.parse(stdout.replace(/^503 /, ''));
    assert.deepEqual([reasons, state], [['terminating'], 'serving']);
  });

  it('is never ready again, nor when it is opened only then; others are', async (test) => {
    const terminators = [http.createServer(), http.createServer()].map((server) => createHttpTerminator({ server }));
    const [terminator, other] = terminators;
    const probes = [];
    const open = async (terminators) => {
      const opened = await createProbeServer({ port: 0, host: '127.0.0.1', terminators });
      test.after(() => opened.close());
      opened.signalReady();
      probes.push(opened);
    };
    await open(terminators);
    await open([other]);
    await open([terminator]);
    await probes[2].close();
    const { exitCode } = process;
    let hook = null;
    await createGracefulShutdown({
      terminators: { terminate: () => {} },
      signals: [],
      exit: false,
    }).start();
    assert.deepEqual(await statusesOf(probes.slice(0, 2)), [200, 200]);
    await createGracefulShutdown({
      terminators: terminator,
      beforeTerminate: async () => {
        await open([terminator]);
        probes[0].signalReady();
        hook = await statusesOf([probes[0], probes[1], probes[3]]);
      },
      signals: [],
      exit: false,
    }).start();
    process.exitCode = exitCode;
    assert.deepEqual(hook, [503, 200, 503]);
  });

  function statusesOf(probes) {
    return Promise.all(probes.map(async ({ port }) => (await fetch(`http://127.0.0.1:${port}/readyz`)).status));
  }
});

describe('with enforce: true', () => {
  const LINE = 'the event loop has not ended the shutdown within 1050 ms, so the process is ended';
  const blocking = (options) => `
    createGracefulShutdown({
      beforeTerminate: () => {
        require('node:fs').writeSync(1, 'blocked');
        for (;;);
      },
      timeout: 50,
      ${options}
    });
    say('running');
    setInterval(() => {}, 1000);`;

  it('a native timer ends a process whose JavaScript blocks; without it nothing does', async (test) => {
    const [control, program] = [startProgram(test, blocking('')), startProgram(test, blocking('enforce: true'))];
    await Promise.all([control.said('running'), program.said('running')]);
    control.signal('SIGTERM');
    if (control.child.stdout.readableLength === 0) await once(control.child.stdout, 'data');
    const started = performance.now();
    program.signal('SIGTERM');
    const { code, signal, stdout, stderr } = await program.ended;
    assert.deepEqual([code, signal, stdout], [1, null, 'blocked']);
    assert.equal(stderr, `http-terminator-native: ${LINE}\n`);
    assert.ok(performance.now() - started >= 1050);
    assert.deepEqual([control.child.exitCode, control.child.signalCode], [null, null]);
    control.signal('SIGKILL');
    assert.equal((await control.ended).stderr, '');
  });

  it('counts from the signal, even if JavaScript is blocked when it comes', async (test) => {
    const program = startProgram(
      test,
      `const shutdown = createGracefulShutdown({ enforce: true, timeout: 50, afterTerminate: () => say('after') });
      shutdown.signal.addEventListener('abort', () => say('started'));
      told('block').then(() => {
        require('node:fs').writeSync(1, 'blocked');
        for (;;);
      });
      say('running');`,
    );
    await program.said('running');
    program.tell('block');
    await once(program.child.stdout, 'data');
    const sentAt = performance.now();
    program.signal('SIGTERM');
    const { code, signal, messages, stderr } = await program.ended;
    assert.deepEqual([code, signal, messages], [1, null, ['running']]);
    assert.ok(performance.now() - sentAt >= 1050);
    assert.equal(stderr, `http-terminator-native: ${LINE}\n`);
  });

  it('leaves signals as they were when it is uninstalled, or when nobody listens any more', async (test) => {
    for (const end of ['shutdown.uninstall()', "process.removeAllListeners('SIGTERM')"]) {
      const program = startProgram(
        test,
        `const shutdown = createGracefulShutdown({ enforce: true, timeout: 50 });
        const other = createGracefulShutdown({ enforce: true, signals: ['SIGHUP'] });
        ${end};
        setInterval(() => {}, 1000);
        say('running');`,
      );
      await program.said('running');
      program.signal('SIGTERM');
      const { code, signal, stderr } = await program.ended;
      assert.deepEqual([code, signal, stderr], [null, 'SIGTERM', '']);
    }
  });

  it('leaves signals to others who listen', async (test) => {
    const program = startProgram(
      test,
      `process.on('SIGTERM', () => say('heard'));
      createGracefulShutdown({ enforce: true, timeout: 10 }).uninstall();
      createGracefulShutdown({ enforce: true, timeout: 10, signals: ['SIGTERM', 'SIGHUP', 'SIGBREAK'] }).uninstall();
      told('done').then(() => setTimeout(() => process.exit(9), 1200));
      say('running');`,
    );
    await program.said('running');
    program.signal('SIGTERM');
    await program.said('heard');
    program.tell('done');
    const { code, stderr } = await program.ended;
    assert.deepEqual([code, stderr], [9, '']);
  });

  it('ends a process that blocks while it exits', async (test) => {
    const program = startProgram(
      test,
      `process.on('exit', () => { for (;;); });
      createGracefulShutdown({ enforce: true, timeout: 50 }).start();`,
    );
    const { code, signal, stderr } = await program.ended;
    assert.deepEqual([code, signal], [1, null]);
    assert.match(stderr, new RegExp(LINE));
  });

  it('ends a process that blocks because nobody reads its stderr', async (test) => {
    const program = startProgram(
      test,
      `createGracefulShutdown({
        beforeTerminate: () => { for (;;) require('node:fs').writeSync(2, 'x'.repeat(1024)); },
        enforce: true,
        timeout: 50,
      }).start();`,
      { readsStderr: false },
    );
    const { code, signal } = await program.ended;
    assert.deepEqual([code, signal], [1, null]);
  });

  it('does not touch a process that ends in time', async (test) => {
    const program = startProgram(test, `createGracefulShutdown({ enforce: true, timeout: 60_000 }).start();`);
    const { code, stderr } = await program.ended;
    assert.deepEqual([code, stderr], [0, '']);
  });

  it('lets a process live that has shut down with exit: false', async (test) => {
    const program = startProgram(
      test,
      `createGracefulShutdown({ enforce: true, timeout: 10, exit: false }).start().then(() => {
        setTimeout(() => process.exit(9), 1200);
      });`,
    );
    const { code, stderr } = await program.ended;
    assert.deepEqual([code, stderr], [9, '']);
  });

  it('is refused in a worker, where all else works', async (test) => {
    const inWorker = `
      const { parentPort } = require('node:worker_threads');
      const { createGracefulShutdown } = require('http-terminator-native');
      try { createGracefulShutdown({ enforce: true }); } catch ({ code }) { parentPort.postMessage(code); }
      createGracefulShutdown({ afterTerminate: () => parentPort.postMessage('after') }).start();
      setInterval(() => {}, 1000);`;
    const program = startProgram(
      test,
      `
      const worker = new (require('node:worker_threads').Worker)(${JSON.stringify(inWorker)}, { eval: true });
      worker.on('message', say).on('exit', (code) => { say('worker ' + code); process.exit(4); });`,
    );
    const { code, messages } = await program.ended;
    assert.deepEqual([code, messages], [4, ['ERR_WORKER_UNSUPPORTED_OPERATION', 'after', 'worker 0']]);
  });
});

describe('who only ends servers', () => {
  it('loads nothing of it, and nothing is installed', async (test) => {
    const program = startProgram(
      test,
      `${serving()}
      const loaded = Object.keys(require.cache).filter((file) => /lib.(shutdown|under-way|leaving)/.test(file));
      say([loaded, ...['SIGTERM', 'SIGINT', 'uncaughtException', 'unhandledRejection'].map((event) => process.listenerCount(event))]);
      process.exit();`,
    );
    const { messages } = await program.ended;
    assert.deepEqual(messages.at(0), [[], 0, 0, 0, 0]);
  });

  it('can import it by its name', async (test) => {
    const program = startProgram(
      test,
      `import('http-terminator-native').then(({ createGracefulShutdown }) => say(typeof createGracefulShutdown));`,
    );
    assert.equal(await program.said(() => true), 'function');
  });
});

describe('createGracefulShutdown()', () => {
  const server = http.createServer();
  const terminator = createHttpTerminator({ server });
  const invalidType = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' };
  const invalidValue = { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' };
  const outOfRange = { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' };
  const hook = () => {};

  for (const [what, options, error, message] of [
    ['no options', undefined, invalidType, 'The "options" argument must be an object. Received undefined'],
    ['a terminator for options', hook, invalidType, /"options" argument must be an object\. Received function hook$/],
    [
      'a server for a terminator',
      { terminators: [terminator, server] },
      invalidType,
      /"options\.terminators\[1\]" property must be a terminator, .* Received an instance of Server$/,
    ],
    ['null for terminators', { terminators: null }, invalidType, /"options\.terminators" .* Received null$/],
    [
      'one signal that is not in a list',
      { signals: 'SIGTERM' },
      invalidType,
      /"options\.signals" property must be an array of signal names\. Received type string \('SIGTERM'\)$/,
    ],
    [
      'a signal by its number',
      { signals: ['SIGINT', 15] },
      invalidType,
      /"options\.signals\[1\]".*type number \(15\)$/,
    ],
    [
      'an unknown signal',
      { signals: ['sigterm'] },
      { name: 'TypeError', code: 'ERR_UNKNOWN_SIGNAL' },
      'Unknown signal: sigterm',
    ],
    ...['SIGKILL', 'SIGSTOP', 'SIGSEGV'].map((signal) => [
      `${signal}, which nobody can handle`,
      { signals: [signal] },
      invalidValue,
      `The property 'options.signals[0]' must be a signal that can be handled. Received '${signal}'`,
    ]),
    [
      'a promise for a hook',
      { beforeTerminate: Promise.resolve() },
      invalidType,
      /"options\.beforeTerminate" property must be a function or an array of functions\. Received an instance of Promise$/,
    ],
    [
      'something else among the hooks',
      { afterTerminate: [hook, null] },
      invalidType,
      /"options\.afterTerminate\[1\]" property must be of type function\. Received null$/,
    ],
    ...['terminators', 'signals', 'beforeTerminate', 'afterTerminate'].map((name) => [
      `a gap in ${name}`,
      { [name]: new Array(1) },
      invalidType,
      new RegExp(`"options\\.${name}\\[0\\]".* Received undefined$`),
    ]),
    ...['hookTimeout', 'timeout'].flatMap((name) => [
      [
        `a ${name} of a wrong type`,
        { [name]: '5s' },
        invalidType,
        `The "options.${name}" property must be of type number. Received type string ('5s')`,
      ],
      [`a negative ${name}`, { [name]: -1 }, outOfRange, new RegExp(`"options\\.${name}".* Received -1$`)],
      [`a ${name} of NaN`, { [name]: Number.NaN }, outOfRange, /Received NaN$/],
    ]),
    ...['exit', 'onError', 'enforce'].map((name) => [
      `${name} of a wrong type`,
      { [name]: 1 },
      invalidType,
      `The "options.${name}" property must be of type boolean. Received type number (1)`,
    ]),
    [
      'to enforce what has no end',
      { enforce: true, timeout: Number.POSITIVE_INFINITY },
      invalidValue,
      /'options\.timeout' must be finite if 'options\.enforce' is true\. Received Infinity$/,
    ],
  ]) {
    it(`refuses ${what}, and installs nothing`, () => {
      const before = listeners();
      const refused = (thrown) => {
        assert.ok(thrown instanceof Error);
        assert.deepEqual({ name: thrown.name, code: thrown.code }, error);
        if (typeof message === 'string') assert.equal(thrown.message, message);
        else assert.match(thrown.message, message);
        return true;
      };
      assert.throws(() => createGracefulShutdown(options), refused);
      assert.throws(
        () => createGracefulShutdown(typeof options === 'object' ? { onError: true, ...options } : options),
        refused,
      );
      assert.deepEqual(listeners(), before);
    });
  }

  it('takes undefined for not given, and Infinity for as long as it takes', async () => {
    const shutdown = createGracefulShutdown({
      terminators: undefined,
      signals: undefined,
      beforeTerminate: undefined,
      afterTerminate: undefined,
      hookTimeout: Number.POSITIVE_INFINITY,
      timeout: Number.MAX_SAFE_INTEGER,
      exit: false,
      onError: undefined,
      enforce: undefined,
    });
    assert.equal((await restoringExitCode(shutdown.start())).graceful, true);
  });
});

function listeners() {
  return process.eventNames().map((event) => [event, process.listenerCount(event)]);
}

/** The tests have an exit code of their own. */
async function restoringExitCode(shutdown) {
  const { exitCode } = process;
  try {
    return await shutdown;
  } finally {
    process.exitCode = exitCode;
  }
}
