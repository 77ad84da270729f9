// The services of examples/frameworks, each in a process of its own that gets SIGTERM while requests are in flight. What
// they need takes long to install, so this has a command of its own: `npm run test:frameworks`.

const assert = require('node:assert/strict');
const { execFile, spawn } = require('node:child_process');
const { once } = require('node:events');
const http = require('node:http');
const path = require('node:path');
const { promisify } = require('node:util');
const { describe, it } = require('node:test');
const grpc = require('@grpc/grpc-js');
const { io: connectSocket } = require('socket.io-client');
const { WebSocket } = require('ws');
const { connectTo, requestText } = require('./support/client');
const { gate } = require('./support/server');

/** Set by the command, which has installed them. */
const skip = process.env.FRAMEWORKS !== '1' && 'installs much: npm run test:frameworks';

const folder = path.join(__dirname, '..', 'examples', 'frameworks');

const query = (field) => {
  const body = JSON.stringify({ query: `{ ${field} }` });
  return requestText('/graphql', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'Content-Length': String(body.length) },
    body,
  });
};

/**
 * @typedef {object} App
 * @property {string} file
 * @property {{ quick: string, slow: string }} [requests] the second waits for the backend
 * @property {boolean} [closesItself] says so when its framework has closed the rest
 * @property {NodeJS.Signals} [endsBy] the signal that its framework ends the process by
 * @property {(test: import('node:test').TestContext, port: number) => Promise<() => Promise<void>>} [alongside] another
 * client, and what must have become of it
 */

/** @type {App[]} */
const apps = [
  { file: 'express/app.js' },
  { file: 'koa/app.js' },
  { file: 'fastify/app.js', closesItself: true },
  { file: 'fastify/pre-close.js', closesItself: true },
  { file: 'hapi/app.js', closesItself: true },
  { file: 'nest/app.js' },
  { file: 'nest/shutdown-hooks.js', endsBy: 'SIGTERM' },
  { file: 'hono/app.js' },
  { file: 'next/app.js', requests: { quick: requestText('/'), slow: requestText('/api/order') } },
  { file: 'apollo/app.js', requests: { quick: query('hello'), slow: query('order') } },
  { file: 'ws/app.js', alongside: webSocket },
  { file: 'socket.io/app.js', alongside: socketIo },
];

describe('frameworks', { skip }, () => {
  for (const app of apps) {
    const { file, requests = { quick: requestText(), slow: requestText('/order') }, alongside } = app;

    it(`${file}: in flight, idle, half received, terminate`, async (test) => {
      const { arrived, open, child, port } = await start(test, file);
      const idle = await connectTo(test, port);
      await idle.write(requests.quick);
      await idle.until(/hello/);
      const active = await connectTo(test, port);
      await active.write(requests.slow);
      await arrived;
      const late = await connectTo(test, port);
      await late.write(requests.quick.slice(0, 20));
      const ended = await alongside?.(test, port);

      child.kill('SIGTERM');
      assert.equal(await idle.ended, 'FIN');
      await assert.rejects(connectTo(test, port), { code: 'ECONNREFUSED' });
      await late.write(requests.quick.slice(20));
      assert.equal(await late.ended, 'FIN');
      assertAnswered(late, /hello/);
      open();
      assert.equal(await active.ended, 'FIN');
      assertAnswered(active, /made/);
      await ended?.();

      const report = await exited(child, app);
      assert.equal(report.graceful, true);
      assert.equal(report.requests.cut, 0);
      assert.equal(report.requests.completed + report.requests.late, 2);
    });
  }

  it('grpc/app.js: in flight, idle, terminate', async (test) => {
    const { Orders } = await import('../examples/frameworks/grpc/orders.js');
    const { arrived, open, child, port } = await start(test, 'grpc/app.js');
    const Client = grpc.makeGenericClientConstructor(Orders, 'Orders');
    const connectClient = () => {
      // Else the channels of one process share a connection.
      const client = new Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), {
        'grpc.use_local_subchannel_pool': 1,
      });
      test.after(() => client.close());
      return client;
    };
    const [idle, active] = [connectClient(), connectClient()];
    assert.equal(await promisify(idle.hello).call(idle, 'tea'), 'hello');
    const order = promisify(active.order).call(active, 'tea');
    await arrived;
    const channel = idle.getChannel();
    const left = promisify(channel.watchConnectivityState).call(channel, grpc.connectivityState.READY, Infinity);

    child.kill('SIGTERM');
    await left;
    await assert.rejects(promisify(idle.hello).call(idle, 'tea'), { code: grpc.status.UNAVAILABLE });
    open();
    assert.equal(await order, 'made');

    const report = await exited(child, { file: 'grpc/app.js' });
    assert.equal(report.graceful, true);
    assert.deepEqual(report.requests, { completed: 1, late: 0, cut: 0 });
  });

  it('supertest/app.spec.js passes, and its process ends', async () => {
    await promisify(execFile)(process.execPath, ['supertest/app.spec.js'], { cwd: folder });
  });
});

/** Starts a service whose backend answers when `open()` is called; `arrived` is when it has been asked. */
async function start(test, file) {
  const [asked, go] = [gate(), gate()];
  const backend = http.createServer(async (_request, response) => {
    asked.open();
    await go.passed;
    response.end('made');
  });
  test.after(() => backend.close().closeAllConnections());
  await once(backend.listen(0, '127.0.0.1'), 'listening');
  const child = spawn(process.execPath, [file], {
    cwd: folder,
    env: { ...process.env, NODE_ENV: 'production', PORT: '0', BACKEND: `http://127.0.0.1:${backend.address().port}` },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  test.after(() => child.kill('SIGKILL'));
  const port = await listening(child);
  return { arrived: asked.passed, open: go.open, child, port };
}

async function listening(child) {
  child.output = '';
  return new Promise((resolve, reject) => {
    child.stdout.setEncoding('utf8').on('data', (text) => {
      child.output += text;
      const said = /^port (\d+)$/m.exec(child.output);
      if (said !== null) resolve(Number(said[1]));
    });
    child.ended = once(child, 'close');
    child.ended.then(() => reject(new Error(`ended without listening: ${child.output}`)));
  });
}

/** Answered whole, and told that the connection closes. */
function assertAnswered(client, body) {
  assert.equal(client.answers.length, 1);
  const [answer] = client.answers;
  assert.equal(answer.whole, true);
  assert.equal(answer.status, 200);
  assert.equal(answer.headers.connection, 'close');
  assert.match(answer.body, body);
}

/** The report of the termination, after the process has ended, which nobody but itself sees to. */
async function exited(child, { closesItself = false, endsBy = null }) {
  const [code, signal] = await child.ended;
  assert.deepEqual([code, signal], [endsBy === null ? 0 : null, endsBy]);
  const lines = child.output.trim().split('\n');
  assert.equal(lines.includes('closed the rest'), closesItself);
  return JSON.parse(lines.find((line) => line.startsWith('{')));
}

async function webSocket(test, port) {
  const client = new WebSocket(`ws://127.0.0.1:${port}`);
  test.after(() => client.terminate());
  const closed = once(client, 'close');
  await once(client, 'message');
  return async () => assert.equal((await closed)[0], 1001);
}

async function socketIo(test, port) {
  // By default it polls first. Between two polls socket.io waits half a minute for another one to say goodbye to.
  const client = connectSocket(`http://127.0.0.1:${port}`, { reconnection: false, transports: ['websocket'] });
  test.after(() => client.close());
  const disconnected = new Promise((resolve) => client.once('disconnect', resolve));
  await new Promise((resolve) => client.once('welcome', resolve));
  return async () => assert.equal(await disconnected, 'io server disconnect');
}
