//! The edge of the machine: owns it, reads the clock, and keeps one alarm set for its next deadline.

#![forbid(unsafe_code)]

use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::alarm::{Alarm, AlarmClock};
use crate::drain::{Action, ConnectionId, Drain, Finished, Phase, Plan, Report, Stats, Transport};

/// Called on the alarm's thread when [`Driver::timed_out`] is due; must only pass that on.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Drives one [`Drain`] in real time.
///
/// Each method that takes an event is that event of the machine; take the actions with
/// [`Driver::take_actions`] afterwards.
#[derive(Default)]
pub struct Driver {
    drain: Drain,
    /// Present while a termination runs, and no longer: it keeps Node's event loop alive.
    waker: Option<Waker>,
    alarm: Option<Alarm>,
}

/// What it takes to be called back from beyond the event loop.
struct Waker {
    clock: AlarmClock,
    wake: Wake,
}

impl Driver {
    /// Where the server is in its course.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.drain.phase()
    }

    /// How the last termination went.
    #[must_use]
    pub fn report(&self) -> &Report {
        self.drain.report()
    }

    /// What is open.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.drain.stats()
    }

    /// How many requests are in flight on each connection, by id.
    pub fn in_flight(&mut self, requests: &[u32]) {
        self.drain.handle_requests(requests);
    }

    /// The server has accepted a connection.
    pub fn opened(&mut self, transport: Transport) -> ConnectionId {
        self.drain.handle_opened(transport)
    }

    /// The connection is gone.
    pub fn closed(&mut self, id: ConnectionId) {
        self.drain.handle_closed(id, now());
    }

    /// A request's head is complete; `more` says that another one follows it already.
    pub fn request_started(&mut self, id: ConnectionId, more: bool) {
        self.drain.handle_request_started(id, more);
    }

    /// An answer has ended.
    pub fn request_finished(&mut self, id: ConnectionId, finished: Finished) {
        self.drain.handle_request_finished(id, finished, now());
    }

    /// The client has taken back a request.
    pub fn request_aborted(&mut self, id: ConnectionId) {
        self.drain.handle_request_aborted(id);
    }

    /// HTTP/2 is spoken on this connection.
    pub fn multiplexed(&mut self, id: ConnectionId) {
        self.drain.handle_multiplexed(id, now());
    }

    /// A PING was acknowledged.
    pub fn ponged(&mut self, id: ConnectionId) {
        self.drain.handle_ponged(id);
    }

    /// No further request follows after all.
    pub fn nothing_more(&mut self, id: ConnectionId) {
        self.drain.handle_nothing_more(id);
    }

    /// The connection was upgraded or became a tunnel.
    pub fn hijacked(&mut self, id: ConnectionId) {
        self.drain.handle_hijacked(id);
    }

    /// Part of a request or of a handshake has come.
    pub fn receiving(&mut self, id: ConnectionId) {
        self.drain.handle_receiving(id);
    }

    /// The body of a request answered earlier is still coming in.
    pub fn answered_early(&mut self, id: ConnectionId) {
        self.drain.handle_answered_early(id, now());
    }

    /// A background task has begun.
    pub fn task_started(&mut self) {
        self.drain.handle_task_started();
    }

    /// A background task has ended.
    pub fn task_finished(&mut self, fulfilled: bool) {
        self.drain.handle_task_finished(fulfilled, now());
    }

    /// End the server. `wake` is kept until the termination resolves.
    ///
    /// # Errors
    ///
    /// When no thread can be had to keep the deadline; nothing has begun then.
    pub fn terminate(&mut self, plan: Plan, wake: Wake) -> io::Result<()> {
        if self.waker.is_none() {
            self.waker = Some(Waker { clock: AlarmClock::start()?, wake });
        }
        self.drain.handle_terminate(plan, now());
        Ok(())
    }

    /// The event loop has polled for input once.
    pub fn turned(&mut self) {
        self.drain.handle_turned(now());
    }

    /// The alarm has rung.
    pub fn timed_out(&mut self) {
        self.alarm = None;
        self.drain.handle_timeout(now());
    }

    /// The server has closed.
    pub fn server_closed(&mut self) {
        self.drain.handle_server_closed(now());
    }

    /// The server listens again.
    pub fn listening(&mut self) {
        self.drain.handle_listening();
    }

    /// All that is to be done now, in order; sets the alarm for what is to be done later.
    pub fn take_actions(&mut self) -> Vec<Action> {
        let actions = std::iter::from_fn(|| self.drain.poll_action()).collect();
        let due = self.drain.poll_timeout();
        if due != self.alarm.as_ref().map(Alarm::due) {
            self.alarm = due.zip(self.waker.as_ref()).map(|(due, Waker { clock, wake })| {
                let wake = Arc::clone(wake);
                clock.set(due, move || wake())
            });
        }
        if matches!(self.drain.phase(), Phase::Serving | Phase::Terminated) {
            self.waker = None;
        }
        actions
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
fn now() -> Instant {
    Instant::now()
}
