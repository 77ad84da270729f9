// shutdownDelay: the server goes on accepting, and every HTTP/1 answer says close.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const http2 = require('node:http2');
const { describe, it } = require('node:test');
const { createHttpTerminator } = require('..');
const { connect, requestText } = require('./support/client');
const { gatedHandler, serve } = require('./support/server');
const { closeEverything, transports } = require('./support/transports');

// Long enough to do everything that a test does meanwhile; the end of it is awaited by event.
const shutdownDelay = 250;

for (const transport of transports) {
  describe(`shutdownDelay over ${transport.name}`, () => {
    it('accepts and serves while it lasts, and every answer says close', async (test) => {
      const { handler, arrived, open } = gatedHandler();
      const { server, terminator } = await serve(test, transport, handler, { shutdownDelay });
      const idle = await connect(transport, server);
      await idle.write(requestText());
      await idle.until(/answer to/);
      const active = await connect(transport, server);
      await active.write(requestText('/slow'));
      await arrived('/slow');

      const terminated = terminator.terminate();
      assert.equal(terminator.state, 'delaying');
      assert.equal(terminator.signal.aborted, true);
      assert.equal(server.listening, true);
      open('/slow');
      const fresh = await connect(transport, server);
      await fresh.write(requestText());
      for (const client of [active, fresh]) {
        assert.equal(await client.ended, 'FIN');
        assert.equal(client.answers[0].headers.connection, 'close');
      }
      assert.equal(terminator.terminate(), terminated);
      assert.equal(terminator.state, 'delaying');

      const silent = await connect(transport, server);
      const report = await terminated;
      assert.ok(report.durationMs >= shutdownDelay, `${report.durationMs} ms`);
      assert.equal(server.listening, false);
      for (const client of [idle, silent]) assert.equal(await client.ended, 'FIN');
      assert.deepEqual(report.requests, { completed: 1, late: 1, cut: 0 });
      assert.deepEqual(report.connections, { idle: 2, drained: 2, forced: 0 });
    });

    it('is followed by the whole of httpResponseTimeout', async (test) => {
      const { handler, arrived } = gatedHandler();
      const options = { shutdownDelay: 60, httpResponseTimeout: 60 };
      const { server, terminator } = await serve(test, transport, handler, options);
      const client = await connect(transport, server);
      await client.write(requestText('/never'));
      await arrived('/never');
      const report = await terminator.terminate();
      assert.ok(report.durationMs >= 120, `${report.durationMs} ms`);
      assert.equal(report.requests.cut, 1);
    });

    for (const [how, delay] of [
      ['', 60_000],
      [', even if it is longer than any clock can tell', Number.MAX_VALUE],
    ]) {
      it(`is ended by another terminator without a delay${how}`, async (test) => {
        const { server, terminator } = await serve(test, transport, () => {}, { shutdownDelay: delay });
        const terminated = terminator.terminate();
        assert.equal(terminator.state, 'delaying');
        await createHttpTerminator({ server }).terminate();
        assert.equal((await terminated).graceful, true);
      });
    }
  });
}

it('lets HTTP/2 sessions carry on while it lasts', async (test) => {
  const server = http2.createServer((_request, response) => response.end('served'));
  const terminator = createHttpTerminator({ server, shutdownDelay });
  test.after(() => closeEverything(server));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const session = http2.connect(`http://127.0.0.1:${server.address().port}`);
  await once(session, 'remoteSettings');
  const terminated = terminator.terminate();
  for (let count = 0; count < 3; count += 1) {
    const stream = session.request({ ':path': '/' });
    let body = '';
    for await (const chunk of stream.setEncoding('utf8')) body += chunk;
    assert.equal(body, 'served');
    assert.equal(session.closed, false);
  }
  await once(session, 'close');
  assert.deepEqual((await terminated).requests, { completed: 0, late: 3, cut: 0 });
});
