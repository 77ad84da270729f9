// What the pictures of this project are made of. They follow the colour scheme of whoever looks at them.

const STYLE = `
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .axis { fill: #59636e; font-size: 12px; }
  .tick { stroke: #59636e; stroke-opacity: .25; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; }
    .axis { fill: #9198a1; }
    .tick { stroke: #9198a1; }
  }`;

/**
 * @param {{ width: number, height: number, title: string, style: string }} frame
 * @param {string[]} elements
 * @returns {string} an SVG document
 */
function picture({ width, height, title, style }, elements) {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-labelledby="title">`,
    `<title id="title">${escaped(title)}</title>`,
    `<style>${STYLE}${style}\n</style>`,
    ...elements,
    '</svg>',
    '',
  ].join('\n');
}

/**
 * @param {number} x
 * @param {number} y
 * @param {number} width
 * @param {number} height
 * @param {string} style
 */
function rectangle(x, y, width, height, style) {
  return `<rect class="${style}" x="${round(x)}" y="${round(y)}" width="${round(width)}" height="${round(height)}"/>`;
}

/**
 * @param {{ x: number, y: number }} from
 * @param {{ x: number, y: number }} to
 * @param {string} style
 */
function line(from, to, style) {
  return `<line class="${style}" x1="${round(from.x)}" y1="${round(from.y)}" x2="${round(to.x)}" y2="${round(to.y)}"/>`;
}

/**
 * @param {number} x
 * @param {number} y
 * @param {string} content
 * @param {string} style
 */
function text(x, y, content, style, anchor = 'start') {
  return `<text class="${style}" x="${round(x)}" y="${round(y)}" text-anchor="${anchor}">${escaped(content)}</text>`;
}

/** @param {number} coordinate */
function round(coordinate) {
  return Math.round(coordinate * 10) / 10;
}

/** @param {string} content */
function escaped(content) {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}

module.exports = { line, picture, rectangle, round, text };
