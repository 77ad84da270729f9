// What goes wrong besides: each termination ends in time all the same, and its report is true.

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const path = require('node:path');
const { describe, it } = require('node:test');
const { connect, requestText } = require('./support/client');
const { gate, gatedHandler, serve, turn } = require('./support/server');
const { transports } = require('./support/transports');

const root = path.join(__dirname, '..');

for (const transport of transports) {
  describe(`during a termination over ${transport.name}`, () => {
    for (const [what, breakOff] of [
      ['an answer that its handler breaks off', (response) => response.destroy()],
      ['an answer that its handler breaks off with an error', (response) => response.destroy(new Error('no more'))],
      [
        'an answer that its handler breaks off with the error of another connection',
        (response) => response.destroy(Object.assign(new Error('reset'), { code: 'ECONNRESET', syscall: 'read' })),
      ],
      ['a socket that somebody destroys', (_response, socket) => socket.destroy()],
      // Its client closes its own side then.
      ['a socket that somebody ends', (_response, socket) => socket.end()],
    ]) {
      it(`${what} is listed as cut`, async (test) => {
        const { handler, arrived, open } = gatedHandler();
        const { server, terminator } = await serve(test, transport, (request, response) => {
          response.on('error', () => {});
          handler(request, response);
        });
        const [broken, whole] = [await connect(transport, server), await connect(transport, server)];
        await broken.write(requestText('/broken'));
        await whole.write(requestText('/whole'));
        const [{ response }] = await Promise.all(['/broken', '/whole'].map(arrived));
        const terminated = terminator.terminate();
        await new Promise((resolve) => response.write('a part', resolve));
        breakOff(response, broken.serverSocket);
        await broken.ended;
        open('/whole');
        assert.equal(await whole.ended, 'FIN');
        const report = await terminated;
        assert.deepEqual(report.requests, { completed: 1, late: 0, cut: 1 });
        assert.deepEqual(report.connections, { idle: 0, drained: 2, forced: 0 });
        assert.deepEqual(
          report.cut.map(({ url, headersSent }) => ({ url, headersSent })),
          [{ url: '/broken', headersSent: true }],
        );
        assert.equal(report.graceful, false);
      });
    }

    it('an answer that somebody breaks off is listed as cut also if its client does not read', async (test) => {
      const begun = gate();
      const { server, terminator } = await serve(test, transport, (_request, response) => {
        response.on('error', () => {});
        response.write('x'.repeat(8 * 2 ** 20));
        begun.open();
      });
      const client = await connect(transport, server, { reading: false });
      await client.write(requestText());
      await begun.passed;
      const terminated = terminator.terminate();
      await turn();
      assert.ok(client.serverSocket.writableLength > 0, 'it is writing');
      client.serverSocket.destroy();
      const { graceful, requests, cut } = await terminated;
      assert.deepEqual([graceful, requests.cut, cut.length], [false, 1, 1]);
      client.socket.destroy();
    });

    it('idle sockets that somebody destroys are no loss', async (test) => {
      const { handler, arrived, open } = gatedHandler();
      const { server, terminator } = await serve(test, transport, handler, { keepAliveDrainTimeout: 60_000 });
      const [idle, busy] = [await connect(transport, server), await connect(transport, server)];
      await idle.write(requestText());
      await idle.until(/answer to/);
      await busy.write(requestText('/slow'));
      await arrived('/slow');
      const terminated = terminator.terminate();
      await turn();
      idle.serverSocket.destroy();
      await idle.ended;
      open('/slow');
      assert.equal(await busy.ended, 'FIN');
      assert.equal((await terminated).graceful, true);
    });

    it('a rejection of a task that was given up is not reported', async (test) => {
      const task = gate();
      const { terminator } = await serve(test, transport, () => {}, {
        httpResponseTimeout: 0,
        webSocketServers: [{ clients: [{ close() {}, terminate: () => task.open() }] }],
      });
      terminator.waitUntil(task.passed.then(() => Promise.reject(new Error('too late'))));
      const report = await terminator.terminate();
      assert.deepEqual(report.tasks, { completed: 0, rejected: 0, abandoned: 1, errors: [] });
    });

    it('a rejection of a task that was given behind the deadline is not reported either', async (test) => {
      const { handler, arrived } = gatedHandler();
      const giveTask = () => terminator.waitUntil(Promise.reject(new Error('too late')));
      const { server, terminator } = await serve(test, transport, handler, {
        httpResponseTimeout: 0,
        webSocketServers: [{ clients: [{ close() {}, terminate: giveTask }] }],
      });
      const client = await connect(transport, server);
      await client.write(requestText('/never'));
      await arrived('/never');
      const report = await terminator.terminate();
      assert.deepEqual(report.tasks, { completed: 0, rejected: 0, abandoned: 1, errors: [] });
      assert.equal(report.requests.cut, 1);
    });

    it('the server may be closed by others, whose callbacks are called', async (test) => {
      const { handler, arrived, open } = gatedHandler();
      const { server, terminator } = await serve(test, transport, handler);
      const client = await connect(transport, server);
      await client.write(requestText('/slow'));
      await arrived('/slow');
      const called = [];
      server.close((error) => called.push(error?.code));
      const terminated = terminator.terminate();
      server.close((error) => called.push(error?.code));
      await turn();
      server.close((error) => called.push(error?.code));
      open('/slow');
      assert.equal(await client.ended, 'FIN');
      const report = await terminated;
      await turn();
      assert.deepEqual(called.sort(), ['ERR_SERVER_NOT_RUNNING', 'ERR_SERVER_NOT_RUNNING', undefined]);
      assert.deepEqual(report.requests, { completed: 1, late: 0, cut: 0 });
    });

    it('the clock may jump', async (test) => {
      const { handler, arrived } = gatedHandler();
      const { server, terminator } = await serve(test, transport, handler, { httpResponseTimeout: 30 });
      const client = await connect(transport, server);
      await client.write(requestText('/never'));
      await arrived('/never');
      const { now } = Date;
      test.after(() => {
        Date.now = now;
      });
      const terminated = terminator.terminate();
      // Only the time of day can.
      Date.now = () => 0;
      const report = await terminated;
      assert.equal(report.requests.cut, 1);
      assert.ok(report.durationMs >= 30 && report.cut[0].ageMs >= 0, `${report.durationMs} ms`);
    });
  });
}

/** A program with a server, on which one request to /slow is in flight when `begin()` is called. */
const PROGRAM = `
  const http = require('node:http');
  const { createHttpTerminator } = require('http-terminator-native');
  const server = http.createServer((request, response) => {
    if (request.url === '/throw') throw new Error('thrown by a handler');
    arrived(response);
  });
  const terminator = createHttpTerminator({ server, httpResponseTimeout: 300 });
  let arrived;
  const ask = (path) => http.get({ port: server.address().port, host: '127.0.0.1', path });
  const begin = (program) => server.listen(0, '127.0.0.1', () => {
    ask('/slow').on('error', () => {}).on('response', (response) => response.resume());
    arrived = program;
  });`;

/** Runs a program to its end. */
async function run(program, { prefix = [] } = {}) {
  const [command, ...parameters] = [...prefix, process.execPath, '--eval', PROGRAM + program];
  const child = spawn(command, parameters, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      output += text;
    });
  }
  const [code, signal] = await once(child, 'close');
  return { code, signal, output: output.trim() };
}

describe('a listener of somebody that throws when others listen, or cease to', () => {
  const [http] = transports;

  it('keeps a termination from beginning if that can not follow connections, and no more', async (test) => {
    const { server, terminator } = await serve(test, http, gatedHandler().handler);
    const before = process.getActiveResourcesInfo();
    const refuse = (event) => {
      if (event === 'connection') throw new Error('no connection');
    };
    server.on('newListener', refuse);
    await assert.rejects(terminator.terminate(), { message: 'no connection' });
    assert.equal(terminator.state, 'serving');
    assert.deepEqual(process.getActiveResourcesInfo(), before);
    server.removeListener('newListener', refuse);
    assert.equal((await terminator.terminate()).graceful, true);
  });

  it('is what a termination is rejected with when it has ended and everything is taken off', async (test) => {
    const { server, terminator } = await serve(test, http, gatedHandler().handler);
    const terminated = terminator.terminate();
    terminator.detach();
    server.on('removeListener', (event) => {
      throw new Error(`still ${event}`);
    });
    await assert.rejects(terminated, { message: /^still / });
    assert.equal(server.listening, false);
    // Node has one of its own.
    assert.equal(server.listenerCount('listening'), http.createServer().listenerCount('listening'));
  });
});

describe('a process in which a termination runs', () => {
  it('may exit, with its own code', async () => {
    const program = 'begin(() => { terminator.terminate(); setImmediate(() => process.exit(7)); });';
    assert.deepEqual(await run(program), { code: 7, signal: null, output: '' });
  });

  it('may exit when the deadline comes', async () => {
    const program = `begin(() => terminator.terminate());
      terminator.signal.addEventListener('abort', () => setTimeout(() => process.exit(7), 300));`;
    const { code, signal } = await run(program);
    assert.deepEqual({ code, signal }, { code: 7, signal: null });
  });

  it('may survive a handler that throws, whose request is cut at the deadline', async () => {
    const program = `
      process.on('uncaughtException', () => {});
      begin(async (response) => {
        ask('/throw').on('error', () => {});
        await new Promise((resolve) => process.once('uncaughtException', resolve));
        const terminated = terminator.terminate();
        response.end();
        const { requests, cut } = await terminated;
        console.log(JSON.stringify({ requests, cut: cut.map(({ url }) => url) }));
      });`;
    const { code, output } = await run(program);
    assert.equal(code, 0);
    assert.deepEqual(JSON.parse(output), { requests: { completed: 1, late: 0, cut: 1 }, cut: ['/throw'] });
  });

  it('may end the worker in which it runs', async () => {
    const worker = `${PROGRAM}
      begin(() => {
        terminator.terminate();
        require('node:worker_threads').parentPort.postMessage('terminating');
      });`;
    const program = `
      const { Worker } = require('node:worker_threads');
      let left = 8;
      for (let count = left; count > 0; count -= 1) {
        const worker = new Worker(${JSON.stringify(worker)}, { eval: true });
        // Some end before the deadline, some in the very moment, some have ended.
        worker.once('message', () => setTimeout(async () => {
          await worker.terminate();
          if (--left === 0) setTimeout(() => console.log('alive'), 400);
        }, count * 60));
      }`;
    assert.deepEqual(await run(program), { code: 0, signal: null, output: 'alive' });
  });

  it('may be out of descriptors', { skip: process.platform === 'win32' && 'has no such limit' }, async () => {
    const program = `
      const fs = require('node:fs');
      begin(async (response) => {
        const opened = [];
        try { for (;;) opened.push(fs.openSync('/dev/null')); } catch (error) { console.log(error.code); }
        const terminated = terminator.terminate();
        console.log(terminator.stats().requests);
        setTimeout(() => response.end('whole'), 30);
        const report = await terminated;
        console.log(JSON.stringify(report.requests), server.listening);
        process.exit();
      });`;
    const { code, output } = await run(program, { prefix: ['sh', '-c', 'ulimit -n 64; exec "$@"', 'sh'] });
    assert.equal(code, 0, output);
    assert.deepEqual(output.split('\n'), ['EMFILE', '1', '{"completed":1,"late":0,"cut":0} false']);
  });
});
