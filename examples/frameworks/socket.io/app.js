import http from 'node:http';
import { createHttpTerminator } from 'http-terminator-native';
import { Server } from 'socket.io';
import { ask } from '../backend.js';

const { PORT = '8080' } = process.env;

const server = http.createServer(async (request, response) => {
  response.end(request.url === '/order' ? await ask() : 'hello');
});
const io = new Server(server);
io.on('connection', (socket) => socket.emit('welcome'));

server.listen(Number(PORT), () => console.log(`port ${server.address().port}`));
const terminator = createHttpTerminator({ server, httpResponseTimeout: 10_000 });
terminator.signal.addEventListener('abort', () => io.disconnectSockets(true));

process.once('SIGTERM', async () => console.log(JSON.stringify(await terminator.terminate())));
