// Races made certain: a client in a worker writes while the server's event loop is blocked.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const { describe, it } = require('node:test');
const { setImmediate: immediate } = require('node:timers/promises');
const { connect, requestText } = require('./support/client');
const { remoteClient } = require('./support/blocker');
const { block, gate, gatedHandler, serve, turn } = require('./support/server');
const { transports } = require('./support/transports');

// As long as those of a real client.
const headers = { 'User-Agent': 'a client with a name of ordinary length', Accept: '*/*' };

const MORE_THAN_ONE_TURN_CLOSES = 70;
/** To close all of them. */
const MORE_TURNS_THAN_IT_TAKES = 20;

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

    for (const [before, paths] of [
      ['that was used', ['/before']],
      // It is closed after those that were.
      ['that was never used', []],
    ]) {
      for (const [what, length] of [
        ['a request', Number.POSITIVE_INFINITY],
        ['half a request', 20],
      ]) {
        it(`serves a connection ${before}, and on which ${what} comes in any turn before it is closed`, async (test) => {
          const text = requestText('/meanwhile', { headers });
          let turns = 0;
          while (await speaksInTurn(test, turns, paths, [text.slice(0, length), text.slice(length)])) turns += 1;
          assert.ok(turns > 1, 'it is closed in the second turn at the earliest');
        });
      }
    }

    /** @returns {Promise<boolean>} whether the connection was still open in this turn of a termination */
    async function speaksInTurn(test, turns, paths, [now, later]) {
      const { server, terminator } = await serve(test, transport, (request, response) => {
        response.end(`answer to ${request.url}`);
      });
      for (let other = 0; other < MORE_THAN_ONE_TURN_CLOSES; other += 1) {
        const client = await connect(transport, server);
        await client.write(requestText());
        await client.until(/answer to/);
      }
      const accepted = once(server, transport.secure ? 'secureConnection' : 'connection');
      const client = await remoteClient(test, transport, server);
      const [socket] = await accepted;
      for (const path of paths) {
        const requested = once(server, 'request');
        client.writeWhileBlocked([requestText(path)]);
        const [, response] = await requested;
        if (!response.closed) await once(response, 'close');
      }
      // Asked for before the termination asks for its turns, so in each this comes before what that does.
      const spoken = inTurn(turns, () => {
        if (socket.destroyed || socket.writableEnded) return false;
        client.writeWhileBlocked([now]);
        return true;
      });
      const terminated = terminator.terminate();
      const isOpen = await spoken;
      if (isOpen && later !== '') {
        for (let more = 0; more < MORE_TURNS_THAN_IT_TAKES; more += 1) await turn();
        client.writeWhileBlocked([later]);
      }
      await terminated;
      if (!isOpen) return false;
      const { how, answers } = await client.ended();
      assert.equal(how, 'FIN');
      assert.deepEqual(
        answers.map(({ body, headers }) => [body, headers.connection]),
        [...paths.map((path) => [`answer to ${path}`, 'keep-alive']), ['answer to /meanwhile', 'close']],
        `in turn ${turns}`,
      );
      return true;
    }

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

    it('keeps time while the loop is blocked for long', async (test) => {
      const { handler, arrived } = gatedHandler();
      const { server, terminator } = await serve(test, transport, handler, { httpResponseTimeout: 50 });
      const client = await connect(transport, server);
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
  });
}

/** Runs this after so many turns of the event loop, ahead of what is asked for in them later. */
async function inTurn(turns, run) {
  for (let passed = 0; passed <= turns; passed += 1) await immediate();
  return run();
}
