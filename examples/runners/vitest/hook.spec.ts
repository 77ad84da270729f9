import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { createHttpTerminator, createProbeServer } from 'http-terminator-native';
import { afterAll, beforeAll, expect, test } from 'vitest';

const server = http.createServer((_request, response) => response.end('hello'));
const terminator = createHttpTerminator({ server });

beforeAll(() => once(server.listen(0, '127.0.0.1'), 'listening'));
afterAll(() => terminator.terminate());

test('says hello', async () => {
  const { port } = server.address() as AddressInfo;
  // The client keeps its connection.
  const response = await fetch(`http://127.0.0.1:${port}`);
  expect(await response.text()).toBe('hello');
});

test('throws errors that are instances of Error', async () => {
  const { port } = server.address() as AddressInfo;
  expect(() => createHttpTerminator({} as never)).toThrow(TypeError);
  expect(() => createHttpTerminator({ server, httpResponseTimeout: -1 })).toThrow(RangeError);
  await expect(createProbeServer({ port, host: '127.0.0.1' })).rejects.toBeInstanceOf(Error);
});
