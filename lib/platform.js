// What the package is called that has the addon for this platform.

const fs = require('node:fs');

/** As Rust calls what Node does not tell apart. */
const ABI = { linux: () => (isMusl() ? 'musl' : 'gnu'), win32: () => 'msvc' };

/** For instance `linux-x64-gnu`. Whether there is a package for it is another question. */
function platform() {
  const abi = ABI[/** @type {keyof typeof ABI} */ (process.platform)];
  return [process.platform, process.arch, ...(abi ? [abi()] : [])].join('-');
}

/** @param {string} name of a platform */
function packageOf(name) {
  return `http-terminator-native-${name}`;
}

/** Where musl has its dynamic linker, by architecture. Where there is none, nothing is linked to musl. */
const MUSL_LINKER = { x64: '/lib/ld-musl-x86_64.so.1', arm64: '/lib/ld-musl-aarch64.so.1' };

/**
 * Whether the running program is linked to musl. That a binary does not load is no sign: musl may load one for
 * glibc, and crash later.
 */
function isMusl() {
  const linker = MUSL_LINKER[/** @type {keyof typeof MUSL_LINKER} */ (process.arch)];
  if (!fs.existsSync(linker)) return false;
  // Other systems may have musl beside their own library. Most programs name their linker in their first bytes. What
  // is left pays for Node's report, which takes longer than everything else that is loaded here.
  return headOf(process.execPath).includes(linker) || !hasGlibc();
}

/** @param {string} file */
function headOf(file) {
  const head = Buffer.alloc(4096);
  const descriptor = fs.openSync(file, 'r');
  fs.readSync(descriptor, head);
  fs.closeSync(descriptor);
  return head;
}

function hasGlibc() {
  // Newer than the oldest Node, which looks names up for it; here there are none yet.
  const report = /** @type {any} */ (process.report);
  const { excludeNetwork } = report;
  report.excludeNetwork = true;
  const { header } = report.getReport();
  report.excludeNetwork = excludeNetwork;
  return header.glibcVersionRuntime !== undefined;
}

module.exports = { packageOf, platform };
