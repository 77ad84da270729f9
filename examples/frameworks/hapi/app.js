import Hapi from '@hapi/hapi';
import { createHttpTerminator } from 'http-terminator-native';
import { ask } from '../backend.js';

const { PORT = '8080' } = process.env;

const app = Hapi.server({ port: Number(PORT) });
app.route({ method: 'GET', path: '/', handler: () => 'hello' });
app.route({ method: 'GET', path: '/order', handler: () => ask() });
app.ext('onPostStop', () => console.log('closed the rest'));

const terminator = createHttpTerminator({ server: app.listener, httpResponseTimeout: 10_000 });

await app.start();
console.log(`port ${app.info.port}`);

process.once('SIGTERM', async () => {
  // In this order: app.stop() ends connections on which a request is just coming in.
  const report = await terminator.terminate();
  await app.stop();
  console.log(JSON.stringify(report));
});
