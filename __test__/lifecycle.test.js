// The terminator as an object: its states, its report, and what it does besides ending connections.

const assert = require('node:assert/strict');
const { createHook } = require('node:async_hooks');
const { once } = require('node:events');
const net = require('node:net');
const { constants } = require('node:os');
const { describe, it } = require('node:test');
const tls = require('node:tls');
const { runInNewContext } = require('node:vm');
const { createHttpTerminator } = require('..');
const { native } = require('../lib/early');
const { addressOf, Client, connect, requestText } = require('./support/client');
const { gate, gatedHandler, serve, turn } = require('./support/server');
const { credentials, transports } = require('./support/transports');

for (const transport of transports) {
  describe(`the life of a terminator over ${transport.name}`, () => {
    it('goes through its states, and the same server can be terminated again', async (test) => {
      const { handler, arrived, open } = gatedHandler();
      const { server, terminator } = await serve(test, transport, handler);
      const signals = new Set();
      for (const path of ['/first', '/second']) {
        const { signal } = terminator;
        signals.add(signal);
        assert.equal(terminator.state, 'serving');
        assert.equal(signal.aborted, false);
        const client = await connect(transport, server);
        await client.write(requestText('/'));
        await client.until(/answer to \//);
        assert.equal(client.answers[0].headers.connection, 'keep-alive');
        await client.write(requestText(path));
        await arrived(path);
        const terminated = terminator.terminate();
        assert.equal(terminator.state, 'draining');
        assert.equal(signal.aborted, true);
        assert.equal(terminator.signal, signal);
        open(path);
        const report = await terminated;
        assert.equal(await client.ended, 'FIN');
        assert.equal(client.answers[1].headers.connection, 'close');
        assert.deepEqual(report.requests, { completed: 1, late: 0, cut: 0 });
        assert.equal(terminator.state, 'terminated');
        await once(server.listen({ port: 0, host: '127.0.0.1' }), 'listening');
      }
      assert.equal(signals.size, 2);
      await terminator.terminate();
    });

    it('shares one promise among calls, until the server listens again', async (test) => {
      const { server, terminator } = await serve(test, transport, gatedHandler().handler);
      const { terminate } = terminator;
      const first = terminate();
      assert.equal(terminate(), first);
      await first;
      assert.equal(terminate(), first);
      await once(server.listen({ port: 0, host: '127.0.0.1' }), 'listening');
      const second = terminate();
      assert.notEqual(second, first);
      await second;
    });

    it('shares what it is about with who terminates as it begins', async (test) => {
      const { handler, arrived, open } = gatedHandler();
      const { server, terminator } = await serve(test, transport, handler);
      const another = createHttpTerminator({ server, httpResponseTimeout: 300_000 });
      for (const path of ['/first', '/second']) {
        const promises = [];
        for (const each of [terminator, another]) {
          terminator.signal.addEventListener('abort', () => promises.push(each.terminate()));
        }
        await (await connect(transport, server)).write(requestText(path));
        await arrived(path);
        promises.push(terminator.terminate());
        assert.equal(promises[0], promises[2]);
        open(path);
        for (const { requests } of await Promise.all(promises)) {
          assert.deepEqual(requests, { completed: 1, late: 0, cut: 0 });
        }
        await once(server.listen({ port: 0, host: '127.0.0.1' }), 'listening');
      }
    });

    it('leaves nothing on the server if it is detached while it terminates', async (test) => {
      const server = transport.createServer({}, gatedHandler().handler);
      test.after(() => server.close());
      const listeners = () => server.eventNames().map((event) => [event, server.rawListeners(event).length]);
      const before = listeners();
      for (let time = 0; time < 3; time += 1) {
        await once(server.listen({ port: 0, host: '127.0.0.1' }), 'listening');
        const terminator = createHttpTerminator({ server, httpResponseTimeout: 300_000 });
        const terminated = terminator.terminate();
        terminator.detach();
        await terminated;
        assert.deepEqual(listeners(), before);
      }
    });

    it('has a new signal if the server listened again while it was detached', async (test) => {
      const { server, terminator } = await serve(test, transport, gatedHandler().handler);
      const { signal } = terminator;
      await terminator.terminate();
      terminator.detach();
      assert.equal(terminator.signal, signal);
      terminator.detach();
      await once(server.listen({ port: 0, host: '127.0.0.1' }), 'listening');
      assert.equal(terminator.state, 'serving');
      assert.notEqual(terminator.signal, signal);
      assert.equal(terminator.signal.aborted, false);
      await terminator.terminate();
      assert.equal(terminator.signal.aborted, true);
    });

    it('has begun for a terminator that is created while another one terminates the server', async (test) => {
      const { handler, arrived, open } = gatedHandler();
      const { server, terminator } = await serve(test, transport, handler);
      await (await connect(transport, server)).write(requestText('/slow'));
      await arrived('/slow');
      const terminated = terminator.terminate();
      while (server.listening) await turn();
      const codes = [];
      const clients = [{ close: (code) => codes.push(code), terminate() {} }];
      const late = createHttpTerminator({ server, webSocketServers: [{ clients }], httpResponseTimeout: 300_000 });
      assert.equal(late.state, 'draining');
      assert.equal(late.signal.aborted, true);
      assert.deepEqual(codes, [1001]);
      open('/slow');
      assert.equal((await late.terminate()).requests.completed, 1);
      await terminated;
    });

    it('ends if the server listens again in the middle, and the server serves', async (test) => {
      const { handler, arrived, open } = gatedHandler();
      const { server, terminator } = await serve(test, transport, handler);
      const client = await connect(transport, server);
      await client.write(requestText('/slow'));
      await arrived('/slow');
      const terminated = terminator.terminate();
      while (server.listening) await turn();
      await once(server.listen({ port: 0, host: '127.0.0.1' }), 'listening');
      open('/slow');
      assert.equal(await client.ended, 'FIN');
      assert.deepEqual((await terminated).requests, { completed: 1, late: 0, cut: 0 });
      assert.equal(terminator.state, 'serving');
      const next = await connect(transport, server);
      await next.write(requestText());
      await next.until(/answer to/);
      assert.equal(next.answers[0].headers.connection, 'keep-alive');
      await terminator.terminate();
      assert.equal(await next.ended, 'FIN');
      assert.equal(server.listening, false);
    });

    it('ends a server, too, that listens again in the middle, if it is called once more', async (test) => {
      const { handler, arrived, open } = gatedHandler();
      const { server, terminator } = await serve(test, transport, handler);
      const client = await connect(transport, server);
      await client.write(requestText('/slow'));
      await arrived('/slow');
      const closed = once(server, 'close');
      const terminated = terminator.terminate();
      while (server.listening) await turn();
      await once(server.listen(0, '127.0.0.1'), 'listening');
      const next = await connect(transport, server);
      const address = addressOf(server);
      assert.equal(terminator.terminate(), terminated);
      await next.write(requestText('/next'));
      await arrived('/next');
      for (const path of ['/slow', '/next']) open(path);
      for (const each of [client, next]) {
        assert.equal(await each.ended, 'FIN');
        assert.equal(each.answers[0].headers.connection, 'close');
      }
      const report = await terminated;
      assert.deepEqual(report.requests, { completed: 1, late: 1, cut: 0 });
      await closed;
      assert.equal(server.listening, false);
      assert.equal(terminator.state, 'terminated');
      await assert.rejects(once(net.connect(address), 'connect'), { code: 'ECONNREFUSED' });
    });

    it('ends a server, too, that listens again at once, when nothing was left but its event', async (test) => {
      const { server, terminator } = await serve(test, transport, gatedHandler().handler);
      const first = terminator.terminate();
      server.listen(0);
      const second = terminator.terminate();
      assert.equal((await first).graceful, true);
      assert.equal((await second).graceful, true);
      assert.equal(server.listening, false);
    });

    it('ends a server, too, that listens once more behind its end, when its event is still to come', async (test) => {
      const { server, terminator } = await serve(test, transport, gatedHandler().handler);
      await terminator.terminate();
      server.listen(0);
      assert.equal((await terminator.terminate()).graceful, true);
      assert.equal(server.listening, false);
      await once(server.listen(0), 'listening');
      assert.equal(terminator.state, 'serving');
    });

    it('has nothing left to do when it has ended before its turn, and another one has begun', async (test) => {
      const { server, terminator } = await serve(test, transport, gatedHandler().handler);
      const front = net.createServer();
      test.after(() => front.close());
      await once(front.listen(0, '127.0.0.1'), 'listening');
      const silent = new Client(net.connect(addressOf(front)));
      const [accepted] = await once(front, 'connection');
      const idle = await connect(transport, server);
      const first = terminator.terminate();
      const second = once(server, 'close').then(() => terminator.terminate());
      server.once('close', () => {
        server.listen(0);
        server.emit('connection', accepted);
      });
      server.close();
      idle.serverSocket.destroy();
      assert.equal((await first).graceful, true);
      assert.equal((await second).graceful, true);
      assert.equal(server.listening, false);
      assert.equal(await silent.ended, 'FIN');
    });

    it('ends connections that somebody has emitted by hand, beside those of a server that listens', async (test) => {
      const { server, terminator } = await serve(test, transport, gatedHandler().handler);
      const front = net.createServer((socket) => server.emit('connection', socket));
      test.after(() => front.close());
      await once(front.listen(0, '127.0.0.1'), 'listening');
      const clients = [];
      while (clients.length < 2) {
        const accepted = once(server, transport.secure ? 'secureConnection' : 'connection');
        const socket = transport.connect(addressOf(front));
        await Promise.all([accepted, once(socket, transport.connected)]);
        clients.push(new Client(socket));
      }
      await clients[0].write(requestText());
      await clients[0].until(/answer to/);
      const report = await terminator.terminate();
      for (const client of clients) assert.equal(await client.ended, 'FIN');
      assert.deepEqual(report.connections, { idle: 2, drained: 0, forced: 0 });
    });

    it('may begin before the server listens', async (test) => {
      const server = transport.createServer({}, gatedHandler().handler);
      const terminator = createHttpTerminator({ server });
      await terminator.terminate();
      assert.equal(terminator.state, 'terminated');
      await once(server.listen({ port: 0, host: '127.0.0.1' }), 'listening');
      test.after(() => terminator.terminate());
      assert.equal(terminator.state, 'serving');
      const client = await connect(transport, server);
      await client.write(requestText());
      await client.until(/answer to/);
    });

    it('ends what is left of a server that somebody else has closed', async (test) => {
      const { handler, arrived, open } = gatedHandler();
      const { server, terminator } = await serve(test, transport, handler);
      const client = await connect(transport, server);
      await client.write(requestText('/slow'));
      await arrived('/slow');
      const closed = once(server, 'close');
      server.close();
      const terminated = terminator.terminate();
      open('/slow');
      assert.equal(await client.ended, 'FIN');
      assert.equal(client.answers[0].headers.connection, 'close');
      assert.equal((await terminated).graceful, true);
      await closed;
    });

    it('emits close on the server once, before it resolves', async (test) => {
      const { server, terminator } = await serve(test, transport, gatedHandler().handler);
      const client = await connect(transport, server);
      await client.write(requestText());
      await client.until(/answer to/);
      const closers = [];
      server.on('close', function () {
        closers.push(this);
      });
      await terminator.terminate();
      await turn();
      assert.deepEqual(closers, [server]);
    });

    it('does not wait for a client that is told that its request makes no sense, and stays', async (test) => {
      const { server, terminator } = await serve(test, transport, gatedHandler().handler);
      // As Node's documentation has it.
      server.on('clientError', (_error, socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
      const client = await connect(transport, server);
      client.socket.removeAllListeners('end');
      await client.write('nonsense\r\n\r\n');
      await client.until(/400 Bad Request/);
      const report = await terminator.terminate();
      assert.deepEqual(report.connections, { idle: 1, drained: 0, forced: 0 });
      assert.equal(report.graceful, true);
      client.socket.destroy();
    });

    it('survives a close() of the server that calls terminate()', async (test) => {
      const { server, terminator } = await serve(test, transport, gatedHandler().handler);
      server.close = () => terminator.terminate();
      const report = await server.close();
      delete server.close;
      assert.equal(report.graceful, true);
      assert.equal(server.listening, false);
    });

    it('has let go of the event loop when it resolves, so that test runners find nothing', async (test) => {
      const [held, kinds] = [new Set(), new Set()];
      const passing = ['PROMISE', 'TickObject', 'Immediate'];
      const hook = createHook({
        init(id, kind) {
          if (passing.includes(kind)) return;
          kinds.add(kind);
          held.add(id);
        },
        destroy: (id) => held.delete(id),
      }).enable();
      test.after(() => hook.disable());
      const { server, terminator } = await serve(test, transport, gatedHandler().handler);
      const client = await connect(transport, server);
      await client.write(requestText());
      await client.until(/answer to/);
      client.socket.destroy();
      await once(client.serverSocket, 'close');
      assert.equal(kinds.has('napi_rs_threadsafe_function'), false, 'there is none while it is serving');
      held.clear();
      await terminator.terminate();
      hook.disable();
      assert.ok(kinds.has('napi_rs_threadsafe_function'), 'there was something to let go of');
      assert.equal(held.size, 0, [...kinds].join());
    });

    it('is not held up by timers that a test runner has replaced', async (test) => {
      const { terminator } = await serve(test, transport, gatedHandler().handler);
      test.mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'setImmediate'] });
      assert.equal((await terminator.terminate()).graceful, true);
    });

    it('goes by its own clock when a test runner has replaced that, too', async (test) => {
      const original = Object.getOwnPropertyDescriptor(globalThis, 'performance');
      test.after(() => Object.defineProperty(globalThis, 'performance', original));
      Object.defineProperty(globalThis, 'performance', { value: { now: () => 0 }, configurable: true });
      const { handler, arrived } = gatedHandler();
      const { server, terminator } = await serve(test, transport, handler, { httpResponseTimeout: 30 });
      const client = await connect(transport, server);
      await client.write(requestText('/held'));
      await arrived('/held');
      const report = await terminator.terminate();
      assert.ok(report.cut[0].ageMs >= 30, `${report.cut[0].ageMs} ms`);
    });

    it('terminates when it is disposed of', async (test) => {
      const { server, terminator } = await serve(test, transport, gatedHandler().handler);
      assert.equal(await terminator[Symbol.asyncDispose](), undefined);
      assert.equal(server.listening, false);
    });

    it('has answered what was in flight when it is disposed of', async (test) => {
      const { handler, arrived, open } = gatedHandler();
      const { server, terminator } = await serve(test, transport, handler);
      const client = await connect(transport, server);
      await client.write(requestText('/slow'));
      await arrived('/slow');
      let isDisposed = false;
      const disposed = terminator[Symbol.asyncDispose]().then(() => {
        isDisposed = true;
      });
      for (let turns = 0; turns < 5; turns += 1) await turn();
      assert.equal(isDisposed, false);
      open('/slow');
      await disposed;
      assert.equal(await client.ended, 'FIN');
      assert.equal(client.answers[0].body, 'answer to /slow');
    });
  });

  describe(`what a terminator tells over ${transport.name}`, () => {
    it('counts what is open', async (test) => {
      const { handler, arrived, open } = gatedHandler();
      const { server, terminator } = await serve(test, transport, handler);
      const none = { connections: 0, idle: 0, active: 0, upgraded: 0, requests: 0, tasks: 0 };
      assert.deepEqual(terminator.stats(), none);
      const [idle, active] = [await connect(transport, server), await connect(transport, server)];
      await idle.write(requestText());
      await idle.until(/answer to/);
      await active.write(requestText('/1') + requestText('/2'));
      await Promise.all(['/1', '/2'].map(arrived));
      const task = gate();
      terminator.waitUntil(task.passed);
      const some = { connections: 2, idle: 1, active: 1, upgraded: 0, requests: 2, tasks: 1 };
      while (terminator.stats().idle === 0) await turn();
      assert.deepEqual(terminator.stats(), some);
      const terminated = terminator.terminate();
      while (terminator.stats().connections === 2) await turn();
      assert.deepEqual(terminator.stats(), { ...some, connections: 1, idle: 0 });
      task.open();
      open('/1');
      open('/2');
      await terminated;
      assert.deepEqual(terminator.stats(), none);
    });

    it('lists every request that was cut', async (test) => {
      const { handler, arrived } = gatedHandler();
      const { server, terminator } = await serve(test, transport, handler, { httpResponseTimeout: 30 });
      server.on('upgrade', (_request, socket) => socket.write('HTTP/1.1 101 Switching Protocols\r\n\r\n'));
      const clients = [];
      for (let count = 0; count < 4; count += 1) clients.push(await connect(transport, server));
      const [plain, pipelined, half, upgraded] = clients;
      await plain.write(requestText('/plain', { method: 'PUT', headers: { 'Content-Length': 2 } }));
      const { response } = await arrived('/plain');
      response.write('begun');
      await pipelined.write(`${requestText('/1') + requestText('/2')}GET /ha`);
      await Promise.all(['/1', '/2'].map(arrived));
      await half.write('GET /ha');
      while (half.serverSocket.bytesRead < 7) await turn();
      await upgraded.write(requestText('/socket', { headers: { Connection: 'Upgrade', Upgrade: 'echo' } }));
      await upgraded.until(/101/);
      const report = await terminator.terminate();
      const protocol = transport.scheme;
      const remoteAddress = '127.0.0.1';
      const rows = report.cut.map(({ ageMs, ...row }) => ({ ...row, age: typeof ageMs }));
      assert.deepEqual(
        rows.sort((left, right) => String(left.url).localeCompare(String(right.url))),
        [
          { protocol, method: 'GET', url: '/1', remoteAddress, headersSent: false, age: 'number' },
          { protocol, method: 'GET', url: '/2', remoteAddress, headersSent: false, age: 'number' },
          { protocol, method: 'PUT', url: '/plain', remoteAddress, headersSent: true, age: 'number' },
          { protocol, method: 'GET', url: '/socket', remoteAddress, headersSent: true, age: 'object' },
          { protocol, method: null, url: null, remoteAddress, headersSent: false, age: 'object' },
          { protocol, method: null, url: null, remoteAddress, headersSent: false, age: 'object' },
        ],
      );
      assert.deepEqual(report.requests, { completed: 0, late: 0, cut: 5 });
      assert.deepEqual(report.connections, { idle: 0, drained: 0, forced: 4 });
      assert.equal(report.cutOmitted, 0);
      assert.equal(report.graceful, false);
    });

    it('lists at most a hundred, and counts the rest', async (test) => {
      const { handler, arrived } = gatedHandler();
      const { server, terminator } = await serve(test, transport, handler, { httpResponseTimeout: 0 });
      const client = await connect(transport, server);
      const paths = Array.from({ length: 103 }, (_, index) => `/${index}`);
      await client.write(paths.map((path) => requestText(path)).join(''));
      await Promise.all(paths.map(arrived));
      const report = await terminator.terminate();
      assert.equal(report.cut.length, 100);
      assert.equal(report.cutOmitted, 3);
      assert.equal(report.requests.cut, 103);
    });

    it('lists at most a hundred of several servers, too, requests and errors of tasks', async (test) => {
      const { handler, arrived } = gatedHandler();
      const servers = [transport.createServer({}, handler), transport.createServer({}, handler)];
      const terminator = createHttpTerminator({ server: servers, httpResponseTimeout: 30 });
      test.after(() => terminator.terminate());
      for (const [place, server] of servers.entries()) {
        await once(server.listen(0, '127.0.0.1'), 'listening');
        const client = await connect(transport, server);
        const paths = Array.from({ length: 60 }, (_, index) => `/${place}/${index}`);
        await client.write(paths.map((path) => requestText(path)).join(''));
        await Promise.all(paths.map(arrived));
      }
      for (const own of servers.map((server) => createHttpTerminator({ server }))) {
        for (let task = 0; task < 60; task += 1) own.waitUntil(Promise.reject(new Error(`task ${task}`)));
      }
      const { cut, cutOmitted, requests, tasks } = await terminator.terminate();
      assert.deepEqual([cut.length, cutOmitted, requests.cut], [100, 20, 120]);
      assert.deepEqual([tasks.errors.length, tasks.rejected], [100, 120]);
    });

    it('ends an event stream that listens to its signal', async (test) => {
      const { server, terminator } = await serve(test, transport, (_request, response) => {
        response.writeHead(200, { 'Content-Type': 'text/event-stream' });
        response.write('data: hello\n\n');
        terminator.signal.addEventListener('abort', () => response.end('data: goodbye\n\n'));
      });
      const client = await connect(transport, server);
      await client.write(requestText('/events'));
      await client.until(/hello/);
      const report = await terminator.terminate();
      assert.equal(await client.ended, 'FIN');
      assert.match(client.received, /goodbye/);
      assert.deepEqual(report.requests, { completed: 1, late: 0, cut: 0 });
    });

    it('is refused without a thread to keep the deadline, and nothing has begun', async (test) => {
      const { server, terminator } = await serve(test, transport, gatedHandler().handler);
      const { signal } = terminator;
      const { arm } = native;
      test.after(() => {
        native.arm = arm;
      });
      native.arm = () => ({ errno: constants.errno.EAGAIN, reason: 'there is none' });
      const message = 'terminate EAGAIN: resource temporarily unavailable';
      await assert.rejects(terminator.terminate(), { message, code: 'EAGAIN', errno: -constants.errno.EAGAIN });
      assert.deepEqual([terminator.state, signal.aborted, server.listening], ['serving', false, true]);
      const client = await connect(transport, server);
      await client.write(requestText('/'));
      await client.until(/answer to \//);
      assert.equal(client.answers[0].headers.connection, 'keep-alive');
      native.arm = arm;
      const terminated = terminator.terminate();
      assert.equal(signal.aborted, true);
      assert.equal((await terminated).graceful, true);
      assert.equal(await client.ended, 'FIN');
    });

    it('has a signal to which many streams may listen without a warning', async (test) => {
      const { terminator } = await serve(test, transport, () => {});
      const warnings = [];
      const warned = (warning) => warnings.push(warning);
      process.on('warning', warned);
      test.after(() => process.removeListener('warning', warned));
      for (let stream = 0; stream < 20; stream += 1) terminator.signal.addEventListener('abort', () => {});
      await turn();
      assert.deepEqual(warnings, []);
    });

    it('has a signal where a test runner imitates a browser, and replaces what makes signals', async (test) => {
      const { AbortController } = globalThis;
      test.after(() => {
        globalThis.AbortController = AbortController;
      });
      globalThis.AbortController = /** @type {any} */ (
        class {
          signal = { aborted: false };

          abort() {
            this.signal.aborted = true;
          }
        }
      );
      const { terminator } = await serve(test, transport, () => {});
      const { signal } = terminator;
      assert.equal(signal.aborted, false);
      assert.equal((await terminator.terminate()).graceful, true);
      assert.equal(signal.aborted, true);
    });

    it('lets a long poll that answers on its signal say close', async (test) => {
      const { server, terminator } = await serve(test, transport, (_request, response) => {
        terminator.signal.addEventListener('abort', () => response.end('nothing new'));
        asked.open();
      });
      const asked = gate();
      const client = await connect(transport, server);
      await client.write(requestText('/poll'));
      await asked.passed;
      await terminator.terminate();
      assert.equal(await client.ended, 'FIN');
      assert.equal(client.answers[0].headers.connection, 'close');
    });
  });
}

describe('background tasks', () => {
  const [http] = transports;

  it('are waited for, and their failures are reported', async (test) => {
    const { terminator } = await serve(test, http, () => {});
    const [first, second] = [gate(), gate()];
    terminator.waitUntil(first.passed);
    terminator.waitUntil(second.passed.then(() => Promise.reject(new Error('disk full'))));
    terminator.waitUntil(Promise.resolve('settled before'));
    await turn();
    let resolved = false;
    const terminated = terminator.terminate().finally(() => {
      resolved = true;
    });
    first.open();
    await turn();
    assert.equal(resolved, false);
    second.open();
    const report = await terminated;
    assert.deepEqual(report.tasks, { completed: 1, rejected: 1, abandoned: 0, errors: ['disk full'] });
    assert.equal(report.graceful, true);
  });

  it('are abandoned at the deadline, and forgotten by later terminations', async (test) => {
    const { server, terminator } = await serve(test, http, () => {}, { httpResponseTimeout: 20 });
    const late = gate();
    terminator.waitUntil(late.passed);
    const report = await terminator.terminate();
    assert.deepEqual(report.tasks, { completed: 0, rejected: 0, abandoned: 1, errors: [] });
    assert.equal(report.graceful, false);
    await once(server.listen({ port: 0, host: '127.0.0.1' }), 'listening');
    const task = gate();
    terminator.waitUntil(task.passed);
    late.open();
    await turn();
    assert.equal(terminator.stats().tasks, 1);
    task.open();
    assert.equal((await terminator.terminate()).tasks.abandoned, 0);
  });

  it('may fail with whatever they like', async (test) => {
    const { terminator } = await serve(test, http, () => {});
    const errors = [
      Object.create(null),
      Object.assign(new Error(), { message: 5 }),
      runInNewContext('new Error("far")'),
    ];
    const gates = errors.map(() => gate());
    for (const [place, error] of errors.entries()) {
      terminator.waitUntil(gates[place].passed.then(() => Promise.reject(error)));
    }
    const terminated = terminator.terminate();
    for (const { open } of gates) open();
    const { tasks } = await terminated;
    assert.deepEqual(tasks, {
      completed: 0,
      rejected: 3,
      abandoned: 0,
      errors: ['[Object: null prototype] {}', '5', 'far'],
    });
  });

  it('must be promises', async (test) => {
    const { terminator } = await serve(test, http, () => {});
    for (const task of [undefined, null, 5, () => {}, {}]) {
      assert.throws(() => terminator.waitUntil(task), { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' });
    }
    assert.equal(terminator.stats().tasks, 0);
  });
});

for (const [name, create, connect] of [
  ['net', net.createServer, net.connect],
  [
    'tls',
    (listener) => tls.createServer(credentials, listener),
    (to) => tls.connect({ ...to, ca: credentials.cert, servername: 'localhost' }),
  ],
]) {
  describe(`a server of node:${name}`, () => {
    it('ends: silent connections at once, the others when they end by themselves', async (test) => {
      const server = create((socket) => socket.on('data', (data) => socket.write(data)));
      const terminator = createHttpTerminator({ server, httpResponseTimeout: 300_000 });
      test.after(() => server.close());
      await once(server.listen(0, '127.0.0.1'), 'listening');
      const [silent, speaking] = [connect(addressOf(server)), connect(addressOf(server))].map(
        (socket) => new Client(socket),
      );
      await speaking.write('hello');
      await speaking.until(/hello/);
      while (terminator.stats().connections < 2) await turn();
      const terminated = terminator.terminate();
      assert.equal(await silent.ended, 'FIN');
      await speaking.write('still there?');
      await speaking.until(/still there\?/);
      speaking.socket.end();
      assert.equal((await terminated).graceful, true);
    });
  });
}
