import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import addShutdown, { type Extended, extend, type WithShutdown } from 'http-terminator-native/http-shutdown';
import stoppable, { type StoppableServer, type WithStop } from 'http-terminator-native/stoppable';

const stopped: StoppableServer = stoppable(http.createServer());
const secure: https.Server & WithStop = stoppable(https.createServer(), 500);
stoppable(http2.createServer(), undefined).stop();
stopped.stop();
stopped.stop((error, gracefully) => {
  const code: string | undefined = error?.message;
  const graceful: boolean = gracefully;
  console.log(code, graceful);
});
secure.listen(0).close();

// @ts-expect-error An application is not its server.
stoppable(() => {});
// @ts-expect-error The grace is a number.
stoppable(http.createServer(), '500');
// @ts-expect-error There is nothing to wait for: it calls back.
stopped.stop().then(() => {});

const shut: http.Server & WithShutdown = addShutdown(http.createServer());
addShutdown(http2.createSecureServer()).shutdown();
shut.shutdown((error) => console.log(error?.message));
shut.forceShutdown();
extend();
const extended: http.Server & WithShutdown = (http.createServer() as http.Server & Extended).withShutdown();
extended.listen(0).shutdown();

// @ts-expect-error Nobody has extended it, as far as its type says.
http.createServer().withShutdown();
// @ts-expect-error A server is required.
addShutdown();
