// Builds the addon for this platform as it is published, into target/prebuilt.
//
// For glibc this takes cargo-zigbuild, which links against the oldest version that is promised:
// `pip install -r .ci/tools.txt`.

const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { platform } = require('../lib/platform');
const { build } = require('./cargo');
const { hostTuple } = require('./run');

const OLDEST_GLIBC = { minor: 17, name: '2.17' };

const directory = path.join(__dirname, '..', 'target', 'prebuilt');
const binary = path.join(directory, `http-terminator-native.${platform()}.node`);

const { library, missing } = buildPortable();
if (missing) throw new Error('cargo, or cargo-zigbuild (pip install -r .ci/tools.txt), is not on the PATH');
if (library === undefined) process.exit(1);
fs.mkdirSync(directory, { recursive: true });
fs.copyFileSync(library, binary);
if (platform().endsWith('-gnu')) checkGlibc();
console.log(path.relative('', binary));

function buildPortable() {
  const host = hostTuple();
  // A folder of its own, since cargo builds everything anew for other flags.
  const parameters = ['--target-dir', path.join('target', 'portable'), '--target'];
  if (platform().endsWith('-gnu')) {
    return build('cargo-zigbuild', ['zigbuild', ...parameters, `${host}.${OLDEST_GLIBC.name}`]);
  }
  return build('cargo', ['build', ...parameters, host]);
}

/** Whatever the linker was told, no symbol of a newer version may be needed. */
function checkGlibc() {
  const symbols = execFileSync('objdump', ['-T', binary], { encoding: 'utf8' });
  const newest = Math.max(...[...symbols.matchAll(/\bGLIBC_2\.(\d+)/g)].map(([, minor]) => Number(minor)));
  if (!(newest <= OLDEST_GLIBC.minor)) throw new Error(`${binary} needs glibc 2.${newest}, not ${OLDEST_GLIBC.name}`);
  console.log(`It needs glibc 2.${newest} or later.`);
}
