// Finds the native addon, in the package for this platform or where it was built. Apart from this file nothing knows
// where it comes from.

const path = require('node:path');
const { packageOf, platform } = require('./platform');

/** Built by scripts/install.js. */
const LOCAL_BUILD = path.join(__dirname, '..', 'http-terminator-native.node');

module.exports = load();

/** @returns {typeof import('./binding')} */
function load() {
  const name = platform();
  const candidates = [packageOf(name), LOCAL_BUILD];
  for (const candidate of candidates) {
    try {
      return require(candidate);
    } catch (error) {
      // Only absence is explained below. Whatever else keeps a binary from loading (another libc, another
      // architecture, a damaged file) says more in its own words.
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'MODULE_NOT_FOUND') throw error;
    }
  }
  throw new Error(
    `http-terminator-native has no binary for ${name}. Neither of these was found:\n` +
      `- the package ${candidates[0]}, which npm installs with it unless optional dependencies are left out, ` +
      'or node_modules was installed on another platform;\n' +
      `- ${LOCAL_BUILD}, which is built by its install script.\n` +
      'Install again on this platform, with optional dependencies. If there is no such package, install Rust ' +
      '(https://rustup.rs) and run "npm rebuild http-terminator-native --foreground-scripts".',
  );
}
