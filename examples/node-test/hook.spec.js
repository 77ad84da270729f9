// `node --test examples/node-test/hook.spec.js`

const assert = require('node:assert/strict');
const { once } = require('node:events');
const http = require('node:http');
const { after, before, it } = require('node:test');
const { createHttpTerminator, createProbeServer } = require('http-terminator-native');

const server = http.createServer((_request, response) => response.end('hello'));
const terminator = createHttpTerminator({ server });

before(() => once(server.listen(0, '127.0.0.1'), 'listening'));
after(() => terminator.terminate());

it('says hello', async () => {
  // The client keeps its connection.
  const response = await fetch(`http://127.0.0.1:${server.address().port}`);
  assert.equal(await response.text(), 'hello');
});

it('throws errors that are instances of Error', async () => {
  assert.throws(() => createHttpTerminator({}), TypeError);
  assert.throws(() => createHttpTerminator({ server, httpResponseTimeout: -1 }), RangeError);
  await assert.rejects(createProbeServer({ port: server.address().port, host: '127.0.0.1' }), Error);
});
