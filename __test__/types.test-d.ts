import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import net from 'node:net';
import {
  type ConnectionStats,
  createGracefulShutdown,
  createHttpTerminator,
  createProbeServer,
  type GracefulShutdown,
  type HttpTerminator,
  type ProbeServer,
  type ShutdownReport,
  type TerminationReport,
} from '../index';

const server = http.createServer();

const terminator: HttpTerminator = createHttpTerminator({ server });
createHttpTerminator({ server: https.createServer() });
createHttpTerminator({ server: net.createServer() });
createHttpTerminator({ server, httpResponseTimeout: 500 });
createHttpTerminator({ server, gracefulTerminationTimeout: Number.POSITIVE_INFINITY });
createHttpTerminator({ server, httpResponseTimeout: undefined });

createHttpTerminator({ server: [server, https.createServer(), http2.createServer(), http2.createSecureServer()] });
createHttpTerminator({ server, shutdownDelay: 300, webSocketCloseCode: 1012 });
createHttpTerminator({ server, keepAliveDrainTimeout: 'auto' });
createHttpTerminator({ server, keepAliveDrainTimeout: 500 });
createHttpTerminator({ server, webSocketServers: [{ clients: new Set([{ close() {}, terminate() {} }]) }] });

// @ts-expect-error A server is required.
createHttpTerminator({});
// @ts-expect-error An application is not its server.
createHttpTerminator({ server: () => {} });
// @ts-expect-error Timeouts are numbers.
createHttpTerminator({ server, httpResponseTimeout: '500' });
// @ts-expect-error No other word than 'auto' means anything.
createHttpTerminator({ server, keepAliveDrainTimeout: 'always' });
// @ts-expect-error There is no such option.
createHttpTerminator({ server, timeout: 500 });

const report: Promise<TerminationReport> = terminator.terminate();
const state: 'serving' | 'delaying' | 'draining' | 'terminated' = terminator.state;
const signal: AbortSignal = terminator.signal;
const stats: ConnectionStats = terminator.stats();
terminator.waitUntil(Promise.resolve(1));
terminator.waitUntil(report);
terminator.detach();
const disposed: Promise<void> = terminator[Symbol.asyncDispose]();

// @ts-expect-error The state is not for others to set.
terminator.state = 'terminated';
// @ts-expect-error A task is a promise.
terminator.waitUntil(() => {});

const probes: Promise<ProbeServer> = createProbeServer({ port: 0 });
createProbeServer({ port: 9000, host: '127.0.0.1', terminators: [terminator], stallThreshold: 5000, metrics: false });
createProbeServer({ port: 9000, paths: { livez: '/alive', readyz: ['/a', '/b'], startupz: false } });
createProbeServer({ port: 9000, checks: { database: async (signal) => signal.aborted, cache: () => {} } });
createProbeServer({ port: 9000, checkInterval: 1000, checkTimeout: 500, host: undefined });

// @ts-expect-error A port is required.
createProbeServer({});
// @ts-expect-error A server is not its terminator.
createProbeServer({ port: 0, terminators: [server] });
// @ts-expect-error There is no such endpoint.
createProbeServer({ port: 0, paths: { alive: '/' } });
// @ts-expect-error A check is a function.
createProbeServer({ port: 0, checks: { database: true } });

export async function probe(): Promise<void> {
  await using server = await probes;
  server.signalStarted();
  server.signalReady();
  server.signalNotReady();
  const port: number = server.port;
  const address: { address: string; family: 'IPv4' | 'IPv6'; port: number } | null = server.address();
  // @ts-expect-error The port is not for others to set.
  server.port = 1;
  const closed: Promise<void> = server.close();
  console.log(port, address, closed);
}

export async function use(): Promise<void> {
  await using disposable = createHttpTerminator({ server });
  const { graceful, durationMs, connections, requests, tasks, cut, cutOmitted } = await disposable.terminate();
  const counts: number[] = [durationMs, connections.idle, connections.drained, connections.forced];
  counts.push(requests.completed, requests.late, requests.cut, tasks.completed, tasks.rejected, tasks.abandoned);
  const texts: (string | null)[] = [...tasks.errors, ...cut.map(({ method }) => method), cut[0]?.url ?? null];
  console.log(graceful, counts, texts, cutOmitted, state, signal, stats, disposed);
}

const shutdown: GracefulShutdown = createGracefulShutdown({ terminators: [terminator] });
createGracefulShutdown({});
createGracefulShutdown({ terminators: terminator, beforeTerminate: () => {}, afterTerminate: async () => {} });
createGracefulShutdown({ terminators: [{ terminate: async () => 'anything' }], signals: ['SIGHUP', 'SIGBREAK'] });
createGracefulShutdown({ beforeTerminate: [async (reason: unknown) => reason], hookTimeout: 100, timeout: 1000 });
createGracefulShutdown({ exit: false, onError: true, enforce: true });

// @ts-expect-error A server is not its terminator.
createGracefulShutdown({ terminators: [server] });
// @ts-expect-error There is no such signal.
createGracefulShutdown({ signals: ['SIGFOO'] });
// @ts-expect-error Signals are a list.
createGracefulShutdown({ signals: 'SIGTERM' });
// @ts-expect-error A hook is a function.
createGracefulShutdown({ afterTerminate: [Promise.resolve()] });
// @ts-expect-error The code to exit with is not for others to choose.
createGracefulShutdown({ exit: 1 });
// @ts-expect-error There is no such option.
createGracefulShutdown({ server });

export async function stop(): Promise<0 | 1> {
  const { graceful, exitCode, durationMs, reason, terminations, errors }: ShutdownReport =
    await shutdown.start('tests');
  const stateNow: 'running' | 'stopping' | 'stopped' = shutdown.state;
  const names: string[] = errors.map(({ name }) => name);
  console.log(graceful, durationMs, reason, terminations[0]?.requests.cut, names, stateNow, shutdown.signal.aborted);
  shutdown.uninstall();
  // @ts-expect-error The state is not for others to set.
  shutdown.state = 'running';
  return exitCode;
}
