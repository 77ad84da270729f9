// Tables for people to read: the first column to the left, the others to the right.

const { quantile } = require('./statistics');

/**
 * @typedef {object} Table
 * @property {string} title what follows a line break is a subtitle
 * @property {string[]} columns
 * @property {(string | number)[][]} rows
 * @property {string[]} notes one line each, below the table
 * @property {Figure[]} [figures] what the overview shows of it, and a picture with bars
 * @property {import('./plot').Curves[]} [curves] what else is drawn
 */

/**
 * What is measured of each library, of which less is better.
 *
 * @typedef {object} Figure
 * @property {string} title with its unit
 * @property {number} [digits] behind the point
 * @property {Record<string, Spread>} values by library
 */

/** @typedef {{ value: number, low?: number, high?: number }} Spread a typical value, and the range of the middle half of all */

/** @param {Table} table */
function format({ title, columns, rows, notes }) {
  const cells = [columns, ...rows].map((row) => row.map(String));
  const widths = columns.map((_, column) => Math.max(...cells.map((row) => row[column].length)));
  const [head, ...body] = cells.map((row) => line(row, widths));
  const rule = widths.map((width) => '-'.repeat(width)).join('  ');
  return [`${title}\n`, head, rule, ...body, '', ...notes].join('\n');
}

/**
 * @param {string[]} row
 * @param {number[]} widths
 */
function line(row, widths) {
  return row
    .map((cell, column) => (column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column])))
    .join('  ')
    .trimEnd();
}

/**
 * The same for Markdown, without title and notes.
 *
 * @param {Pick<Table, 'columns' | 'rows'>} table
 */
function markdown({ columns, rows }) {
  const rule = columns.map((_, column) => (column === 0 ? '---' : '--:'));
  return [columns, rule, ...rows].map((row) => `| ${row.map(escaped).join(' | ')} |`).join('\n');
}

/** @param {string | number} cell */
function escaped(cell) {
  return String(cell).replaceAll('|', '\\|');
}

/**
 * @param {number[]} values
 * @returns {Spread}
 */
function spread(values) {
  const [low, value, high] = [0.25, 0.5, 0.75].map((share) => quantile(values, share));
  return { value, low, high };
}

/**
 * @param {number} value
 * @param {number} [digits]
 */
function signed(value, digits = 1) {
  return `${value < 0 ? '' : '+'}${value.toFixed(digits)}`;
}

/**
 * The range that the middle half of the values is in.
 *
 * @param {number[]} values
 */
function quartiles(values) {
  return [0.25, 0.75].map((share) => signed(quantile(values, share))).join(' to ');
}

/**
 * A measured value beside what it may be.
 *
 * @param {string} what
 * @param {number} measured
 * @param {number} budget
 * @param {string} unit
 */
function verdict(what, measured, budget, unit) {
  const outcome = measured <= budget ? 'within' : 'OVER';
  return `${what}: ${measured.toFixed(2)}${unit}, ${outcome} the budget of ${budget}${unit}.`;
}

module.exports = { format, markdown, quartiles, signed, spread, verdict };
