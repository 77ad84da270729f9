// What test suites do with a server: create it, listen, ask it once, end it; with the client in the same process.

const http = require('node:http');
const net = require('node:net');
const { once } = require('node:events');
const { answer } = require('../child');
const { libraryNamed } = require('../libraries');

/** At which each library cuts what is left: their default, or what their users take. */
const TIMEOUT_MS = 1000;

/** Keeps its connections, as the agent of Node itself does since version 19, and fetch(). */
const agent = new http.Agent({ keepAlive: true });

answer({
  /** How long each cycle took, how long the end of the server was of that, and the processor time for all together. */
  async cycles({ library, cycles, withUnusedConnection }) {
    const times = [];
    const before = process.cpuUsage();
    for (let count = 0; count < cycles; count += 1)
      times.push(await cycle(libraryNamed(library), withUnusedConnection));
    const { user, system } = process.cpuUsage(before);
    return { times, cpuMilliseconds: (user + system) / 1000 };
  },
});

async function cycle({ attach }, withUnusedConnection) {
  const startedAt = performance.now();
  const server = http.createServer((_request, response) => response.end('hello'));
  const terminator = attach(server, TIMEOUT_MS);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = { port: server.address().port, host: '127.0.0.1' };
  await get(address);
  if (withUnusedConnection) await connect(server, address);
  const endsAt = performance.now();
  await terminator.terminate();
  const endedAt = performance.now();
  return { whole: endedAt - startedAt, end: endedAt - endsAt };
}

async function get(address) {
  const [response] = await once(http.get({ ...address, agent }), 'response');
  response.resume();
  await once(response, 'end');
}

async function connect(server, address) {
  const accepted = once(server, 'connection');
  net.connect(address).on('error', () => {});
  await accepted;
}
