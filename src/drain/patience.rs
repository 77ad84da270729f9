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

use super::connection::Course;
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

impl Drain {
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
            let course = self.connections.get(id).map(|connection| connection.course);
            let Some(until) = course.and_then(Course::until).filter(|&until| until <= now) else { continue };
            match self.excuse(id, until, now) {
                Some(until) => {
                    self.connections[id].course.put_off(until);
                    self.be_patient(id, until);
                }
                None => self.go_on_without(id, now),
            }
        }
        self.lose_patience_with_unused(now);
    }

    /// Until when a connection has more time, if it was held up when that was `over`, and was not excused before.
    pub(super) fn excuse(&mut self, id: ConnectionId, over: Instant, now: Instant) -> Option<Instant> {
        let connection = &mut self.connections[id];
        let until = more_time(over, now).filter(|_| !connection.excused)?;
        connection.excused = true;
        Some(until)
    }

    /// The same for those quiet ones that were never used: their time is over for all of them at once.
    pub(super) fn lose_patience_with_unused(&mut self, now: Instant) {
        if let Some(over) = self.unused_until.filter(|&until| until <= now) {
            self.unused_until = more_time(over, now).filter(|_| !self.unused_excused);
            self.unused_excused = true;
        }
    }

    fn go_on_without(&mut self, id: ConnectionId, now: Instant) {
        match self.connections[id].course {
            Course::Lingering { .. } | Course::HearingBody { .. } | Course::ClosingSession { .. } => self.destroy(id),
            Course::Pinging { .. } => self.close_session(id, false, now),
            Course::Kept { .. } => {
                self.queue_close(id);
                self.await_turn_unless_awaited();
            }
            Course::Open | Course::Queued | Course::Leaving(_) | Course::Destroyed => {}
        }
    }
}
