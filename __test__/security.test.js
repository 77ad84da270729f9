// SECURITY.md lists all code that is unsafe, and nothing else is.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { describe, it } = require('node:test');

const root = path.join(__dirname, '..');

describe('the list of what is unsafe', () => {
  it('has each block, with the function that it is in', () => {
    const listed = read('SECURITY.md').matchAll(/^\| `(src\/[^`]+)` \| `(\w+)` \| .+ \| .+ \|$/gm);
    const found = sources().flatMap((file) => unsafeIn(file).map((within) => `${file}: ${within}`));
    assert.deepEqual(Array.from(listed, ([, file, within]) => `${file}: ${within}`).sort(), found.sort());
    assert.ok(found.length > 0);
  });

  it('is of one module, as the compiler sees to', () => {
    for (const file of sources()) if (!file.startsWith('src/kernel/')) assert.deepEqual(unsafeIn(file), [], file);
    const exceptions = read('src/lib.rs').matchAll(/#\[\w+\(unsafe_code[^\]]*\)\]\npub mod (\w+);/g);
    assert.match(read('src/lib.rs'), /^#!\[deny\([^)]*\bunsafe_code\b[^)]*\)\]$/m);
    assert.deepEqual(
      Array.from(exceptions, ([, module]) => module),
      ['kernel'],
    );
  });

  it('says why in the code, too, as a lint sees to', () => {
    assert.match(read('src/kernel/mod.rs'), /^#!\[deny\(clippy::undocumented_unsafe_blocks\)\]$/m);
  });
});

/** The functions in which something is unsafe, once for each time, without the tests. */
function unsafeIn(file) {
  const [code] = read(file).split(/^#\[cfg\(test\)\]\n(?:#\[.*\]\n)*mod \w+ \{$/m);
  const within = [];
  let latest = 'nothing';
  for (const [, comment, name, keyword] of code.matchAll(/(\/\/.*)|\bfn (\w+)|(\bunsafe\b)/g)) {
    if (comment !== undefined) continue;
    if (name !== undefined) latest = name;
    if (keyword !== undefined) within.push(latest);
  }
  return within;
}

function sources() {
  const names = fs.readdirSync(path.join(root, 'src'), { recursive: true, encoding: 'utf8' });
  const files = names.filter((name) => name.endsWith('.rs') && path.basename(name) !== 'tests.rs');
  return files.map((name) => `src/${name.replaceAll(path.sep, '/')}`).sort();
}

function read(file) {
  return fs.readFileSync(path.join(root, file), 'utf8');
}
