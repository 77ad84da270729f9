// A process with a terminator whose listening socket another process has as well: one that this process has handed
// it on to, or the one that it was inherited from. Whatever this process accepts it holds until it terminates.

const { fork } = require('node:child_process');
const { once } = require('node:events');
const http = require('node:http');
const { createHttpTerminator } = require('../..');

/** The first descriptor after those of standard input, output and errors, and the channel to the test. */
const INHERITED = 4;

const roles = {
  async parent() {
    const { server, end } = await serve({ port: 0, host: '127.0.0.1' });
    const sibling = fork(__filename, ['sibling'], { stdio: 'inherit' });
    sibling.send('share', server);
    await once(sibling, 'message');
    process.send({ port: server.address().port });
    await end();
    sibling.disconnect();
  },

  async sibling() {
    const [, shared] = await once(process, 'message');
    const server = http.createServer((_request, response) => response.end('the other one'));
    await once(server.listen(shared), 'listening');
    process.send('listening');
    process.once('disconnect', () => server.close());
  },

  async heir() {
    const { server, end } = await serve({ fd: INHERITED });
    process.send({ port: server.address().port });
    await end();
  },
};

roles[process.argv[2]]();

async function serve(where) {
  const held = [];
  const server = http.createServer((_request, response) => {
    held.push(response);
    process.send({ held: held.length });
  });
  const terminator = createHttpTerminator({ server, httpResponseTimeout: 300_000 });
  await once(server.listen(where), 'listening');
  return { server, end };

  async function end() {
    await once(process, 'message');
    const terminated = terminator.terminate();
    for (const response of held) response.end('held');
    process.send({ report: await terminated });
    await once(process, 'message');
    process.disconnect();
  }
}
