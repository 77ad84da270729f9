// A client of health probes on a thread of its own, so that it goes on while the event loop of the test is blocked.

const http = require('node:http');
const { isMainThread, parentPort, Worker } = require('node:worker_threads');

if (isMainThread) module.exports = { startProber };
else work();

/**
 * @returns an object whose `run` asks for paths in turn until `stop`, which gives what was answered: `{ path, status,
 * body, asked, at }`, where `asked` and `at` are times on the clock of `Date.now()`: of the question and of its answer.
 */
async function startProber(test, port, paths) {
  const worker = new Worker(__filename);
  test.after(() => worker.terminate());
  const message = () => new Promise((resolve) => worker.once('message', resolve));
  const first = message();
  worker.postMessage({ port, paths });
  await first;
  return {
    async stop() {
      const answers = message();
      worker.postMessage('stop');
      return answers;
    },
  };
}

function work() {
  const answers = [];
  let stopped = false;
  parentPort.on('message', (order) => {
    if (order === 'stop') stopped = true;
    else run(order);
  });

  async function run({ port, paths }) {
    for (let count = 0; !stopped; count += 1) {
      const path = paths[count % paths.length];
      const asked = Date.now();
      answers.push({ path, asked, ...(await ask(port, path)), at: Date.now() });
      if (count === paths.length) parentPort.postMessage('running');
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    parentPort.postMessage(answers);
    parentPort.close();
  }
}

function ask(port, path) {
  return new Promise((resolve, reject) => {
    const request = http.get({ port, path, host: '127.0.0.1', agent: false }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (data) => {
        body += data;
      });
      response.on('end', () => resolve({ status: response.statusCode, body }));
    });
    request.on('error', reject);
  });
}
