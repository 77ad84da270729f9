// What is going on: one line that is written over on a terminal, a line for each termination elsewhere.

const { stdout } = process;

/** @param {string} text */
function showNow(text) {
  if (stdout.isTTY) stdout.write(`\r\x1b[K${text}`);
}

/** @param {string} text */
function showDone(text) {
  if (stdout.isTTY) showNow(text);
  else console.log(text);
}

function clear() {
  showNow('');
}

module.exports = { clear, showDone, showNow };
