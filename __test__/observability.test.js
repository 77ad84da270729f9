// What NODE_DEBUG prints and the diagnostics channel publishes.

const assert = require('node:assert/strict');
const { execFile } = require('node:child_process');
const diagnosticsChannel = require('node:diagnostics_channel');
const path = require('node:path');
const { it } = require('node:test');
const { promisify } = require('node:util');
const { connect, requestText } = require('./support/client');
const { gatedHandler, serve } = require('./support/server');
const { transports } = require('./support/transports');

for (const transport of transports) {
  it(`publishes each phase, and what is still open at half time, over ${transport.name}`, async (test) => {
    const messages = [];
    const listen = (message) => messages.push(message);
    diagnosticsChannel.subscribe('http-terminator:phase', listen);
    test.after(() => diagnosticsChannel.unsubscribe('http-terminator:phase', listen));
    const { handler, arrived } = gatedHandler();
    const options = { httpResponseTimeout: 60, shutdownDelay: 20 };
    const { server, terminator } = await serve(test, transport, handler, options);
    const client = await connect(transport, server);
    await client.write(requestText('/never'));
    await arrived('/never');
    await terminator.terminate();
    assert.deepEqual(
      messages.map(({ phase, stats }) => [phase, stats.requests]),
      [
        ['delaying', 1],
        ['draining', 1],
        ['half time', 1],
        ['deadline', 1],
        ['terminated', 0],
      ],
    );
    assert.ok(messages.every((message) => message.server === server));
    assert.deepEqual(
      messages.map(({ open }) => open.map(({ url }) => url)),
      [[], [], ['/never'], [], []],
    );
  });
}

const program = `
  const http = require('node:http');
  const { createHttpTerminator } = require(${JSON.stringify(path.join(__dirname, '..'))});
  const server = http.createServer(() => terminator.terminate());
  const terminator = createHttpTerminator({ server, httpResponseTimeout: 40 });
  server.listen(0, '127.0.0.1', () => http.get({ port: server.address().port, path: '/never' }).on('error', () => {}));`;

it('prints a line for each phase if NODE_DEBUG asks for it', async () => {
  const env = { ...process.env, NODE_DEBUG: 'http-terminator' };
  const { stderr } = await promisify(execFile)(process.execPath, ['--eval', program], { env });
  const lines = stderr.trim().split('\n');
  assert.equal(lines.length, 4);
  assert.match(lines[0], /draining \(port \d+\): 1 connections \(1 active, 0 idle, 0 upgraded\), 1 requests, 0 tasks$/);
  assert.match(lines[1], /half time .*; still open: http GET \/never$/);
  assert.match(lines[2], /deadline /);
  assert.match(lines[3], /terminated .*: 0 connections/);
});

it('prints nothing otherwise', async () => {
  const { stdout, stderr } = await promisify(execFile)(process.execPath, ['--eval', program]);
  assert.equal(stdout + stderr, '');
});
