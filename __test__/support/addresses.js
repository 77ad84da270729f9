// Loopback addresses that a test has to itself. Test files run side by side, and whatever port one of them has just
// closed may be given to a server of another: then it is not refused there, but answered. On the same port of another
// address it is.

// macOS has only the first one.
const hasMany = process.platform !== 'darwin';

module.exports = {
  /**
   * For so many servers that some would come upon such a port. Not one for all: the connections that they have closed hold their
   * ports for a minute, and the kernel would look for free ones most of the time.
   *
   * @param {number} number of the server
   */
  ofMany: (number) => (hasMany ? `127.1.${number % 256}.1` : '127.0.0.1'),
  /** For servers that are gone for some time before they are asked for. */
  gone: hasMany ? '127.0.0.3' : '127.0.0.1',
};
