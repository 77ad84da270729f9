// What is compared, and how each is attached to a server and told to end it. Each gets the same
// deadline; what has none of its own gets the timer that its users write by hand.

const net = require('node:net');

const OURS = 'http-terminator-native';
const BARE = 'plain Node';

/** @typedef {import('node:http').Server} Server */
/** @typedef {{ terminate(): Promise<unknown> }} Terminator */

/**
 * @typedef {object} Library
 * @property {string} name
 * @property {string | null} version null for what is part of Node
 * @property {(server: Server, timeout: number, options?: object) => Terminator} attach `options` are this package's own
 */

/** @type {Library[]} */
const libraries = [
  {
    name: BARE,
    version: null,
    attach(server, timeout) {
      const closeAllConnections = closerOf(server);
      return { terminate: () => withTimer(timeout, (closed) => server.close(closed), closeAllConnections) };
    },
  },
  {
    name: 'http-terminator',
    version: versionOf('http-terminator'),
    attach(server, timeout) {
      const { createHttpTerminator } = require('http-terminator');
      return createHttpTerminator({ server, gracefulTerminationTimeout: timeout });
    },
  },
  {
    name: 'stoppable',
    version: versionOf('stoppable'),
    attach(server, timeout) {
      const stoppable = require('stoppable')(server, timeout);
      return { terminate: () => new Promise((resolve) => stoppable.stop(resolve)) };
    },
  },
  {
    name: 'http-shutdown',
    version: versionOf('http-shutdown'),
    attach(server, timeout) {
      const withShutdown = require('http-shutdown')(server);
      return {
        terminate: () =>
          withTimer(
            timeout,
            (closed) => withShutdown.shutdown(closed),
            () => withShutdown.forceShutdown(),
          ),
      };
    },
  },
  {
    name: 'http-graceful-shutdown',
    version: versionOf('http-graceful-shutdown'),
    attach(server, timeout) {
      const gracefulShutdown = require('http-graceful-shutdown');
      // Told to, it listens to signals and ends the process.
      return { terminate: gracefulShutdown(server, { signals: '', timeout, forceExit: false }) };
    },
  },
  {
    name: OURS,
    version: versionOf(OURS),
    attach(server, timeout, options) {
      const { createHttpTerminator } = require(OURS);
      return createHttpTerminator({ server, httpResponseTimeout: timeout, ...options });
    },
  },
];

/**
 * Not a way to end a server, but the least that any way costs: everything is destroyed at once.
 *
 * @type {Library}
 */
const floor = {
  name: 'closeAllConnections()',
  version: null,
  attach: (server) => ({
    terminate: () =>
      new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      }),
  }),
};

const DESTROYED_PER_TURN = 64;

/**
 * The least that any way costs that lets the event loop serve others meanwhile: as much is destroyed in each turn as this
 * package closes.
 *
 * @type {Library}
 */
const floorInTurns = {
  name: `destroy(), ${DESTROYED_PER_TURN} in each turn`,
  version: null,
  attach(server) {
    const sockets = [];
    server.on('connection', (socket) => sockets.push(socket));
    const destroySome = () => {
      for (const socket of sockets.splice(-DESTROYED_PER_TURN)) socket.destroy();
      if (sockets.length > 0) setImmediate(destroySome);
    };
    return {
      terminate: () =>
        new Promise((resolve) => {
          // That of HTTP servers would destroy all of them.
          net.Server.prototype.close.call(server, resolve);
          destroySome();
        }),
    };
  },
};

/**
 * @param {string} name
 * @returns {Library}
 */
function libraryNamed(name) {
  const found = [...libraries, floor, floorInTurns].find((library) => library.name === name);
  if (found === undefined) throw new Error(`no library is called ${name}`);
  return found;
}

/** @param {string} name of a package */
function versionOf(name) {
  return require(`${name}/package.json`).version;
}

/**
 * Servers of node:http2 have no method for it: their users keep a list of sockets.
 *
 * @param {Server} server
 */
function closerOf(server) {
  if (server.closeAllConnections !== undefined) return () => server.closeAllConnections();
  const sockets = new Set();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  return () => {
    for (const socket of sockets) socket.destroy();
  };
}

/**
 * @param {number} timeout
 * @param {(closed: () => void) => void} close
 * @param {() => void} force
 */
function withTimer(timeout, close, force) {
  return new Promise((resolve) => {
    const timer = setTimeout(force, timeout);
    close(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}

module.exports = { BARE, OURS, floor, floorInTurns, libraries, libraryNamed };
