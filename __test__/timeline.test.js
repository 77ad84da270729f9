// The picture in the README is drawn from a real termination. Here is one more, and whether it shows what it should.

const { it } = require('node:test');
const assert = require('node:assert/strict');
const { draw } = require('../scripts/timeline/draw');
const { play } = require('../scripts/timeline/scene');

it('plays and draws a termination in which nothing is lost', async () => {
  const seen = await play();
  assert.deepEqual(
    seen.phases.map(({ phase }) => phase),
    ['serving', 'delaying', 'draining', 'terminated'],
  );
  assert.equal(seen.report.graceful, true);
  const unanswered = seen.rows.filter(({ exchanges }) => exchanges.some(({ to }) => Number.isNaN(to)));
  assert.equal(unanswered.at(-1)?.title, 'new, later');
  // On a busy machine, one that was to come during the delay may come when that is over.
  const { at: drainingAt } = seen.phases[2];
  for (const { title, opened, end } of unanswered)
    assert.deepEqual([end, opened > drainingAt], ['ECONNREFUSED', true], title);
  const picture = draw(seen);
  for (const { title } of seen.rows) assert.ok(picture.includes(`>${title}</text>`), title);
  assert.doesNotMatch(picture, /NaN|undefined|Infinity/);
});
