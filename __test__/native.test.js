// The declarations that the JavaScript is checked against, held to the addon itself.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { it } = require('node:test');
const { native } = require('../lib/early');

const declarations = fs.readFileSync(path.join(__dirname, '..', 'lib', 'binding.d.ts'), 'utf8');

it('lib/binding.d.ts declares what the addon exports, and nothing else', () => {
  const declared = [...declarations.matchAll(/^export (?:function|const) (\w+)/gm)].map(([, name]) => name);
  assert.deepEqual(declared.sort(), Object.keys(native).sort());
});

it('lib/binding.d.ts declares the members of enumerations, and nothing else', () => {
  for (const [, name, body] of declarations.matchAll(/^export const (\w+): \{([^}]*)\}/gm)) {
    const members = [...body.matchAll(/readonly (\w+): number/g)].map(([, member]) => member);
    assert.deepEqual(members.sort(), Object.keys(native[name]).sort(), name);
  }
});

it('an unknown driver or connection is an error or nothing, never a crash', () => {
  assert.throws(() => native.state(4_000_000_000), /no driver has the key/);
  const key = native.create();
  for (const event of [
    'receiving',
    'secured',
    'hijacked',
    'answeredEarly',
    'nothingMore',
    'multiplexed',
    'ponged',
    'requestAborted',
    'requestBrokenOff',
  ]) {
    assert.equal(native[event](key, 4_000_000_000), null);
  }
  assert.equal(native.closed(key, 7, true), null);
  assert.equal(native.requestStarted(key, 7, false), null);
  assert.equal(native.requestFinished(key, 7, native.Arriving.Nothing, true, false), null);
  assert.throws(() => native.opened(key, 99));
  native.release(key);
  native.release(key);
  assert.throws(() => native.state(key));
});

it('an unknown probe server, check or server is an error or nothing, never a crash', () => {
  for (const call of ['beat', 'signalReady', 'signalStarted', 'leaving', 'checked', 'counted']) {
    assert.throws(() => native[call](4_000_000_000, 0, 0, 0, 0, 0), Error);
  }
  native.closeProbeServer(4_000_000_000);
  const plan = {
    host: '127.0.0.1',
    port: 0,
    heartbeat: -1,
    stallThreshold: Number.NaN,
    paths: [],
    checks: [],
    servers: [],
  };
  assert.throws(() => native.openProbeServer({ ...plan, host: 'nowhere' }), /no address/);
  assert.throws(
    () => native.openProbeServer({ ...plan, servers: [{ key: 4_000_000_000, protocol: 'http' }] }),
    /no driver/,
  );
  assert.throws(() => native.openProbeServer({ ...plan, paths: [{ path: '/', endpoint: 99 }] }));
  const { key } = native.openProbeServer(plan);
  native.checked(key, 7, true);
  native.counted(key, 7, 1, 1, 1, 1);
  native.closeProbeServer(key);
  native.closeProbeServer(key);
});

it('what is no time, no signal, or names nothing to enforce, is an error or nothing, never a crash', () => {
  for (const time of [Number.NaN, -1, Number.POSITIVE_INFINITY, Number.MAX_VALUE]) {
    assert.throws(() => native.enforce(time, ''));
    assert.throws(() => native.guard([], time, ''));
  }
  for (const number of [-1, 0, 65, 2 ** 31 - 1, os.constants.signals.SIGKILL, os.constants.signals.SIGWINCH]) {
    assert.throws(() => native.guard([number], 60_000, ''));
  }
  native.relent(4_000_000_000);
  native.unguard(4_000_000_000);
});
