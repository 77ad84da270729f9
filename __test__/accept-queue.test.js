// Connections that the kernel has accepted and Node has not, when a termination begins.

const assert = require('node:assert/strict');
const { fork } = require('node:child_process');
const diagnosticsChannel = require('node:diagnostics_channel');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { describe, it } = require('node:test');
const { createHttpTerminator } = require('..');
const { native } = require('../lib/early');
const { Client, connect, requestText } = require('./support/client');
const { remoteCrowd } = require('./support/crowd');
const { block, gatedHandler, serve, turn } = require('./support/server');
const { closeEverything, transports } = require('./support/transports');

/** Longer than is waited for a moment in which nobody waits to be accepted. */
const HELD_UP = 400;
/** Of another machine (RFC 5737). */
const AFAR = '192.0.2.1';

const [plain] = transports;
const onLinux = { skip: process.platform !== 'linux' && 'what is looked at is in /proc' };

for (const transport of transports) {
  describe(`the accept queue over ${transport.name}`, () => {
    for (const [where, name] of [
      [AFAR, 'is kept short if a client has come from another machine, though one from this one is there'],
      ['127.0.0.1', "is nobody's business if all clients have come from this machine"],
    ]) {
      it(name, onLinux, async (test) => {
        const everywhere = { listen: { port: 0, host: '0.0.0.0' } };
        const { server, terminator } = await serve(test, transport, gatedHandler().handler, everywhere);
        const { mock: holds } = test.mock.method(native, 'holdListener');
        server.once('connection', (socket) => comeFrom(socket, where));
        for (let clients = 0; clients < 2; clients += 1) {
          const client = await connect(transport, server);
          await client.write(requestText('/', { headers: clients === 0 ? { Connection: 'close' } : {} }));
          await client.until(/answer to/);
        }
        await terminator.terminate();
        assert.equal(holds.callCount(), where === AFAR ? 1 : 0);
      });
    }

    for (const count of [1, 3, 20]) {
      it(`is served when terminate() is called, with ${count} in it`, async (test) => {
        const { server, terminator } = await serve(test, transport, gatedHandler().handler);
        const crowd = await remoteCrowd(test, transport, server);
        crowd.connectWhileBlocked(count, requestText());
        const report = await terminator.terminate();
        assertAllServed(await crowd.ended(), count);
        assert.deepEqual(report.requests, { completed: 0, late: count, cut: 0 });
      });
    }

    it('is served though its clients say nothing before they are accepted', async (test) => {
      const { server, terminator } = await serve(test, transport, gatedHandler().handler);
      const crowd = await remoteCrowd(test, transport, server);
      crowd.connectWhileBlocked(5, requestText(), { after: true });
      await terminator.terminate();
      assertAllServed(await crowd.ended(), 5);
    });

    it('is served though everything was held up as the listener was to close', async (test) => {
      const { server, terminator } = await serve(test, transport, gatedHandler().handler);
      const crowd = await remoteCrowd(test, transport, server);
      const holdUp = (message) => {
        if (message.server !== server || message.phase !== 'draining') return;
        crowd.connectWhileBlocked(20, requestText());
        block(HELD_UP);
      };
      diagnosticsChannel.subscribe('http-terminator:phase', holdUp);
      test.after(() => diagnosticsChannel.unsubscribe('http-terminator:phase', holdUp));
      const report = await terminator.terminate();
      assertAllServed(await crowd.ended(), 20);
      assert.deepEqual(report.requests, { completed: 0, late: 20, cut: 0 });
    });

    it('is served under load, and nobody comes in after it', async (test) => {
      const { handler, arrived, open } = gatedHandler();
      const { server, terminator } = await serve(test, transport, handler);
      const paths = ['/1', '/2', '/3', '/4'];
      const clients = [];
      for (const path of paths) {
        const client = await connect(transport, server);
        await client.write(requestText(path));
        await arrived(path);
        clients.push(client);
      }
      const address = { host: '127.0.0.1', port: server.address().port };
      const crowd = await remoteCrowd(test, transport, server);
      crowd.connectWhileBlocked(20, requestText());
      const terminated = terminator.terminate();
      assertAllServed(await crowd.ended(), 20);
      assert.equal(server.listening, false);
      await assert.rejects(once(net.connect(address), 'connect'), { code: 'ECONNREFUSED' });
      for (const path of paths) open(path);
      for (const client of clients) assert.equal(await client.ended, 'FIN');
      assert.deepEqual((await terminated).requests, { completed: 4, late: 20, cut: 0 });
    });
  });
}

it('the queue of a Unix domain socket is served', {
  skip: process.platform === 'win32' && 'has none',
}, async (test) => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'http-terminator-'));
  test.after(() => fs.rmSync(directory, { recursive: true }));
  const server = http.createServer((_request, response) => response.end('answer to /'));
  test.after(() => closeEverything(server));
  const terminator = createHttpTerminator({ server, httpResponseTimeout: 300_000 });
  await once(server.listen(path.join(directory, 'socket')), 'listening');
  const crowd = await remoteCrowd(test, plain, server);
  crowd.connectWhileBlocked(3, requestText());
  await terminator.terminate();
  assertAllServed(await crowd.ended(), 3);
});

it('the same port can be listened on at once, by the same server or by another', async (test) => {
  const { server, terminator } = await serve(test, plain, gatedHandler().handler);
  const { port } = server.address();
  for (const next of [server, http.createServer((_request, response) => response.end('answer to /'))]) {
    const crowd = await remoteCrowd(test, plain, server);
    crowd.connectWhileBlocked(5, requestText());
    await terminator.terminate();
    assertAllServed(await crowd.ended(), 5);
    test.after(() => closeEverything(next));
    await once(next.listen(port, '127.0.0.1'), 'listening');
    const client = await connect(plain, next);
    await client.write(requestText());
    await client.until(/answer to \//);
    client.socket.destroy();
  }
});

it('terminations leave no descriptor behind', onLinux, async (test) => {
  const { server, terminator } = await serve(test, plain, gatedHandler().handler);
  const crowd = await remoteCrowd(test, plain, server);
  const terminate = async () => {
    crowd.connectWhileBlocked(5, requestText());
    await terminator.terminate();
    assertAllServed(await crowd.ended(), 5);
  };
  const { port } = server.address();
  const open = () => fs.readdirSync('/proc/self/fd').length;
  await terminate();
  const before = open();
  for (let count = 0; count < 10; count += 1) {
    await once(server.listen(port, '127.0.0.1'), 'listening');
    await terminate();
  }
  // The clients' sockets are of this process too, and close when their thread gets to it.
  while (open() > before) await turn();
});

it('a process to which the listener was handed on goes on accepting', onLinux, async (test) => {
  await assertOtherGoesOn(test, sharing(test, 'parent'));
});

it('a process from which the listener was inherited goes on accepting', onLinux, async (test) => {
  const owner = http.createServer((_request, response) => response.end('the other one'));
  test.after(() => closeEverything(owner));
  await once(owner.listen(0, '127.0.0.1'), 'listening');
  await assertOtherGoesOn(test, sharing(test, 'heir', owner._handle.fd));
});

it('a descriptor that is not the listener is left alone, and the termination goes on', async (test) => {
  const other = net.createServer((socket) => socket.end('accepted'));
  test.after(() => other.close());
  await once(other.listen(0, '127.0.0.1'), 'listening');
  const { handler, arrived, open } = gatedHandler();
  const { server, terminator } = await serve(test, plain, handler);
  const client = await connect(plain, server);
  await client.write(requestText('/slow'));
  await arrived('/slow');
  // As if the number had passed on to another server's listener.
  const handle = server._handle;
  Object.defineProperty(handle, 'fd', { value: other._handle.fd });
  const terminated = terminator.terminate();
  open('/slow');
  assert.equal((await terminated).graceful, true);
  assert.equal(client.answers[0].body, 'answer to /slow');
  const accepted = await connectTo(other.address().port);
  await accepted.until(/accepted/);
});

/** A process that shares its listener, with the descriptors that it inherits. */
function sharing(test, role, ...descriptors) {
  const sharer = fork(path.join(__dirname, 'support', 'shared-listener.js'), [role], {
    env: { ...process.env, NODE_DEBUG: 'http-terminator' },
    stdio: ['ignore', 'inherit', 'pipe', 'ipc', ...descriptors],
  });
  test.after(() => sharer.kill());
  return sharer;
}

/** While one of two that share a listener terminates, and after it. */
async function assertOtherGoesOn(test, sharer) {
  let errors = '';
  sharer.stderr.setEncoding('utf8').on('data', (text) => {
    errors += text;
  });
  const [{ port }] = await once(sharer, 'message');
  const clients = [];
  test.after(() => {
    for (const { socket } of clients) socket.destroy();
  });
  let held = 0;
  sharer.on('message', (message) => {
    held = message.held ?? held;
  });
  // Either may accept. More than three requests in flight are what makes a listener be held, if it may be.
  while (held < 5) {
    const client = await connectTo(port);
    clients.push(client);
    const accepted = new AbortController();
    const isHeld = once(sharer, 'message', { signal: accepted.signal });
    await client.write(requestText());
    await Promise.race([client.until(/the other one/), isHeld]);
    accepted.abort();
  }
  sharer.send('terminate');
  let report;
  while (report === undefined) [{ report }] = await once(sharer, 'message');
  assert.equal(report.graceful, true);
  assert.equal(report.requests.completed, 5);
  for (let count = 0; count < 20; count += 1) {
    const client = await connectTo(port);
    clients.push(client);
    await client.write(requestText());
    await client.until(/the other one/);
  }
  assert.match(errors, /new connections are not held back while the listener closes: .*shared/);
  const exited = once(sharer, 'exit');
  sharer.send('end');
  await exited;
}

async function connectTo(port) {
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  await once(socket, 'connect');
  return new Client(socket);
}

/**
 * @param {import('node:net').Socket} socket that is accepted
 * @param {string} address
 */
function comeFrom(socket, address) {
  socket._handle.getpeername = (peer) => {
    peer.address = address;
  };
}

function assertAllServed(ended, count) {
  assert.equal(ended.length, count);
  for (const { how, answers } of ended) {
    assert.equal(how, 'FIN');
    assert.deepEqual(
      answers.map(({ body, headers }) => [body, headers.connection]),
      [['answer to /', 'close']],
    );
  }
}
