// Clients that use one server after another until it leaves, and tell how that went.

const http = require('node:http');
const http2 = require('node:http2');
const https = require('node:https');
const { EventEmitter, once } = require('node:events');
const { WebSocket } = require('ws');
const { answer } = require('../child');
const { trust } = require('../../__test__/support/transports');

const CLIENTS = 6;
const BODY = Buffer.alloc(2048, 'y');

const kinds = { http: requestOverHttp1, https: requestOverHttp1, http2: requestOverHttp2, websocket: exchangeMessages };

/** The clients of a server, by its id. */
class Crowd extends EventEmitter {
  answered = 0;
  lost = 0;
  /** @type {Promise<unknown>} */
  stopped;

  /** @param {{ kind: keyof typeof kinds, port: number, cut: boolean }} server */
  constructor({ kind, port, cut }) {
    super();
    const clients = Array.from({ length: CLIENTS }, (_, place) =>
      // Of the clients of a server that has to cut, one in three waits for what never comes.
      kinds[kind](this, { port, secure: kind === 'https', never: cut && place % 3 === 0 }),
    );
    this.stopped = Promise.all(clients);
    // Whoever asks whether all have stopped is told.
    this.stopped.catch(() => {});
  }

  countAnswered() {
    this.answered += 1;
    this.emit('answered');
  }
}

/** @type {Map<number, Crowd>} */
const crowds = new Map();

answer({
  start({ id, ...server }) {
    crowds.set(id, new Crowd(server));
  },

  async answered({ id, requests }) {
    const crowd = crowds.get(id);
    while (crowd.answered < requests) await once(crowd, 'answered');
  },

  /** Asked when the server has left. */
  async stopped({ id }) {
    const crowd = crowds.get(id);
    crowd.emit('left');
    await crowd.stopped;
    crowds.delete(id);
    return { answered: crowd.answered, lost: crowd.lost };
  },
});

/**
 * @param {Crowd} crowd
 * @param {{ port: number, secure: boolean, never: boolean }} server
 */
async function requestOverHttp1(crowd, { port, secure, never }) {
  const { Agent, request } = secure ? https : http;
  const agent = new Agent({ keepAlive: true, maxSockets: 1, ...(secure && trust) });
  const path = never ? '/never' : '/';
  for (let told = false; !told; ) {
    const { response, error } = await over(request({ host: '127.0.0.1', port, path, method: 'POST', agent }).end(BODY));
    if (!response?.complete) {
      if (!never && error?.code !== 'ECONNREFUSED') crowd.lost += 1;
      break;
    }
    crowd.countAnswered();
    told = response.headers.connection === 'close';
  }
  agent.destroy();
}

/**
 * Waits for `close`, which comes whatever happens. Promises of other events may look for the next one too late.
 *
 * @param {http.ClientRequest} request
 * @returns {Promise<{ response?: http.IncomingMessage, error?: NodeJS.ErrnoException }>}
 */
function over(request) {
  const outcome = {};
  return new Promise((resolve) => {
    request
      .on('response', (response) => {
        outcome.response = response.on('error', () => {}).resume();
      })
      .on('error', (error) => {
        outcome.error = error;
      })
      .once('close', () => resolve(outcome));
  });
}

/**
 * @param {Crowd} crowd
 * @param {{ port: number, never: boolean }} server
 */
async function requestOverHttp2(crowd, { port, never }) {
  const session = http2.connect(`https://127.0.0.1:${port}`, trust);
  session.on('error', () => {});
  const closed = new Promise((resolve) => session.once('close', resolve));
  await Promise.race([once(session, 'connect').catch(() => {}), closed]);
  const path = never ? '/never' : '/';
  let told = false;
  session.once('goaway', () => {
    told = true;
  });
  while (!told && !session.closed && !session.destroyed) {
    const whole = await requestStream(session, path);
    if (whole) crowd.countAnswered();
    else break;
  }
  session.close();
  await closed;
}

/** @returns {Promise<boolean>} whether it was answered whole */
async function requestStream(session, path) {
  const stream = session.request({ ':method': 'POST', ':path': path });
  let ended = false;
  stream
    .on('error', () => {})
    .on('end', () => {
      ended = stream.rstCode === http2.constants.NGHTTP2_NO_ERROR;
    })
    .resume()
    .end(BODY);
  await new Promise((resolve) => stream.once('close', resolve));
  return ended;
}

/**
 * @param {Crowd} crowd
 * @param {{ port: number, never: boolean }} server
 */
async function exchangeMessages(crowd, { port, never }) {
  const client = new WebSocket(`ws://127.0.0.1:${port}`);
  client
    .on('error', () => {})
    .on('open', () => client.send(BODY))
    .on('message', () => {
      crowd.countAnswered();
      // Reads nothing any more, neither the close frame nor the end.
      if (never) client.pause();
      else client.send(BODY);
    });
  if (never) crowd.once('left', () => client.terminate());
  await new Promise((resolve) => client.once('close', resolve));
}
