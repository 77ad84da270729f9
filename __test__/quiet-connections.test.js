// How many idle connections there are: that is all that the machine knows of them, and by it decides how many close.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const net = require('node:net');
const { describe, it } = require('node:test');
const { QuietConnections } = require('../lib/quiet-connections');

const isUntold = process.platform !== 'linux';

const WAYS = {
  'something comes in on it': (quiet, socket) => {
    quiet.delete(socket);
  },
  'its client has closed it before it is surveyed': (quiet, socket) => {
    socket.destroy();
    quiet.survey(4);
  },
  'its client has closed it after that': (quiet, socket) => {
    quiet.survey(4);
    socket.destroy();
    quiet.deleteDestroyed();
  },
};

describe('quiet connections', () => {
  for (const [way, leave] of Object.entries(WAYS)) {
    it(`are counted: one that was used is gone when ${way}`, () => {
      const { quiet, used } = some();
      leave(quiet, used[0]);
      assert.equal(quiet.size, 3);
      assert.ok(![...quiet.sockets()].includes(used[0]));
    });

    it(`are counted: one that was not is gone when ${way}`, () => {
      const { quiet, unused } = some();
      leave(quiet, unused[0]);
      assert.equal(quiet.size, 3);
      assert.ok(![...quiet.sockets()].includes(unused[0]));
    });
  }

  it('are closed in the order in which they are to be, those that were never used last', () => {
    const { quiet, used, unused } = some();
    const open = () => [...used, ...unused].map(({ destroyed }) => !destroyed);
    const active = new Set(unused);
    assert.deepEqual(quiet.close(1, active, false), { closed: 1, touched: [] });
    assert.deepEqual([quiet.size, ...open()], [3, false, true, true, true]);
    assert.deepEqual(quiet.close(2, active, false), { closed: 2, touched: [] });
    assert.deepEqual([quiet.size, ...open()], [1, false, false, false, true]);
    assert.deepEqual(quiet.close(2, active, false), { closed: 1, touched: [] });
    assert.deepEqual([quiet.size, ...open()], [0, false, false, false, false]);
  });

  it('are not closed while their clients are reading, if that is looked for', { skip: isUntold }, async (test) => {
    const server = net.createServer().listen(0, '127.0.0.1');
    test.after(() => server.close());
    await once(server, 'listening');
    const sockets = [];
    for (let count = 0; count < 2; count += 1) {
      const client = net.connect(server.address().port, '127.0.0.1').pause();
      const [socket] = await once(server, 'connection');
      test.after(() => [client, socket].forEach((each) => void each.destroy()));
      sockets.push(socket);
    }
    // More than the client's kernel takes, and less than this one's.
    await new Promise((resolve) => sockets[1].write('x'.repeat(600_000), resolve));
    const quiet = new QuietConnections();
    quiet.fill([...sockets], sockets.length);
    const { closed, touched } = quiet.close(2, new Set(), true);
    assert.equal(closed, 1);
    assert.ok(touched.length === 1 && touched[0] === sockets[1]);
    assert.ok(sockets[0].destroyed && !sockets[1].destroyed);
  });
});

/** Two that were used and two that were not, without a network below them. */
function some() {
  const [used, unused] = [2, 2].map((length) => Array.from({ length }, () => new net.Socket()));
  const quiet = new QuietConnections();
  quiet.fill([...used], used.length);
  for (const socket of unused) quiet.addUnused(socket);
  return { quiet, used, unused };
}
