// Draws a termination: connections as bars, requests on them, phases as bands.

const { line, picture, rectangle, text } = require('../svg');

/** @typedef {import('./client').Row} Row */
/** @typedef {import('./scene').Phase} Phase */

const WIDTH = 960;
const LEFT = 180;
const RIGHT = 50;
const TOP = 64;
const ROW = 26;
const BAR = 14;
const TICK_MS = 100;
/** How much is shown after the end. */
const AFTER_MS = 65;

const STYLE = `
  .band-serving, .band-terminated { fill: #f6f8fa; }
  .band-delaying { fill: #fff3d6; }
  .band-draining { fill: #ddf4e4; }
  .phase { font-weight: 600; }
  .end { fill: #59636e; font-size: 12px; }
  .connection { fill: #8c959f; }
  .exchange { fill: #0969da; fill-opacity: .55; }
  .close { fill: #0a3069; }
  .failed { fill: #cf222e; }
  @media (prefers-color-scheme: dark) {
    .band-serving, .band-terminated { fill: #151b23; }
    .band-delaying { fill: #3a2d0c; }
    .band-draining { fill: #10301c; }
    .end { fill: #9198a1; }
    .exchange { fill: #4493f8; }
    .close { fill: #b6d8ff; }
    .failed { fill: #f85149; }
  }`;

/**
 * @param {{ rows: Row[], phases: Phase[] }} seen
 * @returns {string} an SVG document
 */
function draw({ rows, phases }) {
  const from = phases[0].at;
  const to = Math.max(...rows.map(({ ended }) => ended)) + AFTER_MS;
  const x = (/** @type {number} */ at) => LEFT + ((Math.min(at, to) - from) / (to - from)) * (WIDTH - LEFT - RIGHT);
  const bottom = TOP + rows.length * ROW;
  const height = bottom + 56;
  const title = 'A termination, as the clients see it: nobody loses a request';
  return picture({ width: WIDTH, height, title, style: STYLE }, [
    ...phases.map(({ phase, at }, place) => band(phase, x(at), x(phases[place + 1]?.at ?? to), bottom)),
    ...ticks(from, to).map((at) => tick(at, x(at), bottom)),
    ...rows.flatMap((row, place) => drawRow(row, TOP + place * ROW, x)),
    legend(bottom + 42),
  ]);
}

/**
 * @param {string} phase
 * @param {number} from
 * @param {number} to
 * @param {number} bottom
 */
function band(phase, from, to, bottom) {
  return rectangle(from, 6, to - from, bottom - 6, `band-${phase}`) + text(from + 4, 22, phase, 'phase');
}

/**
 * @param {number} from
 * @param {number} to
 */
function ticks(from, to) {
  const first = Math.ceil(from / TICK_MS) * TICK_MS;
  return Array.from({ length: Math.floor((to - first) / TICK_MS) + 1 }, (_, place) => first + place * TICK_MS);
}

/**
 * @param {number} at
 * @param {number} x
 * @param {number} bottom
 */
function tick(at, x, bottom) {
  const label = at === 0 ? 'SIGTERM' : `${at} ms`.replace('-', '−');
  return line({ x, y: TOP - 20 }, { x, y: bottom }, 'tick') + text(x + 4, TOP - 20, label, 'axis');
}

/**
 * @param {Row} row
 * @param {number} top
 * @param {(at: number) => number} x
 */
function drawRow({ title, opened, ended, exchanges, end }, top, x) {
  const middle = top + ROW / 2;
  const failed = end.startsWith('E');
  return [
    text(LEFT - 12, middle + 4, title, 'title', 'end'),
    rectangle(x(opened), middle - 2, Math.max(3, x(ended) - x(opened)), 4, failed ? 'failed' : 'connection'),
    ...exchanges.filter(({ to }) => !Number.isNaN(to)).map((exchange) => drawExchange(exchange, middle, x)),
    text(x(ended) + 6, middle + 4, failed ? `refused (${end})` : end, 'end'),
  ];
}

/**
 * @param {import('./client').Exchange} exchange
 * @param {number} middle
 * @param {(at: number) => number} x
 */
function drawExchange({ from, to, saidClose }, middle, x) {
  const bar = rectangle(x(from), middle - BAR / 2, x(to) - x(from), BAR, 'exchange');
  return saidClose ? bar + rectangle(x(to) - 4, middle - BAR / 2, 4, BAR, 'close') : bar;
}

/** @param {number} y */
function legend(y) {
  const parts = [
    { style: 'connection', width: 24, height: 4, label: 'a connection' },
    { style: 'exchange', width: 24, height: BAR, label: 'a request, until its answer is whole' },
    { style: 'close', width: 4, height: BAR, label: 'which says Connection: close' },
  ];
  let x = LEFT;
  return parts
    .map(({ style, width, height, label }) => {
      const drawn = rectangle(x, y - 5 - height / 2, width, height, style) + text(x + width + 6, y, label, 'axis');
      x += width + 40 + label.length * 6.2;
      return drawn;
    })
    .join('');
}

exports.draw = draw;
