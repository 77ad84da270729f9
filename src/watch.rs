//! What other threads may know of a server, at any moment and without asking Node's.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use crate::drain::{Connections, Phase, Report, Requests};
use crate::sync::{Mutex, lock};

/// Kept up to date by a server's driver. A lock is held no longer than it takes to copy a few numbers, so
/// neither side ever waits for what the other one does.
#[derive(Debug, Default)]
pub struct Watch {
    seen: Mutex<Seen>,
}

/// How far a server has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Where it is in its course.
    pub phase: Phase,
    /// The connections that ended in the course of any termination.
    pub connections: Connections,
    /// The requests that ended in the course of any termination.
    pub requests: Requests,
    /// When the last termination began, and how long it took if it is over.
    began: Option<Instant>,
    took: Option<Duration>,
    /// What was counted in earlier terminations. A report begins anew with each, and counters must not.
    earlier: (Connections, Requests),
}

impl Watch {
    /// Notes where the server is; `began` is when the termination that runs began.
    pub fn note(&self, phase: Phase, began: Option<Instant>, report: &Report) {
        let mut seen = lock(&self.seen);
        if began.is_some() && began != seen.began {
            seen.earlier = (seen.connections, seen.requests);
            seen.began = began;
        }
        let (connections, requests) = seen.earlier;
        seen.phase = phase;
        seen.connections = connections.plus(report.connections);
        seen.requests = requests.plus(report.requests);
        seen.took = if began.is_none() { Some(report.duration) } else { None };
    }

    /// What is known now.
    pub fn seen(&self) -> Seen {
        *lock(&self.seen)
    }
}

impl Seen {
    /// How long the last termination took, or has been running.
    #[must_use]
    pub fn drained_for(&self, now: Instant) -> Duration {
        let running = self.began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began));
        self.took.unwrap_or(running)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "somewhere these tests must begin")]
mod tests {
    use super::*;

    #[test]
    fn counts_go_on_over_several_terminations() {
        let watch = Watch::default();
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        let mut report = Report::default();
        report.requests.completed = 3;
        watch.note(Phase::Draining, Some(start), &report);
        assert_eq!(watch.seen().drained_for(later), Duration::from_secs(1));
        report.duration = Duration::from_millis(7);
        watch.note(Phase::Terminated, None, &report);
        assert_eq!(watch.seen().drained_for(later), Duration::from_millis(7));
        watch.note(Phase::Delaying, Some(later), &Report::default());
        assert_eq!(watch.seen().requests.completed, 3);
        assert_eq!(watch.seen().drained_for(later), Duration::ZERO);
        report.requests.completed = 2;
        watch.note(Phase::Draining, Some(later), &report);
        assert_eq!(watch.seen().requests.completed, 5);
    }
}

#[cfg(all(test, feature = "loom"))]
#[expect(clippy::disallowed_methods, reason = "somewhere these tests must begin")]
mod loom_tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn loom_counters_never_go_down_and_belong_to_their_phase() {
        loom::model(|| {
            let watch = Arc::new(Watch::default());
            let driver = loom::thread::spawn({
                let watch = Arc::clone(&watch);
                move || {
                    let start = Instant::now();
                    let mut report = Report::default();
                    watch.note(Phase::Draining, Some(start), &report);
                    report.requests.completed = 1;
                    watch.note(Phase::Terminated, None, &report);
                    watch.note(Phase::Delaying, Some(start + Duration::from_secs(1)), &Report::default());
                }
            });
            let (first, second) = (watch.seen(), watch.seen());
            assert!(first.requests.completed <= second.requests.completed);
            for seen in [first, second] {
                let ended = matches!(seen.phase, Phase::Terminated | Phase::Delaying);
                assert_eq!(seen.requests.completed, u32::from(ended), "{seen:?}");
            }
            driver.join().unwrap();
        });
    }
}
