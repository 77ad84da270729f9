// How much longer a process takes, from start to end, because it requires a library: over a process
// that does nothing, and over one that requires `http` anyway, as every server's does.

const { spawnSync } = require('node:child_process');
const path = require('node:path');
const { sharingOneProcessor } = require('./child');
const { OURS, libraries } = require('./libraries');
const { progress } = require('./progress');
const { median, rotated } = require('./statistics');
const { quartiles, signed, spread, verdict } = require('./table');

/** Processes vary by ten milliseconds, and few are of interest: 40 pairs leave an error of two. */
const ROUNDS = 80;
const BUDGET_MS = 4;
const ROOT = path.join(__dirname, '..');

const EMPTY = '';
const HTTP = 'require("node:http");';

const names = libraries.filter(({ version }) => version !== null).map(({ name }) => name);

async function measure({ quick }) {
  const rounds = quick ? 2 : ROUNDS;
  // Threads of Node's own run beside its main one, on a second processor or on the same: there by chance, here always.
  const launcher = sharingOneProcessor();
  const scripts = [EMPTY, HTTP].flatMap((base) => [base, ...names.map((name) => requiring(name, base))]);
  /** @type {Map<string, number[]>} in milliseconds, by script */
  const times = new Map(scripts.map((script) => [script, []]));
  for (let round = 0; round < rounds; round += 1) {
    progress(`Import time: round ${round + 1} of ${rounds}`);
    for (const script of rotated(scripts, round)) times.get(script).push(run(script, launcher));
  }
  const differences = (script, base) => times.get(script).map((time, round) => time - times.get(base)[round]);
  return {
    title: 'Time to require',
    columns: ['', 'over an empty process, ms', 'quartiles', 'over one with http, ms', 'quartiles'],
    rows: [
      ['node:http', ...columns(differences(HTTP, EMPTY)), '', ''],
      ...names.map((name) => [
        name,
        ...[EMPTY, HTTP].flatMap((base) => columns(differences(requiring(name, base), base))),
      ]),
    ],
    notes: [
      `Medians of ${rounds} pairs of processes side by side, each from start to end${launcher.length > 0 ? ' and on one processor' : ''}. An empty process takes ${median(times.get(EMPTY)).toFixed(0)} ms.`,
      verdict(OURS, median(differences(requiring(OURS, EMPTY), EMPTY)), BUDGET_MS, ' ms'),
    ],
    figures: [
      {
        title: 'require() over an empty process, ms',
        digits: 1,
        values: Object.fromEntries(names.map((name) => [name, spread(differences(requiring(name, EMPTY), EMPTY))])),
      },
    ],
  };
}

/**
 * @param {string} name
 * @param {string} base
 */
function requiring(name, base) {
  return `${base}require(${JSON.stringify(name)});`;
}

/**
 * @param {string} script
 * @param {readonly string[]} launcher
 */
function run(script, launcher) {
  const [command, ...parameters] = [...launcher, process.execPath, '-e', script];
  const startedAt = performance.now();
  const { status, stderr } = spawnSync(command, parameters, { cwd: ROOT, encoding: 'utf8' });
  const milliseconds = performance.now() - startedAt;
  if (status !== 0) throw new Error(stderr);
  return milliseconds;
}

/** @param {number[]} differences */
function columns(differences) {
  return [signed(median(differences)), quartiles(differences)];
}

module.exports = { measure };
