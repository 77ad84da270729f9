// Processes of their own for servers and clients: the benchmark asks, they answer.

const { fork, spawnSync } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const path = require('node:path');

/** How long a process may take to answer, and then to leave. */
const ANSWER_WITHIN_MS = 60_000;
const LEAVE_WITHIN_MS = 2_000;

/**
 * Starts a process that runs a file of children/. It ends with this process at the latest.
 *
 * @param {string} name of the file, without its extension
 * @param {string[]} [execArgv] options for Node
 * @param {readonly string[]} [launcher] a command line that Node's is appended to
 */
function start(name, execArgv = [], launcher = []) {
  const [execPath, ...options] = [...launcher, process.execPath, ...execArgv];
  const child = fork(path.join(__dirname, 'children', `${name}.js`), { execPath, execArgv: options });
  const questions = new Map();
  let asked = 0;

  child.on('message', ({ id, answer, error }) => {
    const { resolve, reject } = questions.get(id);
    if (error === undefined) resolve(answer);
    else reject(new Error(`${name}: ${error}`));
  });
  child.once('exit', (code, signal) => {
    for (const { reject } of questions.values()) reject(new Error(`${name} ended early (${signal ?? code})`));
  });

  return { ask, end };

  /**
   * @param {string} command
   * @param {unknown} [argument]
   */
  function ask(command, argument) {
    asked += 1;
    const id = asked;
    let timer;
    const answer = new Promise((resolve, reject) => {
      questions.set(id, { resolve, reject });
      timer = setTimeout(() => reject(new Error(`${name} did not answer ${command}`)), ANSWER_WITHIN_MS);
      child.send({ id, command, argument });
    });
    return answer.finally(() => {
      clearTimeout(timer);
      questions.delete(id);
    });
  }

  async function end() {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    const timer = setTimeout(() => child.kill('SIGKILL'), LEAVE_WITHIN_MS);
    if (child.connected) child.disconnect();
    await ended;
    clearTimeout(timer);
  }
}

/**
 * The launcher of processes that share one processor, and do not interrupt each other on it: then what one of them
 * spends does not depend on what the others do meanwhile. It does nothing where it can't be had.
 *
 * @returns {readonly string[]}
 */
function sharingOneProcessor() {
  if (process.platform !== 'linux') return [];
  // The last of those that may be used: the first one has more interrupts to handle.
  const processor = /^Cpus_allowed_list:.*?(\d+)$/m.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1];
  const launcher = ['taskset', '--cpu-list', processor, 'chrt', '--batch', '0'];
  const [command, ...parameters] = [...launcher, process.execPath, '--version'];
  return spawnSync(command, parameters).status === 0 ? launcher : [];
}

/**
 * The other side: answers what the benchmark asks, until the benchmark lets go.
 *
 * @param {Record<string, (argument: any) => unknown>} commands
 */
function answer(commands) {
  process.on('message', async ({ id, command, argument }) => {
    try {
      reply({ id, answer: await commands[command](argument) });
    } catch (error) {
      reply({ id, error: error.stack });
    }
  });
  process.once('disconnect', () => process.exit());
}

function reply(message) {
  if (process.connected) process.send(message);
}

/** On a clock that all processes share. */
function monotonicMilliseconds() {
  return Number(process.hrtime.bigint()) / 1e6;
}

module.exports = { answer, monotonicMilliseconds, sharingOneProcessor, start };
