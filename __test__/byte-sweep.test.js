// terminate() after each byte of what a client sends, over each protocol. What has come is never lost: a connection on
// which nothing has come is idle, and any other is waited for until the rest has come, or the deadline.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const net = require('node:net');
const { Duplex } = require('node:stream');
const { describe, it } = require('node:test');
const tls = require('node:tls');
const { createHttpTerminator } = require('..');
const { addressOf, Client, connect, requestText } = require('./support/client');
const { turn } = require('./support/server');
const { http2Transports, transports, trust } = require('./support/transports');

/** How many bytes are tried at a time. */
const TOGETHER = 16;

const CHUNKED = requestText('/chunked', { method: 'POST', headers: { 'Transfer-Encoding': 'chunked' } });

const MESSAGES = [
  { name: 'a head', text: requestText('/head'), paths: ['/head'] },
  { name: 'a chunked body', text: `${CHUNKED}5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\n`, paths: ['/chunked'] },
  { name: 'a pipelined pair', text: requestText('/1') + requestText('/2'), paths: ['/1', '/2'] },
];

/** Answers when the body has come. */
function echo(request, response) {
  request.resume().on('error', () => {});
  request.on('end', () => response.end(`answer to ${request.url}`));
}

/** Until the server has read so many bytes on a connection: no event tells, so every turn looks. */
async function bytesRead(socket, count) {
  while (socket.bytesRead < count) await turn();
}

/** Tries each place from the first to the last byte, some at a time. */
async function sweep(test, length, attempt) {
  let place = 0;
  await Promise.all(
    Array.from({ length: TOGETHER }, async () => {
      while (place <= length) {
        const cutAt = place;
        place += 1;
        await attempt(cutAt).catch((error) => {
          throw new Error(`after ${cutAt} of ${length} bytes: ${error.message}`, { cause: error });
        });
      }
    }),
  );
  test.diagnostic(`${length + 1} terminations`);
}

async function listen(transport, options = {}) {
  const server = transport.createServer({ keepAliveTimeout: 60_000 }, echo);
  const terminator = createHttpTerminator({ server, httpResponseTimeout: 300_000, ...options });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return { server, terminator };
}

for (const transport of transports) {
  describe(`terminate() after each byte over ${transport.name}`, () => {
    for (const { name, text, paths } of MESSAGES) {
      for (const isRead of [true, false]) {
        it(`of ${name}, ${isRead ? 'read' : 'which only the kernel has'}, and the rest comes`, async (test) => {
          await sweep(test, text.length, async (cutAt) => {
            const { server, terminator } = await listen(transport);
            const client = await connect(transport, server);
            const written = cutAt > 0 ? client.write(text.slice(0, cutAt)) : null;
            if (isRead) await bytesRead(client.serverSocket, cutAt);
            // Under TLS the kernel has it only after a turn.
            else if (transport.secure) await written;
            const terminated = terminator.terminate();
            await turn();
            // A connection on which nothing has come is closed, and so is one on which everything is answered.
            const isOver = cutAt === 0 || (paths.length > 1 && cutAt === text.length / 2);
            if (!isOver) await client.write(text.slice(cutAt));
            assert.equal(await client.ended, 'FIN');
            const report = await terminated;
            assert.equal(report.graceful, true, JSON.stringify(report));
            const bodies = client.answers.map(({ body }) => body);
            const expected = isOver ? paths.slice(0, cutAt === 0 ? 0 : 1) : paths;
            assert.deepEqual(
              bodies,
              expected.map((each) => `answer to ${each}`),
            );
            const closes = client.answers.slice(0, -1).map(({ headers }) => headers.connection);
            assert.ok(!closes.includes('close'), 'only the last answer says close');
          });
        });
      }

      it(`of ${name}, and the rest does not come`, async (test) => {
        await sweep(test, text.length - 1, async (cutAt) => {
          const { server, terminator } = await listen(transport, { httpResponseTimeout: 40 });
          const client = await connect(transport, server);
          if (cutAt > 0) await client.write(text.slice(0, cutAt));
          await bytesRead(client.serverSocket, cutAt);
          const report = await terminator.terminate();
          await client.ended;
          const headEnd = text.indexOf('\r\n\r\n') + 4;
          const isNamed = paths.length === 1 && cutAt >= headEnd;
          const isWhole = cutAt === 0 || (paths.length > 1 && cutAt === text.length / 2);
          const expected = isWhole ? [] : [isNamed ? paths[0] : null];
          assert.deepEqual(
            report.cut.map(({ url }) => url),
            expected,
          );
          assert.equal(report.requests.cut, expected.length);
          assert.equal(report.graceful, isWhole);
        });
      });
    }
  });
}

describe('terminate() after each byte of a TLS ClientHello', () => {
  const https = transports.find(({ name }) => name === 'https');

  for (const comes of [true, false]) {
    it(`and the rest ${comes ? 'comes' : 'does not come'}`, async (test) => {
      const length = (await clientHello()).length;
      await sweep(test, length, async (cutAt) => {
        const { server, terminator } = await listen(https, comes ? {} : { httpResponseTimeout: 40 });
        const accepted = once(server, 'connection');
        const socket = net.connect(addressOf(server));
        socket.setNoDelay(true);
        const [serverSocket] = await accepted;
        const { client, tap } = shakingHands();
        const hello = await tap.first;
        if (cutAt > 0) socket.write(hello.subarray(0, cutAt));
        await bytesRead(serverSocket, cutAt);
        const terminated = terminator.terminate();
        await turn();
        if (comes && cutAt > 0) {
          tap.connectTo(socket, hello.subarray(cutAt));
          await client.write(requestText('/late'));
          assert.equal(await client.ended, 'FIN');
          assert.equal(client.answers[0].body, 'answer to /late');
        }
        const report = await terminated;
        // The length of the hello differs by a byte or two from one to the next, so the last ones may be whole.
        const expected = cutAt === 0 ? { late: 0, cut: 0 } : comes ? { late: 1, cut: 0 } : { late: 0, cut: 1 };
        assert.deepEqual(report.requests, { completed: 0, ...expected });
        client.socket.destroy();
        socket.destroy();
      });
    });
  }

  /** A TLS client that is connected to nothing yet. */
  function shakingHands() {
    let began;
    let socket = null;
    const first = new Promise((resolve) => {
      began = resolve;
    });
    const duplex = new Duplex({
      read() {},
      write(chunk, _encoding, done) {
        if (socket === null) began(chunk);
        else socket.write(chunk);
        done();
      },
      final: (done) => void (socket === null ? done() : socket.end(done)),
    });
    const client = new Client(tls.connect({ ...trust, socket: duplex, maxVersion: 'TLSv1.2' }));
    const connectTo = (other, rest) => {
      socket = other;
      socket.on('data', (data) => duplex.push(data)).on('end', () => duplex.push(null));
      socket.write(rest);
    };
    return { client, tap: { first, connectTo } };
  }

  async function clientHello() {
    const { client, tap } = shakingHands();
    const hello = await tap.first;
    client.socket.destroy();
    return hello;
  }
});

describe('terminate() after each byte of an HTTP/2 preface and HEADERS', () => {
  const h2c = http2Transports.find(({ name }) => name === 'h2c');
  // RFC 9113, sections 3.4, 6.5 and 6.2; RFC 7541, appendix A, and section 6.2.2 for `:authority: a`.
  const bytes = Buffer.concat([
    Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
    Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]),
    Buffer.from([0, 0, 6, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84, 0x01, 1, 0x61]),
  ]);

  it('and the rest comes', async (test) => {
    await sweep(test, bytes.length, async (cutAt) => {
      const { server, terminator } = await listen(h2c);
      const accepted = once(server, 'connection');
      const client = new Client(net.connect({ ...addressOf(server), allowHalfOpen: true }));
      const [serverSocket] = await accepted;
      if (cutAt > 0) await client.write(bytes.subarray(0, cutAt));
      await bytesRead(serverSocket, cutAt);
      const terminated = terminator.terminate();
      if (cutAt > 0) client.socket.write(bytes.subarray(cutAt));
      await client.ended;
      const report = await terminated;
      assert.equal(report.graceful, true, JSON.stringify(report));
      const { completed, late } = report.requests;
      assert.equal(completed + late, cutAt > 0 ? 1 : 0);
      assert.equal(client.received.includes('answer to /'), cutAt > 0);
    });
  });

  it('and the rest does not come', async (test) => {
    const headers = bytes.length - 6;
    await sweep(test, bytes.length - 1, async (cutAt) => {
      // A client that is alive would acknowledge the PING, which is not waited for as long as this.
      const { server, terminator } = await listen(h2c, { httpResponseTimeout: 400 });
      const accepted = once(server, 'connection');
      const client = new Client(net.connect({ ...addressOf(server), allowHalfOpen: true }));
      const [serverSocket] = await accepted;
      if (cutAt > 0) await client.write(bytes.subarray(0, cutAt));
      await bytesRead(serverSocket, cutAt);
      const report = await terminator.terminate();
      await client.ended;
      // With its frame's header, a request has begun.
      const half = cutAt >= headers ? [null] : [];
      assert.deepEqual(
        report.cut.map(({ url }) => url),
        half,
      );
      assert.equal(report.graceful, half.length === 0);
    });
  });
});
