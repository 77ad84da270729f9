// What the numbers were measured on and with.

const os = require('node:os');
const { libraries } = require('./libraries');

function describeMachine() {
  const cpus = os.cpus();
  const versions = libraries.filter(({ version }) => version !== null).map(({ name, version }) => `${name} ${version}`);
  return [
    `${new Date().toISOString().slice(0, 10)}  Node ${process.version}  ${os.type()} ${os.release()} ${os.arch()}`,
    `${cpus[0].model.trim()}, ${cpus.length} cores, ${Math.round(os.totalmem() / 2 ** 30)} GiB`,
    versions.join(', '),
  ].join('\n');
}

module.exports = { describeMachine };
