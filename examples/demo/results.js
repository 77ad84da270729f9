// The table at the end of the demo, and what can be read off it.

/**
 * @typedef {object} Result of one termination
 * @property {number} served
 * @property {Record<string, number>} lost requests, by the code of the error
 * @property {number} downloadsWhole
 * @property {number} downloadsCut
 * @property {number} milliseconds
 * @property {number} connectionsCut
 */

/** @param {Record<string, Result[]>} results of each way to terminate, by its title */
function describe(results) {
  const columns = Object.entries(results).map(([title, terminations]) => ({ title, ...inAll(terminations) }));
  return `${table(columns)}\n\n${conclusion(columns)}`;
}

/** @param {Result[]} terminations */
function inAll(terminations) {
  const total = (count) => terminations.reduce((sum, termination) => sum + count(termination), 0);
  const codes = [...new Set(terminations.flatMap(({ lost }) => Object.keys(lost)))];
  const lostByCode = codes.map((code) => [code, total(({ lost }) => lost[code] ?? 0)]);
  const downloadsCut = total((termination) => termination.downloadsCut);
  return {
    terminations: terminations.length,
    served: total(({ served }) => served),
    lost: lostByCode.reduce((sum, [, count]) => sum + count, 0),
    errors: lostByCode.map(([code, count]) => `${count} ${code}`).join(', ') || 'none',
    downloadsCut,
    downloads: downloadsCut + total(({ downloadsWhole }) => downloadsWhole),
    connectionsCut: total(({ connectionsCut }) => connectionsCut),
    milliseconds: Math.round(total(({ milliseconds }) => milliseconds) / terminations.length),
  };
}

function table(columns) {
  const rows = [
    ['', ({ title }) => title],
    ['terminations', ({ terminations }) => terminations],
    ['requests served', ({ served }) => served],
    ['requests lost', ({ lost }) => lost],
    ['  with', ({ errors }) => errors],
    ['downloads cut short', ({ downloadsCut, downloads }) => `${downloadsCut} of ${downloads}`],
    ['connections cut at the deadline', ({ connectionsCut }) => connectionsCut],
    ['time to end, on average', ({ milliseconds }) => `${milliseconds} ms`],
  ].map(([label, cell]) => [label, ...columns.map((column) => String(cell(column)))]);
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]))
        .join('   ')
        .trimEnd(),
    )
    .join('\n');
}

function conclusion([byHand, withPackage]) {
  const account = ({ title, lost, terminations, milliseconds }) =>
    `${title} lost ${(lost / terminations).toFixed(1)} requests and ended after ${milliseconds} ms`;
  const { title, lost, served } = withPackage;
  const rest = lost === 0 ? `${title} lost none.` : `${title} lost ${lost} of ${lost + served} in all.`;
  return `Per termination, ${account(byHand)}, ${account(withPackage)}.\n${rest}`;
}

module.exports = { describe };
