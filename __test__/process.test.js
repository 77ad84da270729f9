// What a terminator means for its process: it exits by itself, and nothing is left behind.

const assert = require('node:assert/strict');
const { execFile } = require('node:child_process');
const path = require('node:path');
const { describe, it } = require('node:test');
const { promisify } = require('node:util');

const root = path.join(__dirname, '..');

const manyServers = path.join(__dirname, 'support', 'many-servers.js');

/** Runs a program in a process of its own, which must end by itself and say nothing on stderr. */
async function run(program, { type = 'commonjs', flags = [] } = {}) {
  const { stdout, stderr } = await promisify(execFile)(
    process.execPath,
    [...flags, `--input-type=${type}`, '--eval', program],
    { cwd: root, timeout: 100_000 },
  );
  assert.equal(stderr, '');
  return stdout.trim();
}

describe('the package', () => {
  it('can be required', async () => {
    const program = `const { createHttpTerminator } = require('http-terminator-native');
      console.log(typeof createHttpTerminator);`;
    assert.equal(await run(program), 'function');
  });

  it('can be imported', async () => {
    const program = `import { createHttpTerminator } from 'http-terminator-native';
      import whole from 'http-terminator-native';
      console.log(whole.createHttpTerminator === createHttpTerminator);`;
    assert.equal(await run(program, { type: 'module' }), 'true');
  });

  it('has no dependency at run time', () => {
    const { dependencies = {}, peerDependencies = {} } = require('../package.json');
    assert.deepEqual({ ...dependencies, ...peerDependencies }, {});
  });
});

describe('a process', () => {
  const start = `
    const http = require('node:http');
    const { createHttpTerminator } = require('http-terminator-native');
    const server = http.createServer((request, response) => response.end());
    const terminator = createHttpTerminator({ server });`;

  it('exits with a terminator that was never used', async () => {
    await run(start);
  });

  for (const end of ['server.close()', 'server.unref()']) {
    it(`exits after ${end} with a terminator that was never used, and a server that was`, async () => {
      const program = `${start}
        server.listen(0, () => {
          http.get({ port: server.address().port, agent: false }, (response) => {
            response.resume().on('end', () => ${end});
          });
        });`;
      await run(program);
    });
  }

  it('exits after a termination with keep-alive clients', async () => {
    const program = `${start}
      const agent = new http.Agent({ keepAlive: true });
      server.keepAliveTimeout = 60_000;
      server.listen(0, () => {
        http.get({ port: server.address().port, agent }, (response) => {
          response.resume().on('end', async () => {
            console.log((await terminator.terminate()).graceful);
          });
        });
      });`;
    assert.equal(await run(program), 'true');
  });

  it('lives until a termination has resolved, even if nothing else keeps it alive', async () => {
    const program = `${start.replace('{ server }', '{ server, httpResponseTimeout: 50 }')}
      terminator.waitUntil(new Promise(() => {}));
      terminator.terminate().then((report) => console.log(report.tasks.abandoned));`;
    assert.equal(await run(program), '1');
  });

  it('keeps nothing of a background task that has settled', async () => {
    const program = `${start}
      (async () => {
        let result = { of: 'the task' };
        let task = Promise.resolve(result);
        const references = [new WeakRef(result), new WeakRef(task)];
        terminator.waitUntil(task);
        await task;
        result = task = null;
        for (let round = 0; round < 5; round += 1) {
          await new Promise(setImmediate);
          gc();
        }
        console.log(references.every((reference) => reference.deref() === undefined), terminator.stats().tasks);
      })();`;
    assert.equal(await run(program, { flags: ['--expose-gc'] }), 'true 0');
  });

  it('may exit while a termination runs', async () => {
    const program = `${start}
      terminator.waitUntil(new Promise(() => {}));
      terminator.terminate();
      setImmediate(() => process.exit(0));`;
    await run(program);
  });

  it('may end a worker thread while a termination runs in it', async () => {
    const program = `
      const { Worker } = require('node:worker_threads');
      const worker = new Worker(${JSON.stringify(`${start.replace('{ server }', '{ server, httpResponseTimeout: 50 }')}
        terminator.waitUntil(new Promise(() => {}));
        terminator.terminate();
        require('node:worker_threads').parentPort.postMessage('terminating');`)}, { eval: true });
      worker.once('message', () => worker.terminate().then((code) => setTimeout(() => console.log(code), 100)));`;
    assert.equal(await run(program), '1');
  });

  describe('is left clean by 10,000 servers', { concurrency: true }, () => {
    for (const transport of ['http', 'https']) {
      it(transport, { timeout: 300_000 }, async () => {
        const { stdout, stderr } = await promisify(execFile)(process.execPath, ['--expose-gc', manyServers, transport]);
        assert.equal(stderr, '');
        const { servers, before, left, leaks } = JSON.parse(stdout);
        assert.ok(servers >= 10_000, `${servers} servers`);
        assert.deepEqual(left, before);
        assert.equal(leaks, false, 'each batch has left something in memory');
      });
    }
  });
});
