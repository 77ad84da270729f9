// Strangers who send the probe server whatever comes to them, over real sockets. It is in a process of its own, so that
// its memory and its descriptors are all that can grow there.
//
// What they send is drawn from a seed, which is told: PROBE_FUZZ_SEED=n sends the same again, PROBE_FUZZ_STRANGERS=n more.

const assert = require('node:assert/strict');
const { randomInt } = require('node:crypto');
const { once } = require('node:events');
const net = require('node:net');
const { describe, it } = require('node:test');
const { setImmediate: turn } = require('node:timers/promises');
const { startProgram } = require('./support/process');

const SEED = Number(process.env.PROBE_FUZZ_SEED ?? randomInt(2 ** 31));
const STRANGERS = Number(process.env.PROBE_FUZZ_STRANGERS ?? 3000);
/** Fewer than the server lets in, so that nobody is closed for another's sake. */
const AT_A_TIME = 32;
/** What the process may grow by between two looks; for each stranger about 1.5 kB. */
const NOISE = 3 * 1024 * 1024;

const PROGRAM = `
  const fs = require('node:fs');
  const { createProbeServer } = require('http-terminator-native');
  const threads = () => /Threads:\\s*(\\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1];
  createProbeServer({ port: 0, host: '127.0.0.1' }).then((probes) => {
    process.on('message', (message) => {
      if (message === 'look') say({
        memory: process.memoryUsage.rss(),
        descriptors: process.platform === 'linux' ? fs.readdirSync('/proc/self/fd').length : 0,
        threads: process.platform === 'linux' ? threads() : 0,
      });
      else probes.close().then(() => process.disconnect());
    });
    say({ port: probes.port });
  });`;

describe('whatever strangers send', () => {
  it(`gets 4xx or an end, and leaves nothing behind (PROBE_FUZZ_SEED=${SEED})`, async (test) => {
    const { look, port, close } = await start(test);
    const random = randomFrom(SEED);
    await meet(port, random, STRANGERS / 3);
    const before = await look();
    await meet(port, random, (STRANGERS * 2) / 3);
    const after = await settled(look, before);
    assert.ok(after.memory - before.memory < NOISE, `${before.memory} bytes have become ${after.memory}`);
    await close();
  });

  it('is no worse if thousands connect and say nothing, or half of something', async (test) => {
    const { look, port, close } = await start(test);
    await crowd(port, 1000);
    const before = await look();
    await crowd(port, 3000);
    const after = await settled(look, before);
    assert.ok(after.memory - before.memory < NOISE, `${before.memory} bytes have become ${after.memory}`);
    await close();
  });
});

async function start(test) {
  const program = startProgram(test, PROGRAM);
  const { port } = await program.said((message) => message.port);
  return {
    port,
    async look() {
      const { length } = program.messages;
      program.tell('look');
      await program.said(() => program.messages.length > length);
      return program.messages[length];
    },
    async close() {
      assert.deepEqual(await ask(port), [200]);
      program.tell('close');
      const { code, signal, stderr } = await program.ended;
      // 3 is what the program ends with when nobody is left to talk to.
      assert.deepEqual({ code, signal, stderr }, { code: 3, signal: null, stderr: '' });
    },
  };
}

/** What is left when the server has noticed that everybody is gone; the test's own timeout is the limit. */
async function settled(look, before) {
  for (;;) {
    const now = await look();
    if (now.descriptors <= before.descriptors && now.threads <= before.threads) return now;
    await turn();
  }
}

async function meet(port, random, count) {
  for (let met = 0; met < count; met += AT_A_TIME) {
    await Promise.all(Array.from({ length: AT_A_TIME }, () => converse(port, stranger(random))));
    // A probe is answered all the same.
    assert.deepEqual(await ask(port), [200]);
  }
}

/** Nobody is refused, but of more than 64 some are closed for the others' sake. */
async function crowd(port, count) {
  const WAVE = 100;
  for (let come = 0; come < count; come += WAVE) {
    const sockets = Array.from({ length: WAVE }, () => connect(port));
    await Promise.all(sockets.map((socket) => once(socket, 'connect')));
    for (const [place, socket] of sockets.entries()) if (place % 2 === 0) socket.write('GET /livez HTTP/1.1\r\nHo');
    assert.deepEqual(await ask(port), [200]);
    for (const [place, socket] of sockets.entries()) {
      if (place % 3 === 0) socket.resetAndDestroy();
      else socket.destroy();
    }
  }
}

/** One who asks what is right is answered as it should be. */
async function ask(port) {
  return (
    await converse(port, { chunks: ['GET /livez HTTP/1.1\r\nHost: a\r\n\r\n'], slowly: false, end: 'half-close' })
  ).statuses;
}

/**
 * Plays a stranger to the end of the connection, and looks at what has come.
 *
 * @returns {Promise<{ statuses: number[] }>}
 */
async function converse(port, { chunks, slowly, end, wrong = false }) {
  const socket = connect(port);
  let received = '';
  socket.setEncoding('latin1').on('data', (text) => (received += text));
  const closed = new Promise((resolve) => socket.once('close', resolve));
  await once(socket, 'connect');
  for (const chunk of chunks) {
    if (socket.destroyed) break;
    socket.write(chunk, 'latin1');
    if (slowly) await turn();
  }
  if (end === 'half-close') socket.end();
  else if (end === 'reset') socket.resetAndDestroy();
  else if (end === 'destroy') socket.destroy();
  await closed;
  const sent = () => `seed ${SEED}: ${JSON.stringify(chunks.join('').slice(0, 2000))} got ${JSON.stringify(received)}`;
  assert.ok(received === '' || 'HTTP/1.1 '.startsWith(received) || /^HTTP\/1\.[01] \d{3} /.test(received), sent());
  const statuses = Array.from(received.matchAll(/HTTP\/1\.[01] (\d{3}) /g), ([, status]) => Number(status));
  for (const status of statuses) {
    const is4xx = status >= 400 && status < 500;
    assert.ok(is4xx || (!wrong && (status === 200 || status === 503)), sent());
  }
  return { statuses };
}

function connect(port) {
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: false });
  // The server may close while something is written; what matters is what it had answered.
  return socket.on('error', () => {});
}

/** Somebody who does not mean well, or does not know better. */
function stranger(random) {
  const { wrong, text } = pick(random, [malformed, huge, mutated, mutated, noise, several])(random);
  const slowly = random() < 0.2 && text.length < 2000;
  return {
    chunks: slowly ? cut(random, text) : [text],
    slowly,
    wrong,
    end: pick(random, ['half-close', 'half-close', 'half-close', 'reset', 'destroy']),
  };
}

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'OPTIONS', 'CONNECT', 'TRACE', 'BREW', 'get'];
const TARGETS = ['/livez', '/readyz', '/metrics', '/healthz?verbose', '/', '*', 'http://a/livez', '/%00', '//livez'];
const HEADERS = [
  'Host: a',
  'Connection: close',
  'Connection: keep-alive, upgrade',
  'Upgrade: h2c',
  'Expect: 100-continue',
  'Content-Length: 0',
  'Content-Length: 5',
  'Transfer-Encoding: chunked',
  'Transfer-Encoding: gzip, chunked',
  'Accept-Encoding: *',
  'Range: bytes=0-',
  'X-Empty:',
];

/** A request, by and large. */
function request(random) {
  const headers = Array.from({ length: Math.floor(random() * 4) }, () => `${pick(random, HEADERS)}\r\n`);
  const body =
    random() < 0.2 ? pick(random, ['hello', '5\r\nhello\r\n0\r\n\r\n', 'ffffffffffffffff\r\n', '0\r\n']) : '';
  const version = pick(random, ['1.1', '1.1', '1.0']);
  return `${pick(random, METHODS)} ${pick(random, TARGETS)} HTTP/${version}\r\n${headers.join('')}\r\n${body}`;
}

/** What no server may take for a request that it understands. */
function malformed(random) {
  const start = 'GET /livez HTTP/1.1\r\nHost: a\r\n';
  const text = pick(random, [
    'what is this\r\n\r\n',
    'GET /livez\r\n\r\n',
    'GET /livez HTTP/9.9\r\n\r\n',
    'GET /livez HTTP/1.1 again\r\n\r\n',
    'GET /li vez HTTP/1.1\r\n\r\n',
    '\0\0\0\0\r\n\r\n',
    '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    `${start}no colon\r\n\r\n`,
    `${start}: no name\r\n\r\n`,
    `${start}Na me: a\r\n\r\n`,
    `${start}X: a\0b\r\n\r\n`,
    `${start} folded: a\r\n\r\n`,
    `${start}Content-Length: -1\r\n\r\n`,
    `${start}Content-Length: 1e3\r\n\r\n`,
    `${start}Content-Length: 99999999999999999999999\r\n\r\n`,
    `${start}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab`,
    `${start}Transfer-Encoding: nothing\r\n\r\n`,
    `${start}Transfer-Encoding: chunked\r\n\r\nnot a size\r\n`,
    `${start}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffffffff\r\n`,
  ]);
  return { wrong: true, text };
}

/** What is more than the server takes. */
function huge(random) {
  const size = 9_000 + Math.floor(random() * 300_000);
  const text = pick(random, [
    () => `GET /livez?${'a'.repeat(size)} HTTP/1.1\r\n\r\n`,
    () => 'a'.repeat(size),
    () => `GET /livez HTTP/1.1\r\nX: ${'a'.repeat(size)}\r\n\r\n`,
    () => `GET /livez HTTP/1.1\r\n${'X: a\r\n'.repeat(size / 6)}\r\n`,
    () => `GET /livez HTTP/1.1\r\nContent-Length: ${size}\r\n\r\n${'b'.repeat(size)}`,
    () =>
      `POST /livez HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n${`64\r\n${'c'.repeat(100)}\r\n`.repeat(size / 100)}`,
  ])();
  return { wrong: true, text };
}

/** A request with a few bytes that are others, or missing, or there twice. */
function mutated(random) {
  let text = request(random);
  for (let times = 1 + Math.floor(random() * 4); times > 0; times -= 1) {
    const at = Math.floor(random() * text.length);
    const length = Math.floor(random() ** 3 * 20);
    const between = pick(random, ['', bytes(random, length), text.slice(at, at + length).repeat(2), '\r\n', '\n', ' ']);
    text = text.slice(0, at) + between + text.slice(at + length);
  }
  return { wrong: false, text };
}

function noise(random) {
  return { wrong: false, text: bytes(random, Math.floor(random() ** 2 * 3000)) };
}

/** Requests one behind the other, perhaps with something wrong at the end. */
function several(random) {
  const requests = Array.from({ length: 1 + Math.floor(random() * 30) }, () => request(random));
  return { wrong: false, text: requests.join('') + (random() < 0.5 ? '' : mutated(random).text) };
}

function bytes(random, length) {
  return Array.from({ length }, () => String.fromCharCode(Math.floor(random() * 256))).join('');
}

/** Into single bytes at first, and then into pieces. */
function cut(random, text) {
  const chunks = [];
  for (let at = 0; at < text.length; ) {
    const length = at < 50 ? 1 : 1 + Math.floor(random() * 100);
    chunks.push(text.slice(at, at + length));
    at += length;
  }
  return chunks;
}

/**
 * @template T
 * @param {() => number} random
 * @param {T[]} among
 */
function pick(random, among) {
  return among[Math.floor(random() * among.length)];
}

/** Numbers from 0 to 1, the same ones for the same seed (mulberry32). */
function randomFrom(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
