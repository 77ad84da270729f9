// Fuzzes the machine for so many seconds: `npm run test:fuzz -- 600`. Does what `cargo fuzz` does, from the same folder,
// but without that tool, which takes minutes to build, and with a stable compiler: what needs a nightly one is
// AddressSanitizer, and code that is forbidden to be unsafe gives it nothing to find.

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { hostTuple, root, run } = require('./run');

const target = path.join(root, 'target', 'fuzz');
const TARGETS = ['script', 'gibberish'];
/** What `cargo fuzz` has the compiler do, but for watching comparisons, which takes two thirds of the time and no script hangs on. */
const COVERAGE = [
  '--cfg fuzzing',
  '-Cpasses=sancov-module',
  '-Cllvm-args=-sanitizer-coverage-level=3',
  '-Cllvm-args=-sanitizer-coverage-inline-8bit-counters',
  '-Cllvm-args=-sanitizer-coverage-pc-table',
  '-Ccodegen-units=1',
].join(' ');

const seconds = Number(process.argv[2] ?? 60);
if (!(seconds > 0)) {
  console.error('usage: npm run test:fuzz -- [seconds]');
  process.exit(1);
}

const host = hostTuple();
run('cargo', ['build', '--release', '--locked', '--target', host, '--target-dir', target], {
  cwd: path.join(root, 'fuzz'),
  env: { ...process.env, RUSTFLAGS: COVERAGE },
});

for (const name of TARGETS) {
  const binary = path.join(target, host, 'release', name);
  // Where `cargo fuzz` has them.
  const corpus = path.join(root, 'fuzz', 'corpus', name);
  const artifacts = path.join(root, 'fuzz', 'artifacts', name);
  for (const directory of [corpus, artifacts]) fs.mkdirSync(directory, { recursive: true });
  const before = new Set(fs.readdirSync(artifacts));
  const { status } = spawnSync(
    binary,
    [
      `-max_total_time=${Math.ceil(seconds / TARGETS.length)}`,
      '-max_len=1024',
      // Long scripts from the beginning: what it takes to end a termination does not fit into a few bytes.
      '-len_control=0',
      '-timeout=10',
      '-print_final_stats=1',
      '-verbosity=0',
      '-print_funcs=0',
      `-artifact_prefix=${artifacts}${path.sep}`,
      corpus,
    ],
    { stdio: 'inherit' },
  );
  const found = fs.readdirSync(artifacts).filter((file) => !before.has(file));
  for (const file of found) show(binary, path.join(artifacts, file));
  if (status !== 0) {
    console.error(`\n${name} ended with ${status}; shrink what it found with: ${binary} -minimize_crash=1 FILE`);
    process.exit(1);
  }
}

/**
 * As code rather than bytes: it belongs into src/drain/tests.rs.
 *
 * @param {string} binary
 * @param {string} file
 */
function show(binary, file) {
  const debug = `${file}.txt`;
  spawnSync(binary, [file], { env: { ...process.env, RUST_LIBFUZZER_DEBUG_PATH: debug }, stdio: 'ignore' });
  console.error(`\n${file} is:`);
  console.error(fs.existsSync(debug) ? fs.readFileSync(debug, 'utf8') : 'not to be read');
}
