// Plays what is around a pod, on one machine: a kubelet that probes each server and ends it, an endpoints controller
// that routes to those that are ready, and clients that connect to whatever is routed to. Run it to see a rolling
// update of two servers, and how many requests it loses:
//
//   node examples/kubernetes/kubelet.js

const { spawn } = require('node:child_process');
const { once } = require('node:events');
const http = require('node:http');
const net = require('node:net');
const path = require('node:path');
const { createInterface } = require('node:readline');
const { setTimeout: delay } = require('node:timers/promises');

const HOST = '127.0.0.1';
const PROBE_EVERY_MS = 200;
const PROBE_TIMEOUT_MS = 1000;
const REPLICAS = 2;
/** Of each kind: those that keep their connection, and those that make a new one for each request. */
const CLIENTS = 10;
const THINK_TIME_MS = 5;
/** What each set of servers has to answer before one of them goes. */
const REQUESTS_BETWEEN = 500;
/** What deployment.yaml calls terminationGracePeriodSeconds. */
const GRACE_PERIOD_MS = 30_000;

async function main() {
  const { requests, losses, endings } = await rollingUpdate({ log: console.log });
  console.log(`${requests} requests, ${losses.length} lost`);
  process.exitCode = losses.length === 0 && endings.every(({ code }) => code === 0) ? 0 : 1;
}

/**
 * Replaces every server by a new one under load.
 *
 * @param {{ shutdownDelay?: number, log?: (line: string) => void }} [options]
 */
async function rollingUpdate({ shutdownDelay = 5 * PROBE_EVERY_MS, log = () => {} } = {}) {
  /** @type {Set<Pod>} */
  const pods = new Set();
  const service = new Service(pods);
  const endings = [];
  let started = 0;

  async function start() {
    started += 1;
    const pod = new Pod(`server ${started}`, shutdownDelay, log);
    pods.add(pod);
    await pod.isReady(true);
    return pod;
  }

  /** @param {Pod} pod */
  async function end(pod) {
    endings.push(await pod.end());
    pods.delete(pod);
  }

  try {
    const old = [];
    for (let count = 0; count < REPLICAS; count += 1) old.push(await start());
    const clients = new Clients(service);
    for (const pod of old) {
      await clients.answers(REQUESTS_BETWEEN);
      await start();
      await end(pod);
    }
    await clients.answers(REQUESTS_BETWEEN);
    await clients.leave();
    for (const pod of [...pods]) await end(pod);
    return { requests: clients.requests, losses: clients.losses, endings };
  } finally {
    for (const pod of pods) pod.kill();
  }
}

/** A server in a process of its own, and the kubelet's view of it. */
class Pod {
  ready = false;
  port = 0;
  #name;
  #log;
  #process;
  #exited;
  #hasExited = false;
  #terminatedAt = 0;
  /** @type {number | null} from SIGTERM until a probe found it not ready */
  #notReadyAfter = null;
  /** Whether it was found not to be alive while it was going. */
  #diedEarly = false;
  /** @type {(() => void)[]} */
  #waiting = [];

  /**
   * @param {string} name
   * @param {number} shutdownDelay
   * @param {(line: string) => void} log
   */
  constructor(name, shutdownDelay, log) {
    this.#name = name;
    this.#log = log;
    this.#process = spawn(process.execPath, [path.join(__dirname, 'server.js')], {
      env: { ...process.env, HOST, PORT: '0', PROBE_PORT: '0', SHUTDOWN_DELAY_MS: String(shutdownDelay) },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#exited = once(this.#process, 'exit').then(([code, signal]) => {
      this.#hasExited = true;
      this.#becomes(false);
      return { code, signal };
    });
    this.#probe();
  }

  /** @param {boolean} ready */
  async isReady(ready) {
    while (this.ready !== ready) {
      if (this.#hasExited) throw new Error(`${this.#name} has exited`);
      await new Promise((resolve) => this.#waiting.push(() => resolve(undefined)));
    }
  }

  /** Ends it as the kubelet does when a pod is deleted. */
  async end() {
    this.#log(`${this.#name}: SIGTERM`);
    this.#terminatedAt = performance.now();
    this.#process.kill('SIGTERM');
    const patience = setTimeout(() => this.#process.kill('SIGKILL'), GRACE_PERIOD_MS);
    const { code, signal } = await this.#exited;
    clearTimeout(patience);
    const after = performance.now() - this.#terminatedAt;
    this.#log(`${this.#name}: exited with ${code ?? signal} after ${after.toFixed()} ms`);
    return { code, signal, notReadyAfter: this.#notReadyAfter, diedEarly: this.#diedEarly };
  }

  kill() {
    this.#process.kill('SIGKILL');
  }

  async #probe() {
    const [line] = await once(createInterface(this.#process.stdout), 'line');
    const { port, probePort } = JSON.parse(line);
    this.port = port;
    while (!this.#hasExited) {
      const [ready, live] = await Promise.all([isGreen(probePort, '/readyz'), isGreen(probePort, '/livez')]);
      // Refused is what a process does that has just exited.
      if (live === false) this.#diedEarly = true;
      this.#becomes(ready === true && !this.#hasExited);
      await delay(PROBE_EVERY_MS);
    }
  }

  /** @param {boolean} ready */
  #becomes(ready) {
    if (this.ready === ready) return;
    this.ready = ready;
    if (!ready && this.#terminatedAt > 0 && !this.#hasExited) {
      this.#notReadyAfter = performance.now() - this.#terminatedAt;
    }
    this.#log(`${this.#name}: ${ready ? 'ready, requests are routed to it' : 'not ready, nothing is routed to it'}`);
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

/**
 * @param {number} port
 * @param {string} endpoint
 * @returns {Promise<boolean | null>} null if there is no answer
 */
async function isGreen(port, endpoint) {
  try {
    const signal = AbortSignal.timeout(PROBE_TIMEOUT_MS);
    return (await fetch(`http://${HOST}:${port}${endpoint}`, { signal })).status === 200;
  } catch {
    return null;
  }
}

/** Routes connections, as a Service does: not requests, so that whoever has a connection keeps it. */
class Service {
  #pods;
  #next = 0;

  /** @param {Set<Pod>} pods */
  constructor(pods) {
    this.#pods = pods;
  }

  connect() {
    const ready = [...this.#pods].filter((pod) => pod.ready);
    this.#next += 1;
    const pod = ready[this.#next % ready.length];
    if (pod === undefined) throw new Error('no server is ready');
    return net.connect(pod.port, HOST);
  }
}

/** Clients that send one request after the other, and never the same one again. */
class Clients {
  requests = 0;
  /** @type {string[]} */
  losses = [];
  #leaving = false;
  #all;
  /** @type {(() => void)[]} */
  #waiting = [];

  /** @param {Service} service */
  constructor(service) {
    const agents = Array.from({ length: 2 * CLIENTS }, (_, index) => {
      const agent = new http.Agent({ keepAlive: index < CLIENTS, maxSockets: 1 });
      return Object.assign(agent, { createConnection: () => service.connect() });
    });
    this.#all = Promise.all(agents.map((agent) => this.#work(agent)));
  }

  /**
   * Resolves when so many more requests have been answered, or lost.
   *
   * @param {number} more
   */
  async answers(more) {
    const until = this.requests + more;
    while (this.requests < until) await new Promise((resolve) => this.#waiting.push(() => resolve(undefined)));
  }

  async leave() {
    this.#leaving = true;
    await this.#all;
  }

  /** @param {http.Agent} agent */
  async #work(agent) {
    while (!this.#leaving) {
      try {
        const status = await statusOf(agent);
        if (status !== 200) this.losses.push(`status ${status}`);
      } catch (error) {
        this.losses.push(String(error));
      }
      this.requests += 1;
      for (const resolve of this.#waiting.splice(0)) resolve();
      await delay(Math.random() * 2 * THINK_TIME_MS);
    }
    agent.destroy();
  }
}

/**
 * @param {http.Agent} agent
 * @returns {Promise<number | undefined>}
 */
function statusOf(agent) {
  return new Promise((resolve, reject) => {
    const request = http.get({ agent, host: HOST, path: '/' }, (response) => {
      response.resume();
      response.once('end', () => resolve(response.statusCode));
      response.once('error', reject);
    });
    request.once('error', reject);
  });
}

if (require.main === module) main();
else module.exports = { rollingUpdate };
