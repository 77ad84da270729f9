// A custom server for what `next build` has built.

import http from 'node:http';
import { createHttpTerminator } from 'http-terminator-native';
import next from 'next';

const { PORT = '8080' } = process.env;

const app = next({ dir: import.meta.dirname });
await app.prepare();
const handle = app.getRequestHandler();

const server = http.createServer((request, response) => handle(request, response));
const terminator = createHttpTerminator({ server, httpResponseTimeout: 10_000 });
server.listen(Number(PORT), () => console.log(`port ${server.address().port}`));

process.once('SIGTERM', async () => {
  const report = await terminator.terminate();
  await app.close();
  console.log(JSON.stringify(report));
});
