//! The course of a termination, from the call that begins it until it resolves.

use std::time::{Duration, Instant};

use super::connection::State;
use super::listener::Listener;
use super::{Action, Drain, KeepAlive, Milestone, Report};

/// Where the server is in its course; see the diagram in the [documentation of the machine](super).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is asked of the machine. Next: `Delaying`, `Reading`.
    #[default]
    Serving,
    /// The listener still accepts, and every HTTP/1 answer says close: whoever routes requests here
    /// learns to do without. Next: `Reading`, or `Terminated` when somebody else has closed the server and nothing is
    /// left.
    Delaying,
    /// The listener closes when nobody waits to be accepted any more, the event loop takes a whole turn to read what
    /// has come, and who is there is surveyed. Next: `Draining`, or `Terminated` when nothing is left.
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

    /// Whether a termination runs.
    #[must_use]
    pub fn is_terminating(self) -> bool {
        matches!(self, Self::Delaying | Self::Reading | Self::Draining)
    }

    /// Whether one runs whose delay is over.
    pub(super) fn is_past_delay(self) -> bool {
        matches!(self, Self::Reading | Self::Draining)
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

/// A turn of the event loop, asked for with [`Action::AwaitTurn`]. It outlives the termination that asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Turn {
    #[default]
    NotAwaited,
    Awaited,
    /// Asked for once more. The one that runs may have polled for input already, so it does not count.
    AwaitedAnew,
}

/// Whether a survey was asked for of which the end has not been told yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Survey {
    #[default]
    NotAsked,
    /// As much of it as fits into one turn of the loop.
    Some,
    /// All of it, as everything is cut afterwards.
    Whole,
}

impl Drain {
    pub(super) fn begin(&mut self, Plan { delay, timeout, keep_alive, observed }: Plan, now: Instant) {
        self.phase = Phase::Delaying;
        self.began = Some(now);
        self.delayed_until = now.checked_add(delay);
        self.timeout = timeout;
        self.keep_alive = keep_alive;
        self.observed = observed;
        self.report = Report::default();
        self.closing_server = true;
        for (id, connection) in &mut self.connections {
            connection.busy = connection.requests > 0;
            if connection.state() == State::Active && !connection.receiving && !connection.multiplexed {
                self.actions.push_back(Action::SayClose(id));
            }
        }
        if !delay.is_zero() {
            self.actions.push_back(Action::Announce(Milestone::Delaying));
        }
    }

    /// Nothing is put off: of two points in time, the earlier one wins.
    pub(super) fn bring_forward(&mut self, Plan { delay, timeout, .. }: Plan, now: Instant) {
        if !self.phase.is_past_delay() {
            self.delayed_until = earlier(self.delayed_until, now.checked_add(delay));
            self.timeout = earlier(self.timeout, timeout);
            return;
        }
        if self.listener == Listener::Reopened {
            self.begin_anew(now);
        }
        if !self.last_turn {
            // What is past the end of the clock is as good as never.
            let deadline = timeout.and_then(|timeout| now.checked_add(delay)?.checked_add(timeout));
            self.deadline = earlier(self.deadline, deadline);
        }
        if delay.is_zero() && timeout == Some(Duration::ZERO) {
            self.cut(now);
        }
    }

    /// The end of the delay, if it has come.
    pub(super) fn drain_if_due(&mut self, now: Instant) {
        let Some(due) = self.delayed_until.take_if(|until| *until <= now) else { return };
        self.phase = Phase::Reading;
        self.due = Some(due);
        self.was_loaded = self.is_loaded(due);
        self.actions.push_back(Action::Announce(Milestone::Draining));
        if self.timeout == Some(Duration::ZERO) {
            self.cut(now);
            return;
        }
        self.deadline = self.timeout.and_then(|timeout| now.checked_add(timeout));
        if self.observed {
            self.half_time = self.timeout.and_then(|timeout| now.checked_add(timeout / 2));
        }
        self.listener = Listener::accepting(self.accepts_until(now));
        self.actions.push_back(Action::WatchListener);
        for id in self.ids() {
            if self.connections[id].multiplexed {
                self.ping(id, now);
            }
        }
        // A turn that an earlier termination asked for may have read already.
        if self.turn != Turn::NotAwaited || self.is_anybody_there() {
            self.await_turn();
        }
    }

    pub(super) fn survey(&mut self, survey: Survey, now: Instant) {
        let late = self.due.map_or(Duration::ZERO, |due| now.saturating_duration_since(due));
        let horizon = self.keep_alive.horizon(late);
        self.actions.push_back(match survey {
            Survey::Whole => Action::LastSurvey(horizon),
            _ => Action::Survey(horizon),
        });
        self.survey = survey;
    }

    /// What follows from a survey, once everybody has been looked at.
    pub(super) fn surveyed(&mut self, now: Instant) {
        let survey = std::mem::take(&mut self.survey);
        if self.phase != Phase::Reading {
            return;
        }
        self.phase = Phase::Draining;
        if survey == Survey::Whole {
            self.cut(now);
        } else {
            self.part_with_idle(now);
            self.close_some(now);
        }
    }

    pub(super) fn await_turn(&mut self) {
        self.turn = if self.turn == Turn::NotAwaited {
            self.actions.push_back(Action::AwaitTurn);
            Turn::Awaited
        } else {
            Turn::AwaitedAnew
        };
    }

    pub(super) fn await_turn_unless_awaited(&mut self) {
        if self.turn == Turn::NotAwaited {
            self.await_turn();
        }
    }

    pub(super) fn is_anybody_there(&self) -> bool {
        self.quiet > 0 || !self.connections.is_empty()
    }

    /// What shows in a turn of the loop: whether anybody waits to be accepted, and what has come. But not as long as
    /// handshakes are waited for.
    pub(super) fn turn_if_needed(&mut self) {
        let is_looking = self.phase == Phase::Reading || self.listener.is_accepting();
        if is_looking && self.listener.awaits_handshakes_until().is_none() {
            self.await_turn_unless_awaited();
        }
    }

    /// The server listens again, and that is to end, too.
    fn begin_anew(&mut self, now: Instant) {
        if self.expired {
            // What was cut is as good as gone, and this has a deadline of its own.
            self.deadline = None;
            self.last_turn = false;
        }
        self.closing_server = true;
        self.listener = Listener::accepting(self.accepts_until(now));
        self.actions.push_back(Action::WatchListener);
        // A turn that is awaited may have accepted already. But the last one is not put off.
        if self.last_turn {
            self.await_turn_unless_awaited();
        } else {
            self.await_turn();
        }
    }

    pub(super) fn close_listener(&mut self) {
        if !matches!(self.listener, Listener::Closed | Listener::Reopened) {
            self.listener = Listener::Closed;
            self.actions.push_back(Action::CloseServer);
        }
    }

    /// The deadline: everything left goes, and nothing is waited for but the sockets' own `close`, and those who are to hear that
    /// they were cut.
    pub(super) fn cut(&mut self, now: Instant) {
        self.deadline = None;
        self.half_time = None;
        if self.survey == Survey::Whole {
            return;
        }
        if self.phase == Phase::Reading {
            // What is cut is to be listed, so it must be known.
            self.survey(Survey::Whole, now);
            return;
        }
        self.last_turn = false;
        self.closing_server = false;
        if self.expired {
            // All that is left may be a listener that was opened again.
            self.close_listener();
            return;
        }
        self.expired = true;
        self.actions.push_back(Action::Announce(Milestone::Deadline));
        self.close_listener();
        self.report.tasks.abandoned += self.tasks;
        self.tasks = 0;
        self.actions.push_back(Action::DestroyQuiet);
        for id in self.ids() {
            self.cut_off(id, now);
        }
    }

    pub(super) fn resolve_if_done(&mut self, now: Instant) {
        if !self.phase.is_terminating() || self.is_anybody_there() || self.closing_server || self.tasks > 0 {
            return;
        }
        self.phase = Phase::Terminated;
        // Somebody else may have closed the server, even before the delay was over.
        self.delayed_until = None;
        self.due = None;
        self.listener = Listener::Open;
        self.survey = Survey::NotAsked;
        self.deadline = None;
        self.half_time = None;
        self.last_turn = false;
        self.expired = false;
        self.patience.clear();
        self.to_close.clear();
        self.window = None;
        self.quiet_until = None;
        self.was_loaded = false;
        self.report.duration = self.began.take().map_or(Duration::ZERO, |began| now.saturating_duration_since(began));
        self.actions.push_back(Action::Announce(Milestone::Terminated));
        self.actions.push_back(Action::Resolve);
    }
}

/// The earlier of two points in time, of which `None` is never.
pub(super) fn earlier<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    [one, other].into_iter().flatten().min()
}
