// Installs what the examples of a folder need, and links this package to them: `node scripts/examples.js frameworks`.
//
// The package is not among their dependencies, since their lockfile would have a copy of its version and of its own
// dependencies, and be out of date after each release. Nothing of theirs is run while installing, nor is the addon built again.

const fs = require('node:fs');
const path = require('node:path');
const { root, run } = require('./run');

for (const name of process.argv.slice(2)) install(path.join(root, 'examples', name));

/** @param {string} directory */
function install(directory) {
  const modules = path.join(directory, 'node_modules');
  const lockfile = fs.readFileSync(path.join(directory, 'package-lock.json'), 'utf8');
  const stamp = path.join(modules, '.installed-lockfile');
  if (fs.existsSync(stamp) && fs.readFileSync(stamp, 'utf8') === lockfile) return;
  run('npm', ['install', '--no-save', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: directory });
  const link = path.join(modules, 'http-terminator-native');
  fs.rmSync(link, { force: true });
  fs.symlinkSync(root, link, 'junction');
  fs.writeFileSync(stamp, lockfile);
}
