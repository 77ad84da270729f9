// Writes what one run has measured: RESULTS.md, which has every table, and a picture for each table that has something to
// draw.

const fs = require('node:fs');
const path = require('node:path');
const { libraries } = require('./libraries');
const { describeMachine } = require('./machine');
const { drawBars, drawCurves } = require('./plot');
const { markdown } = require('./table');

/** @typedef {import('./table').Table} Table */
/** @typedef {import('./table').Figure} Figure */
/** @typedef {{ name: string, tables: Table[] }} Part */

const PICTURES = 'results';

/**
 * @param {string} directory
 * @param {Part[]} parts
 * @param {number} seconds that measuring took
 * @returns {string} the file
 */
function writeResults(directory, parts, seconds) {
  // Pictures of what is no longer measured would stay.
  fs.rmSync(path.join(directory, PICTURES), { recursive: true, force: true });
  fs.mkdirSync(path.join(directory, PICTURES), { recursive: true });
  const paragraphs = [
    '# Results',
    `Written by \`npm run bench\` from one run, which took ${seconds} s. Read the figures as ratios.`,
    `\`\`\`\n${describeMachine()}\n\`\`\``,
    '## Side by side',
    'Less is better in every line, and the least is bold, whoever has it. Many differences are within the noise:\n' +
      'the tables below say how far values spread, and how they were measured. Thin lines in the pictures are the middle half of all values.',
    ...overviews(parts),
    ...parts.flatMap((part) => part.tables.flatMap((table, place) => section(directory, part.name, table, place))),
  ];
  const file = path.join(directory, 'RESULTS.md');
  fs.writeFileSync(file, `${paragraphs.join('\n\n')}\n`);
  return file;
}

/**
 * Every figure in one table; those of what is no library for the same thing in others.
 *
 * @param {Part[]} parts
 */
function overviews(parts) {
  const lines = parts.flatMap(({ name, tables }) =>
    tables.flatMap(({ figures = [] }) => figures.map((figure) => ({ command: commandFor(name), figure }))),
  );
  /** @type {Map<string, typeof lines>} */
  const groups = new Map();
  for (const line of lines) {
    const names = columnsFor(line.figure).join();
    groups.set(names, [...(groups.get(names) ?? []), line]);
  }
  return [...groups.values()].map((alike) => {
    const names = columnsFor(alike[0].figure);
    return markdown({
      columns: ['', ...names, 'command'],
      rows: alike.map(({ figure, command }) => [figure.title, ...names.map((name) => cell(figure, name)), command]),
    });
  });
}

/** @param {Figure} figure */
function columnsFor({ values }) {
  const names = Object.keys(values);
  const usual = libraries.map(({ name }) => name);
  return names.every((name) => usual.includes(name)) ? usual : names;
}

/**
 * @param {Figure} figure
 * @param {string} name
 */
function cell({ values, digits }, name) {
  if (values[name] === undefined) return '';
  const least = Math.min(...Object.values(values).map(({ value }) => value)).toFixed(digits);
  const shown = values[name].value.toFixed(digits);
  return shown === least ? `**${shown}**` : shown;
}

/**
 * @param {string} directory
 * @param {string} part
 * @param {Table} table
 * @param {number} place among the tables of the part
 */
function section(directory, part, { title, columns, rows, notes, figures, curves = [] }, place) {
  const [heading, ...subtitles] = title.split('\n');
  const name = place === 0 ? part : `${part}-${place + 1}`;
  const pictures = [
    ...(figures === undefined ? [] : [{ file: `${name}.svg`, drawn: drawBars(heading, figures) }]),
    ...curves.map((curve, at) => ({ file: `${name}-curve-${at + 1}.svg`, drawn: drawCurves(curve) })),
  ];
  for (const { file, drawn } of pictures) fs.writeFileSync(path.join(directory, PICTURES, file), drawn);
  return [
    `## ${heading}`,
    ...subtitles,
    commandFor(part),
    ...pictures.map(({ file }) => `![${heading}](${PICTURES}/${file})`),
    markdown({ columns, rows }),
    notes.join('\n'),
  ];
}

/** @param {string} part */
function commandFor(part) {
  return `\`npm run bench -- ${part}\``;
}

module.exports = { writeResults };
