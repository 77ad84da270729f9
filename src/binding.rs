//! Everything JavaScript sees of this crate, each item a few lines: convert, call, convert.
//!
//! A server's driver is named by a key and a connection by an id, both plain integers, because a method
//! of a native class costs three times as much to call as a function (`npm run bench`). The functions
//! that report events return the actions that follow, as a flat list of kind and id; or nothing, so
//! that the usual case costs no allocation.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use napi::bindgen_prelude::{Either, Function};
use napi::threadsafe_function::ThreadsafeFunctionCallMode;
use napi::{Env, Error, Result, Status};
use napi_derive::napi;
use slab::Slab;

use crate::drain::{self, Action, ConnectionId, KeepAlive, Plan};
use crate::driver::{Driver, Wake, now};
use crate::enforcement;
use crate::kernel;
use crate::probe::health::{Check, Health, Open, Outcome, Server};
use crate::probe::server::ProbeServer;
use crate::probe::site::{Endpoint, Site};

thread_local! {
    // One table for each JavaScript thread: drivers never cross threads, so nothing is locked.
    static DRIVERS: RefCell<Slab<Driver>> = const { RefCell::new(Slab::new()) };
    static PROBE_SERVERS: RefCell<Slab<ProbeServer>> = const { RefCell::new(Slab::new()) };
    /// Whether they are sure to be closed when the environment ends.
    static PROBE_SERVERS_END: Cell<bool> = const { Cell::new(false) };
}

/// Kind and id of each action, one after the other.
type Actions = Option<Vec<u32>>;

/// What JavaScript is asked to do; see `Action` in the crate's `drain` module for each one's meaning.
#[napi]
pub enum ActionKind {
    /// Tell whoever observes of a milestone, whose number is in place of an id.
    Announce,
    /// Report what is being received and what is multiplexed, and find what is not known yet. In place
    /// of an id, how many milliseconds old the last request of a connection may be for that.
    Survey,
    /// The same, and what the kernel holds counts as received, since nothing is going to be read any more.
    LastSurvey,
    /// Call `watchListener`, or tell how many connections wait to be accepted in another way.
    WatchListener,
    /// Call `holdListener`, unless the listener may be shared.
    HoldListener,
    /// Stop listening.
    CloseServer,
    /// Let the last answer in flight on a connection say `Connection: close`.
    SayClose,
    /// Let no answer in flight on a connection say close.
    SayKeepAlive,
    /// Close an idle connection unless bytes have come on it.
    Close,
    /// The same under TLS, with a `close_notify`.
    CloseNotify,
    /// Close some quiet connections, whose number is in place of an id.
    CloseQuiet,
    /// Close all quiet connections at once.
    DestroyQuiet,
    /// Close a connection after the last byte written to it.
    End,
    /// Send FIN after the last byte, then read and discard.
    Linger,
    /// Send a PING on an HTTP/2 connection.
    Ping,
    /// Send GOAWAY and close an HTTP/2 connection when its streams have ended.
    CloseSession,
    /// List what is in flight on a connection among the requests cut.
    Cut,
    /// List half a request among them.
    CutHalf,
    /// Close a connection at once.
    Destroy,
    /// Report when the event loop has polled for input once.
    AwaitTurn,
    /// The termination is over.
    Resolve,
}

/// What is worth telling in the course of a termination.
#[napi]
pub enum Milestone {
    /// It has begun, and the listener still accepts.
    Delaying,
    /// The listener closes.
    Draining,
    /// Half of the timeout has passed.
    HalfTime,
    /// The timeout has passed.
    Deadline,
    /// It is over.
    Terminated,
}

impl From<drain::Milestone> for Milestone {
    fn from(milestone: drain::Milestone) -> Self {
        match milestone {
            drain::Milestone::Delaying => Self::Delaying,
            drain::Milestone::Draining => Self::Draining,
            drain::Milestone::HalfTime => Self::HalfTime,
            drain::Milestone::Deadline => Self::Deadline,
            drain::Milestone::Terminated => Self::Terminated,
        }
    }
}

/// What is still coming in when an answer has ended.
#[napi]
pub enum Arriving {
    /// Nothing that is known of.
    Nothing,
    /// The rest of the body of the request that was just answered.
    Body,
    /// The beginning of a further request.
    NextRequest,
}

/// What lies below HTTP on a connection.
#[napi]
pub enum Transport {
    /// TCP or a Unix domain socket.
    Plain,
    /// TLS.
    Tls,
}

impl From<Transport> for drain::Transport {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Plain => Self::Plain,
            Transport::Tls => Self::Tls,
        }
    }
}

/// What is open at a moment.
#[napi(object)]
pub struct Stats {
    /// All connections.
    pub connections: u32,
    /// Connections without a request in flight.
    pub idle: u32,
    /// Connections with a request in flight.
    pub active: u32,
    /// Upgraded connections and CONNECT tunnels.
    pub upgraded: u32,
    /// Requests in flight.
    pub requests: u32,
    /// Background tasks.
    pub tasks: u32,
}

/// The counts of the last termination.
#[napi(object)]
pub struct Report {
    /// Whether everything ended by itself.
    pub graceful: bool,
    /// From `terminate()` until it resolved, in milliseconds.
    pub duration_ms: f64,
    /// Connections closed with nothing under way.
    pub idle: u32,
    /// Connections closed after what was under way had ended.
    pub drained: u32,
    /// Connections destroyed at the deadline.
    pub forced: u32,
    /// Requests in flight at the beginning, answered whole.
    pub completed: u32,
    /// Requests received since, answered whole.
    pub late: u32,
    /// Requests not answered whole.
    pub cut: u32,
    /// Tasks fulfilled.
    pub tasks_completed: u32,
    /// Tasks rejected.
    pub tasks_rejected: u32,
    /// Tasks still running at the deadline.
    pub tasks_abandoned: u32,
}

/// Makes a driver for one server and gives the key that names it until `release`.
#[napi(catch_unwind)]
pub fn create() -> u32 {
    DRIVERS.with_borrow_mut(|drivers| to_u32(drivers.insert(Driver::default())))
}

/// Forgets a driver. Its key may name another one afterwards.
#[napi(catch_unwind)]
pub fn release(key: u32) {
    DRIVERS.with_borrow_mut(|drivers| drivers.try_remove(key as usize));
}

/// `serving`, `delaying`, `draining` or `terminated`.
#[napi(catch_unwind)]
pub fn state(key: u32) -> Result<&'static str> {
    with_driver(key, |driver| driver.phase().name())
}

/// What is open.
#[napi(catch_unwind)]
pub fn stats(key: u32) -> Result<Stats> {
    with_driver(key, |driver| {
        let drain::Stats { connections, idle, active, upgraded, requests, tasks } = driver.stats();
        Stats { connections, idle, active, upgraded, requests, tasks }
    })
}

/// The counts of the last termination.
#[napi(catch_unwind)]
pub fn report(key: u32) -> Result<Report> {
    with_driver(key, |driver| {
        let report = driver.report();
        Report {
            graceful: report.graceful(),
            duration_ms: report.duration.as_secs_f64() * 1e3,
            idle: report.connections.idle,
            drained: report.connections.drained,
            forced: report.connections.forced,
            completed: report.requests.completed,
            late: report.requests.late,
            cut: report.requests.cut,
            tasks_completed: report.tasks.completed,
            tasks_rejected: report.tasks.rejected,
            tasks_abandoned: report.tasks.abandoned,
        }
    })
}

/// A connection was accepted during a termination: gives its id. Call `due` afterwards.
#[napi(catch_unwind)]
pub fn opened(key: u32, transport: Transport) -> Result<u32> {
    with_driver(key, |driver| to_u32(driver.opened(transport.into())))
}

/// A connection that was open before has become known: gives its id. Call `due` afterwards.
///
/// `age` is how long ago its last request came, and `gap` the smoothed time between two, in milliseconds;
/// anything that is not a duration says that there were none, or not two.
#[napi(catch_unwind)]
pub fn found(key: u32, transport: Transport, age: f64, gap: f64) -> Result<u32> {
    with_driver(key, |driver| to_u32(driver.found(transport.into(), milliseconds(age), milliseconds(gap))))
}

/// So many connections are quiet, besides those that are known; so many of these have never been used.
#[napi(catch_unwind)]
pub fn quiet(key: u32, quiet: u32, unused: u32) -> Result<Actions> {
    event(key, |driver| driver.quiet(quiet, unused))
}

/// So many quiet connections were closed, and these are left.
#[napi(catch_unwind)]
pub fn quiet_closed(key: u32, closed: u32, quiet: u32, unused: u32) -> Result<Actions> {
    event(key, |driver| driver.quiet_closed(closed, quiet, unused))
}

/// Looks from now on how many connections wait to be accepted by a listener, which is named by its descriptor
/// and the address that it is bound to. Call `due` afterwards. Gives the reason if that can't be known.
#[napi(catch_unwind)]
pub fn watch_listener(key: u32, descriptor: i32, host: String, port: u16) -> Result<Option<String>> {
    at_listener(key, &host, port, |driver, local| driver.watch_listener(descriptor, local))
}

/// Holds new connections back from that listener. Call `due` afterwards. Gives the reason if that can't or
/// must not be.
#[napi(catch_unwind)]
pub fn hold_listener(key: u32, descriptor: i32, host: String, port: u16) -> Result<Option<String>> {
    at_listener(key, &host, port, |driver, local| driver.hold_listener(descriptor, local))
}

fn at_listener(
    key: u32,
    host: &str,
    port: u16,
    happens: impl FnOnce(&mut Driver, SocketAddr) -> io::Result<()>,
) -> Result<Option<String>> {
    with_driver(key, |driver| match host.parse() {
        Ok(host) => happens(driver, SocketAddr::new(host, port)).err().map(|error| error.to_string()),
        // Of an interface's own address Node tells the zone, too.
        Err(_) => {
            driver.accept_queue(None);
            Some(format!("{host} is no plain address"))
        }
    })
}

/// So many connections wait to be accepted, or nobody knows.
#[napi(catch_unwind)]
pub fn accept_queue(key: u32, waiting: Option<u32>) -> Result<Actions> {
    event(key, |driver| driver.accept_queue(waiting))
}

/// The listener has closed.
#[napi(catch_unwind)]
pub fn listener_closed(key: u32) -> Result<Actions> {
    event(key, Driver::listener_closed)
}

/// On which of these descriptors unread bytes wait in the kernel, by their places. Nothing is the usual
/// answer, and that of systems where it can't be known.
#[napi(catch_unwind)]
pub fn unread(descriptors: &[i32], count: u32) -> Option<Vec<u32>> {
    let unread = kernel::unread(descriptors.get(..count as usize)?).ok()?;
    let places: Vec<_> = (0..).zip(unread).filter_map(|(place, unread)| unread.then_some(place)).collect();
    if places.is_empty() { None } else { Some(places) }
}

/// The actions that are due now.
#[napi(catch_unwind)]
pub fn due(key: u32) -> Result<Actions> {
    event(key, |_| {})
}

/// A connection is gone; `by_peer` says that it was not closed here.
#[napi(catch_unwind)]
pub fn closed(key: u32, id: u32, by_peer: bool) -> Result<Actions> {
    event(key, |driver| driver.closed(id as ConnectionId, by_peer))
}

/// A request's head is complete; `more` says that another one follows it already.
#[napi(catch_unwind)]
pub fn request_started(key: u32, id: u32, more: bool) -> Result<Actions> {
    event(key, |driver| driver.request_started(id as ConnectionId, more))
}

/// An answer on a connection has ended; `late` says that its request came only during the termination.
#[napi(catch_unwind)]
pub fn request_finished(key: u32, id: u32, arriving: Arriving, said_close: bool, late: bool) -> Result<Actions> {
    let arriving = match arriving {
        Arriving::Nothing => drain::Arriving::Nothing,
        Arriving::Body => drain::Arriving::Body,
        Arriving::NextRequest => drain::Arriving::NextRequest,
    };
    let finished = drain::Finished { arriving, said_close, late };
    event(key, |driver| driver.request_finished(id as ConnectionId, finished))
}

/// The client has taken back a request on a multiplexed connection.
#[napi(catch_unwind)]
pub fn request_aborted(key: u32, id: u32) -> Result<Actions> {
    event(key, |driver| driver.request_aborted(id as ConnectionId))
}

/// An answer over HTTP/2 was broken off here.
#[napi(catch_unwind)]
pub fn request_broken_off(key: u32, id: u32) -> Result<Actions> {
    event(key, |driver| driver.request_broken_off(id as ConnectionId))
}

/// HTTP/2 is spoken on a connection, and the peer has spoken.
#[napi(catch_unwind)]
pub fn multiplexed(key: u32, id: u32) -> Result<Actions> {
    event(key, |driver| driver.multiplexed(id as ConnectionId))
}

/// A PING was acknowledged, or could not be sent.
#[napi(catch_unwind)]
pub fn ponged(key: u32, id: u32) -> Result<Actions> {
    event(key, |driver| driver.ponged(id as ConnectionId))
}

/// Against what `request_started` said, no further request follows.
#[napi(catch_unwind)]
pub fn nothing_more(key: u32, id: u32) -> Result<Actions> {
    event(key, |driver| driver.nothing_more(id as ConnectionId))
}

/// A connection was upgraded or became a CONNECT tunnel.
#[napi(catch_unwind)]
pub fn hijacked(key: u32, id: u32) -> Result<Actions> {
    event(key, |driver| driver.hijacked(id as ConnectionId))
}

/// Part of a request, or of a TLS handshake, has been received.
#[napi(catch_unwind)]
pub fn receiving(key: u32, id: u32) -> Result<Actions> {
    event(key, |driver| driver.receiving(id as ConnectionId))
}

/// The TLS handshake on a connection has ended.
#[napi(catch_unwind)]
pub fn secured(key: u32, id: u32) -> Result<Actions> {
    event(key, |driver| driver.secured(id as ConnectionId))
}

/// The body of a request that was answered before the termination is still coming in.
#[napi(catch_unwind)]
pub fn answered_early(key: u32, id: u32) -> Result<Actions> {
    event(key, |driver| driver.answered_early(id as ConnectionId))
}

/// A background task has begun.
#[napi(catch_unwind)]
pub fn task_started(key: u32) -> Result<Actions> {
    event(key, Driver::task_started)
}

/// A background task has ended.
#[napi(catch_unwind)]
pub fn task_finished(key: u32, fulfilled: bool) -> Result<Actions> {
    event(key, |driver| driver.task_finished(fulfilled))
}

/// Ends the server: it accepts for `delay` more milliseconds, and requests in flight may take `timeout`
/// milliseconds after that, for which there may be no end. Idle connections are kept for `keep_alive`
/// milliseconds, or as their rhythm asks for. `observed` asks for the milestone at half time.
///
/// `wake` is called when `timed_out` is due, and held no longer than the termination runs.
///
/// # Errors
///
/// When no thread can be had to keep the deadline; nothing has begun then.
#[napi(catch_unwind)]
pub fn terminate(
    key: u32,
    delay: f64,
    timeout: f64,
    keep_alive: Option<f64>,
    observed: bool,
    wake: Function<(), ()>,
) -> Result<Actions> {
    // Infinity, and what is too long for the clock, is no timeout at all.
    let timeout = milliseconds(timeout);
    let delay = milliseconds(delay).unwrap_or_default();
    let keep_alive =
        keep_alive.map_or(KeepAlive::Auto, |time| KeepAlive::For(milliseconds(time).unwrap_or(Duration::MAX)));
    let plan = Plan { delay, timeout, keep_alive, observed };
    let wake = wake.build_threadsafe_function::<()>().callee_handled::<false>().build()?;
    let wake: Wake = Arc::new(move || {
        // Refused only when Node is going away, and with it everything that could be woken.
        wake.call((), ThreadsafeFunctionCallMode::NonBlocking);
    });
    with_driver(key, |driver| driver.terminate(plan, wake))??;
    due(key)
}

/// The event loop has polled for input once.
#[napi(catch_unwind)]
pub fn turned(key: u32) -> Result<Actions> {
    event(key, Driver::turned)
}

/// `wake` was called.
#[napi(catch_unwind)]
pub fn timed_out(key: u32) -> Result<Actions> {
    event(key, Driver::timed_out)
}

/// The server has closed.
#[napi(catch_unwind)]
pub fn server_closed(key: u32) -> Result<Actions> {
    event(key, Driver::server_closed)
}

/// The server listens again.
#[napi(catch_unwind)]
pub fn listening(key: u32) -> Result<Actions> {
    event(key, Driver::listening)
}

/// What a path of a probe server asks for; see `Endpoint` in the crate's `probe` module.
#[napi]
pub enum ProbeEndpoint {
    /// Whether the process should be restarted.
    Live,
    /// Whether the process should get requests.
    Ready,
    /// Whether the process has started.
    Startup,
    /// All of these.
    Health,
    /// The metrics.
    Metrics,
}

impl From<ProbeEndpoint> for Endpoint {
    fn from(endpoint: ProbeEndpoint) -> Self {
        match endpoint {
            ProbeEndpoint::Live => Self::Live,
            ProbeEndpoint::Ready => Self::Ready,
            ProbeEndpoint::Startup => Self::Startup,
            ProbeEndpoint::Health => Self::Health,
            ProbeEndpoint::Metrics => Self::Metrics,
        }
    }
}

/// A path of a probe server.
#[napi(object, object_to_js = false)]
pub struct ProbePath {
    /// The path, beginning with a slash.
    pub path: String,
    /// What it asks for.
    pub endpoint: ProbeEndpoint,
}

/// A server whose driver a probe server watches.
#[napi(object, object_to_js = false)]
pub struct ProbedServer {
    /// Names its driver.
    pub key: u32,
    /// `http`, `https` or `http2`.
    pub protocol: String,
}

/// What a probe server is to be.
#[napi(object, object_to_js = false)]
pub struct ProbeServerPlan {
    /// The address to listen on.
    pub host: String,
    /// The port to listen on; 0 for any that is free.
    pub port: u16,
    /// How often `beat` is called, in milliseconds.
    pub heartbeat: f64,
    /// How long the event loop may be stalled, in milliseconds, for which there may be no limit.
    pub stall_threshold: f64,
    /// What there is to ask for.
    pub paths: Vec<ProbePath>,
    /// The names of the checks, each as a JSON string.
    pub checks: Vec<String>,
    /// The servers to watch.
    pub servers: Vec<ProbedServer>,
}

/// A probe server that is open.
#[napi(object, object_from_js = false)]
pub struct OpenProbeServer {
    /// Names it until `close_probe_server`.
    pub key: u32,
    /// The address that it listens on.
    pub host: String,
    /// The port that it listens on.
    pub port: u16,
}

/// Why a probe server could not be opened.
#[napi(object, object_from_js = false)]
pub struct ProbeServerRefusal {
    /// The operating system's number for it, if it has one.
    pub errno: Option<i32>,
    /// In words.
    pub reason: String,
}

/// Opens a probe server, which answers from now on.
#[napi(catch_unwind)]
pub fn open_probe_server(env: Env, plan: ProbeServerPlan) -> Result<Either<OpenProbeServer, ProbeServerRefusal>> {
    let host = plan.host.parse().map_err(|_| Error::new(Status::InvalidArg, "the host is no address"))?;
    let mut servers = Vec::new();
    for ProbedServer { key, protocol } in plan.servers {
        servers.push(Server::new(protocol, with_driver(key, Driver::watch)?));
    }
    let checks = plan.checks.into_iter().map(Check::new).collect();
    let heartbeat = milliseconds(plan.heartbeat).unwrap_or_default();
    let health = Arc::new(Health::new(heartbeat, milliseconds(plan.stall_threshold), checks, servers, now()));
    let endpoints = plan.paths.into_iter().map(|ProbePath { path, endpoint }| (path, endpoint.into())).collect();
    close_probe_servers_with(&env)?;
    match ProbeServer::open(SocketAddr::new(host, plan.port), Site { health, endpoints }) {
        Ok(server) => {
            let address = server.address();
            let key = PROBE_SERVERS.with_borrow_mut(|servers| to_u32(servers.insert(server)));
            Ok(Either::A(OpenProbeServer { key, host: address.ip().to_string(), port: address.port() }))
        }
        Err(error) => Ok(Either::B(ProbeServerRefusal { errno: error.raw_os_error(), reason: error.to_string() })),
    }
}

/// A thread of ours must not outlive the environment: what it runs may be unloaded with it.
fn close_probe_servers_with(env: &Env) -> Result<()> {
    if !PROBE_SERVERS_END.get() {
        env.add_env_cleanup_hook((), |()| {
            PROBE_SERVERS_END.set(false);
            drop(PROBE_SERVERS.take());
        })?;
        PROBE_SERVERS_END.set(true);
    }
    Ok(())
}

/// Closes a probe server. When this returns, its port is free.
#[napi(catch_unwind)]
pub fn close_probe_server(key: u32) {
    drop(PROBE_SERVERS.with_borrow_mut(|servers| servers.try_remove(key as usize)));
}

/// The process can take requests, or can't.
#[napi(catch_unwind)]
pub fn signal_ready(key: u32, ready: bool) -> Result<()> {
    with_health(key, |health| health.signal_ready(ready))
}

/// The process has started.
#[napi(catch_unwind)]
pub fn signal_started(key: u32) -> Result<()> {
    with_health(key, Health::signal_started)
}

/// The process is about to go, and never ready again.
#[napi(catch_unwind)]
pub fn leaving(key: u32) -> Result<()> {
    with_health(key, Health::note_leaving)
}

/// The event loop turns.
#[napi(catch_unwind)]
pub fn beat(key: u32) -> Result<()> {
    with_health(key, |health| health.beat(now()))
}

/// A check, named by its place, has passed or not.
#[napi(catch_unwind)]
pub fn checked(key: u32, place: u32, passed: bool) -> Result<()> {
    with_health(key, |health| {
        health.note_check(place as usize, if passed { Outcome::Passed } else { Outcome::Failed });
    })
}

/// What is open on a server, named by its place.
#[napi(catch_unwind)]
pub fn counted(key: u32, place: u32, idle: u32, active: u32, upgraded: u32, requests: u32) -> Result<()> {
    with_health(key, |health| health.note_open(place as usize, Open { idle, active, upgraded, requests }))
}

fn with_health<T>(key: u32, use_it: impl FnOnce(&Health) -> T) -> Result<T> {
    PROBE_SERVERS.with_borrow(|servers| match servers.get(key as usize) {
        Some(server) => Ok(use_it(&server.site.health)),
        None => Err(Error::new(Status::InvalidArg, format!("no probe server has the key {key}"))),
    })
}

/// Ends the process with code 1 in `after` milliseconds, after it has written `line` to stderr. Gives the key that
/// names this until `relent`.
///
/// # Errors
///
/// When no thread can be had to keep the time, or it is no time.
#[napi(catch_unwind)]
pub fn enforce(after: f64, line: String) -> Result<u32> {
    Ok(to_u32(enforcement::enforce(time(after)?, line)?))
}

/// Lets the process live. A key that names nothing does no harm.
#[napi(catch_unwind)]
pub fn relent(key: u32) {
    enforcement::relent(key as usize);
}

/// Enforces the same as soon as one of these signals has come, which JavaScript must be listening to. Gives the key
/// that names this until `unguard`.
///
/// # Errors
///
/// When the platform does not tell, or there is no such signal.
#[napi(catch_unwind)]
pub fn guard(signals: Vec<i32>, after: f64, line: String) -> Result<u32> {
    Ok(to_u32(enforcement::guard(signals, time(after)?, line)?))
}

/// Guards against these signals no longer, nor enforces what has come of it.
#[napi(catch_unwind)]
pub fn unguard(key: u32) {
    enforcement::unguard(key as usize);
}

fn time(after: f64) -> Result<Duration> {
    milliseconds(after).ok_or_else(|| Error::new(Status::InvalidArg, format!("{after} is no time to wait for")))
}

fn event(key: u32, happened: impl FnOnce(&mut Driver)) -> Result<Actions> {
    with_driver(key, |driver| {
        happened(driver);
        let actions = driver.take_actions();
        if actions.is_empty() { None } else { Some(actions.into_iter().flat_map(encode).collect()) }
    })
}

fn with_driver<T>(key: u32, use_it: impl FnOnce(&mut Driver) -> T) -> Result<T> {
    DRIVERS.with_borrow_mut(|drivers| match drivers.get_mut(key as usize) {
        Some(driver) => Ok(use_it(driver)),
        None => Err(Error::new(Status::InvalidArg, format!("no driver has the key {key}"))),
    })
}

fn encode(action: Action) -> [u32; 2] {
    let (kind, id) = match action {
        Action::Announce(milestone) => (ActionKind::Announce, Milestone::from(milestone) as usize),
        Action::Survey(horizon) => (ActionKind::Survey, horizon.as_millis() as usize),
        Action::LastSurvey(horizon) => (ActionKind::LastSurvey, horizon.as_millis() as usize),
        Action::WatchListener => (ActionKind::WatchListener, 0),
        Action::HoldListener => (ActionKind::HoldListener, 0),
        Action::CloseServer => (ActionKind::CloseServer, 0),
        Action::SayClose(id) => (ActionKind::SayClose, id),
        Action::SayKeepAlive(id) => (ActionKind::SayKeepAlive, id),
        Action::Close(id) => (ActionKind::Close, id),
        Action::CloseNotify(id) => (ActionKind::CloseNotify, id),
        Action::CloseQuiet(count) => (ActionKind::CloseQuiet, count as usize),
        Action::DestroyQuiet => (ActionKind::DestroyQuiet, 0),
        Action::End(id) => (ActionKind::End, id),
        Action::Linger(id) => (ActionKind::Linger, id),
        Action::Ping(id) => (ActionKind::Ping, id),
        Action::CloseSession(id) => (ActionKind::CloseSession, id),
        Action::Cut(id) => (ActionKind::Cut, id),
        Action::CutHalf(id) => (ActionKind::CutHalf, id),
        Action::Destroy(id) => (ActionKind::Destroy, id),
        Action::AwaitTurn => (ActionKind::AwaitTurn, 0),
        Action::Resolve => (ActionKind::Resolve, 0),
    };
    [kind as u32, to_u32(id)]
}

/// Nothing if it is negative, not finite or too long.
fn milliseconds(time: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(time / 1e3).ok()
}

/// Ids and keys count what is open in one process, which is far below what 32 bits can name.
fn to_u32(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
