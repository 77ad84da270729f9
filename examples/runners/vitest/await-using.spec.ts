import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { createHttpTerminator } from 'http-terminator-native';
import { expect, test } from 'vitest';

test('says hello', async () => {
  const server = http.createServer((_request, response) => response.end('hello'));
  await using terminator = createHttpTerminator({ server });
  await once(server.listen(0, '127.0.0.1'), 'listening');

  const { port } = server.address() as AddressInfo;
  const response = await fetch(`http://127.0.0.1:${port}`);
  expect(await response.text()).toBe('hello');
  expect(terminator.stats().connections).toBe(1);
});
