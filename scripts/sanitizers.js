// Runs the crate's tests under AddressSanitizer, which also finds leaks, and under valgrind, which also finds what is
// read before it was written. Both look at our unsafe code and at that of the crates below it. The machine is left out:
// it is forbidden to be unsafe, and its properties take nearly all of the time.
//
// ThreadSanitizer is not among them: it takes the standard library for a stranger unless that is built anew with it, and
// then reports what is no race, or none at all. What threads share is loom's: `npm run test:loom`.

const { spawnSync } = require('node:child_process');
const path = require('node:path');
const { hostTuple, output, run } = require('./run');

const SKIPPED = ['--skip', 'drain::'];

if (process.platform !== 'linux') {
  console.error('The sanitizers are set up for Linux only.');
  process.exit(1);
}

console.log('\nAddressSanitizer');
// A nightly toolchain if there is one; otherwise the stable one is told to take its flags.
const isNightly = spawnSync('cargo', ['+nightly', '--version'], { stdio: 'ignore' }).status === 0;
run(
  'cargo',
  [
    ...(isNightly ? ['+nightly'] : []),
    'test',
    '--locked',
    '--target',
    hostTuple(),
    '--target-dir',
    path.join('target', 'sanitizers'),
    '--',
    ...SKIPPED,
  ],
  {
    env: {
      ...process.env,
      ...(isNightly ? {} : { RUSTC_BOOTSTRAP: '1' }),
      RUSTFLAGS: '-Zsanitizer=address',
      ASAN_OPTIONS: 'detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1',
    },
  },
);

console.log('\nvalgrind');
const built = output('cargo', ['test', '--locked', '--no-run', '--message-format=json']);
const messages = built.split('\n').filter((line) => line.startsWith('{'));
const tests = messages.map((line) => JSON.parse(line)).find(({ profile, executable }) => profile?.test && executable);
run('valgrind', [
  '--quiet',
  '--error-exitcode=9',
  '--leak-check=full',
  '--errors-for-leak-kinds=definite,indirect',
  '--show-leak-kinds=definite,indirect',
  tests.executable,
  ...SKIPPED,
  // It runs one thread at a time anyway, and what one test starts takes long enough to be seen by another.
  '--test-threads=1',
]);
