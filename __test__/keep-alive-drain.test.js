// keepAliveDrainTimeout: how long idle connections stay open after terminate(), to serve one more request each.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const http2 = require('node:http2');
const net = require('node:net');
const { describe, it } = require('node:test');
const { createHttpTerminator } = require('..');
const { remoteClient } = require('./support/blocker');
const { addressOf, Client, connect, requestText } = require('./support/client');
const { gatedHandler, serve, turn } = require('./support/server');
const { closeEverything, credentials, transports, trust } = require('./support/transports');

/** A test that waits for it fails by its own timeout. */
const LONG = 60_000;

/** Over before a test's own timeout, and long enough for what a test does meanwhile. */
const SHORT = 150;

/** With more of them, the server counts as busy. */
const FEW = 3;

/** Two turns to read what has come, one to close, and as many to see it. */
const FEW_TURNS = 6;

/** Eight of these gaps are more than what any rhythm holds, which is half a second. */
const GAP = 70;

const CROWD = 120;

for (const transport of transports) {
  describe(`a window, over ${transport.name}`, () => {
    it('keeps an idle connection until its next request has been answered', async (test) => {
      const { server, terminator } = await serveKeeping(test, transport, LONG);
      const client = await connectIdle(transport, server, terminator);
      const terminated = terminator.terminate();
      await turns(FEW_TURNS);
      assert.equal(isClosing(client), false);
      await client.write(requestText());
      assert.equal(await client.ended, 'FIN');
      assertToldToClose(client, 1);
      const report = await terminated;
      assert.deepEqual(report.requests, { completed: 0, late: 1, cut: 0 });
      assert.deepEqual(report.connections, { idle: 0, drained: 1, forced: 0 });
    });

    it('keeps a connection that has never been used until its first request has been answered', async (test) => {
      const { server, terminator } = await serveKeeping(test, transport, LONG);
      const client = await connect(transport, server);
      const terminated = terminator.terminate();
      await turns(FEW_TURNS);
      await client.write(requestText());
      assert.equal(await client.ended, 'FIN');
      assertToldToClose(client, 0);
      assert.deepEqual((await terminated).requests, { completed: 0, late: 1, cut: 0 });
    });

    it('closes an idle connection with FIN when it is over', async (test) => {
      const { server, terminator } = await serveKeeping(test, transport, SHORT);
      const used = await connectIdle(transport, server, terminator);
      const unused = await connect(transport, server);
      const terminated = terminator.terminate();
      await turns(FEW_TURNS);
      for (const client of [used, unused]) assert.equal(isClosing(client), false);
      for (const client of [used, unused]) assert.equal(await client.ended, 'FIN');
      assert.equal(used.answers.length, 1);
      const report = await terminated;
      assert.deepEqual(report.requests, { completed: 0, late: 0, cut: 0 });
      assert.deepEqual(report.connections, { idle: 2, drained: 0, forced: 0 });
    });

    it('is not over for a request that came while the event loop was blocked beyond its end', async (test) => {
      const { handler, arrived } = gatedHandler();
      const { server, terminator } = await serve(test, transport, handler, { keepAliveDrainTimeout: SHORT });
      const client = await remoteClient(test, transport, server);
      client.writeWhileBlocked([requestText()]);
      await arrived('/');
      while (terminator.stats().active > 0) await turn();
      const terminated = terminator.terminate();
      await turns(FEW_TURNS);
      client.writeWhileBlocked([requestText()]);
      block(2 * SHORT);
      const { how, answers } = await client.ended();
      assert.equal(how, 'FIN');
      assert.deepEqual(
        answers.map(({ body, headers }) => [body, headers.connection]),
        [
          ['answer to /', 'keep-alive'],
          ['answer to /', 'close'],
        ],
      );
      assert.deepEqual((await terminated).requests, { completed: 0, late: 1, cut: 0 });
    });

    it('is not over for half a request', async (test) => {
      const { server, terminator } = await serveKeeping(test, transport, SHORT);
      const client = await connectIdle(transport, server, terminator);
      const idle = await connectIdle(transport, server, terminator);
      const terminated = terminator.terminate();
      await turns(FEW_TURNS);
      const text = requestText();
      await client.write(text.slice(0, 12));
      assert.equal(await idle.ended, 'FIN');
      await turns(FEW_TURNS);
      assert.equal(isClosing(client), false);
      await client.write(text.slice(12));
      assert.equal(await client.ended, 'FIN');
      assertToldToClose(client, 1);
      assert.deepEqual((await terminated).requests, { completed: 0, late: 1, cut: 0 });
    });

    it('ends at the deadline, and that is graceful', async (test) => {
      const { server, terminator } = await serveKeeping(test, transport, LONG, { httpResponseTimeout: SHORT });
      const used = await connectIdle(transport, server, terminator);
      const unused = await connect(transport, server);
      const report = await terminator.terminate();
      for (const client of [used, unused]) assert.equal(await client.ended, 'FIN');
      assert.equal(report.graceful, true);
      assert.deepEqual(report.cut, []);
      assert.deepEqual(report.requests, { completed: 0, late: 0, cut: 0 });
      assert.deepEqual(report.connections, { idle: 2, drained: 0, forced: 0 });
    });

    it('begins when the delay is over, in which every answer says close', async (test) => {
      const { server, terminator } = await serveKeeping(test, transport, LONG, { shutdownDelay: SHORT });
      const early = await connectIdle(transport, server, terminator);
      const late = await connectIdle(transport, server, terminator);
      const terminated = terminator.terminate();
      assert.equal(terminator.state, 'delaying');
      await early.write(requestText());
      assert.equal(await early.ended, 'FIN');
      assertToldToClose(early, 1);
      while (server.listening) await turn();
      await turns(FEW_TURNS);
      assert.equal(isClosing(late), false);
      await late.write(requestText());
      assert.equal(await late.ended, 'FIN');
      assertToldToClose(late, 1);
      assert.deepEqual((await terminated).requests, { completed: 0, late: 2, cut: 0 });
    });

    it('is shared by a second call of terminate()', async (test) => {
      const { server, terminator } = await serveKeeping(test, transport, LONG);
      const client = await connectIdle(transport, server, terminator);
      const terminated = terminator.terminate();
      await turns(FEW_TURNS);
      assert.equal(terminator.terminate(), terminated);
      await turns(FEW_TURNS);
      assert.equal(isClosing(client), false);
      await client.write(requestText());
      assert.equal(await client.ended, 'FIN');
      assertToldToClose(client, 1);
      assert.equal((await terminated).graceful, true);
    });

    it('keeps connections that were opened before the terminator was created', async (test) => {
      const server = transport.createServer({ keepAliveTimeout: LONG }, gatedHandler().handler);
      test.after(() => closeEverything(server));
      await once(server.listen(0, '127.0.0.1'), 'listening');
      const [used, unused] = [await connect(transport, server), await connect(transport, server)];
      await used.write(requestText());
      await used.until(/answer to/);
      const terminator = createHttpTerminator({ server, httpResponseTimeout: LONG, keepAliveDrainTimeout: LONG });
      const terminated = terminator.terminate();
      await turns(FEW_TURNS);
      for (const client of [used, unused]) {
        assert.equal(isClosing(client), false);
        await client.write(requestText());
        assert.equal(await client.ended, 'FIN');
        assert.equal(client.answers.at(-1).headers.connection, 'close');
      }
      assert.deepEqual((await terminated).requests, { completed: 0, late: 2, cut: 0 });
    });

    it('keeps connections that were emitted by hand on a server that never listened', async (test) => {
      const server = transport.createServer({ keepAliveTimeout: LONG }, gatedHandler().handler);
      const terminator = createHttpTerminator({ server, httpResponseTimeout: LONG, keepAliveDrainTimeout: LONG });
      test.after(() => closeEverything(server));
      const listener = net.createServer((socket) => server.emit('connection', socket));
      test.after(() => listener.close());
      await once(listener.listen(0, '127.0.0.1'), 'listening');
      const clients = [];
      for (let count = 0; count < 2; count += 1) {
        const socket = transport.connect(addressOf(listener));
        clients.push(new Client(socket));
        await once(socket, transport.connected);
      }
      const [used] = clients;
      await used.write(requestText());
      await used.until(/answer to/);
      while (terminator.stats().connections < 2 || terminator.stats().active > 0) await turn();
      const terminated = terminator.terminate();
      await turns(FEW_TURNS);
      assert.equal(terminator.stats().idle, 2);
      for (const client of clients) {
        await client.write(requestText());
        assert.equal(await client.ended, 'FIN');
        assert.equal(client.answers.at(-1).headers.connection, 'close');
      }
      assert.deepEqual((await terminated).requests, { completed: 0, late: 2, cut: 0 });
    });
  });

  describe(`the end of a window for a crowd, over ${transport.name}`, () => {
    it('comes to one after the other, and meanwhile the others are served', async (test) => {
      const { server, terminator } = await serveKeeping(test, transport, 20 * SHORT);
      const clients = await connectCrowd(transport, server, terminator);
      const terminated = terminator.terminate();
      await Promise.race(clients.map(({ ended }) => ended));
      // What the server has not closed in this moment has its request in the kernel before it is looked at again.
      const open = clients.filter((client) => !isClosing(client));
      assert.ok(open.length > CROWD / 2, `${open.length} are open`);
      await Promise.all(open.map((client) => client.write(requestText())));
      for (const client of clients) assert.equal(await client.ended, 'FIN');
      for (const client of open) assertToldToClose(client, 1);
      const report = await terminated;
      assert.deepEqual(report.requests, { completed: 0, late: open.length, cut: 0 });
      assert.deepEqual(report.connections, { idle: CROWD - open.length, drained: open.length, forced: 0 });
    });

    it('comes to everybody', async (test) => {
      const { server, terminator } = await serveKeeping(test, transport, 2 * SHORT);
      const clients = await connectCrowd(transport, server, terminator);
      const terminated = terminator.terminate();
      let turnsTaken = 0;
      const endedIn = new Set();
      const ended = Promise.all(clients.map((client) => client.ended.then(() => endedIn.add(turnsTaken))));
      while (terminator.state === 'draining') {
        await turn();
        turnsTaken += 1;
      }
      await ended;
      for (const client of clients) assert.equal(await client.ended, 'FIN');
      assert.ok(endedIn.size > 1, 'not all in one instant');
      assert.deepEqual((await terminated).connections, { idle: CROWD, drained: 0, forced: 0 });
    });
  });

  describe(`a window of 0, over ${transport.name}`, () => {
    it('closes idle connections at once, even under load', async (test) => {
      const { handler, arrived, open } = gatedHandler();
      const { server, terminator } = await serve(test, transport, handler, { keepAliveDrainTimeout: 0 });
      const inRhythm = await connectInRhythm(transport, server, terminator, FEW + 1);
      const unused = await connect(transport, server);
      const active = [];
      for (let index = 0; index <= FEW; index += 1) {
        active.push(await connect(transport, server));
        await active[index].write(requestText(`/${index}`));
        await arrived(`/${index}`);
      }
      const terminated = terminator.terminate();
      await turns(FEW_TURNS);
      for (const client of [...inRhythm, unused]) assert.equal(isClosing(client), true);
      for (const client of [...inRhythm, unused]) assert.equal(await client.ended, 'FIN');
      for (const [index, client] of active.entries()) {
        open(`/${index}`);
        assert.equal(await client.ended, 'FIN');
        assertToldToClose(client, 0);
      }
      assert.deepEqual((await terminated).connections, { idle: FEW + 2, drained: FEW + 1, forced: 0 });
    });
  });

  describe(`a window by rhythm, over ${transport.name}`, () => {
    it('keeps connections that are about to send again', async (test) => {
      const { server, terminator } = await serve(test, transport, gatedHandler().handler);
      const clients = await connectInRhythm(transport, server, terminator, FEW + 1);
      const terminated = terminator.terminate();
      await turns(FEW_TURNS);
      for (const client of clients) assert.equal(isClosing(client), false);
      await Promise.all(clients.map((client) => client.write(requestText())));
      for (const client of clients) {
        assert.equal(await client.ended, 'FIN');
        assertToldToClose(client, 3);
      }
      assert.deepEqual((await terminated).requests, { completed: 0, late: FEW + 1, cut: 0 });
    });

    it('ends with FIN for those that do not', async (test) => {
      const { server, terminator } = await serve(test, transport, gatedHandler().handler);
      const clients = await connectInRhythm(transport, server, terminator, FEW + 1);
      const report = await terminator.terminate();
      for (const client of clients) assert.equal(await client.ended, 'FIN');
      assert.deepEqual(report.connections, { idle: FEW + 1, drained: 0, forced: 0 });
    });

    it('lets connections that have not been used speak under load', async (test) => {
      const { server, terminator } = await serve(test, transport, gatedHandler().handler);
      const clients = await connectInRhythm(transport, server, terminator, FEW + 1);
      const unused = await connect(transport, server);
      const terminated = terminator.terminate();
      await turns(FEW_TURNS);
      assert.equal(isClosing(unused), false);
      await unused.write(requestText());
      assert.equal(await unused.ended, 'FIN');
      assertToldToClose(unused, 0);
      for (const client of clients) assert.equal(await client.ended, 'FIN');
      assert.deepEqual((await terminated).requests, { completed: 0, late: 1, cut: 0 });
    });

    it('does not keep those without a rhythm under load', async (test) => {
      const { server, terminator } = await serve(test, transport, gatedHandler().handler);
      const clients = await connectInRhythm(transport, server, terminator, FEW + 1);
      const single = await connectIdle(transport, server, terminator);
      const terminated = terminator.terminate();
      await turns(FEW_TURNS);
      assert.equal(isClosing(single), true);
      for (const client of clients) assert.equal(isClosing(client), false);
      assert.equal(await single.ended, 'FIN');
      await Promise.all(clients.map((client) => client.write(requestText())));
      for (const client of clients) {
        assert.equal(await client.ended, 'FIN');
        assertToldToClose(client, 3);
      }
      assert.deepEqual((await terminated).connections, { idle: 1, drained: FEW + 1, forced: 0 });
    });

    for (let count = 1; count <= FEW; count += 1) {
      it(`does not keep what a test leaves behind: ${count} with many requests each`, async (test) => {
        const { server, terminator } = await serve(test, transport, gatedHandler().handler);
        const clients = await connectInRhythm(transport, server, terminator, count, 10);
        await assertClosedAtOnce(terminator, clients);
      });

      it(`does not keep what a test leaves behind: ${count} with one request each`, async (test) => {
        const { server, terminator } = await serve(test, transport, gatedHandler().handler);
        const clients = [];
        while (clients.length < count) clients.push(await connectIdle(transport, server, terminator));
        await assertClosedAtOnce(terminator, clients);
      });

      it(`does not keep what a test leaves behind: ${count} without a request`, async (test) => {
        const { server, terminator } = await serve(test, transport, gatedHandler().handler);
        const clients = [];
        while (clients.length < count) clients.push(await connect(transport, server));
        await assertClosedAtOnce(terminator, clients);
      });

      it(`does not keep what a test leaves behind: ${count} that never sent a byte`, async (test) => {
        const { server, terminator } = await serve(test, transport, gatedHandler().handler);
        const clients = [];
        while (clients.length < count) {
          const accepted = once(server, 'connection');
          const client = new Client(net.connect({ allowHalfOpen: true, ...addressOf(server) }));
          const [serverSocket] = await accepted;
          clients.push(Object.assign(client, { serverSocket }));
        }
        await assertClosedAtOnce(terminator, clients);
      });
    }
  });
}

describe('a window, over HTTP/2', () => {
  for (const [name, scheme, createServer] of [
    ['h2c', 'http', (handler) => http2.createServer(handler)],
    ['h2', 'https', (handler) => http2.createSecureServer(credentials, handler)],
    [
      'h2 beside http/1.1',
      'https',
      (handler) => http2.createSecureServer({ ...credentials, allowHTTP1: true }, handler),
    ],
  ]) {
    it(`does not keep idle sessions, which are told to go at once: ${name}`, async (test) => {
      const transport = { createServer: (_options, handler) => createServer(handler) };
      const { server, terminator } = await serveKeeping(test, transport, LONG);
      const sessions = [];
      for (const used of [true, false]) {
        const session = http2.connect(`${scheme}://localhost:${server.address().port}`, trust);
        test.after(() => session.destroy());
        await once(session, 'remoteSettings');
        if (used) await once(session.request({ ':path': '/' }).resume(), 'end');
        sessions.push(session);
      }
      const gone = sessions.map(async (session) => {
        const [[code]] = await Promise.all([once(session, 'goaway'), once(session, 'close')]);
        return code;
      });
      const report = await terminator.terminate();
      assert.deepEqual(await Promise.all(gone), Array(2).fill(http2.constants.NGHTTP2_NO_ERROR));
      assert.deepEqual(report.connections, { idle: 2, drained: 0, forced: 0 });
    });
  }

  it('keeps the HTTP/1.1 connections beside them', async (test) => {
    const transport = transports.find(({ name }) => name === 'https beside http2');
    const { server, terminator } = await serveKeeping(test, transport, LONG);
    const client = await connectIdle(transport, server, terminator);
    const session = http2.connect(`https://localhost:${server.address().port}`, trust);
    test.after(() => session.destroy());
    await once(session, 'remoteSettings');
    const closed = once(session, 'close');
    const terminated = terminator.terminate();
    await closed;
    assert.equal(isClosing(client), false);
    await client.write(requestText());
    assert.equal(await client.ended, 'FIN');
    assertToldToClose(client, 1);
    assert.deepEqual((await terminated).connections, { idle: 1, drained: 1, forced: 0 });
  });
});

function serveKeeping(test, transport, keepAliveDrainTimeout, options = {}) {
  return serve(test, transport, gatedHandler().handler, { keepAliveDrainTimeout, ...options });
}

/** A client that has had some answers, and waits. */
async function connectIdle(transport, server, terminator, { requests = 1 } = {}) {
  const client = await connect(transport, server);
  for (let count = 1; count <= requests; count += 1) await ask(client, count);
  while (terminator.stats().active > 0) await turn();
  return client;
}

/** Clients that have had three requests each, with a gap before the last one, or more. */
async function connectInRhythm(transport, server, terminator, count, requests = 3) {
  const clients = [];
  while (clients.length < count) clients.push(await connectIdle(transport, server, terminator));
  for (let request = 2; request <= requests; request += 1) {
    if (request <= 3) block(GAP);
    for (const client of clients) await ask(client, request);
  }
  while (terminator.stats().active > 0) await turn();
  return clients;
}

async function connectCrowd(transport, server, terminator) {
  const clients = [];
  while (clients.length < CROWD) clients.push(await connectIdle(transport, server, terminator));
  return clients;
}

async function ask(client, count) {
  await client.write(requestText());
  await client.until(new RegExp(`(answer to /[^]*){${count}}`));
}

async function assertClosedAtOnce(terminator, clients) {
  const terminated = terminator.terminate();
  await turns(FEW_TURNS);
  for (const client of clients) assert.equal(isClosing(client), true);
  for (const client of clients) assert.equal(await client.ended, 'FIN');
  assert.deepEqual((await terminated).connections, { idle: clients.length, drained: 0, forced: 0 });
}

/** After so many answers, one that says close. */
function assertToldToClose(client, before) {
  assert.deepEqual(
    client.answers.map(({ body, headers }) => [body.replace(/\d/, ''), headers.connection]),
    [...Array(before).fill(['answer to /', 'keep-alive']), ['answer to /', 'close']],
  );
}

/** Whether the server has ended the connection from its side. */
function isClosing({ serverSocket }) {
  return serverSocket.destroyed || serverSocket.writableEnded;
}

async function turns(count) {
  for (let turned = 0; turned < count; turned += 1) await turn();
}

/** Nothing but time passes. */
function block(milliseconds) {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}
