// Real clients and real frameworks around a termination.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const { describe, it } = require('node:test');
const express = require('express');
const fastify = require('fastify');
const Koa = require('koa');
const { Agent, request } = require('undici');
const { WebSocket, WebSocketServer } = require('ws');
const { createHttpTerminator } = require('..');
const { gate, serve, turn } = require('./support/server');
const { transports, trust } = require('./support/transports');

/** An application that answers `/` at once and `/slow` when the gate opens, as each framework writes it. */
const frameworks = {
  async express(slow) {
    const app = express();
    app.get('/', (_request, response) => response.send('quick'));
    app.get('/slow', async (_request, response) => {
      await slow();
      response.send('slow');
    });
    return app;
  },
  async koa(slow) {
    const app = new Koa();
    app.use(async (context) => {
      if (context.path === '/slow') await slow();
      context.body = context.path === '/slow' ? 'slow' : 'quick';
    });
    return app.callback();
  },
  async fastify(slow, transport) {
    let server;
    const app = fastify({
      serverFactory: (handler) => {
        server = transport.createServer({}, handler);
        return server;
      },
    });
    app.get('/', async () => 'quick');
    app.get('/slow', async () => {
      await slow();
      return 'slow';
    });
    await app.ready();
    return server;
  },
};

for (const transport of transports) {
  for (const [framework, create] of Object.entries(frameworks)) {
    it(`${framework} over ${transport.name}: in flight, idle, terminate`, async (test) => {
      const [arrived, go] = [gate(), gate()];
      const app = await create(async () => {
        arrived.open();
        await go.passed;
      }, transport);
      const server = typeof app === 'function' ? transport.createServer({}, app) : app;
      const terminator = createHttpTerminator({ server, httpResponseTimeout: 300_000 });
      server.listen({ port: 0, host: '127.0.0.1' });
      await once(server, 'listening');
      const origin = `${transport.scheme}://127.0.0.1:${server.address().port}`;
      const dispatcher = new Agent({ connect: trust });
      test.after(() => dispatcher.destroy());

      const slow = request(`${origin}/slow`, { dispatcher });
      await arrived.passed;
      const quick = await request(origin, { dispatcher });
      assert.equal(await quick.body.text(), 'quick');
      const terminated = terminator.terminate();
      await turn();
      go.open();
      const { statusCode, headers, body } = await slow;
      assert.equal(statusCode, 200);
      assert.equal(headers.connection, 'close');
      assert.equal(await body.text(), 'slow');
      const report = await terminated;
      assert.equal(report.graceful, true);
      assert.equal(report.requests.completed, 1);
      await assert.rejects(request(origin, { dispatcher }), { code: 'ECONNREFUSED' });
    });
  }

  describe(`node's own client over ${transport.name}`, () => {
    it('loses nothing with an agent that keeps connections alive', async (test) => {
      const { server, terminator } = await serve(test, transport, (incoming, response) => {
        incoming.resume().on('end', () => setImmediate(() => response.end('done')));
      });
      const agent = new transport.Agent({ keepAlive: true });
      test.after(() => agent.destroy());
      const { port } = server.address();
      const post = () =>
        new Promise((resolve, reject) => {
          const outgoing = transport.request({ port, host: '127.0.0.1', agent, method: 'POST' }, (response) => {
            response.resume().on('end', () => resolve(response.headers.connection));
          });
          outgoing.on('error', reject).end('body');
        });
      assert.deepEqual(await Promise.all([post(), post(), post()]), Array(3).fill('keep-alive'));
      const inFlight = [post(), post(), post()];
      await once(server, 'request');
      const terminated = terminator.terminate();
      const said = await Promise.all(inFlight);
      assert.ok(said.includes('close'));
      assert.equal((await terminated).graceful, true);
    });
  });

  describe(`ws over ${transport.name}`, () => {
    it('has its grace until the deadline, then ends', async (test) => {
      const { server, terminator } = await serve(test, transport, () => {}, { httpResponseTimeout: 60 });
      const webSockets = new WebSocketServer({ server });
      const address = `${transport.scheme.replace('http', 'ws')}://127.0.0.1:${server.address().port}/chat`;
      const [polite, stubborn] = [new WebSocket(address, trust), new WebSocket(address, trust)];
      await Promise.all([once(polite, 'open'), once(stubborn, 'open')]);
      while (webSockets.clients.size < 2) await turn();
      assert.equal(terminator.stats().upgraded, 2);
      const terminated = terminator.terminate();
      // A message sent during the grace still arrives.
      for (const client of webSockets.clients) client.on('message', (data) => client.send(`echo ${data}`));
      stubborn.send('still here');
      const [echo] = await once(stubborn, 'message');
      assert.equal(String(echo), 'echo still here');
      polite.close();
      await once(polite, 'close');
      const cutOff = once(stubborn, 'close');
      const report = await terminated;
      assert.equal((await cutOff)[0], 1006);
      assert.deepEqual(report.connections, { idle: 0, drained: 1, forced: 1 });
      assert.equal(report.cut[0].url, '/chat');
    });
  });
}
