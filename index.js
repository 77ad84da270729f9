const { createHttpTerminator } = require('./lib/terminator');

module.exports = { createHttpTerminator };
