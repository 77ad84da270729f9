// What is taken when the package is loaded, and not by the first call: the addon, and Node's timers.
//
// A missing binary is reported then. The first call would not be the place to load it, either: the addon has a handle of
// its own, and test runners would take it for one that the test has left behind. And they replace timers, those of
// `node:timers` as well as the global ones, by ones that wait for the test.

const fs = require('node:fs');
const path = require('node:path');
const { nextTick } = process;
const { clearInterval, clearTimeout, setImmediate, setInterval, setTimeout } = require('node:timers');

/** Built by scripts/install.js, where there is no package for the platform. */
const LOCAL_BUILD = path.join(__dirname, '..', 'http-terminator-native.node');

module.exports = {
  native: load(),
  timers: { clearInterval, clearTimeout, nextTick, setImmediate, setInterval, setTimeout },
};

/**
 * Finds the addon, in the package for this platform or where it was built. Apart from this nothing knows where it comes from.
 *
 * @returns {typeof import('./binding')}
 */
function load() {
  // First, since to look for a package that is not there takes longer than all else that is loaded here.
  if (fs.existsSync(LOCAL_BUILD)) return require(LOCAL_BUILD);
  const { packageOf, platform } = require('./platform');
  const name = platform();
  try {
    return require(packageOf(name));
  } catch (error) {
    // Only absence is explained below. Whatever else keeps a binary from loading (another libc, another
    // architecture, a damaged file) says more in its own words.
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'MODULE_NOT_FOUND') throw error;
  }
  throw new Error(
    `http-terminator-native has no binary for ${name}. Neither of these was found:\n` +
      `- the package ${packageOf(name)}, which npm installs with it unless optional dependencies are left out, ` +
      'or node_modules was installed on another platform;\n' +
      `- ${LOCAL_BUILD}, which is built by its install script.\n` +
      'Install again on this platform, with optional dependencies. If there is no such package, install Rust ' +
      '(https://rustup.rs) and run "npm rebuild http-terminator-native --foreground-scripts".',
  );
}
