// Test runners that replace timers before the first server of the process listens, when most of the package is not loaded.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const http = require('node:http');
const http2 = require('node:http2');
const { it, mock } = require('node:test');
const { createGracefulShutdown, createHttpTerminator, createProbeServer } = require('..');
const { block } = require('./support/server');
const { closeEverything } = require('./support/transports');

mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'setImmediate'] });

it('do not hold up sessions of HTTP/2', async (test) => {
  const server = http2.createServer((_request, response) => response.end());
  test.after(() => closeEverything(server));
  const terminator = createHttpTerminator({ server });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const session = http2.connect(`http://127.0.0.1:${server.address().port}`);
  test.after(() => session.destroy());
  await once(session.request({ ':path': '/' }).resume(), 'close');
  const said = once(session, 'goaway');
  assert.equal((await terminator.terminate()).graceful, true);
  await said;
});

it('do not hold up a termination, nor those after it', async (test) => {
  for (const isReplaced of [true, false]) {
    if (!isReplaced) mock.timers.reset();
    const server = http.createServer((_request, response) => response.end());
    test.after(() => closeEverything(server));
    const terminator = createHttpTerminator({ server });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    assert.equal((await terminator.terminate()).graceful, true);
  }
});

it('do not hold up a shutdown', async () => {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'setImmediate'] });
  const shutdown = createGracefulShutdown({
    terminators: [],
    beforeTerminate: [() => new Promise(() => {})],
    hookTimeout: 10,
    exit: false,
  });
  const { errors } = await shutdown.start();
  process.exitCode = 0;
  assert.equal(errors.length, 1);
  mock.timers.reset();
});

it('are no stall to a probe server', async (test) => {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'setImmediate'] });
  const probes = await createProbeServer({ port: 0, host: 'localhost' });
  test.after(() => probes.close());
  mock.timers.reset();
  const url = `http://127.0.0.1:${probes.port}/metrics`;
  const lag = async () => Number(/^nodejs_eventloop_lag_seconds (\S+)$/m.exec(await (await fetch(url)).text())[1]);
  // It falls when the loop shows that it turns, and only then.
  for (let before = 0, now = 0; now >= before; now = await lag()) {
    before = now;
    block(150);
  }
});
