import { createHttpTerminator } from 'http-terminator-native';
import Koa from 'koa';
import { ask } from '../backend.js';

const { PORT = '8080' } = process.env;

const app = new Koa();
app.use(async (context) => {
  context.body = context.path === '/order' ? await ask() : 'hello';
});

const server = app.listen(Number(PORT), () => console.log(`port ${server.address().port}`));
const terminator = createHttpTerminator({ server, httpResponseTimeout: 10_000 });

process.once('SIGTERM', async () => console.log(JSON.stringify(await terminator.terminate())));
