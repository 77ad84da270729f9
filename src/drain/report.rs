//! What a termination did, and what is open at a moment.

use std::time::Duration;

use super::connection::{State, Tally};

/// How a termination went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// From `terminate()` until the last connection was gone.
    pub duration: Duration,
    /// The connections that were open when it began, or came in later, by the way they ended.
    pub connections: Connections,
    /// The requests, by the way they ended.
    pub requests: Requests,
    /// The tasks that were waited for, by the way they ended.
    pub tasks: Tasks,
}

/// Connections by the way they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Closed with nothing under way on them.
    pub idle: u32,
    /// Closed after what was under way on them had ended.
    pub drained: u32,
    /// Destroyed at the deadline with something under way.
    pub forced: u32,
}

/// Requests by the way they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// In flight when the termination began, and answered whole.
    pub completed: u32,
    /// Received while it ran, and answered whole.
    pub late: u32,
    /// Not answered whole: the deadline came first, the connection was already closing, or somebody here broke it off.
    pub cut: u32,
}

/// Tasks by the way they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tasks {
    /// Fulfilled while the termination ran.
    pub completed: u32,
    /// Rejected while the termination ran.
    pub rejected: u32,
    /// Still running at the deadline.
    pub abandoned: u32,
}

impl Connections {
    /// These and others together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            idle: self.idle.saturating_add(other.idle),
            drained: self.drained.saturating_add(other.drained),
            forced: self.forced.saturating_add(other.forced),
        }
    }
}

impl Requests {
    /// These and others together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            completed: self.completed.saturating_add(other.completed),
            late: self.late.saturating_add(other.late),
            cut: self.cut.saturating_add(other.cut),
        }
    }
}

impl Report {
    /// Whether everything ended by itself.
    #[must_use]
    pub fn graceful(&self) -> bool {
        self.connections.forced == 0 && self.requests.cut == 0 && self.tasks.abandoned == 0
    }

    pub(super) fn count_finished(&mut self, late: bool) {
        if late {
            self.requests.late += 1;
        } else {
            self.requests.completed += 1;
        }
    }

    pub(super) fn count_closed(&mut self, tally: Tally) {
        match tally {
            Tally::Idle => self.connections.idle += 1,
            Tally::Drained => self.connections.drained += 1,
            Tally::Forced => self.connections.forced += 1,
        }
    }
}

/// What is open at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// All connections: `idle`, `active` and `upgraded` together.
    pub connections: u32,
    /// Connections without a request in flight, used before or not.
    pub idle: u32,
    /// Connections with a request in flight.
    pub active: u32,
    /// Connections that were upgraded or became CONNECT tunnels.
    pub upgraded: u32,
    /// Requests in flight; several on one connection if they are pipelined.
    pub requests: u32,
    /// Background tasks that a termination would wait for.
    pub tasks: u32,
}

impl Stats {
    pub(super) fn count(&mut self, state: State, requests: u32) {
        self.connections += 1;
        self.requests += requests;
        match state {
            State::New | State::Idle => self.idle += 1,
            State::Active => self.active += 1,
            State::Hijacked => self.upgraded += 1,
        }
    }
}
