// `node supertest/app.spec.js`. The hooks of other test runners do the same.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { after, before, describe, it } from 'node:test';
import { createHttpTerminator } from 'http-terminator-native';
import request from 'supertest';
import { app } from './app.js';

describe('a server that the suite starts', () => {
  const server = http.createServer(app);
  const terminator = createHttpTerminator({ server });
  const agent = new http.Agent({ keepAlive: true });

  before(() => once(server.listen(0, '127.0.0.1'), 'listening'));
  after(() => terminator.terminate());

  it('keeps the connection of an agent', async () => {
    await request(server).get('/').agent(agent).expect(200, 'hello');
    await request(server).get('/').agent(agent).expect(200, 'hello');
    assert.equal(terminator.stats().connections, 1);
  });

  it('ends when the order in flight is made', async (test) => {
    const backend = http.createServer();
    const backendTerminator = createHttpTerminator({ server: backend });
    test.after(() => backendTerminator.terminate());
    await once(backend.listen(0, '127.0.0.1'), 'listening');
    process.env.BACKEND = `http://127.0.0.1:${backend.address().port}`;

    const asked = once(backend, 'request');
    const ordered = request(server).get('/order').expect('Connection', 'close').expect(200, 'made').then();
    const [, answer] = await asked;
    const terminated = terminator.terminate();
    answer.end('made');
    await ordered;
    const { graceful, connections } = await terminated;
    assert.equal(graceful, true);
    assert.deepEqual(connections, { idle: 1, drained: 1, forced: 0 });
  });
});

describe('a server that supertest starts for each request, and closes', () => {
  const server = http.createServer(app);
  const terminator = createHttpTerminator({ server });

  after(() => terminator.terminate());

  for (const time of ['once', 'and again']) {
    it(`says hello ${time}`, async () => {
      await request(server).get('/').expect(200, 'hello');
      assert.equal(server.listening, false);
      assert.equal(terminator.state, 'serving');
    });
  }
});
