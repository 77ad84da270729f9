// Runs the cases of HTTP/1.1 in Bun and Deno, from their npm packages: whether what the README promises for them is true.

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { root, run: runToEnd } = require('./run');

const TESTS = '__test__/http1.test.js';
/**
 * @typedef {object} Runtime
 * @property {string} name
 * @property {string} specifier of the npm package
 * @property {string} program
 * @property {(program: string, excepted: RegExp[]) => { name: string, passed: boolean }[]} run
 * @property {RegExp[]} excepted the cases that its `node:http` does not allow; each must match one. README has them in words
 */

/** @type {Runtime[]} */
const runtimes = [
  {
    name: 'Bun',
    specifier: '@oven/bun-linux-x64@1.4.5',
    program: '@oven/bun-linux-x64/bin/bun',
    run(program, excepted) {
      // The others are not run: many of them wait for what never comes.
      const names = `^(?!.*(${excepted.map(({ source }) => source).join('|')}))`;
      const { stderr } = start(program, ['test', '--timeout', '30000', '--test-name-pattern', names, `./${TESTS}`]);
      const lines = [...stderr.matchAll(/^\((pass|fail)\) (.*?)(?: \[[\d.]+m?s\])?$/gm)];
      return lines.map(([, result, name]) => ({ name, passed: result === 'pass' }));
    },
    excepted: [
      / over https beside http2 /,
      /refuses new connections from the first moment/,
      /closes a connection on which not even a handshake has begun/,
      /serves a request that is already in the kernel/,
      /ends whole when a slow reader has twelve megabytes to go/,
      /says close when its handler answers in the tick in which the request comes/,
      /is served when the rest of its head comes/,
      /may ask to continue only after terminate\(\), through Node's default/,
      /through the user's checkContinue listener/,
      /are answered by handlers that answer at once, when they wait in the kernel/,
      /although its body is not waited for/,
      /behind one that is answered while Node works through them/,
      /whose head was cut in two/,
      /that is cut in two,/,
      /behind one that was cut in two itself/,
      /one after another behind the rest of a body/,
      /are answered when half of the last one is there/,
      /may be followed by several at once/,
      /after it has written everything, sent after terminate\(\)/,
      /reaches such a client, too, if it had begun/,
      /behind an answer that says close/,
      /with it, when the handler of \/(first|second) calls terminate/,
      /ends a server that is about to listen/,
      /is the last thing waited for/,
      /wait in the kernel when the one before is answered/,
      /on which nothing had come, and which is upgraded in time/,
      /of 0 lists what nobody has read yet/,
      /though its client reads late and pipelines another one/,
      /is not cut short by the keepAliveTimeout of its server/,
    ],
  },
  {
    name: 'Deno',
    specifier: 'deno@2.9.6',
    program: '.bin/deno',
    run(program) {
      const report = path.join(root, 'target', 'runtimes', 'deno.xml');
      fs.rmSync(report, { force: true });
      start(program, ['test', '--allow-all', '--no-check', '--unstable-detect-cjs', `--junit-path=${report}`, TESTS]);
      const cases = fs.readFileSync(report, 'utf8').matchAll(/<testcase name="(.*?)".*?>(\s*<failure)?/g);
      return [...cases]
        .map(([, name, failure]) => ({
          name: name.replaceAll('&gt;', '>').replaceAll('&apos;', "'"),
          passed: failure === undefined,
        }))
        .filter(({ name }) => name.split(' > ').length === 3);
    },
    excepted: [
      /refuses new connections from the first moment/,
      /serves a request that is already in the kernel/,
      /is the last thing waited for/,
      /is served when the rest of its head comes, on a reused connection/,
      /are answered by handlers that answer at once, when they wait in the kernel/,
      /are answered behind one in chunks/,
      /although its body is not waited for/,
      /behind one that is answered while Node works through them/,
      /whose head was cut in two/,
      /that is cut in two,/,
      /behind one that was cut in two itself/,
      /one after another behind the rest of a body/,
      /are answered when half of the last one is there/,
      /after it has written everything/,
      /reaches such a client, too, if it had begun/,
      /may be followed by another such/,
      /may be followed by several at once/,
      /behind an answer that says close/,
      /with it, when the handler of \/(first|second) calls terminate/,
      /wait in the kernel when the one before is answered/,
      /of 0 lists what nobody has read yet/,
      /though its client reads late and pipelines another one/,
      /is not cut short by the keepAliveTimeout of its server/,
    ],
  },
];

/** @type {Set<string>} */
const names = new Set();
let failed = false;
for (const { name, specifier, program, run, excepted } of runtimes) {
  const directory = path.join(root, 'target', 'runtimes', name);
  fs.mkdirSync(directory, { recursive: true });
  fs.writeFileSync(path.join(directory, 'package.json'), '{ "private": true }\n');
  runToEnd('npm', ['install', '--no-audit', '--no-fund', '--silent', specifier], { cwd: directory });
  const cases = run(path.join(directory, 'node_modules', program), excepted);
  for (const test of cases) names.add(test.name);
  const expected = cases.filter((test) => !excepted.some((pattern) => pattern.test(test.name)));
  const broken = expected.filter(({ passed }) => !passed);
  console.log(`${specifier}: ${expected.length - broken.length} of ${expected.length} cases pass that have to.`);
  for (const test of broken) console.error(`not ok: ${test.name}`);
  if (broken.length > 0 || expected.length === 0) failed = true;
}
for (const pattern of runtimes.flatMap(({ excepted }) => excepted)) {
  if ([...names].some((name) => pattern.test(name))) continue;
  console.error(`No case is called ${pattern}.`);
  failed = true;
}
process.exitCode = failed ? 1 : 0;

/**
 * @param {string} program
 * @param {string[]} parameters
 */
function start(program, parameters) {
  const env = { ...process.env, NO_COLOR: '1' };
  // Bounded, since a runtime may also hang as a whole.
  return spawnSync(program, parameters, { cwd: root, env, encoding: 'utf8', maxBuffer: 2 ** 26, timeout: 180_000 });
}
