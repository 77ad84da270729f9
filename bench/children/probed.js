// A server with something that answers health probes beside it, in a process of its own.

const http = require('node:http');
const { once } = require('node:events');
const { answer } = require('../child');
const { probeLibraries } = require('../probe-libraries');

/** How long each turn of a busy event loop takes. */
const BUSY_TURN_MS = 10;

answer({
  /** Opens, and tells what that took in this process. */
  async open({ library }) {
    const server = http.createServer((_request, response) => response.end());
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { load, open } = probeLibraries.find(({ name }) => name === library);
    const [loaded, loading] = await measured(() => load(server));
    const [port, opening] = await measured(() => open(server, loaded));
    return { port, loading, opening };
  },

  /** From now on. */
  busy() {
    setImmediate(turn);
  },

  /** Answers first, so that whoever asked knows. */
  block({ milliseconds }) {
    setTimeout(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds), 1);
  },
});

function turn() {
  const until = performance.now() + BUSY_TURN_MS;
  while (performance.now() < until);
  setImmediate(turn);
}

async function measured(work) {
  const before = resident();
  const startedAt = performance.now();
  const result = await work();
  const milliseconds = performance.now() - startedAt;
  return [result, { milliseconds, bytes: resident() - before }];
}

/** A single collection leaves some of what it has found to the next one. */
function resident() {
  for (let collection = 0; collection < 3; collection += 1) global.gc();
  return process.memoryUsage().rss;
}
