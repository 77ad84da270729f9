// The symbol by which `await using` ends what it holds.

/**
 * Realms that a test runner has made, as Jest does to imitate a browser, may lack it. Then Babel goes by this one.
 *
 * @type {typeof Symbol.asyncDispose}
 */
const asyncDispose = Symbol.asyncDispose ?? Symbol.for('Symbol.asyncDispose');

exports.asyncDispose = asyncDispose;
