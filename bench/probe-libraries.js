// What answers health probes, and how each is opened beside a server, on any free port.

const { once } = require('node:events');
const fs = require('node:fs');
const path = require('node:path');
const { OURS } = require('./libraries');

/** @typedef {import('node:http').Server} Server */
/** @type {{ name: string, version: string, load(server: Server): Promise<any>, open(server: Server, loaded: any): Promise<number> }[]} */
const probeLibraries = [
  {
    name: OURS,
    version: require('../package.json').version,
    // Whoever has a probe server has a terminator before.
    async load(server) {
      const { createHttpTerminator, createProbeServer } = require(OURS);
      return { createProbeServer, terminators: [createHttpTerminator({ server })] };
    },
    async open(_server, { createProbeServer, terminators }) {
      const probes = await createProbeServer({ port: 0, host: '127.0.0.1', terminators });
      probes.signalReady();
      return probes.port;
    },
  },
  {
    name: 'lightship',
    version: installedVersion('lightship'),
    // What it has for require() does not load.
    load: () => import('lightship'),
    async open(_server, { createLightship }) {
      const lightship = await createLightship({ port: 0, detectKubernetes: false, signals: [] });
      lightship.signalReady();
      return lightship.server.address().port;
    },
  },
  {
    name: '@godaddy/terminus',
    version: installedVersion('@godaddy/terminus'),
    load: async () => require('@godaddy/terminus'),
    async open(server, { createTerminus }) {
      createTerminus(server, { signals: [], healthChecks: { '/ready': async () => {}, '/live': async () => {} } });
      // It answers on the server itself.
      if (!server.listening) await once(server, 'listening');
      return server.address().port;
    },
  },
];

/** @param {string} name of a package, which may not export its own description */
function installedVersion(name) {
  const file = path.join(__dirname, '..', 'node_modules', name, 'package.json');
  return JSON.parse(fs.readFileSync(file, 'utf8')).version;
}

module.exports = { probeLibraries };
