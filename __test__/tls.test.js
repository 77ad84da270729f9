// What only the bytes below TLS show: alerts, and resets that a TLS socket would hide.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const net = require('node:net');
const { Duplex } = require('node:stream');
const { describe, it } = require('node:test');
const tls = require('node:tls');
const { addressOf, Client, requestText } = require('./support/client');
const { gate, gatedHandler, serve, turn } = require('./support/server');
const { transports, trust } = require('./support/transports');

const https = transports.find(({ name }) => name === 'https');

const ALERT = 21;

/** A TLS client over a socket whose traffic is recorded. TLS 1.2 shows which of its records are alerts. */
async function tappedClient(server) {
  const accepted = once(server, 'secureConnection');
  const socket = net.connect({ ...addressOf(server), allowHalfOpen: true });
  const received = [];
  let failure = null;
  const tap = new Duplex({
    read() {},
    write: (chunk, _encoding, done) => void socket.write(chunk, done),
    final: (done) => void socket.end(done),
  });
  socket.on('data', (data) => {
    received.push(data);
    tap.push(data);
  });
  socket.on('end', () => tap.push(null));
  socket.on('error', (error) => {
    failure = error;
  });
  const client = new Client(tls.connect({ ...trust, socket: tap, maxVersion: 'TLSv1.2' }));
  await accepted;
  return {
    client,
    closed: once(socket, 'close'),
    types: () => recordTypes(Buffer.concat(received)),
    failure: () => failure,
  };
}

function recordTypes(bytes) {
  const types = [];
  for (let at = 0; at < bytes.length; at += 5 + bytes.readUInt16BE(at + 3)) types.push(bytes[at]);
  return types;
}

describe('below TLS', () => {
  for (const [what, use] of [
    ['that is idle', (client) => client.write(requestText()).then(() => client.until(/answer to/))],
    ['that was never used', async () => {}],
    ['whose answer had begun', (client) => client.write(requestText('/slow')).then(() => client.until(/begun/))],
  ]) {
    it(`a connection ${what} ends with close_notify and FIN, and is not reset`, async (test) => {
      const go = gate();
      const { server, terminator } = await serve(test, https, async ({ url }, response) => {
        if (url === '/slow') {
          response.write('begun');
          await go.passed;
        }
        response.end(`answer to ${url}`);
      });
      const { client, closed, types, failure } = await tappedClient(server);
      await use(client);
      assert.notEqual(types().at(-1), ALERT);
      const terminated = terminator.terminate();
      go.open();
      assert.equal(await client.ended, 'FIN');
      await closed;
      assert.equal(types().at(-1), ALERT, 'close_notify is the last record');
      assert.equal(failure(), null);
      assert.equal((await terminated).graceful, true);
    });
  }

  it('a peer that never answers close_notify does not hold up a termination', async (test) => {
    const { server, terminator } = await serve(test, https, gatedHandler().handler);
    const accepted = once(server, 'secureConnection');
    const socket = tls.connect({ ...trust, ...addressOf(server), allowHalfOpen: true });
    // No end of its own: the answering close_notify is withheld.
    await accepted;
    const report = await terminator.terminate();
    assert.deepEqual(report.connections, { idle: 1, drained: 0, forced: 0 });
    assert.equal(report.graceful, true);
    socket.destroy();
  });

  it('a handshake that has begun is waited for, and its request is served', async (test) => {
    const { server, terminator } = await serve(test, https, gatedHandler().handler);
    const { client, goOn } = await halfwayThroughItsHandshake(server);
    const terminated = terminator.terminate();
    await goOn();
    await client.write(requestText());
    assert.equal(await client.ended, 'FIN');
    assert.equal(client.answers[0].body, 'answer to /');
    assert.equal(client.answers[0].headers.connection, 'close');
    assert.deepEqual((await terminated).requests, { completed: 0, late: 1, cut: 0 });
  });

  it('a connection on which nothing follows the handshake is idle', async (test) => {
    const { server, terminator } = await serve(test, https, gatedHandler().handler);
    const { client, goOn } = await halfwayThroughItsHandshake(server);
    const terminated = terminator.terminate();
    await goOn();
    assert.equal(await client.ended, 'FIN');
    assert.deepEqual((await terminated).connections, { idle: 1, drained: 0, forced: 0 });
  });
});

describe('half a record that has come below TLS before a termination', () => {
  for (const [what, clientOf, before] of [
    ['was used', idleClient, 1],
    ['was never used', unusedClient, 0],
  ]) {
    for (const length of [5, 40, 200]) {
      it(`is waited for on a connection that ${what}, ${length} bytes of it, and its request is served`, async (test) => {
        const { server, terminator } = await serve(test, https, gatedHandler().handler);
        const accepted = once(server, 'connection');
        const [{ client, split }, other] = [await clientOf(server), await idleClient(server)];
        const [serverSocket] = await accepted;
        const { bytesRead } = serverSocket;
        const rest = split(length);
        client.write(requestText('/', { headers: { Long: 'x'.repeat(500) } }));
        while (serverSocket.bytesRead < bytesRead + length) await turn();
        const terminated = terminator.terminate();
        // The other one shows that its time is over.
        assert.equal(await other.client.ended, 'FIN');
        rest();
        assert.equal(await client.ended, 'FIN');
        assert.equal(client.answers[before].headers.connection, 'close');
        assert.deepEqual((await terminated).requests, { completed: 0, late: 1, cut: 0 });
      });
    }
  }
});

describe('half a record that comes below TLS during a termination', () => {
  for (const keepAliveDrainTimeout of [0, 100]) {
    for (const length of [5, 40, 200]) {
      const kept = keepAliveDrainTimeout > 0 ? 'kept' : 'idle';
      it(`is waited for on a connection that is ${kept}, ${length} bytes of it, and its request is served`, async (test) => {
        const { server, terminator } = await serve(test, https, gatedHandler().handler, { keepAliveDrainTimeout });
        const [{ client, split }, other] = [await idleClient(server), await idleClient(server)];
        const terminated = terminator.terminate();
        const rest = split(length);
        client.write(requestText('/', { headers: { Long: 'x'.repeat(500) } }));
        // The other one shows that its time is over.
        assert.equal(await other.client.ended, 'FIN');
        rest();
        assert.equal(await client.ended, 'FIN');
        assert.equal(client.answers[1].headers.connection, 'close');
        assert.deepEqual((await terminated).requests, { completed: 0, late: 1, cut: 0 });
      });
    }
  }
});

/** A client that has been answered once. The next record can be split: its rest leaves when that is called. */
async function idleClient(server) {
  const idle = await unusedClient(server);
  await idle.client.write(requestText());
  await idle.client.until(/answer to/);
  // TLS tells a turn later that the answer has been written.
  await turn();
  return idle;
}

/** The same, but it has sent nothing, and the server knows that the handshake has ended. */
async function unusedClient(server) {
  const secured = once(server, 'secureConnection');
  const socket = net.connect(addressOf(server));
  let length = Number.POSITIVE_INFINITY;
  let rest = null;
  const tap = new Duplex({
    read() {},
    write(chunk, _encoding, done) {
      rest = () => socket.write(chunk.subarray(length), done);
      socket.write(chunk.subarray(0, length), length < chunk.length ? undefined : done);
    },
    final: (done) => void socket.end(done),
  });
  socket.on('data', (data) => tap.push(data)).on('end', () => tap.push(null));
  const client = new Client(tls.connect({ ...trust, socket: tap }));
  await secured;
  return {
    client,
    split(at) {
      length = at;
      return () => rest();
    },
  };
}

/** A client of which the server has the ClientHello alone, until it goes on. */
async function halfwayThroughItsHandshake(server) {
  const [accepted, secured] = [once(server, 'connection'), once(server, 'secureConnection')];
  const socket = net.connect(addressOf(server));
  const [serverSocket] = await accepted;
  const held = [];
  let hold = false;
  const tap = new Duplex({
    read() {},
    write(chunk, _encoding, done) {
      if (!hold) {
        hold = true;
        socket.write(chunk, done);
      } else held.push([chunk, done]);
    },
    final: (done) => void socket.end(done),
  });
  socket.on('data', (data) => tap.push(data)).on('end', () => tap.push(null));
  const client = new Client(tls.connect({ ...trust, socket: tap, maxVersion: 'TLSv1.2' }));
  while (serverSocket.bytesRead === 0) await new Promise(setImmediate);
  return {
    client,
    async goOn() {
      while (held.length === 0) await new Promise(setImmediate);
      tap._write = (chunk, _encoding, done) => void socket.write(chunk, done);
      for (const [chunk, done] of held) socket.write(chunk, done);
      await secured;
    },
  };
}
