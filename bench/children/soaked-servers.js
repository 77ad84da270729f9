// Servers of all kinds in one process, which come and go.

const fs = require('node:fs');
const http = require('node:http');
const http2 = require('node:http2');
const https = require('node:https');
const { once } = require('node:events');
const { setImmediate: turn } = require('node:timers/promises');
const { WebSocketServer } = require('ws');
const { createHttpTerminator, createProbeServer } = require('../..');
const { answer } = require('../child');
const { credentials } = require('../../__test__/support/transports');

/** Long enough for whatever is answered, and short enough for what never is. */
const IN_TIME_MS = 20_000;
const CUT_AFTER_MS = 30;

const ANSWER = Buffer.alloc(4096, 'x');

const kinds = {
  http: () => http.createServer(handle),
  https: () => https.createServer(credentials, handle),
  http2: () => http2.createSecureServer({ ...credentials, allowHTTP1: true }, handle),
  websocket: () => http.createServer(handle),
};

/** @type {Map<number, { server: http.Server, terminator: ReturnType<typeof createHttpTerminator>, probes: { close(): Promise<void> } | null }>} */
const running = new Map();
let started = 0;

answer({
  async start({ kind, cut }) {
    const server = kinds[kind]();
    const webSocketServers = kind === 'websocket' ? [echoing(new WebSocketServer({ server }))] : [];
    const httpResponseTimeout = cut ? CUT_AFTER_MS : IN_TIME_MS;
    const terminator = createHttpTerminator({ server, webSocketServers, httpResponseTimeout });
    const probes =
      kind === 'http' ? await createProbeServer({ port: 0, host: '127.0.0.1', terminators: [terminator] }) : null;
    await once(server.listen(0, '127.0.0.1'), 'listening');
    started += 1;
    running.set(started, { server, terminator, probes });
    return { id: started, port: server.address().port };
  },

  async terminate({ id }) {
    const { terminator, probes } = running.get(id);
    running.delete(id);
    const report = await terminator.terminate();
    await probes?.close();
    return report;
  },

  /** What the process has when no server is left. */
  async sample() {
    // What a collection finds may be released by a callback of its own, and only then be found by the next one.
    for (let collection = 0; collection < 4; collection += 1) {
      global.gc();
      await turn();
    }
    const { heapUsed, external, rss } = process.memoryUsage();
    return {
      resident: rss,
      javascript: heapUsed + external,
      handles: process.getActiveResourcesInfo().length,
      descriptors: fs.readdirSync('/proc/self/fd').length,
      threads: fs.readdirSync('/proc/self/task').length,
    };
  },
});

/** Answers in two parts once the request has come, or never. */
function handle(request, response) {
  // A client that was cut; there is nobody to tell.
  response.on('error', () => {});
  if (request.url === '/never') {
    response.writeHead(200).write(ANSWER);
    return;
  }
  request.resume();
  request.once('end', () => {
    response.write(ANSWER);
    setImmediate(() => response.end(ANSWER));
  });
}

/** @param {WebSocketServer} webSockets */
function echoing(webSockets) {
  return webSockets.on('connection', (client) => {
    client.on('message', (message) => client.send(message)).on('error', () => {});
  });
}
