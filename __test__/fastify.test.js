// Fastify has an end of its own, app.close(). From then on it answers requests with 503, so it matters which comes
// first, and whether `return503OnClosing` is left on. In each order one request is in flight, and of one a half is there.

const assert = require('node:assert/strict');
const { describe, it } = require('node:test');
const fastify = require('fastify');
const { createHttpTerminator } = require('..');
const { connect, requestText } = require('./support/client');
const { gate, turn } = require('./support/server');
const { transports } = require('./support/transports');

const [plain] = transports;

const orders = [
  {
    name: 'terminate(), then app.close(): both are served',
    prepare: (app, terminator) => async () => {
      const report = await terminator.terminate();
      await app.close();
      return report;
    },
    half: 200,
    hooks: ['preClose: 0', 'onClose: 0'],
  },
  {
    name: 'app.close() with terminate() in preClose, return503OnClosing off: both are served',
    options: { return503OnClosing: false },
    prepare: inPreClose,
    half: 200,
    hooks: ['preClose: 1', 'onClose: 0'],
  },
  {
    name: 'app.close() with terminate() in preClose: what comes meanwhile gets 503',
    prepare: inPreClose,
    half: 503,
    hooks: ['preClose: 1', 'onClose: 0'],
  },
  {
    name: 'app.close(), then terminate(): what comes meanwhile gets 503',
    prepare: (app, terminator) => async () => {
      const closed = app.close();
      await turn();
      const report = await terminator.terminate();
      await closed;
      return report;
    },
    half: 503,
    hooks: ['preClose: 1', 'onClose: 0'],
  },
];

describe('Fastify', () => {
  for (const { name, options = {}, prepare, half, hooks } of orders) {
    it(name, async (test) => {
      const [arrived, go] = [gate(), gate()];
      const app = fastify(options);
      const terminator = createHttpTerminator({ server: app.server, httpResponseTimeout: 300_000 });
      const ran = [];
      for (const hook of ['preClose', 'onClose']) {
        app.addHook(hook, async () => {
          ran.push(`${hook}: ${terminator.stats().active}`);
        });
      }
      app.get('/', async () => 'quick');
      app.get('/slow', async () => {
        arrived.open();
        await go.passed;
        return 'slow';
      });
      test.after(() => app.close());
      const end = prepare(app, terminator);
      await app.listen({ host: '127.0.0.1', port: 0 });

      const active = await connect(plain, app.server);
      await active.write(requestText('/slow'));
      await arrived.passed;
      const late = await connect(plain, app.server);
      const request = requestText();
      await late.write(request.slice(0, 10));
      while (late.serverSocket.bytesRead < 10) await turn();

      const ended = end();
      await turn();
      await late.write(request.slice(10));
      assert.equal(await late.ended, 'FIN');
      go.open();
      assert.equal(await active.ended, 'FIN');
      for (const [client, status] of [
        [late, half],
        [active, 200],
      ]) {
        const [answer] = client.answers;
        assert.deepEqual([answer.whole, answer.status, answer.headers.connection], [true, status, 'close']);
      }
      const report = await ended;
      assert.equal(report.graceful, true);
      assert.equal(report.requests.completed + report.requests.late, 2);
      assert.deepEqual(ran, hooks);
    });
  }
});

/** Where others call app.close(). */
function inPreClose(app, terminator) {
  let report;
  app.addHook('preClose', async () => {
    report = await terminator.terminate();
  });
  return async () => {
    await app.close();
    return report;
  };
}
