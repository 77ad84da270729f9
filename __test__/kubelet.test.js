// The example for Kubernetes in a rolling update under load: a script plays the kubelet and routes by readiness.

const assert = require('node:assert/strict');
const { describe, it } = require('node:test');
const { rollingUpdate } = require('../examples/kubernetes/kubelet');

describe('a rolling update in the manner of Kubernetes', () => {
  it('loses no request', async () => {
    const { requests, losses, endings } = await rollingUpdate();
    assert.deepEqual(losses, []);
    assert.ok(requests >= 1500, `${requests} requests`);
    assert.equal(endings.length, 4);
    for (const { code, signal, notReadyAfter, diedEarly } of endings) {
      assert.deepEqual([code, signal], [0, null]);
      assert.notEqual(notReadyAfter, null, 'a probe has seen that it was going');
      assert.equal(diedEarly, false, 'it was alive until it had exited');
    }
  });

  it('loses some without a delay, so losses do show', async () => {
    const { losses, endings } = await rollingUpdate({ shutdownDelay: 0 });
    assert.notDeepEqual(losses, []);
    for (const { code } of endings) assert.equal(code, 0);
  });
});
