const { once } = require('node:events');
const http = require('node:http');
const { createHttpTerminator } = require('http-terminator-native');

test('says hello', async () => {
  const server = http.createServer((_request, response) => response.end('hello'));
  await using terminator = createHttpTerminator({ server });
  await once(server.listen(0, '127.0.0.1'), 'listening');

  const response = await fetch(`http://127.0.0.1:${server.address().port}`);
  expect(await response.text()).toBe('hello');
  expect(terminator.stats().connections).toBe(1);
});
