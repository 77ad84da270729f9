// One terminator for several servers, and servers that share a port with other processes.

const assert = require('node:assert/strict');
const { fork } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const http2 = require('node:http2');
const https = require('node:https');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { describe, it } = require('node:test');
const tls = require('node:tls');
const { Worker } = require('node:worker_threads');
const { createHttpTerminator } = require('..');
const { addressOf, Client, connect, connectTo, requestText } = require('./support/client');
const { gate, gatedHandler, turn } = require('./support/server');
const { closeEverything, credentials, transports, trust } = require('./support/transports');

const [plain, secure] = transports;

describe('several servers', () => {
  it('end together, with one report', async (test) => {
    const { handler, arrived, open } = gatedHandler();
    const servers = [http.createServer(handler), https.createServer(credentials, handler), http2.createServer(handler)];
    const terminator = createHttpTerminator({ server: servers, httpResponseTimeout: 300_000 });
    test.after(() => servers.forEach(closeEverything));
    for (const server of servers) await once(server.listen(0, '127.0.0.1'), 'listening');
    const idle = await connect(plain, servers[0]);
    await idle.write(requestText());
    await idle.until(/answer to/);
    const active = await connect(secure, servers[1]);
    await active.write(requestText('/slow'));
    await arrived('/slow');
    const session = http2.connect(`http://127.0.0.1:${servers[2].address().port}`);
    await once(session, 'remoteSettings');
    const stream = session.request({ ':path': '/stream' }).resume();
    await arrived('/stream');
    assert.equal(terminator.stats().requests, 2);
    const terminated = terminator.terminate();
    assert.equal(terminator.state, 'draining');
    open('/slow');
    open('/stream');
    await Promise.all([active.ended, once(stream, 'end')]);
    const report = await terminated;
    assert.deepEqual(report.requests, { completed: 2, late: 0, cut: 0 });
    assert.deepEqual(report.connections, { idle: 1, drained: 2, forced: 0 });
    assert.equal(terminator.state, 'terminated');
    assert.ok(servers.every((server) => !server.listening));
  });

  it('are told of in one report only, also when some have listened again', async (test) => {
    const { handler, arrived } = gatedHandler();
    const servers = [http.createServer(handler), http.createServer(handler)];
    const terminator = createHttpTerminator({ server: servers, httpResponseTimeout: 0 });
    test.after(() => servers.forEach(closeEverything));
    for (const server of servers) await once(server.listen(0, '127.0.0.1'), 'listening');
    const client = await connect(plain, servers[1]);
    await client.write(requestText('/never'));
    await arrived('/never');
    assert.equal((await terminator.terminate()).requests.cut, 1);
    await once(servers[0].listen(0, '127.0.0.1'), 'listening');
    const report = await terminator.terminate();
    assert.equal(report.graceful, true);
    assert.deepEqual([report.requests.cut, report.cut], [0, []]);
    assert.equal(await terminator.terminate(), report);
  });

  it('have one deadline', async (test) => {
    const { handler, arrived } = gatedHandler();
    const servers = [http.createServer(handler), http.createServer(handler)];
    const terminator = createHttpTerminator({ server: servers, httpResponseTimeout: 40 });
    test.after(() => servers.forEach(closeEverything));
    for (const [index, server] of servers.entries()) {
      await once(server.listen(0, '127.0.0.1'), 'listening');
      await (await connect(plain, server)).write(requestText(`/never${index}`));
      await arrived(`/never${index}`);
    }
    const report = await terminator.terminate();
    assert.deepEqual(report.cut.map(({ url }) => url).sort(), ['/never0', '/never1']);
  });

  it('end although one of them fails', async (test) => {
    class BrokenServer extends http.Server {
      close() {
        if (closable) super.close();
        else throw new Error('broken');
      }
    }
    let closable = false;
    const { handler, arrived, open } = gatedHandler();
    const [broken, sound] = [new BrokenServer(), http.createServer(handler)];
    const terminator = createHttpTerminator({ server: [broken, sound], httpResponseTimeout: 300_000 });
    test.after(() => [broken, sound].forEach(closeEverything));
    for (const server of [broken, sound]) await once(server.listen(0, '127.0.0.1'), 'listening');
    const client = await connect(plain, sound);
    await client.write(requestText('/slow'));
    await arrived('/slow');
    let settled = false;
    const terminated = terminator.terminate().finally(() => {
      settled = true;
    });
    const rejected = assert.rejects(terminated, { message: 'broken' });
    for (let turns = 0; turns < 20; turns += 1) await turn();
    assert.equal(settled, false);
    open('/slow');
    assert.equal(await client.ended, 'FIN');
    await rejected;
    closable = true;
    assert.equal(sound.listening, false);
  });

  it('wait for tasks though the first of them has ended', async (test) => {
    const { servers, terminator } = await serveTwo(test);
    await createHttpTerminator({ server: servers[0] }).terminate();
    const task = gate();
    terminator.waitUntil(task.passed);
    const terminated = terminator.terminate();
    await turn();
    task.open();
    assert.equal((await terminated).tasks.completed, 1);
    assert.equal(terminator.stats().tasks, 0);
  });

  it('have one signal, which stays aborted until all of them have ended', async (test) => {
    const { servers, terminator, arrived, open } = await serveTwo(test);
    await (await connect(plain, servers[1])).write(requestText('/slow'));
    await arrived('/slow');
    const terminated = terminator.terminate();
    await once(servers[0], 'close');
    while (createHttpTerminator({ server: servers[0] }).state !== 'terminated') await turn();
    await once(servers[0].listen(0, '127.0.0.1'), 'listening');
    assert.equal(terminator.state, 'draining');
    assert.equal(terminator.signal.aborted, true);
    open('/slow');
    await terminated;
    assert.equal(terminator.state, 'serving');
    assert.equal(terminator.signal.aborted, false);
  });

  it('count once if they are the same', async () => {
    const server = http.createServer();
    const terminator = createHttpTerminator({ server: [server, server] });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    assert.equal((await terminator.terminate()).graceful, true);
  });
});

describe('a tunnel of one server, at the end of which is another one of the process', () => {
  for (const inner of transports) {
    const tunnel = async (test) => {
      const { handler, arrived, open } = gatedHandler();
      const servers = [http.createServer(), inner.createServer({ keepAliveTimeout: 60_000 }, handler)];
      servers[0].on('connect', (_request, socket) => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        servers[1].emit('connection', socket);
      });
      const terminators = servers.map((server) => createHttpTerminator({ server, httpResponseTimeout: 300_000 }));
      test.after(() => servers.forEach(closeEverything));
      for (const server of servers) await once(server.listen(0, '127.0.0.1'), 'listening');
      const raw = net.connect({ ...addressOf(servers[0]), allowHalfOpen: true });
      raw.write('CONNECT inner HTTP/1.1\r\nHost: inner\r\n\r\n');
      await once(raw, 'data');
      const client = new Client(inner.secure ? tls.connect({ ...trust, socket: raw, allowHalfOpen: true }) : raw);
      await client.write(requestText());
      await client.until(/answer to/);
      return { terminators, client, arrived, open };
    };

    it(`ends with the request in flight on it, over ${inner.name}, and each server has a report of its own`, async (test) => {
      const { terminators, client, arrived, open } = await tunnel(test);
      await client.write(requestText('/slow'));
      await arrived('/slow');
      const terminated = terminators.map((terminator) => terminator.terminate());
      await turn();
      open('/slow');
      assert.equal(await client.ended, 'FIN');
      assert.equal(client.answers[1].headers.connection, 'close');
      const [outside, inside] = await Promise.all(terminated);
      assert.deepEqual(inside.requests, { completed: 1, late: 0, cut: 0 });
      for (const report of [outside, inside]) {
        assert.equal(report.graceful, true);
        assert.deepEqual(report.connections, { idle: 0, drained: 1, forced: 0 });
      }
    });

    it(`is forgotten when its client has gone, over ${inner.name}`, async (test) => {
      const { terminators, client } = await tunnel(test);
      client.socket.destroy();
      const isOpen = () => terminators.some((terminator) => terminator.stats().connections > 0);
      while (isOpen()) await turn();
      for (const terminator of terminators) assert.equal((await terminator.terminate()).connections.drained, 0);
    });
  }
});

for (const [which, serversOf] of [
  ['with it', (outer, inner) => [outer, inner]],
  ['without it, within the deadline', (outer) => outer],
]) {
  it(`a server of node:net that hands its sockets to one of HTTP, ${which}, leaves it a request on a connection that was used before`, async (test) => {
    const { handler, arrived, open } = gatedHandler();
    const inner = http.createServer({ keepAliveTimeout: 60_000 }, handler);
    const outer = net.createServer((socket) => inner.emit('connection', socket));
    const terminator = createHttpTerminator({ server: serversOf(outer, inner), httpResponseTimeout: 300_000 });
    test.after(() => inner.closeAllConnections());
    await once(outer.listen(0, '127.0.0.1'), 'listening');
    const client = new Client(net.connect({ ...addressOf(outer), allowHalfOpen: true }));
    await client.write(requestText());
    await client.until(/answer to/);
    await client.write(requestText('/slow'));
    await arrived('/slow');
    const terminated = terminator.terminate();
    for (let turns = 0; turns < 5; turns += 1) await turn();
    open('/slow');
    await client.until(/answer to \/slow/);
    client.socket.end();
    assert.equal(await client.ended, 'FIN');
    assert.equal((await terminated).graceful, true);
  });
}

it('a server of node:net that hands its sockets to one of HTTP leaves their requests to that', async (test) => {
  const { handler, arrived, open } = gatedHandler();
  const inner = http.createServer(handler);
  const outer = net.createServer((socket) => inner.emit('connection', socket));
  const terminator = createHttpTerminator({ server: [outer, inner], httpResponseTimeout: 300_000 });
  test.after(() => inner.closeAllConnections());
  await once(outer.listen(0, '127.0.0.1'), 'listening');
  const accepted = once(outer, 'connection');
  const client = new Client(net.connect({ ...addressOf(outer), allowHalfOpen: true }));
  await accepted;
  await client.write(requestText('/slow'));
  await arrived('/slow');
  const terminated = terminator.terminate();
  open('/slow');
  assert.equal(await client.ended, 'FIN');
  const report = await terminated;
  assert.deepEqual(report.requests, { completed: 1, late: 0, cut: 0 });
  assert.equal(report.graceful, true);
});

describe('a server of a class of its own', () => {
  for (const [what, close] of [
    ['looks for itself', (isOpen, end) => void (isOpen() && end())],
    ['is asynchronous', (isOpen, end) => turn().then(() => isOpen() && end())],
  ]) {
    it(`is closed by its own close() if that ${what}, and serves what has come on idle connections`, async (test) => {
      let isHidden = false;
      class OwnServer extends http.Server {
        #isOpen = true;

        close(callback) {
          const isOpen = () => this.#isOpen;
          return close(isOpen, () => {
            isHidden = Object.hasOwn(this, 'closeIdleConnections');
            super.close(callback);
          });
        }
      }
      const server = new OwnServer({ keepAliveTimeout: 60_000 }, gatedHandler().handler);
      const terminator = createHttpTerminator({ server, httpResponseTimeout: 300_000 });
      test.after(() => closeEverything(server));
      await once(server.listen(0, '127.0.0.1'), 'listening');
      const client = await connect(plain, server);
      await client.write(requestText());
      await client.until(/answer to/);
      const before = Reflect.ownKeys(server);
      const written = client.write(requestText());
      const report = await terminator.terminate();
      await written;
      assert.equal(await client.ended, 'FIN');
      assert.equal(client.answers.length, 2);
      assert.deepEqual(report.requests, { completed: 0, late: 1, cut: 0 });
      assert.equal(isHidden, true, 'idle connections are left alone');
      assert.deepEqual(Reflect.ownKeys(server), before, 'nothing is left on it');
    });
  }

  it('is not waited for if its asynchronous close() rejects, which is heard of', async (test) => {
    class BrokenServer extends http.Server {
      async close() {
        throw new Error('broken');
      }
    }
    const server = new BrokenServer();
    const terminator = createHttpTerminator({ server, httpResponseTimeout: 300_000 });
    test.after(() => http.Server.prototype.close.call(server));
    await once(server.listen(0, '127.0.0.1'), 'listening');
    await assert.rejects(terminator.terminate(), { message: 'broken' });
  });

  it('has everything shown again when its close() resolves only after it has closed, and listens again', async (test) => {
    class PromisingServer extends http.Server {
      close(callback) {
        return new Promise((resolve) => super.close(() => resolve(callback?.())));
      }
    }
    const server = new PromisingServer();
    const terminator = createHttpTerminator({ server, httpResponseTimeout: 300_000 });
    test.after(() => server.close());
    for (const _ of [1, 2]) {
      await once(server.listen(0, '127.0.0.1'), 'listening');
      await terminator.terminate();
    }
    await turn();
    assert.equal(Object.hasOwn(server, 'closeIdleConnections'), false);
  });

  it('keeps what it has under symbols of its own while it closes', async (test) => {
    const timers = Symbol('timers');
    class OwnServer extends http.Server {
      [timers] = new Map([['one', 1]]);

      close(callback) {
        seen = this[timers].get('one');
        return super.close(callback);
      }
    }
    let seen;
    const server = new OwnServer();
    test.after(() => server.close());
    await once(server.listen(0, '127.0.0.1'), 'listening');
    await createHttpTerminator({ server }).terminate();
    assert.equal(seen, 1);
  });
});

async function serveTwo(test) {
  const { handler, arrived, open } = gatedHandler();
  const servers = [http.createServer(handler), http.createServer(handler)];
  const terminator = createHttpTerminator({ server: servers, httpResponseTimeout: 300_000 });
  test.after(() => servers.forEach(closeEverything));
  for (const server of servers) await once(server.listen(0, '127.0.0.1'), 'listening');
  return { servers, terminator, arrived, open };
}

it('a cluster worker ends without closing the listener of its siblings', async (test) => {
  const primary = fork(path.join(__dirname, 'support', 'cluster.js'));
  test.after(() => primary.kill());
  const [{ port }] = await once(primary, 'message');
  primary.send('terminate one');
  const [{ graceful, answered }] = await once(primary, 'message');
  assert.equal(graceful, true);
  assert.equal(answered, 'in flight');
  for (let count = 0; count < 20; count += 1) {
    const client = await connectTo(test, port);
    await client.write(requestText());
    await client.until(/worker 2/);
    client.socket.destroy();
  }
  const exited = once(primary, 'exit');
  primary.send('end');
  await exited;
});

it('a cluster worker gives back what a busy primary had handed to it', {
  skip: process.platform === 'win32' && 'workers accept by themselves',
}, async (test) => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'http-terminator-'));
  test.after(() => fs.rmSync(directory, { recursive: true }));
  const primary = fork(path.join(__dirname, 'support', 'busy-primary.js'), [path.join(directory, 'ended')]);
  test.after(() => primary.kill());
  const [{ port, first }] = await once(primary, 'message');
  primary.send('be busy');
  await once(primary, 'message');
  const clients = await Promise.all(Array.from({ length: 6 }, () => connectTo(test, port)));
  for (const client of clients) await client.write(requestText());
  const ended = once(primary, 'message');
  process.kill(first, 'SIGTERM');
  for (const client of clients) await client.until(/served/);
  const [{ code }] = await ended;
  assert.equal(code, 0);
  const exited = once(primary, 'exit');
  primary.send('end');
  await exited;
});

it('a server in a worker thread ends there, and others go on', async (test) => {
  const { handler } = gatedHandler();
  const server = http.createServer(handler);
  test.after(() => closeEverything(server));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const worker = new Worker(
    `const http = require('node:http');
     const { createHttpTerminator } = require(${JSON.stringify(path.join(__dirname, '..'))});
     const { parentPort } = require('node:worker_threads');
     const server = http.createServer((request, response) => response.end('from the worker'));
     const terminator = createHttpTerminator({ server });
     server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port));
     parentPort.once('message', async () => {
       parentPort.postMessage((await terminator.terminate()).connections);
       parentPort.close();
     });`,
    { eval: true },
  );
  const exited = once(worker, 'exit');
  const [port] = await once(worker, 'message');
  const client = await connectTo(test, port);
  await client.write(requestText());
  await client.until(/from the worker/);
  worker.postMessage('terminate');
  const [connections] = await once(worker, 'message');
  assert.equal(await client.ended, 'FIN');
  assert.deepEqual(connections, { idle: 1, drained: 0, forced: 0 });
  const other = await connectTo(test, addressOf(server).port);
  await other.write(requestText());
  await other.until(/answer to/);
  await exited;
});
