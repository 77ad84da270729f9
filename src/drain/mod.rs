//! The machine that drains one server: events and `now` in, actions out.
//!
//! It does no input or output, reads no clock and knows neither Node nor napi, so a test can play
//! any order of events against it in microseconds.
//!
//! # The course of a termination
//!
//! ```text
//!           terminate               delay over          turned           nothing left
//!   Serving ─────────▶ Delaying ─────────────▶ Reading ───────▶ Draining ───────────▶ Terminated
//!      ▲              (answers say   listener  (the loop  idle   (answers    resolve       │
//!      │               close; the    is held    accepts   ones    end; the                 │
//!      │               listener                 and reads close   deadline                 │
//!      │               accepts)                 what has  or are  cuts)                    │
//!      │                                        come)     kept                             │
//!      └───────────────────────────────────────────────────────────────────────────────────┘
//!                                  the server listens again
//! ```
//!
//! Without a delay, `Delaying` is left in the moment in which it is entered. The listener closes when
//! nobody waits to be accepted any more; see [`listener`].
//!
//! # The life of a connection during a termination
//!
//! ```text
//!   New, Idle ── silent through a whole turn, or as long as it is kept ──▶ close (FIN), or linger under TLS
//!   receiving ── its request comes ──▶ Active
//!   Active ───── last answer ended ──▶ end (FIN after the last byte), or linger
//!   HTTP/2 ───── PING acknowledged ──▶ close the session (GOAWAY; its streams end first)
//!   any ──────── deadline ──▶ destroy, and what was in flight is listed as cut
//! ```
//!
//! Which idle connections are kept, and how long, is told in [`keep_alive`].
//!
//! # Who is known
//!
//! Connections that are *quiet* have no more than a number: nothing is under way on them, nothing was said
//! of them, and there may be thousands. While serving, all that the machine is told is for a look at
//! [`Drain::stats`]. When a termination begins it is told of the connections with requests in flight, of
//! tunnels and of HTTP/2; and when the listener is to close, of the rest.
//!
//! # How to drive it
//!
//! Call one `handle_*` method for an event, then take actions with [`Drain::poll_action`] until there
//! is none, then wait until [`Drain::poll_timeout`] or the next event. Early, late or repeated calls
//! are harmless: events for an unknown connection, timeouts that are not due, a second
//! `handle_terminate` and turns nobody asked for do nothing wrong.
//!
//! # Invariants
//!
//! 1. `New` and `Idle` connections have no request in flight, `Active` ones have at least one.
//! 2. While serving, and once terminated, no connection is on its way out because of us.
//! 3. [`Action::Resolve`] comes exactly once for each termination, and only when no connection is
//!    left, no task is waited for, and the server has closed or its deadline has passed.
//! 4. Nothing is closed while it is receiving or has a request in flight, except at the deadline.
//! 5. A deadline is never put off by a later call: the earlier one wins. It cuts after one more turn of
//!    the loop, or at once if there is no time at all.

#![forbid(unsafe_code)]

mod connection;
pub mod keep_alive;
pub mod listener;
#[cfg(any(test, fuzzing))]
pub mod model;
mod report;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use slab::Slab;

use connection::{Connection, Course, Tally};

use keep_alive::{ASKS_AGAIN_WITHIN, FEW, SPEAKS_WITHIN, WINDOW_AT_MOST, Window};
use listener::{ACCEPT_AT_MOST, Listener};

pub use connection::{Arriving, State, Transport};
pub use keep_alive::{KeepAlive, Rhythm};
pub use report::{Connections, Report, Requests, Stats};

/// How many idle connections are closed in one turn of the event loop.
///
/// Closing one costs Node about 15 µs, and requests in flight are to be served meanwhile.
pub const CLOSES_PER_TURN: u32 = 64;

/// How long a peer may take to finish writing what is not going to be answered: the body of a request that has been
/// answered already, or requests behind an answer that said close.
///
/// The same five seconds as nginx's `lingering_timeout`; the deadline of the termination comes first
/// where it is earlier.
pub const LINGER_FOR_BODY: Duration = Duration::from_secs(5);

/// How long a TLS peer may take to answer our `close_notify` with its own (RFC 8446, section 6.1).
///
/// Closing without waiting would answer the peer's alert with a reset. A peer that is alive needs one
/// round trip; one that is not must not hold up a termination.
pub const LINGER_FOR_CLOSE_NOTIFY: Duration = Duration::from_millis(250);

/// How long an HTTP/2 peer may take to acknowledge a PING (RFC 9113, section 6.7).
///
/// What it sent before the acknowledgement has arrived then, and is served. A peer that is alive needs
/// one round trip; one that is not must not hold up a termination.
pub const PING_AT_MOST: Duration = Duration::from_millis(100);

/// Names a connection from [`Drain::handle_opened`] until [`Drain::handle_closed`]; may be used again
/// for another connection afterwards.
pub type ConnectionId = usize;

/// Where the server is in its course; see the diagram in the module's documentation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is asked of the machine. Next: `Delaying`, `Reading`.
    #[default]
    Serving,
    /// The listener still accepts, and every HTTP/1 answer says close: whoever routes requests here
    /// learns to do without. Next: `Reading`.
    Delaying,
    /// The listener is closed, and the event loop takes one turn to read what had already come.
    /// Next: `Draining`, or `Terminated` when nothing is left.
    Reading,
    /// Idle connections go, requests in flight are answered. Next: `Terminated`.
    Draining,
    /// The termination has resolved. Next: `Serving`, or `Delaying` or `Reading` when terminated once more.
    Terminated,
}

impl Phase {
    /// What it is called outside.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Delaying => "delaying",
            Self::Reading | Self::Draining => "draining",
            Self::Terminated => "terminated",
        }
    }
}

/// How a server is to be terminated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How long the listener goes on accepting.
    pub delay: Duration,
    /// How long requests in flight may take after that; `None` is as long as they want.
    pub timeout: Option<Duration>,
    /// How long idle connections are kept open after that.
    pub keep_alive: KeepAlive,
    /// Whether somebody wants to know what is open when half of the timeout has passed.
    pub observed: bool,
}

/// What the caller is to do, at once and in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The phase has changed; or half of the timeout has passed, which is told only if it was asked for.
    Announce(Milestone),
    /// Call [`Drain::handle_receiving`], [`Drain::handle_answered_early`] and
    /// [`Drain::handle_multiplexed`] for each connection of which that is true now. Call
    /// [`Drain::handle_found`] for each one that is not known yet and on which something is under way, or
    /// whose last request is younger than this; and, in the end, [`Drain::handle_quiet`] for the number of
    /// the others.
    Survey(Duration),
    /// The same, when no turn of the loop is going to read what the kernel holds: so a connection on which it
    /// holds something is receiving, too.
    LastSurvey(Duration),
    /// Call [`Drain::handle_accept_queue`] now, and once before every turn.
    WatchListener,
    /// Let no further connection reach the listener, and call [`Drain::handle_listener_held`], if that can be done.
    HoldListener,
    /// Stop listening, and call [`Drain::handle_server_closed`] when the server has closed.
    CloseServer,
    /// Let the last answer in flight on this connection, and no earlier one, say `Connection: close`.
    ///
    /// Close on an earlier answer would silently drop the later ones, whose handlers already ran.
    SayClose(ConnectionId),
    /// Let no answer in flight on this connection say close: a further request is already arriving.
    SayKeepAlive(ConnectionId),
    /// Close this idle connection, unless bytes have come since the termination began: then call
    /// [`Drain::handle_receiving`] instead.
    Close(ConnectionId),
    /// The same under TLS: send `close_notify` and FIN, then linger for the peer's own `close_notify`.
    CloseNotify(ConnectionId),
    /// Close so many of the quiet connections, those never used last, but not those on which bytes have
    /// come, and call [`Drain::handle_quiet_closed`].
    CloseQuiet(u32),
    /// Close all quiet connections at once, and call [`Drain::handle_quiet_closed`].
    DestroyQuiet,
    /// Close this connection after the last byte written to it.
    End(ConnectionId),
    /// Send FIN after the last byte, then read and discard until the peer closes, also what belongs to requests. Asked
    /// for once more when a request comes meanwhile.
    Linger(ConnectionId),
    /// Send a PING on this HTTP/2 connection, and call [`Drain::handle_ponged`] when it is acknowledged
    /// or can't be sent.
    Ping(ConnectionId),
    /// Send GOAWAY on this HTTP/2 connection and close it when its streams have ended. Streams that
    /// are opened later are refused, in a way that tells the client that it may retry them.
    CloseSession(ConnectionId),
    /// List what is in flight on this connection among the requests cut.
    Cut(ConnectionId),
    /// List a request of which this connection has received a part among the requests cut.
    CutHalf(ConnectionId),
    /// Close this connection at once, whatever is under way on it.
    Destroy(ConnectionId),
    /// Call [`Drain::handle_turned`] after the event loop has polled for input once.
    AwaitTurn,
    /// The termination is over: [`Drain::report`] is final.
    Resolve,
}

/// What is worth telling in the course of a termination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Milestone {
    /// The termination has begun, and the listener still accepts.
    Delaying,
    /// The listener closes.
    Draining,
    /// Half of the timeout has passed.
    HalfTime,
    /// The timeout has passed: what is left is about to be destroyed.
    Deadline,
    /// The termination is over.
    Terminated,
}

/// A turn of the event loop, asked for with [`Action::AwaitTurn`]. It outlives the termination that asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    NotAwaited,
    Awaited,
    /// Asked for once more. The one that runs may have polled for input already, so it does not count.
    AwaitedAnew,
}

/// What is known of a request when its answer has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// What is still coming in on its connection.
    pub arriving: Arriving,
    /// Whether the answer said `Connection: close`, so that Node ends the connection by itself.
    pub said_close: bool,
    /// Whether its head came only during the termination.
    pub late: bool,
}

/// Drains one server. See the [module documentation](self) for its course and its contract.
///
/// `handle_*` methods take events, `poll_*` methods give what follows from them, the others look.
#[derive(Debug)]
pub struct Drain {
    phase: Phase,
    connections: Slab<Connection>,
    tasks: u32,
    /// Connections known by their number only, and how many of them have never been used.
    quiet: u32,
    unused: u32,
    /// Until when those never used are kept.
    unused_until: Option<Instant>,
    keep_alive: KeepAlive,
    /// The window in which idle connections are kept, if it has a fixed length.
    window: Option<Window>,
    listener: Listener,
    /// Whether a survey was asked for whose end, the number of quiet connections, has not been told yet.
    surveying: bool,
    /// Whether the server has yet to say that it has closed.
    closing_server: bool,
    /// Whether the deadline has passed and everything was cut: what still comes is cut at once.
    expired: bool,
    /// Whether the deadline has come, and the turn that is awaited is the last one. The deadline may ring
    /// while the event loop is blocked. What came in or was done by then is in time, so the loop gets one
    /// more turn to find out before anything is cut.
    last_turn: bool,
    /// When the running termination began, and by when it must end; `None` is never.
    began: Option<Instant>,
    deadline: Option<Instant>,
    /// When to close the listener, and how long to wait after that.
    delayed_until: Option<Instant>,
    timeout: Option<Duration>,
    observed: bool,
    half_time: Option<Instant>,
    /// Idle connections that wait for their turn to be closed.
    to_close: VecDeque<ConnectionId>,
    turn: Turn,
    /// When waiting for a single peer ends, earliest first. An entry may outlive its connection, and is
    /// then skipped.
    patience: BinaryHeap<Reverse<(Instant, ConnectionId)>>,
    actions: VecDeque<Action>,
    report: Report,
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

impl Drain {
    /// A machine for a server that is serving and has no connections yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            phase: Phase::Serving,
            connections: Slab::new(),
            tasks: 0,
            quiet: 0,
            unused: 0,
            unused_until: None,
            keep_alive: KeepAlive::Auto,
            window: None,
            listener: Listener::Open,
            surveying: false,
            closing_server: false,
            expired: false,
            last_turn: false,
            began: None,
            deadline: None,
            delayed_until: None,
            timeout: None,
            observed: false,
            half_time: None,
            to_close: VecDeque::new(),
            turn: Turn::NotAwaited,
            patience: BinaryHeap::new(),
            actions: VecDeque::new(),
            report: Report::default(),
        }
    }

    /// Where the server is in its course.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// When the termination that runs began.
    #[must_use]
    pub fn began(&self) -> Option<Instant> {
        self.began
    }

    /// What is open at this moment, as far as the machine was told of it.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = Stats { tasks: self.tasks, connections: self.quiet, idle: self.quiet, ..Stats::default() };
        for (_, connection) in &self.connections {
            stats.count(connection.state(), connection.requests);
        }
        stats
    }

    /// How the last termination went; final once [`Action::Resolve`] was given.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The server has accepted a connection, during a termination.
    pub fn handle_opened(&mut self, transport: Transport, now: Instant) -> ConnectionId {
        let id = self.connections.insert(Connection::new(transport));
        self.listener.handle_accepted();
        if self.expired {
            self.destroy(id);
        } else if self.is_terminating() {
            let until = now + SPEAKS_WITHIN;
            self.connections[id].accepted_until = Some(until);
            match self.phase {
                Phase::Draining => self.keep(id, until),
                Phase::Reading => self.await_turn_unless_awaited(),
                _ => {}
            }
        }
        self.assert_invariants();
        id
    }

    /// A connection that was open before has become known. `used` says that requests on it have been answered.
    pub fn handle_found(&mut self, transport: Transport, used: bool, rhythm: Option<Rhythm>) -> ConnectionId {
        let id = self.connections.insert(Connection::new(transport));
        let connection = &mut self.connections[id];
        connection.rhythm = rhythm;
        connection.used = used;
        if self.expired {
            self.destroy(id);
        } else if self.phase == Phase::Reading {
            self.await_turn_unless_awaited();
        } else if self.phase == Phase::Draining {
            self.queue_close(id);
            self.await_turn_unless_awaited();
        }
        self.assert_invariants();
        id
    }

    /// So many connections are open besides those that are known, all of them quiet; so many of these have
    /// never been used.
    pub fn handle_quiet(&mut self, quiet: u32, unused: u32, now: Instant) {
        let surveyed = std::mem::take(&mut self.surveying);
        self.quiet = quiet;
        self.unused = unused.min(quiet);
        if surveyed && self.phase == Phase::Reading && self.timeout == Some(Duration::ZERO) {
            // Not earlier: what is cut is to be listed, so it must be known.
            self.cut();
        } else if self.quiet > 0 {
            if self.expired {
                self.actions.push_back(Action::DestroyQuiet);
            } else if self.phase == Phase::Reading {
                self.await_turn_unless_awaited();
            }
        }
        self.resolve_if_done(now);
        self.assert_invariants();
    }

    /// So many quiet connections have been closed, and these are left.
    pub fn handle_quiet_closed(&mut self, closed: u32, quiet: u32, unused: u32, now: Instant) {
        if self.is_terminating() {
            self.report.connections.idle += closed;
        }
        self.handle_quiet(quiet, unused, now);
    }

    /// So many connections wait to be accepted, or nobody knows.
    pub fn handle_accept_queue(&mut self, waiting: Option<u32>, now: Instant) {
        let loaded = self.is_loaded(now);
        if self.listener.handle_waiting(waiting, loaded, now) {
            self.actions.push_back(Action::HoldListener);
            self.await_turn_unless_awaited();
        } else if self.listener.is_done(now) {
            self.close_listener();
        } else if matches!(self.listener, Listener::Accepting { .. }) {
            self.await_turn_unless_awaited();
        }
        self.assert_invariants();
    }

    /// No further connection reaches the listener.
    pub fn handle_listener_held(&mut self) {
        self.listener.handle_held();
    }

    /// A request's head is complete. `more` says that bytes beyond this request have been received as
    /// well, so another one follows it on the same connection.
    pub fn handle_request_started(&mut self, id: ConnectionId, more: bool) {
        let terminating = self.is_terminating();
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.is_leaving() {
            let lingers = matches!(connection.course, Course::Lingering { .. });
            self.cut_behind_fin(id);
            if lingers {
                self.actions.push_back(Action::Linger(id));
            }
            return;
        }
        connection.start_request(more);
        if !terminating {
            return;
        }
        connection.busy = true;
        if !connection.multiplexed {
            self.actions.push_back(if more { Action::SayKeepAlive(id) } else { Action::SayClose(id) });
        }
        self.assert_invariants();
    }

    /// An answer on this connection has ended; over HTTP/1, that to the oldest request in flight.
    pub fn handle_request_finished(&mut self, id: ConnectionId, finished: Finished, now: Instant) {
        let phase = self.phase;
        let terminating = self.is_terminating();
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.is_leaving() {
            return;
        }
        if !connection.end_request() || !terminating {
            return;
        }
        self.report.count_finished(finished.late);
        if connection.multiplexed {
            // Its session closes by itself when the last stream has ended.
            self.assert_invariants();
            return;
        }
        if connection.requests == 0 {
            connection.receiving = finished.arriving == Arriving::NextRequest;
        }
        let body_follows = finished.arriving == Arriving::Body && connection.requests == 0;
        let request_follows = connection.requests > 0 || connection.receiving;
        match finished {
            Finished { said_close: true, .. } if body_follows || request_follows => self.hear_out(id, now),
            Finished { said_close: true, .. } => connection.course = Course::Leaving(Tally::Drained),
            _ if body_follows && phase != Phase::Delaying => self.hear_out(id, now),
            // Until the loop has turned, a pipelined request may still be among what was received.
            _ if phase == Phase::Draining && connection.is_quiet() => self.part_with_answered(id, finished.late, now),
            _ => {}
        }
        self.assert_invariants();
    }

    /// The client has taken back a request on a multiplexed connection.
    pub fn handle_request_aborted(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.end_request();
        }
        self.assert_invariants();
    }

    /// HTTP/2 is spoken on this connection, and the peer has spoken.
    ///
    /// Needs to be known only when a termination begins or runs.
    pub fn handle_multiplexed(&mut self, id: ConnectionId, now: Instant) {
        let draining = matches!(self.phase, Phase::Reading | Phase::Draining);
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.multiplexed = true;
        connection.receiving = false;
        if draining && matches!(connection.course, Course::Open | Course::Kept { .. } | Course::Queued) {
            self.ping(id, now);
        }
        self.assert_invariants();
    }

    /// The PING on this connection was acknowledged.
    pub fn handle_ponged(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id)
            && matches!(connection.course, Course::Pinging { .. })
        {
            self.close_session(id);
        }
        self.assert_invariants();
    }

    /// The connection was upgraded, or became a CONNECT tunnel: HTTP no longer knows what goes over it.
    /// It has its grace until the deadline.
    pub fn handle_hijacked(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.is_leaving() {
            self.cut_behind_fin(id);
            return;
        }
        connection.hijack();
        self.assert_invariants();
    }

    /// Part of a request, or of a TLS handshake, has been received on this connection.
    pub fn handle_receiving(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.receiving = true;
            connection.stay();
            // Closed as idle, it was looked at once more, and is open yet.
            if matches!(connection.course, Course::Leaving(Tally::Idle) | Course::Lingering { tally: Tally::Idle, .. })
            {
                connection.course = Course::Open;
            }
        }
        self.assert_invariants();
    }

    /// The TLS handshake on this connection has ended, so what has been received is no part of a request. Its peer
    /// has as long to speak as if it had just been accepted.
    pub fn handle_secured(&mut self, id: ConnectionId, now: Instant) {
        let terminating = self.is_terminating();
        let Some(connection) = self.connections.get_mut(id) else { return };
        let is_shaking_hands = connection.is_quiet_but_for_receiving() && !connection.multiplexed;
        if !terminating || !is_shaking_hands || connection.is_leaving() {
            return;
        }
        let until = now + SPEAKS_WITHIN;
        connection.receiving = false;
        connection.accepted_until = Some(until);
        if self.phase == Phase::Draining {
            let kept = if let Course::Kept { until } = connection.course { Some(until) } else { None };
            self.keep(id, kept.map_or(until, |kept| kept.max(until)));
        }
        self.assert_invariants();
    }

    /// Against what [`Drain::handle_request_started`] said, no further request follows.
    pub fn handle_nothing_more(&mut self, id: ConnectionId) {
        let terminating = self.is_terminating();
        let Some(connection) = self.connections.get_mut(id) else { return };
        if terminating && connection.requests > 0 && !connection.is_leaving() {
            connection.receiving = false;
            self.actions.push_back(Action::SayClose(id));
        }
        self.assert_invariants();
    }

    /// A request on this connection was answered before the listener closed, and the rest of its body is
    /// still coming in.
    pub fn handle_answered_early(&mut self, id: ConnectionId, now: Instant) {
        let draining = matches!(self.phase, Phase::Reading | Phase::Draining);
        let Some(connection) = self.connections.get_mut(id) else { return };
        if draining && connection.requests == 0 && !connection.is_leaving() {
            connection.receiving = false;
            self.hear_out(id, now);
        }
        self.assert_invariants();
    }

    /// An answer on a multiplexed connection was broken off, and not by its client.
    pub fn handle_request_broken_off(&mut self, id: ConnectionId) {
        let terminating = self.is_terminating();
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.end_request() && terminating && !connection.is_leaving() {
            self.report.requests.cut += 1;
        }
        self.assert_invariants();
    }

    /// The connection is gone. `by_peer` says that it was the peer who closed it: then it does not want the
    /// answers any more that are missing.
    pub fn handle_closed(&mut self, id: ConnectionId, by_peer: bool, now: Instant) {
        let terminating = self.is_terminating();
        let Some(connection) = self.connections.get(id) else { return };
        if terminating {
            let cut = connection.cut_by_close(by_peer);
            if cut > 0 && connection.course != Course::Destroyed {
                self.actions.push_back(Action::Cut(id));
            }
            self.report.requests.cut += cut;
            self.report.count_closed(connection.tally());
        }
        self.connections.remove(id);
        self.resolve_if_done(now);
        self.assert_invariants();
    }

    /// Work that is waited for has begun: a task that outlives its answer.
    pub fn handle_task_started(&mut self) {
        if self.expired {
            self.report.tasks.abandoned += 1;
        } else {
            self.tasks += 1;
        }
    }

    /// Work that is waited for has ended.
    pub fn handle_task_finished(&mut self, fulfilled: bool, now: Instant) {
        let Some(left) = self.tasks.checked_sub(1) else { return };
        self.tasks = left;
        if self.is_terminating() {
            if fulfilled {
                self.report.tasks.completed += 1;
            } else {
                self.report.tasks.rejected += 1;
            }
            self.resolve_if_done(now);
        }
        self.assert_invariants();
    }

    /// End the server.
    ///
    /// During a termination it only brings the end forward, never puts it off.
    pub fn handle_terminate(&mut self, plan: Plan, now: Instant) {
        let Plan { delay, timeout, .. } = plan;
        // What is past the end of the clock is as good as never.
        let deadline = timeout.and_then(|timeout| now.checked_add(delay)?.checked_add(timeout));
        match self.phase {
            Phase::Serving | Phase::Terminated => {
                self.begin(plan, now);
                self.delayed_until = now.checked_add(delay);
                if !delay.is_zero() {
                    self.actions.push_back(Action::Announce(Milestone::Delaying));
                    // From now on, every request says how much has been received besides it.
                    self.survey();
                }
            }
            Phase::Delaying => {
                self.delayed_until = earlier(self.delayed_until, now.checked_add(delay));
                self.timeout = earlier(self.timeout, timeout);
            }
            Phase::Reading | Phase::Draining => {
                if !self.last_turn {
                    self.deadline = earlier(self.deadline, deadline);
                }
                if delay.is_zero() && timeout == Some(Duration::ZERO) {
                    self.cut();
                }
            }
        }
        self.drain_if_due(now);
        self.resolve_if_done(now);
        self.assert_invariants();
    }

    /// The server does not listen, and its own `close` event has come or never will.
    pub fn handle_server_closed(&mut self, now: Instant) {
        self.closing_server = false;
        self.resolve_if_done(now);
        self.assert_invariants();
    }

    /// The event loop has polled for input once since [`Action::AwaitTurn`].
    pub fn handle_turned(&mut self, now: Instant) {
        let turn = std::mem::replace(&mut self.turn, Turn::NotAwaited);
        if !self.is_terminating() || turn == Turn::NotAwaited {
            return;
        }
        if turn == Turn::AwaitedAnew {
            self.await_turn();
        } else if self.last_turn {
            self.cut();
            self.resolve_if_done(now);
        } else {
            self.listener.handle_turned();
            if self.listener.is_done(now) {
                self.close_listener();
            }
            if self.phase == Phase::Reading {
                if matches!(self.listener, Listener::Accepting { .. }) {
                    self.await_turn();
                    return;
                }
                self.phase = Phase::Draining;
                self.part_with_idle(now);
            }
            self.close_some(now);
        }
        self.assert_invariants();
    }

    /// Time has passed. Calls before [`Drain::poll_timeout`] do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        if !self.is_terminating() {
            return;
        }
        if self.phase == Phase::Delaying && self.delayed_until.is_some_and(|until| until <= now) {
            self.drain_if_due(now);
            self.resolve_if_done(now);
        }
        if self.half_time.is_some_and(|half_time| half_time <= now) {
            self.half_time = None;
            self.actions.push_back(Action::Announce(Milestone::HalfTime));
        }
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.deadline = None;
            self.last_turn = true;
            self.await_turn();
        }
        while let Some(&Reverse((until, id))) = self.patience.peek() {
            if until > now {
                break;
            }
            self.patience.pop();
            // The id may have passed to another connection, which is then not due itself.
            match self.connections.get(id).map(|connection| connection.course) {
                Some(Course::Lingering { until, .. }) if until <= now => self.destroy(id),
                Some(Course::Pinging { until }) if until <= now => self.close_session(id),
                Some(Course::Kept { until }) if until <= now => {
                    self.queue_close(id);
                    self.await_turn_unless_awaited();
                }
                _ => {}
            }
        }
        // A step of a window closes several: some of them may be due before the step is.
        let not_yet = self.quiet_due_at().is_some_and(|due| due > now);
        if !not_yet && self.quiet_due(now) > 0 {
            self.await_turn_unless_awaited();
        }
        self.assert_invariants();
    }

    /// The server listens again after a termination.
    pub fn handle_listening(&mut self) {
        if self.phase == Phase::Terminated {
            self.phase = Phase::Serving;
        }
        self.assert_invariants();
    }

    /// The next thing to do, until there is none.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Drain::handle_timeout`] is to be called next, if at all.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let patience = self.patience.peek().map(|&Reverse((until, _))| until);
        let quiet = if self.turn == Turn::NotAwaited { self.quiet_due_at() } else { None };
        [self.delayed_until, self.half_time, self.deadline, patience, quiet].into_iter().flatten().min()
    }

    fn is_terminating(&self) -> bool {
        matches!(self.phase, Phase::Delaying | Phase::Reading | Phase::Draining)
    }

    fn begin(&mut self, plan: Plan, now: Instant) {
        self.phase = Phase::Delaying;
        self.began = Some(now);
        self.timeout = plan.timeout;
        self.observed = plan.observed;
        self.keep_alive = plan.keep_alive;
        self.listener = Listener::Open;
        self.last_turn = false;
        self.report = Report::default();
        self.closing_server = true;
        for (id, connection) in &mut self.connections {
            connection.busy = connection.requests > 0;
            if connection.state() == State::Active && !connection.receiving && !connection.multiplexed {
                self.actions.push_back(Action::SayClose(id));
            }
        }
    }

    /// The end of the delay, if it has come.
    fn drain_if_due(&mut self, now: Instant) {
        if self.phase != Phase::Delaying || self.delayed_until.is_none_or(|until| until > now) {
            return;
        }
        self.phase = Phase::Reading;
        self.delayed_until = None;
        self.actions.push_back(Action::Announce(Milestone::Draining));
        self.survey();
        if self.timeout != Some(Duration::ZERO) {
            self.deadline = self.timeout.and_then(|timeout| now.checked_add(timeout));
            if self.observed {
                self.half_time = self.timeout.and_then(|timeout| now.checked_add(timeout / 2));
            }
            self.listener = Listener::accepting(now + ACCEPT_AT_MOST);
            self.actions.push_back(Action::WatchListener);
        }
        for id in self.ids() {
            if self.connections[id].multiplexed {
                self.ping(id, now);
            }
        }
        // A turn that an earlier termination asked for may have read already.
        if self.turn != Turn::NotAwaited || !self.connections.is_empty() {
            self.await_turn();
        }
    }

    fn survey(&mut self) {
        self.surveying = true;
        let horizon = self.keep_alive.horizon();
        let is_last = self.phase == Phase::Reading && self.timeout == Some(Duration::ZERO);
        self.actions.push_back(if is_last { Action::LastSurvey(horizon) } else { Action::Survey(horizon) });
    }

    fn await_turn(&mut self) {
        self.turn = if self.turn == Turn::NotAwaited {
            self.actions.push_back(Action::AwaitTurn);
            Turn::Awaited
        } else {
            Turn::AwaitedAnew
        };
    }

    fn await_turn_unless_awaited(&mut self) {
        if self.turn == Turn::NotAwaited {
            self.await_turn();
        }
    }

    fn close_listener(&mut self) {
        if self.listener != Listener::Closed {
            self.listener = Listener::Closed;
            self.actions.push_back(Action::CloseServer);
        }
    }

    /// Lets go of each idle connection, now or after a while; see [`keep_alive`].
    fn part_with_idle(&mut self, now: Instant) {
        let mut idle = self.ids();
        idle.retain(|&id| self.connections[id].is_idle());
        match self.keep_alive {
            KeepAlive::Auto => {
                let loaded = self.is_loaded(now);
                self.unused_until = if loaded { Some(now + SPEAKS_WITHIN) } else { None };
                for id in idle {
                    self.keep_until(id, self.connections[id].expected_until(loaded, now), now);
                }
            }
            KeepAlive::For(length) => {
                let length = length.min(WINDOW_AT_MOST);
                let window = Window { began: now, length, quiet: self.quiet, known: idle.len() };
                for (place, id) in idle.into_iter().enumerate() {
                    let connection = &self.connections[id];
                    // Whoever is in rhythm is not sent away earlier than that asks for.
                    let expected = connection.expected_until(true, now).min(Some(window.end()));
                    let until = expected.max(Some(window.closes_known(place)));
                    self.keep_until(id, until.max(connection.accepted_until), now);
                }
                self.window = Some(window);
            }
        }
    }

    /// Whether so much goes on that more is to be expected, as it is not of a test's last few connections.
    fn is_loaded(&self, now: Instant) -> bool {
        self.connections.iter().filter(|(_, connection)| connection.is_lively(now)).count() > FEW
    }

    /// Lets go of a connection whose answer did not say close. If its request came before the termination, its client
    /// was told nothing, and may be about to send again; see [`keep_alive`]. A later one had its answer told to say so.
    fn part_with_answered(&mut self, id: ConnectionId, late: bool, now: Instant) {
        let until = match self.keep_alive {
            _ if late => None,
            KeepAlive::For(_) => self.window.map(Window::end),
            KeepAlive::Auto => {
                let rhythm = self.connections[id].rhythm.filter(|_| self.is_loaded(now));
                rhythm.map(|rhythm| rhythm.goes_on_until(now)).max(Some(now + ASKS_AGAIN_WITHIN))
            }
        };
        match until {
            Some(until) if until > now => self.keep(id, until),
            _ => self.end(id, now),
        }
    }

    fn keep_until(&mut self, id: ConnectionId, until: Option<Instant>, now: Instant) {
        match until {
            Some(until) if until > now => self.keep(id, until),
            _ => self.queue_close(id),
        }
    }

    fn keep(&mut self, id: ConnectionId, until: Instant) {
        self.connections[id].course = Course::Kept { until };
        self.patience.push(Reverse((until, id)));
    }

    /// How many of the quiet connections are to close by now.
    fn quiet_due(&self, now: Instant) -> u32 {
        if self.phase != Phase::Draining {
            return 0;
        }
        match self.window {
            Some(window) => self.quiet.saturating_sub(window.quiet_at(now)),
            None if self.unused_until.is_some_and(|until| now < until) => self.quiet - self.unused,
            None => self.quiet,
        }
    }

    /// When the next of the quiet connections are to close, if some are kept.
    fn quiet_due_at(&self) -> Option<Instant> {
        if self.phase != Phase::Draining || self.quiet == 0 {
            return None;
        }
        match self.window {
            Some(window) => Some(window.next_step(self.quiet)),
            None => self.unused_until,
        }
    }

    fn queue_close(&mut self, id: ConnectionId) {
        self.connections[id].course = Course::Queued;
        self.to_close.push_back(id);
    }

    /// Closes as many idle connections as one turn may take, and asks for another turn if some are left.
    fn close_some(&mut self, now: Instant) {
        let quiet = self.quiet_due(now);
        let mut left = CLOSES_PER_TURN;
        if quiet > 0 {
            self.actions.push_back(Action::CloseQuiet(quiet.min(left)));
            left -= quiet.min(left);
        }
        while left > 0 {
            let Some(id) = self.to_close.pop_front() else { break };
            // It may have become busy, closed, or been replaced by another while it waited.
            let Some(connection) = self.connections.get_mut(id) else { continue };
            if connection.course != Course::Queued {
                continue;
            }
            left -= 1;
            match connection.transport {
                Transport::Plain => {
                    connection.course = Course::Leaving(Tally::Idle);
                    self.actions.push_back(Action::Close(id));
                }
                Transport::Tls => {
                    self.linger(id, LINGER_FOR_CLOSE_NOTIFY, Tally::Idle, now);
                    self.actions.push_back(Action::CloseNotify(id));
                }
            }
        }
        if quiet > CLOSES_PER_TURN || !self.to_close.is_empty() {
            self.await_turn();
        }
    }

    fn end(&mut self, id: ConnectionId, now: Instant) {
        let connection = &mut self.connections[id];
        match connection.transport {
            Transport::Plain => {
                connection.course = Course::Leaving(Tally::Drained);
                self.actions.push_back(Action::End(id));
            }
            Transport::Tls => {
                self.linger(id, LINGER_FOR_CLOSE_NOTIFY, Tally::Drained, now);
                self.actions.push_back(Action::Linger(id));
            }
        }
    }

    fn linger(&mut self, id: ConnectionId, at_most: Duration, tally: Tally, now: Instant) {
        let until = now + at_most;
        self.connections[id].course = Course::Lingering { until, tally };
        self.patience.push(Reverse((until, id)));
    }

    /// No further answer leaves, but its peer is still writing: closing it would answer with a reset, which takes with
    /// it what the peer has not read yet.
    fn hear_out(&mut self, id: ConnectionId, now: Instant) {
        self.linger(id, LINGER_FOR_BODY, Tally::Drained, now);
        self.actions.push_back(Action::Linger(id));
    }

    /// A request has come after FIN has left. Node runs its handler all the same, but no answer can leave.
    fn cut_behind_fin(&mut self, id: ConnectionId) {
        self.report.requests.cut += 1;
        self.actions.push_back(Action::Cut(id));
    }

    /// The deadline: everything left goes, and nothing is waited for but the sockets' own `close`.
    fn cut(&mut self) {
        self.deadline = None;
        self.half_time = None;
        if self.expired {
            return;
        }
        self.expired = true;
        self.actions.push_back(Action::Announce(Milestone::Deadline));
        self.close_listener();
        self.phase = Phase::Draining;
        self.closing_server = false;
        self.report.tasks.abandoned += self.tasks;
        self.tasks = 0;
        self.actions.push_back(Action::DestroyQuiet);
        for id in self.ids() {
            self.destroy(id);
        }
    }

    fn ping(&mut self, id: ConnectionId, now: Instant) {
        let until = now + PING_AT_MOST;
        self.connections[id].course = Course::Pinging { until };
        self.patience.push(Reverse((until, id)));
        self.actions.push_back(Action::Ping(id));
    }

    fn close_session(&mut self, id: ConnectionId) {
        self.connections[id].course = Course::ClosingSession;
        self.actions.push_back(Action::CloseSession(id));
    }

    fn ids(&self) -> Vec<ConnectionId> {
        self.connections.iter().map(|(id, _)| id).collect()
    }

    fn destroy(&mut self, id: ConnectionId) {
        let connection = &mut self.connections[id];
        let half = connection.is_cut_in_half();
        let cut = connection.destroy() && !connection.is_quiet_but_for_receiving();
        if cut {
            self.actions.push_back(Action::Cut(id));
        }
        if half {
            self.actions.push_back(Action::CutHalf(id));
        }
        self.actions.push_back(Action::Destroy(id));
    }

    fn resolve_if_done(&mut self, now: Instant) {
        let open = self.surveying || self.quiet > 0 || !self.connections.is_empty();
        if !self.is_terminating() || open || self.closing_server || self.tasks > 0 {
            return;
        }
        self.phase = Phase::Terminated;
        // Somebody may have closed the server before the delay was over.
        self.delayed_until = None;
        self.deadline = None;
        self.half_time = None;
        self.expired = false;
        self.patience.clear();
        self.to_close.clear();
        self.window = None;
        self.unused_until = None;
        // Somebody else may have closed it.
        self.listener = Listener::Closed;
        self.report.duration = self.began.take().map_or(Duration::ZERO, |began| now.saturating_duration_since(began));
        self.actions.push_back(Action::Announce(Milestone::Terminated));
        self.actions.push_back(Action::Resolve);
    }

    /// The invariants of the module's documentation, as code. Free in release builds.
    fn assert_invariants(&self) {
        if cfg!(debug_assertions) {
            for (_, connection) in &self.connections {
                connection.assert_invariants();
                assert!(
                    self.is_terminating() || connection.course == Course::Open,
                    "While serving, and once terminated, no connection is on its way out because of us."
                );
            }
            assert!(
                self.is_terminating() || self.poll_timeout().is_none(),
                "Only a running termination has a deadline."
            );
            assert!(
                self.phase != Phase::Reading
                    || self.turn != Turn::NotAwaited
                    || self.connections.is_empty()
                    || self.tasks > 0,
                "A termination that reads is waiting for the loop to turn."
            );
        }
    }
}

/// The earlier of two points in time, of which `None` is never.
fn earlier<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    [one, other].into_iter().flatten().min()
}
