/** @jest-environment jsdom */

const { once } = require('node:events');
const http = require('node:http');
const { createHttpTerminator } = require('http-terminator-native');

test('ends where a browser is imitated', async () => {
  const server = http.createServer((_request, response) => response.end('hello'));
  await using terminator = createHttpTerminator({ server });
  await once(server.listen(0, '127.0.0.1'), 'listening');

  const [response] = await once(http.get({ port: server.address().port, host: '127.0.0.1' }), 'response');
  await once(response.resume(), 'end');
  expect(terminator.signal.aborted).toBe(false);
  expect(terminator.stats().connections).toBe(1);
});
