// What the package stands on: nothing of JavaScript at run time, and in its development only what may be used freely. The
// crates are checked by cargo-deny, and the advisories of both in CI.

const assert = require('node:assert/strict');
const { it } = require('node:test');
const manifest = require('../package.json');
const lock = require('../package-lock.json');

const FREE = ['0BSD', 'Apache-2.0', 'BSD-2-Clause', 'BSD-3-Clause', 'BlueOak-1.0.0', 'ISC', 'MIT'];
/** These say it in another way than npm understands. */
const KNOWN = { 'xmlhttprequest-ssl': 'MIT' };

it('nothing of JavaScript is needed at run time', () => {
  assert.equal(manifest.dependencies, undefined);
  // The binaries are named when they are published: see scripts/pack.js.
  assert.equal(manifest.optionalDependencies, undefined);
});

it('the licences of all packages in the lock leave everybody free', () => {
  const others = Object.entries(lock.packages).filter(([place, { license }]) => {
    const name = place.replace(/^.*node_modules\//, '');
    return !isFree(license ?? KNOWN[name]);
  });
  assert.deepEqual(others, []);
});

it('all packages come from the public registry', () => {
  const origins = Object.values(lock.packages).flatMap(({ resolved }) => (resolved ? [new URL(resolved).origin] : []));
  assert.deepEqual(
    origins.filter((origin) => origin !== 'https://registry.npmjs.org'),
    [],
  );
});

/** @param {string | undefined} license an expression of SPDX without nesting */
function isFree(license = '') {
  const choices = license.replace(/^\(|\)$/g, '').split(' OR ');
  return choices.some((choice) => choice.split(' AND ').every((part) => FREE.includes(part)));
}
