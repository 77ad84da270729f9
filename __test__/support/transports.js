// The transports that every case of HTTP/1.1 runs over.

const fs = require('node:fs');
const http = require('node:http');
const http2 = require('node:http2');
const https = require('node:https');
const net = require('node:net');
const path = require('node:path');
const tls = require('node:tls');
const { createHttpTerminator } = require('../..');

const credentials = {
  key: fs.readFileSync(path.join(__dirname, 'key.pem')),
  cert: fs.readFileSync(path.join(__dirname, 'certificate.pem')),
};

/** Made for these tests and trusted by nobody else. */
const trust = { ca: credentials.cert, servername: 'localhost' };

const connectTls = (address) => tls.connect({ allowHalfOpen: true, ...trust, ...address });
const requestTls = (options, callback) => https.request({ ...trust, ...options }, callback);

const transports = [
  {
    name: 'http',
    scheme: 'http',
    secure: false,
    request: http.request,
    Agent: http.Agent,
    createServer: (options, handler) => http.createServer(options, handler),
    connect: (address) => net.connect({ allowHalfOpen: true, ...address }),
    connected: 'connect',
  },
  {
    name: 'https',
    scheme: 'https',
    secure: true,
    request: requestTls,
    Agent: https.Agent,
    createServer: (options, handler) => https.createServer({ ...credentials, ...options }, handler),
    connect: connectTls,
    connected: 'secureConnect',
  },
  {
    name: 'https beside http2',
    scheme: 'https',
    secure: true,
    request: requestTls,
    Agent: https.Agent,
    createServer({ keepAliveTimeout, ...options }, handler) {
      const server = http2.createSecureServer({ ...credentials, allowHTTP1: true, ...options }, handler);
      // Not an option of this kind of server, but read by the code that it shares with the others.
      if (keepAliveTimeout !== undefined) server.keepAliveTimeout = keepAliveTimeout;
      return server;
    },
    connect: connectTls,
    connected: 'secureConnect',
  },
];

/** Those of HTTP/2. */
const http2Transports = [
  { name: 'h2c', scheme: 'http', createServer: (options, handler) => http2.createServer(options, handler) },
  {
    name: 'h2',
    scheme: 'https',
    createServer: (options, handler) => http2.createSecureServer({ ...credentials, ...options }, handler),
  },
  {
    name: 'h2 beside http/1.1',
    scheme: 'https',
    createServer: (options, handler) =>
      http2.createSecureServer({ ...credentials, allowHTTP1: true, ...options }, handler),
    // For those who speak HTTP/1.1.
    secure: true,
    connect: connectTls,
    connected: 'secureConnect',
  },
];

/** Whatever a test left open; servers of node:http2 have no method for it. */
function closeEverything(server) {
  server.close();
  if (server.closeAllConnections) server.closeAllConnections();
  // What a termination of the test's own has failed with, this one has, too.
  else
    createHttpTerminator({ server, httpResponseTimeout: 0 })
      .terminate()
      .catch(() => {});
}

module.exports = { closeEverything, credentials, http2Transports, transports, trust };
