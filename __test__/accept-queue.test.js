// What becomes of connections that the kernel has made, and the server has not accepted yet, when terminate() is
// called; and of listeners that others share.

const assert = require('node:assert/strict');
const { execFile, fork } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { describe, it } = require('node:test');
const { promisify } = require('node:util');
const { addressOf, Client, connect, requestText } = require('./support/client');
const { startCrowd } = require('./support/crowd');
const { gatedHandler, serve, turn } = require('./support/server');
const { closeEverything, transports } = require('./support/transports');

const [plain] = transports;

const onlyLinux = process.platform !== 'linux' && 'only Linux holds new connections back';
const noUnixSockets = process.platform === 'win32' && 'there are no Unix domain sockets';

for (const transport of transports) {
  describe(`connections that wait to be accepted, over ${transport.name}`, () => {
    for (const count of [1, 3, 20]) {
      it(`are served with the requests that wait with them, ${count} of them`, async (test) => {
        const { server, terminator } = await serve(test, transport, gatedHandler().handler);
        const crowd = await startCrowd(test);
        crowd.connectWhileBlocked(transport, server, count);
        crowd.writeWhileBlocked(requestText());
        assert.equal(terminator.stats().connections, 0, 'none is accepted yet');
        const report = await terminator.terminate();
        assertServed(await crowd.ended(), count);
        assert.deepEqual(report.requests, { completed: 0, late: count, cut: 0 });
        assert.deepEqual(report.connections, { idle: 0, drained: count, forced: 0 });
      });

      it(`have time to speak, ${count} of them`, async (test) => {
        const { server, terminator } = await serve(test, transport, gatedHandler().handler);
        const crowd = await startCrowd(test);
        crowd.connectWhileBlocked(transport, server, count);
        const terminated = terminator.terminate();
        while (server.listening) await turn();
        await turn();
        await turn();
        crowd.writeWhileBlocked(requestText());
        assertServed(await crowd.ended(), count);
        assert.deepEqual((await terminated).requests, { completed: 0, late: count, cut: 0 });
      });

      it(`are closed with FIN if they go on saying nothing, ${count} of them`, async (test) => {
        const { server, terminator } = await serve(test, transport, gatedHandler().handler);
        const crowd = await startCrowd(test);
        crowd.connectWhileBlocked(transport, server, count);
        const [results, report] = await Promise.all([crowd.ended(), terminator.terminate()]);
        assert.deepEqual(results, Array(count).fill({ how: 'FIN', answers: [] }));
        assert.deepEqual(report.connections, { idle: count, drained: 0, forced: 0 });
      });
    }

    it('are served while requests in flight go on', async (test) => {
      const { handler, arrived, open } = gatedHandler();
      const { server, terminator } = await serve(test, transport, handler);
      const active = await connectActive(transport, server, arrived);
      const crowd = await startCrowd(test);
      crowd.connectWhileBlocked(transport, server, 3);
      crowd.writeWhileBlocked(requestText());
      const terminated = terminator.terminate();
      assertServed(await crowd.ended(), 3);
      active.forEach((_, index) => open(`/${index}`));
      await assertAnswered(active);
      assert.deepEqual((await terminated).requests, { completed: active.length, late: 3, cut: 0 });
    });

    it('are served from a Unix domain socket', { skip: noUnixSockets }, async (test) => {
      const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'terminator-'));
      test.after(() => fs.rmSync(directory, { recursive: true }));
      const listen = { path: path.join(directory, 'socket'), host: undefined };
      const { server, terminator } = await serve(test, transport, gatedHandler().handler, { listen });
      const crowd = await startCrowd(test);
      crowd.connectWhileBlocked(transport, server, 3);
      crowd.writeWhileBlocked(requestText());
      assert.equal(terminator.stats().connections, 0, 'none is accepted yet');
      const report = await terminator.terminate();
      assertServed(await crowd.ended(), 3);
      assert.deepEqual(report.requests, { completed: 0, late: 3, cut: 0 });
    });
  });

  describe(`a listener that closes, over ${transport.name}`, () => {
    it('refuses new connections, while requests in flight go on', async (test) => {
      const { handler, arrived, open } = gatedHandler();
      const { server, terminator } = await serve(test, transport, handler);
      const address = addressOf(server);
      const active = await connectActive(transport, server, arrived);
      const crowd = await startCrowd(test);
      crowd.connectWhileBlocked(transport, server, 3);
      crowd.writeWhileBlocked(requestText());
      const terminated = terminator.terminate();
      while (server.listening) await turn();
      const [refused] = await once(net.connect(address), 'error');
      assert.equal(refused.code, 'ECONNREFUSED');
      active.forEach((_, index) => open(`/${index}`));
      await assertAnswered(active);
      assert.equal((await terminated).graceful, true);
      assertServed(await crowd.ended(), 3);
    });

    it('listens again on its port, and accepts at once', async (test) => {
      const { handler, arrived, open } = gatedHandler();
      const { server, terminator } = await serve(test, transport, handler);
      const other = await serve(test, transport, gatedHandler().handler);
      const { port, host } = addressOf(server);
      const crowd = await startCrowd(test);
      for (const second of [server, transport.createServer({}, gatedHandler().handler)]) {
        const active = await connectActive(transport, server, arrived);
        crowd.connectWhileBlocked(transport, server, 3);
        crowd.writeWhileBlocked(requestText());
        const terminated = terminator.terminate();
        active.forEach((_, index) => open(`/${index}`));
        assertServed(await crowd.ended(), 3);
        assert.equal((await terminated).graceful, true);

        test.after(() => closeEverything(second));
        await once(second.listen({ port, host }), 'listening');
        let connected = false;
        const first = connect(transport, second).then((client) => {
          connected = true;
          return client;
        });
        // Somebody who is held back tries again after a second, so everybody else is first.
        for (let count = 0; count < 3; count += 1) await assertServes(transport, other.server);
        assert.equal(connected, true);
        await assertServes(transport, second, await first);
      }
    });
  });
}

it('leaves no descriptor open', { skip: onlyLinux }, async (test) => {
  const { server, terminator } = await serve(test, plain, gatedHandler().handler);
  const crowd = await startCrowd(test);
  const count = () => fs.readdirSync('/proc/self/fd').length;
  const terminate = async () => {
    crowd.connectWhileBlocked(plain, server, 5);
    crowd.writeWhileBlocked(requestText());
    await terminator.terminate();
    assertServed(await crowd.ended(), 5);
  };
  // What is opened once and kept does not count.
  await terminate();
  const before = count();
  for (let time = 0; time < 50; time += 1) {
    await once(server.listen({ port: 0, host: '127.0.0.1' }), 'listening');
    await terminate();
  }
  assert.equal(count(), before);
});

describe('a listener that others share', { skip: onlyLinux }, () => {
  for (const transport of transports) {
    for (const [how, title, reason] of [
      ['handle', 'a process that it was sent to', /shared with process \d+$/m],
      ['descriptor', 'the process that its descriptor came from', /it may be shared$/m],
      ['cluster', 'another worker of its cluster', /it may be shared$/m],
    ]) {
      it(`goes on accepting in ${title}, over ${transport.name}`, async (test) => {
        const { ending, goingOn, port, tell, reported, stderr } = await startSharing(test, how, transport);
        const server = { address: () => ({ port }) };
        await stop(goingOn);
        const active = [];
        for (const each of ['/1', '/2', '/3', '/4', '/terminate']) {
          const client = await connectTo(transport, server);
          await client.write(requestText(each));
          await client.until(/ending/);
          active.push(client);
        }
        // Now neither process accepts.
        const waiting = await Promise.all(Array.from({ length: 3 }, () => connectRaw(transport, server)));
        for (const client of waiting) client.socket.write(requestText());
        ending.unblock();
        for (const client of waiting) {
          assert.equal(await client.ended, 'FIN');
          assert.equal(client.answers[0].body, 'ending');
          assert.equal(client.answers[0].headers.connection, 'close');
        }
        process.kill(goingOn, 'SIGCONT');
        for (let count = 0; count < 5; count += 1) await assertServes(transport, server, undefined, 'going on');
        tell('answer');
        for (const client of active) {
          assert.equal(await client.ended, 'FIN');
          assert.equal(client.answers[0].body, 'ending after all');
        }
        const { graceful, requests } = await reported;
        assert.equal(graceful, true);
        assert.deepEqual(requests, { completed: active.length, late: waiting.length, cut: 0 });
        for (let count = 0; count < 5; count += 1) await assertServes(transport, server, undefined, 'going on');
        assert.match(stderr(), /new connections are not held back while the listener closes: /);
        assert.match(stderr(), reason);
      });
    }
  }
});

describe('a server that tells the kernel something wrong', () => {
  for (const transport of transports) {
    for (const [title, mislead] of [
      ['an address that is not its own', ({ server, other }) => misleadAddress(server, other)],
      ['the descriptor of another server', ({ server, other }) => misleadDescriptor(server, other._handle.fd)],
      ['the descriptor of a file', ({ server, file }) => misleadDescriptor(server, file)],
      ['a descriptor of nothing', ({ server }) => misleadDescriptor(server, 1_000_000)],
      ['no descriptor', ({ server }) => misleadDescriptor(server, -1)],
    ]) {
      it(`ends all the same and touches nothing else: ${title}, over ${transport.name}`, async (test) => {
        const { handler, arrived, open } = gatedHandler();
        const { server, terminator } = await serve(test, transport, handler);
        const { server: other } = await serve(test, transport, gatedHandler().handler);
        const file = fs.openSync(__filename);
        test.after(() => fs.closeSync(file));
        const active = await connectActive(transport, server, arrived);
        const crowd = await startCrowd(test);
        crowd.connectWhileBlocked(transport, server, 3);
        crowd.writeWhileBlocked(requestText());
        mislead({ server, other, file });
        const terminated = terminator.terminate();
        await assertServes(transport, other);
        assertServed(await crowd.ended(), 3);
        active.forEach((_, index) => open(`/${index}`));
        await assertAnswered(active);
        assert.equal((await terminated).graceful, true);
        await assertServes(transport, other);
        assert.equal(other.listening, true);
        const beginning = Buffer.alloc(2);
        fs.readSync(file, beginning);
        assert.equal(beginning.toString(), '//', 'the file is open, and nobody has read from it');
      });
    }

    it(`lets go of another server that it took for itself, over ${transport.name}`, async (test) => {
      const { handler, arrived, open } = gatedHandler();
      const { server, terminator } = await serve(test, transport, handler);
      const { server: other } = await serve(test, transport, gatedHandler().handler);
      const active = await connectActive(transport, server, arrived);
      misleadDescriptor(server, other._handle.fd);
      misleadAddress(server, other);
      const terminated = terminator.terminate();
      while (server.listening) await turn();
      await assertServes(transport, other);
      active.forEach((_, index) => open(`/${index}`));
      await assertAnswered(active);
      assert.equal((await terminated).graceful, true);
      await assertServes(transport, other);
    });
  }

  it('is told of by NODE_DEBUG', { skip: onlyLinux }, async () => {
    const program = `
      const http = require('node:http');
      const { createHttpTerminator } = require(${JSON.stringify(path.join(__dirname, '..'))});
      const server = http.createServer((_request, response) => {
        const address = server.address();
        server.address = () => ({ ...address, port: address.port - 1 });
        terminator.terminate();
        response.end('served');
      });
      const terminator = createHttpTerminator({ server });
      server.listen(0, '127.0.0.1', () => {
        http.get({ port: server.address().port }, (response) => response.pipe(process.stdout));
      });`;
    const env = { ...process.env, NODE_DEBUG: 'http-terminator' };
    const { stdout, stderr } = await promisify(execFile)(process.execPath, ['--eval', program], { env });
    assert.equal(stdout, 'served');
    assert.match(stderr, /how many connections wait to be accepted is not known: not a TCP socket that listens on 127/);
    assert.match(stderr, /terminated .*: 0 connections/);
  });
});

function misleadAddress(server, other) {
  server.address = () => other.address();
}

/** What is told of the handle, not what it is. */
function misleadDescriptor(server, descriptor) {
  Object.defineProperty(server._handle, 'fd', { value: descriptor });
}

/** More clients than a test's teardown has, each with a request in flight. */
async function connectActive(transport, server, arrived) {
  const clients = [];
  for (let index = 0; index < 4; index += 1) {
    const client = await connect(transport, server);
    await client.write(requestText(`/${index}`));
    await arrived(`/${index}`);
    clients.push(client);
  }
  return clients;
}

async function assertAnswered(clients) {
  for (const [index, client] of clients.entries()) {
    assert.equal(await client.ended, 'FIN');
    assert.equal(client.answers[0].body, `answer to /${index}`);
    assert.equal(client.answers[0].headers.connection, 'close');
  }
}

function assertServed(results, count) {
  assert.equal(results.length, count);
  for (const { how, answers } of results) {
    assert.equal(how, 'FIN');
    assert.deepEqual(
      answers.map(({ body, headers }) => [body, headers.connection]),
      [['answer to /', 'close']],
    );
  }
}

async function assertServes(transport, server, client = undefined, body = 'answer to /') {
  const connected = client ?? (await connectTo(transport, server));
  await connected.write(requestText());
  await connected.until(new RegExp(body));
  assert.equal(connected.answers[0].headers.connection, 'keep-alive');
  connected.socket.destroy();
}

/** Without waiting for the server to have accepted, which may be in another process. */
async function connectTo(transport, server) {
  const socket = transport.connect(addressOf(server));
  const client = new Client(socket);
  await once(socket, transport.connected);
  return client;
}

/** Without waiting for the server to say anything, either. */
async function connectRaw(transport, server) {
  const socket = transport.connect(addressOf(server));
  const client = new Client(socket);
  await once(socket, 'connect');
  return client;
}

/** Two processes with one listener; see support/sharing.js. */
async function startSharing(test, how, transport) {
  const env = {
    ...process.env,
    NODE_DEBUG: 'http-terminator',
    SHARING: JSON.stringify({ how, scheme: transport.name }),
  };
  const first = fork(path.join(__dirname, 'support', 'sharing.js'), {
    env,
    stdio: ['pipe', 'inherit', 'pipe', 'ipc'],
  });
  let stderr = '';
  first.stderr.setEncoding('utf8').on('data', (data) => {
    stderr += data;
  });
  test.after(() => first.kill('SIGKILL'));
  const [{ port, pids }] = await once(first, 'message');
  const goingOn = pids['going on'];
  // It may be stopped, and then hears of no other signal.
  if (goingOn !== first.pid) test.after(() => process.kill(goingOn, 'SIGKILL'));
  return {
    port,
    goingOn,
    ending: { unblock: () => first.stdin.write('!') },
    tell: (message) => first.send(message),
    reported: once(first, 'message').then(([report]) => report),
    stderr: () => stderr,
  };
}

/** Until the process has stopped: no event tells, so every turn looks. */
async function stop(pid) {
  process.kill(pid, 'SIGSTOP');
  while (!/\) T /.test(fs.readFileSync(`/proc/${pid}/stat`, 'utf8'))) await turn();
}
