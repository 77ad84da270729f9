// Idle connections when a termination begins: which are kept for one more request, and how long.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const http2 = require('node:http2');
const { describe, it } = require('node:test');
const { setTimeout: delay } = require('node:timers/promises');
const { createHttpTerminator } = require('..');
const { remoteClient } = require('./support/blocker');
const { connect, requestText } = require('./support/client');
const { block, gatedHandler, serve, turn } = require('./support/server');
const { closeEverything, transports } = require('./support/transports');

/** Longer than any test, so that what ends before has not waited for it. */
const LONG = 50_000;
/** As short as a machine that is busy with other things allows: a window has to end in a test. */
const SHORT = 100;
/** Between two requests of a rhythm. Eight of them, or the half second that is the most, leave a test time to act. */
const GAP = 60;
const MORE_THAN_ONE_TURN_SURVEYS = 300;
/** Longer than any rhythm is waited for. */
const HELD_UP = 600;
/** How much longer whoever was held up is waited for. */
const HELD_UP_GETS = 50;
/** How long a connection is kept under load, whatever its rhythm. */
const KEPT_UNDER_LOAD_FOR = 250;
/** Of another machine (RFC 5737). */
const AFAR = '192.0.2.1';
/** More than it takes to close what is closed at once, and less than any timer takes. */
const FEW_TURNS = 20;

for (const transport of transports) {
  describe(`idle connections over ${transport.name}`, () => {
    const serveWith = (test, options) => serve(test, transport, gatedHandler().handler, options);

    it('are kept for one more request, which is answered with close, and not longer', async (test) => {
      const { server, terminator } = await serveWith(test, { keepAliveDrainTimeout: LONG });
      const [client] = await connectUsed(server, 1);
      const terminated = terminator.terminate();
      await assertKeptForOneMore(client);
      const report = await terminated;
      assert.deepEqual(report.requests, { completed: 0, late: 1, cut: 0 });
      assert.deepEqual(report.connections, { idle: 0, drained: 1, forced: 0 });
    });

    it('close with FIN when their time is over', async (test) => {
      const { server, terminator } = await serveWith(test, { keepAliveDrainTimeout: SHORT });
      const clients = await connectUsed(server, 3);
      const report = await terminator.terminate();
      for (const client of clients) assert.equal(await client.ended, 'FIN');
      assert.deepEqual(report.connections, { idle: 3, drained: 0, forced: 0 });
    });

    it('are looked at once more when their time is over', async (test) => {
      const { server, terminator } = await serveWith(test, { keepAliveDrainTimeout: SHORT });
      const client = await remoteClient(test, transport, server);
      const terminated = terminator.terminate();
      await turns();
      client.writeWhileBlocked([requestText()]);
      block(2 * SHORT);
      const report = await terminated;
      const { how, answers } = await client.ended();
      assert.equal(how, 'FIN');
      assert.equal(answers[0].headers.connection, 'close');
      assert.equal(report.requests.late, 1);
    });

    it('are waited for when half a request has come in their time', async (test) => {
      const { server, terminator } = await serveWith(test, { keepAliveDrainTimeout: SHORT });
      const [client, other] = await connectUsed(server, 2);
      const terminated = terminator.terminate();
      const text = requestText();
      await client.write(text.slice(0, 10));
      // The other one shows that the time is over.
      assert.equal(await other.ended, 'FIN');
      await client.write(text.slice(10));
      assert.equal(await client.ended, 'FIN');
      assert.deepEqual(connectionHeaders(client), ['keep-alive', 'close']);
      assert.equal((await terminated).requests.late, 1);
    });

    it('close at once if they are given no time, under load too', async (test) => {
      const { handler, arrived, open } = gatedHandler();
      const options = { keepAliveDrainTimeout: 0 };
      const { server, terminator } = await serve(test, transport, handler, options);
      const idle = await connectInRhythm(server, 4);
      const [busy] = await connectUsed(server, 1);
      await busy.write(requestText('/slow'));
      await arrived('/slow');
      const terminated = terminator.terminate();
      await turns();
      assert.ok(idle.every(isEnding));
      open('/slow');
      assert.equal((await terminated).graceful, true);
      for (const client of idle) assert.equal(await client.ended, 'FIN');
    });

    it('are kept as their rhythm asks for, when several are in rhythm', async (test) => {
      const { server, terminator } = await serveWith(test, {});
      const clients = await connectInRhythm(server, 5);
      const terminated = terminator.terminate();
      await turns();
      await Promise.all(clients.map((client) => client.write(requestText())));
      for (const client of clients) {
        assert.equal(await client.ended, 'FIN');
        assert.equal(connectionHeaders(client).at(-1), 'close');
      }
      assert.equal((await terminated).requests.late, clients.length);
    });

    for (const [load, areAnsweredAtOnce] of [
      ['requests in flight', false],
      ['requests that are answered at once', true],
    ]) {
      for (const [when, isKnown] of [
        ['once', true],
        // Nobody knows when: it may as well be hours ago.
        ['before the terminator was created', false],
      ]) {
        it(`are kept a moment if they were used ${when}, beside ${load}`, async (test) => {
          for (;;) {
            const { handler, open } = gatedHandler();
            const server = transport.createServer({ keepAliveTimeout: 60_000 }, handler);
            test.after(() => closeEverything(server));
            await once(server.listen(0, '127.0.0.1'), 'listening');
            const before = isKnown ? [] : await connectUsed(server, 2);
            const terminator = createHttpTerminator({ server, httpResponseTimeout: LONG });
            for (let index = 0; index < 4; index += 1) {
              const busy = await connect(transport, server);
              await busy.write(requestText('/slow'));
            }
            while (terminator.stats().requests < 4) await turn();
            const since = performance.now();
            const [client, silent] = isKnown ? await connectUsed(server, 2) : before;
            const terminated = terminator.terminate();
            if (areAnsweredAtOnce) open('/slow');
            await turns();
            const writing = client.write(requestText());
            const tookTooLong = performance.now() - since >= KEPT_UNDER_LOAD_FOR;
            await writing.catch(() => {});
            const ends = await Promise.all([client.ended, silent.ended]);
            open('/slow');
            const { graceful, requests } = await terminated;
            if (tookTooLong) continue;
            assert.deepEqual(ends, ['FIN', 'FIN']);
            assert.deepEqual(connectionHeaders(client), ['keep-alive', 'close']);
            assert.deepEqual([graceful, requests], [true, { completed: 4, late: 1, cut: 0 }]);
            return;
          }
        });
      }
    }

    it('have no rhythm from connections that were before them', async (test) => {
      const { server, terminator } = await serveWith(test, {});
      // Node uses their parsers again.
      await disconnect(await connectInRhythm(server, 5));
      const clients = await connectUsed(server, 5);
      const terminated = terminator.terminate();
      await turns();
      assert.ok(clients.every(isEnding), 'one request makes no rhythm');
      await terminated;
    });

    it('have no rhythm from before the terminator was created', async (test) => {
      const { server: other } = await serveWith(test, {});
      await disconnect(await connectInRhythm(other, 5));
      const server = transport.createServer({ keepAliveTimeout: 60_000 }, gatedHandler().handler);
      test.after(() => closeEverything(server));
      await once(server.listen(0, '127.0.0.1'), 'listening');
      const clients = await connectUsed(server, 5);
      const terminator = createHttpTerminator({ server });
      await Promise.all(clients.map(request));
      const terminated = terminator.terminate();
      await turns();
      assert.ok(clients.every(isEnding), 'one request makes no rhythm');
      await terminated;
    });

    it('close by themselves when they have fallen out of rhythm', async (test) => {
      const { server, terminator } = await serveWith(test, {});
      const clients = await connectInRhythm(server, 4);
      const report = await terminator.terminate();
      for (const client of clients) assert.equal(await client.ended, 'FIN');
      assert.equal(report.connections.idle, 4);
    });

    for (const [when, options] of [
      ['when the delay was over', { shutdownDelay: SHORT }],
      ['when they were to close', {}],
    ]) {
      it(`are kept a moment longer if everything was held up ${when}`, async (test) => {
        for (;;) {
          const { server, terminator } = await serveWith(test, options);
          const clients = await connectInRhythm(server, 5);
          const terminated = terminator.terminate();
          await turns();
          block(HELD_UP);
          const since = performance.now();
          await turns();
          const writing = Promise.all(clients.map((client) => client.write(requestText())));
          const wasHeldUpAgain = performance.now() - since >= HELD_UP_GETS;
          await writing.catch(() => {});
          const ends = await Promise.all(clients.map(({ ended }) => ended));
          const { requests } = await terminated;
          if (wasHeldUpAgain) continue;
          assert.deepEqual(new Set(ends), new Set(['FIN']));
          for (const client of clients) assert.equal(connectionHeaders(client).at(-1), 'close');
          assert.equal(requests.late, clients.length);
          return;
        }
      });
    }

    it('close at once after a test, however many requests there were', async (test) => {
      const { server, terminator } = await serveWith(test, {});
      const clients = await connectInRhythm(server, 3);
      const terminated = terminator.terminate();
      await turns();
      assert.ok(clients.every(isEnding));
      for (const client of clients) assert.equal(await client.ended, 'FIN');
      assert.equal((await terminated).connections.idle, 3);
    });

    it('are kept as their rhythm asks for, however few they are, if they come from another machine', async (test) => {
      const { server, terminator } = await serveWith(test, {});
      server.on('connection', comeFromAfar);
      const [client] = await connectInRhythm(server, 1);
      const terminated = terminator.terminate();
      await turns();
      await client.write(requestText());
      assert.equal(await client.ended, 'FIN');
      assert.equal(connectionHeaders(client).at(-1), 'close');
      assert.equal((await terminated).requests.late, 1);
    });

    it('close at once if they were never used, without load', async (test) => {
      const { server, terminator } = await serveWith(test, {});
      const clients = [await connect(transport, server), await connect(transport, server)];
      const terminated = terminator.terminate();
      await turns();
      assert.ok(clients.every(isEnding));
      await terminated;
    });

    it('have no more time than requests have', async (test) => {
      const options = { keepAliveDrainTimeout: Number.POSITIVE_INFINITY, httpResponseTimeout: SHORT };
      const { server, terminator } = await serveWith(test, options);
      const [client] = await connectUsed(server, 1);
      const report = await terminator.terminate();
      await client.ended;
      assert.equal(report.graceful, true);
      assert.deepEqual(report.connections, { idle: 1, drained: 0, forced: 0 });
    });

    it('are kept from the end of the delay on', async (test) => {
      const options = { keepAliveDrainTimeout: LONG, shutdownDelay: SHORT };
      const { server, terminator } = await serveWith(test, options);
      const [early, late] = await connectUsed(server, 2);
      const closed = once(server, 'close');
      const terminated = terminator.terminate();
      await early.write(requestText());
      assert.equal(await early.ended, 'FIN');
      while (server.listening) await delay(1);
      await assertKeptForOneMore(late);
      assert.deepEqual(connectionHeaders(early), ['keep-alive', 'close']);
      await closed;
      await terminated;
    });

    it('count once each, when some leave and another one speaks', async (test) => {
      const options = { keepAliveDrainTimeout: LONG, shutdownDelay: SHORT };
      const { server, terminator } = await serveWith(test, options);
      const [older, speaker, newer] = await connectUsed(server, 3);
      // Without anybody in rhythm, nobody is surveyed.
      await request(older);
      const terminated = terminator.terminate();
      const left = [older, newer].map(({ serverSocket }) => once(serverSocket, 'close'));
      for (const { socket } of [older, newer]) socket.destroy();
      await Promise.all(left);
      while (server.listening) await delay(1);
      await assertKeptForOneMore(speaker);
      assert.deepEqual((await terminated).connections, { idle: 2, drained: 1, forced: 0 });
    });

    it('are kept that were opened before the terminator was created', async (test) => {
      const server = transport.createServer({ keepAliveTimeout: LONG }, gatedHandler().handler);
      test.after(() => closeEverything(server));
      await once(server.listen(0, '127.0.0.1'), 'listening');
      const [client] = await connectUsed(server, 1);
      const terminator = createHttpTerminator({ server, httpResponseTimeout: LONG, keepAliveDrainTimeout: LONG });
      const terminated = terminator.terminate();
      await assertKeptForOneMore(client);
      await terminated;
    });

    it('close though an empty line has come behind the last request', async (test) => {
      const { server, terminator } = await serveWith(test, { keepAliveDrainTimeout: SHORT });
      const clients = await connectUsed(server, 2);
      // The machine knows one of them by an id, the other one by its number only.
      await request(clients[0]);
      const terminated = terminator.terminate();
      await turns();
      await Promise.all(clients.map((client) => client.write('\r\n')));
      for (const client of clients) assert.equal(await client.ended, 'FIN');
      assert.deepEqual((await terminated).connections, { idle: 2, drained: 0, forced: 0 });
    });

    it('are surveyed in several turns when there are many, and who speaks meanwhile is answered', async (test) => {
      const { server, terminator } = await serveWith(test, {});
      const clients = await connectUsed(server, MORE_THAN_ONE_TURN_SURVEYS);
      // Without anybody in rhythm, nobody is surveyed.
      await request(clients[0]);
      const speaker = await remoteClient(test, transport, server);
      const answered = once(server, 'request');
      speaker.writeWhileBlocked([requestText()]);
      await answered;
      await turn();
      const terminated = terminator.terminate();
      speaker.writeWhileBlocked([requestText() + requestText()]);
      const report = await terminated;
      for (const client of clients) assert.equal(await client.ended, 'FIN');
      const { how, answers } = await speaker.ended();
      assert.equal(how, 'FIN');
      assert.deepEqual(connectionHeaders({ answers }), ['keep-alive', 'keep-alive', 'close']);
      assert.deepEqual(report.connections, { idle: clients.length, drained: 1, forced: 0 });
    });

    it('do not all close in one instant when there are many', async (test) => {
      const { server, terminator } = await serveWith(test, { keepAliveDrainTimeout: 1000 });
      const clients = await connectUsed(server, 120);
      const first = Promise.race(clients.map((client, index) => client.ended.then(() => index)));
      const terminated = terminator.terminate();
      await first;
      const open = clients.filter((client) => !isEnding(client));
      assert.ok(open.length > 60, `${open.length} are still open`);
      await Promise.all(open.slice(-20).map((client) => client.write(requestText())));
      for (const client of clients) assert.equal(await client.ended, 'FIN');
      for (const client of open.slice(-20)) assert.equal(connectionHeaders(client).at(-1), 'close');
      const { connections } = await terminated;
      assert.deepEqual(connections, { idle: 100, drained: 20, forced: 0 });
    });
  });

  /** Idle connections that have had one request each. */
  async function connectUsed(server, count) {
    const clients = [];
    for (let index = 0; index < count; index += 1) {
      const client = await connect(transport, server);
      await request(client);
      clients.push(client);
    }
    return clients;
  }

  async function disconnect(clients) {
    for (const { socket, serverSocket } of clients) {
      socket.destroy();
      if (!serverSocket.closed) await once(serverSocket, 'close');
    }
  }

  async function connectInRhythm(server, count) {
    const clients = await connectUsed(server, count);
    await delay(GAP);
    await Promise.all(clients.map(request));
    return clients;
  }
}

describe('an idle HTTP/2 session', () => {
  it('gets its GOAWAY at once, however long others are kept', async (test) => {
    const server = http2.createServer((_request, response) => response.end());
    const terminator = createHttpTerminator({ server, httpResponseTimeout: LONG, keepAliveDrainTimeout: LONG });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const session = http2.connect(`http://127.0.0.1:${server.address().port}`);
    test.after(() => session.destroy());
    await once(session, 'remoteSettings');
    const goaway = once(session, 'goaway');
    await terminator.terminate();
    assert.equal((await goaway)[0], http2.constants.NGHTTP2_NO_ERROR);
  });
});

for (const [when, prepare] of [
  ['before the server listened', async () => {}],
  [
    'after it did',
    async (server) => {
      await once(server.listen(0, '127.0.0.1'), 'listening');
      await once(server.close(), 'close');
    },
  ],
]) {
  it(`connections that were emitted by hand ${when} are kept, and count once`, async (test) => {
    const [http] = transports;
    const { server: front } = await serve(test, http, () => {});
    const server = http.createServer({ keepAliveTimeout: LONG }, gatedHandler().handler);
    const terminator = createHttpTerminator({ server, httpResponseTimeout: LONG, keepAliveDrainTimeout: LONG });
    await prepare(server);
    front.removeAllListeners('connection');
    front.on('connection', (socket) => server.emit('connection', socket));
    const client = await connect(http, front);
    await request(client);
    assert.equal(terminator.stats().connections, 1);
    const terminated = terminator.terminate();
    await assertKeptForOneMore(client);
    assert.deepEqual((await terminated).connections, { idle: 0, drained: 1, forced: 0 });
  });
}

/** Of a client that has had one request, when a termination has begun. */
async function assertKeptForOneMore(client) {
  await turns();
  await client.write(requestText());
  assert.equal(await client.ended, 'FIN');
  assert.deepEqual(connectionHeaders(client), ['keep-alive', 'close']);
}

/** One more request, and its answer. */
async function request(client) {
  const answers = client.answers.length + 1;
  await client.write(requestText());
  await client.until(new RegExp(`(answer to /[^]*){${answers}}`));
  // Under TLS the server hears of the end of its answer after its client has.
  await turn();
}

async function turns() {
  for (let count = 0; count < FEW_TURNS; count += 1) await turn();
}

/** Whether the server has closed its side, or is about to. */
function isEnding({ serverSocket }) {
  return serverSocket.destroyed || serverSocket.writableEnded;
}

function connectionHeaders({ answers }) {
  return answers.map(({ headers }) => headers.connection);
}

/** @param {import('node:net').Socket} socket that is accepted */
function comeFromAfar(socket) {
  Object.defineProperty(socket, 'remoteAddress', { value: AFAR });
}
