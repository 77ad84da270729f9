import type { Server as HttpServer } from 'node:http';
import type { Http2SecureServer, Http2Server } from 'node:http2';
import type { Server } from 'node:net';

/**
 * Makes a terminator for a server and attaches it.
 *
 * Attaching changes nothing about how the server serves. It may be done before or after the server
 * listens, and with connections open; but HTTP/2 sessions that are open by then have until the deadline, and are cut.
 * Any number of terminators may share one server.
 *
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE` if an option is missing or of the wrong type,
 * `ERR_INVALID_ARG_VALUE` if both timeouts are given and differ, or a list names no server.
 * @throws {RangeError} `ERR_OUT_OF_RANGE` if a time is negative or NaN, a delay is not finite, or a close
 * code may not be sent.
 * Nothing has been attached then.
 *
 * @example
 * const server = http.createServer(handler).listen(8080);
 * const terminator = createHttpTerminator({ server });
 * process.once('SIGTERM', () => terminator.terminate());
 */
export function createHttpTerminator(options: HttpTerminatorOptions): HttpTerminator;

export interface HttpTerminatorOptions {
  /**
   * The server to end, of `node:http`, `node:https` or `node:http2`, or several, which then end together, with
   * one report. Of any other `net.Server`, connections that never sent a byte are closed at once and the
   * others have `httpResponseTimeout` to end by themselves.
   */
  server: Server | Http2Server | Http2SecureServer | readonly (Server | Http2Server | Http2SecureServer)[];

  /**
   * How long requests in flight may take from `terminate()` on, or from the end of `shutdownDelay`, in
   * milliseconds. What is left then is destroyed and listed in the report. 0 cuts everything at once,
   * `Infinity` waits as long as it takes.
   *
   * A client of HTTP/2 on another machine has 250 ms and a round trip more to hear that its streams are cut, 500 ms at most, unless
   * it closes before or the server listens again. Otherwise it may take the part of an answer that it has for all of it, as those
   * of Node do.
   *
   * @default 1000
   */
  httpResponseTimeout?: number | undefined;

  /**
   * Another name for `httpResponseTimeout`, which `http-terminator` uses from its version 2 on. If both
   * are given they must be equal.
   */
  gracefulTerminationTimeout?: number | undefined;

  /**
   * How long idle HTTP/1 keep-alive connections stay open when the listener closes, in milliseconds, to serve one
   * more request each. Its answer says `Connection: close`, and the connection closes after it. A connection that is
   * closed while a request is on its way loses it, so time here is what saves requests. The termination ends when the
   * last connection is gone, not when the time is over, and never after `httpResponseTimeout`.
   *
   * - `'auto'`: under load each connection as long as its own rhythm asks for, which is until its last request is eight of its
   *   usual gaps old, 500 ms at most; and every one for 250 ms, as pools come to those that they have not used for long when the
   *   others close. If its client is on another machine, it is a round trip more, and the limit of 500 ms grows with the round trip,
   *   to a second. But if no more than three connections are busy, in rhythm by several requests or just accepted, and come from
   *   this machine, which is how a test ends, all idle ones close at once.
   * - A number: every one of them so long. More than 100 do not all close in the end, but spread over the time, lest
   *   their clients all connect elsewhere in one instant.
   * - `0`: all of them close at once. `Infinity`: they have until `httpResponseTimeout`.
   *
   * HTTP/2 needs no such time: GOAWAY tells its clients at once (RFC 9113, section 6.8).
   *
   * @default 'auto'
   */
  keepAliveDrainTimeout?: number | 'auto' | undefined;

  /**
   * How long the server goes on accepting after `terminate()`, in milliseconds, until whoever routes
   * requests to it has noticed that it is about to go. Meanwhile every HTTP/1 answer says
   * `Connection: close`. Calling `terminate()` again does not start it again. It is waited for even if the server does not
   * listen: connections may be emitted on it by hand.
   *
   * @default 0
   */
  shutdownDelay?: number | undefined;

  /**
   * The servers whose WebSocket clients get a close frame when the listener closes, have
   * `httpResponseTimeout` to answer it, and are terminated then. A `WebSocketServer` of `ws`, or anything
   * with such `clients`, which are looked at when they are to be closed. Where it emits `connection`, as that one does, those
   * that come later get one, too.
   *
   * @default []
   */
  webSocketServers?: Iterable<WebSocketServerLike> | undefined;

  /**
   * The code in that close frame. 1001 means "going away" (RFC 6455, section 7.4.1), 1012 "service restart"
   * (IANA WebSocket Close Code Number Registry).
   *
   * @default 1001
   */
  webSocketCloseCode?: number | undefined;
}

export interface WebSocketServerLike {
  readonly clients: Iterable<{
    close(code: number): void;
    terminate(): void;
  }>;
}

/**
 * What the diagnostics channel `http-terminator:phase` publishes, and `NODE_DEBUG=http-terminator` prints.
 *
 * @example
 * diagnostics_channel.subscribe('http-terminator:phase', (message) => {
 *   const { phase, stats } = message as PhaseMessage;
 *   console.log(phase, stats);
 * });
 */
export interface PhaseMessage {
  /** `half time` is when half of `httpResponseTimeout` has passed. */
  phase: 'delaying' | 'draining' | 'half time' | 'deadline' | 'terminated';
  server: HttpServer;
  stats: ConnectionStats;
  /** At `half time` what is still open, at most 100; else empty. */
  open: CutRequest[];
}

export interface HttpTerminator {
  /**
   * Ends the server: accepts who waits to be accepted, stops listening, closes idle connections or keeps them for one
   * more request, lets requests in flight be answered whole, and resolves when the last connection is gone, or as soon as
   * everything that is left has been destroyed at {@link HttpTerminatorOptions.httpResponseTimeout}.
   *
   * Calls while it runs share one promise, and so do calls after it until the server listens again. If the server listens
   * again while a termination runs, that termination leaves the new listener alone; a further call ends it, too. If the server
   * does not listen, the connections that are left are ended, and a `listen()` that is under way is taken back. If a termination
   * by another terminator of the same server is running, this joins it, and the earlier deadline counts.
   *
   * The promise rejects only if the operating system has no thread left to keep the deadline, with its code (`EAGAIN`), or with
   * what a `newListener` of the server throws, in which cases nothing has begun; or, after the rest has ended, with what the
   * server's own `close()`, a method of a WebSocket client, a response's `setHeader()` or a `removeListener` throws.
   *
   * @example
   * afterAll(() => terminator.terminate());
   */
  terminate(): Promise<TerminationReport>;

  /**
   * `serving` until a termination begins, `delaying` during `shutdownDelay`, `draining` while the
   * termination runs after that, `terminated` after it until the server listens again. Of several servers, the first of
   * `draining`, `delaying` and `serving` that one of them is in.
   */
  readonly state: 'serving' | 'delaying' | 'draining' | 'terminated';

  /**
   * Aborted when a termination begins, so that event streams and long polls can end themselves. To a handler that
   * runs during `shutdownDelay` it is aborted already. After the server listens again this is a new signal; of several
   * servers, as soon as no termination runs and one of them listens.
   *
   * It outlives requests, so a handler that listens to it takes its listener off when its request is over.
   *
   * @example
   * const { signal } = terminator;
   * const end = () => response.end('retry: 1000\n\n');
   * if (signal.aborted) return end();
   * signal.addEventListener('abort', end);
   * response.once('close', () => signal.removeEventListener('abort', end));
   */
  readonly signal: AbortSignal;

  /** What is open at this moment. */
  stats(): ConnectionStats;

  /**
   * Makes a termination wait for work that goes on after its request was answered, within
   * `httpResponseTimeout`. A rejection during a termination is counted and reported, and does not make `terminate()`
   * reject. One before a termination is swallowed, and no unhandled rejection either: handle errors where the work is done.
   *
   * @throws {TypeError} `ERR_INVALID_ARG_TYPE` if `task` is not a promise.
   *
   * @example
   * response.end('accepted');
   * terminator.waitUntil(writeAuditLog(request).catch(console.error));
   */
  waitUntil(task: PromiseLike<unknown>): void;

  /**
   * Takes every listener off the server again, without ending it. A termination that is running goes on to its end, and they
   * are taken off then. What the terminator knew is forgotten, among it the tasks given to `waitUntil()`, and that the server was
   * terminated. Using the terminator again, even to read `state`, attaches it again.
   */
  detach(): void;

  /**
   * Terminates, for `await using`.
   *
   * @example
   * await using terminator = createHttpTerminator({ server });
   */
  [Symbol.asyncDispose](): Promise<void>;
}

export interface ConnectionStats {
  /** All connections: `idle`, `active` and `upgraded` together. */
  connections: number;
  /** Connections without a request in flight, used before or not. */
  idle: number;
  /** Connections with a request in flight. */
  active: number;
  /** Connections that were upgraded or have become CONNECT tunnels. */
  upgraded: number;
  /** Requests in flight. They are more than the active connections when clients pipeline. */
  requests: number;
  /** Tasks given to `waitUntil()` that have not settled. */
  tasks: number;
}

export interface TerminationReport {
  /** Whether everything ended by itself: nothing forced, cut or abandoned. */
  graceful: boolean;
  /** From `terminate()` until the last connection was gone, in milliseconds. */
  durationMs: number;
  /** The connections open when it began, and those that came in later. */
  connections: {
    /** Closed with nothing under way on them. */
    idle: number;
    /** Closed after what was under way on them had ended, or had been broken off. */
    drained: number;
    /** Destroyed at the deadline with something under way on them. */
    forced: number;
  };
  requests: {
    /** In flight when the termination began, and answered whole. */
    completed: number;
    /** Received while it ran, and answered whole. */
    late: number;
    /**
     * Not answered whole, because of the deadline, because somebody here broke them off, or because they had come behind
     * an answer that said close. A head received in part counts as one. What a client does not wait for is neither
     * answered nor cut.
     */
    cut: number;
  };
  /** The tasks given to `waitUntil()` that had not settled when the termination began, or came later. */
  tasks: {
    completed: number;
    rejected: number;
    /** Still running at the deadline. */
    abandoned: number;
    /** The messages of the errors that tasks were rejected with, at most 100. */
    errors: string[];
  };
  /** What was cut: requests, and upgraded connections destroyed at the deadline. At most 100 are listed. */
  cut: CutRequest[];
  /** How many more were cut than `cut` lists. */
  cutOmitted: number;
}

export interface CutRequest {
  protocol: 'http' | 'https' | 'http2';
  /** Null if the request's head had not come whole. */
  method: string | null;
  /** Null if the request's head had not come whole. */
  url: string | null;
  /** Null on Unix domain sockets, and if the peer was gone. */
  remoteAddress: string | null;
  /** Since the request's head had come, in milliseconds. Null if it had not, and for upgraded connections. */
  ageMs: number | null;
  /** Whether the head of the answer had been sent, so that the client has seen a part of it. */
  headersSent: boolean;
}

/**
 * Shuts the process down in order when it is told to: on a signal, or by `start()`.
 *
 * 1. `state` is `stopping`, `signal` is aborted, and a probe server of these terminators is no longer ready.
 * 2. The hooks of `beforeTerminate` run, one after the other.
 * 3. All terminators terminate, at once.
 * 4. The hooks of `afterTerminate` run, the last one first.
 * 5. The process exits: with 0, or with 1 if a hook failed, a termination was not graceful, or it took too long.
 *
 * A second signal exits with 1 at once. What failed, and what was still running when the process had to be ended, is
 * said on stderr.
 *
 * Only this call installs listeners on `process` that stay, for these signals and, with `onError`, for `uncaughtException`. Make
 * one for a process, in its main thread: workers hear no signals, and `process.exit()` ends only the worker there.
 *
 * On Windows, SIGINT is Ctrl+C in a terminal, SIGBREAK is Ctrl+Break, and SIGHUP is the closing of the terminal, which
 * Windows follows up with its own end some seconds later. Nobody can send SIGTERM there: a service manager ends the
 * process without asking, so give it another way to call `start()`.
 *
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE` if an option is of the wrong type, `ERR_INVALID_ARG_VALUE` if a signal can't
 * be handled or `enforce` is to enforce an endless `timeout`, `ERR_UNKNOWN_SIGNAL` if there is no such signal,
 * `ERR_WORKER_UNSUPPORTED_OPERATION` for `enforce` in a worker.
 * @throws {RangeError} `ERR_OUT_OF_RANGE` if a time is negative or NaN.
 * Nothing has been installed then.
 *
 * @example
 * const terminator = createHttpTerminator({ server, shutdownDelay: 5000, httpResponseTimeout: 10_000 });
 * createGracefulShutdown({ terminators: [terminator], afterTerminate: [() => database.end()], timeout: 20_000 });
 */
export function createGracefulShutdown(options: GracefulShutdownOptions): GracefulShutdown;

export interface GracefulShutdownOptions {
  /**
   * What is to be ended, all at once: terminators, or anything else with a method `terminate()`. A process without
   * servers has none.
   *
   * @default []
   */
  terminators?: ShutdownTerminator | readonly ShutdownTerminator[] | undefined;

  /**
   * The signals that start a shutdown. With an empty list only `start()` does. SIGBREAK, SIGHUP, SIGQUIT, SIGUSR1 and
   * SIGUSR2 may be listed on every platform, and never come on some.
   *
   * @default ['SIGTERM', 'SIGINT']
   */
  signals?: readonly NodeJS.Signals[] | undefined;

  /**
   * What is to be done while the servers still serve, in order: leave a registry, stop taking jobs.
   *
   * @default []
   */
  beforeTerminate?: ShutdownHook | readonly ShutdownHook[] | undefined;

  /**
   * What is to be done when the servers have ended, in reverse order, so that what was opened last closes first: close
   * pools of connections, write out what was buffered.
   *
   * @default []
   */
  afterTerminate?: ShutdownHook | readonly ShutdownHook[] | undefined;

  /**
   * How long each hook may take, in milliseconds. After that the next one runs, and the exit code is 1. `Infinity` waits
   * until `timeout`.
   *
   * @default 5000
   */
  hookTimeout?: number | undefined;

  /**
   * How long everything together may take, in milliseconds. Then the process exits with 1, and a line on stderr names
   * what was still running: hooks, requests and tasks. It must have room for the hooks, and for `shutdownDelay` and
   * `httpResponseTimeout` of the terminators; and whoever sent the signal must wait longer before killing the process
   * (Kubernetes waits 30 s, Docker 10 s, systemd 90 s). `Infinity` waits as long as it takes, and so does anything
   * longer than Node's timers can wait, which is 24.8 days.
   *
   * @default 25000
   */
  timeout?: number | undefined;

  /**
   * Whether to end the process with `process.exit()`. A `process.exitCode` that is set and not 0 stays if all went well. If
   * false, `process.exitCode` is set in the same way, the promise of `start()` resolves, and all listeners are taken off; the
   * process then ends when nothing keeps it alive, or as its next signal says. That is also what becomes of `timeout` and
   * of a second signal then: what is still running is given up, and nothing further begins.
   *
   * @default true
   */
  exit?: boolean | undefined;

  /**
   * Whether an uncaught exception or an unhandled rejection starts a shutdown, with exit code 1. It is printed on
   * stderr as Node prints it, but without the line of code unless its stack has that already. One that comes during a
   * shutdown is printed, makes the exit code 1, and changes nothing else. What the process does after an uncaught exception
   * may be wrong, so do this only if the requests in flight are worth it.
   *
   * @default false
   */
  onError?: boolean | undefined;

  /**
   * Whether a native timer ends the process with code 1, after one line on stderr, if it is still there one second after
   * `timeout`, for example because JavaScript blocks in a loop. On Linux it counts from the signal, even if JavaScript
   * was blocked already when that came; elsewhere, and for `start()`, from when JavaScript runs. With `exit: false` it is
   * taken back when the promise resolves.
   *
   * @default false
   */
  enforce?: boolean | undefined;
}

/** Ended by a shutdown. If it resolves to a report, that is heeded. */
export interface ShutdownTerminator {
  terminate(): PromiseLike<unknown>;
}

/** Called with what `start()` was called with: the name of a signal, an uncaught exception, or anything else. */
export type ShutdownHook = (reason: unknown) => unknown;

export interface GracefulShutdown {
  /**
   * Starts the shutdown, unless it has started. All calls, and signals, share one promise. It never rejects, and
   * unless `exit` is false what awaits it has no more than a turn of the event loop before the process exits.
   *
   * @param reason is handed to the hooks, and is the reason of `signal`.
   * @default reason 'start()'
   *
   * @example
   * process.on('message', (message) => message === 'shutdown' && shutdown.start('asked by the parent'));
   */
  start(reason?: unknown): Promise<ShutdownReport>;

  /**
   * Takes every listener off `process` again. A shutdown that has started goes on, and `start()` still starts one.
   */
  uninstall(): void;

  /** `running`, `stopping` from the first moment of a shutdown on, `stopped` when it is over. */
  readonly state: 'running' | 'stopping' | 'stopped';

  /**
   * Aborted in the first moment of a shutdown, before any hook runs, with what started it as its reason.
   *
   * @example
   * shutdown.signal.addEventListener('abort', () => worker.stopTakingJobs());
   */
  readonly signal: AbortSignal;
}

export interface ShutdownReport {
  /** Whether all went well. */
  graceful: boolean;
  /**
   * 1 if a hook failed, a termination was not graceful, there was an uncaught exception, or it was forced. If it is 0, the process
   * exits with the `process.exitCode` that somebody has set, if any.
   */
  exitCode: 0 | 1;
  /** What `start()` was called with, or the name of the signal, or the uncaught exception. */
  reason: unknown;
  /** From the start until everything had ended or was given up, in milliseconds. */
  durationMs: number;
  /** The report of each terminator, in their order. Null if it had not ended, failed, or gives none. */
  terminations: (TerminationReport | null)[];
  /** Why hooks and terminators failed. That of a hook which timed out has the code `ERR_HOOK_TIMEOUT`. */
  errors: { name: string; error: unknown }[];
}

/**
 * Opens a server of health probes and metrics on a thread of its own, which answers also while the event loop is
 * blocked. It begins neither ready nor started: call `signalReady()` when requests can come.
 *
 * The status code is what counts: 200 or 503. The body says why, as small JSON: `{"status":"ok"}`, or
 * `{"status":"unavailable","reasons":["terminating"]}`. The reasons are `stalled`, `terminating`, `not-ready`,
 * `not-started`, `check-failed` and `check-pending`. `?verbose` adds what is known.
 *
 * | path | 200 if |
 * | --- | --- |
 * | `/livez`, `/live` | the event loop has not been stalled for longer than `stallThreshold`; also while terminating |
 * | `/readyz`, `/ready` | that, and signalled ready, no shutdown or termination has begun, and every check has passed |
 * | `/startupz` | `signalStarted()` or `signalReady()` has been called |
 * | `/healthz`, `/health` | all of these |
 * | `/metrics` | always: metrics in the text format of Prometheus |
 *
 * GET and HEAD are answered; other methods 405, other paths 404. At most 64 connections are open: for one more,
 * the one that has been silent for longest is closed. A connection on which no request has come for 5 seconds is
 * closed. Heads over 8 KiB and requests with a body are refused.
 *
 * It does not keep the process alive. In a cluster each process needs a port of its own: this one is not shared.
 *
 * The promise rejects:
 * - with a `TypeError` `ERR_INVALID_ARG_TYPE` or `ERR_INVALID_ARG_VALUE`, or a `RangeError` `ERR_OUT_OF_RANGE`, if an
 *   option is wrong;
 * - as `server.listen()` would, with `EADDRINUSE`, `EADDRNOTAVAIL` or `EACCES`, if the address can't be had, or another
 *   of the operating system's codes, such as `EMFILE`, if it refuses for another reason.
 *
 * @example
 * const probes = await createProbeServer({ port: 9000, terminators: [terminator] });
 * server.listen(8080, () => probes.signalReady());
 */
export function createProbeServer(options: ProbeServerOptions): Promise<ProbeServer>;

export interface ProbeServerOptions {
  /** The port to listen on. 0 for any that is free; see `port` of the probe server. */
  port: number;

  /**
   * The IP address to listen on, or `'localhost'` for 127.0.0.1. By default every address of the machine, IPv6 and
   * IPv4, since the kubelet asks at the address of the pod.
   *
   * @default '::', or '0.0.0.0' without IPv6
   */
  host?: string | undefined;

  /**
   * The terminators whose terminations take readiness away, and whose servers the metrics are about. `/readyz` is
   * 503 from the instant in which a termination of one of their servers begins, by whomever, until the process ends
   * or the server listens again. It is so for good from the instant in which a shutdown of `createGracefulShutdown()`
   * begins that has one of them, before any of its hooks. While the probe server is open it stays attached to their servers,
   * also if they are detached.
   *
   * @default []
   */
  terminators?: readonly HttpTerminator[] | undefined;

  /**
   * How long the event loop may be stalled, in milliseconds, before `/livez` fails. It fails at most 100 ms later
   * than that, and recovers when the loop turns again. `Infinity`: it never fails.
   *
   * The default is far beyond what collecting garbage or a large document takes. Together with the kubelet's own
   * patience (three failures, ten seconds apart) it restarts what will not come back by itself.
   *
   * @default 10000
   */
  stallThreshold?: number | undefined;

  /**
   * Other paths for the endpoints: a path or a list in place of those above, or `false` for none.
   *
   * @default {}
   */
  paths?: ProbePaths | undefined;

  /**
   * Whether there are metrics.
   *
   * @default true
   */
  metrics?: boolean | undefined;

  /**
   * What else has to be true for the process to be ready, by name. Each check fails by throwing or rejecting, or by
   * taking longer than `checkTimeout`, upon which its signal is aborted; what it returns does not matter. They are
   * run at once and then every `checkInterval`, never by a probe. Until a check has ended once it is pending, and
   * the process not ready. Names are shown by `?verbose`, errors are not.
   *
   * @default {}
   *
   * @example
   * const checks = { database: (signal) => pool.query({ text: 'SELECT 1', signal }) };
   */
  checks?: Readonly<Record<string, (signal: AbortSignal) => unknown>> | undefined;

  /**
   * How long to wait between two runs of a check, in milliseconds.
   *
   * @default 10000
   */
  checkInterval?: number | undefined;

  /**
   * How long a check may take, in milliseconds.
   *
   * @default 5000
   */
  checkTimeout?: number | undefined;
}

export interface ProbePaths {
  livez?: string | readonly string[] | false | undefined;
  readyz?: string | readonly string[] | false | undefined;
  startupz?: string | readonly string[] | false | undefined;
  healthz?: string | readonly string[] | false | undefined;
  metrics?: string | readonly string[] | false | undefined;
}

export interface ProbeServer {
  /** The process can take requests from now on. It has started, too. */
  signalReady(): void;

  /** The process can take no requests for now. */
  signalNotReady(): void;

  /** The process has started, though it may not be ready yet. There is no way back. */
  signalStarted(): void;

  /** Ends the server. When the promise resolves its port is free. Signals are ignored from now on. */
  close(): Promise<void>;

  /** Where it listens, as `net.Server#address()` says it; null once it is closed. */
  address(): { address: string; family: 'IPv4' | 'IPv6'; port: number } | null;

  /** The port that it listens on, or has listened on. */
  readonly port: number;

  /**
   * Closes it, for `await using`.
   *
   * @example
   * await using probes = await createProbeServer({ port: 0 });
   */
  [Symbol.asyncDispose](): Promise<void>;
}
