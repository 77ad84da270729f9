// The model from the command line: for as long as you like, or one script again.
//
//   npm run test:model -- [--scripts <number>] [--minutes <number>] [--seed <number>]
//   npm run test:model -- --seed <number> --path <path> [--times <number>]

const { parseArgs } = require('node:util');
const { tryAgain, tryScripts } = require('./try');

const { values } = parseArgs({
  options: {
    scripts: { type: 'string' },
    minutes: { type: 'string' },
    seed: { type: 'string' },
    path: { type: 'string' },
    times: { type: 'string' },
  },
});
const [scripts, minutes, seed, times] = [values.scripts, values.minutes, values.seed, values.times].map((value) =>
  value === undefined ? undefined : Number(value),
);

main();

async function main() {
  const again = values.path !== undefined;
  const failures = again
    ? await tryAgain({ seed, path: values.path, times })
    : await tryScripts({ scripts, minutes, seed });
  if (again) failures.forEach((failure) => void console.log(failure));
  console.log(`${failures.length} failed`);
  process.exitCode = failures.length > 0 ? 1 : 0;
}
