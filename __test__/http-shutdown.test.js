// The drop-in for http-shutdown: the same cases against that package and against ours.

const assert = require('node:assert/strict');
const { spawnSync } = require('node:child_process');
const { once } = require('node:events');
const http = require('node:http');
const { it } = require('node:test');
const peerPackage = require('http-shutdown');
const { version } = require('http-shutdown/package.json');
const ourPackage = require('http-terminator-native/http-shutdown');
const { requestText } = require('./support/client');
const { commonCases, compare, refused, OWN_PATIENCE, PEER_PATIENCE } = require('./support/differential');
const { gatedHandler, turn } = require('./support/server');
const { root } = require('./support/process');
const { closeEverything } = require('./support/transports');

const subject = (name, addShutdown, patience) => ({
  name,
  addShutdown,
  patience,
  deadline: Number.POSITIVE_INFINITY,
  attach(server) {
    const { shutdown } = addShutdown(server);
    return ender(shutdown);
  },
});

const ender = (end) => () =>
  new Promise((resolve) => {
    end((...outcome) => resolve(`calls back (${outcome.map((each) => each?.code)})`));
  });

const SHUT = 'calls back ()';
const NOT_RUNNING = 'calls back (ERR_SERVER_NOT_RUNNING)';
const { upgraded, neverListened, aboutToListen, ...common } = commonCases(SHUT, NOT_RUNNING);

const wrong = (name, call) =>
  refused(`arguments: ${name}`, ({ addShutdown }) => call(addShutdown), 'TypeError ERR_INVALID_ARG_TYPE');

const peer = {
  ...subject(`http-shutdown ${version}`, peerPackage, PEER_PATIENCE),
  // It destroys the socket below TLS as well, and Node 20 does not survive that.
  crashesOverTls: __filename,
};
compare(peer, subject('ours', ourPackage, OWN_PATIENCE), [
  ...Object.values(common),
  // There is no grace, so it would be waited for until its client leaves.
  { ...upgraded, ours: `FIN; ${SHUT}` },
  { ...neverListened, why: undefined },
  { ...aboutToListen, why: undefined },
  ...['forceShutdown', 'shutdown, then forceShutdown'].map((name) => ({
    name: `${name} with an answer that never comes, and an idle connection`,
    async play(stage) {
      const { handler, arrived } = gatedHandler();
      const server = stage.subject.addShutdown(stage.createServer(handler));
      await once(server.listen(0, '127.0.0.1'), 'listening');
      const [idle, active] = [await stage.connect(server), await stage.connect(server)];
      await idle.write(requestText('/'));
      await idle.until(/answer/);
      await active.write(requestText('/never'));
      await arrived('/never');
      const ends = [];
      if (name.includes('then')) {
        ends.push(ender(server.shutdown)());
        await turn();
      }
      ends.push(stage.limited(ender(server.forceShutdown))());
      return [...(await Promise.all(ends)), await stage.seen(idle), await stage.seen(active)].join('; ');
    },
    ours: `${name.includes('then') ? `${SHUT}; ${NOT_RUNNING}` : SHUT}; keep-alive; FIN; no answer; FIN`,
  })),
  {
    name: 'shutdown() and forceShutdown() without a callback',
    async play(stage) {
      const returned = [];
      for (const method of ['shutdown', 'forceShutdown']) {
        const server = stage.subject.addShutdown(stage.createServer());
        await once(server.listen(0, '127.0.0.1'), 'listening');
        const closed = once(server, 'close');
        returned.push(server[method]());
        await closed;
      }
      return returned.join();
    },
    ours: ',',
  },
  {
    name: "what comes first: the callback, or a listener of 'close' that was added after",
    async play(stage) {
      const server = stage.subject.addShutdown(stage.createServer());
      await once(server.listen(0, '127.0.0.1'), 'listening');
      const order = [];
      const shut = ender(server.shutdown)().then(() => order.push('callback'));
      server.once('close', () => order.push('close'));
      await shut;
      return order.join(', ');
    },
    ours: 'close, callback',
  },
  {
    name: 'what it adds to a server, and to a socket',
    async play(stage) {
      const server = stage.createServer((_request, response) => response.end('hello'));
      const before = Reflect.ownKeys(server);
      const returned = stage.subject.addShutdown(server);
      const added = Reflect.ownKeys(server).filter((key) => !before.includes(key));
      await once(server.listen(0, '127.0.0.1'), 'listening');
      const { serverSocket } = await stage.connect(server);
      const ids = Reflect.ownKeys(serverSocket).filter((key) => ['_isIdle', '_connectionId'].includes(key));
      return `${returned === server ? 'returns it' : 'returns another'}; ${added}; ${ids}`;
    },
    ours: 'returns it; shutdown,forceShutdown; ',
    why: 'nothing is written on sockets, nor read of what others write there',
  },
  wrong('no server', (addShutdown) => addShutdown()),
  wrong('an application for a server', (addShutdown) => addShutdown({ on() {} })),
]);

it('refuses a callback that is none, and ends nothing then', async (test) => {
  const server = ourPackage(http.createServer());
  test.after(() => closeEverything(server));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  for (const callback of ['SIGTERM', 0, {}]) {
    for (const method of ['shutdown', 'forceShutdown']) {
      assert.throws(() => server[method](callback), { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' });
    }
  }
  assert.equal(server.listening, true);
});

it('can be imported, and `extend` by its name', async () => {
  const imported = await import('http-terminator-native/http-shutdown');
  assert.equal(imported.default, ourPackage);
  assert.equal(imported.extend, ourPackage.extend);
});

// In processes of their own: it writes on the prototypes of all servers.
for (const name of ['http-shutdown', 'http-terminator-native/http-shutdown']) {
  it(`extend() of ${name} gives servers of http and https withShutdown(), and nothing before it does`, () => {
    const program = `
      const http = require('node:http');
      const https = require('node:https');
      const { extend } = require('${name}');
      const servers = [http, https].map(({ createServer }) => createServer());
      const found = [servers.some((server) => 'withShutdown' in server), extend()];
      for (const server of servers) {
        found.push(server.withShutdown() === server);
        server.listen(0, () => server.shutdown((error) => {
          found.push(error === undefined);
          if (found.push() === 6) console.log(JSON.stringify(found));
        }));
      }`;
    const { stdout, stderr } = spawnSync(process.execPath, ['--eval', program], { cwd: root, encoding: 'utf8' });
    assert.equal(stdout.trim(), JSON.stringify([false, null, true, true, true, true]), stderr);
  });
}
