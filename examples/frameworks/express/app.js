import express from 'express';
import { createHttpTerminator } from 'http-terminator-native';
import { ask } from '../backend.js';

const { PORT = '8080' } = process.env;

const app = express();
app.get('/', (_request, response) => response.send('hello'));
app.get('/order', async (_request, response) => response.send(await ask()));

const server = app.listen(Number(PORT), () => console.log(`port ${server.address().port}`));
const terminator = createHttpTerminator({ server, httpResponseTimeout: 10_000 });

process.once('SIGTERM', async () => console.log(JSON.stringify(await terminator.terminate())));
