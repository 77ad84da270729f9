// Clients and servers of this process, a round trip away from each other: see ../far-away.test.js.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const http2 = require('node:http2');
const { describe, it } = require('node:test');
const { setTimeout: delay } = require('node:timers/promises');
const tls = require('node:tls');
const { Client, requestText } = require('../support/client');
const { gate, gatedHandler, serve } = require('../support/server');
const { http2Transports, transports, trust } = require('../support/transports');

/** What comes from there was sent to there, and has been reflected: see ../mirror. */
const FAR_AWAY = '10.9.0.2';
const EVERYWHERE = { port: 0, host: '0.0.0.0' };

const CLIENTS = 8;
/** Of each, before the server ends. */
const REQUESTS_BEFORE = 4;
/** Between an answer and the next request: part of the rhythm. */
const THINKS_FOR = 30;
/** Timeouts: the PING is acknowledged meanwhile if the way is not long, and in any case. */
const SHORT = 100;
const LONG = 1000;
/** What Node's own default is, and one that has Node write more than its kernel takes. */
const USUAL_WINDOW = 65535;
const WIDE_WINDOW = 1 << 20;
/** More than is on its way at once, and than comes in the longer time. */
const LARGE = Buffer.alloc(256 << 20);

const withTls12 = {
  ...transports.find(({ name }) => name === 'https'),
  name: 'https with TLS 1.2',
  connect: (address) => tls.connect({ allowHalfOpen: true, maxVersion: 'TLSv1.2', ...trust, ...address }),
};

describe('a round trip away', { concurrency: true }, () => {
  for (const transport of [...transports, withTls12]) {
    describe(`a termination over ${transport.name}`, { concurrency: true }, () => {
      const serveFarAway = (test, handler, options) =>
        serve(test, transport, handler, { listen: EVERYWHERE, ...options });

      for (const count of [1, CLIENTS]) {
        it(`loses no request of those in rhythm, ${count} of them`, async (test) => {
          const { server, terminator } = await serveFarAway(test, gatedHandler().handler);
          const clients = Array.from({ length: count }, () => new Regular(transport, server));
          await Promise.all(clients.map((client) => client.inRhythm));
          const report = await terminator.terminate();
          for (const client of clients) assert.equal(await client.stopped, 'told to');
          assert.deepEqual([report.graceful, report.requests.cut], [true, 0]);
        });
      }

      it('loses no request that has a connection of its own', async (test) => {
        const { server, terminator } = await serveFarAway(test, gatedHandler().handler);
        const address = farAddressOf(server);
        let [answered, lost] = [0, 0];
        const enough = gate();
        const askOnce = async () => {
          const socket = transport.connect(address);
          const client = new Client(socket);
          // TLS may be turned away before its handshake has ended, and has sent no request then.
          const connected = once(socket, transport.connected).then(
            () => true,
            () => false,
          );
          if (!(await connected)) return false;
          await client.write(requestText('/', { headers: { Connection: 'close' } }));
          await client.ended;
          if (client.answers.some(({ whole }) => whole)) answered += 1;
          else lost += 1;
          if (answered === CLIENTS * REQUESTS_BEFORE) enough.open();
          return true;
        };
        const asking = Array.from({ length: CLIENTS }, async () => {
          while (await askOnce());
        });
        await enough.passed;
        await terminator.terminate();
        await Promise.all(asking);
        assert.equal(lost, 0);
      });

      it('waits for the next request of one that has had a single answer', async (test) => {
        const answered = gate();
        const { server, terminator } = await serveFarAway(test, (_request, response) => {
          response.once('finish', answered.open).end('answer to it');
        });
        const client = await connect(transport, server);
        await client.write(requestText());
        await answered.passed;
        const terminated = terminator.terminate();
        await client.until(/answer to/);
        await client.write(requestText());
        await client.ended;
        assert.deepEqual(connectionHeaders(client), ['keep-alive', 'close']);
        assert.equal((await terminated).requests.late, 1);
      });

      it('waits for the next request of one whose answer had begun', async (test) => {
        const begun = gate();
        const { server, terminator } = await serveFarAway(test, (_request, response) => {
          response.writeHead(200, { 'Content-Length': 10 });
          response.write('first');
          begun.open(response);
        });
        const client = await connect(transport, server);
        await client.write(requestText());
        const response = await begun.passed;
        const terminated = terminator.terminate();
        response.end('later');
        await client.until(/later/);
        server.removeAllListeners('request').on('request', gatedHandler().handler);
        await client.write(requestText());
        await client.ended;
        assert.deepEqual(connectionHeaders(client), ['keep-alive', 'close']);
        assert.equal((await terminated).graceful, true);
      });

      // Without TLS nobody has to wait for a round trip.
      if (!transport.secure) return;
      it('waits for the first request behind a handshake', async (test) => {
        const { server, terminator } = await serveFarAway(test, gatedHandler().handler);
        const accepted = once(server, 'secureConnection');
        const connecting = connect(transport, server);
        await accepted;
        const terminated = terminator.terminate();
        const client = await connecting;
        await client.write(requestText());
        await client.ended;
        assert.deepEqual(connectionHeaders(client), ['close']);
        assert.equal((await terminated).requests.late, 1);
      });
    });
  }

  for (const transport of http2Transports) {
    describe(`a termination over ${transport.name}`, { concurrency: true }, () => {
      const serveFarAway = (test, handler, options) =>
        serve(test, transport, handler, { listen: EVERYWHERE, ...options });

      const openSession = async (test, server, initialWindowSize = USUAL_WINDOW) => {
        const options = { ...trust, settings: { initialWindowSize } };
        const session = http2.connect(`${transport.scheme}://${FAR_AWAY}:${server.address().port}`, options);
        session.on('error', () => {});
        test.after(() => session.destroy());
        await once(session, 'remoteSettings');
        session.setLocalWindowSize(initialWindowSize);
        return session;
      };

      it('loses no request: each is answered, or refused before anything was done', async (test) => {
        const { server, terminator } = await serveFarAway(test, gatedHandler().handler);
        const sessions = await Promise.all(Array.from({ length: CLIENTS }, () => openSession(test, server)));
        const enough = gate();
        let answered = 0;
        const outcomes = sessions.map(async (session) => {
          for (;;) {
            const outcome = await ask(session);
            if (outcome !== 'answered') return outcome;
            answered += 1;
            if (answered === CLIENTS * REQUESTS_BEFORE) enough.open();
            await delay(THINKS_FOR);
          }
        });
        await enough.passed;
        const report = await terminator.terminate();
        for (const outcome of await Promise.all(outcomes)) assert.equal(outcome, 'refused');
        assert.deepEqual([report.graceful, report.requests.cut], [true, 0]);
      });

      // With the wide one nothing can leave so soon, and Node 20 does not always notice the reset that follows.
      for (const [httpResponseTimeout, window] of [
        [SHORT, USUAL_WINDOW],
        [LONG, WIDE_WINDOW],
      ]) {
        it(`tells the client of an answer that is cut after ${httpResponseTimeout} ms that it is not whole`, async (test) => {
          const options = { httpResponseTimeout };
          const { server, terminator } = await serveFarAway(test, (_request, response) => response.end(LARGE), options);
          const session = await openSession(test, server, window);
          const stream = session.request({ ':path': '/' });
          await once(stream, 'data');
          const errors = [];
          stream.on('error', ({ code }) => errors.push(code)).resume();
          const closed = new Promise((resolve) => stream.once('close', resolve));
          const report = await terminator.terminate();
          await closed;
          assert.equal(errors.length, 1, 'the part does not pass for the whole');
          assert.equal(report.requests.cut, 1);
        });
      }
    });
  }
});

/** A client that asks, waits for the answer, thinks, and asks again, until it is told to go. */
class Regular {
  #inRhythm = gate();

  constructor(transport, server) {
    this.inRhythm = this.#inRhythm.passed;
    this.stopped = this.#ask(transport, server);
  }

  async #ask(transport, server) {
    const client = await connect(transport, server);
    for (let asked = 1; ; asked += 1) {
      await client.write(requestText());
      try {
        await client.until(new RegExp(`(?:answer to /[^]*){${asked}}`));
      } catch {
        return `lost by ${await client.ended}`;
      }
      if (connectionHeaders(client).at(-1) === 'close') return 'told to';
      if (asked === REQUESTS_BEFORE) this.#inRhythm.open();
      await delay(THINKS_FOR);
    }
  }
}

async function connect(transport, server) {
  const socket = transport.connect(farAddressOf(server));
  await once(socket, transport.connected);
  return new Client(socket);
}

/** @param {import('node:http2').ClientHttp2Session} session */
async function ask(session) {
  let stream;
  try {
    stream = session.request({ ':path': '/' });
    await once(stream, 'response');
    stream.resume();
    await once(stream, 'end');
    return 'answered';
  } catch (error) {
    const isRefused = stream?.rstCode === http2.constants.NGHTTP2_REFUSED_STREAM;
    const isGone = ['ERR_HTTP2_GOAWAY_SESSION', 'ERR_HTTP2_INVALID_SESSION'].includes(error.code);
    return isRefused || isGone ? 'refused' : `lost by ${error.code}`;
  }
}

function farAddressOf(server) {
  return { port: server.address().port, host: FAR_AWAY };
}

function connectionHeaders({ answers }) {
  return answers.map(({ headers }) => headers.connection);
}
