// A service of Express as it runs in Kubernetes: it ends its server without losing a request, answers probes from a
// native thread, and exits in order. deployment.yaml says how its times relate to those of Kubernetes.

const { once } = require('node:events');
const { setTimeout: delay } = require('node:timers/promises');
const express = require('express');
const { createGracefulShutdown, createHttpTerminator, createProbeServer } = require('http-terminator-native');

const { HOST = '0.0.0.0', PORT = '8080', PROBE_PORT = '8081', SHUTDOWN_DELAY_MS = '5000' } = process.env;

/** What a request in flight may take once the listener has closed. */
const RESPONSE_TIMEOUT_MS = 10_000;
/** The delay and the response timeout fit in, with 5 s left for the hooks. */
const SHUTDOWN_TIMEOUT_MS = 20_000;

/** Stands for what the service depends on. */
const database = {
  query: async () => delay(5 + Math.random() * 10, 'an answer'),
  end: async () => delay(10),
};

main();

async function main() {
  const app = express();
  app.get('/', async (_request, response) => {
    response.send(await database.query());
  });
  const server = app.listen(Number(PORT), HOST);
  const terminator = createHttpTerminator({
    server,
    // The time in which whoever routes requests here learns that this pod is going.
    shutdownDelay: Number(SHUTDOWN_DELAY_MS),
    httpResponseTimeout: RESPONSE_TIMEOUT_MS,
  });
  createGracefulShutdown({
    terminators: [terminator],
    // The last requests are answered by then.
    afterTerminate: [() => database.end()],
    timeout: SHUTDOWN_TIMEOUT_MS,
    // Better than waiting for SIGKILL: it says so in the log.
    enforce: true,
  });
  await once(server, 'listening');
  const probes = await createProbeServer({ port: Number(PROBE_PORT), host: HOST, terminators: [terminator] });
  probes.signalReady();
  console.log(JSON.stringify({ port: server.address().port, probePort: probes.port }));
}
