//! What is known of the process's health, and what follows from it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::drain::Phase;
use crate::sync::{AtomicBool, AtomicU8, Mutex, lock};
use crate::watch::{Seen, Watch};

/// Written by Node's thread, read by the probe server's.
#[derive(Debug)]
pub struct Health {
    ready: AtomicBool,
    started: AtomicBool,
    leaving: AtomicBool,
    pulse: Mutex<Pulse>,
    heartbeat: Duration,
    stall_threshold: Option<Duration>,
    checks: Vec<Check>,
    servers: Vec<Server>,
}

/// The event loop's last heartbeat, and by how much it came late.
#[derive(Clone, Copy, Debug)]
struct Pulse {
    last: Instant,
    late: Duration,
}

/// A check that the user has given, and how it last ended.
#[derive(Debug)]
pub struct Check {
    /// As a JSON string, with its quotation marks.
    pub name: String,
    outcome: AtomicU8,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has not ended yet.
    Pending,
    /// It succeeded.
    Passed,
    /// It failed, or took too long.
    Failed,
}

/// One of the servers that are watched.
#[derive(Debug)]
pub struct Server {
    /// `http`, `https` or `http2`.
    pub protocol: String,
    watch: Arc<Watch>,
    open: Mutex<Open>,
}

/// What is open on a server, as of the last time that JavaScript looked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Open {
    /// Connections without a request in flight.
    pub idle: u32,
    /// Connections with a request in flight.
    pub active: u32,
    /// Upgraded connections and CONNECT tunnels.
    pub upgraded: u32,
    /// Requests in flight.
    pub requests: u32,
}

/// Why a probe fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The event loop has been stalled for longer than the threshold.
    Stalled,
    /// A termination has begun, or a shutdown that will come to one.
    Terminating,
    /// Nobody has signalled that the process is ready, or somebody that it is not.
    NotReady,
    /// Nobody has signalled that the process has started.
    NotStarted,
    /// A check has not ended yet.
    CheckPending,
    /// A check has failed.
    CheckFailed,
}

impl Health {
    /// Of a process that is neither ready nor started, whose event loop beats at `now` and then every
    /// `heartbeat`.
    #[must_use]
    pub fn new(
        heartbeat: Duration,
        stall_threshold: Option<Duration>,
        checks: Vec<Check>,
        servers: Vec<Server>,
        now: Instant,
    ) -> Self {
        Self {
            ready: AtomicBool::new(false),
            started: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            pulse: Mutex::new(Pulse { last: now, late: Duration::ZERO }),
            heartbeat,
            stall_threshold,
            checks,
            servers,
        }
    }

    /// The process can take requests, or can't. One that can has started.
    pub fn signal_ready(&self, ready: bool) {
        if ready {
            self.signal_started();
        }
        self.ready.store(ready, Ordering::Release);
    }

    /// The process has started.
    pub fn signal_started(&self) {
        self.started.store(true, Ordering::Release);
    }

    /// The process is about to go. There is no way back.
    pub fn note_leaving(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    /// The event loop beats.
    pub fn beat(&self, now: Instant) {
        let mut pulse = lock(&self.pulse);
        pulse.late = self.overdue(*pulse, now);
        pulse.last = now;
    }

    /// A check has ended.
    pub fn note_check(&self, place: usize, outcome: Outcome) {
        if let Some(check) = self.checks.get(place) {
            check.outcome.store(outcome as u8, Ordering::Release);
        }
    }

    /// What is open on a server now.
    pub fn note_open(&self, place: usize, open: Open) {
        if let Some(server) = self.servers.get(place) {
            *lock(&server.open) = open;
        }
    }

    /// For how long the event loop has been stalled.
    #[must_use]
    pub fn stalled_for(&self, now: Instant) -> Duration {
        self.overdue(*lock(&self.pulse), now)
    }

    /// By how much the event loop is late, or was the last time if it is not late now.
    #[must_use]
    pub fn lag(&self, now: Instant) -> Duration {
        let pulse = *lock(&self.pulse);
        pulse.late.max(self.overdue(pulse, now))
    }

    fn overdue(&self, pulse: Pulse, now: Instant) -> Duration {
        now.saturating_duration_since(pulse.last).saturating_sub(self.heartbeat)
    }

    /// Whether the process was last signalled to be ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Whether the process was signalled to have started.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    /// The checks.
    #[must_use]
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// The servers.
    #[must_use]
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The state of all servers as a terminator of them all would tell it: the first in this order that one
    /// of them is in.
    #[must_use]
    pub fn state(&self) -> &'static str {
        let states: Vec<_> = self.servers.iter().map(|server| server.seen().phase.name()).collect();
        let first = [Phase::Draining, Phase::Delaying, Phase::Serving].map(Phase::name);
        let first = first.into_iter().find(|state| states.contains(state));
        first.unwrap_or(if states.is_empty() { Phase::Serving } else { Phase::Terminated }.name())
    }

    /// Why the process should be restarted.
    #[must_use]
    pub fn not_live(&self, now: Instant) -> Vec<Reason> {
        let stalled = self.stall_threshold.is_some_and(|threshold| self.stalled_for(now) > threshold);
        if stalled { vec![Reason::Stalled] } else { Vec::new() }
    }

    /// Why the process should get no requests.
    #[must_use]
    pub fn not_ready(&self, now: Instant) -> Vec<Reason> {
        let mut reasons = self.not_live(now);
        let leaving = self.leaving.load(Ordering::Acquire);
        if leaving || self.servers.iter().any(|server| server.seen().phase != Phase::Serving) {
            reasons.push(Reason::Terminating);
        }
        if !self.is_ready() {
            reasons.push(Reason::NotReady);
        }
        for (outcome, reason) in [(Outcome::Failed, Reason::CheckFailed), (Outcome::Pending, Reason::CheckPending)] {
            if self.checks.iter().any(|check| check.outcome() == outcome) {
                reasons.push(reason);
            }
        }
        reasons
    }

    /// Why the process is not to be asked for its health yet.
    #[must_use]
    pub fn not_started(&self) -> Vec<Reason> {
        if self.is_started() { Vec::new() } else { vec![Reason::NotStarted] }
    }

    /// All of these.
    #[must_use]
    pub fn not_healthy(&self, now: Instant) -> Vec<Reason> {
        [self.not_ready(now), self.not_started()].concat()
    }
}

impl Check {
    /// A check that has not ended yet.
    #[must_use]
    pub fn new(name: String) -> Self {
        Self { name, outcome: AtomicU8::new(Outcome::Pending as u8) }
    }

    /// How it last ended.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let outcome = self.outcome.load(Ordering::Acquire);
        [Outcome::Passed, Outcome::Failed].into_iter().find(|known| *known as u8 == outcome).unwrap_or(Outcome::Pending)
    }
}

impl Server {
    /// A server on which nothing is open as far as is known.
    #[must_use]
    pub fn new(protocol: String, watch: Arc<Watch>) -> Self {
        Self { protocol, watch, open: Mutex::default() }
    }

    /// How far it has come.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.watch.seen()
    }

    /// What was open on it when JavaScript last looked; nothing any more once it has terminated.
    #[must_use]
    pub fn open(&self) -> Open {
        if self.seen().phase == Phase::Terminated { Open::default() } else { *lock(&self.open) }
    }
}

impl Outcome {
    /// What it is called outside.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Passed => "passed",
            Self::Failed => "failed",
        }
    }
}

impl Reason {
    /// What it is called outside.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stalled => "stalled",
            Self::Terminating => "terminating",
            Self::NotReady => "not-ready",
            Self::NotStarted => "not-started",
            Self::CheckPending => "check-pending",
            Self::CheckFailed => "check-failed",
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "somewhere these tests must begin")]
mod tests {
    use super::*;
    use crate::drain::Report;

    const HEARTBEAT: Duration = Duration::from_millis(100);
    const THRESHOLD: Duration = Duration::from_secs(1);

    fn health(checks: Vec<Check>, watch: &Arc<Watch>) -> (Health, Instant) {
        let now = Instant::now();
        let server = Server::new("http".into(), Arc::clone(watch));
        (Health::new(HEARTBEAT, Some(THRESHOLD), checks, vec![server], now), now)
    }

    #[test]
    fn a_loop_that_is_late_is_stalled_until_it_beats_again() {
        let (health, start) = health(vec![], &Arc::default());
        let limit = start + HEARTBEAT + THRESHOLD;
        assert_eq!(health.not_live(limit), []);
        let beyond = limit + Duration::from_millis(1);
        assert_eq!(health.not_live(beyond), [Reason::Stalled]);
        assert_eq!(health.lag(beyond), THRESHOLD + Duration::from_millis(1));
        health.beat(beyond);
        assert_eq!(health.not_live(beyond), []);
        assert_eq!(health.lag(beyond), THRESHOLD + Duration::from_millis(1));
        health.beat(beyond + HEARTBEAT);
        assert_eq!(health.lag(beyond + HEARTBEAT), Duration::ZERO);
    }

    #[test]
    fn a_termination_takes_readiness_away_and_leaves_liveness() {
        let watch = Arc::default();
        let (health, now) = health(vec![], &watch);
        assert_eq!(health.not_ready(now), [Reason::NotReady]);
        health.signal_ready(true);
        assert_eq!(health.not_healthy(now), []);
        for phase in [Phase::Delaying, Phase::Reading, Phase::Draining, Phase::Terminated] {
            watch.note(phase, Some(now), &Report::default());
            assert_eq!(health.not_ready(now), [Reason::Terminating]);
            assert_eq!(health.not_live(now), []);
            assert_eq!(health.state(), phase.name());
        }
        watch.note(Phase::Serving, None, &Report::default());
        assert_eq!(health.not_ready(now), []);
    }

    #[test]
    fn a_process_that_is_leaving_is_live_and_never_ready_again() {
        let (health, now) = health(vec![], &Arc::default());
        health.signal_ready(true);
        health.note_leaving();
        health.signal_ready(true);
        assert_eq!(health.not_ready(now), [Reason::Terminating]);
        assert_eq!(health.not_live(now), []);
        assert_eq!(health.state(), "serving");
    }

    #[test]
    fn checks_decide_on_readiness_only() {
        let (health, now) = health(vec![Check::new("\"one\"".into()), Check::new("\"two\"".into())], &Arc::default());
        health.signal_ready(true);
        assert_eq!(health.not_ready(now), [Reason::CheckPending]);
        health.note_check(0, Outcome::Failed);
        assert_eq!(health.not_ready(now), [Reason::CheckFailed, Reason::CheckPending]);
        health.note_check(1, Outcome::Passed);
        assert_eq!(health.not_ready(now), [Reason::CheckFailed]);
        assert_eq!(health.not_live(now), []);
        health.note_check(0, Outcome::Passed);
        health.note_check(7, Outcome::Failed);
        assert_eq!(health.not_ready(now), []);
    }

    #[test]
    fn what_is_ready_has_started() {
        let (health, now) = health(vec![], &Arc::default());
        assert_eq!(health.not_started(), [Reason::NotStarted]);
        health.signal_ready(true);
        health.signal_ready(false);
        assert_eq!(health.not_started(), []);
        assert_eq!(health.not_ready(now), [Reason::NotReady]);
    }
}

#[cfg(all(test, feature = "loom"))]
#[expect(clippy::disallowed_methods, reason = "somewhere these tests must begin")]
mod loom_tests {
    use loom::thread::spawn;

    use super::*;
    use crate::drain::Report;

    fn health(watch: &Arc<Watch>) -> Arc<Health> {
        let server = Server::new("http".into(), Arc::clone(watch));
        let check = Check::new("\"check\"".into());
        Arc::new(Health::new(Duration::from_millis(100), None, vec![check], vec![server], Instant::now()))
    }

    #[test]
    fn loom_what_is_seen_to_be_ready_is_seen_to_have_started() {
        loom::model(|| {
            let health = health(&Arc::default());
            let node = spawn({
                let health = Arc::clone(&health);
                move || health.signal_ready(true)
            });
            let (ready, started) = (health.is_ready(), health.is_started());
            assert!(started || !ready);
            node.join().unwrap();
        });
    }

    /// The shutdown begins, and then the termination, at whose end its server may listen again.
    #[test]
    fn loom_a_process_that_is_leaving_is_never_seen_to_be_ready_again() {
        loom::model(|| {
            let watch = Arc::default();
            let health = health(&watch);
            health.signal_ready(true);
            health.note_check(0, Outcome::Passed);
            let node = spawn({
                let health = Arc::clone(&health);
                move || {
                    health.note_leaving();
                    watch.note(Phase::Draining, Some(Instant::now()), &Report::default());
                    watch.note(Phase::Serving, None, &Report::default());
                    health.signal_ready(true);
                }
            });
            let now = Instant::now();
            let (first, second) = (health.not_ready(now), health.not_ready(now));
            assert!(first.is_empty() || second == [Reason::Terminating], "{first:?}, then {second:?}");
            node.join().unwrap();
            assert_eq!(health.not_ready(now), [Reason::Terminating]);
        });
    }

    #[test]
    fn loom_a_heartbeat_is_seen_whole() {
        loom::model(|| {
            let health = health(&Arc::default());
            let late = lock(&health.pulse).last + Duration::from_secs(1);
            let node = spawn({
                let health = Arc::clone(&health);
                move || health.beat(late)
            });
            // Before the beat the loop is late now, after it, it was; in between there is nothing.
            assert_eq!(health.lag(late), Duration::from_millis(900));
            node.join().unwrap();
        });
    }
}
