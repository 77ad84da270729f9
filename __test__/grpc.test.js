// gRPC on a server that is terminated: calls in flight end whole.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const { promisify } = require('node:util');
const { it } = require('node:test');
const grpc = require('@grpc/grpc-js');
const { createHttpTerminator } = require('..');
const { gate } = require('./support/server');

const serialize = (value) => Buffer.from(JSON.stringify(value));
const deserialize = (bytes) => JSON.parse(bytes);
const method = (name, responseStream) => ({
  path: `/test.Greeter/${name}`,
  requestStream: false,
  responseStream,
  requestSerialize: serialize,
  requestDeserialize: deserialize,
  responseSerialize: serialize,
  responseDeserialize: deserialize,
});
const service = { greet: method('greet', false), count: method('count', true) };

it('gRPC calls in flight, unary and streaming, end whole', async (test) => {
  const server = new grpc.Server();
  const [called, streaming, go] = [gate(), gate(), gate()];
  server.addService(service, {
    async greet({ request }, callback) {
      called.open();
      await go.passed;
      callback(null, { greeting: `hello ${request.name}` });
    },
    async count(call) {
      call.write({ number: 1 });
      streaming.open();
      await go.passed;
      call.write({ number: 2 });
      call.end();
    },
  });
  const bind = promisify(server.bindAsync).bind(server);
  const port = await bind('127.0.0.1:0', grpc.ServerCredentials.createInsecure());
  // As the README shows it.
  const terminator = createHttpTerminator({ server: [...server.http2Servers.keys()], httpResponseTimeout: 300_000 });

  const Client = grpc.makeGenericClientConstructor(service, 'Greeter');
  const client = new Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure());
  test.after(() => {
    client.close();
    server.forceShutdown();
  });
  const greeting = promisify(client.greet).call(client, { name: 'world' });
  const stream = client.count({});
  const numbers = [];
  stream.on('data', ({ number }) => numbers.push(number));
  const ended = once(stream, 'end');
  await Promise.all([called.passed, streaming.passed]);
  const terminated = terminator.terminate();
  go.open();
  assert.deepEqual(await greeting, { greeting: 'hello world' });
  await ended;
  assert.deepEqual(numbers, [1, 2]);
  const report = await terminated;
  assert.equal(report.graceful, true);
  assert.deepEqual(report.requests, { completed: 2, late: 0, cut: 0 });
});
