const { once } = require('node:events');
const http = require('node:http');
const { createHttpTerminator } = require('http-terminator-native');

jest.useFakeTimers();

test('ends under fake timers', async () => {
  const server = http.createServer((_request, response) => response.end('hello'));
  await using terminator = createHttpTerminator({ server });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  expect(terminator.stats().connections).toBe(0);
});
