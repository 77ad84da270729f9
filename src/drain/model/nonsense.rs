//! Calls in an order that makes no sense. No record of them could be kept: the machine asserts its invariants by
//! itself.

use super::*;

/// A call, as it comes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Nonsense {
    /// The call that a step of a script would make, if it were the right moment.
    Step(Step),
    Found(Transport, Option<(Duration, Duration)>),
    Quiet(u32),
    QuietClosed(u32, u32),
    Surveyed(bool),
    AcceptQueue(Option<u32>, u32),
}

/// A machine, and whoever talks nonsense to it.
pub(super) struct Talk {
    drain: Drain,
    now: Instant,
    /// Of who connects or is found.
    distance: Distance,
}

impl Talk {
    pub(super) fn new() -> Self {
        let World { drain, now, .. } = World::new();
        Self { drain, now, distance: Distance::Near }
    }

    pub(super) fn say(&mut self, nonsense: Nonsense) {
        let serving = self.drain.phase() == Phase::Serving && !matches!(nonsense, Nonsense::Step(Step::Terminate(_)));
        let Self { drain, now, distance } = self;
        match nonsense {
            Nonsense::Step(step) => self.say_step(step),
            Nonsense::Found(transport, rhythm) => {
                // The last request may even be yet to come.
                let rhythm = rhythm.map(|(ahead, gap)| Rhythm { last: *now + ahead, gap: Some(gap) });
                drain.handle_found(transport, *distance, rhythm.is_some(), rhythm);
            }
            Nonsense::Quiet(quiet) => drain.handle_quiet(quiet, *now),
            Nonsense::QuietClosed(closed, quiet) => drain.handle_quiet_closed(closed, quiet, *now),
            Nonsense::Surveyed(all) => drain.handle_surveyed(all, *now),
            Nonsense::AcceptQueue(waiting, handshakes) => drain.handle_accept_queue(waiting, handshakes, *now),
        }
        let actions = std::iter::from_fn(|| self.drain.poll_action()).count();
        assert!(!serving || actions == 0, "Nothing is done unless a termination runs.");
    }

    fn say_step(&mut self, step: Step) {
        let Self { drain, now, distance } = self;
        match step {
            Step::Open(transport) => drop(drain.handle_opened(transport, *distance, *now)),
            Step::Start(id, more) => drain.handle_request_started(id, more),
            Step::Finish(id, finished) => drain.handle_request_finished(id, finished, *now),
            Step::OpenSession(_) => drain.handle_multiplexed(0, *now),
            Step::Follow(id) => drain.handle_multiplexed(id, *now),
            Step::Abort(id) => drain.handle_request_aborted(id),
            Step::Pong(id) => drain.handle_ponged(id, *now),
            Step::Hijack(id) => drain.handle_hijacked(id),
            Step::Receive(id) => drain.handle_receiving(id),
            Step::ReceiveUnnoticed(id) => drain.handle_answered_early(id, *now),
            Step::Stir(id) => drain.handle_stirred(id, *now),
            Step::Read(id, unsent) => drain.handle_unsent(id, unsent, *now),
            Step::EndBody(id, more) => drain.handle_body_ended(id, more, *now),
            Step::Secure(id) => drain.handle_secured(id, *now),
            Step::NothingMore(id) => drain.handle_nothing_more(id),
            Step::Leave(id) | Step::SocketCloses(id) => drain.handle_closed(id, true, *now),
            Step::Break(id) => drain.handle_closed(id, false, *now),
            Step::BreakOff(id) => drain.handle_request_broken_off(id),
            Step::ServerCloses => drain.handle_server_closed(*now),
            Step::Turn => drain.handle_turned(*now),
            Step::StartTask => drain.handle_task_started(),
            Step::FinishTask(fulfilled) => drain.handle_task_finished(fulfilled, *now),
            Step::Pass(time) => *now += time,
            Step::Ring => drain.handle_timeout(*now),
            Step::Terminate(plan) => drain.handle_terminate(plan, *now),
            Step::Listen => drain.handle_listening(*now),
            Step::PassUntilRing => {
                *now = drain.poll_timeout().map_or(*now, |due| due.max(*now));
                drain.handle_timeout(*now);
            }
            Step::Travel(somewhere) => *distance = somewhere,
            Step::BeginHandshake(_) | Step::EndHandshake | Step::LoseHandshake | Step::Knock(_) | Step::Accept => {}
            Step::Runs(_) | Step::Measure(..) | Step::Look | Step::SeeThrough => {}
        }
    }
}
