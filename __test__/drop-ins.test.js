// Of all that the package does, only the drop-ins write on a server, and only when they are called.

const assert = require('node:assert/strict');
const { spawnSync } = require('node:child_process');
const { once } = require('node:events');
const { it } = require('node:test');
const { createHttpTerminator } = require('..');
const { connect, requestText } = require('./support/client');
const { root } = require('./support/process');
const { gate, turn } = require('./support/server');
const { closeEverything, transports } = require('./support/transports');

const DROP_INS = {
  stoppable: ['stop'],
  'http-shutdown': ['shutdown', 'forceShutdown'],
};

it('requiring the package or a drop-in writes on no prototype', () => {
  const program = `
    const [http, https, http2, net, tls, events] =
      ['http', 'https', 'http2', 'net', 'tls', 'events'].map((name) => require('node:' + name));
    const owners = [http, https, net, tls].flatMap(({ Server }) => [Server, Server.prototype]);
    owners.push(net.Socket.prototype, tls.TLSSocket.prototype, events.prototype, Object.prototype, process);
    for (const server of [http2.createServer(), http2.createSecureServer()]) owners.push(Object.getPrototypeOf(server));
    owners.push(http.IncomingMessage.prototype, http.ServerResponse.prototype, http, https, http2, net, tls);
    const keys = () => JSON.stringify(owners.map((owner) => Reflect.ownKeys(owner).map(String)));
    const before = keys();
    const names = ${JSON.stringify(['', ...Object.keys(DROP_INS).map((name) => `/${name}`)])};
    for (const name of names) require('http-terminator-native' + name);
    console.log(owners.length, keys() === before);`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--eval', program], { cwd: root, encoding: 'utf8' });
  assert.equal(stdout, '22 true\n', stderr);
});

for (const [name, [method]] of Object.entries(DROP_INS)) {
  it(`${name} ends at once what is upgraded when the server is ending already`, async (test) => {
    const [plain] = transports;
    const [arrived, answered] = [gate(), gate()];
    const handler = async (_request, response) => {
      arrived.open();
      await answered.passed;
      response.end('hello');
    };
    const server = require(`http-terminator-native/${name}`)(plain.createServer({}, handler));
    test.after(() => closeEverything(server));
    server.on('upgrade', (_request, socket) => socket.write('HTTP/1.1 101 Switching Protocols\r\n\r\nhello'));
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const [upgrading, busy] = [await connect(plain, server), await connect(plain, server)];
    const [half, rest] = requestText('/', { headers: { Connection: 'Upgrade', Upgrade: 'echo' } }).split(
      /(?=Upgrade: )/,
    );
    await busy.write(requestText());
    await arrived.passed;
    await upgrading.write(half);
    while (upgrading.serverSocket.bytesRead < half.length) await turn();
    const ended = new Promise((resolve) => server[method](resolve));
    await upgrading.write(rest);
    assert.equal(await upgrading.ended, 'FIN');
    assert.match(upgrading.received, /101.*hello$/s);
    answered.open();
    assert.equal(await ended, undefined);
    assert.equal(await busy.ended, 'FIN');
  });
}

for (const transport of transports) {
  const ways = [
    ['close()', (server) => () => new Promise((resolve) => server.close(resolve))],
    ['terminate()', (server) => createHttpTerminator({ server }).terminate],
    ...Object.entries(DROP_INS).map(([name, [method]]) => [
      name,
      (server) => {
        require(`http-terminator-native/${name}`)(server);
        return () => new Promise((resolve) => server[method](resolve));
      },
    ]),
  ];

  it(`terminating leaves nothing on a server that close() does not, over ${transport.name}`, async (test) => {
    const keys = {};
    for (const [name, attach] of ways) {
      const server = transport.createServer({}, (_request, response) => response.end('hello'));
      test.after(() => closeEverything(server));
      const end = attach(server);
      await once(server.listen(0, '127.0.0.1'), 'listening');
      const client = await connect(transport, server);
      await client.write(requestText('/', { headers: { Connection: 'close' } }));
      await client.ended;
      await end();
      keys[name] = Reflect.ownKeys(server).map(String).sort();
    }
    assert.deepEqual(keys['terminate()'], keys['close()']);
    for (const [name, methods] of Object.entries(DROP_INS)) {
      assert.deepEqual(keys[name], [...keys['close()'], ...methods].sort(), name);
    }
  });
}
