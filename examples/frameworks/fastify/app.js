import fastify from 'fastify';
import { createHttpTerminator } from 'http-terminator-native';
import { ask } from '../backend.js';

const { HOST = '0.0.0.0', PORT = '8080' } = process.env;

const app = fastify();
app.get('/', async () => 'hello');
app.get('/order', async () => ask());
app.addHook('onClose', async () => console.log('closed the rest'));

const terminator = createHttpTerminator({ server: app.server, httpResponseTimeout: 10_000 });

// With its default, localhost, Fastify makes a second server for the other address of that name, which nobody is given.
await app.listen({ host: HOST, port: Number(PORT) });
console.log(`port ${app.server.address().port}`);

process.once('SIGTERM', async () => {
  // In this order: from app.close() on, Fastify answers requests with 503.
  const report = await terminator.terminate();
  await app.close();
  console.log(JSON.stringify(report));
});
