// Draws docs/termination.svg from a real termination: `npm run timeline`.

const fs = require('node:fs');
const path = require('node:path');
const { draw } = require('./timeline/draw');
const { play } = require('./timeline/scene');

const FILE = path.join(__dirname, '..', 'docs', 'termination.svg');

main();

async function main() {
  const seen = await play();
  fs.writeFileSync(FILE, draw(seen));
  const { durationMs, requests } = seen.report;
  console.log(
    `${path.relative(process.cwd(), FILE)}: ${seen.rows.length} connections, ${requests.completed + requests.late} ` +
      `requests answered and ${requests.cut} cut in ${Math.round(durationMs)} ms.`,
  );
}
