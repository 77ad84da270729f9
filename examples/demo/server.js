// The server of the demo, in a process of its own: takes orders and sends downloads until it is told to
// terminate, which it does by hand or with this package.

const http = require('node:http');
const { createHttpTerminator } = require('http-terminator-native');

const RESPONSE_TIMEOUT_MS = 2000;
const DOWNLOAD_CHUNK = Buffer.alloc(160 * 1024, 'x');
const DOWNLOAD_CHUNKS = 24;
const DOWNLOAD_CHUNK_EVERY_MS = 50;

const terminations = { 'by-hand': terminationByHand, package: terminationWithPackage };

const server = http.createServer((request, response) => {
  if (request.url === '/download') sendDownload(response);
  else takeOrder(request, response);
});
const terminate = terminations[process.argv[2]]();

server.listen(0, '127.0.0.1', () => process.send({ type: 'listening', port: server.address().port }));

// A message, because Windows has no SIGTERM.
process.once('message', async () => {
  const startedAt = performance.now();
  const connectionsCut = await terminate();
  process.send({ type: 'ended', milliseconds: performance.now() - startedAt, connectionsCut });
});

process.once('disconnect', () => process.exit());

function terminationWithPackage() {
  const terminator = createHttpTerminator({ server, httpResponseTimeout: RESPONSE_TIMEOUT_MS });
  return async () => {
    const report = await terminator.terminate();
    return report.connections.forced;
  };
}

/** What people write without a package. */
function terminationByHand() {
  return () =>
    new Promise((resolve) => {
      let connectionsCut = 0;
      const timer = setTimeout(() => {
        server.getConnections((_, connections) => {
          connectionsCut = connections;
        });
        server.closeAllConnections();
      }, RESPONSE_TIMEOUT_MS);
      server.close(() => {
        clearTimeout(timer);
        resolve(connectionsCut);
      });
    });
}

/** Answers after some milliseconds of work, as long as a small query to a database takes. */
function takeOrder(request, response) {
  request.resume();
  request.once('end', () => setTimeout(() => response.end('taken'), 5 + Math.random() * 20));
}

/** A few megabytes, as slowly as over a mobile network. */
function sendDownload(response) {
  response.setHeader('Content-Length', DOWNLOAD_CHUNK.length * DOWNLOAD_CHUNKS);
  let left = DOWNLOAD_CHUNKS;
  const timer = setInterval(() => {
    left -= 1;
    if (left > 0) response.write(DOWNLOAD_CHUNK);
    else response.end(DOWNLOAD_CHUNK);
    if (left === 0) clearInterval(timer);
  }, DOWNLOAD_CHUNK_EVERY_MS);
  response.once('close', () => clearInterval(timer));
}
