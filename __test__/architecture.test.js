// What ARCHITECTURE.md says of the files, held to these.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { it } = require('node:test');

const root = path.join(__dirname, '..');
const read = (...names) => fs.readFileSync(path.join(root, ...names), 'utf8');
const architecture = read('ARCHITECTURE.md');
const modules = fs.readdirSync(path.join(root, 'lib'));

it('every file that it names exists', () => {
  const folders = fs.readdirSync(root, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const inFolders = folders.map(({ name }) => `${name.replaceAll('.', '\\.')}/`).join('|');
  const pattern = new RegExp(`(?<![\\w./-])(?:(?:${inFolders})[\\w./-]*|[\\w.-]+\\.(?:js|rs|md|json)\\b)`, 'g');
  const named = new Set([...architecture.matchAll(pattern)].map(([name]) => name.replace(/\.$/, '')));
  assert.ok(named.size > 50);
  assert.deepEqual(
    [...named].filter((name) => !fs.existsSync(path.join(root, name))),
    [],
  );
});

it('it names every module of lib', () => {
  assert.deepEqual(
    modules.filter((name) => !architecture.includes(`\`lib/${name}\``)),
    [],
  );
});

it('its diagrams of the states are those of the machine', () => {
  const drain = path.join('src', 'drain');
  const documentation = fs
    .readdirSync(path.join(root, drain))
    .filter((name) => name.endsWith('.rs'))
    .map((name) => [...read(drain, name).matchAll(/^\/\/! ?(.*\n)/gm)].map(([, line]) => line).join(''))
    .join('');
  const [, states] = /^## The states\n(.*?)^## /ms.exec(architecture) ?? [];
  const diagrams = [...String(states).matchAll(/^```text\n.*?^```\n/gms)].map(([diagram]) => diagram);
  assert.equal(diagrams.length, 2);
  for (const diagram of diagrams) assert.ok(documentation.includes(diagram), diagram);
});

it('no module of lib requires one that requires it', () => {
  const required = new Map(
    modules.map((name) => [
      name,
      [...read('lib', name).matchAll(/\brequire\('\.\/(.*?)'\)/g)].map(([, required]) => `${required}.js`),
    ]),
  );
  const follow = (way) => {
    for (const next of required.get(way.at(-1)) ?? []) {
      assert.ok(!way.includes(next), [...way, next].join(' requires '));
      follow([...way, next]);
    }
  };
  for (const name of modules) follow([name]);
});
