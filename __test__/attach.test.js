// Attaching a terminator changes nothing about a server until it is terminated.

const assert = require('node:assert/strict');
const diagnosticsChannel = require('node:diagnostics_channel');
const { EventEmitter, once } = require('node:events');
const http = require('node:http');
const http2 = require('node:http2');
const net = require('node:net');
const { describe, it } = require('node:test');
const tls = require('node:tls');
const { createHttpTerminator } = require('..');
const { addressOf, Client, connect, requestText } = require('./support/client');
const { gate, gatedHandler, serve, turn } = require('./support/server');
const { closeEverything, transports } = require('./support/transports');

const UPGRADE = { headers: { Connection: 'Upgrade', Upgrade: 'echo' } };
const SWITCHING = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n';

for (const transport of transports) {
  describe(`a terminator attached over ${transport.name}`, () => {
    it('writes no property on the server, its sockets, requests or responses, nor on what they inherit', async (test) => {
      const prototypes = [
        ...[http.Server, http2.Http2ServerResponse, net.Server, net.Socket, tls.TLSSocket, http.ServerResponse],
        ...[http.IncomingMessage, http.OutgoingMessage, EventEmitter],
      ].map(({ prototype }) => prototype);
      const inherited = prototypes.map(Object.getOwnPropertyDescriptors);
      const keys = [];
      const observe = (server) => async (request, response) => {
        response.end();
        const seen = [server, request.socket, request, response];
        keys.push(seen.map((object) => Reflect.ownKeys(object).map(String).sort()));
      };
      for (const attached of [false, true]) {
        const server = transport.createServer({});
        server.on('request', observe(server));
        if (attached) createHttpTerminator({ server });
        test.after(() => server.close());
        await once(server.listen(0, '127.0.0.1'), 'listening');
        const client = await connect(transport, server);
        await client.write(requestText());
        await client.until(/\r\n\r\n/);
        client.socket.destroy();
      }
      assert.deepEqual(keys[1], keys[0]);
      assert.deepEqual(prototypes.map(Object.getOwnPropertyDescriptors), inherited);
    });

    it('listens to nothing that changes how Node treats a request', async (test) => {
      const server = transport.createServer({}, (_request, response) => response.end());
      const terminator = createHttpTerminator({ server });
      test.after(() => terminator.terminate());
      for (const event of ['upgrade', 'connect', 'checkContinue', 'checkExpectation', 'clientError', 'dropRequest']) {
        assert.equal(server.listenerCount(event), 0, event);
      }
      await once(server.listen(0, '127.0.0.1'), 'listening');
      const bareServer = transport.createServer({}, () => {});
      test.after(() => closeEverything(bareServer));
      await once(bareServer.listen(0, '127.0.0.1'), 'listening');
      // A listener for `data` would take the socket off Node's fast path.
      const [sockets, bareSockets] = [await socketsOf(transport, server), await socketsOf(transport, bareServer)];
      for (const [place, bare] of bareSockets.entries()) {
        for (const event of new Set([...bare.eventNames(), ...sockets[place].eventNames()])) {
          assert.equal(sockets[place].listenerCount(event), bare.listenerCount(event), String(event));
        }
      }
    });

    it('leaves keep-alive alone', async (test) => {
      const { server } = await serve(test, transport, gatedHandler().handler);
      const client = await connect(transport, server);
      for (let requests = 1; requests <= 3; requests += 1) {
        await client.write(requestText());
        await client.until(new RegExp(`(answer to /[^]*){${requests}}`));
        assert.equal(client.answers.at(-1).headers.connection, 'keep-alive');
        assert.match(client.answers.at(-1).headers['keep-alive'], /timeout=300/);
      }
    });

    it('does not turn an Upgrade request into an upgrade', async (test) => {
      const { server } = await serve(test, transport, gatedHandler().handler);
      const client = await connect(transport, server);
      await client.write(requestText('/', UPGRADE));
      await client.until(/answer to \//);
      assert.equal(client.answers[0].status, 200);
    });

    it('does not keep Node from closing on CONNECT', async (test) => {
      const { server } = await serve(test, transport, gatedHandler().handler);
      const client = await connect(transport, server);
      await client.write(requestText('localhost:80', { method: 'CONNECT' }));
      assert.notEqual(await client.ended, undefined);
      assert.equal(client.received, '');
    });

    for (const attachFirst of [true, false]) {
      const order = attachFirst ? 'after' : 'before';
      it(`follows an upgrade listener that was added ${order} it, until that is removed`, async (test) => {
        const server = transport.createServer({}, (_request, response) => response.end('no upgrade'));
        const upgrade = (_request, socket) => socket.write(SWITCHING);
        let terminator;
        const attach = () => {
          terminator = createHttpTerminator({ server, httpResponseTimeout: 0 });
        };
        for (const act of attachFirst ? [attach, follow] : [follow, attach]) act();
        function follow() {
          server.on('upgrade', upgrade);
        }
        test.after(() => terminator.terminate());
        await once(server.listen(0, '127.0.0.1'), 'listening');
        const client = await connect(transport, server);
        await client.write(requestText('/', UPGRADE));
        await client.until(/101 Switching/);
        assert.deepEqual(pick(terminator.stats()), { connections: 1, upgraded: 1, requests: 0 });

        server.removeListener('upgrade', upgrade);
        assert.equal(server.listenerCount('upgrade'), 0);
        const other = await connect(transport, server);
        await other.write(requestText('/', UPGRADE));
        await other.until(/no upgrade/);

        server.once('upgrade', upgrade);
        assert.equal(server.listenerCount('upgrade'), 2);
        server.removeAllListeners('upgrade');
        assert.equal(server.listenerCount('upgrade'), 0);
      });
    }

    it('takes an upgrade for one connection, though its request has a body that has not come whole', async (test) => {
      const { server, terminator } = await serve(test, transport, gatedHandler().handler, { httpResponseTimeout: 50 });
      server.on('upgrade', (_request, socket) => void socket.on('error', () => {}).write(`${SWITCHING}\r\n`));
      const client = await connect(transport, server);
      const headers = { ...UPGRADE.headers, 'Content-Length': 5 };
      await client.write(requestText('/socket', { method: 'POST', headers, body: 'hal' }));
      await client.until(/101/);
      assert.deepEqual(pick(terminator.stats()), { connections: 1, upgraded: 1, requests: 0 });
      const { connections, cut } = await terminator.terminate();
      assert.deepEqual(connections, { idle: 0, drained: 0, forced: 1 });
      assert.deepEqual(
        cut.map(({ url }) => url),
        ['/socket'],
      );
    });

    it('takes an answer that a handler writes to an upgraded connection for no request', async (test) => {
      const { server, terminator } = await serve(test, transport, gatedHandler().handler, { httpResponseTimeout: 50 });
      server.on('upgrade', (request, socket) => {
        // So that an HTTP framework can refuse the upgrade in its own way. It stays there.
        new http.ServerResponse(request).assignSocket(socket);
        socket.write(`${SWITCHING}\r\n`);
      });
      const client = await connect(transport, server);
      await client.write(requestText('/socket', UPGRADE));
      await client.until(/101/);
      assert.deepEqual(pick(terminator.stats()), { connections: 1, upgraded: 1, requests: 0 });
      const { cut } = await terminator.terminate();
      assert.deepEqual(
        cut.map(({ url }) => url),
        ['/socket'],
      );
    });

    it('takes everything off again', async () => {
      const server = transport.createServer({}, (_request, response) => response.end());
      server.on('upgrade', () => {});
      const count = () => server.eventNames().map((event) => [String(event), server.listenerCount(event)]);
      const before = count();
      const first = createHttpTerminator({ server });
      const second = createHttpTerminator({ server });
      await once(server.listen(0, '127.0.0.1'), 'listening');
      const { serverSocket } = await connect(transport, server);
      const socketBefore = serverSocket.listenerCount('close');
      assert.ok(diagnosticsChannel.hasSubscribers('http.server.request.start'));
      assert.ok(!diagnosticsChannel.hasSubscribers('http.server.response.finish'), 'only a termination needs it');
      first.detach();
      first.detach();
      assert.notDeepEqual(count(), before, 'the second one is still attached');
      second.detach();
      assert.deepEqual(count(), before);
      assert.ok(!diagnosticsChannel.hasSubscribers('http.server.request.start'));
      assert.ok(!diagnosticsChannel.hasSubscribers('http.server.response.finish'));
      assert.equal(serverSocket.listenerCount('close'), socketBefore);
      assert.equal(server.listening, true);
      closeEverything(server);
    });

    it('attaches again when it is used after detaching', async (test) => {
      const { handler, arrived, open } = gatedHandler();
      const { server, terminator } = await serve(test, transport, handler);
      terminator.detach();
      const client = await connect(transport, server);
      await client.write(requestText('/slow'));
      await arrived('/slow');
      const terminated = terminator.terminate();
      open('/slow');
      assert.equal(await client.ended, 'FIN');
      assert.equal(client.answers[0].headers.connection, 'close');
      assert.equal((await terminated).requests.completed, 1);
    });

    it('sees a termination through before it detaches', async (test) => {
      const { handler, arrived, open } = gatedHandler();
      const { server, terminator } = await serve(test, transport, handler);
      const client = await connect(transport, server);
      await client.write(requestText('/slow'));
      await arrived('/slow');
      const terminated = terminator.terminate();
      terminator.detach();
      open('/slow');
      assert.equal((await terminated).requests.completed, 1);
      assert.equal(server.listenerCount('newListener'), 0);
    });
  });

  describe(`connections opened before a terminator was created, over ${transport.name}`, () => {
    it('are handled as well as the others', async (test) => {
      const { handler, arrived, open } = gatedHandler();
      const server = transport.createServer({ keepAliveTimeout: 60_000 }, handler);
      server.on('upgrade', (_request, socket) => {
        socket.write(SWITCHING);
        socket.resume().on('end', () => socket.end());
      });
      await once(server.listen(0, '127.0.0.1'), 'listening');
      const [idle, unused, active, begun, half, upgraded] = await Promise.all(
        Array.from({ length: 6 }, () => connectInTurn(transport, server)),
      );
      const silent = new Client(net.connect({ ...addressOf(server), allowHalfOpen: true }));
      await once(server, 'connection');
      await idle.write(requestText());
      await idle.until(/answer to/);
      await active.write(requestText('/active'));
      const begunRequest = requestText('/begun', { method: 'POST', headers: { 'Content-Length': 4 } });
      await begun.write(`${begunRequest}ha`);
      await Promise.all(['/active', '/begun'].map(arrived));
      await half.write(requestText('/half').slice(0, 10));
      await upgraded.write(requestText('/', UPGRADE));
      await upgraded.until(/101/);
      while (half.serverSocket.bytesRead < 10) await turn();

      const terminator = createHttpTerminator({ server, httpResponseTimeout: 300_000 });
      test.after(() => closeEverything(server));
      const stats = terminator.stats();
      assert.deepEqual([stats.connections, stats.active, stats.requests], [7, 2, 2]);
      const terminated = terminator.terminate();
      for (const closed of [idle, unused, silent]) assert.equal(await closed.ended, 'FIN');
      for (const name of ['/active', '/begun', '/half']) open(name);
      await begun.write('lf');
      await half.write(requestText('/half').slice(10));
      for (const [client, name] of [
        [active, '/active'],
        [begun, '/begun'],
        [half, '/half'],
      ]) {
        assert.equal(await client.ended, 'FIN');
        assert.equal(client.answers[0].body, `answer to ${name}`);
        assert.equal(client.answers[0].headers.connection, 'close');
      }
      upgraded.socket.destroy();
      const report = await terminated;
      assert.equal(report.graceful, true);
      assert.deepEqual(report.requests, { completed: 2, late: 1, cut: 0 });
    });

    it('are, too, where an answer has begun, half of another request has come, or an answer came before its body', async (test) => {
      const [go, came] = [gate(), gate()];
      const server = transport.createServer({ keepAliveTimeout: 300_000 }, async (request, response) => {
        if (request.url === '/begun') {
          response.write('one');
          await go.passed;
        } else if (request.url === '/early') {
          came.open();
        }
        response.end('two');
      });
      await once(server.listen(0, '127.0.0.1'), 'listening');
      const [begun, reused, early] = await Promise.all(
        Array.from({ length: 3 }, () => connectInTurn(transport, server)),
      );
      await begun.write(requestText('/begun'));
      await begun.until(/one/);
      await reused.write(requestText());
      await reused.until(/two/);
      const { bytesRead } = reused.serverSocket;
      await reused.write(requestText('/again').slice(0, 10));
      await early.write(requestText('/early', { method: 'POST', headers: { 'Content-Length': 4 }, body: 'ha' }));
      await came.passed;
      await early.until(/two/);
      while (reused.serverSocket.bytesRead < bytesRead + 10) await turn();

      const terminator = createHttpTerminator({ server, httpResponseTimeout: 300_000 });
      test.after(() => closeEverything(server));
      const terminated = terminator.terminate();
      go.open();
      assert.equal(await begun.ended, 'FIN');
      assert.deepEqual(
        begun.answers.map(({ body, whole }) => [body, whole]),
        [['onetwo', true]],
      );
      await reused.write(requestText('/again').slice(10));
      assert.equal(await reused.ended, 'FIN');
      assert.deepEqual(
        reused.answers.map(({ headers }) => headers.connection),
        ['keep-alive', 'close'],
      );
      await early.write('lf');
      assert.equal(await early.ended, 'FIN');
      assert.equal((await terminated).graceful, true);
    });

    describe('have every request answered that was pipelined on them', () => {
      const paths = ['/1', '/2', '/3'];

      for (const { order, says } of [
        { order: 'one after the other', says: ['keep-alive', 'keep-alive', 'close'] },
        // The head of an answer is written when it ends, and nobody can tell it anything before its turn.
        { order: 'the last one first', says: ['keep-alive', 'keep-alive', 'keep-alive'] },
      ]) {
        it(order, async (test) => {
          const { client, terminator, answer, open } = await pipeline(test, transport, paths);
          const terminated = terminator.terminate();
          if (order === 'one after the other') for (const path of paths) await answer(path);
          else for (const path of [...paths].reverse()) open(path);
          assert.equal(await client.ended, 'FIN');
          assert.deepEqual(
            client.answers.map(({ body, headers }) => [body, headers.connection]),
            paths.map((path, place) => [`answer to ${path}`, says[place]]),
          );
          const report = await terminated;
          assert.equal(report.graceful, true);
          assert.deepEqual(report.requests, { completed: 3, late: 0, cut: 0 });
          assert.deepEqual(report.connections, { idle: 0, drained: 1, forced: 0 });
        });
      }

      it('and others that come only then', async (test) => {
        const { client, terminator, arrived, open } = await pipeline(test, transport, paths);
        const terminated = terminator.terminate();
        await client.write(requestText('/4'));
        await arrived('/4');
        for (const path of [...paths, '/4']) open(path);
        assert.equal(await client.ended, 'FIN');
        assert.deepEqual(
          client.answers.map(({ body, headers }) => [body, headers.connection]),
          [...paths, '/4'].map((path) => [`answer to ${path}`, path === '/4' ? 'close' : 'keep-alive']),
        );
        assert.deepEqual((await terminated).requests, { completed: 3, late: 1, cut: 0 });
      });

      it('while it was serving', async (test) => {
        const { client, terminator, answer } = await pipeline(test, transport, paths);
        await answer('/1');
        const terminated = terminator.terminate();
        await answer('/2');
        await answer('/3');
        assert.equal(await client.ended, 'FIN');
        assert.equal(client.answers.length, 3);
        assert.equal(client.answers[2].headers.connection, 'close');
        assert.deepEqual((await terminated).requests, { completed: 2, late: 0, cut: 0 });
      });

      it('or else are listed, as far as they are known', async (test) => {
        const { client, terminator } = await pipeline(test, transport, paths, { httpResponseTimeout: 20 });
        const { graceful, requests, cut } = await terminator.terminate();
        assert.equal(graceful, false);
        assert.deepEqual(requests, { completed: 0, late: 0, cut: 2 });
        assert.deepEqual(
          cut.map(({ method, url }) => [method, url]),
          [
            ['GET', '/1'],
            [null, null],
          ],
        );
        await client.ended;
      });
    });
  });

  describe(`two terminators on one server, over ${transport.name}`, () => {
    it('agree', async (test) => {
      const { handler, arrived, open } = gatedHandler();
      const { server, terminator } = await serve(test, transport, handler);
      const other = createHttpTerminator({ server, httpResponseTimeout: Number.POSITIVE_INFINITY });
      const client = await connect(transport, server);
      await client.write(requestText('/slow'));
      await arrived('/slow');
      assert.deepEqual(other.stats(), terminator.stats());
      const first = terminator.terminate();
      assert.equal(other.state, 'draining');
      assert.equal(other.signal.aborted, true);
      const second = other.terminate();
      open('/slow');
      assert.deepEqual(await second, await first);
      assert.equal(await client.ended, 'FIN');
      assert.equal(client.answers[0].headers.connection, 'close');
      assert.deepEqual([terminator.state, other.state], ['terminated', 'terminated']);
    });

    it('keep the earlier deadline', async (test) => {
      const { handler, arrived } = gatedHandler();
      const { server, terminator } = await serve(test, transport, handler, {
        httpResponseTimeout: Number.POSITIVE_INFINITY,
      });
      const client = await connect(transport, server);
      await client.write(requestText('/never'));
      await arrived('/never');
      const terminated = terminator.terminate();
      await createHttpTerminator({ server, httpResponseTimeout: 0 }).terminate();
      assert.equal((await terminated).requests.cut, 1);
    });
  });
}

/** Requests in flight on one connection, and a terminator that was created only then. */
async function pipeline(test, transport, paths, options = { httpResponseTimeout: 300_000 }) {
  const { handler, arrived, open } = gatedHandler();
  const server = transport.createServer({}, handler);
  test.after(() => closeEverything(server));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const client = await connectInTurn(transport, server);
  await client.write(paths.map((path) => requestText(path)).join(''));
  await Promise.all(paths.map(arrived));
  return { client, terminator: createHttpTerminator({ server, ...options }), arrived, open, answer };

  /** Resolves when the server has ended the answer, which is later than its client sees it, or earlier. */
  async function answer(path) {
    const { response } = await arrived(path);
    const finished = once(response, 'finish');
    open(path);
    await finished;
  }
}

/** What the server has of a connection: the socket that it was accepted with, and the one above it, or the same. */
async function socketsOf(transport, server) {
  const accepted = once(server, 'connection');
  const { serverSocket } = await connect(transport, server);
  return [(await accepted)[0], serverSocket];
}

let turns = Promise.resolve();

/** One after the other, so that each client knows its own server socket. */
function connectInTurn(transport, server) {
  const connected = turns.then(() => connect(transport, server));
  turns = connected;
  return connected;
}

function pick({ connections, upgraded, requests }) {
  return { connections, upgraded, requests };
}
