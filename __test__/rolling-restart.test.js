// A rolling restart of two servers behind a balancer, under constant load and without any retry: no request
// may fail. It takes a minute and a busy machine, so it has a command of its own: `npm run test:rolling`.

const assert = require('node:assert/strict');
const { fork } = require('node:child_process');
const { EventEmitter, on, once } = require('node:events');
const http = require('node:http');
const path = require('node:path');
const { before, describe, it } = require('node:test');
const { setTimeout: delay } = require('node:timers/promises');
const { balancers } = require('./support/balancers');

/** Set by the command. */
const wanted = process.env.ROLLING_RESTART === '1';
/** Set by CI, where a test that is skipped proves nothing. */
const required = process.env.REQUIRE_BALANCERS === '1';

const CLIENTS = 24;

/** Between an answer and the next request, so that those that fail at once do not crowd out the others. */
const PAUSE_MS = 5;
const FAIL_AFTER_MS = 10_000;

/** How often each server is restarted. */
const ROUNDS = 10;
const REQUESTS_AT_LEAST = 20_000;

/** HAProxy notices so soon that a single restart may cost it nothing. */
const CONTROL_ROUNDS = 5;

/**
 * Far longer than either balancer needs to notice: HAProxy checks every 50 ms, and nginx has read its configuration
 * after some 50 ms. Machines that run tests have their pauses.
 */
const TERMINATOR_OPTIONS = { shutdownDelay: 1000, keepAliveDrainTimeout: 500, httpResponseTimeout: 5000 };

for (const { name, isInstalled, keepsClientConnections, start } of balancers) {
  const hint = `${name} is not installed (on Debian: apt-get install nginx haproxy)`;
  const skip = wanted ? !required && !isInstalled() && hint : 'takes a minute: npm run test:rolling';

  describe(`a rolling restart behind ${name}`, { skip }, () => {
    before(() => assert.ok(isInstalled(), hint));

    it('loses no request', async (test) => {
      const { served, failed } = await restartUnderLoad(test, {
        start,
        keepsClientConnections,
        terminatorOptions: TERMINATOR_OPTIONS,
        rounds: ROUNDS,
        requests: REQUESTS_AT_LEAST,
      });
      test.diagnostic(`${served} requests served`);
      assert.deepEqual(failed, {});
      assert.ok(served >= REQUESTS_AT_LEAST, `${served} requests served`);
    });

    // The same restarts, and the balancer is told or finds out in the same way and at the same time. What
    // differs is what the process does on SIGTERM. If this lost nothing, the test above would show
    // nothing. Lost are the requests that come in until the balancer has noticed.
    it('loses some with server.close() alone', async (test) => {
      const { served, failed } = await restartUnderLoad(test, {
        start,
        keepsClientConnections,
        terminatorOptions: null,
        rounds: CONTROL_ROUNDS,
        requests: 0,
      });
      test.diagnostic(`${served} requests served, failed: ${JSON.stringify(failed)}`);
      assert.notDeepEqual(failed, {});
    });
  });
}

async function restartUnderLoad(test, { start, keepsClientConnections, terminatorOptions, rounds, requests }) {
  const servers = [0, 1].map(() => new RestartedServer(terminatorOptions));
  for (const server of servers) test.after(() => server.kill());
  for (const server of servers) await server.start();
  const balancer = await start(
    test,
    servers.map(({ port }) => port),
  );
  const load = new Load(balancer.port, keepsClientConnections);
  test.after(() => load.stop());
  for (const server of servers) await server.requested;
  for (let round = 0; round < rounds; round += 1) {
    for (const [index, server] of servers.entries()) {
      // At the same moment, as where containers are orchestrated: nobody waits until the balancer has understood.
      balancer.announce(index);
      await server.end();
      await server.start();
      balancer.announce(null);
      // The other one must not go before this one is back.
      await server.requested;
    }
  }
  await load.until(requests);
  await load.stop();
  return load;
}

/** Always on the port that it was given when it was first started. */
class RestartedServer {
  port = 0;
  /** Resolves when the balancer has sent a request to the process that was started last. */
  requested = Promise.resolve();
  #terminatorOptions;
  /** @type {import('node:child_process').ChildProcess} */
  #child;

  constructor(terminatorOptions) {
    this.#terminatorOptions = terminatorOptions;
  }

  async start() {
    const parameters = JSON.stringify({ port: this.port, terminatorOptions: this.#terminatorOptions });
    this.#child = fork(path.join(__dirname, 'support', 'restarted-server.js'), [parameters]);
    const [{ port }] = await once(this.#child, 'message');
    this.port = port;
    this.requested = once(this.#child, 'message');
  }

  async end() {
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGTERM');
    const [code] = await exited;
    assert.equal(code, 0);
  }

  async kill() {
    if (this.#child === undefined || this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }
}

/** Clients that send one POST after another, and whose requests fail once and for all. */
class Load extends EventEmitter {
  served = 0;
  /** @type {Record<string, number>} by what was wrong */
  failed = {};
  #agent;
  #port;
  #running = true;
  #ended;

  /**
   * @param {number} port
   * @param {boolean} keepAlive
   */
  constructor(port, keepAlive) {
    super();
    this.#port = port;
    // It never sends a request again, and has a connection for every client: none waits in it.
    this.#agent = new http.Agent({ keepAlive, maxSockets: CLIENTS });
    this.#ended = Promise.all(Array.from({ length: CLIENTS }, (_, client) => this.#run(client)));
  }

  /** @param {number} requests */
  async until(requests) {
    if (this.served >= requests) return;
    for await (const [served] of on(this, 'served')) if (served === requests) return;
  }

  async stop() {
    this.#running = false;
    await this.#ended;
    this.#agent.destroy();
  }

  /** @param {number} client */
  async #run(client) {
    for (let request = 0; this.#running; request += 1) {
      const problem = await this.#post(`request ${request} of client ${client} ${'x'.repeat(200)}`);
      if (problem === null) {
        this.served += 1;
        this.emit('served', this.served);
      } else {
        this.failed[problem] = (this.failed[problem] ?? 0) + 1;
      }
      await delay(PAUSE_MS);
    }
  }

  /**
   * @param {string} body
   * @returns {Promise<string | null>} what was wrong, if anything
   */
  async #post(body) {
    const request = http.request({ agent: this.#agent, host: '127.0.0.1', port: this.#port, method: 'POST' });
    // It may fail once more while its answer is read, which notices as well.
    request.on('error', () => {});
    request.setTimeout(FAIL_AFTER_MS, () => request.destroy(new Error('silence')));
    request.end(body);
    try {
      const [response] = await once(request, 'response');
      let answer = '';
      for await (const data of response.setEncoding('utf8')) answer += data;
      if (response.statusCode !== 200) return `status ${response.statusCode}`;
      return answer === body ? null : 'another body';
    } catch (error) {
      return error.code ?? error.message;
    }
  }
}
