// A server behind a balancer, in a process of its own that is restarted again and again. It answers each POST
// with the body that came, and a health check with 503 as soon as it is about to go.

const http = require('node:http');
const { setTimeout: delay } = require('node:timers/promises');
const { createHttpTerminator } = require('../..');

/** Longer than balancers keep their connections, so that it is never this server that ends one in service. */
const KEEP_ALIVE_TIMEOUT_MS = 600_000;

/** By hand, what a process without a terminator needs so that it ends at all. */
const CLOSE_WITHIN_MS = 1_000;

/** Somebody else may have the port for a moment while this server is away. */
const LISTEN_WITHIN_MS = 10_000;
const LISTEN_AGAIN_AFTER_MS = 50;

const { port, terminatorOptions } = JSON.parse(process.argv[2]);

let requested = false;

const server = http.createServer((request, response) => {
  if (request.url === '/health') return health(response);
  if (!requested) process.send?.('requested');
  requested = true;
  const body = [];
  request.on('data', (chunk) => body.push(chunk));
  request.on('end', () => setTimeout(() => response.end(Buffer.concat(body)), 1 + Math.random() * 9));
});
server.keepAliveTimeout = KEEP_ALIVE_TIMEOUT_MS;

const { isServing, end } = terminatorOptions === null ? withoutTerminator() : withTerminator();

process.once('SIGTERM', async () => {
  await end();
  process.exit();
});
// Whoever started it is gone.
process.once('disconnect', () => process.exit(1));
listen(Date.now() + LISTEN_WITHIN_MS);

function health(response) {
  response.statusCode = isServing() ? 200 : 503;
  response.end();
}

function withTerminator() {
  const terminator = createHttpTerminator({ server, ...terminatorOptions });
  return { isServing: () => terminator.state === 'serving', end: terminator.terminate };
}

/** What Node does by itself: it closes the listener and the idle connections, and waits for the others. */
function withoutTerminator() {
  return {
    isServing: () => server.listening,
    end: () => Promise.race([new Promise((resolve) => server.close(resolve)), delay(CLOSE_WITHIN_MS)]),
  };
}

/** @param {number} until */
function listen(until) {
  server.once('error', async (error) => {
    if (error.code !== 'EADDRINUSE' || Date.now() > until) throw error;
    await delay(LISTEN_AGAIN_AFTER_MS);
    listen(until);
  });
  server.listen(port, '127.0.0.1', () => {
    server.removeAllListeners('error');
    process.send?.({ port: server.address().port });
  });
}
