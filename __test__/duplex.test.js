// Connections that are no sockets: any Duplex may be emitted as one, whether the server listens or not.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const { Duplex } = require('node:stream');
const { describe, it } = require('node:test');
const tls = require('node:tls');
const { createHttpTerminator } = require('..');
const { Client, requestText } = require('./support/client');
const { gatedHandler, turn } = require('./support/server');
const { closeEverything, transports, trust } = require('./support/transports');

for (const [transport, listens] of transports.flatMap((each) => [true, false].map((listens) => [each, listens]))) {
  const where = `${transport.name} server that ${listens ? 'listens' : 'does not listen'}`;
  const open = (test) => openOn(test, transport, listens);
  const openAndAsk = async (test) => {
    const opened = await open(test);
    await opened.client.write(requestText());
    await opened.client.until(/answer to/);
    while (opened.terminator.stats().active > 0) await turn();
    return opened;
  };

  describe(`a Duplex emitted as a connection of an ${where}`, () => {
    it('is ended if nothing has come on it', async (test) => {
      const { client, terminator } = await open(test);
      const report = await terminator.terminate();
      assert.deepEqual(report.connections, { idle: 1, drained: 0, forced: 0 });
      assert.equal(await client.ended, 'FIN');
    });

    it('is ended if it is idle', async (test) => {
      const { client, terminator } = await openAndAsk(test);
      const report = await terminator.terminate();
      assert.deepEqual(report.connections, { idle: 1, drained: 0, forced: 0 });
      assert.equal(await client.ended, 'FIN');
    });

    it('is left as it was when the terminator is detached', async (test) => {
      const { far, terminator } = await openAndAsk(test);
      terminator.stats();
      terminator.detach();
      assert.equal(far.listenerCount('data'), 1, "Node's own");
    });

    it('has its request in flight answered, which says close', async (test) => {
      const { client, arrived, open: answer, terminator } = await openAndAsk(test);
      await client.write(requestText('/slow'));
      await arrived('/slow');
      const terminated = terminator.terminate();
      answer('/slow');
      assert.equal(await client.ended, 'FIN');
      assertAnswered(client, ['/', '/slow']);
      assert.deepEqual((await terminated).requests, { completed: 1, late: 0, cut: 0 });
    });

    for (const [where, connect, paths, options] of [
      ['', open, ['/'], {}],
      [' behind others', openAndAsk, ['/', '/'], { skip: !listens && 'nothing shows that' }],
    ]) {
      it(`has the half request answered that had come${where}`, options, async (test) => {
        const { client, terminator } = await connect(test);
        const text = requestText();
        await client.write(text.slice(0, 10));
        await turn();
        const terminated = terminator.terminate();
        await turn();
        await client.write(text.slice(10));
        assert.equal(await client.ended, 'FIN');
        assertAnswered(client, paths);
        assert.deepEqual((await terminated).requests, { completed: 0, late: 1, cut: 0 });
      });
    }

    it('has those answered that are pipelined behind one in flight', async (test) => {
      const { client, arrived, open: answer, terminator } = await openAndAsk(test);
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
      const { client, arrived, open: answer, terminator } = await openAndAsk(test);
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

async function openOn(test, transport, listens) {
  const { handler, arrived, open } = gatedHandler();
  const server = transport.createServer({ keepAliveTimeout: 60_000 }, handler);
  const terminator = createHttpTerminator({ server, httpResponseTimeout: 300_000 });
  test.after(() => closeEverything(server));
  if (listens) await once(server.listen(0, '127.0.0.1'), 'listening');
  const [near, far] = duplexes();
  const accepted = once(server, transport.secure ? 'secureConnection' : 'connection');
  server.emit('connection', far);
  const socket = transport.secure ? tls.connect({ ...trust, socket: near, allowHalfOpen: true }) : near;
  await accepted;
  return { client: new Client(socket), far, terminator, arrived, open };
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
