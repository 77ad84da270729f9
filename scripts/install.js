// Run by `npm install`: builds the addon, unless it is there and made of the very same sources.

const { spawnSync } = require('node:child_process');
const { createHash } = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');

const root = path.join(__dirname, '..');
const binary = path.join(root, 'http-terminator-native.node');
const stamp = `${binary}.sources`;

/** What cargo names the library on each platform. */
const LIBRARY = {
  win32: 'http_terminator_native.dll',
  darwin: 'libhttp_terminator_native.dylib',
};
const DEFAULT_LIBRARY = 'libhttp_terminator_native.so';

const sources = hashOfSources();
if (fs.existsSync(binary) && fs.existsSync(stamp) && fs.readFileSync(stamp, 'utf8') === sources) {
  console.log('http-terminator-native: the addon is up to date.');
} else {
  build();
}

function build() {
  const { error, status } = spawnSync('cargo', ['build', '--release', '--locked', '--lib'], {
    cwd: root,
    // Cargo's own account of what it builds goes where the user sees it.
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (/** @type {NodeJS.ErrnoException | undefined} */ (error)?.code === 'ENOENT') {
    fail(
      `There is no prebuilt binary for ${process.platform}-${process.arch}, and no Rust toolchain to build one:\n` +
        '"cargo" is not on the PATH. Install Rust 1.88 or later from https://rustup.rs, then run "npm install" again.',
    );
  }
  if (error !== undefined) throw error;
  if (status !== 0) fail('cargo could not build the addon; its messages are above.');
  const library = LIBRARY[/** @type {keyof typeof LIBRARY} */ (process.platform)] ?? DEFAULT_LIBRARY;
  // Into place by renaming: a process that has loaded the old file keeps it whole.
  const fresh = `${binary}.new`;
  fs.copyFileSync(path.join(targetDirectory(), 'release', library), fresh);
  fs.renameSync(fresh, binary);
  fs.writeFileSync(stamp, sources);
}

function targetDirectory() {
  const { stdout } = spawnSync('cargo', ['metadata', '--format-version', '1', '--no-deps', '--locked'], {
    cwd: root,
    encoding: 'utf8',
  });
  return JSON.parse(stdout).target_directory;
}

function hashOfSources() {
  const files = ['Cargo.toml', 'Cargo.lock', 'build.rs'];
  for (const name of fs.readdirSync(path.join(root, 'src'), { recursive: true, encoding: 'utf8' })) {
    if (name.endsWith('.rs')) files.push(path.join('src', name));
  }
  const hash = createHash('sha256').update(`${process.platform}-${process.arch}\n`);
  for (const file of files.sort()) hash.update(`${file}\n`).update(fs.readFileSync(path.join(root, file)));
  return hash.digest('hex');
}

/** @param {string} message */
function fail(message) {
  console.error(`\nhttp-terminator-native: ${message}\n`);
  process.exit(1);
}
