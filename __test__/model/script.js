// Random scripts: what the server is, what each of its clients does, and when it is terminated.
//
// A script is data, so that it can be printed, shrunk and played again. Steps that make no sense where they stand (a
// request after the client has gone) do nothing, so that every part of a script may be left out.

const fc = require('fast-check');

/** So far away that no script reaches it. Everything ends by itself before, or the script has failed. */
const FAR = 60_000;

/** How a handler answers: `after` says when, `parts` how often it writes, with a turn of the loop after each. */
const answer = fc.record({
  after: fc.oneof(
    { weight: 4, arbitrary: fc.constant('head') },
    { weight: 3, arbitrary: fc.constant('body') },
    { weight: 3, arbitrary: fc.record({ turns: fc.integer({ min: 1, max: 8 }) }) },
    { weight: 2, arbitrary: fc.record({ milliseconds: fc.integer({ min: 1, max: 40 }) }) },
    { weight: 1, arbitrary: fc.constant('never') },
  ),
  parts: fc.constantFrom(1, 1, 1, 2, 5),
  size: fc.constantFrom(0, 10, 10, 3_000, 300_000),
  /** Whether it has a content-length, or comes in chunks. */
  sized: fc.boolean(),
  /** What the handler itself says about the connection. */
  connection: fc.constantFrom(null, null, null, null, 'keep-alive', 'close'),
});

const body = fc.record({
  kind: fc.constantFrom('none', 'none', 'sized', 'chunked'),
  size: fc.constantFrom(0, 1, 100, 20_000, 200_000),
  continues: fc.constantFrom(false, false, false, true),
});

const share = fc.integer({ min: 0, max: 100 }).map((percent) => percent / 100);

const step = fc.oneof(
  // What is left of it comes with the next step that writes, `share` being how much of everything is written now.
  {
    weight: 8,
    // Nothing of it, so that some requests leave together with the next.
    arbitrary: fc.record({ does: fc.constant('request'), body, answer, share: fc.oneof(fc.constantFrom(0, 1), share) }),
  },
  { weight: 3, arbitrary: fc.record({ does: fc.constant('write'), share: fc.oneof(fc.constant(1), share) }) },
  { weight: 4, arbitrary: fc.record({ does: fc.constant('turns'), count: fc.integer({ min: 1, max: 6 }) }) },
  { weight: 3, arbitrary: fc.record({ does: fc.constant('answers') }) },
  { weight: 1, arbitrary: fc.record({ does: fc.constantFrom('stop reading', 'read on') }) },
  { weight: 1, arbitrary: fc.record({ does: fc.constantFrom('switch', 'half-close', 'reset', 'leave') }) },
);

const connection = fc.record({
  /** How many turns pass before it is opened. */
  after: fc.nat({ max: 8 }),
  /** Where a server speaks both. */
  multiplexed: fc.boolean(),
  steps: fc.array(step, { maxLength: 8 }),
});

const task = fc.record({
  milliseconds: fc.constantFrom(0, 10, 100, null),
  fails: fc.boolean(),
});

const script = fc.record({
  transport: fc.constantFrom('http', 'http', 'https', 'https beside http2', 'h2c', 'h2', 'h2 beside http/1.1'),
  allowsHalfOpen: fc.boolean(),
  timeout: fc.constantFrom(0, 30, 150, FAR, FAR, FAR, FAR),
  delay: fc.constantFrom(0, 0, 0, 20),
  keepAlive: fc.constantFrom('auto', 'auto', 0, 40, Number.POSITIVE_INFINITY),
  /** How many steps all clients together have taken when the termination begins, */
  terminatesAfter: fc.nat({ max: 30 }),
  /** or in the handler of which request, counted from zero. */
  terminatesIn: fc.option(fc.nat({ max: 8 }), { nil: null, freq: 3 }),
  /** For how many milliseconds nothing runs when it has begun. */
  blocks: fc.constantFrom(0, 0, 0, 0, 0, 0, 10, 40),
  connections: fc.array(connection, { maxLength: 7 }),
  tasks: fc.array(task, { maxLength: 2 }),
});

/** The body of the answer to a request. */
function answerTo({ url, answer: { size } }) {
  return `answer to ${url} `.padEnd(size, 'y');
}

module.exports = { answerTo, FAR, script };
