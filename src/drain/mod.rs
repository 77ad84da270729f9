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
//!   stirred ── by what may be no request ──▶ kept for a while, and looked at once more
//!   receiving ── its request comes ──▶ Active
//!   Active ───── last answer said close ──▶ left to Node, or linger if its peer is still writing, or reading
//!   Active ───── it could not ──▶ kept for one more request, end (FIN after the last byte), or linger
//!                               and before that, a body that is still coming is heard
//!   HTTP/2 ───── PING acknowledged ──▶ close the session (GOAWAY; its streams end first)
//!                and its peer leaves its end open though it has received everything ──▶ destroy
//!   any ──────── deadline ──▶ destroy, and what was in flight is listed as cut
//!                (a client of HTTP/2 that is far away is told so, and has a moment to close)
//! ```
//!
//! Which idle connections are kept, and how long, is told in [`keep_alive`]; how many close in one turn, in [`idle`];
//! how long a peer may linger, in [`closing`]; and what becomes of whoever was held up, in [`patience`].
//!
//! # Who is known
//!
//! Connections that are *quiet* have no more than a number: nothing is under way on them, nothing was said
//! of them, and there may be thousands. While serving, all that the machine is told is for a look at
//! [`Drain::stats`]. When a termination begins it is told of the connections with requests in flight, of
//! tunnels and of HTTP/2, and of the number of the rest. Whom of these it is to know one by one, it asks
//! ([`Action::Survey`]) when the listener has closed and the loop has read what had come: only then is it decided what
//! becomes of them, and to look at thousands takes several turns.
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
//!    left, no task is waited for, and the server has closed, listens again, or its deadline has passed.
//! 4. Nothing is closed while it is receiving or has a request in flight, except behind an answer that said close, and
//!    at the deadline.
//! 5. A deadline is never put off by a later call: the earlier one wins. It cuts after one more turn of
//!    the loop, or at once if there is no time at all.

#![forbid(unsafe_code)]

mod action;
pub mod closing;
mod connection;
pub mod distance;
pub mod idle;
pub mod keep_alive;
pub mod listener;
#[cfg(any(test, fuzzing))]
pub mod model;
pub mod patience;
mod report;
mod termination;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use slab::Slab;

use closing::SHOWS_WITHIN;
use connection::{Connection, Course};
use keep_alive::Window;
use listener::{ACCEPT_AT_MOST, Listener};
use termination::{Survey, Turn};

pub use action::{Action, Milestone};
pub use connection::{Arriving, ConnectionId, Finished, Transport};
pub use distance::Distance;
pub use keep_alive::{KeepAlive, Rhythm};
pub use report::{Connections, Report, Requests, Stats};
pub use termination::{Phase, Plan};

/// Drains one server. See the [module documentation](self) for its course and its contract.
///
/// `handle_*` methods take events, `poll_*` methods give what follows from them, the others look.
///
/// One by [`Default`] is for a server that is serving, and knows of no connections yet.
#[derive(Debug, Default)]
pub struct Drain {
    phase: Phase,
    /// Those known one by one.
    connections: Slab<Connection>,
    /// Those known by their number only.
    quiet: u32,
    survey: Survey,
    tasks: u32,
    /// When the running termination began.
    began: Option<Instant>,
    /// When the delay is over, and how long requests may take after that; `None` is for ever.
    delayed_until: Option<Instant>,
    timeout: Option<Duration>,
    /// When the delay was to be over, once it is. That may be found late.
    due: Option<Instant>,
    /// When the timeout has passed, once the delay is over.
    deadline: Option<Instant>,
    /// Whether the deadline has come, and the turn that is awaited is the last one. The deadline may ring
    /// while the event loop is blocked. What came in or was done by then is in time, so the loop gets one
    /// more turn to find out before anything is cut.
    last_turn: bool,
    /// Whether the deadline has passed and everything was cut: what still comes is cut at once.
    expired: bool,
    /// Whether half-time is to be told, and when it is.
    observed: bool,
    half_time: Option<Instant>,
    listener: Listener,
    /// Where clients have come from, as far as it is known. Those from other machines are held back before it closes, in any case.
    clients_come_from: Option<Distance>,
    /// Whether the server has yet to say that it has closed, which it does not if it listens again.
    closing_server: bool,
    keep_alive: KeepAlive,
    /// Whether there was load when the delay was over, or when idle connections were parted with. Who was busy then may have been
    /// told to go, and be gone, before it is decided what becomes of the others.
    was_loaded: bool,
    /// The window in which idle connections are kept, if it has a fixed length.
    window: Option<Window>,
    /// Until when the quiet ones are kept, if it has not, but there is load.
    quiet_until: Option<Instant>,
    /// Whether the time of the quiet ones was over once, and they were given more if they had been held up.
    quiet_excused: bool,
    /// Idle connections that wait for their turn to be closed.
    to_close: VecDeque<ConnectionId>,
    turn: Turn,
    /// When waiting for a single peer ends, earliest first. An entry may outlive its connection, and is
    /// then skipped.
    patience: BinaryHeap<Reverse<(Instant, ConnectionId)>>,
    actions: VecDeque<Action>,
    report: Report,
}

impl Drain {
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
    pub fn handle_opened(&mut self, transport: Transport, distance: Distance, now: Instant) -> ConnectionId {
        let id = self.connections.insert(Connection::new(transport, distance));
        self.listener.handle_accepted();
        self.turn_if_needed();
        if self.expired {
            self.destroy(id);
        } else if self.phase.is_terminating() {
            let until = now + distance.speaks_within();
            self.connections[id].accepted_until = Some(until);
            if self.phase == Phase::Draining {
                self.keep(id, until);
            }
        }
        self.assert_invariants();
        id
    }

    /// A connection that was open before has become known. `used` says that requests on it have been answered.
    pub fn handle_found(
        &mut self,
        transport: Transport,
        distance: Distance,
        used: bool,
        rhythm: Option<Rhythm>,
    ) -> ConnectionId {
        let id = self.connections.insert(Connection::new(transport, distance));
        let connection = &mut self.connections[id];
        connection.rhythm = rhythm;
        connection.used = used;
        if self.expired {
            self.destroy(id);
        } else if self.phase == Phase::Draining {
            self.queue_close(id);
            self.await_turn_unless_awaited();
        }
        self.turn_if_needed();
        self.assert_invariants();
        id
    }

    /// So many connections are open besides those that are known, all of them quiet.
    ///
    /// Call it when a termination is about to begin, and whenever the number has changed during one.
    pub fn handle_quiet(&mut self, quiet: u32, now: Instant) {
        self.quiet = quiet;
        if self.quiet > 0 {
            if self.expired {
                self.actions.push_back(Action::DestroyQuiet);
            }
            self.turn_if_needed();
        }
        self.resolve_if_done(now);
        self.assert_invariants();
    }

    /// Quiet connections have been looked at, as [`Action::Survey`] asked: all of them, or as many as one turn of the
    /// loop may take.
    pub fn handle_surveyed(&mut self, all: bool, now: Instant) {
        if self.survey == Survey::NotAsked {
            return;
        }
        if all {
            self.surveyed(now);
        } else {
            self.await_turn_unless_awaited();
        }
        self.resolve_if_done(now);
        self.assert_invariants();
    }

    /// So many quiet connections have been closed, and these are left.
    pub fn handle_quiet_closed(&mut self, closed: u32, quiet: u32, now: Instant) {
        if self.phase.is_terminating() {
            self.report.connections.idle += closed;
        }
        self.handle_quiet(quiet, now);
    }

    /// So many connections wait to be accepted, or nobody knows; and of those who are about to, so many handshakes were under
    /// way before that was looked at. These need not be known unless nobody waits.
    pub fn handle_accept_queue(&mut self, waiting: Option<u32>, handshakes: u32, now: Instant) {
        let (loaded, until) = (self.come_from_afar() || self.is_loaded(now), self.accepts_until(now));
        if self.listener.handle_waiting(waiting, handshakes, loaded, until, now) {
            self.actions.push_back(Action::HoldListener);
            self.await_turn_unless_awaited();
        } else if self.listener.is_done(now) {
            self.close_listener();
            // If that is said while no turn is awaited, who is there is read all the same.
            if self.is_anybody_there() {
                self.turn_if_needed();
            }
        } else if self.listener.is_accepting() {
            self.turn_if_needed();
        }
        self.assert_invariants();
    }

    /// A client has come from there, and so may those who are about to come. One from another machine says more than any from this
    /// one, which may be a probe.
    pub fn handle_came_from(&mut self, distance: Distance) {
        if distance.is_far() || !self.come_from_afar() {
            self.clients_come_from = Some(distance);
        }
    }

    /// Where clients have come from, as far as it is known, since the server listens.
    #[must_use]
    pub fn clients_come_from(&self) -> Option<Distance> {
        self.clients_come_from
    }

    /// Whether somebody may be about to connect although nobody is there: the way from other machines is long enough for a
    /// handshake to begin between the last look and the listener's close.
    fn come_from_afar(&self) -> bool {
        self.clients_come_from.is_some_and(Distance::is_far)
    }

    /// Until when those who connect now may be waited for.
    fn accepts_until(&self, now: Instant) -> Instant {
        now + ACCEPT_AT_MOST + self.distances().map(Distance::shakes_hands_within).max().unwrap_or_default()
    }

    /// How far away clients are, by those that are known, and those of whom no more is known than that they came.
    fn distances(&self) -> impl Iterator<Item = Distance> {
        let known = self.connections.iter().map(|(_, connection)| connection.distance);
        known.chain([self.clients_come_from.unwrap_or_default()])
    }

    /// No further connection reaches the listener.
    pub fn handle_listener_held(&mut self) {
        self.listener.handle_held();
    }

    /// A request's head is complete. `more` says that bytes beyond this request have been received as
    /// well, so another one follows it on the same connection.
    pub fn handle_request_started(&mut self, id: ConnectionId, more: bool) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.is_leaving() {
            self.cut_behind_fin(id);
            return;
        }
        connection.start_request(more);
        if !self.phase.is_terminating() {
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
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.is_leaving() || !connection.end_request() || !self.phase.is_terminating() {
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
        let body_follows = finished.arriving == Arriving::Body && connection.is_quiet_but_for_receiving();
        let request_follows = connection.requests > 0 || connection.receiving;
        match finished {
            Finished { said_close: true, .. } if request_follows => self.hear_out(id, now),
            Finished { said_close: true, .. } if body_follows => self.linger_for_body(id, now),
            Finished { said_close: true, .. } => self.leave_to_node(id),
            _ if body_follows && self.phase.is_past_delay() => self.hear_body(id, now),
            // Until the loop has turned, a pipelined request may still be among what was received.
            _ if self.phase == Phase::Draining && connection.is_quiet() => {
                self.part_with_answered(id, finished.late, now)
            }
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
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.multiplexed = true;
        connection.receiving = false;
        let stays = matches!(connection.course, Course::Open | Course::Kept { .. } | Course::Queued);
        // What is about to be cut is not asked whether it has more to say.
        if stays && self.phase.is_past_delay() && self.survey != Survey::Whole {
            self.ping(id, now);
        }
        self.assert_invariants();
    }

    /// The PING on this connection was acknowledged.
    pub fn handle_ponged(&mut self, id: ConnectionId, now: Instant) {
        match self.connections.get(id).map(|connection| connection.course) {
            Some(Course::Pinging { .. }) => self.close_session(id, true, now),
            // It has taken its time.
            Some(Course::ClosingSession { until: None }) => self.await_end_of_session(id, now),
            _ => {}
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
            if connection.was_to_close_idle() {
                connection.course = Course::Open;
            }
        }
        self.assert_invariants();
    }

    /// Something has come on a connection that was to be closed as idle, and it may be no request: it is looked at once more
    /// when that would have shown.
    pub fn handle_stirred(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.connections.get(id) else { return };
        if connection.was_to_close_idle() {
            self.keep(id, self.has_until(id, SHOWS_WITHIN, now));
        }
        self.assert_invariants();
    }

    /// So many bytes of what was sent to the peer of a connection that is on its way out wait in the kernel until it takes more. If there
    /// are none, all of it has left.
    pub fn handle_unsent(&mut self, id: ConnectionId, unsent: u32, now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let has_had_its_time = std::mem::take(&mut connection.is_looked_at);
        match connection.course {
            Course::Leaving(tally) if unsent > 0 => self.hear_out_reading(id, unsent, tally, now),
            Course::Lingering { tally, .. } if has_had_its_time => self.linger_on(id, unsent, tally, now),
            Course::HearingBody { .. } if has_had_its_time => self.give_up_body(id, unsent, now),
            // Under TLS it is about to linger.
            Course::Lingering { tally, .. } if unsent > 0 && connection.reading.is_none() => {
                self.hear_out_reading(id, unsent, tally, now);
            }
            _ => {}
        }
        self.assert_invariants();
    }

    /// The TLS handshake on this connection has ended, so what has been received is no part of a request. Its peer
    /// has as long to speak as if it had just been accepted.
    pub fn handle_secured(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let is_shaking_hands = connection.is_quiet_but_for_receiving() && !connection.multiplexed;
        if !self.phase.is_terminating() || !is_shaking_hands || connection.is_leaving() {
            return;
        }
        let until = now + connection.distance.speaks_within();
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
        let Some(connection) = self.connections.get_mut(id) else { return };
        if self.phase.is_terminating() && connection.requests > 0 && !connection.is_leaving() {
            connection.receiving = false;
            self.actions.push_back(Action::SayClose(id));
        }
        self.assert_invariants();
    }

    /// A request on this connection was answered before the listener closed, and the rest of its body is
    /// still coming in.
    pub fn handle_answered_early(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let heard = connection.is_leaving() || matches!(connection.course, Course::HearingBody { .. });
        if self.phase.is_past_delay() && connection.is_quiet_but_for_receiving() && !heard {
            connection.receiving = false;
            self.hear_body(id, now);
        }
        self.assert_invariants();
    }

    /// The rest of a body has come for which [`Action::HearBody`] asked. `more` says that a further request is arriving
    /// behind it.
    pub fn handle_body_ended(&mut self, id: ConnectionId, more: bool, now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if !matches!(connection.course, Course::HearingBody { .. }) {
            return;
        }
        connection.course = Course::Open;
        connection.receiving = more;
        if self.phase == Phase::Draining && !more {
            self.part_with_answered(id, false, now);
        }
        self.assert_invariants();
    }

    /// An answer on a multiplexed connection was broken off, and not by its client.
    pub fn handle_request_broken_off(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.end_request() && self.phase.is_terminating() && !connection.is_leaving() {
            self.report.requests.cut += 1;
        }
        self.assert_invariants();
    }

    /// The connection is gone. `by_peer` says that it was the peer who closed it: then it does not want the
    /// answers any more that are missing.
    pub fn handle_closed(&mut self, id: ConnectionId, by_peer: bool, now: Instant) {
        let Some(connection) = self.connections.get(id) else { return };
        if self.phase.is_terminating() {
            let cut = connection.cut_by_close(by_peer);
            if cut > 0 && !matches!(connection.course, Course::Destroyed { .. }) {
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
        if self.phase.is_terminating() {
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
    /// During a termination it only brings the end forward, never puts it off. A server that listens again meanwhile ends,
    /// too.
    pub fn handle_terminate(&mut self, plan: Plan, now: Instant) {
        match self.phase {
            Phase::Serving | Phase::Terminated => self.begin(plan, now),
            _ => self.bring_forward(plan, now),
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
        if !self.phase.is_terminating() || turn == Turn::NotAwaited {
            return;
        }
        if turn == Turn::AwaitedAnew {
            self.await_turn();
        } else if self.last_turn {
            self.cut(now);
            self.resolve_if_done(now);
        } else {
            self.listener.handle_turned(now);
            if self.listener.is_done(now) {
                self.close_listener();
            }
            if self.phase != Phase::Reading {
                self.close_some(now);
            }
            if self.phase != Phase::Reading || self.listener.is_accepting() {
                self.turn_if_needed();
            } else if self.is_anybody_there() {
                self.survey(Survey::Some, now);
            }
        }
        self.assert_invariants();
    }

    /// Time has passed. Calls before [`Drain::poll_timeout`] do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        if !self.phase.is_terminating() {
            return;
        }
        self.drain_if_due(now);
        self.resolve_if_done(now);
        if self.half_time.take_if(|half_time| *half_time <= now).is_some() {
            self.actions.push_back(Action::Announce(Milestone::HalfTime));
        }
        if self.deadline.take_if(|deadline| *deadline <= now).is_some() {
            self.last_turn = true;
            self.await_turn();
        }
        self.lose_patience(now);
        if self.listener.awaits_handshakes_until().is_some_and(|until| until <= now) {
            self.await_turn_unless_awaited();
        }
        // A step of a window closes several: some of them may be due before the step is.
        let not_yet = self.quiet_due_at().is_some_and(|due| due > now);
        if !not_yet && self.quiet_due(now) > 0 {
            self.await_turn_unless_awaited();
        }
        self.assert_invariants();
    }

    /// The server listens again: after a termination, or in the middle of one that has closed its listener. Then it will not
    /// say that it has closed before it is closed once more.
    pub fn handle_listening(&mut self, now: Instant) {
        if !self.phase.is_terminating() {
            self.phase = Phase::Serving;
            // Others may come to where it listens now.
            self.clients_come_from = None;
        } else if self.listener == Listener::Closed {
            self.listener = Listener::Reopened;
            self.closing_server = false;
            // Whoever comes is destroyed as long as this goes on.
            self.go_on_without_those_cut();
            self.resolve_if_done(now);
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
        // Otherwise the turn sees to them.
        let is_due = self.turn == Turn::NotAwaited;
        let [quiet, handshakes] =
            [self.quiet_due_at(), self.listener.awaits_handshakes_until()].map(|at| at.filter(|_| is_due));
        [self.delayed_until, self.half_time, self.deadline, patience, quiet, handshakes].into_iter().flatten().min()
    }

    fn ids(&self) -> Vec<ConnectionId> {
        self.connections.iter().map(|(id, _)| id).collect()
    }

    /// The invariants of the module's documentation, as code. Free in release builds.
    fn assert_invariants(&self) {
        if cfg!(debug_assertions) {
            for (_, connection) in &self.connections {
                connection.assert_invariants();
                assert!(
                    self.phase.is_terminating() || connection.course == Course::Open,
                    "While serving, and once terminated, no connection is on its way out because of us."
                );
            }
            assert!(
                self.phase.is_terminating() || self.poll_timeout().is_none(),
                "Only a running termination has a deadline."
            );
            assert!(
                self.phase != Phase::Reading
                    || self.turn != Turn::NotAwaited
                    || self.survey != Survey::NotAsked
                    || self.listener.awaits_handshakes_until().is_some()
                    || self.connections.is_empty()
                    || self.tasks > 0,
                "A termination that reads is waiting for the loop to turn, or for handshakes."
            );
        }
    }
}
