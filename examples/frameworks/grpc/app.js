import { promisify } from 'node:util';
import grpc from '@grpc/grpc-js';
import { createHttpTerminator } from 'http-terminator-native';
import { ask } from '../backend.js';
import { Orders } from './orders.js';

const { PORT = '8080' } = process.env;

const server = new grpc.Server();
server.addService(Orders, {
  hello: (_call, callback) => callback(null, 'hello'),
  order: async (_call, callback) => callback(null, await ask()),
});
const bind = promisify(server.bindAsync).bind(server);
const port = await bind(`0.0.0.0:${PORT}`, grpc.ServerCredentials.createInsecure());
console.log(`port ${port}`);

// The servers of node:http2 that it made when it bound, in a field that its types do not mention.
const terminator = createHttpTerminator({ server: [...server.http2Servers.keys()], httpResponseTimeout: 10_000 });

process.once('SIGTERM', async () => console.log(JSON.stringify(await terminator.terminate())));
