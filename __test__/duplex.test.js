// Connections that are no sockets: any Duplex may be emitted as one, whether the server listens or not.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const http = require('node:http');
const { Duplex } = require('node:stream');
const { describe, it } = require('node:test');
const { createHttpTerminator } = require('..');
const { Client, requestText } = require('./support/client');
const { gatedHandler, turn } = require('./support/server');
const { closeEverything } = require('./support/transports');

for (const listens of [true, false]) {
  describe(`a Duplex emitted as a connection of a server that ${listens ? 'listens' : 'does not listen'}`, () => {
    it('is ended if nothing has come on it', async (test) => {
      const { client, terminator } = await open(test, listens);
      const report = await terminator.terminate();
      assert.deepEqual(report.connections, { idle: 1, drained: 0, forced: 0 });
      assert.equal(await client.ended, 'FIN');
    });

    it('is ended if it is idle', async (test) => {
      const { client, terminator } = await openAndAsk(test, listens);
      const report = await terminator.terminate();
      assert.deepEqual(report.connections, { idle: 1, drained: 0, forced: 0 });
      assert.equal(await client.ended, 'FIN');
    });

    it('has its request in flight answered, which says close', async (test) => {
      const { client, arrived, open: answer, terminator } = await openAndAsk(test, listens);
      await client.write(requestText('/slow'));
      await arrived('/slow');
      const terminated = terminator.terminate();
      answer('/slow');
      assert.equal(await client.ended, 'FIN');
      assertAnswered(client, ['/', '/slow']);
      assert.deepEqual((await terminated).requests, { completed: 1, late: 0, cut: 0 });
    });

    it('has the half request answered that had come', async (test) => {
      const { client, terminator } = await open(test, listens);
      const text = requestText();
      await client.write(text.slice(0, 10));
      await turn();
      const terminated = terminator.terminate();
      await turn();
      await client.write(text.slice(10));
      assert.equal(await client.ended, 'FIN');
      assertAnswered(client, ['/']);
      assert.deepEqual((await terminated).requests, { completed: 0, late: 1, cut: 0 });
    });

    it('has those answered that are pipelined behind one in flight', async (test) => {
      const { client, arrived, open: answer, terminator } = await openAndAsk(test, listens);
      await client.write(requestText('/slow'));
      await arrived('/slow');
      const terminated = terminator.terminate();
      await client.write(requestText() + requestText());
      await turn();
      answer('/slow');
      assert.equal(await client.ended, 'FIN');
      assertAnswered(client, ['/', '/slow', '/', '/']);
      assert.deepEqual((await terminated).requests, { completed: 1, late: 2, cut: 0 });
    });

    it('is ended behind an answer that could not say so', async (test) => {
      const { client, arrived, open: answer, terminator } = await openAndAsk(test, listens);
      await client.write(requestText('/slow'));
      const { response } = await arrived('/slow');
      response.write('');
      response.flushHeaders();
      const terminated = terminator.terminate();
      answer('/slow');
      assert.equal(await client.ended, 'FIN');
      assert.deepEqual((await terminated).requests, { completed: 1, late: 0, cut: 0 });
    });
  });
}

describe('a Duplex emitted as a connection of a server that listens', () => {
  it('has the half request answered that had come behind others', async (test) => {
    const { client, terminator } = await openAndAsk(test, true);
    const text = requestText();
    await client.write(text.slice(0, 10));
    await turn();
    const terminated = terminator.terminate();
    await turn();
    await client.write(text.slice(10));
    assert.equal(await client.ended, 'FIN');
    assertAnswered(client, ['/', '/']);
    assert.deepEqual((await terminated).requests, { completed: 0, late: 1, cut: 0 });
  });
});

async function open(test, listens) {
  const { handler, arrived, open } = gatedHandler();
  const server = http.createServer({ keepAliveTimeout: 60_000 }, handler);
  const terminator = createHttpTerminator({ server, httpResponseTimeout: 60_000 });
  test.after(() => closeEverything(server));
  if (listens) await once(server.listen(0, '127.0.0.1'), 'listening');
  const [near, far] = duplexes();
  server.emit('connection', far);
  return { client: new Client(near), terminator, arrived, open };
}

async function openAndAsk(test, listens) {
  const opened = await open(test, listens);
  await opened.client.write(requestText());
  await opened.client.until(/answer to/);
  return opened;
}

function assertAnswered(client, paths) {
  assert.deepEqual(
    client.answers.map(({ body, headers }) => [body, headers.connection]),
    paths.map((each, place) => [`answer to ${each}`, place === paths.length - 1 ? 'close' : 'keep-alive']),
  );
}

/** Two ends, of which each reads what is written to the other. Node has it as `duplexPair()` since version 22. */
function duplexes() {
  const ends = [];
  const end = (place) => {
    const pass = (chunk) => setImmediate(() => ends[1 - place].push(chunk));
    return new Duplex({
      read() {},
      write(chunk, _encoding, written) {
        pass(chunk);
        written();
      },
      final(ended) {
        pass(null);
        ended();
      },
      destroy(error, destroyed) {
        if (!this.writableFinished) pass(null);
        destroyed(error);
      },
    });
  };
  ends.push(end(0), end(1));
  return ends;
}
