// Programs in processes of their own, which say by messages how far they are, and are ended by signals.

const { spawn } = require('node:child_process');
const { once } = require('node:events');
const path = require('node:path');

const root = path.join(__dirname, '..', '..');

/**
 * Starts a program, which has `say(message)` and `told(message)`, a promise.
 *
 * @param {import('node:test').TestContext} test
 * @param {string} program
 * @param {{ flags?: string[], env?: Record<string, string>, readsStderr?: boolean }} [options]
 */
function startProgram(test, program, { flags = [], env = {}, readsStderr = true } = {}) {
  const prelude = `
    const http = require('node:http');
    const { createGracefulShutdown, createHttpTerminator } = require('http-terminator-native');
    const say = (message) => process.send(message);
    const told = (what) => new Promise((resolve) => {
      process.on('message', function listener(message) {
        if (message !== what) return;
        process.removeListener('message', listener);
        resolve();
      });
    });
    process.setMaxListeners(0);
    process.once('disconnect', () => process.exit(3));`;
  const child = spawn(process.execPath, [...flags, '--eval', `${prelude}\n${program}`], {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  test.after(() => child.kill('SIGKILL'));
  const output = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text) => (output.stdout += text));
  if (readsStderr) child.stderr.setEncoding('utf8').on('data', (text) => (output.stderr += text));
  /** @type {unknown[]} */
  const messages = [];
  /** @type {(() => void)[]} */
  const waiting = [];
  const wake = () => {
    for (const resolve of waiting.splice(0)) resolve();
  };
  child.on('message', (message) => {
    messages.push(message);
    wake();
  });
  let hasEnded = false;
  const ended = once(child, readsStderr ? 'close' : 'exit').then(([code, signal]) => {
    hasEnded = true;
    wake();
    return { code, signal, messages, ...output };
  });
  return {
    child,
    messages,
    /** How it ended, with all that it said and wrote. */
    ended,
    /** Resolves to the message when it has come; rejects if the program ends before. */
    async said(matching) {
      const matches = typeof matching === 'function' ? matching : (message) => message === matching;
      for (;;) {
        const found = messages.find(matches);
        if (found !== undefined) return found;
        if (hasEnded) throw new Error(`ended without saying ${matching}: ${JSON.stringify(messages)} ${output.stderr}`);
        await new Promise((resolve) => waiting.push(resolve));
      }
    },
    tell: (message) => child.send(message),
    signal: (name) => process.kill(child.pid, name),
  };
}

/**
 * Runs a command to its end, or that of the test. A test runner in it does not take itself for a part of this one.
 *
 * @param {import('node:test').TestContext} test
 * @param {string[]} commandLine
 * @param {{ cwd?: string, env?: Record<string, string> }} [options]
 */
function run(test, [command, ...parameters], { cwd = root, env = {} } = {}) {
  const { NODE_TEST_CONTEXT: _, ...others } = process.env;
  const child = spawn(command, parameters, {
    cwd,
    env: { ...others, NO_COLOR: '1', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const kill = () => child.kill('SIGKILL');
  test.after(kill);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
  return {
    kill,
    ended: once(child, 'close').then(([code]) => ({ code, output })),
    /** Resolves when the output matches, and fails if it ends before. */
    said: (pattern) =>
      new Promise((resolve, reject) => {
        const look = () => pattern.test(output) && resolve();
        child.stdout.on('data', look);
        child.stderr.on('data', look);
        child.once('close', () => reject(new Error(`ended without saying ${pattern}: ${output}`)));
      }),
  };
}

module.exports = { root, run, startProgram };
