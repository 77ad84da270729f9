import { ApolloServer } from '@apollo/server';
import { expressMiddleware } from '@as-integrations/express5';
import express from 'express';
import { createHttpTerminator } from 'http-terminator-native';
import { ask } from '../backend.js';

const { PORT = '8080' } = process.env;

const apollo = new ApolloServer({
  typeDefs: 'type Query { hello: String!, order: String! }',
  resolvers: { Query: { hello: () => 'hello', order: () => ask() } },
  // In place of ApolloServerPluginDrainHttpServer.
  plugins: [{ serverWillStart: async () => ({ drainServer }) }],
  // Else Apollo ends the process by the signal.
  stopOnTerminationSignals: false,
});
await apollo.start();

const app = express();
app.use('/graphql', express.json(), expressMiddleware(apollo));

const server = app.listen(Number(PORT), () => console.log(`port ${server.address().port}`));
const terminator = createHttpTerminator({ server, httpResponseTimeout: 10_000 });

process.once('SIGTERM', () => apollo.stop());

async function drainServer() {
  console.log(JSON.stringify(await terminator.terminate()));
}
