// What is published, installed as its users install it: into an empty folder, on a machine without a compiler.

const assert = require('node:assert/strict');
const { execFileSync, spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { after, before, it } = require('node:test');
const { packageOf, platform } = require('../lib/platform');
const { PLATFORMS, pack } = require('../scripts/pack');

const root = path.join(__dirname, '..');
const { version } = require('../package.json');
const here = platform();

// Where npm is a script for a shell, PATH is not so easily emptied.
const options = { skip: process.platform === 'win32' };

/** Removed at the end. */
let directory;
/** The tarballs of this platform's package and of the main one. */
let binary;
let main;

before(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'terminator-'));
  [binary, main] = pack(binaries(), path.join(directory, 'out'), [here]);
});
after(() => fs.rmSync(directory, { recursive: true }));

it('the package holds what is needed, and nothing else', () => {
  const sources = ['lib', 'src'].flatMap((folder) =>
    fs
      .readdirSync(path.join(root, folder), { recursive: true })
      .filter((name) => /\.(js|rs)$/.test(name) && !/\b(tests|properties)\.rs$/.test(name))
      .map((name) => `${folder}/${name.replaceAll(path.sep, '/')}`),
  );
  const others = [
    ...[
      '.cargo/config.toml',
      'CHANGELOG.md',
      'Cargo.lock',
      'Cargo.toml',
      'LICENSE',
      'README.md',
      'build.rs',
      'index.d.ts',
      'index.js',
    ],
    ...['http-shutdown', 'stoppable'].flatMap((name) => [`drop-ins/${name}.d.ts`, `drop-ins/${name}.js`]),
    ...['package.json', 'scripts/cargo.js', 'scripts/install.js'],
  ];
  assert.deepEqual(filesIn(main), [...sources, ...others].sort());
  assert.deepEqual(filesIn(binary), ['LICENSE', 'README.md', `http-terminator-native.${here}.node`, 'package.json']);
});

it('the package asks for the binaries of its own version', () => {
  const { optionalDependencies, scripts, devDependencies } = manifestIn(main);
  assert.deepEqual(optionalDependencies, { [packageOf(here)]: version });
  assert.deepEqual(scripts, { install: 'node scripts/install.js' });
  assert.equal(devDependencies, undefined);
  const { os: systems, cpu, version: same } = manifestIn(binary);
  assert.deepEqual([systems, cpu, same], [[process.platform], [process.arch], version]);
});

it('nothing is packed for a release unless every platform is there', () => {
  assert.throws(() => pack(binaries(), path.join(directory, 'all')), /ENOENT.*http-terminator-native\./);
});

it('the release builds every platform', () => {
  const workflow = fs.readFileSync(path.join(root, '.github', 'workflows', 'release.yml'), 'utf8');
  const built = [...workflow.matchAll(/^ +- platform: (\S+)$/gm)].map(([, name]) => name);
  assert.deepEqual(built.sort(), Object.keys(PLATFORMS).sort());
});

it('installs and ends a server without a compiler and without a registry', options, (test) => {
  const folder = emptyFolder(test);
  const { status, stderr } = npmInstall(folder, binary, main);
  assert.equal(status, 0, stderr);
  const installed = fs.readdirSync(path.join(folder, 'node_modules')).filter((name) => !name.startsWith('.'));
  assert.deepEqual(installed.sort(), ['http-terminator-native', packageOf(here)]);
  assert.equal(
    fs.existsSync(path.join(folder, 'node_modules/http-terminator-native/http-terminator-native.node')),
    false,
  );
  const script = `
    const http = require('node:http');
    const { createHttpTerminator } = require('http-terminator-native');
    const server = http.createServer(async (request, response) => {
      const terminated = terminator.terminate();
      response.end('whole');
      console.log(JSON.stringify((await terminated).requests));
    });
    const terminator = createHttpTerminator({ server });
    server.listen(0, '127.0.0.1', async () => {
      const answer = await fetch('http://127.0.0.1:' + server.address().port);
      console.log(answer.headers.get('connection'), await answer.text());
    });`;
  const ended = evaluate(folder, script);
  assert.equal(ended.status, 0, ended.stderr);
  assert.match(ended.stdout, /^close whole$/m);
  assert.match(ended.stdout, /^{"completed":1,"late":0,"cut":0}$/m);
});

it('says what is missing where there is neither a binary nor a compiler', options, (test) => {
  const { status, stderr } = npmInstall(emptyFolder(test), '--omit=optional', main);
  assert.notEqual(status, 0);
  assert.match(stderr, new RegExp(`no prebuilt binary for ${here}`));
  assert.match(stderr, new RegExp(`${packageOf(here)} is not installed`));
  assert.match(stderr, /"cargo" is not on the PATH/);
});

it('says what was looked for when it is required without a binary', options, (test) => {
  const folder = emptyFolder(test);
  assert.equal(npmInstall(folder, '--omit=optional', '--ignore-scripts', main).status, 0);
  const { status, stderr } = evaluate(folder, "require('http-terminator-native')");
  assert.notEqual(status, 0);
  assert.match(stderr, new RegExp(`has no binary for ${here}`));
  assert.match(stderr, new RegExp(`the package ${packageOf(here)},`));
  assert.match(stderr, /http-terminator-native\.node, which/);
  assert.match(stderr, /npm rebuild/);
});

it('shows the own words of a platform package that does not load', options, (test) => {
  const folder = emptyFolder(test);
  assert.equal(npmInstall(folder, binary, main).status, 0);
  const file = `node_modules/${packageOf(here)}/http-terminator-native.${here}.node`;
  fs.writeFileSync(path.join(folder, file), 'not a library');
  const { stderr } = evaluate(folder, "require('http-terminator-native')");
  assert.match(stderr, /ERR_DLOPEN_FAILED/);
  assert.doesNotMatch(stderr, /has no binary/);
});

/** A folder with a binary as it is to be published, or with the one that was built for the tests. */
function binaries() {
  if (process.env.PREBUILT) return path.resolve(root, process.env.PREBUILT);
  const folder = path.join(directory, 'binaries');
  fs.mkdirSync(folder, { recursive: true });
  fs.copyFileSync(
    path.join(root, 'http-terminator-native.node'),
    path.join(folder, `http-terminator-native.${here}.node`),
  );
  return folder;
}

function emptyFolder(test) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'terminator-'));
  test.after(() => fs.rmSync(folder, { recursive: true }));
  fs.writeFileSync(path.join(folder, 'package.json'), '{ "private": true }');
  return folder;
}

/** With nothing on the PATH but what npm itself runs. */
function npmInstall(folder, ...parameters) {
  const bin = path.join(directory, 'bin');
  if (!fs.existsSync(bin)) {
    fs.mkdirSync(bin);
    fs.symlinkSync(process.execPath, path.join(bin, 'node'));
    for (const name of ['npm', 'sh']) fs.symlinkSync(which(name), path.join(bin, name));
  }
  const quiet = ['--offline', '--no-audit', '--no-fund'];
  return spawnSync('npm', ['install', ...quiet, ...parameters], {
    cwd: folder,
    env: { PATH: bin, HOME: folder },
    encoding: 'utf8',
  });
}

/** @param {string} name of a command */
function which(name) {
  const found = process.env.PATH.split(path.delimiter)
    .map((folder) => path.join(folder, name))
    .find(fs.existsSync);
  return fs.realpathSync(found);
}

function evaluate(folder, script) {
  return spawnSync(process.execPath, ['--eval', script], { cwd: folder, encoding: 'utf8' });
}

function filesIn(tarball) {
  const names = tar('-tzf', tarball).trim().split(/\r?\n/);
  return names.map((name) => name.replace(/^package\//, '')).sort();
}

function manifestIn(tarball) {
  return JSON.parse(tar('-xOzf', tarball, 'package/package.json'));
}

function tar(how, tarball, ...names) {
  const cwd = path.dirname(tarball);
  return execFileSync('tar', [how, path.basename(tarball), ...names], { cwd, encoding: 'utf8' });
}
