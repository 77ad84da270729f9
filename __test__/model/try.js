// Tries random scripts, several at a time, and tells of each that fails: what is wrong, the smallest script found that
// fails as well, and how to play it again.

const fc = require('fast-check');
const { judge } = require('./judge');
const { play } = require('./play');
const { script } = require('./script');

/** How many scripts are played at a time. */
const LANES = 16;

/** How many scripts have one seed. Fewer mean that a failure is found again sooner. */
const SCRIPTS_A_SEED = 50;

/** Smaller scripts that fail as well are looked for so long. */
const SHRINKS_AT_MOST_MS = 30_000;

/**
 * @param {{ scripts?: number, minutes?: number, seed?: number | undefined, tell?: (line: string) => void }} options
 * @returns {Promise<string[]>} what is to be told of each script that has failed
 */
async function tryScripts({
  scripts = Number.POSITIVE_INFINITY,
  minutes = Number.POSITIVE_INFINITY,
  seed = newSeed(),
  tell = console.log,
}) {
  const until = Date.now() + minutes * 60_000;
  const failures = [];
  let left = scripts;
  let next = seed;
  tell(`seeds from ${seed} on`);
  await Promise.all(Array.from({ length: LANES }, tryOneAfterAnother));
  return failures;

  async function tryOneAfterAnother() {
    while (left > 0 && Date.now() < until) {
      const numRuns = Math.min(left, SCRIPTS_A_SEED);
      left -= numRuns;
      const seed = next;
      next += 1;
      const failure = await tryWith({ seed, numRuns, markInterruptAsFailure: false });
      if (failure === null) continue;
      failures.push(failure);
      tell(failure);
    }
  }
}

/** Plays one script again, some times, and returns what is wrong with it. */
async function tryAgain({ seed, path, times = 1 }) {
  const failures = [];
  for (let time = 0; time < times; time += 1) {
    const failure = await tryWith({ seed, path, endOnFailure: true }, 1);
    if (failure !== null) failures.push(failure);
  }
  return failures;
}

async function tryWith(parameters, atMost = Number.POSITIVE_INFINITY) {
  let since = null;
  let played = 0;
  const property = fc.asyncProperty(script, async (each) => {
    // Enough has been found.
    if (since !== null && Date.now() - since > SHRINKS_AT_MOST_MS) return;
    // Of a path that does not fail any more, scripts are tried that differ a little.
    if (played === atMost) return;
    played += 1;
    const director = await play(each);
    const wrong = judge(director);
    if (wrong.length === 0) return;
    since ??= Date.now();
    throw new Error([...wrong, ...director.story()].join('\n'));
  });
  const result = await fc.check(property, parameters);
  if (!result.failed) return null;
  const { counterexample, counterexamplePath, errorInstance } = result;
  return [
    `\nA script failed: ${errorInstance?.message ?? errorInstance}`,
    fc.stringify(counterexample[0]).replaceAll('__proto__:null,', ''),
    `To play it again: npm run test:model -- --seed ${result.seed} --path ${counterexamplePath}`,
  ].join('\n');
}

function newSeed() {
  return Math.floor(Math.random() * 2 ** 31);
}

module.exports = { tryAgain, tryScripts };
