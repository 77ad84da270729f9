// One line that says what is being measured, on a terminal only and beside the tables.

/** @param {string} text */
function progress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

module.exports = { progress };
