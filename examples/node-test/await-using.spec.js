// `node --test examples/node-test/await-using.spec.js`, on Node 24 or later.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const http = require('node:http');
const { it } = require('node:test');
const { createHttpTerminator } = require('http-terminator-native');

it('says hello', async () => {
  const server = http.createServer((_request, response) => response.end('hello'));
  await using terminator = createHttpTerminator({ server });
  await once(server.listen(0, '127.0.0.1'), 'listening');

  const response = await fetch(`http://127.0.0.1:${server.address().port}`);
  assert.equal(await response.text(), 'hello');
  assert.equal(terminator.stats().connections, 1);
});
