import { once } from 'node:events';
import http from 'node:http';
import { createHttpTerminator } from 'http-terminator-native';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test('ends under fake timers', async () => {
  const server = http.createServer((_request, response) => response.end('hello'));
  await using terminator = createHttpTerminator({ server });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  expect(terminator.stats().connections).toBe(0);
});
