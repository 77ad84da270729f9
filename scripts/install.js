// Run by `npm install`: builds the addon, unless its platform's package is there, or it has been built of the
// very same sources.

const { createHash } = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const { packageOf, platform } = require('../lib/platform');
const { build } = require('./cargo');

const root = path.join(__dirname, '..');
const binary = path.join(root, 'http-terminator-native.node');
const stamp = `${binary}.sources`;

const sources = hashOfSources();
if (isInstalled(packageOf(platform()))) {
  console.log(`http-terminator-native: the addon is in ${packageOf(platform())}.`);
} else if (fs.existsSync(binary) && fs.existsSync(stamp) && fs.readFileSync(stamp, 'utf8') === sources) {
  console.log('http-terminator-native: the addon is up to date.');
} else {
  buildAddon();
}

function buildAddon() {
  const { library, missing } = build('cargo', ['build']);
  if (missing) {
    fail(
      `There is no prebuilt binary for ${platform()}, and no Rust toolchain to build one: the package\n` +
        `${packageOf(platform())} is not installed, and "cargo" is not on the PATH. Install with optional\n` +
        'dependencies, or install Rust 1.88 or later from https://rustup.rs, then run "npm install" again.',
    );
  }
  if (library === undefined) return fail('cargo could not build the addon; its messages are above.');
  // Into place by renaming: a process that has loaded the old file keeps it whole.
  const fresh = `${binary}.new`;
  fs.copyFileSync(library, fresh);
  fs.renameSync(fresh, binary);
  fs.writeFileSync(stamp, sources);
}

function hashOfSources() {
  const files = ['.cargo/config.toml', 'Cargo.toml', 'Cargo.lock', 'build.rs'];
  for (const name of fs.readdirSync(path.join(root, 'src'), { recursive: true, encoding: 'utf8' })) {
    if (name.endsWith('.rs')) files.push(path.join('src', name));
  }
  const hash = createHash('sha256').update(`${process.platform}-${process.arch}\n`);
  for (const file of files.sort()) hash.update(`${file}\n`).update(fs.readFileSync(path.join(root, file)));
  return hash.digest('hex');
}

/** @param {string} name */
function isInstalled(name) {
  try {
    require.resolve(name);
    return true;
  } catch {
    return false;
  }
}

/** @param {string} message */
function fail(message) {
  console.error(`\nhttp-terminator-native: ${message}\n`);
  process.exit(1);
}
