// Finds the native addon. Apart from this file nothing knows where it comes from.

const path = require('node:path');

const BINARY = path.join(__dirname, '..', 'http-terminator-native.node');

module.exports = load();

/** @returns {typeof import('./binding')} */
function load() {
  try {
    return require(BINARY);
  } catch (error) {
    // Only absence is explained here. Whatever else keeps a binary from loading (another libc, another
    // architecture, a damaged file) says more in its own words.
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'MODULE_NOT_FOUND') throw error;
    throw new Error(
      `http-terminator-native has no binary for ${process.platform}-${process.arch}: ${BINARY} does not exist. ` +
        'It is built by "npm install", which needs Rust (https://rustup.rs). ' +
        'If install scripts are switched off, run "npm rebuild http-terminator-native --foreground-scripts".',
      { cause: error },
    );
  }
}
