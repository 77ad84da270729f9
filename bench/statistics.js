/**
 * @param {number[]} values
 * @param {number} share of the values that are smaller: 0.5 for the median
 */
function quantile(values, share) {
  const sorted = [...values].sort((left, right) => left - right);
  const position = (sorted.length - 1) * share;
  const below = sorted[Math.floor(position)];
  const above = sorted[Math.ceil(position)];
  return below + (above - below) * (position - Math.floor(position));
}

/** @param {number[]} values */
function median(values) {
  return quantile(values, 0.5);
}

/** @param {number[]} values */
function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}

/**
 * The straight line with the least squared distances, and how much of the variance it explains: 1 is all.
 *
 * @param {{ x: number, y: number }[]} points
 */
function straightLine(points) {
  const mean = { x: sum(points.map(({ x }) => x)) / points.length, y: sum(points.map(({ y }) => y)) / points.length };
  const slope =
    sum(points.map(({ x, y }) => (x - mean.x) * (y - mean.y))) / sum(points.map(({ x }) => (x - mean.x) ** 2));
  const intercept = mean.y - slope * mean.x;
  const unexplained = sum(points.map(({ x, y }) => (y - intercept - slope * x) ** 2));
  const explained = 1 - unexplained / sum(points.map(({ y }) => (y - mean.y) ** 2));
  return { slope, intercept, explained };
}

/**
 * Turns a list by some places, so that over many rounds each entry comes first equally often.
 *
 * @template T
 * @param {readonly T[]} list
 * @param {number} places
 * @returns {T[]}
 */
function rotated(list, places) {
  const start = places % list.length;
  return [...list.slice(start), ...list.slice(0, start)];
}

module.exports = { median, quantile, rotated, straightLine, sum };
