//! Parting with idle connections: which are kept for a while, when the others go, and how many in one turn of the loop.
//!
//! How long one is kept is the rule of [`keep_alive`](super::keep_alive).

use std::time::Instant;

use super::connection::Course;
use super::keep_alive::{FEW, WINDOW_AT_MOST, Window};
use super::patience::HELD_UP_GETS;
use super::{Action, ConnectionId, Drain, KeepAlive, Phase};

/// How many idle connections are closed in one turn of the event loop.
///
/// Closing one costs Node about 15 µs, and requests in flight are to be served meanwhile.
pub const CLOSES_PER_TURN: u32 = 64;

impl Drain {
    /// Lets go of each idle connection, now or after a while; see [`keep_alive`](super::keep_alive).
    pub(super) fn part_with_idle(&mut self, now: Instant) {
        // It may have been found late, and may take a while to read what had come.
        let due = self.due.unwrap_or(now);
        self.quiet_excused = false;
        let mut idle = self.ids();
        idle.retain(|&id| self.connections[id].is_idle());
        match self.keep_alive {
            KeepAlive::Auto if self.is_under_load(due) => {
                self.was_loaded = true;
                // Where each of them comes from, nobody has looked.
                self.quiet_until = self.distances().map(|distance| now + distance.speaks_within()).max();
                for id in idle {
                    let until = self.connections[id].taken_up_until(now);
                    self.keep_until(id, Some(until), now);
                }
            }
            KeepAlive::Auto => {
                for id in idle {
                    let secured = self.connections[id].secured_until(now);
                    let until = self.excuse_if_expected(id, secured, due, now);
                    self.keep_until(id, until, now);
                }
            }
            KeepAlive::For(length) => {
                let length = length.min(WINDOW_AT_MOST);
                let window = Window { began: now, length, quiet: self.quiet, known: idle.len() };
                for (place, id) in idle.into_iter().enumerate() {
                    // Whoever is in rhythm is not sent away earlier than that asks for.
                    let expected = self.connections[id].expected_until(now);
                    let expected = self.excuse_if_expected(id, expected, due, now).min(Some(window.end()));
                    let until = expected.max(Some(window.closes_known(place)));
                    self.keep_until(id, until.max(self.connections[id].accepted_until), now);
                }
                self.window = Some(window);
            }
        }
    }

    /// Until when a request is `expected` on a connection, if one still was when idle ones were `due` to be parted with.
    fn excuse_if_expected(
        &mut self,
        id: ConnectionId,
        expected: Option<Instant>,
        due: Instant,
        now: Instant,
    ) -> Option<Instant> {
        let expected = expected.filter(|&until| until > due)?;
        // Who has more time anyway may need to be excused later.
        let until = if now + HELD_UP_GETS > expected { self.connections[id].excuse(due, now) } else { None };
        Some(expected).max(until)
    }

    /// Whether requests are to be expected on connections that have had one, so that it matters how long ago that was: under load,
    /// or if clients come from other machines, where a single request is a rhythm.
    #[must_use]
    pub fn expects_requests(&self, now: Instant) -> bool {
        self.is_under_load(now) || self.come_from_afar()
    }

    /// Whether the server is under load, so that idle connections are waited for, or was when the delay was over or idle ones were
    /// parted with.
    fn is_under_load(&self, now: Instant) -> bool {
        self.was_loaded || self.is_loaded(now)
    }

    /// Whether so much goes on, or so far away, that more is to be expected, as it is not of a test's last few connections.
    pub(super) fn is_loaded(&self, now: Instant) -> bool {
        let lively = || self.connections.iter().filter(|(_, connection)| connection.is_lively(now));
        lively().any(|(_, connection)| connection.distance.is_far()) || lively().count() > FEW
    }

    /// Lets go of a connection whose answer did not say close. If its request came before the termination, or was answered
    /// before it had come whole, its client was told nothing, and may be about to send again; see
    /// [`keep_alive`](super::keep_alive). Any other that is `late` had its answer told to say so.
    pub(super) fn part_with_answered(&mut self, id: ConnectionId, late: bool, now: Instant) {
        let asks_again_until = match self.keep_alive {
            KeepAlive::For(_) => self.window.map(Window::end),
            KeepAlive::Auto => Some(self.connections[id].asks_again_until(self.is_under_load(now), now)),
        };
        let until = if late { None } else { asks_again_until.max(self.connections[id].accepted_until) };
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

    pub(super) fn keep(&mut self, id: ConnectionId, until: Instant) {
        self.connections[id].course = Course::Kept { until };
        self.be_patient(id, until);
    }

    /// How many of the quiet connections are to close by now.
    pub(super) fn quiet_due(&self, now: Instant) -> u32 {
        if self.phase != Phase::Draining {
            return 0;
        }
        match self.window {
            Some(window) => self.quiet.saturating_sub(window.quiet_at(now)),
            None if self.quiet_until.is_some_and(|until| now < until) => 0,
            None => self.quiet,
        }
    }

    /// When the next of the quiet connections are to close, if some are kept.
    pub(super) fn quiet_due_at(&self) -> Option<Instant> {
        if self.phase != Phase::Draining || self.quiet == 0 {
            return None;
        }
        match self.window {
            Some(window) => Some(window.next_step(self.quiet)),
            None => self.quiet_until,
        }
    }

    pub(super) fn queue_close(&mut self, id: ConnectionId) {
        self.connections[id].course = Course::Queued;
        self.to_close.push_back(id);
    }

    /// Closes as many idle connections as one turn may take, and asks for another turn if some are left.
    pub(super) fn close_some(&mut self, now: Instant) {
        self.excuse_quiet(now);
        let quiet = self.quiet_due(now);
        let mut left = CLOSES_PER_TURN;
        if quiet > 0 {
            self.actions.push_back(Action::CloseQuiet(quiet.min(left)));
            left -= quiet.min(left);
        }
        while left > 0 {
            let Some(id) = self.to_close.pop_front() else { break };
            // It may have become busy, closed, or been replaced by another while it waited.
            if self.connections.get(id).is_some_and(|connection| connection.course == Course::Queued) {
                left -= 1;
                self.close_idle(id, now);
            }
        }
        if quiet > CLOSES_PER_TURN || !self.to_close.is_empty() {
            self.await_turn_unless_awaited();
        }
    }
}
