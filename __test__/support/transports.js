// The transports that every case of HTTP/1.1 runs over.

const fs = require('node:fs');
const http = require('node:http');
const https = require('node:https');
const net = require('node:net');
const path = require('node:path');
const tls = require('node:tls');

const credentials = {
  key: fs.readFileSync(path.join(__dirname, 'key.pem')),
  cert: fs.readFileSync(path.join(__dirname, 'certificate.pem')),
};

/** Made for these tests and trusted by nobody else. */
const trust = { ca: credentials.cert, servername: 'localhost' };

const transports = [
  {
    name: 'http',
    request: http.request,
    Agent: http.Agent,
    createServer: (options, handler) => http.createServer(options, handler),
    connect: (address) => net.connect({ allowHalfOpen: true, ...address }),
    connected: 'connect',
  },
  {
    name: 'https',
    request: (options, callback) => https.request({ ...trust, ...options }, callback),
    Agent: https.Agent,
    createServer: (options, handler) => https.createServer({ ...credentials, ...options }, handler),
    connect: (address) => tls.connect({ allowHalfOpen: true, ...trust, ...address }),
    connected: 'secureConnect',
  },
];

module.exports = { credentials, transports, trust };
