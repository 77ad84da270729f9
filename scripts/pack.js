// Makes what is published: a package for each platform, with the binary that was built for it, and the main package, which
// names them as optional dependencies. They are named here and not in the repository, since npm can't lock what is
// not published yet. @napi-rs/cli would write all of them into package.json first.
//
//   node scripts/pack.js BINARIES OUT [PLATFORM...]
//
// BINARIES holds a `http-terminator-native.PLATFORM.node` for each platform, and OUT gets the tarballs. Without a list
// of platforms every supported one must be there.

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { packageOf } = require('../lib/platform');
const { output, run } = require('./run');

/** npm installs a package only where these agree. */
const PLATFORMS = {
  'darwin-arm64': { os: ['darwin'], cpu: ['arm64'] },
  'darwin-x64': { os: ['darwin'], cpu: ['x64'] },
  'linux-arm64-gnu': { os: ['linux'], cpu: ['arm64'], libc: ['glibc'] },
  'linux-arm64-musl': { os: ['linux'], cpu: ['arm64'], libc: ['musl'] },
  'linux-x64-gnu': { os: ['linux'], cpu: ['x64'], libc: ['glibc'] },
  'linux-x64-musl': { os: ['linux'], cpu: ['x64'], libc: ['musl'] },
  'win32-arm64-msvc': { os: ['win32'], cpu: ['arm64'] },
  'win32-x64-msvc': { os: ['win32'], cpu: ['x64'] },
};

const root = path.join(__dirname, '..');

/**
 * @param {string} binaries
 * @param {string} out
 * @param {string[]} platforms
 * @returns {string[]} the tarballs, the main package's last: it is published when those that it needs are there
 */
function pack(binaries, out, platforms = Object.keys(PLATFORMS)) {
  const work = fs.mkdtempSync(path.join(os.tmpdir(), 'pack-'));
  try {
    fs.mkdirSync(out, { recursive: true });
    return [...platforms.map((platform) => packBinary(platform, binaries, work, out)), packMain(platforms, work, out)];
  } finally {
    fs.rmSync(work, { recursive: true });
  }
}

/**
 * @param {string} platform
 * @param {string} binaries
 * @param {string} work
 * @param {string} out
 */
function packBinary(platform, binaries, work, out) {
  const { version, license, engines } = manifest();
  const name = packageOf(platform);
  const main = `http-terminator-native.${platform}.node`;
  const directory = path.join(work, name);
  fs.mkdirSync(directory);
  fs.copyFileSync(path.join(binaries, main), path.join(directory, main));
  fs.copyFileSync(path.join(root, 'LICENSE'), path.join(directory, 'LICENSE'));
  const description = `The binary of http-terminator-native for ${platform}`;
  fs.writeFileSync(
    path.join(directory, 'README.md'),
    `# ${name}\n\n${description}. Install that package, not this one.\n`,
  );
  const { [/** @type {keyof typeof PLATFORMS} */ (platform)]: supported } = PLATFORMS;
  write(directory, { name, version, description, license, main, files: [main], engines, ...supported });
  return npmPack(directory, out);
}

/**
 * @param {string[]} platforms
 * @param {string} work
 * @param {string} out
 */
function packMain(platforms, work, out) {
  // What npm takes into the package as it is in the repository, with a package.json of its own.
  const tarball = npmPack(root, work);
  run('tar', ['-xzf', path.basename(tarball)], { cwd: work });
  const directory = path.join(work, 'package');
  const { version, devDependencies, scripts, ...published } = manifest();
  const optionalDependencies = Object.fromEntries(platforms.map((platform) => [packageOf(platform), version]));
  write(directory, { version, ...published, scripts: { install: scripts.install }, optionalDependencies });
  return npmPack(directory, out);
}

function manifest() {
  return JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'));
}

/**
 * @param {string} directory
 * @param {object} contents
 */
function write(directory, contents) {
  // Where it is built, which is what provenance is checked against.
  const { GITHUB_SERVER_URL, GITHUB_REPOSITORY } = process.env;
  const repository = GITHUB_REPOSITORY && { type: 'git', url: `git+${GITHUB_SERVER_URL}/${GITHUB_REPOSITORY}.git` };
  const text = JSON.stringify({ ...contents, ...(repository && { repository }) }, null, 2);
  fs.writeFileSync(path.join(directory, 'package.json'), `${text}\n`);
}

/**
 * @param {string} directory
 * @param {string} out
 * @returns {string} the tarball
 */
function npmPack(directory, out) {
  const name = output('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', path.resolve(out)], {
    cwd: directory,
  });
  return path.join(out, name);
}

if (require.main === module) {
  const [binaries, out, ...platforms] = process.argv.slice(2);
  if (binaries === undefined || out === undefined) {
    console.error('usage: node scripts/pack.js BINARIES OUT [PLATFORM...]');
    process.exit(2);
  }
  for (const tarball of pack(binaries, out, platforms.length > 0 ? platforms : undefined)) console.log(tarball);
}

module.exports = { PLATFORMS, pack };
