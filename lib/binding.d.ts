// The functions of src/binding.rs and its folder, where each is documented. A test holds the two together.

/** Kind and id of each action, one after the other; null if there is nothing to do. */
export type Actions = number[] | null;

export const ActionKind: {
  readonly Announce: number;
  readonly Survey: number;
  readonly LastSurvey: number;
  readonly WatchListener: number;
  readonly HoldListener: number;
  readonly CloseServer: number;
  readonly SayClose: number;
  readonly SayKeepAlive: number;
  readonly Close: number;
  readonly CloseNotify: number;
  readonly CloseQuiet: number;
  readonly DestroyQuiet: number;
  readonly LookUnsent: number;
  readonly End: number;
  readonly EndNotify: number;
  readonly Linger: number;
  readonly HearBody: number;
  readonly HearOut: number;
  readonly Ping: number;
  readonly CloseSession: number;
  readonly Cut: number;
  readonly CutHalf: number;
  readonly CutSession: number;
  readonly Destroy: number;
  readonly AwaitTurn: number;
  readonly Resolve: number;
};
export const Milestone: {
  readonly Delaying: number;
  readonly Draining: number;
  readonly HalfTime: number;
  readonly Deadline: number;
  readonly Terminated: number;
};
export const Arriving: { readonly Nothing: number; readonly Body: number; readonly NextRequest: number };
export const Transport: { readonly Plain: number; readonly Tls: number };
export const ProbeEndpoint: {
  readonly Live: number;
  readonly Ready: number;
  readonly Startup: number;
  readonly Health: number;
  readonly Metrics: number;
};

export interface Report {
  graceful: boolean;
  durationMs: number;
  idle: number;
  drained: number;
  forced: number;
  completed: number;
  late: number;
  cut: number;
  tasksCompleted: number;
  tasksRejected: number;
  tasksAbandoned: number;
}

export interface Stats {
  connections: number;
  idle: number;
  active: number;
  upgraded: number;
  requests: number;
  tasks: number;
}

export interface ProbeServerPlan {
  host: string;
  port: number;
  heartbeat: number;
  stallThreshold: number;
  paths: { path: string; endpoint: number }[];
  checks: string[];
  servers: { key: number; protocol: string }[];
}

export interface OpenProbeServer {
  key: number;
  host: string;
  port: number;
}

export interface Refusal {
  errno?: number | null;
  reason: string;
}

export function create(): number;
export function release(key: number): void;
export function state(key: number): 'serving' | 'delaying' | 'draining' | 'terminated';
export function stats(key: number): Stats;
export function expectsRequests(key: number): boolean;
export function report(key: number): Report;
export function cameFrom(key: number, far: number | null): void;
export function opened(key: number, transport: number, far: number | null): number;
export function found(key: number, transport: number, far: number | null, age: number, gap: number): number;
export function quiet(key: number, quiet: number): Actions;
export function quietClosed(key: number, closed: number, quiet: number): Actions;
export function surveyed(key: number, all: boolean): Actions;
export function watchListener(key: number, descriptor: number, host: string, port: number): string | null;
export function holdListener(key: number, descriptor: number, host: string, port: number): string | null;
export function acceptQueue(key: number, waiting: number | null): Actions;
export function listenerClosed(key: number): Actions;
/** A further descriptor of the same connection, for the caller to close; null where there can't be one. */
export function duplicate(descriptor: number): number | null;

/** Has a connection reset when it is closed, where that can be had. */
export function resetAtClose(descriptor: number): void;

/** The places of those descriptors on which unread bytes wait; null if there are none, or nobody knows. */
export function unread(descriptors: Int32Array, count: number): number[] | null;

/** The places of those on which bytes wait until the peer takes more, in the same way. */
export function unsent(descriptors: Int32Array, count: number): number[] | null;

/** How long the chunked body is that the input begins with; null if that does not hold all of it. */
export function chunkedLength(input: Uint8Array): number | null;

export function due(key: number): Actions;
export function closed(key: number, id: number, byPeer: boolean): Actions;
export function requestStarted(key: number, id: number, more: boolean): Actions;
export function requestFinished(key: number, id: number, arriving: number, saidClose: boolean, late: boolean): Actions;
export function requestAborted(key: number, id: number): Actions;
export function requestBrokenOff(key: number, id: number): Actions;
export function multiplexed(key: number, id: number): Actions;
export function ponged(key: number, id: number): Actions;
export function nothingMore(key: number, id: number): Actions;
export function hijacked(key: number, id: number): Actions;
export function receiving(key: number, id: number): Actions;
export function stirred(key: number, id: number): Actions;
export function lookUnsent(key: number, id: number, descriptor: number): Actions;
export function secured(key: number, id: number): Actions;
export function answeredEarly(key: number, id: number): Actions;
export function bodyEnded(key: number, id: number, more: boolean): Actions;
export function taskStarted(key: number): Actions;
export function taskFinished(key: number, fulfilled: boolean): Actions;
export function arm(key: number, wake: () => void): Refusal | null;
export function terminate(
  key: number,
  delay: number,
  timeout: number,
  keepAlive: number | null,
  observed: boolean,
): Actions;
export function turned(key: number): Actions;
export function timedOut(key: number): Actions;
export function serverClosed(key: number): Actions;
export function listening(key: number): Actions;
export function openProbeServer(plan: ProbeServerPlan): OpenProbeServer | Refusal;
export function closeProbeServer(key: number): void;
export function signalReady(key: number, ready: boolean): void;
export function signalStarted(key: number): void;
export function leaving(key: number): void;
export function beat(key: number): void;
export function checked(key: number, place: number, passed: boolean): void;
export function counted(
  key: number,
  place: number,
  idle: number,
  active: number,
  upgraded: number,
  requests: number,
): void;
/** Names what `relent` takes back. */
export function enforce(after: number, line: string): number;
export function relent(key: number): void;
/** Names what `unguard` takes back. */
export function guard(signals: number[], after: number, line: string): number;
export function unguard(key: number): void;
