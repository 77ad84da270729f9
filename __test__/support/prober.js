// A client of health probes on a thread of its own, so that it goes on while the event loop of the test is blocked.

const http = require('node:http');
const { isMainThread, parentPort, Worker, workerData } = require('node:worker_threads');

const BLOCKED_AT_MOST = 20_000;

if (isMainThread) module.exports = { startProber };
else work();

/**
 * @returns an object whose `run` asks for paths in turn until `stop`, which gives what was answered: `{ path, status,
 * body, asked, at }`, where `asked` and `at` are times on the clock of `Date.now()`: of the question and of its answer.
 * `blockUntilAnswered` blocks the event loop of the test until so many more have been, and so many milliseconds at least.
 */
async function startProber(test, port, paths) {
  const answered = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(__filename, { workerData: { answered } });
  test.after(() => worker.terminate());
  const message = () => new Promise((resolve) => worker.once('message', resolve));
  const first = message();
  worker.postMessage({ port, paths });
  await first;
  return {
    blockUntilAnswered(count, milliseconds = 0) {
      const began = Date.now();
      const goal = Atomics.load(answered, 0) + count;
      for (let now = goal - count; now < goal || Date.now() < began + milliseconds; now = Atomics.load(answered, 0)) {
        if (Date.now() > began + BLOCKED_AT_MOST) throw new Error(`${goal - now} probes were not answered`);
        Atomics.wait(answered, 0, now, 100);
      }
    },
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
      Atomics.add(workerData.answered, 0, 1);
      Atomics.notify(workerData.answered, 0);
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
