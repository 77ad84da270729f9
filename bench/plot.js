// The pictures of RESULTS.md: bars for what is measured once of each library, curves for what grows.

const { line, picture, rectangle, text } = require('../scripts/svg');
const { OURS } = require('./libraries');
const { quantile } = require('./statistics');

/** @typedef {import('./table').Figure} Figure */

/**
 * How something grows with something else, and a straight line through it.
 *
 * @typedef {object} Curves
 * @property {string} title
 * @property {string} x what is on either axis
 * @property {string} y
 * @property {Curve[]} series
 */

/**
 * @typedef {object} Curve
 * @property {string} name
 * @property {{ x: number, values: number[] }[]} points with every value that was measured there
 * @property {{ slope: number, intercept: number }} fit
 */

const WIDTH = 960;
const LEFT = 180;
const RIGHT = 70;
const BAR = 14;
const ROW = 22;
const PANEL_HEAD = 34;
const HEIGHT = 480;
const TOP = 56;
const BOTTOM = 56;
const DOT = 3;

const STYLE = `
  .heading { font-weight: 600; }
  .ours { fill: #0969da; stroke: #0969da; }
  .other { fill: #8c959f; stroke: #8c959f; }
  rect.ours, rect.other { stroke: none; }
  .range { stroke: #1f2328; stroke-width: 1.5; }
  .fit { fill: none; stroke-width: 1.5; }
  .measured { fill-opacity: .35; stroke: none; }
  @media (prefers-color-scheme: dark) {
    .ours { fill: #4493f8; stroke: #4493f8; }
    .range { stroke: #f0f6fc; }
  }`;

/**
 * A panel for each figure, one below the other.
 *
 * @param {string} title
 * @param {Figure[]} figures
 * @returns {string} an SVG document
 */
function drawBars(title, figures) {
  const elements = [];
  let top = 0;
  for (const figure of figures) {
    elements.push(...panel(figure, top));
    top += PANEL_HEAD + Object.keys(figure.values).length * ROW + 6;
  }
  return picture({ width: WIDTH, height: top, title, style: STYLE }, elements);
}

/**
 * @param {Figure} figure
 * @param {number} top
 */
function panel({ title, digits, values }, top) {
  const spreads = Object.values(values);
  const from = Math.min(0, ...spreads.map(({ value, low = value }) => low));
  const to = Math.max(0, ...spreads.map(({ value, high = value }) => high));
  const x = scale([from, to], [LEFT, WIDTH - RIGHT]);
  const bars = Object.entries(values).flatMap(([name, { value, low, high }], place) => {
    const middle = top + PANEL_HEAD + place * ROW + ROW / 2;
    const [start, end] = [x(Math.min(0, value)), x(Math.max(0, value))];
    const range = low === undefined ? [] : [line({ x: x(low), y: middle }, { x: x(high), y: middle }, 'range')];
    return [
      text(LEFT - 12, middle + 4, name, 'name', 'end'),
      rectangle(start, middle - BAR / 2, end - start, BAR, styleOf(name)),
      ...range,
      text(Math.max(end, x(high ?? value)) + 6, middle + 4, value.toFixed(digits), 'axis'),
    ];
  });
  const bottom = top + PANEL_HEAD + spreads.length * ROW;
  return [
    text(LEFT, top + 22, title, 'heading'),
    line({ x: x(0), y: top + PANEL_HEAD }, { x: x(0), y: bottom }, 'tick'),
    ...bars,
  ];
}

/**
 * @param {Curves} curves
 * @returns {string} an SVG document
 */
function drawCurves({ title, x: across, y: upwards, series }) {
  const points = series.flatMap((curve) => curve.points);
  const greatest = { x: Math.max(...points.map((point) => point.x)), y: Math.max(...points.flatMap(valuesOf)) };
  const x = scale([0, greatest.x], [LEFT / 2, WIDTH - RIGHT]);
  const y = scale([0, greatest.y], [HEIGHT - BOTTOM, TOP]);
  const elements = [
    text(LEFT / 2, 22, title, 'heading'),
    ...ticks(greatest.y).flatMap((value) => [
      line({ x: x(0), y: y(value) }, { x: x(greatest.x), y: y(value) }, 'tick'),
      text(x(0) - 8, y(value) + 4, value.toLocaleString('en'), 'axis', 'end'),
    ]),
    ...ticks(greatest.x).map((value) =>
      text(x(value), HEIGHT - BOTTOM + 20, value.toLocaleString('en'), 'axis', 'middle'),
    ),
    text(x(greatest.x), HEIGHT - 14, across, 'axis', 'end'),
    text(LEFT / 2, 42, upwards, 'axis'),
    ...series.flatMap((curve) => drawCurve(curve, x, y, greatest.x)),
  ];
  return picture({ width: WIDTH, height: HEIGHT, title, style: STYLE }, elements);
}

/**
 * @param {Curve} curve
 * @param {(value: number) => number} x
 * @param {(value: number) => number} y
 * @param {number} end of the fitted line
 */
function drawCurve({ name, points, fit }, x, y, end) {
  const style = styleOf(name);
  const at = (value) => fit.intercept + fit.slope * value;
  const typical = (values) => quantile(values, 0.5);
  return [
    line({ x: x(0), y: y(at(0)) }, { x: x(end), y: y(at(end)) }, `fit ${style}`),
    ...points.flatMap((point) => point.values.map((value) => dot(x(point.x), y(value), DOT, `measured ${style}`))),
    ...points.map((point) => dot(x(point.x), y(typical(point.values)), DOT + 1, style)),
    text(x(end * 0.6) - 12, y(at(end * 0.6)) - 12, name, 'name', 'end'),
  ];
}

/** @param {Curve['points'][number]} point */
function valuesOf({ values }) {
  return values;
}

/** @param {string} name */
function styleOf(name) {
  return name.startsWith(OURS) ? 'ours' : 'other';
}

/**
 * @param {number} x
 * @param {number} y
 * @param {number} radius
 * @param {string} style
 */
function dot(x, y, radius, style) {
  return `<circle class="${style}" cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="${radius}"/>`;
}

/**
 * @param {[number, number]} values
 * @param {[number, number]} coordinates
 */
function scale([from, to], [start, end]) {
  return (/** @type {number} */ value) => start + ((value - from) / (to - from || 1)) * (end - start);
}

/**
 * Round values from 0 to the greatest one, five to ten of them.
 *
 * @param {number} greatest
 */
function ticks(greatest) {
  const magnitude = 10 ** Math.floor(Math.log10(greatest));
  const step = [1, 0.5, 0.2, 0.1].map((part) => part * magnitude).find((size) => greatest / size >= 5);
  return Array.from({ length: Math.floor(greatest / step) + 1 }, (_, place) => place * step);
}

module.exports = { drawBars, drawCurves };
