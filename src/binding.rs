//! Everything JavaScript sees of this crate, each item a few lines: convert, call, convert.
//!
//! A server's driver is named by a key and a connection by an id, both plain integers, because a method
//! of a native class costs three times as much to call as a function (`npm run bench`). The functions
//! that report events return the actions that follow, as a flat list of kind and id; or nothing, so
//! that the usual case costs no allocation.
//!
//! Here is what happens to servers and their connections; apart from it, what JavaScript is to do about that
//! ([`action`]), the servers of health probes ([`probe`]), and the end of the process ([`enforcement`]).

pub mod action;
pub mod enforcement;
pub mod probe;

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use napi::bindgen_prelude::Function;
use napi::threadsafe_function::ThreadsafeFunctionCallMode;
use napi::{Error, Result, Status};
use napi_derive::napi;
use slab::Slab;

use crate::chunked;
use crate::drain::{self, ConnectionId, KeepAlive, Plan};
use crate::driver::{Driver, Wake};
use crate::kernel;

use action::{Actions, encode};

thread_local! {
    // One table for each JavaScript thread: drivers never cross threads, so nothing is locked.
    static DRIVERS: RefCell<Slab<Driver>> = const { RefCell::new(Slab::new()) };
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

impl From<Arriving> for drain::Arriving {
    fn from(arriving: Arriving) -> Self {
        match arriving {
            Arriving::Nothing => Self::Nothing,
            Arriving::Body => Self::Body,
            Arriving::NextRequest => Self::NextRequest,
        }
    }
}

/// Why the operating system has refused something.
#[napi(object, object_from_js = false)]
pub struct Refusal {
    /// Its number for it, if it has one.
    pub errno: Option<i32>,
    /// In words.
    pub reason: String,
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self { errno: error.raw_os_error(), reason: error.to_string() }
    }
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
#[napi(object, object_from_js = false)]
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

impl From<drain::Stats> for Stats {
    fn from(stats: drain::Stats) -> Self {
        let drain::Stats { connections, idle, active, upgraded, requests, tasks } = stats;
        Self { connections, idle, active, upgraded, requests, tasks }
    }
}

/// Whether requests are to be expected on connections that have had one, while a termination runs.
#[napi(catch_unwind)]
pub fn expects_requests(key: u32) -> Result<bool> {
    with_driver(key, |driver| driver.expects_requests())
}

/// The counts of the last termination.
#[napi(object, object_from_js = false)]
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

impl From<&drain::Report> for Report {
    fn from(report: &drain::Report) -> Self {
        Self {
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
    }
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
    with_driver(key, |driver| driver.stats().into())
}

/// The counts of the last termination.
#[napi(catch_unwind)]
pub fn report(key: u32) -> Result<Report> {
    with_driver(key, |driver| driver.report().into())
}

/// A client has come, and others may come from there, too. `far` is the descriptor of its connection if it is on another machine.
#[napi(catch_unwind)]
pub fn came_from(key: u32, far: Option<i32>) -> Result<()> {
    with_driver(key, |driver| driver.came_from(far))
}

/// A connection was accepted during a termination: gives its id. `far` is its descriptor if its peer is on another machine.
/// Call `due` afterwards.
#[napi(catch_unwind)]
pub fn opened(key: u32, transport: Transport, far: Option<i32>) -> Result<u32> {
    with_driver(key, |driver| to_u32(driver.opened(transport.into(), far)))
}

/// A connection that was open before has become known: gives its id. Call `due` afterwards.
///
/// `age` is how long ago its last request came, and `gap` the smoothed time between two, in milliseconds;
/// anything that is not a duration says that there were none, or not two. `far` is its descriptor if its peer is on another
/// machine.
#[napi(catch_unwind)]
pub fn found(key: u32, transport: Transport, far: Option<i32>, age: f64, gap: f64) -> Result<u32> {
    with_driver(key, |driver| to_u32(driver.found(transport.into(), far, milliseconds(age), milliseconds(gap))))
}

/// So many connections are quiet, besides those that are known.
#[napi(catch_unwind)]
pub fn quiet(key: u32, quiet: u32) -> Result<Actions> {
    event(key, |driver| driver.quiet(quiet))
}

/// So many quiet connections were closed, and these are left.
#[napi(catch_unwind)]
pub fn quiet_closed(key: u32, closed: u32, quiet: u32) -> Result<Actions> {
    event(key, |driver| driver.quiet_closed(closed, quiet))
}

/// Quiet connections have been looked at, and `all` says that there are no more of them.
#[napi(catch_unwind)]
pub fn surveyed(key: u32, all: bool) -> Result<Actions> {
    event(key, |driver| driver.surveyed(all))
}

/// Looks from now on how many connections wait to be accepted by a listener, which is named by its descriptor
/// and the address that it is bound to. Call `due` afterwards. Gives the
/// reason if that can't be known.
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
    places(kernel::unread(descriptors.get(..count as usize)?).ok()?)
}

/// On which of these descriptors bytes wait in the kernel until the peer takes more, told in the same way.
#[napi(catch_unwind)]
pub fn unsent(descriptors: &[i32], count: u32) -> Option<Vec<u32>> {
    let descriptors = descriptors.get(..count as usize)?;
    places(descriptors.iter().map(|&descriptor| kernel::unsent(descriptor).is_ok_and(|bytes| bytes > 0)))
}

fn places(found: impl IntoIterator<Item = bool>) -> Option<Vec<u32>> {
    let places: Vec<_> = (0..).zip(found).filter_map(|(place, found)| found.then_some(place)).collect();
    if places.is_empty() { None } else { Some(places) }
}

/// A further descriptor of the same connection, for the caller to close; nothing where there can't be one.
#[napi(catch_unwind)]
pub fn duplicate(descriptor: i32) -> Option<i32> {
    kernel::duplicate(descriptor).ok()
}

/// Has a connection reset when it is closed, where that can be had.
#[napi(catch_unwind)]
pub fn reset_at_close(descriptor: i32) {
    // Otherwise it ends by FIN.
    let _ = kernel::reset_at_close(descriptor);
}

/// How long the chunked body is that the input begins with, if that holds all of it.
#[napi(catch_unwind)]
pub fn chunked_length(input: &[u8]) -> Option<u32> {
    chunked::length(input).map(to_u32)
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
    let finished = drain::Finished { arriving: arriving.into(), said_close, late };
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

/// Something that may be no request has come on a connection that was to be closed as idle.
#[napi(catch_unwind)]
pub fn stirred(key: u32, id: u32) -> Result<Actions> {
    event(key, |driver| driver.stirred(id as ConnectionId))
}

/// Looks how much of what was sent is yet to leave on a connection that is on its way out, and has this descriptor.
#[napi(catch_unwind)]
pub fn look_unsent(key: u32, id: u32, descriptor: i32) -> Result<Actions> {
    event(key, |driver| driver.look_unsent(id as ConnectionId, descriptor))
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

/// The body has ended for which `HearBody` asked; `more` says that a further request is arriving behind it.
#[napi(catch_unwind)]
pub fn body_ended(key: u32, id: u32, more: bool) -> Result<Actions> {
    event(key, |driver| driver.body_ended(id as ConnectionId, more))
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

/// Gets a thread to keep the deadline of a termination that is about to begin, or says why there is none.
///
/// `wake` is called when `timed_out` is due, and held until the termination resolves.
#[napi(catch_unwind)]
pub fn arm(key: u32, wake: Function<(), ()>) -> Result<Option<Refusal>> {
    let wake = wake.build_threadsafe_function::<()>().callee_handled::<false>().build()?;
    let wake: Wake = Arc::new(move || {
        // Refused only when Node is going away, and with it everything that could be woken.
        wake.call((), ThreadsafeFunctionCallMode::NonBlocking);
    });
    with_driver(key, |driver| driver.arm(wake).err().map(Refusal::from))
}

/// Ends the server: it accepts for `delay` more milliseconds, and requests in flight may take `timeout`
/// milliseconds after that, for which there may be no end. Idle connections are kept for `keep_alive`
/// milliseconds, or as their rhythm asks for. `observed` asks for the milestone at half time.
///
/// Before a termination begins, `arm` it.
#[napi(catch_unwind)]
pub fn terminate(key: u32, delay: f64, timeout: f64, keep_alive: Option<f64>, observed: bool) -> Result<Actions> {
    // Infinity, and what is too long for the clock, is no timeout at all.
    let timeout = milliseconds(timeout);
    let delay = milliseconds(delay).unwrap_or(Duration::MAX);
    let keep_alive =
        keep_alive.map_or(KeepAlive::Auto, |time| KeepAlive::For(milliseconds(time).unwrap_or(Duration::MAX)));
    let plan = Plan { delay, timeout, keep_alive, observed };
    event(key, |driver| driver.terminate(plan))
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

fn event(key: u32, happened: impl FnOnce(&mut Driver)) -> Result<Actions> {
    with_driver(key, |driver| {
        happened(driver);
        encode(driver.take_actions())
    })
}

fn with_driver<T>(key: u32, use_it: impl FnOnce(&mut Driver) -> T) -> Result<T> {
    DRIVERS.with_borrow_mut(|drivers| match drivers.get_mut(key as usize) {
        Some(driver) => Ok(use_it(driver)),
        None => Err(Error::new(Status::InvalidArg, format!("no driver has the key {key}"))),
    })
}

/// Nothing if it is negative, not finite or too long.
fn milliseconds(time: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(time / 1e3).ok()
}

/// Ids and keys count what is open in one process, which is far below what 32 bits can name.
fn to_u32(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
