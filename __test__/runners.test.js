// The suites of examples/node-test and examples/runners, in every way that their runners run them: they pass, their
// process ends by itself, and the runner has nothing to say about what is left open. Without their terminations it has.
// Jest and Vitest are installed by a command of their own, `npm run test:runners`.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { describe, it } = require('node:test');
const { run } = require('./support/process');

const root = path.join(__dirname, '..');
const examples = path.join(root, 'examples');
const modules = path.join(examples, 'runners', 'node_modules');

/** Set by the command, which has installed them. */
const skip = process.env.RUNNERS !== '1' && 'installs Jest and Vitest: npm run test:runners';

/** So that a process that does not end is ended with its test, and not left when the file's time is over. */
const timeout = 60_000;

const COMPLAINTS = /did not exit|open handle|failed to exit gracefully|leak|timed out/i;

/** How many there are in each suite. */
const TESTS = { jest: 5, vitest: 4 };

const jest = path.join(modules, 'jest', 'bin', 'jest.js');
const vitest = path.join(modules, 'vitest', 'vitest.mjs');

const modes = [
  { name: 'Jest in band', folder: 'jest', command: [jest, '--runInBand'], complaint: /did not exit/ },
  {
    name: 'Jest in parallel',
    folder: 'jest',
    // It runs in band what it remembers to be quick.
    command: [jest, '--maxWorkers=2', '--no-cache'],
    complaint: /A worker process has failed to exit gracefully/,
    endsAnyway: true,
  },
  {
    name: 'Jest with --detectOpenHandles',
    folder: 'jest',
    command: [jest, '--detectOpenHandles'],
    complaint: /open handles[\s\S]*TCPSERVERWRAP/,
  },
  // It ends its threads and processes whatever they have open, so only this option tells.
  ...['threads', 'forks'].map((pool) => ({
    name: `Vitest with ${pool}`,
    folder: 'vitest',
    command: [vitest, 'run', `--pool=${pool}`, '--detect-async-leaks'],
    complaint: /TCPSERVERWRAP leaking in hook\.spec\.ts/,
    endsAnyway: true,
  })),
];

describe('Jest and Vitest', { skip }, () => {
  for (const { name, folder, command, complaint, endsAnyway } of modes) {
    it(`${name} has nothing to say`, { timeout }, async (test) => {
      const { ended } = run(test, [process.execPath, ...command], { cwd: path.join(examples, 'runners', folder) });
      const { code, output } = await ended;
      assert.equal(code, 0, output);
      assert.match(output, new RegExp(`Tests:? +${TESTS[folder]} passed`));
      assert.doesNotMatch(output, COMPLAINTS);
    });

    it(`${name} complains without a termination`, { timeout }, async (test) => {
      const copy = copyWithoutTerminations(test, path.join(examples, 'runners', folder));
      fs.symlinkSync(modules, path.join(copy, 'node_modules'), 'junction');
      const { said, ended, kill } = run(test, [process.execPath, ...command], { cwd: copy });
      await said(complaint);
      // Else its workers would outlive it.
      if (!endsAnyway) kill();
      await ended;
    });
  }
});

describe('node:test', () => {
  // It says nothing by itself: a process that has something open just goes on.
  const watch = 'setInterval(() => console.log("still open:", process.getActiveResourcesInfo()), 1000).unref()';

  for (const { file, tests, since } of [
    { file: 'hook.spec.js', tests: 2, since: 20 },
    { file: 'await-using.spec.js', tests: 1, since: 24 },
  ]) {
    const skip = Number.parseInt(process.versions.node, 10) < since && `Node ${since} is the first to parse it`;

    it(`ends with ${file}`, { skip, timeout }, async (test) => {
      const { code, output } = await run(test, [process.execPath, '--test', file], {
        cwd: path.join(examples, 'node-test'),
      }).ended;
      assert.equal(code, 0, output);
      assert.match(output, new RegExp(`^. pass ${tests}$`, 'm'));
    });

    it(`does not end with ${file} without a termination`, { skip, timeout }, async (test) => {
      const copy = copyWithoutTerminations(test, path.join(examples, 'node-test'));
      fs.mkdirSync(path.join(copy, 'node_modules'));
      fs.symlinkSync(root, path.join(copy, 'node_modules', 'http-terminator-native'), 'junction');
      const command = ['--import', `data:text/javascript,${watch}`, '--test-reporter=tap', file];
      const { said, ended, kill } = run(test, [process.execPath, ...command], { cwd: copy });
      await said(new RegExp(`^ok ${tests} - [\\s\\S]*still open: .*TCPServerWrap`, 'm'));
      kill();
      await ended;
    });
  }
});

/** The same suites, but nothing in them ends a server. */
function copyWithoutTerminations(test, folder) {
  const copy = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'terminator-')));
  test.after(() => fs.rmSync(copy, { recursive: true }));
  for (const { name } of fs.readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isFile())) {
    const text = fs.readFileSync(path.join(folder, name), 'utf8');
    const without = text.replace(/^after.*terminate.*$/m, '').replace('await using t', 'const t');
    assert.equal(without !== text, name.includes('.spec.'), name);
    fs.writeFileSync(path.join(copy, name), without);
  }
  return copy;
}
