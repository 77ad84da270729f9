// Runs a command to its end, in the repository's root unless told otherwise, and throws if that was a bad one.

const { spawnSync } = require('node:child_process');
const path = require('node:path');

const root = path.join(__dirname, '..');

/**
 * @param {string} command
 * @param {string[]} parameters
 * @param {import('node:child_process').SpawnSyncOptions} [options]
 * @returns {string} what it wrote, if that is piped
 */
function run(command, parameters, options) {
  const { error, status, stdout } = spawnSync(command, parameters, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
    // On Windows npm is a script, which only a shell runs.
    shell: process.platform === 'win32' && command === 'npm',
    stdio: ['ignore', 'inherit', 'inherit'],
    ...options,
  });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`${command} ${parameters.join(' ')} ended with ${status}`);
  return String(stdout ?? '').trim();
}

/**
 * @param {string} command
 * @param {string[]} parameters
 * @param {import('node:child_process').SpawnSyncOptions} [options]
 * @returns {string} what it wrote
 */
function output(command, parameters, options) {
  return run(command, parameters, { stdio: ['ignore', 'pipe', 'inherit'], ...options });
}

/** What this machine is called, such as `x86_64-unknown-linux-gnu`. */
function hostTuple() {
  return output('rustc', ['--print', 'host-tuple']);
}

module.exports = { hostTuple, output, root, run };
