// Upgraded connections and tunnels: close frames where they are understood, grace for all.

const assert = require('node:assert/strict');
const { EventEmitter, once } = require('node:events');
const { describe, it } = require('node:test');
const { Server: SocketServer } = require('socket.io');
const { io: connectSocket } = require('socket.io-client');
const { WebSocket, WebSocketServer } = require('ws');
const { createHttpTerminator } = require('..');
const { connect, requestText } = require('./support/client');
const { serve, turn } = require('./support/server');
const { transports, trust } = require('./support/transports');

for (const transport of transports) {
  const addressOf = (server) => `${transport.scheme.replace('http', 'ws')}://127.0.0.1:${server.address().port}/chat`;

  /** A server of ws beside a terminator that knows it, and a client of it. */
  const serveWebSockets = async (test, options) => {
    const server = transport.createServer({}, () => {});
    const webSockets = new WebSocketServer({ server });
    const terminator = createHttpTerminator({
      server,
      webSocketServers: [webSockets],
      httpResponseTimeout: 300_000,
      ...options,
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const connected = once(webSockets, 'connection');
    const client = new WebSocket(addressOf(server), trust);
    test.after(() => client.terminate());
    const [[serverClient]] = await Promise.all([connected, once(client, 'open')]);
    return { server, terminator, client, serverClient };
  };

  /** A server that never answers its one client, beside a terminator that knows servers which only look like those of ws. */
  const serveWithLookalikes = async (test, webSocketServers) => {
    const server = transport.createServer({}, () => {});
    const terminator = createHttpTerminator({ server, webSocketServers, httpResponseTimeout: 60 });
    test.after(() => server.close());
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const client = await connect(transport, server);
    await client.write(requestText('/never'));
    await once(server, 'request');
    return { terminator, client };
  };

  /** A server beside a terminator that knows something that only looks like a server of ws. */
  const serveWithEmitter = async () => {
    const server = transport.createServer({}, () => {});
    const emitter = Object.assign(new EventEmitter(), { clients: [] });
    const terminator = createHttpTerminator({ server, webSocketServers: [emitter], httpResponseTimeout: 300_000 });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    return { server, terminator, emitter };
  };

  describe(`webSocketServers over ${transport.name}`, () => {
    for (const code of [undefined, 1012]) {
      it(`sends each client a close frame with ${code ?? 'the default code, 1001'}`, async (test) => {
        const { terminator, client } = await serveWebSockets(test, { webSocketCloseCode: code });
        const closed = once(client, 'close');
        const report = await terminator.terminate();
        const [received] = await closed;
        assert.equal(received, code ?? 1001);
        assert.equal(report.graceful, true);
        assert.deepEqual(report.connections, { idle: 0, drained: 1, forced: 0 });
      });
    }

    it('sends none for a terminator that was refused', async (test) => {
      const { server, terminator, client, serverClient } = await serveWebSockets(test, { webSocketServers: [] });
      const webSocketServers = [{ clients: new Set([serverClient]) }];
      const terminated = terminator.terminate();
      await turn();
      assert.equal(server.listening, false);
      const servers = [server, Object.freeze(transport.createServer({}, () => {}))];
      assert.throws(() => createHttpTerminator({ server: servers, webSocketServers }), TypeError);
      assert.equal(serverClient.readyState, WebSocket.OPEN);
      client.close(1000);
      await terminated;
    });

    it('sends one to a client that is accepted later, too', async (test) => {
      const server = transport.createServer({}, () => {});
      const webSockets = new WebSocketServer({ noServer: true });
      const terminator = createHttpTerminator({ server, webSocketServers: [webSockets], httpResponseTimeout: 300_000 });
      await once(server.listen(0, '127.0.0.1'), 'listening');
      const client = new WebSocket(addressOf(server), trust);
      test.after(() => client.terminate());
      const [request, socket, head] = await once(server, 'upgrade');
      const terminated = terminator.terminate();
      await turn();
      const closed = once(client, 'close');
      webSockets.handleUpgrade(request, socket, head, (accepted) => webSockets.emit('connection', accepted, request));
      assert.deepEqual((await closed)[0], 1001);
      assert.deepEqual((await terminated).connections, { idle: 0, drained: 1, forced: 0 });
      assert.equal(webSockets.listenerCount('connection'), 0);
    });

    it('takes its listener off when the terminator is detached, and hears of nothing that is no client', async () => {
      const { server, terminator, emitter } = await serveWithEmitter();
      const client = await connect(transport, server);
      await client.write(requestText('/slow'));
      await once(server, 'request');
      const terminated = terminator.terminate();
      while (emitter.listenerCount('connection') === 0) await turn();
      emitter.emit('connection');
      emitter.emit('connection', server);
      terminator.detach();
      assert.equal(emitter.listenerCount('connection'), 0);
      client.socket.destroy();
      await terminated;
    });

    it('rejects with what a client throws that comes later, when everything has ended', async () => {
      const { server, terminator, emitter } = await serveWithEmitter();
      const client = await connect(transport, server);
      await client.write(requestText('/slow'));
      const [, response] = await once(server, 'request');
      const rejected = assert.rejects(terminator.terminate(), { message: 'broken' });
      while (emitter.listenerCount('connection') === 0) await turn();
      emitter.emit('connection', {
        close() {
          throw new Error('broken');
        },
        terminate() {},
      });
      response.end();
      await rejected;
      assert.equal(await client.ended, 'FIN');
    });

    it('delivers what was sent before the close frame', async (test) => {
      const { terminator, client, serverClient } = await serveWebSockets(test, {});
      const messages = [];
      client.on('message', (data) => messages.push(String(data)));
      const closed = once(client, 'close');
      serverClient.send('last words');
      await terminator.terminate();
      await closed;
      assert.deepEqual(messages, ['last words']);
    });

    it('terminates a client that ignores the close frame at the deadline', async (test) => {
      const { terminator, client } = await serveWebSockets(test, { httpResponseTimeout: 60 });
      // Nothing is read any more, so nothing is answered.
      client.pause();
      const report = await terminator.terminate();
      assert.equal(report.connections.forced, 1);
      assert.equal(report.cut[0].url, '/chat');
      const closed = once(client, 'close');
      client.resume();
      await closed;
    });
  });

  describe(`clients that throw, over ${transport.name}`, () => {
    for (const [method, at] of [
      ['close', 'when the server drains'],
      ['terminate', 'at the deadline'],
    ]) {
      it(`do so ${at}, and everything ends all the same, with what ${method}() has thrown`, async (test) => {
        const acts = [];
        const clients = ['first', 'second'].map((name) => ({
          close: () => acts.push(`close ${name}`),
          terminate: () => acts.push(`terminate ${name}`),
        }));
        clients[0][method] = () => {
          throw new Error(`no ${method}`);
        };
        const { terminator, client } = await serveWithLookalikes(test, [{ clients }]);
        await assert.rejects(terminator.terminate(), { message: `no ${method}` });
        assert.notEqual(await client.ended, undefined);
        assert.equal(terminator.state, 'terminated');
        assert.ok(acts.includes(`${method} second`));
      });
    }

    it('have none of the others left alone, if it is their server that throws when it is asked for them', async (test) => {
      const acts = [];
      let isAsked = false;
      const throwing = {
        get clients() {
          if (isAsked) throw new Error('no clients');
          return [];
        },
      };
      const clients = [{ close: () => acts.push('close'), terminate: () => acts.push('terminate') }];
      const { terminator, client } = await serveWithLookalikes(test, [throwing, { clients }]);
      isAsked = true;
      await assert.rejects(terminator.terminate(), { message: 'no clients' });
      assert.notEqual(await client.ended, undefined);
      assert.deepEqual(acts, ['close', 'terminate']);
    });
  });

  describe(`CONNECT tunnels over ${transport.name}`, () => {
    const serveTunnel = async (test, options) => {
      const { server, terminator } = await serve(test, transport, () => {}, options);
      server.on('connect', (_request, socket) => {
        socket.write('HTTP/1.1 200 Connection Established\r\n\r\n');
        socket.pipe(socket);
      });
      const client = await connect(transport, server);
      await client.write(requestText('localhost:80', { method: 'CONNECT' }));
      await client.until(/Established\r\n\r\n/);
      assert.equal(terminator.stats().upgraded, 1);
      return { terminator, client };
    };

    it('carry on until they end by themselves', async (test) => {
      const { terminator, client } = await serveTunnel(test, {});
      const terminated = terminator.terminate();
      await turn();
      await client.write('ping');
      await client.until(/ping/);
      client.socket.end();
      assert.equal((await terminated).graceful, true);
    });

    it('are destroyed at the deadline', async (test) => {
      const { terminator, client } = await serveTunnel(test, { httpResponseTimeout: 50 });
      const report = await terminator.terminate();
      await client.ended;
      assert.equal(report.connections.forced, 1);
      assert.deepEqual([report.cut[0].method, report.cut[0].url], ['CONNECT', 'localhost:80']);
    });
  });

  describe(`socket.io over ${transport.name}`, () => {
    it('tells its clients, as the README shows it', async (test) => {
      const server = transport.createServer({}, () => {});
      const io = new SocketServer(server);
      test.after(() => io.close());
      const terminator = createHttpTerminator({ server, httpResponseTimeout: 300_000 });
      terminator.signal.addEventListener('abort', () => io.disconnectSockets(true));
      await once(server.listen(0, '127.0.0.1'), 'listening');
      const connected = once(io, 'connection');
      const client = connectSocket(`${transport.scheme}://127.0.0.1:${server.address().port}`, {
        ...trust,
        transports: ['websocket'],
        reconnection: false,
      });
      test.after(() => client.close());
      await connected;
      const disconnected = new Promise((resolve) => client.once('disconnect', resolve));
      const report = await terminator.terminate();
      assert.equal(await disconnected, 'io server disconnect');
      assert.equal(report.graceful, true);
    });
  });
}
