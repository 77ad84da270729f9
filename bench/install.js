// What an installation leaves on the disk, and how long it takes with everything in npm's cache: each library in an empty
// folder. This package comes from tarballs as they are published, with the binary that was built here.

const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { platform } = require('../lib/platform');
const { pack } = require('../scripts/pack');
const { OURS, libraries } = require('./libraries');
const { progress } = require('./progress');
const { median, rotated, sum } = require('./statistics');
const { quartiles, spread } = require('./table');

const ROUNDS = 7;

async function measure({ quick }) {
  const work = fs.mkdtempSync(path.join(os.tmpdir(), 'install-'));
  try {
    return table(work, quick ? 1 : ROUNDS);
  } finally {
    fs.rmSync(work, { recursive: true });
  }
}

/**
 * @param {string} work
 * @param {number} rounds
 */
function table(work, rounds) {
  const installed = libraries
    .filter(({ version }) => version !== null)
    .map(({ name, version }) => ({
      name,
      specifiers: name === OURS ? tarballs(work) : [`${name}@${version}`],
      folder: path.join(work, name),
      /** @type {number[]} in milliseconds */
      times: [],
    }));
  // Once for the cache, and then in turn.
  for (const library of installed) install(library, []);
  for (let round = 0; round < rounds; round += 1) {
    progress(`Installation: round ${round + 1} of ${rounds}`);
    for (const library of rotated(installed, round)) library.times.push(install(library, ['--offline']));
  }
  const measured = installed.map(({ name, folder, times }) => {
    const files = filesIn(path.join(folder, 'node_modules'));
    return {
      name,
      packages: files.filter((file) => /node_modules\/(@[^/]+\/)?[^/@]+\/package\.json$/.test(file)).length,
      files: files.length,
      kibibytes: Math.round(sum(files.map((file) => fs.statSync(file).size)) / 1024),
      seconds: times.map((time) => time / 1000),
    };
  });
  const byLibrary = (value) => Object.fromEntries(measured.map((library) => [library.name, value(library)]));
  return {
    title: 'Installation',
    columns: ['', 'packages', 'files', 'KiB', 'seconds', 'quartiles'],
    rows: measured.map(({ name, packages, files, kibibytes, seconds }) => [
      name,
      packages,
      files,
      kibibytes,
      median(seconds).toFixed(2),
      quartiles(seconds),
    ]),
    figures: [
      { title: 'packages that are installed', digits: 0, values: byLibrary(({ packages }) => ({ value: packages })) },
      {
        title: 'size of the installation, KiB',
        digits: 0,
        values: byLibrary(({ kibibytes }) => ({ value: kibibytes })),
      },
      { title: 'time to install from the cache, s', digits: 2, values: byLibrary(({ seconds }) => spread(seconds)) },
    ],
    notes: [`Medians of ${rounds} installations by npm from its cache. KiB are of the files, without what blocks add.`],
  };
}

/** @param {string} work */
function tarballs(work) {
  const binaries = path.join(work, 'binaries');
  fs.mkdirSync(binaries);
  fs.copyFileSync(
    path.join(__dirname, '..', 'http-terminator-native.node'),
    path.join(binaries, `http-terminator-native.${platform()}.node`),
  );
  return pack(binaries, path.join(work, 'tarballs'), [platform()]);
}

/**
 * @param {{ folder: string, specifiers: string[] }} library
 * @param {string[]} options
 * @returns {number} how long it took, in milliseconds
 */
function install({ folder, specifiers }, options) {
  fs.rmSync(folder, { recursive: true, force: true });
  fs.mkdirSync(folder);
  fs.writeFileSync(path.join(folder, 'package.json'), '{ "private": true }');
  const startedAt = performance.now();
  execFileSync('npm', ['install', '--silent', '--no-audit', '--no-fund', ...options, ...specifiers], { cwd: folder });
  return performance.now() - startedAt;
}

/** @param {string} folder */
function filesIn(folder) {
  return fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath ?? entry.path, entry.name));
}

module.exports = { measure };
