//! Waiting for peers, each as long as it has.
//!
//! # Who was held up
//!
//! A busy machine, a throttled container or a virtual machine on the move may stop everything for a while: this process,
//! and the clients that were about to write, too. Whoever is found to have had its time long ago may have spent it like that.
//! So it has [`HELD_UP_GETS`] more: what was to be sent meanwhile comes now. An event loop that was blocked looks the same
//! from here.
//!
//! The same holds of whoever waits to be accepted; see [`listener`](super::listener).
//!
//! It has that once, as a process that is stopped again and again would wait for ever. The deadline is not put off.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use super::connection::{Connection, Course};
use super::keep_alive::Window;
use super::termination::Turn;
use super::{ConnectionId, Drain};

/// How late it must be found that somebody's time is over. A busy loop is late by less, one that was stopped by more.
pub const HELD_UP_FROM: Duration = Duration::from_millis(20);

/// How much longer whoever was held up may take.
pub const HELD_UP_GETS: Duration = Duration::from_millis(50);

/// Until when there is more time, if that it was `over` is found so late that everybody must have been held up.
pub(super) fn more_time(over: Instant, now: Instant) -> Option<Instant> {
    let is_late = now.saturating_duration_since(over) >= HELD_UP_FROM;
    is_late.then(|| now + HELD_UP_GETS)
}

impl Connection {
    /// Until when it has more time, if it was held up when that was `over`, and was not excused before.
    pub(super) fn excuse(&mut self, over: Instant, now: Instant) -> Option<Instant> {
        // Whoever was cut has had more time than the deadline gave.
        let has_had_it = self.excused || matches!(self.course, Course::Destroyed { .. });
        let until = more_time(over, now).filter(|_| !has_had_it)?;
        self.excused = true;
        Some(until)
    }
}

impl Drain {
    /// Until when a peer has time that may take so long on this machine.
    pub(super) fn has_until(&self, id: ConnectionId, at_most: Duration, now: Instant) -> Instant {
        now + at_most + self.connections[id].distance.round_trip()
    }

    /// Waits for a peer so long, unless its course goes on before.
    pub(super) fn be_patient(&mut self, id: ConnectionId, until: Instant) {
        self.patience.push(Reverse((until, id)));
    }

    /// Goes on without those peers that have had their time.
    pub(super) fn lose_patience(&mut self, now: Instant) {
        while let Some(&Reverse((earliest, id))) = self.patience.peek() {
            if earliest > now {
                break;
            }
            self.patience.pop();
            // Something else may be waited for meanwhile, and the id may have passed to another connection.
            let Some(connection) = self.connections.get_mut(id) else { continue };
            let Some(over) = connection.course.until().map(|until| *until).filter(|&until| until <= now) else {
                continue;
            };
            match (connection.excuse(over, now), connection.course.until()) {
                (Some(more), Some(until)) => {
                    *until = more;
                    self.be_patient(id, more);
                }
                _ => self.go_on_without(id, now),
            }
        }
        // Otherwise the turn does that, before it closes them.
        if self.turn == Turn::NotAwaited {
            self.excuse_quiet(now);
        }
    }

    /// Gives the quiet ones more time, once, if they were held up. Theirs is over for all of them at once: under load, or in a
    /// window.
    pub(super) fn excuse_quiet(&mut self, now: Instant) {
        let ends = self.window.map(Window::end).or(self.quiet_until);
        let Some(over) = ends.filter(|&until| until <= now && self.quiet > 0 && !self.quiet_excused) else { return };
        self.quiet_excused = true;
        let Some(until) = more_time(over, now) else { return };
        match &mut self.window {
            Some(window) => window.length = until - window.began,
            None => self.quiet_until = Some(until),
        }
    }

    fn go_on_without(&mut self, id: ConnectionId, now: Instant) {
        match self.connections[id].course {
            Course::ClosingSession { .. } => self.destroy(id),
            Course::Lingering { .. } | Course::HearingBody { .. } => self.look_unsent(id),
            Course::Pinging { .. } => self.close_session(id, false, now),
            Course::Kept { .. } => {
                self.queue_close(id);
                self.await_turn_unless_awaited();
            }
            Course::Destroyed { .. } => self.destroy_socket(id),
            Course::Open | Course::Queued | Course::Leaving(_) => {}
        }
    }
}
