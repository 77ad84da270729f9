// The clients of the demo, in a process of their own. Each keeps its connection open and sends one order
// after another, and never a second time: an order that fails is lost. They stop when they are refused.

const http = require('node:http');
const { once } = require('node:events');
const { setTimeout: delay } = require('node:timers/promises');

const ORDERS_BEFORE_DOWNLOADS = 1500;
const THINK_AT_MOST_MS = 30;
const REPORT_EVERY_MS = 100;

const ORDER = JSON.stringify({ article: 4711, quantity: 1 });

const [port, clients, downloadsAtOnce] = process.argv.slice(2).map(Number);
/** What the parent process shows. Lost requests are counted by the code of their error. */
const counts = { served: 0, lost: {}, downloadsWhole: 0, downloadsCut: 0 };
const downloads = [];

process.once('disconnect', () => process.exit());
run();

async function run() {
  const reports = setInterval(() => process.send({ type: 'counts', counts }), REPORT_EVERY_MS);
  await Promise.all(Array.from({ length: clients }, client));
  await Promise.all(downloads);
  clearInterval(reports);
  process.send({ type: 'stopped', counts });
}

async function client() {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  for (;;) {
    await delay(Math.random() * THINK_AT_MOST_MS);
    try {
      await sendOrder(agent);
    } catch (error) {
      // Nothing was sent: the server has left, and said so.
      if (error.code === 'ECONNREFUSED') return;
      counts.lost[error.code] = (counts.lost[error.code] ?? 0) + 1;
      continue;
    }
    counts.served += 1;
    if (counts.served === ORDERS_BEFORE_DOWNLOADS) startDownloads();
  }
}

async function sendOrder(agent) {
  const request = http.request({ port, host: '127.0.0.1', method: 'POST', path: '/orders', agent });
  // It may fail once more after it has been answered; only the first failure counts.
  request.on('error', () => {});
  request.end(ORDER);
  const [response] = await once(request, 'response');
  response.resume();
  await once(response, 'end');
}

/** Tells the parent process when all are under way. */
async function startDownloads() {
  const responses = await Promise.all(Array.from({ length: downloadsAtOnce }, startDownload));
  downloads.push(...responses.map(receiveDownload));
  process.send({ type: 'downloading' });
}

async function startDownload() {
  const request = http.get({ port, host: '127.0.0.1', path: '/download', agent: false });
  const [response] = await once(request, 'response');
  return response;
}

async function receiveDownload(response) {
  let received = 0;
  try {
    for await (const chunk of response) received += chunk.length;
  } catch {
    // Cut short, which is counted below.
  }
  if (received === Number(response.headers['content-length'])) counts.downloadsWhole += 1;
  else counts.downloadsCut += 1;
}
