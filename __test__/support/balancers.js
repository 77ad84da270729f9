// nginx and HAProxy as processes of their own, in front of two servers on fixed ports. Neither tries a
// request again on another server, nor on another connection: what a server loses is lost.

const { execFileSync, spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { setTimeout: delay } = require('node:timers/promises');

const READY_WITHIN_MS = 10_000;

/** Neither needs any rights. Where everybody is root, they run as nobody. */
const NOBODY = 65_534;
const unprivileged = process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {};

/**
 * @typedef {object} Balancer
 * @property {number} port
 * @property {(down: number | null) => void} announce says which of its servers is about to be down, if any
 */

const balancers = [
  {
    name: 'nginx',
    isInstalled: () => isInstalled('nginx', ['-v']),
    /**
     * At a reload the old workers close the connections that clients keep open, at once if they are idle. A
     * request that is on the wire then is lost between the client and nginx, which says nothing about
     * the servers. So clients open a connection for each request. nginx keeps its own to the servers.
     */
    keepsClientConnections: false,
    start: startNginx,
  },
  {
    name: 'HAProxy',
    isInstalled: () => isInstalled('haproxy', ['-v']),
    keepsClientConnections: true,
    start: startHaproxy,
  },
];

/**
 * @param {import('node:test').TestContext} test
 * @param {number[]} serverPorts
 * @returns {Promise<Balancer>}
 */
async function startNginx(test, serverPorts) {
  const directory = temporaryDirectory();
  const port = await freePort();
  const file = path.join(directory, 'nginx.conf');
  const configure = (down) => fs.writeFileSync(file, nginxConfiguration({ directory, port, serverPorts, down }));
  configure(null);
  // In the foreground, and with the log of its start where it may write.
  const nginx = run(test, directory, 'nginx', ['-p', directory, '-c', file, '-e', 'stderr', '-g', 'daemon off;']);
  await listening(port, nginx);
  return {
    port,
    announce(down) {
      configure(down);
      nginx.kill('SIGHUP');
    },
  };
}

/** `max_fails=0`: nginx is not to find out by itself and spare a server that has lost a request. */
const nginxConfiguration = ({ directory, port, serverPorts, down }) => `
worker_processes 2;
pid ${directory}/nginx.pid;
error_log stderr crit;
events {}
http {
  access_log off;
  client_body_temp_path ${directory}/client-body;
  proxy_temp_path ${directory}/proxy;
  fastcgi_temp_path ${directory}/fastcgi;
  uwsgi_temp_path ${directory}/uwsgi;
  scgi_temp_path ${directory}/scgi;
  upstream servers {
    ${serverPorts.map((serverPort, index) => `server 127.0.0.1:${serverPort} max_fails=0${index === down ? ' down' : ''};`).join('\n    ')}
    keepalive 16;
  }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://servers;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_next_upstream off;
    }
  }
}
`;

/**
 * @param {import('node:test').TestContext} test
 * @param {number[]} serverPorts
 * @returns {Promise<Balancer>}
 */
async function startHaproxy(test, serverPorts) {
  const directory = temporaryDirectory();
  const port = await freePort();
  const file = path.join(directory, 'haproxy.cfg');
  fs.writeFileSync(file, haproxyConfiguration({ port, serverPorts }));
  const haproxy = run(test, directory, 'haproxy', ['-db', '-q', '-f', file]);
  await listening(port, haproxy);
  // Its health checks tell it.
  return { port, announce() {} };
}

/** A check that is answered late, since the machine is busy, has not failed: hence its own timeout. */
const haproxyConfiguration = ({ port, serverPorts }) => `
global
  maxconn 1000
defaults
  mode http
  retries 0
  no option redispatch
  http-reuse always
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout check 5s
  option httpchk GET /health
frontend clients
  bind 127.0.0.1:${port}
  default_backend servers
backend servers
  balance roundrobin
  default-server check inter 50ms fall 1 rise 1
  ${serverPorts.map((serverPort, index) => `server server${index} 127.0.0.1:${serverPort}`).join('\n  ')}
`;

/**
 * @param {string} command
 * @param {string[]} parameters
 */
function isInstalled(command, parameters) {
  try {
    execFileSync(command, parameters, { stdio: 'ignore', env: environment() });
    return true;
  } catch {
    return false;
  }
}

/** Debian has them where only root looks. */
function environment() {
  return { ...process.env, PATH: `${process.env.PATH}:/usr/local/sbin:/usr/sbin:/sbin` };
}

/**
 * Until the test has ended, and removes its directory when it has left.
 *
 * @param {import('node:test').TestContext} test
 * @param {string} directory
 * @param {string} command
 * @param {string[]} parameters
 */
function run(test, directory, command, parameters) {
  const child = spawn(command, parameters, {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: environment(),
    ...unprivileged,
  });
  test.after(async () => {
    if (child.exitCode === null && child.signalCode === null) {
      const exited = once(child, 'exit');
      child.kill('SIGTERM');
      await exited;
    }
    fs.rmSync(directory, { recursive: true, force: true });
  });
  return child;
}

function temporaryDirectory() {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'balancer-'));
  if (unprivileged.uid !== undefined) fs.chownSync(directory, unprivileged.uid, unprivileged.gid);
  return directory;
}

/** Neither balancer can be given port 0 and asked what became of it. */
async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/**
 * @param {number} port
 * @param {import('node:child_process').ChildProcess} child
 */
async function listening(port, child) {
  const until = Date.now() + READY_WITHIN_MS;
  for (;;) {
    if (child.exitCode !== null) throw new Error(`the balancer ended with ${child.exitCode}`);
    const socket = net.connect(port, '127.0.0.1');
    try {
      await once(socket, 'connect');
      return;
    } catch (error) {
      if (Date.now() > until) throw error;
      await delay(20);
    } finally {
      socket.destroy();
    }
  }
}

module.exports = { balancers };
