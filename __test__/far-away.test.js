// A round trip away from its clients, which a server on the loopback interface never is: the cases in far-away/ run in a
// network that ends in a mirror.

const assert = require('node:assert/strict');
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { before, describe, it } = require('node:test');
const { run } = require('./support/process');

/** In milliseconds: to another city, and to a satellite or to a phone where reception is bad. */
const ROUND_TRIPS = [20, 300];

const CASES = path.join(__dirname, 'far-away/cases.js');
const MANIFEST = path.join(__dirname, 'mirror/Cargo.toml');
const BUILT = path.join(__dirname, '../target/mirror');
const MIRROR = path.join(BUILT, 'release/mirror');

/** A network, and processes that end with the first one, however that ends. */
const OF_ITS_OWN = ['unshare', '--net', '--pid', '--fork', '--kill-child', '--mount-proc'];

/** Where the tests must not go without it. */
const isRequired = process.env.REQUIRE_PRIVILEGES === '1';

describe('far away', { skip: !isRequired && whyNot() }, () => {
  before(() => {
    const parameters = [
      'build',
      '--release',
      '--locked',
      '--quiet',
      '--manifest-path',
      MANIFEST,
      '--target-dir',
      BUILT,
    ];
    const { status, stderr } = spawnSync('cargo', parameters, { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
  });

  for (const roundTrip of ROUND_TRIPS) {
    it(`every case holds at a round trip of ${roundTrip} ms`, async (test) => {
      const commandLine = [...OF_ITS_OWN, MIRROR, String(roundTrip), process.execPath, CASES];
      const { code, output } = await run(test, commandLine, { env: { NODE_OPTIONS: '--test-reporter=tap' } }).ended;
      assert.equal(code, 0, output);
      // Nothing that was said to pass was left out.
      assert.match(output, /^# pass [1-9]/m);
      assert.match(output, /^# skipped 0$/m);
    });
  }
});

/** @returns {string | false} why there can't be a mirror here, if there can't be one */
function whyNot() {
  if (process.platform !== 'linux') return 'a network of its own can be had on Linux only';
  if (process.getuid?.() !== 0) return 'only root may make a network interface';
  if (!fs.existsSync('/dev/net/tun')) return 'there is no /dev/net/tun';
  const [unshare, ...parameters] = OF_ITS_OWN;
  if (spawnSync(unshare, [...parameters, 'true']).status !== 0) return 'this process may have no network of its own';
  return spawnSync('cargo', ['--version']).status !== 0 && 'the mirror is built by cargo';
}
