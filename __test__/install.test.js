// `npm install` builds what is missing, only then, and says what it lacks.

const assert = require('node:assert/strict');
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { it } = require('node:test');
const { platform } = require('../lib/platform');

const root = path.join(__dirname, '..');

it('does not build again what has not changed', () => {
  const binary = path.join(root, 'http-terminator-native.node');
  const before = fs.statSync(binary);
  const { status, stdout } = install(root, process.env.PATH);
  assert.equal(status, 0);
  assert.match(stdout, /up to date/);
  assert.equal(fs.statSync(binary).ino, before.ino);
});

it('builds with link-time optimisation', () => {
  const manifest = fs.readFileSync(path.join(root, 'Cargo.toml'), 'utf8');
  assert.match(manifest, /^\[profile\.release\]\n(.+\n)*lto = "fat"$/m);
  // Another type beside it turns that off, and nobody is told.
  assert.match(manifest, /^crate-type = \["cdylib"\]$/m);
});

it('builds without symbols', { skip: process.platform !== 'linux' && 'reads the format of Linux' }, () => {
  const [SHT_SYMTAB, SHT_DYNSYM] = [2, 11];
  const types = sectionTypes(path.join(root, 'http-terminator-native.node'));
  assert.ok(types.includes(SHT_DYNSYM), 'those that Node looks up are left');
  assert.ok(!types.includes(SHT_SYMTAB));
});

it('says what is missing without cargo and without a binary', (test) => {
  const copy = copyOfPackage(test);
  const { status, stderr } = install(copy, copy);
  assert.equal(status, 1);
  assert.match(stderr, new RegExp(`no prebuilt binary for ${platform()}`));
  assert.match(stderr, /"cargo" is not on the PATH/);
  assert.match(stderr, /https:\/\/rustup\.rs/);
  assert.doesNotMatch(stderr, /\n\s+at /, 'a message, not a stack');
});

it('names the platform and the remedy when there is no binary to load', (test) => {
  const copy = copyOfPackage(test);
  const { status, stderr } = spawnSync(process.execPath, ['--eval', 'require(process.argv[1])', copy], {
    encoding: 'utf8',
  });
  assert.notEqual(status, 0);
  assert.match(stderr, new RegExp(`has no binary for ${platform()}`));
  assert.match(stderr, /npm rebuild/);
});

it('shows the own words of a binary that does not load', (test) => {
  const copy = copyOfPackage(test);
  fs.writeFileSync(path.join(copy, 'http-terminator-native.node'), 'not a library');
  const { stderr } = spawnSync(process.execPath, ['--eval', 'require(process.argv[1])', copy], { encoding: 'utf8' });
  assert.doesNotMatch(stderr, /has no binary/);
  assert.match(stderr, /ERR_DLOPEN_FAILED/);
});

/**
 * What is in a program or a library for 64 bits (elf(5)).
 *
 * @param {string} file
 */
function sectionTypes(file) {
  const image = fs.readFileSync(file);
  const [tableAt, size, count] = [
    Number(image.readBigUInt64LE(0x28)),
    image.readUInt16LE(0x3a),
    image.readUInt16LE(0x3c),
  ];
  return Array.from({ length: count }, (_, section) => image.readUInt32LE(tableAt + section * size + 4));
}

function install(directory, PATH) {
  return spawnSync(process.execPath, ['scripts/install.js'], { cwd: directory, env: { PATH }, encoding: 'utf8' });
}

/** The files that are published, without a binary. */
function copyOfPackage(test) {
  const copy = fs.mkdtempSync(path.join(os.tmpdir(), 'terminator-'));
  test.after(() => fs.rmSync(copy, { recursive: true }));
  const names = ['.cargo', 'Cargo.lock', 'Cargo.toml', 'build.rs', 'index.js', 'lib', 'package.json', 'scripts', 'src'];
  for (const name of names) {
    fs.cpSync(path.join(root, name), path.join(copy, name), { recursive: true });
  }
  return copy;
}
