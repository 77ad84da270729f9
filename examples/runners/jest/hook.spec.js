const { once } = require('node:events');
const http = require('node:http');
const { createHttpTerminator, createProbeServer } = require('http-terminator-native');

const server = http.createServer((_request, response) => response.end('hello'));
const terminator = createHttpTerminator({ server });

beforeAll(() => once(server.listen(0, '127.0.0.1'), 'listening'));
afterAll(() => terminator.terminate());

test('says hello', async () => {
  // The client keeps its connection.
  const response = await fetch(`http://127.0.0.1:${server.address().port}`);
  expect(await response.text()).toBe('hello');
});

test('throws errors that are instances of Error', async () => {
  expect(() => createHttpTerminator({})).toThrow(TypeError);
  expect(() => createHttpTerminator({ server, httpResponseTimeout: -1 })).toThrow(RangeError);
  const inUse = createProbeServer({ port: server.address().port, host: '127.0.0.1' });
  await expect(inUse).rejects.toBeInstanceOf(Error);
});
