// What terminate() does to HTTP/1.1 connections, seen from the wire, with and without TLS.

const assert = require('node:assert/strict');
const dns = require('node:dns/promises');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { describe, it } = require('node:test');
const { createHttpTerminator } = require('..');
const { remoteClient } = require('./support/blocker');
const { addressOf, Client, connect, requestText } = require('./support/client');
const { gate, gatedHandler, serve, turn } = require('./support/server');
const { closeEverything, transports } = require('./support/transports');

const MEBIBYTE = 2 ** 20;

for (const transport of transports) {
  describe(`terminate() over ${transport.name}`, () => {
    describe('the listener', () => {
      it('ends a server without connections', async (test) => {
        const { server, terminator } = await serve(test, transport, () => {});
        const report = await terminator.terminate();
        assert.equal(server.listening, false);
        assert.equal(report.graceful, true);
        assert.deepEqual(report.connections, { idle: 0, drained: 0, forced: 0 });
      });

      it('ends a server that never listened', async () => {
        const server = transport.createServer({}, () => {});
        const report = await createHttpTerminator({ server }).terminate();
        assert.equal(report.graceful, true);
      });

      it('ends a server that is about to listen, which it does not then', async (test) => {
        const { handler } = gatedHandler();
        const server = transport.createServer({}, handler);
        test.after(() => closeEverything(server));
        const terminator = createHttpTerminator({ server });
        // A name is looked up first.
        server.listen(0, 'localhost');
        assert.equal(server.listening, false);
        const closed = once(server, 'close');
        assert.equal((await terminator.terminate()).graceful, true);
        await closed;
        // Whatever was looked up by then has been looked up.
        await dns.lookup('localhost');
        await turn();
        assert.equal(server.listening, false);
        await once(server.listen(0, '127.0.0.1'), 'listening');
        assert.equal(terminator.state, 'serving');
        await terminator.terminate();
        assert.equal(server.listening, false);
      });

      it('ends a server on a Unix domain socket', { skip: process.platform === 'win32' }, async (test) => {
        const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'terminator-'));
        test.after(() => fs.rmSync(directory, { recursive: true }));
        const { handler, arrived, open } = gatedHandler();
        const listen = { path: path.join(directory, 'socket'), host: undefined };
        const { server, terminator } = await serve(test, transport, handler, { listen });
        const [idle, active] = [await connect(transport, server), await connect(transport, server)];
        await idle.write(requestText('/'));
        await idle.until(/answer to/);
        await active.write(requestText('/slow'));
        await arrived('/slow');
        const terminated = terminator.terminate();
        assert.equal(await idle.ended, 'FIN');
        open('/slow');
        assert.equal(await active.ended, 'FIN');
        assert.equal(active.answers[0].body, 'answer to /slow');
        assert.deepEqual((await terminated).connections, { idle: 1, drained: 1, forced: 0 });
        assert.equal(fs.existsSync(listen.path), false);
      });

      it('refuses new connections from the first moment, while requests in flight go on', async (test) => {
        const { handler, arrived, open } = gatedHandler();
        const { server, terminator } = await serve(test, transport, handler);
        const address = addressOf(server);
        const client = await connect(transport, server);
        await client.write(requestText('/slow'));
        await arrived('/slow');
        const terminated = terminator.terminate();
        const [refused] = await once(net.connect(address), 'error');
        assert.equal(refused.code, 'ECONNREFUSED');
        open('/slow');
        assert.equal(await client.ended, 'FIN');
        assert.equal(client.answers[0].body, 'answer to /slow');
        await terminated;
      });
    });

    describe('idle connections', () => {
      it('closes them with FIN, used or not', async (test) => {
        const { server, terminator } = await serve(test, transport, gatedHandler().handler);
        const [used, unused] = [await connect(transport, server), await connect(transport, server)];
        await used.write(requestText());
        await used.until(/answer to/);
        const report = await terminator.terminate();
        assert.equal(await used.ended, 'FIN');
        assert.equal(await unused.ended, 'FIN');
        assert.deepEqual(report.connections, { idle: 2, drained: 0, forced: 0 });
      });

      it('closes a connection on which not even a handshake has begun', async (test) => {
        const { server, terminator } = await serve(test, transport, () => {});
        const accepted = once(server, 'connection');
        const client = new Client(net.connect({ ...addressOf(server), allowHalfOpen: true }));
        await accepted;
        const { connections, graceful } = await terminator.terminate();
        assert.equal(await client.ended, 'FIN');
        assert.deepEqual([connections, graceful], [{ idle: 1, drained: 0, forced: 0 }, true]);
      });

      it('serves a request that is already in the kernel', async (test) => {
        const { client, terminator } = await connectAndAsk(test, transport, gatedHandler().handler);
        // The bytes leave at once; the server reads them only when its event loop next turns.
        const written = client.write(requestText());
        const report = await terminator.terminate();
        await written;
        assert.equal(await client.ended, 'FIN');
        const [, late] = client.answers;
        assert.equal(late.body, 'answer to /');
        assert.equal(late.headers.connection, 'close');
        assert.deepEqual(report.requests, { completed: 0, late: 1, cut: 0 });
      });
    });

    describe('a request in flight', () => {
      it('is answered whole, says close, and is the last thing waited for', async (test) => {
        const { handler, arrived, open } = gatedHandler();
        const { server, terminator } = await serve(test, transport, handler);
        const client = await connect(transport, server);
        await client.write(requestText('/slow'));
        await arrived('/slow');
        let resolved = false;
        const terminated = terminator.terminate().then((report) => {
          resolved = true;
          return report;
        });
        await turn();
        assert.equal(resolved, false);
        open('/slow');
        await once(client.serverSocket, 'close');
        await turn();
        assert.equal(terminator.state, 'terminated', 'ends in the turn in which the last connection closes');
        await turn();
        assert.equal(resolved, true, 'resolves as soon as Node has let go of what it took');
        assert.equal(await client.ended, 'FIN');
        assert.equal(client.answers[0].headers.connection, 'close');
        assert.equal(client.answers[0].body, 'answer to /slow');
        assert.deepEqual((await terminated).requests, { completed: 1, late: 0, cut: 0 });
      });

      for (const [how, head, chunks, end] of [
        ['a content-length', { 'Content-Length': 9 }, ['one', 'two', 'six'], 'onetwosix'],
        ['chunks', {}, ['one', 'two', 'six'], 'onetwosix'],
        [
          'a content-length, and says keep-alive itself',
          { 'Content-Length': 9, Connection: 'keep-alive' },
          ['one', 'two', 'six'],
          'onetwosix',
        ],
        ['chunks, and says keep-alive itself', { Connection: 'keep-alive' }, ['one', 'two', 'six'], 'onetwosix'],
      ]) {
        it(`ends whole when its answer has begun, by ${how}, and its connection closes after it`, async (test) => {
          const [begun, go] = [gate(), gate()];
          const { server, terminator } = await serve(test, transport, async (_request, response) => {
            response.writeHead(200, head);
            response.write(chunks[0]);
            begun.open();
            await go.passed;
            response.write(chunks[1]);
            response.end(chunks[2]);
          });
          const client = await connect(transport, server);
          await client.write(requestText());
          await begun.passed;
          await client.until(/one/);
          const terminated = terminator.terminate();
          go.open();
          assert.equal(await client.ended, 'FIN');
          assert.equal(client.answers[0].headers.connection, 'keep-alive', 'its head had left');
          assert.equal(client.answers[0].body, end);
          assert.equal((await terminated).graceful, true);
        });
      }

      it('ends whole when a slow reader has twelve megabytes to go', async (test) => {
        const body = 'x'.repeat(12 * MEBIBYTE);
        const begun = gate();
        const { server, terminator } = await serve(test, transport, (_request, response) => {
          response.end(body);
          begun.open();
        });
        const client = await connect(transport, server, { reading: false });
        await client.write(requestText());
        await begun.passed;
        const terminated = terminator.terminate();
        await turn();
        client.readSlowly(body.length / 2);
        assert.equal(await client.ended, 'FIN');
        assert.equal(client.answers[0].body.length, body.length);
        assert.equal(client.answers[0].whole, true);
        assert.equal((await terminated).graceful, true);
      });

      // More than a client's kernel takes for it, and less than the server's does.
      const unreadBody = 'x'.repeat(600_000);

      /** A client that reads nothing, whose last answer ends before or during a termination. */
      async function answeredUnread(test, { begin = () => {}, before = false, httpResponseTimeout = 10_000 }) {
        const [first, begun, go, answered] = [gate(), gate(), gate(), gate()];
        const asked = [];
        const { server, terminator } = await serve(
          test,
          transport,
          async ({ url }, response) => {
            asked.push(url);
            if (url === '/first') {
              response.end(first.open);
              return;
            }
            begin(response);
            begun.open();
            await go.passed;
            response.on('finish', answered.open).end(unreadBody);
          },
          { httpResponseTimeout },
        );
        const client = await connect(transport, server, { reading: false });
        // Two make a rhythm: otherwise it is one of many, of which nobody looks whether they read if they are on this machine.
        await client.write(requestText('/first'));
        await first.passed;
        await client.write(requestText());
        await begun.passed;
        if (before) {
          go.open();
          await answered.passed;
        }
        const { serverSocket } = client;
        const ended = Promise.race([once(serverSocket, 'finish'), once(serverSocket, 'close')]);
        const terminated = terminator.terminate();
        go.open();
        await ended;
        // Until its descriptor is closed.
        await turn();
        return { asked, client, terminated, terminator };
      }

      for (const [what, course] of [
        ['was told that it closes', {}],
        ['was not', { begin: (response) => response.flushHeaders() }],
        ['was answered before', { before: true }],
      ]) {
        it(`is answered whole though its client reads late and pipelines another one, if it ${what}`, async (test) => {
          const { asked, client, terminated, terminator } = await answeredUnread(test, course);
          await client.write(requestText('/behind'));
          await turn();
          assert.equal(terminator.state, 'draining');
          client.read();
          assert.equal(await client.ended, 'FIN');
          const [, answer] = client.answers;
          assert.deepEqual([answer.whole, answer.body.length], [true, unreadBody.length]);
          assert.equal((await terminated).graceful, true);
          assert.deepEqual(asked, ['/first', '/'], 'no handler is called whose answer could not leave');
        });
      }

      it('is not waited for without end if its client reads nothing', async (test) => {
        const { client, terminated } = await answeredUnread(test, { httpResponseTimeout: Number.POSITIVE_INFINITY });
        assert.equal((await terminated).graceful, true);
        client.socket.destroy();
      });

      it('is answered whole though its client reads only after the deadline', async (test) => {
        const { client, terminated } = await answeredUnread(test, { httpResponseTimeout: 50 });
        const { graceful, requests } = await terminated;
        assert.deepEqual([graceful, requests.completed], [true, 1]);
        client.read();
        assert.equal(await client.ended, 'FIN', 'the kernel goes on');
        assert.equal(client.answers[1].whole, true);
      });

      /** A client whose first request comes before terminate(), further ones after it, and all answers then. */
      async function answeredDuring(test, answer, { urls: [first, ...further] = ['/'], prepare = () => {} } = {}) {
        const go = gate();
        const { server, terminator } = await serve(test, transport, async (request, response) => {
          prepare(response);
          await go.passed;
          answer(request, response);
        });
        const client = await connect(transport, server);
        const send = async (url) => {
          const came = once(server, 'request');
          await client.write(requestText(url));
          await came;
        };
        await send(first);
        const terminated = terminator.terminate();
        for (const url of further) await send(url);
        go.open();
        assert.equal(await client.ended, 'FIN');
        assert.equal((await terminated).graceful, true);
        return client;
      }

      for (const [how, sayKeepAlive] of [
        ['by setHeader()', (response) => response.setHeader('connection', 'Keep-Alive')],
        ['in an object', (response) => response.writeHead(200, { Connection: 'keep-alive', 'Set-Cookie': ['1', '2'] })],
        [
          'in a list',
          (response) =>
            response.writeHead(200, 'OK', ['Connection', 'keep-alive', 'Set-Cookie', '1', 'set-cookie', '2']),
        ],
        [
          'in a list of pairs',
          (response) => {
            const cookies = [1, 2].map((value) => ['Set-Cookie', String(value)]);
            response.writeHead(200, [['connection', 'keep-alive'], ...cookies]);
          },
        ],
      ]) {
        it(`says close even if its handler says keep-alive ${how}`, async (test) => {
          const client = await answeredDuring(test, (_request, response) => {
            sayKeepAlive(response);
            response.end('stubborn');
          });
          const [{ body, headers }] = client.answers;
          assert.deepEqual([body, headers.connection], ['stubborn', 'close']);
          const cookies = [...client.received.matchAll(/^set-cookie: (.*)$/gim)].map(([, value]) => value.trim());
          assert.deepEqual(cookies, how.startsWith('in') ? ['1', '2'] : []);
        });
      }

      it('sends no field twice that Node would not: of two of one name, the last, if another field was set before', async (test) => {
        const lengths = { 'Content-Length': 3, 'content-length': '3' };
        const client = await answeredDuring(test, (_request, response) => response.writeHead(200, lengths).end('one'), {
          prepare: (response) => response.setHeader('X-Powered-By', 'a framework'),
        });
        assert.equal(client.received.match(/^content-length: /gim).length, 1);
        const [{ body, headers }] = client.answers;
        assert.deepEqual([body, headers.connection], ['one', 'close']);
      });

      it('takes lists of pairs also when another request turns out to follow', async (test) => {
        const client = await answeredDuring(
          test,
          ({ url }, response) => response.writeHead(200, [['Content-Length', String(url.length)]]).end(url),
          { urls: ['/first', '/second'] },
        );
        assert.deepEqual(
          client.answers.map(({ body, headers }) => [body, headers.connection]),
          [
            ['/first', 'keep-alive'],
            ['/second', 'close'],
          ],
        );
      });

      it('says again what its handler has it say before terminate(), when another request turns out to follow', async (test) => {
        const client = await answeredDuring(test, ({ url }, response) => response.end(url), {
          urls: ['/first', '/second'],
          prepare: (response) => response.setHeader('Connection', 'keep-alive, other'),
        });
        assert.deepEqual(
          client.answers.map(({ body, headers }) => [body, headers.connection]),
          [
            ['/first', 'keep-alive, other'],
            ['/second', 'other, close'],
          ],
        );
      });

      for (const [how, addOption] of [
        ['by appendHeader()', (response) => response.appendHeader('Connection', 'other')],
        [
          'to what it finds there',
          (response) => response.setHeader('Connection', `${response.getHeader('Connection')}, other`),
        ],
      ]) {
        it(`does not say close before another request either if its handler adds a word ${how}`, async (test) => {
          const [began, added] = [gate(), gate()];
          const { server, terminator } = await serve(test, transport, async (request, response) => {
            if (request.url === '/second') return void response.end('/second');
            await began.passed;
            addOption(response);
            added.open();
            await once(server, 'request');
            response.end('/first');
          });
          const client = await connect(transport, server);
          const came = once(server, 'request');
          await client.write(requestText('/first'));
          await came;
          const terminated = terminator.terminate();
          began.open();
          await added.passed;
          await client.write(requestText('/second'));
          assert.equal(await client.ended, 'FIN');
          assert.equal((await terminated).graceful, true);
          assert.deepEqual(
            client.answers.map(({ body, headers }) => [body, headers.connection]),
            [
              ['/first', 'other'],
              ['/second', 'close'],
            ],
          );
        });
      }

      it('says close if Node has refused to send that there is to be another protocol', async (test) => {
        const client = await answeredDuring(test, (_request, response) => {
          assert.throws(() => response.writeHead(101, { Connection: undefined }), TypeError);
          response.writeHead(500).end();
        });
        assert.equal(client.answers[0].headers.connection, 'close');
      });

      for (const [how, answer, expected] of [
        ['has another word for it', { Connection: 'upgrade', Upgrade: 'example' }, 'upgrade, close'],
        ['has more words for it', { Connection: ['Keep-Alive, other', 'upgrade'] }, 'other, upgrade, close'],
        ['says close as well', ['Connection', 'Upgrade, Close'], 'Upgrade, close'],
      ]) {
        it(`says close also if its handler ${how}`, async (test) => {
          const client = await answeredDuring(test, (_request, response) => response.writeHead(426, answer).end());
          assert.equal(client.answers[0].headers.connection, expected);
        });
      }

      it('says close also if its handler has another word for it before terminate()', async (test) => {
        const client = await answeredDuring(test, (_request, response) => response.writeHead(426).end(), {
          prepare: (response) => response.setHeader('Connection', 'upgrade'),
        });
        assert.equal(client.answers[0].headers.connection, 'upgrade, close');
      });

      it('says close if its handler has it say nothing', async (test) => {
        const client = await answeredDuring(test, (_request, response) => {
          response.removeHeader('Connection');
          response.end();
        });
        assert.equal(client.answers[0].headers.connection, 'close');
      });

      for (const [when, prepare, fields] of [
        ['before terminate()', (response) => response.setHeader('Connection', 'upgrade'), {}],
        ['in its head', () => {}, { Connection: 'upgrade' }],
      ]) {
        it(`says what its handler says of the connection ${when}, if that is to be another protocol`, async (test) => {
          const answer = (_request, response) => {
            response.writeHead(101, { Upgrade: 'example', ...fields });
            response.end();
            response.socket.end('its first words');
          };
          const client = await answeredDuring(test, answer, { prepare });
          assert.match(client.received, /^HTTP\/1\.1 101 .*^connection: upgrade\r$.*its first words$/ims);
        });
      }

      for (const [how, fields] of [
        [
          'by name',
          { 'Content-Length': 5000, 'Content-Encoding': 'gzip', Connection: 'upgrade', 'X-Broken': undefined },
        ],
        ['in a list', ['Content-Length', 5000, 'Content-Encoding', 'gzip', 'X-Broken', 'two\nlines']],
      ]) {
        it(`has nothing of a head that Node has refused before, with fields ${how}`, async (test) => {
          let status;
          const client = await answeredDuring(test, (_request, response) => {
            assert.throws(() => response.writeHead(502, fields), {
              code: /ERR_(HTTP_INVALID_HEADER_VALUE|INVALID_CHAR)/,
            });
            status = response.statusCode;
            response.end('an error');
          });
          const [{ headers, body }] = client.answers;
          assert.deepEqual([status, body, headers['content-length']], [502, 'an error', '8']);
          assert.deepEqual([headers.connection, headers['content-encoding']], ['close', undefined]);
        });
      }

      it('has the errors that Node has for heads', async (test) => {
        const errorsOf = (response) =>
          [{ Connection: undefined }, { Connection: 'close' }, { Connection: 'close' }].flatMap((fields) => {
            try {
              response.writeHead(200, fields);
              return [];
            } catch ({ code, message }) {
              return [{ code, message }];
            }
          });
        let errors, expected;
        await answeredDuring(test, (request, response) => {
          errors = errorsOf(response);
          expected = errorsOf(new http.ServerResponse(request));
          response.end();
        });
        assert.deepEqual(errors, expected);
        assert.deepEqual(
          errors.map(({ code }) => code),
          ['ERR_HTTP_INVALID_HEADER_VALUE', 'ERR_HTTP_HEADERS_SENT'],
        );
      });

      it('says close when its handler answers in the tick in which the request comes', async (test) => {
        const { handler, arrived, open } = gatedHandler();
        const { server, terminator } = await serve(test, transport, (request, response) =>
          request.url === '/slow' ? handler(request, response) : response.end('at once'),
        );
        const [slow, quick] = [await connect(transport, server), await connect(transport, server)];
        await slow.write(requestText('/slow'));
        await arrived('/slow');
        const text = requestText('/quick');
        await quick.write(text.slice(0, 10));
        await bytesRead(quick.serverSocket, 10);
        const terminated = terminator.terminate();
        await turn();
        await quick.write(text.slice(10));
        assert.equal(await quick.ended, 'FIN');
        assert.equal(quick.answers[0].headers.connection, 'close');
        open('/slow');
        assert.deepEqual((await terminated).requests, { completed: 1, late: 1, cut: 0 });
      });

      it('says close when its own handler calls terminate()', async (test) => {
        let terminated;
        const { server, terminator } = await serve(test, transport, (_request, response) => {
          terminated = terminator.terminate();
          response.end('goodbye');
        });
        const client = await connect(transport, server);
        await client.write(requestText());
        assert.equal(await client.ended, 'FIN');
        assert.equal(client.answers[0].headers.connection, 'close');
        assert.equal(client.answers[0].body, 'goodbye');
        assert.deepEqual((await terminated).requests, { completed: 1, late: 0, cut: 0 });
      });

      for (const terminates of ['/first', '/second', '/last']) {
        it(`is answered, and so is what came with it, when the handler of ${terminates} calls terminate()`, async (test) => {
          let terminated;
          const { server, terminator } = await serve(test, transport, ({ url }, response) => {
            if (url === terminates) terminated = terminator.terminate();
            response.end(url);
          });
          const client = await connect(transport, server);
          const urls = ['/first', '/second', '/last'];
          await client.write(urls.map((url) => requestText(url)).join(''));
          assert.equal(await client.ended, 'FIN');
          assert.deepEqual(
            client.answers.map(({ body }) => body),
            urls,
          );
          assert.deepEqual(
            client.answers.map(({ headers }) => headers.connection),
            ['keep-alive', 'keep-alive', 'close'],
          );
          const report = await terminated;
          assert.deepEqual([report.graceful, report.requests.cut], [true, 0]);
        });
      }

      it('ends with the termination if its response lets nobody set a field, and that is heard of', async (test) => {
        const begun = gate();
        const { server, terminator } = await serve(test, transport, (_request, response) => {
          response.setHeader = () => {
            throw new Error('locked');
          };
          begun.open(response);
        });
        const client = await connect(transport, server);
        await client.write(requestText());
        const response = await begun.passed;
        const terminated = assert.rejects(terminator.terminate(), { message: 'locked' });
        response.end('answer');
        assert.equal(await client.ended, 'FIN');
        assert.equal(client.answers[0].body, 'answer');
        await terminated;
        assert.equal(terminator.state, 'terminated');
      });

      it('is forgotten when its client has gone away before', async (test) => {
        const { handler, arrived } = gatedHandler();
        const { server, terminator } = await serve(test, transport, handler);
        const client = await connect(transport, server);
        await client.write(requestText('/slow'));
        const { response } = await arrived('/slow');
        // Under TLS the server sees a reset first.
        const closed = [response, client.serverSocket].map(
          (each) => new Promise((resolve) => each.once('close', resolve)),
        );
        client.socket.destroy();
        await Promise.all(closed);
        assert.equal(terminator.stats().requests, 0);
        const report = await terminator.terminate();
        assert.deepEqual(report.connections, { idle: 0, drained: 0, forced: 0 });
      });

      it('is not waited for when its client goes away', async (test) => {
        const { handler, arrived } = gatedHandler();
        const { server, terminator } = await serve(test, transport, handler);
        const client = await connect(transport, server);
        await client.write(requestText('/never'));
        await arrived('/never');
        const terminated = terminator.terminate();
        await turn();
        client.socket.destroy();
        const report = await terminated;
        assert.equal(report.graceful, true);
        assert.deepEqual(report.requests, { completed: 0, late: 0, cut: 0 });
      });
    });

    describe('half a request', () => {
      for (const used of [false, true]) {
        it(`is served when the rest of its head comes, on a ${used ? 'reused' : 'new'} connection`, async (test) => {
          const { server, terminator } = await serve(test, transport, gatedHandler().handler);
          const client = await connect(transport, server);
          const text = requestText();
          if (used) {
            await client.write(text);
            await client.until(/answer to/);
          }
          await client.write(text.slice(0, 12));
          await bytesRead(client.serverSocket, used ? text.length + 12 : 12);
          const terminated = terminator.terminate();
          await turn();
          await turn();
          await client.write(text.slice(12));
          assert.equal(await client.ended, 'FIN');
          const answer = client.answers.at(-1);
          assert.equal(answer.headers.connection, 'close');
          assert.equal(answer.body, 'answer to /');
          assert.deepEqual((await terminated).requests, { completed: 0, late: 1, cut: 0 });
        });
      }

      for (const [how, headers, parts] of [
        ['a content-length', { 'Content-Length': 8 }, ['half', 'half']],
        ['chunks', { 'Transfer-Encoding': 'chunked' }, ['4\r\nhalf\r\n', '4\r\nhalf\r\n0\r\n\r\n']],
      ]) {
        it(`is served when the rest of its body comes, by ${how}`, async (test) => {
          const begun = gate();
          const { server, terminator } = await serve(test, transport, async (request, response) => {
            begun.open();
            let body = '';
            for await (const chunk of request) body += chunk;
            response.end(`received ${body}`);
          });
          const client = await connect(transport, server);
          await client.write(requestText('/', { method: 'POST', headers }) + parts[0]);
          await begun.passed;
          const terminated = terminator.terminate();
          await turn();
          await turn();
          await client.write(parts[1]);
          assert.equal(await client.ended, 'FIN');
          assert.equal(client.answers[0].headers.connection, 'close');
          assert.equal(client.answers[0].body, 'received halfhalf');
          assert.deepEqual((await terminated).requests, { completed: 1, late: 0, cut: 0 });
        });
      }

      for (const checked of [false, true]) {
        const whose = checked ? "the user's checkContinue listener" : "Node's default";
        const serveContinue = async (test) => {
          const served = await serve(test, transport, receiveBody);
          if (checked) {
            served.server.on('checkContinue', (request, response) => {
              response.writeContinue();
              receiveBody(request, response);
            });
          }
          return served;
        };

        it(`is served when its client waits to continue, through ${whose}`, async (test) => {
          const { server, terminator } = await serveContinue(test);
          const client = await connect(transport, server);
          const headers = { 'Content-Length': 4, Expect: '100-continue' };
          await client.write(requestText('/', { method: 'POST', headers }));
          await client.until(/100 Continue\r\n\r\n/);
          const terminated = terminator.terminate();
          await turn();
          await client.write('body');
          assert.equal(await client.ended, 'FIN');
          const [, answer] = client.answers;
          assert.equal(answer.headers.connection, 'close');
          assert.equal(answer.body, 'received body');
          assert.equal((await terminated).graceful, true);
        });

        it(`may ask to continue only after terminate(), through ${whose}`, async (test) => {
          const { server, terminator } = await serveContinue(test);
          const client = await connect(transport, server);
          const text = requestText('/', { method: 'POST', headers: { 'Content-Length': 4, Expect: '100-continue' } });
          await client.write(text.slice(0, 20));
          await bytesRead(client.serverSocket, 20);
          const terminated = terminator.terminate();
          await turn();
          await client.write(text.slice(20));
          await client.until(/100 Continue\r\n\r\n/);
          await client.write('body');
          assert.equal(await client.ended, 'FIN');
          assert.equal(client.answers[1].headers.connection, 'close');
          assert.equal(client.answers[1].body, 'received body');
          assert.deepEqual((await terminated).requests, { completed: 0, late: 1, cut: 0 });
        });
      }
    });

    describe('pipelined requests', () => {
      it('are answered in order, and only the last answer says close', async (test) => {
        const { handler, arrived, open } = gatedHandler();
        const { server, terminator } = await serve(test, transport, handler);
        const client = await connect(transport, server);
        const paths = ['/1', '/2', '/3'];
        await client.write(paths.map((each) => requestText(each)).join(''));
        await Promise.all(paths.map(arrived));
        const terminated = terminator.terminate();
        for (const each of ['/3', '/1', '/2']) open(each);
        assert.equal(await client.ended, 'FIN');
        assertPipelined(client.answers, paths);
        assert.deepEqual((await terminated).requests, { completed: 3, late: 0, cut: 0 });
      });

      it('may still come while the first is in flight', async (test) => {
        const { handler, arrived, open } = gatedHandler();
        const { server, terminator } = await serve(test, transport, handler);
        const client = await connect(transport, server);
        await client.write(requestText('/1'));
        await arrived('/1');
        const terminated = terminator.terminate();
        await turn();
        await client.write(requestText('/2'));
        await arrived('/2');
        open('/2');
        open('/1');
        assert.equal(await client.ended, 'FIN');
        assertPipelined(client.answers, ['/1', '/2']);
        assert.deepEqual((await terminated).requests, { completed: 1, late: 1, cut: 0 });
      });

      it('keep what the handler had said about the connection on all but the last', async (test) => {
        const { handler, arrived, open } = gatedHandler();
        const { server, terminator } = await serve(test, transport, handler);
        const client = await connect(transport, server);
        await client.write(requestText('/1'));
        const { response } = await arrived('/1');
        response.setHeader('Connection', 'Keep-Alive');
        const terminated = terminator.terminate();
        assert.equal(response.getHeader('Connection'), 'close');
        await client.write(requestText('/2'));
        await arrived('/2');
        assert.equal(response.getHeader('Connection'), 'Keep-Alive');
        open('/1');
        open('/2');
        assert.equal(await client.ended, 'FIN');
        assert.deepEqual(
          client.answers.map(({ headers }) => headers.connection),
          ['Keep-Alive', 'close'],
        );
        await terminated;
      });

      it('wait in the kernel when the one before is answered', async (test) => {
        const { handler, arrived, open } = gatedHandler();
        const { server, terminator } = await serve(test, transport, handler);
        const client = await remoteClient(test, transport, server);
        client.writeWhileBlocked([requestText('/1')]);
        await arrived('/1');
        client.writeWhileBlocked([requestText('/2')]);
        const terminated = terminator.terminate();
        open('/1');
        open('/2');
        const { how, answers } = await client.ended();
        assert.equal(how, 'FIN');
        assertPipelined(answers, ['/1', '/2']);
        assert.equal((await terminated).requests.cut, 0);
      });

      it('are answered by handlers that answer at once, when they wait in the kernel', async (test) => {
        const paths = ['/1', '/2', '/3'];
        const requests = paths.map((each) => requestText(each));
        await assertAnsweredFromKernel(test, transport, answerAtOnce, paths, requests);
      });

      const chunked = { method: 'POST', headers: { 'Transfer-Encoding': 'chunked' }, body: '1\r\nx\r\n0\r\n\r\n' };
      const sized = { method: 'POST', headers: { 'Content-Length': 1 }, body: 'x' };
      const emptyLineBehind = (request) => ({ ...request, body: `${request.body}\r\n` });

      it('are answered behind one in chunks, of which nobody tells how long it was', async (test) => {
        const go = gate();
        const handler = async (request, response) => {
          if (request.method === 'POST') await go.passed;
          answerAtOnce(request, response);
          if (request.url === '/3') go.open();
        };
        const paths = ['/1', '/2', '/3'];
        const requests = paths.map((each) => requestText(each, each === '/1' ? chunked : {}));
        await assertAnsweredFromKernel(test, transport, handler, paths, requests);
      });

      for (const [what, paths, first, rest] of [
        ['a chunked one', ['/1', '/2', '/3'], chunked, {}],
        ['one with a length', ['/1', '/2', '/3'], sized, {}],
        ['chunked ones that say the same', ['/1', '/1', '/1'], chunked, chunked],
        ['ones with a length that say the same', ['/1', '/1', '/1'], sized, sized],
        ['one with an empty line behind its length', ['/1', '/2', '/3'], sized, emptyLineBehind(sized)],
        ['one with an empty line behind its chunks', ['/1', '/2', '/3'], chunked, emptyLineBehind(chunked)],
      ]) {
        it(`are answered behind ${what}, although its body is not waited for`, async (test) => {
          const requests = paths.map((each, place) => requestText(each, place === 0 ? first : rest));
          await assertAnsweredFromKernel(test, transport, answerAtOnce, paths, requests);
        });
      }

      const headers = Object.fromEntries(Array.from({ length: 30 }, (_, place) => [`Field-${place}`, 'value']));
      for (const [what, rewrite] of [
        ['without spaces', (text) => text.replaceAll(': ', ':')],
        ['with more spaces than usual', (text) => text.replaceAll(': ', ':   ').replaceAll('value', 'value  ')],
        ['behind empty lines', (text) => `\r\n\r\n${text}`],
        ['before empty lines', (text) => `${text}\r\n\r\n`],
      ]) {
        it(`are answered by handlers that answer at once, when they wait in the kernel, written ${what}`, async (test) => {
          const paths = Array.from({ length: 30 }, (_, place) => `/${place}`);
          const requests = paths.map((each) => rewrite(requestText(each, { headers })));
          await assertAnsweredFromKernel(test, transport, answerAtOnce, paths, requests);
        });
      }

      const whole = (text) => [text];
      const headAndBody = (text) => text.split(/(?<=\r\n\r\n)/);
      const halfHeads = (text) => [text.slice(0, 20), text.slice(20)];
      for (const [how, handler] of [
        ['in the same tick', answerAtOnce],
        ['in the next tick', (request, response) => process.nextTick(answerAtOnce, request, response)],
        [
          'when nothing was waited for',
          async (request, response) => {
            await null;
            answerAtOnce(request, response);
          },
        ],
        [
          'at the end of their bodies',
          (request, response) => void request.resume().once('end', () => answerAtOnce(request, response)),
        ],
      ]) {
        for (const [what, options, partsOf] of [
          ['small ones', {}, whole],
          ['larger ones', { headers: { Field: 'x'.repeat(200) } }, whole],
          ['chunked ones', chunked, whole],
          ['ones with a length and their bodies', sized, headAndBody],
          ['halves of their heads', {}, halfHeads],
        ]) {
          // Over TLS each has a record of its own.
          it(`are answered by handlers that answer at once, when they wait in the kernel, ${what} one by one, ${how}`, async (test) => {
            const { server, terminator } = await serve(test, transport, handler);
            const client = await remoteClient(test, transport, server);
            const paths = ['/1', '/2', '/3', '/4', '/5'];
            client.writeWhileBlocked(paths.flatMap((each) => partsOf(requestText(each, options))));
            const report = await terminator.terminate();
            const { how: end, answers } = await client.ended();
            assert.equal(end, 'FIN');
            assertPipelined(answers, paths);
            assert.equal(report.requests.cut, 0);
          });
        }
      }

      // Over TLS, the last one may be told that the connection stays open: nobody has counted the records of its head.
      it('are answered by handlers that answer at once, when they wait in the kernel, their heads line by line', async (test) => {
        const { server, terminator } = await serve(test, transport, answerAtOnce);
        const client = await remoteClient(test, transport, server);
        const paths = ['/1', '/2', '/3', '/4', '/5'];
        client.writeWhileBlocked(paths.flatMap((each) => requestText(each).split(/(?<=\r\n)/)));
        const report = await terminator.terminate();
        const { how: end, answers } = await client.ended();
        assert.equal(end, 'FIN');
        assert.deepEqual(
          answers.map(({ body }) => body),
          paths.map((each) => `answer to ${each}`),
        );
        assert.equal(report.requests.cut, 0);
      });

      it('are answered by handlers that answer at once, when they wait in the kernel, with more fields than are looked at', async (test) => {
        const { client, server, terminator } = await connectAndAsk(test, transport, answerAtOnce);
        server.maxHeadersCount = 2;
        const paths = ['/1', '/2', '/3'];
        const written = client.write(paths.map((each) => requestText(each, { headers })).join(''));
        const report = await terminator.terminate();
        await written;
        assert.equal(await client.ended, 'FIN');
        assertPipelined(client.answers.slice(1), paths);
        assert.deepEqual(report.requests, { completed: 0, late: 3, cut: 0 });
      });

      for (const [what, first] of [
        ['a length', { method: 'POST', headers: { 'Content-Length': 1 }, body: 'x' }],
        ['chunks', chunked],
      ]) {
        it(`are answered when half of the last one is there, behind one with ${what} whose handler answers at its end`, async (test) => {
          const { client, terminator } = await connectAndAsk(test, transport, (request, response) => {
            request.resume().once('end', () => answerAtOnce(request, response));
          });
          const [whole, next] = [requestText('/1', first), requestText('/2')];
          const written = client.write(whole + next.slice(0, 10));
          const terminated = terminator.terminate();
          await written;
          await client.until(/answer to \/1/);
          await client.write(next.slice(10));
          assert.equal(await client.ended, 'FIN');
          assertPipelined(client.answers.slice(1), ['/1', '/2']);
          assert.deepEqual((await terminated).requests, { completed: 0, late: 2, cut: 0 });
        });
      }

      it('are answered behind one that is answered while Node works through them', async (test) => {
        const handler = async (request, response) => {
          if (request.url === '/1') await null;
          if (request.url === '/2') await turn();
          answerAtOnce(request, response);
        };
        const paths = ['/1', '/2', '/3', '/4'];
        const requests = paths.map((each) => requestText(each, each === '/2' ? chunked : {}));
        await assertAnsweredFromKernel(test, transport, handler, paths, requests);
      });

      for (const [what, first, second] of [
        ['one', requestText('/1'), requestText('/2')],
        ['one that says the same', requestText('/1'), requestText('/1')],
        ['one without spaces', requestText('/1').replace(': ', ':'), requestText('/2')],
        ['a longer one', requestText('/1', { headers: { Length: 'x'.repeat(100) } }), requestText('/2')],
      ]) {
        for (const place of [1, 10, -3, -2, -1]) {
          const where = place > 0 ? `after byte ${place}` : `${-place} from its end`;
          const half = first.slice(0, place);
          const halfRead = ({ serverSocket }) => bytesRead(serverSocket, (requestText() + half).length);
          it(`are answered behind ${what} whose head was cut in two, ${where}, on a reused connection`, async (test) => {
            const { client, terminator } = await connectAndAsk(test, transport, answerAtOnce);
            await client.write(half);
            await halfRead(client);
            const terminated = terminator.terminate();
            await client.write(first.slice(place) + second);
            assert.equal(await client.ended, 'FIN');
            assertPipelined(client.answers.slice(1), ['/1', second === first ? '/1' : '/2']);
            assert.deepEqual((await terminated).requests, { completed: 0, late: 2, cut: 0 });
          });

          it(`are answered behind ${what} that is cut in two, ${where}, half of it being in the kernel`, async (test) => {
            const { client, terminator } = await connectAndAsk(test, transport, answerAtOnce);
            const written = client.write(half);
            const terminated = terminator.terminate();
            await written;
            await halfRead(client);
            await client.write(first.slice(place) + second);
            assert.equal(await client.ended, 'FIN');
            assertPipelined(client.answers.slice(1), ['/1', second === first ? '/1' : '/2']);
            assert.deepEqual((await terminated).requests, { completed: 0, late: 2, cut: 0 });
          });
        }
      }

      it('are answered behind one that was cut in two itself, the rest of it being in the kernel', async (test) => {
        const go = gate();
        const { server, terminator } = await serve(test, transport, async (request, response) => {
          if (request.url === '/1') await go.passed;
          response.end(`answer to ${request.url}`);
        });
        const client = await connect(transport, server);
        const [first, third] = ['/1', '/3'].map((each) => requestText(each));
        const second = requestText('/2', { headers: { Length: 'x'.repeat(500) } });
        const [half, rest] = [first + second.slice(0, -3), second.slice(-3) + third];
        await client.write(half);
        await bytesRead(client.serverSocket, half.length);
        const written = client.write(rest);
        const terminated = terminator.terminate();
        await written;
        await bytesRead(client.serverSocket, half.length + rest.length);
        go.open();
        assert.equal(await client.ended, 'FIN');
        assertPipelined(client.answers, ['/1', '/2', '/3']);
        assert.deepEqual((await terminated).requests, { completed: 1, late: 2, cut: 0 });
      });

      it('are answered one after another behind the rest of a body', async (test) => {
        const go = gate();
        const { server, terminator } = await serve(test, transport, async (request, response) => {
          if (request.url === '/1') for await (const _ of request);
          if (request.url === '/2') await go.passed;
          response.end(`answer to ${request.url}`);
          if (request.url === '/3') go.open();
        });
        const client = await connect(transport, server);
        const upload = requestText('/1', {
          method: 'POST',
          headers: { 'Content-Length': 1000 },
          body: 'x'.repeat(1000),
        });
        await client.write(upload.slice(0, -500));
        await bytesRead(client.serverSocket, upload.length - 500);
        const terminated = terminator.terminate();
        await client.write(upload.slice(-500) + requestText('/2'));
        await client.until(/answer to \/1/);
        await client.write(requestText('/3'));
        assert.equal(await client.ended, 'FIN');
        assertPipelined(client.answers, ['/1', '/2', '/3']);
        assert.deepEqual((await terminated).requests, { completed: 1, late: 2, cut: 0 });
      });

      it('are answered when half of the last one is there', async (test) => {
        const { handler, arrived, open } = gatedHandler();
        const { server, terminator } = await serve(test, transport, handler);
        const client = await connect(transport, server);
        const [first, second] = [requestText('/1'), requestText('/2')];
        await client.write(first + second.slice(0, 10));
        await arrived('/1');
        const terminated = terminator.terminate();
        open('/1');
        await client.until(/answer to \/1/);
        await turn();
        await client.write(second.slice(10));
        open('/2');
        assert.equal(await client.ended, 'FIN');
        assertPipelined(client.answers, ['/1', '/2']);
        assert.deepEqual((await terminated).requests, { completed: 1, late: 1, cut: 0 });
      });
    });

    describe('an answer sent while its request is still arriving', () => {
      /** What is left of a body of eight parts, of which the first has been written. */
      const writeRest = async (client, part) => {
        for (let parts = 1; parts < 8; parts += 1) {
          await turn();
          await client.write(part);
        }
      };

      const ignore = async () => {};
      // As body parsers do when it is too large for them.
      const pause = async (request) => {
        await new Promise((resolve) => request.once('data', resolve));
        request.pause();
      };

      for (const [when, before, begin] of [
        ['before terminate()', true, ignore],
        ['after terminate()', false, ignore],
        ['before terminate() by a handler that has paused it', true, pause],
        ['after terminate() by a handler that has paused it', false, pause],
      ]) {
        it(`reaches a client that reads only after it has written everything, sent ${when}`, async (test) => {
          const [arrived, go] = [gate(), gate()];
          const { server, terminator } = await serve(test, transport, async (request, response) => {
            await begin(request);
            arrived.open();
            await go.passed;
            response.writeHead(413);
            response.end('too much', answered.open);
          });
          const answered = gate();
          const client = await connect(transport, server, { reading: false });
          const part = 'x'.repeat(MEBIBYTE);
          const headers = { 'Content-Length': 8 * MEBIBYTE };
          await client.write(requestText('/', { method: 'POST', headers }) + part);
          await arrived.passed;
          if (before) {
            go.open();
            await answered.passed;
          }
          const terminated = terminator.terminate();
          if (!before) {
            go.open();
            await answered.passed;
          }
          await writeRest(client, part);
          client.read();
          assert.equal(await client.ended, 'FIN');
          assert.equal(client.answers[0].status, 413);
          assert.equal(client.answers[0].body, 'too much');
          assert.equal((await terminated).graceful, true);
        });
      }

      it('is not cut short by the keepAliveTimeout of its server', async (test) => {
        const answered = gate();
        const { server, terminator } = await serve(test, transport, (_request, response) =>
          response.end('too much', answered.open),
        );
        const client = await connect(transport, server);
        await client.write(requestText('/', { method: 'POST', headers: { 'Content-Length': 2 } }));
        await answered.passed;
        assert.ok(client.serverSocket.timeout > 0, 'Node has set it');
        const terminated = terminator.terminate();
        await turn();
        assert.equal(client.serverSocket.timeout, 0);
        await client.write('xx');
        assert.equal(await client.ended, 'FIN');
        assert.equal((await terminated).graceful, true);
      });

      // Node closes the connection after each of these, and `getHeader()` shows it of the first only.
      for (const [whose, headers, say] of [
        ['its handler closes by setHeader()', {}, (response) => response.setHeader('Connection', 'close')],
        ['its handler closes by writeHead()', {}, (response) => response.writeHead(200, { Connection: 'close' })],
        ['its client closes', { Connection: 'close' }, () => {}],
      ]) {
        it(`reaches such a client, too, if it had begun and ${whose}`, async (test) => {
          const [arrived, go, answered] = [gate(), gate(), gate()];
          const { server, terminator } = await serve(test, transport, async (_request, response) => {
            say(response);
            response.write('too ');
            arrived.open();
            await go.passed;
            response.end('much', answered.open);
          });
          const client = await connect(transport, server, { reading: false });
          const part = 'x'.repeat(MEBIBYTE);
          const upload = { method: 'POST', headers: { 'Content-Length': 8 * MEBIBYTE, ...headers } };
          await client.write(requestText('/', upload) + part);
          await arrived.passed;
          const terminated = terminator.terminate();
          go.open();
          await answered.passed;
          await writeRest(client, part);
          client.read();
          assert.equal(await client.ended, 'FIN');
          assert.equal(client.answers[0].headers.connection, 'close');
          assert.equal(client.answers[0].body, 'too much');
          assert.equal((await terminated).graceful, true);
        });
      }

      it('is the end of its connection if the rest of its request comes at once, and it was sent before', async (test) => {
        const answered = gate();
        const { server, terminator } = await serve(test, transport, (_request, response) => {
          response.end('answer', answered.open);
        });
        const client = await connect(transport, server);
        const body = 'x'.repeat(20_000);
        await client.write(requestText('/', { method: 'POST', headers: { 'Content-Length': 2 * body.length } }) + body);
        await answered.passed;
        // It leaves at once, and is read while the listener closes.
        const written = client.write(body);
        const terminated = terminator.terminate();
        await written;
        assert.equal(await client.ended, 'FIN');
        assert.equal((await terminated).graceful, true);
      });

      it('does not keep its client from asking again behind it, if it was sent before', async (test) => {
        const answered = gate();
        const { server, terminator } = await serve(test, transport, (request, response) => {
          response.end(`answer to ${request.url}`, request.url === '/early' ? answered.open : undefined);
        });
        const client = await connect(transport, server);
        const half = 'x'.repeat(MEBIBYTE);
        const headers = { 'Content-Length': 2 * MEBIBYTE };
        await client.write(requestText('/early', { method: 'POST', headers }) + half);
        await answered.passed;
        const terminated = terminator.terminate();
        // For long enough that all others would have gone.
        for (let turns = 0; turns < 20; turns += 1) await turn();
        await client.write(half + requestText('/again'));
        assert.equal(await client.ended, 'FIN');
        assert.deepEqual(
          client.answers.map(({ headers, body }) => [headers.connection, body]),
          [
            ['keep-alive', 'answer to /early'],
            ['close', 'answer to /again'],
          ],
        );
        const report = await terminated;
        assert.deepEqual(report.requests, { completed: 0, late: 1, cut: 0 });
        assert.deepEqual(report.connections, { idle: 0, drained: 1, forced: 0 });
      });

      it('may be followed by another such, which says close', async (test) => {
        const answered = gate();
        const { server, terminator } = await serve(test, transport, (request, response) => {
          if (request.url === '/early') response.setHeader('Connection', 'keep-alive');
          response.end(`answer to ${request.url}`, answered.open);
        });
        const client = await connect(transport, server);
        const upload = (url) => requestText(url, { method: 'POST', headers: { 'Content-Length': 2 } });
        await client.write(`${upload('/early')}x`);
        await answered.passed;
        const terminated = terminator.terminate();
        await client.write(`x${upload('/too')}x`);
        await client.until(/answer to \/too/);
        await client.write('x');
        assert.equal(await client.ended, 'FIN');
        assert.deepEqual(
          client.answers.map(({ headers }) => headers.connection),
          ['keep-alive', 'close'],
        );
        assert.deepEqual((await terminated).requests, { completed: 0, late: 1, cut: 0 });
      });

      for (const [what, headers, first, rest] of [
        ['a body with a length', { 'Content-Length': 2 }, 'x', 'x'],
        ['a chunked body', { 'Transfer-Encoding': 'chunked' }, '2\r\nx', 'x\r\n0\r\n\r\n'],
      ]) {
        it(`may be followed by several at once, behind the rest of ${what}`, async (test) => {
          const answered = gate();
          const { server, terminator } = await serve(test, transport, (request, response) => {
            response.end(`answer to ${request.url}`, answered.open);
          });
          const client = await connect(transport, server);
          await client.write(requestText('/early', { method: 'POST', headers }) + first);
          await answered.passed;
          const terminated = terminator.terminate();
          await client.write(rest + requestText('/2') + requestText('/3'));
          assert.equal(await client.ended, 'FIN');
          assertPipelined(client.answers, ['/early', '/2', '/3']);
          assert.deepEqual((await terminated).requests, { completed: 0, late: 2, cut: 0 });
        });
      }

      it('is waited for if it is another one, behind an answer that says close', async (test) => {
        const [begun, go, followed] = [gate(), gate(), gate()];
        let terminated;
        let behind;
        const { server, terminator } = await serve(test, transport, async (request, response) => {
          if (request.url === '/behind') {
            followed.open();
            // It can't be answered, but must not look as if it had come whole.
            behind = once(request, 'end').catch(({ code }) => code);
            await turn();
            request.resume();
            return;
          }
          terminated = terminator.terminate();
          response.write('the whole ');
          begun.open();
          await go.passed;
          response.end('answer');
        });
        const client = await connect(transport, server, { reading: false });
        const body = 'x'.repeat(MEBIBYTE);
        await client.write(requestText('/first'));
        await begun.passed;
        const headers = { 'Content-Length': 8 * MEBIBYTE };
        await client.write(requestText('/behind', { method: 'POST', headers }) + body);
        await followed.passed;
        go.open();
        for (let parts = 1; parts < 8; parts += 1) {
          await turn();
          await client.write(body);
        }
        client.read();
        assert.equal(await client.ended, 'FIN');
        assert.deepEqual(
          client.answers.map(({ headers, body }) => [headers.connection, body]),
          [['close', 'the whole answer']],
        );
        const report = await terminated;
        assert.deepEqual(report.requests, { completed: 1, late: 0, cut: 1 });
        assert.deepEqual(
          report.cut.map(({ url }) => url),
          ['/behind'],
        );
        assert.deepEqual(report.connections, { idle: 0, drained: 1, forced: 0 });
        assert.equal(await behind, 'ECONNRESET');
      });

      it('is not processed if it comes behind an answer that says close', async (test) => {
        const urls = [];
        let terminated;
        const { server, terminator } = await serve(test, transport, async ({ url }, response) => {
          urls.push(url);
          if (url !== '/first') return;
          terminated = terminator.terminate();
          response.write('an ');
          client.socket.write(requestText('/second'));
          // Parsed by then or not, it is there.
          await turn();
          await turn();
          response.end('answer');
        });
        server.on('upgrade', ({ url }) => void urls.push(url));
        const client = await connect(transport, server, { reading: false });
        const closed = once(client.serverSocket, 'close');
        await client.write(requestText('/first'));
        await closed;
        const processed = urls.length;
        const upgrade = requestText('/upgrade', { headers: { Connection: 'Upgrade', Upgrade: 'echo' } });
        await client.write(requestText('/third') + upgrade);
        await turn();
        client.read();
        assert.equal(await client.ended, 'FIN');
        assert.equal(client.answers[0].body, 'an answer');
        assert.equal((await terminated).requests.cut, processed - 1);
        assert.equal(urls.length, processed, urls.join());
      });

      it('is not waited for beyond the deadline', async (test) => {
        const { server, terminator } = await serve(test, transport, (_request, response) => response.end('early'), {
          httpResponseTimeout: 50,
        });
        const client = await connect(transport, server);
        await client.write(requestText('/', { method: 'POST', headers: { 'Content-Length': 10 } }));
        await client.until(/early/);
        const report = await terminator.terminate();
        assert.equal(report.graceful, true, 'its answer was sent whole');
        assert.deepEqual(report.connections, { idle: 0, drained: 1, forced: 0 });
      });
    });

    describe('the deadline', () => {
      it('cuts what is left, and not before', async (test) => {
        const { handler, arrived } = gatedHandler();
        const { server, terminator } = await serve(test, transport, handler, { httpResponseTimeout: 50 });
        const client = await connect(transport, server);
        await client.write(requestText('/never'));
        await arrived('/never');
        const before = performance.now();
        const report = await terminator.terminate();
        const duration = performance.now() - before;
        assert.equal(client.serverSocket.destroyed, true);
        await client.ended;
        assert.equal(client.received, '');
        assert.equal(report.graceful, false);
        assert.ok(report.durationMs >= 50, `${report.durationMs} ms`);
        assert.ok(duration >= 50, `${duration} ms`);
        assert.deepEqual(report.requests, { completed: 0, late: 0, cut: 1 });
      });

      it('cuts an endless stream', async (test) => {
        const { server, terminator } = await serve(
          test,
          transport,
          (_request, response) => {
            const stream = () => response.write('data: again\n\n', (error) => error ?? setImmediate(stream));
            response.on('error', () => {});
            stream();
          },
          { httpResponseTimeout: 50 },
        );
        const client = await connect(transport, server);
        await client.write(requestText('/events'));
        await client.until(/again/);
        const report = await terminator.terminate();
        await client.ended;
        assert.equal(report.requests.cut, 1);
        assert.equal(report.cut[0].headersSent, true);
      });

      it('says of no answer that its head had been sent if that waits for its turn, or for its body', async (test) => {
        const handled = gate();
        const { server, terminator } = await serve(
          test,
          transport,
          ({ url }, response) => {
            if (url === '/second') response.end();
            if (url === '/last') handled.open(response.writeHead(200));
          },
          { httpResponseTimeout: 50 },
        );
        const client = await connect(transport, server);
        await client.write(['/first', '/second', '/last'].map((url) => requestText(url)).join(''));
        await handled.passed;
        const { cut } = await terminator.terminate();
        await client.ended;
        assert.equal(client.received, '');
        assert.deepEqual(
          cut.map(({ url, headersSent }) => [url, headersSent]),
          [
            ['/first', false],
            ['/second', false],
            ['/last', false],
          ],
        );
      });

      it('cuts a connection on which nothing had come, and which is upgraded in time', async (test) => {
        const options = { httpResponseTimeout: 50, keepAliveDrainTimeout: 60_000 };
        const { server, terminator } = await serve(test, transport, () => {}, options);
        server.on('upgrade', (_request, socket) => socket.write('HTTP/1.1 101 Switching Protocols\r\n\r\n'));
        const client = await connect(transport, server);
        const terminated = terminator.terminate();
        // It is known that nothing had come.
        for (let turns = 0; turns < 5; turns += 1) await turn();
        await client.write(requestText('/socket', { headers: { Connection: 'Upgrade', Upgrade: 'echo' } }));
        await client.until(/101/);
        const report = await terminated;
        await client.ended;
        assert.deepEqual(
          report.cut.map(({ url }) => url),
          ['/socket'],
        );
      });

      it('of 0 cuts everything at once', async (test) => {
        const { handler, arrived } = gatedHandler();
        const { server, terminator } = await serve(test, transport, handler, { httpResponseTimeout: 0 });
        const [active, idle] = [await connect(transport, server), await connect(transport, server)];
        await active.write(requestText('/never'));
        await arrived('/never');
        const terminated = terminator.terminate();
        assert.equal(active.serverSocket.destroyed, true);
        assert.equal(idle.serverSocket.destroyed, true);
        assert.equal((await terminated).requests.cut, 1);
      });

      it('of 0 lists what nobody has read yet', async (test) => {
        const { server, terminator } = await serve(test, transport, () => {}, { httpResponseTimeout: 0 });
        const client = await connect(transport, server);
        // The bytes leave at once; the server would read them when its event loop next turns.
        const written = client.write(requestText());
        if (transport.secure) await written;
        const report = await terminator.terminate();
        await client.ended;
        assert.deepEqual(report.requests, { completed: 0, late: 0, cut: 1 });
        assert.equal(report.cut.length, 1);
      });
    });
  });
}

// At once, as one after the other they would take many seconds.
describe('in time', { concurrency: true }, () => {
  for (const transport of transports) {
    describe(`over ${transport.name}`, { concurrency: true }, () => {
      it('the deadline is a second, and that of Infinity does not come even then', async (test) => {
        const sides = [undefined, Number.POSITIVE_INFINITY].map(async (httpResponseTimeout) => {
          const { handler, arrived, open } = gatedHandler();
          const { server, terminator } = await serve(test, transport, handler, { httpResponseTimeout });
          const client = await connect(transport, server);
          await client.write(requestText('/held'));
          await arrived('/held');
          return { client, open, terminator };
        });
        const [second, infinite] = await Promise.all(sides);
        const before = performance.now();
        const endless = infinite.terminator.terminate();
        const report = await second.terminator.terminate();
        const duration = performance.now() - before;
        assert.ok(duration >= 1000, `${duration} ms`);
        assert.equal(report.requests.cut, 1);
        assert.equal(infinite.terminator.state, 'draining');
        infinite.open('/held');
        assert.equal(await infinite.client.ended, 'FIN');
        assert.equal(infinite.client.answers[0].body, 'answer to /held');
        assert.equal((await endless).graceful, true);
      });

      it('a client that never ends to write behind its answer is waited for five seconds', async (test) => {
        const begun = gate();
        const answerEarly = (_request, response) => {
          response.end('early');
          begun.open();
        };
        const options = { httpResponseTimeout: Number.POSITIVE_INFINITY };
        const { server, terminator } = await serve(test, transport, answerEarly, options);
        const client = await connect(transport, server);
        await client.write(requestText('/', { method: 'POST', headers: { 'Transfer-Encoding': 'chunked' } }));
        await begun.passed;
        await client.until(/early/);
        const write = () => client.socket.write('1\r\nx\r\n', (error) => error ?? setImmediate(write));
        write();
        const before = performance.now();
        const { graceful, requests } = await terminator.terminate();
        const duration = performance.now() - before;
        assert.ok(duration >= 5000, `${duration} ms`);
        assert.deepEqual([graceful, requests.cut], [true, 0]);
        client.socket.destroy();
      });
    });
  }
});

async function receiveBody(request, response) {
  let body = '';
  for await (const chunk of request) body += chunk;
  response.end(`received ${body}`);
}

function answerAtOnce(request, response) {
  response.end(`answer to ${request.url}`);
}

/** A connection that has been used once. */
async function connectAndAsk(test, transport, handler) {
  const { server, terminator } = await serve(test, transport, handler);
  const client = await connect(transport, server);
  await client.write(requestText());
  await client.until(/answer to/);
  while (terminator.stats().active > 0) await turn();
  return { client, server, terminator };
}

/** On a connection that has been used before, all of them leave before terminate() is called, and are read later. */
async function assertAnsweredFromKernel(test, transport, handler, paths, requests) {
  const { client, terminator } = await connectAndAsk(test, transport, handler);
  const written = client.write(requests.join(''));
  const report = await terminator.terminate();
  await written;
  assert.equal(await client.ended, 'FIN');
  assertPipelined(client.answers.slice(1), paths);
  assert.deepEqual(report.requests, { completed: 0, late: paths.length, cut: 0 });
}

/** Until the server has read this many bytes on a connection: no event tells, so every turn looks. */
async function bytesRead(socket, count) {
  while (socket.bytesRead < count && !socket.destroyed) await turn();
}

function assertPipelined(answers, paths) {
  assert.deepEqual(
    answers.map(({ body }) => body),
    paths.map((each) => `answer to ${each}`),
  );
  assert.deepEqual(
    answers.map(({ headers }) => headers.connection === 'close'),
    paths.map((_, index) => index === paths.length - 1),
  );
}
