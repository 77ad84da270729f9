// Clients that send one request after another and never retry, until the server refuses them.

const http = require('node:http');
const { EventEmitter, on, once } = require('node:events');
const { setTimeout: delay } = require('node:timers/promises');
const { answer } = require('../child');

const BODY = JSON.stringify({ order: 'one of each', comment: 'x'.repeat(200) });
const THINK_AT_MOST_MS = 30;

/** Emits how many requests have been answered, with each. */
const answers = new EventEmitter();
let served = 0;
/** @type {Record<string, number>} by the code of the error */
const lost = {};
let running = null;

answer({
  start({ port, clients, keepAlive }) {
    running = Promise.all(Array.from({ length: clients }, () => client({ port, keepAlive })));
  },

  /** Answers as soon as so many requests have been answered. */
  async served({ requests }) {
    if (served >= requests) return;
    for await (const [count] of on(answers, 'answer')) if (count === requests) return;
  },

  async stopped() {
    await running;
    return { served, lost };
  },
});

async function client({ port, keepAlive }) {
  const agent = new http.Agent({ keepAlive, maxSockets: 1 });
  for (;;) {
    await delay(Math.random() * THINK_AT_MOST_MS);
    try {
      await post(port, agent);
      served += 1;
      answers.emit('answer', served);
    } catch (error) {
      // Nothing was sent: the server has left, and said so.
      if (error.code === 'ECONNREFUSED') return;
      lost[error.code] = (lost[error.code] ?? 0) + 1;
    }
  }
}

async function post(port, agent) {
  const request = http.request({ port, host: '127.0.0.1', method: 'POST', path: '/soon', agent });
  // It may fail once more after it has been answered; only the first failure counts.
  request.on('error', () => {});
  request.end(BODY);
  const [response] = await once(request, 'response');
  response.resume();
  await once(response, 'end');
}
