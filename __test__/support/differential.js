// The same cases against another package and against ours, and a table of where the two differ.
//
// Each case is played on the wire and says in words what it saw. What ours must do is asserted; what the other does is
// recorded, so that the table says what it does today, with this version of Node.

const assert = require('node:assert/strict');
const { fork } = require('node:child_process');
const { once } = require('node:events');
const http2 = require('node:http2');
const net = require('node:net');
const { after, before, describe, it } = require('node:test');
const { addressOf, Client, connect, requestText } = require('./client');
const { gate, gatedHandler, turn } = require('./server');
const { closeEverything, credentials, transports } = require('./transports');

/**
 * A way to end servers.
 *
 * @typedef {object} Subject
 * @property {string} name
 * @property {number} deadline in milliseconds, that `attach` sets; `Infinity` for none
 * @property {number} patience after how many milliseconds something counts as never happening
 * @property {(server: import('node:http').Server) => () => Promise<string>} attach gives a function that ends the
 * server and says how that went
 * @property {string} [crashesOverTls] the file of its test, if it may bring its process down over TLS
 */

/**
 * @typedef {object} Case
 * @property {string} name
 * @property {(stage: Stage) => Promise<string>} play
 * @property {string | Record<string, string>} ours what ours must do, where it differs by transport
 * @property {string} [why] why that is better, where the other does something else
 * @property {string} [transport] the only one that it makes sense for
 */

const [plain, secure] = transports;

/** How long the other package is watched before it counts as never doing something. */
const PEER_PATIENCE = 1500;
/** Ours is to do it: this only ends a test that has failed. */
const OWN_PATIENCE = 30_000;

const NEVER = 'does not end';
const PLAYED_ELSEWHERE = 'played elsewhere';
const UPGRADE = requestText('/', { headers: { Connection: 'Upgrade', Upgrade: 'echo' } });
const SWITCHING = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n';
const MEBIBYTE = 2 ** 20;

/** One subject, one transport, one case: what there is to play it with. */
class Stage {
  /**
   * @param {import('node:test').TestContext} test
   * @param {Subject} subject
   */
  constructor(test, transport, subject) {
    Object.assign(this, { test, transport, subject });
  }

  /** A server that listens, and the function that ends it. */
  async serve(handler, { late = false } = {}) {
    const server = this.createServer(handler);
    const end = late ? null : this.attach(server);
    await once(server.listen(0, '127.0.0.1'), 'listening');
    return { server, end };
  }

  createServer(handler = () => {}) {
    const server = this.transport.createServer({ keepAliveTimeout: 60_000 }, handler);
    this.test.after(() => closeEverything(server));
    return server;
  }

  attach(server) {
    const end = this.subject.attach(server);
    return async () => {
      const began = performance.now();
      const how = await this.limited(end)();
      const late = how !== NEVER && performance.now() - began >= this.subject.deadline;
      return late ? `${how} at its deadline` : how;
    };
  }

  /** What ends a server, but not for ever. */
  limited(end) {
    return () => this.#within(end(), NEVER);
  }

  async connect(server, options) {
    return this.#leaving(await connect(this.transport, server, options));
  }

  /** A connection below TLS, if there is any. */
  async connectBare(server) {
    const accepted = once(server, 'connection');
    const client = this.#leaving(new Client(net.connect({ ...addressOf(server), allowHalfOpen: true })));
    await accepted;
    return client;
  }

  /** What a client has received, and how its connection ended. */
  async seen(client) {
    const how = await this.#within(client.ended, 'left open');
    const answers = client.answers.map(({ whole, headers }) => (whole ? headers.connection : 'cut'));
    return `${answers.length === 0 ? 'no answer' : answers.join(', ')}; ${how}`;
  }

  get(port, options) {
    return new Promise((resolve) => {
      const request = this.transport.request({ host: '127.0.0.1', port, ...options }, (response) => {
        response.on('error', (error) => resolve(error.code));
        response.on('end', () => resolve(`answered, ${response.headers.connection}`)).resume();
      });
      request.on('error', (error) => resolve(error.code)).end();
    });
  }

  stream(session, path) {
    return new Promise((resolve) => {
      const stream = session.request({ ':path': path });
      stream.on('end', () => resolve('answered')).resume();
      stream.on('error', () => resolve('cut'));
      stream.on('close', () => resolve('cut'));
    });
  }

  #leaving(client) {
    this.test.after(() => client.socket.destroy());
    return client;
  }

  async #within(promise, otherwise) {
    let timer;
    const timeout = new Promise((resolve) => {
      timer = setTimeout(resolve, this.subject.patience, otherwise);
    });
    return Promise.race([promise, timeout]).finally(() => clearTimeout(timer));
  }
}

/**
 * The cases that every package is to be measured by.
 *
 * @param {string} ended what ours says when it has ended a server
 * @param {string} later what it says when the server was not listening any more
 * @returns {Record<string, Case>}
 */
function commonCases(ended, later) {
  return {
    none: {
      name: 'no connections',
      async play(stage) {
        const { server, end } = await stage.serve();
        return `${await end()}; ${server.listening ? 'listens' : 'closed'}`;
      },
      ours: `${ended}; closed`,
    },

    idle: {
      name: 'an idle keep-alive connection',
      async play(stage) {
        const { server, end } = await stage.serve((_request, response) => response.end('hello'));
        const client = await stage.connect(server);
        await client.write(requestText());
        await client.until(/hello/);
        return [await end(), await stage.seen(client)].join('; ');
      },
      ours: `${ended}; keep-alive; FIN`,
      why: 'nothing is in flight on it: it ends at once, and in order',
    },

    unused: {
      name: 'a connection that was never used',
      async play(stage) {
        const { server, end } = await stage.serve();
        const client = await stage.connect(server);
        return [await end(), await stage.seen(client)].join('; ');
      },
      ours: `${ended}; no answer; FIN`,
      why: 'browsers open connections ahead of time, and nothing is in flight on them',
    },

    handshake: {
      name: 'a TLS handshake that never begins',
      transport: 'https',
      async play(stage) {
        const { server, end } = await stage.serve();
        const client = await stage.connectBare(server);
        return [await end(), await stage.seen(client)].join('; ');
      },
      ours: `${ended}; no answer; FIN`,
      why: 'nothing is in flight on it, so there is nothing to wait for',
    },

    inFlight: {
      name: 'a request in flight, its answer not begun',
      async play(stage) {
        const { handler, arrived, open } = gatedHandler();
        const { server, end } = await stage.serve(handler);
        const client = await stage.connect(server);
        await client.write(requestText('/slow'));
        await arrived('/slow');
        const ends = end();
        await turn();
        open('/slow');
        return [await ends, await stage.seen(client)].join('; ');
      },
      ours: `${ended}; close; FIN`,
      why: 'the answer tells its client not to use the connection again, which so loses no request to the close',
    },

    begun: {
      name: 'a request in flight, its answer begun',
      async play(stage) {
        const [begun, go] = [gate(), gate()];
        const { server, end } = await stage.serve(async (_request, response) => {
          response.write('one');
          begun.open();
          await go.passed;
          response.end('two');
        });
        const client = await stage.connect(server);
        await client.write(requestText());
        await begun.passed;
        await client.until(/one/);
        const ends = end();
        await turn();
        go.open();
        return [await ends, await stage.seen(client)].join('; ');
      },
      ours: `${ended}; keep-alive; FIN`,
      why: 'the connection ends with its answer, so nobody waits for the deadline or for the client',
    },

    download: {
      name: 'a download to a slow reader',
      async play(stage) {
        const begun = gate();
        const { server, end } = await stage.serve((_request, response) => {
          response.end('x'.repeat(12 * MEBIBYTE));
          begun.open();
        });
        const client = await stage.connect(server, { reading: false });
        await client.write(requestText());
        await begun.passed;
        const ends = end();
        await turn();
        client.read();
        return [await ends, await stage.seen(client)].join('; ');
      },
      ours: `${ended}; keep-alive; FIN`,
      why: 'it arrives whole, and the connection ends with it',
    },

    halfHead: {
      name: 'half of a request head, and later the rest',
      async play(stage) {
        const { server, end } = await stage.serve((_request, response) => response.end('hello'));
        const client = await stage.connect(server);
        const text = requestText();
        await client.write(text.slice(0, 12));
        while (client.serverSocket.bytesRead < 12) await turn();
        const ends = end();
        await turn();
        await turn();
        await client.write(text.slice(12)).catch(() => {});
        return [await ends, await stage.seen(client)].join('; ');
      },
      ours: `${ended}; close; FIN`,
      why: 'half a request is a request in flight',
    },

    upload: {
      name: 'half of an upload, and later the rest',
      async play(stage) {
        const begun = gate();
        const { server, end } = await stage.serve(async (request, response) => {
          begun.open();
          request.resume();
          await once(request, 'end').catch(() => {});
          response.end('received');
        });
        const client = await stage.connect(server);
        await client.write(`${requestText('/', { method: 'POST', headers: { 'Content-Length': 8 } })}half`);
        await begun.passed;
        const ends = end();
        await turn();
        await turn();
        await client.write('half').catch(() => {});
        return [await ends, await stage.seen(client)].join('; ');
      },
      ours: `${ended}; close; FIN`,
      why: 'the answer tells its client not to use the connection again',
    },

    pipelined: {
      name: 'two pipelined requests in flight',
      async play(stage) {
        const { handler, arrived, open } = gatedHandler();
        const { server, end } = await stage.serve(handler);
        const client = await stage.connect(server);
        await client.write(requestText('/one') + requestText('/two'));
        await arrived('/one');
        await arrived('/two');
        const ends = end();
        await turn();
        open('/one');
        open('/two');
        return [await ends, await stage.seen(client)].join('; ');
      },
      ours: `${ended}; keep-alive, close; FIN`,
      why: 'both are answered, and only the last answer says close, which drops what is behind it',
    },

    gone: {
      name: 'a client that goes away while it is waited for',
      async play(stage) {
        const { handler, arrived } = gatedHandler();
        const { server, end } = await stage.serve(handler);
        const client = await stage.connect(server);
        await client.write(requestText('/never'));
        await arrived('/never');
        const ends = end();
        await turn();
        client.socket.destroy();
        return ends;
      },
      ours: ended,
    },

    newConnection: {
      name: 'a connection that is opened meanwhile',
      async play(stage) {
        const { handler, arrived, open } = gatedHandler();
        const { server, end } = await stage.serve(handler);
        const { port } = addressOf(server);
        const client = await stage.connect(server);
        await client.write(requestText('/slow'));
        await arrived('/slow');
        const ends = end();
        await turn();
        const tried = await stage.get(port);
        open('/slow');
        return [tried, await ends].join('; ');
      },
      ours: `ECONNREFUSED; ${ended}`,
      why: 'it is refused, which any client and balancer may retry elsewhere; a reset may have lost a request',
    },

    ownHandler: {
      name: 'a handler that ends the server itself',
      async play(stage) {
        let ends;
        const { server, end } = await stage.serve((_request, response) => {
          ends = end();
          response.end('goodbye');
        });
        const client = await stage.connect(server);
        await client.write(requestText());
        const seen = await stage.seen(client);
        return [await ends, seen].join('; ');
      },
      ours: `${ended}; close; FIN`,
      why: 'its own answer says close, too',
    },

    upgraded: {
      name: 'an upgraded connection',
      async play(stage) {
        const { server, end } = await stage.serve();
        server.on('upgrade', (_request, socket) => {
          socket.on('error', () => {});
          socket.write(SWITCHING);
          socket.pipe(socket);
        });
        const client = await stage.connect(server);
        await client.write(UPGRADE);
        await client.until(/101/);
        const ends = end();
        await turn();
        await client.write('still there?').catch(() => {});
        const [echoed] = await Promise.all([
          Promise.race([client.until(/still there/).then(() => 'echoes'), client.ended]).catch(
            (error) => error.message,
          ),
          turn(),
        ]);
        client.socket.end();
        return [echoed, await ends].join('; ');
      },
      ours: `echoes; ${ended}`,
      why: 'it has its time to end by itself, since it may be in the middle of something',
    },

    lateAttached: {
      name: 'a connection in flight when it was attached',
      async play(stage) {
        const { handler, arrived, open } = gatedHandler();
        const { server } = await stage.serve(handler, { late: true });
        const client = await stage.connect(server);
        await client.write(requestText('/slow'));
        await arrived('/slow');
        const end = stage.attach(server);
        const ends = end();
        await turn();
        open('/slow');
        return [await ends, await stage.seen(client)].join('; ');
      },
      ours: `${ended}; close; FIN`,
      why: 'connections that were opened before count as well as others',
    },

    queued: {
      name: "a request that an agent sends as soon as the answer's connection is free",
      async play(stage) {
        const [begun, go] = [gate(), gate()];
        let requests = 0;
        const { server, end } = await stage.serve(async (_request, response) => {
          requests += 1;
          if (requests > 1) {
            await turn();
            response.end('two');
            return;
          }
          response.write('one');
          begun.open();
          await go.passed;
          response.end();
        });
        const agent = new stage.transport.Agent({ keepAlive: true, maxSockets: 1 });
        stage.test.after(() => agent.destroy());
        const { port } = addressOf(server);
        const first = stage.get(port, { agent });
        await begun.passed;
        const ends = end();
        const second = stage.get(port, { agent });
        await turn();
        go.open();
        const outcomes = [await first, (await second).replace(/^E[A-Z]+$/, 'lost')];
        await ends;
        return outcomes.join('; ');
      },
      ours: 'answered, keep-alive; answered, close',
      why: 'both serve it, and nobody has to wait for the client to close the connection then',
    },

    multiplexed: {
      name: 'two streams of HTTP/2 in flight',
      transport: 'https',
      async play(stage) {
        const { handler, arrived, open } = gatedHandler();
        const server = http2.createSecureServer(credentials, handler);
        stage.test.after(() => closeEverything(server));
        const end = stage.attach(server);
        await once(server.listen(0, '127.0.0.1'), 'listening');
        const session = http2.connect(`https://localhost:${addressOf(server).port}`, { ca: credentials.cert });
        stage.test.after(() => session.destroy());
        session.on('error', () => {});
        const goaway = once(session, 'goaway').then(() => 'GOAWAY');
        const closed = new Promise((resolve) => session.once('close', () => resolve('no GOAWAY')));
        const answers = ['/one', '/two'].map((path) => stage.stream(session, path));
        await arrived('/one');
        await arrived('/two');
        const ends = end();
        await turn();
        open('/one');
        open('/two');
        return [...(await Promise.all(answers)), await Promise.race([goaway, closed]), await ends].join('; ');
      },
      ours: `answered; answered; GOAWAY; ${ended}`,
      why: 'streams end whole, and GOAWAY tells the client to open no more',
    },

    twice: {
      name: 'ended twice at once',
      async play(stage) {
        const { end } = await stage.serve();
        return (await Promise.all([end(), end()])).join('; ');
      },
      ours: `${ended}; ${later}`,
    },

    again: {
      name: 'ended once more afterwards',
      async play(stage) {
        const { end } = await stage.serve();
        return [await end(), await end()].join('; ');
      },
      ours: `${ended}; ${later}`,
    },

    neverListened: {
      name: 'a server that never listened',
      async play(stage) {
        const server = stage.createServer();
        let closes = 0;
        server.on('close', () => {
          closes += 1;
        });
        return `${await stage.attach(server)()}; 'close' ${closes} times`;
      },
      ours: `${later}; 'close' 1 times`,
      why: 'what is to be ended has ended; it makes no teardown fail that comes after a failed start',
    },

    aboutToListen: {
      name: 'right after listen(port, host)',
      async play(stage) {
        const server = stage.createServer();
        const end = stage.attach(server);
        server.listen(0, '127.0.0.1');
        const how = await end();
        await turn();
        return `${how}; ${server.listening ? 'listens' : 'closed'}`;
      },
      ours: `${later}; closed`,
      why: 'it is ended before it listens, and says what it says of any server that did not',
    },

    listensAgain: {
      name: 'a server that listens again, two requests of one agent',
      async play(stage) {
        const { server, end } = await stage.serve((_request, response) => setImmediate(() => response.end('hello')));
        await end();
        await once(server.listen(0, '127.0.0.1'), 'listening');
        const agent = new stage.transport.Agent({ keepAlive: true });
        stage.test.after(() => agent.destroy());
        let connections = 0;
        server.on('connection', () => {
          connections += 1;
        });
        const { port } = addressOf(server);
        const answers = [await stage.get(port, { agent }), await stage.get(port, { agent })];
        return `${answers.join('; ')}; ${connections === 1 ? 'one connection' : 'several connections'}`;
      },
      ours: 'answered, keep-alive; answered, keep-alive; one connection',
      why: 'the server serves as before',
    },
  };
}

/**
 * A call that is refused at once.
 *
 * @param {string} name
 * @param {(subject: any) => unknown} call
 * @param {string} ours the name and the code of the error that ours throws
 * @returns {Case}
 */
function refused(name, call, ours) {
  return {
    name,
    async play({ subject }) {
      try {
        call(subject);
        return 'accepted';
      } catch (error) {
        return `${error.name} ${error.code}`;
      }
    },
    ours,
    why: 'a mistake is said at once, in a way to match on, and nothing has been attached',
  };
}

/**
 * @param {Subject} peer
 * @param {Subject} ours
 * @param {Case[]} cases
 */
function compare(peer, ours, cases) {
  if (process.env.PLAYED_ELSEWHERE !== undefined) {
    playHere(peer, cases);
    return;
  }
  const rows = new Map();
  for (const transport of [plain, secure]) {
    const playable = cases.filter(({ transport: only = transport.name }) => only === transport.name);
    describe(`${peer.name} and ours over ${transport.name}`, () => {
      /** @type {Promise<Map<string, string>> | undefined} */
      let elsewhere;
      if (peer.crashesOverTls && transport.secure) {
        before(() => {
          elsewhere = playElsewhere(peer, transport, playable);
          return elsewhere;
        });
      }
      for (const { name, play, ours: expected, why } of playable) {
        it(name, async (test) => {
          const theirs = elsewhere ? (await elsewhere).get(name) : await play(new Stage(test, transport, peer));
          const own = await play(new Stage(test, transport, ours));
          assert.equal(own, expected[transport.name] ?? expected);
          if (theirs === own) return;
          assert.ok(why, `a difference that is not explained: ${peer.name} ${theirs}`);
          const row = [name, theirs, own, why];
          const over = [...(rows.get(row.join())?.over ?? []), transport.name];
          rows.set(row.join(), { row, over, place: cases.findIndex((each) => each.name === name) });
        });
      }
    });
  }
  after(() => {
    const inOrder = [...rows.values()].sort((one, other) => one.place - other.place);
    print(peer, ours, inOrder, cases.length);
  });
}

/**
 * The cases in a process of their own, which any of them may bring down; those after it get another.
 *
 * @returns {Promise<Map<string, string>>} what each has come to, by its name
 */
async function playElsewhere({ crashesOverTls }, transport, cases) {
  const { NODE_TEST_CONTEXT, ...env } = process.env;
  const outcomes = new Map();
  let left = cases.map(({ name }) => name);
  while (left.length > 0) {
    const child = fork(crashesOverTls, {
      env: { ...env, PLAYED_ELSEWHERE: JSON.stringify([transport.name, left]) },
      execArgv: ['--test-name-pattern', PLAYED_ELSEWHERE],
      silent: true,
    });
    child.stdout.resume();
    child.stderr.resume();
    child.on('message', ([name, outcome]) => outcomes.set(name, outcome));
    const [[code, signal]] = await Promise.all([once(child, 'exit'), once(child, 'disconnect')]);
    left = left.filter((name) => !outcomes.has(name));
    if (left.length > 0) outcomes.set(left.shift(), `the process ends by ${signal ?? `exit code ${code}`}`);
  }
  return outcomes;
}

function playHere(subject, cases) {
  const [over, names] = JSON.parse(process.env.PLAYED_ELSEWHERE);
  const transport = transports.find((each) => each.name === over);
  it(PLAYED_ELSEWHERE, async (test) => {
    for (const { name, play } of cases) {
      if (!names.includes(name)) continue;
      const outcome = await play(new Stage(test, transport, subject));
      await new Promise((resolve) => process.send([name, outcome], resolve));
    }
    process.exit();
  });
}

function print(peer, ours, rows, count) {
  console.log(`\nWhere ${peer.name} and ours differ, of ${count} cases, measured on Node ${process.version}:\n`);
  console.log(`| case | ${peer.name} | ${ours.name} | why ours is better |\n| --- | --- | --- | --- |`);
  for (const { row, over } of rows) {
    const [name, ...cells] = row;
    console.log(`| ${[over.length > 1 ? name : `${name} (${over[0]})`, ...cells].join(' | ')} |`);
  }
}

module.exports = { OWN_PATIENCE, PEER_PATIENCE, commonCases, compare, refused };
