// Builds the addon with cargo.

const { spawnSync } = require('node:child_process');
const path = require('node:path');

/**
 * @param {string} command `cargo`, or something that takes the same parameters
 * @param {string[]} parameters
 * @returns {{ library: string | undefined, missing: boolean }} where the library is, unless the build failed; and
 * whether there is no such command
 */
function build(command, parameters) {
  const { error, status, stdout } = spawnSync(
    command,
    [...parameters, '--release', '--locked', '--lib', '--message-format', 'json-render-diagnostics'],
    // Cargo's own account of what it builds goes where the user sees it.
    { cwd: path.join(__dirname, '..'), encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 2 ** 26 },
  );
  const missing = /** @type {NodeJS.ErrnoException | undefined} */ (error)?.code === 'ENOENT';
  if (error !== undefined && !missing) throw error;
  return { library: status === 0 ? libraryIn(stdout) : undefined, missing };
}

/** @param {string} messages one in a line */
function libraryIn(messages) {
  const artifacts = messages
    .split('\n')
    .filter((line) => line.includes('"compiler-artifact"'))
    .map((line) => JSON.parse(line));
  const { filenames } = artifacts.find(({ target }) => target.kind.includes('cdylib'));
  // Windows has files for the linker and the debugger beside it.
  return filenames.find((/** @type {string} */ name) => /\.(so|dylib|dll)$/.test(name));
}

module.exports = { build };
