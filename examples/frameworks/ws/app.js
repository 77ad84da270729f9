import http from 'node:http';
import { createHttpTerminator } from 'http-terminator-native';
import { WebSocketServer } from 'ws';
import { ask } from '../backend.js';

const { PORT = '8080' } = process.env;

const server = http.createServer(async (request, response) => {
  response.end(request.url === '/order' ? await ask() : 'hello');
});
const webSocketServer = new WebSocketServer({ server });
webSocketServer.on('connection', (client) => client.send('welcome'));

server.listen(Number(PORT), () => console.log(`port ${server.address().port}`));
const terminator = createHttpTerminator({
  server,
  webSocketServers: [webSocketServer],
  httpResponseTimeout: 10_000,
});

process.once('SIGTERM', async () => console.log(JSON.stringify(await terminator.terminate())));
