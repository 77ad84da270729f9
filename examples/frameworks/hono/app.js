import { serve } from '@hono/node-server';
import { Hono } from 'hono';
import { createHttpTerminator } from 'http-terminator-native';
import { ask } from '../backend.js';

const { PORT = '8080' } = process.env;

const app = new Hono();
app.get('/', (context) => context.text('hello'));
app.get('/order', async (context) => context.text(await ask()));

const server = serve({ fetch: app.fetch, port: Number(PORT) }, ({ port }) => console.log(`port ${port}`));
const terminator = createHttpTerminator({ server, httpResponseTimeout: 10_000 });

process.once('SIGTERM', async () => console.log(JSON.stringify(await terminator.terminate())));
