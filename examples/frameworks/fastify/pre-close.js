// Where others call app.close() (fastify-cli, a test, a plugin): it waits for the hook, and return503OnClosing lets the
// requests that come meanwhile be served.

import fastify from 'fastify';
import { createHttpTerminator } from 'http-terminator-native';
import { ask } from '../backend.js';

const { HOST = '0.0.0.0', PORT = '8080' } = process.env;

const app = fastify({ return503OnClosing: false });
app.get('/', async () => 'hello');
app.get('/order', async () => ask());
app.addHook('onClose', async () => console.log('closed the rest'));

const terminator = createHttpTerminator({ server: app.server, httpResponseTimeout: 10_000 });
app.addHook('preClose', async () => console.log(JSON.stringify(await terminator.terminate())));

await app.listen({ host: HOST, port: Number(PORT) });
console.log(`port ${app.server.address().port}`);

process.once('SIGTERM', () => app.close());
