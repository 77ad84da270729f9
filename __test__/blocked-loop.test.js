// Races made certain: a client in a worker writes while the server's event loop is blocked.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const { describe, it } = require('node:test');
const { connect, requestText } = require('./support/client');
const { remoteClient } = require('./support/blocker');
const { block, gate, gatedHandler, serve, turn } = require('./support/server');
const { transports } = require('./support/transports');

// As long as those of a real client.
const headers = { 'User-Agent': 'a client with a name of ordinary length', Accept: '*/*' };

for (const transport of transports) {
  describe(`with the event loop blocked, over ${transport.name}`, () => {
    it('serves the requests that wait in the kernel of an idle connection', async (test) => {
      const { server, terminator } = await serve(test, transport, (request, response) => {
        response.end(`answer to ${request.url}`);
      });
      const client = await remoteClient(test, transport, server);
      const paths = ['/1', '/2', '/3'];
      client.writeWhileBlocked(paths.map((path) => requestText(path, { headers })));
      const report = await terminator.terminate();
      const { how, answers } = await client.ended();
      assert.equal(how, 'FIN');
      assert.deepEqual(
        answers.map(({ body }) => body),
        paths.map((path) => `answer to ${path}`),
      );
      assert.deepEqual(
        answers.map((answer) => answer.headers.connection),
        ['keep-alive', 'keep-alive', 'close'],
      );
      assert.deepEqual(report.requests, { completed: 0, late: 3, cut: 0 });
    });

    it('serves the rest of a request that waits in the kernel', async (test) => {
      const { server, terminator } = await serve(test, transport, async (request, response) => {
        let body = '';
        for await (const chunk of request) body += chunk;
        response.end(`received ${body}`);
      });
      const client = await remoteClient(test, transport, server);
      const post = requestText('/', { method: 'POST', headers: { ...headers, 'Content-Length': 8 } });
      client.writeWhileBlocked([post.slice(0, 20), post.slice(20), 'half', 'half']);
      await terminator.terminate();
      const { how, answers } = await client.ended();
      assert.equal(how, 'FIN');
      assert.equal(answers[0].body, 'received halfhalf');
      assert.equal(answers[0].headers.connection, 'close');
    });

    it('ends at once when the loop runs again after the deadline', async (test) => {
      const { handler, arrived } = gatedHandler();
      const { server, terminator } = await serve(test, transport, handler, { httpResponseTimeout: 20 });
      const [hanging, idle] = [await connect(transport, server), await connect(transport, server)];
      await hanging.write(requestText('/never'));
      await arrived('/never');
      const terminated = terminator.terminate();
      block(100);
      const report = await terminated;
      assert.ok(report.durationMs >= 100, `${report.durationMs} ms`);
      assert.deepEqual(report.requests, { completed: 0, late: 0, cut: 1 });
      assert.equal(report.cut[0].url, '/never');
      assert.ok(report.cut[0].ageMs >= 100);
      assert.equal(report.connections.forced, 1);
      assert.equal(report.connections.idle, 1);
      await idle.ended;
    });

    it('answers whole when the handler itself blocks beyond the deadline', async (test) => {
      const { server, terminator } = await serve(
        test,
        transport,
        async (_request, response) => {
          arrived.open();
          await go.passed;
          block(100);
          response.end('after all');
        },
        { httpResponseTimeout: 20 },
      );
      const [arrived, go] = [gate(), gate()];
      const client = await connect(transport, server);
      await client.write(requestText());
      await arrived.passed;
      const terminated = terminator.terminate();
      await turn();
      go.open();
      const report = await terminated;
      assert.equal(await client.ended, 'FIN');
      assert.equal(client.answers[0].body, 'after all');
      assert.deepEqual(report.requests, { completed: 1, late: 0, cut: 0 });
      assert.equal(report.graceful, true);
    });
  });
}

it('keeps time while the loop is blocked for long', async (test) => {
  const { handler, arrived } = gatedHandler();
  const [http] = transports;
  const { server, terminator } = await serve(test, http, handler, { httpResponseTimeout: 50 });
  const client = await connect(http, server);
  await client.write(requestText('/never'));
  await arrived('/never');
  const terminated = terminator.terminate();
  block(200);
  // The alarm has rung meanwhile, so the next turn of the loop is the last one.
  await turn();
  await turn();
  assert.equal(client.serverSocket.destroyed, true);
  await once(client.socket, 'close').catch(() => {});
  assert.equal((await terminated).graceful, false);
});
