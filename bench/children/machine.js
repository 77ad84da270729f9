// The native part alone, without a server.

const { answer } = require('../child');
const native = require('../../lib/native');

answer({
  bytesPerConnection({ connections }) {
    const key = native.create();
    global.gc();
    const before = process.memoryUsage.rss();
    for (let opened = 0; opened < connections; opened += 1) native.opened(key, native.Transport.Plain);
    global.gc();
    return (process.memoryUsage.rss() - before) / connections;
  },
});
