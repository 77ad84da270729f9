//! What holds for every order of events, tried on random ones.
//!
//! A [`World`] plays a random script the way the real caller would: it tells the machine what a caller
//! knows and no more, does what the machine asks for, and lets sockets close, the loop turn and time pass
//! as the script has it. It keeps a naive record of its own, in which nothing is inferred: the requests
//! themselves where the machine counts, what was said and done where the machine has a course. The
//! properties compare the two.
//!
//! A script that breaks a property is shrunk and printed; it belongs into `tests.rs` as a scene. More of
//! them are tried with `PROPTEST_CASES=10000 cargo test properties`.

use std::collections::{BTreeMap, VecDeque};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngAlgorithm;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const AT_LEISURE: Plan = Plan { delay: Duration::ZERO, timeout: None, observed: false };
const KEPT_ALIVE: Finished = Finished { arriving: Arriving::Nothing, said_close: false, late: false };

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_termination_resolves_when_everything_has_ended_and_not_before(script in script()) {
        let mut world = World::new();
        for step in script {
            world.play(step);
            prop_assert!(!world.is_over(), "it runs though everything has ended: {:?}", world.termination);
        }
        for Moment { action, over, termination, .. } in world.history {
            prop_assert!(over || action != Action::Resolve, "{termination:?}");
        }
    }

    #[test]
    fn every_termination_resolves_once(script in script()) {
        let world = World::at_the_end_of(script);
        let resolved = world.history.iter().filter(|moment| moment.action == Action::Resolve).count();
        prop_assert_eq!(resolved, world.terminations);
    }

    #[test]
    fn a_termination_ends_at_its_deadline_though_everything_hangs(script in script()) {
        let mut world = World::after(script);
        world.terminate(Plan { timeout: Some(SECOND), ..AT_LEISURE });
        let deadline = world.now + SECOND;
        world.let_everything_hang();
        prop_assert!(world.termination.is_none());
        prop_assert!(world.now <= deadline);
    }

    #[test]
    fn a_termination_without_a_deadline_ends_by_itself_and_forces_nothing(script in patient_script()) {
        let mut world = World::after(script);
        world.terminate(AT_LEISURE);
        world.finish_everything();
        prop_assert!(world.termination.is_none());
        for (report, _) in world.reports {
            prop_assert_eq!((report.connections.forced, report.tasks.abandoned), (0, 0));
        }
    }

    #[test]
    fn nothing_is_closed_that_has_a_request_in_flight_or_is_receiving_one(script in script()) {
        for Moment { action, peer, .. } in World::at_the_end_of(script).history {
            let Some(peer) = peer else { continue };
            if matches!(action, Action::Close(_) | Action::CloseNotify(_) | Action::End(_) | Action::Linger(_)) {
                prop_assert!(!peer.is_busy() && !peer.session, "{action:?}: {peer:?}");
            }
        }
    }

    #[test]
    fn nothing_is_closed_before_the_delay_is_over(script in script()) {
        for Moment { action, peer, termination, .. } in World::at_the_end_of(script).history {
            let Some(Termination { drains_after: None, .. }) = termination else { continue };
            let close = matches!(action, Action::Close(_) | Action::CloseNotify(_) | Action::End(_) | Action::Ping(_));
            // But an answer may have said close.
            let linger = matches!(action, Action::Linger(_)) && !peer.is_some_and(|peer| peer.leaving);
            prop_assert!(!close && !linger && action != Action::CloseServer, "{action:?}");
        }
    }

    #[test]
    fn a_session_is_closed_when_its_ping_is_acknowledged_or_has_taken_too_long(script in script()) {
        let mut world = World::new();
        for step in script {
            world.play(step);
            let acknowledged = world.ids(|peer| peer.ponged && !peer.session_closing && !peer.destroyed);
            prop_assert!(acknowledged.is_empty(), "{acknowledged:?}");
        }
        for Moment { action, peer, now, .. } in world.history {
            let (Action::CloseSession(_), Some(peer)) = (action, peer) else { continue };
            let waited = peer.pinging_until.is_some_and(|until| peer.ponged || until <= now);
            prop_assert!(waited && peer.session && !peer.session_closing, "{peer:?}");
        }
    }

    #[test]
    fn a_connection_is_silent_through_a_whole_turn_before_it_is_closed_as_idle(script in script()) {
        for Moment { action, peer, termination, turn, .. } in World::at_the_end_of(script).history {
            let (Some(peer), Some(termination)) = (peer, termination) else { continue };
            if matches!(action, Action::Close(_) | Action::CloseNotify(_)) {
                prop_assert!(Some(turn) > termination.drains_after.max(Some(peer.came_after)), "{peer:?}");
            }
        }
    }

    #[test]
    fn nothing_is_destroyed_before_the_deadline_unless_it_has_lingered_long_enough(script in script()) {
        for Moment { action, peer, termination, now, .. } in World::at_the_end_of(script).history {
            let (Action::Destroy(_), Some(peer), Some(termination)) = (action, peer, termination) else { continue };
            let lingered = peer.lingers_until.is_some_and(|until| until <= now);
            prop_assert!(termination.expired || lingered, "{peer:?}");
        }
    }

    #[test]
    fn everything_is_destroyed_one_whole_turn_after_the_deadline(script in script()) {
        let mut world = World::new();
        for step in script {
            world.play(step);
            let expired = world.termination.as_ref().is_some_and(|termination| termination.expired);
            let spared = world.ids(|peer| !peer.destroyed);
            prop_assert!(!expired || spared.is_empty(), "{spared:?}");
        }
    }

    #[test]
    fn a_body_whose_request_is_answered_is_heard_to_its_end(script in script()) {
        let mut world = World::new();
        for step in script {
            world.play(step);
            let drains = world.termination.as_ref().is_some_and(|termination| termination.drains_after.is_some());
            let unheard = world.ids(|peer| peer.answered_early && peer.lingers_until.is_none() && !peer.destroyed);
            prop_assert!(!drains || unheard.is_empty(), "{unheard:?}");
        }
    }

    #[test]
    fn no_answer_says_close_unless_its_request_is_the_last(script in script()) {
        for Moment { action, peer, .. } in World::at_the_end_of(script).history {
            let (Action::SayClose(_), Some(peer)) = (action, peer) else { continue };
            prop_assert!(!peer.in_flight.is_empty() && !peer.receiving && !peer.session, "{peer:?}");
        }
    }

    #[test]
    fn the_answer_to_the_last_request_says_close(script in script()) {
        let mut world = World::new();
        for step in script {
            world.play(step);
            let untold = world.ids(|peer| {
                let answerable = !peer.in_flight.is_empty() && !peer.leaving && !peer.hijacked && !peer.session;
                answerable && !peer.receiving && !peer.says_close
            });
            prop_assert!(world.termination.is_none() || untold.is_empty(), "{untold:?}");
        }
    }

    #[test]
    fn every_action_is_for_a_connection_that_is_open(script in script()) {
        for Moment { action, peer, .. } in World::at_the_end_of(script).history {
            prop_assert_eq!(peer.is_some(), id_of(action).is_some(), "{:?}", action);
        }
    }

    #[test]
    fn nothing_is_done_or_reported_unless_a_termination_runs(script in script()) {
        let mut world = World::new();
        for step in script {
            let serving = world.termination.is_none() && !matches!(step, Step::Terminate(_));
            let before = (world.history.len(), world.drain.report().clone());
            world.play(step);
            prop_assert!(!serving || before == (world.history.len(), world.drain.report().clone()));
        }
    }

    #[test]
    fn a_report_adds_up(script in script()) {
        for (report, Termination { connections, expected, .. }) in World::at_the_end_of(script).reports {
            prop_assert_eq!(&report, &expected);
            let report::Connections { idle, drained, forced } = report.connections;
            prop_assert_eq!(idle + drained + forced, connections);
            let nothing_lost = (forced, report.requests.cut, report.tasks.abandoned) == (0, 0, 0);
            prop_assert_eq!(report.graceful(), nothing_lost);
        }
    }

    #[test]
    fn what_is_cut_is_listed_and_nothing_else_is(script in script()) {
        for peer in World::at_the_end_of(script).closed {
            prop_assert_eq!(peer.cut, peer.listed, "{:?}", peer);
        }
    }

    #[test]
    fn what_is_open_is_counted(script in script()) {
        let mut world = World::new();
        for step in script {
            world.play(step);
            // During a termination this does nothing, and the machine's own count is put to the test.
            world.drain.handle_requests(&world.requests());
            prop_assert_eq!(world.drain.stats(), world.stats());
        }
    }

    #[test]
    fn only_a_running_termination_has_a_timeout_and_no_later_call_puts_it_off(script in script()) {
        let mut world = World::new();
        for step in script {
            world.play(step);
            let timeout = world.drain.poll_timeout();
            match world.termination {
                None => prop_assert_eq!(timeout, None),
                Some(Termination { due_after: None, expired: false, drains_after, delayed_until, deadline, .. }) => {
                    let due = if drains_after.is_some() { deadline } else { delayed_until };
                    prop_assert!(due.is_none_or(|due| timeout.is_some_and(|timeout| timeout <= due)));
                }
                Some(_) => {}
            }
        }
    }

    #[test]
    fn milestones_are_told_once_and_in_order(script in script()) {
        let course = [
            Milestone::Delaying,
            Milestone::Draining,
            Milestone::HalfTime,
            Milestone::Deadline,
            Milestone::Terminated,
        ];
        for (_, Termination { told, observed, drains_after, expired, .. }) in World::at_the_end_of(script).reports {
            let in_order = course.iter().filter(|milestone| told.contains(milestone)).copied().collect::<Vec<_>>();
            prop_assert_eq!(&told, &in_order);
            prop_assert_eq!(told.contains(&Milestone::Draining), drains_after.is_some());
            prop_assert_eq!(told.contains(&Milestone::Deadline), expired);
            prop_assert!(observed || !told.contains(&Milestone::HalfTime));
            prop_assert!(told.ends_with(&[Milestone::Terminated]));
        }
    }

    #[test]
    fn calls_that_nobody_waits_for_change_nothing(script in script()) {
        let mut world = World::new();
        for step in script {
            world.play(step);
            let World { drain, now, turns_asked, turns_taken, termination, tasks, open, .. } = &mut world;
            // Pretty, because a slab shows what is in it only then.
            let before = format!("{drain:#?}");
            if drain.poll_timeout().is_none_or(|due| *now < due) {
                drain.handle_timeout(*now);
            }
            if turns_asked == turns_taken {
                drain.handle_turned(*now);
            }
            if *tasks == 0 {
                drain.handle_task_finished(true, *now);
            }
            if termination.is_some() {
                drain.handle_requests(&[7; 10]);
                drain.handle_listening();
                for (&id, _) in open.iter().filter(|(_, peer)| peer.session) {
                    drain.handle_multiplexed(id, *now);
                }
            } else {
                drain.handle_server_closed(*now);
            }
            for (&id, peer) in open.iter() {
                if peer.in_flight.is_empty() {
                    drain.handle_request_finished(id, KEPT_ALIVE, *now);
                    drain.handle_request_aborted(id);
                    drain.handle_nothing_more(id);
                } else {
                    drain.handle_answered_early(id, *now);
                }
                if peer.ponged || !peer.session {
                    drain.handle_ponged(id);
                }
            }
            for unknown in (0..20).filter(|id| !open.contains_key(id)) {
                drain.handle_request_started(unknown, true);
                drain.handle_request_finished(unknown, KEPT_ALIVE, *now);
                drain.handle_request_aborted(unknown);
                drain.handle_multiplexed(unknown, *now);
                drain.handle_ponged(unknown);
                drain.handle_hijacked(unknown);
                drain.handle_receiving(unknown);
                drain.handle_nothing_more(unknown);
                drain.handle_answered_early(unknown, *now);
                drain.handle_closed(unknown, *now);
            }
            prop_assert!(format!("{drain:#?}") == before, "{before} has become {drain:#?}");
        }
    }

    #[test]
    fn a_crowd_of_idle_connections_is_closed_over_several_turns(
        crowd in vec(transport(), 1..CLOSES_PER_TURN * 3),
        script in patient_script(),
    ) {
        let mut world = World::new();
        crowd.into_iter().for_each(|transport| world.open(transport));
        world.terminate(AT_LEISURE);
        script.into_iter().for_each(|step| world.play(step));
        world.finish_everything();
        prop_assert!(world.termination.is_none());
        let mut closes = vec![0; world.turns_taken + 1];
        for Moment { action, turn, .. } in world.history {
            closes[turn] += usize::from(matches!(action, Action::Close(_) | Action::CloseNotify(_)));
        }
        prop_assert!(closes.iter().all(|&closes| closes <= CLOSES_PER_TURN), "{closes:?}");
    }

    /// No world keeps these events in order. The machine asserts its invariants by itself.
    #[test]
    fn no_order_of_events_breaks_an_invariant_even_if_it_makes_no_sense(script in script()) {
        let World { mut drain, mut now, .. } = World::new();
        for step in script {
            let serving = drain.phase() == Phase::Serving && !matches!(step, Step::Terminate(_));
            match step {
                Step::Open(transport) => drop(drain.handle_opened(transport)),
                Step::Start(id, more) => drain.handle_request_started(id, more),
                Step::Finish(id, finished) => drain.handle_request_finished(id, finished, now),
                Step::OpenSession(_) => drain.handle_multiplexed(0, now),
                Step::Abort(id) => drain.handle_request_aborted(id),
                Step::Pong(id) => drain.handle_ponged(id),
                Step::Hijack(id) => drain.handle_hijacked(id),
                Step::Receive(id) => drain.handle_receiving(id),
                Step::ReceiveUnnoticed(id) => drain.handle_answered_early(id, now),
                Step::NothingMore(id) => drain.handle_nothing_more(id),
                Step::Leave(id) | Step::SocketCloses(id) => drain.handle_closed(id, now),
                Step::ServerCloses => drain.handle_server_closed(now),
                Step::Turn => drain.handle_turned(now),
                Step::StartTask => drain.handle_task_started(),
                Step::FinishTask(fulfilled) => drain.handle_task_finished(fulfilled, now),
                Step::Pass(time) => now += time,
                Step::Ring => drain.handle_timeout(now),
                Step::PassUntilRing | Step::SeeThrough => drain.handle_requests(&[0, 1, 2]),
                Step::Terminate(plan) => drain.handle_terminate(plan, now),
                Step::Listen => drain.handle_listening(),
            }
            let actions = std::iter::from_fn(|| drain.poll_action()).count();
            prop_assert!(!serving || actions == 0);
        }
    }
}

fn config() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig {
        cases: 2 * usual.cases,
        max_shrink_iters: 10_000,
        // The usual generator takes nearly all of the time in a debug build.
        rng_algorithm: RngAlgorithm::XorShift,
        failure_persistence: None,
        ..usual
    }
}

/// One thing that happens. A `usize` is the place of a connection among those open, counted round and
/// round, so that every script can be played. What can't happen where it stands does not happen.
#[derive(Clone, Copy, Debug)]
enum Step {
    Open(Transport),
    /// An HTTP/2 connection, over which the peer speaks at once.
    OpenSession(Transport),
    /// A request comes, and whether another one has been received behind it.
    Start(usize, bool),
    Finish(usize, Finished),
    /// The peer of a session takes back a request.
    Abort(usize),
    /// The peer of a session acknowledges its PING.
    Pong(usize),
    Hijack(usize),
    /// Half a request comes, and the caller notices.
    Receive(usize),
    /// Half a request comes, and the caller will not notice before it looks.
    ReceiveUnnoticed(usize),
    /// No further request follows the one that was said to be followed.
    NothingMore(usize),
    /// The peer closes.
    Leave(usize),
    /// Of the sockets on their way out, one has closed.
    SocketCloses(usize),
    ServerCloses,
    Turn,
    StartTask,
    FinishTask(bool),
    /// Time passes and no timer goes off, as on a busy loop.
    Pass(Duration),
    /// A timer goes off, due or not.
    Ring,
    /// Time passes until a timer is due, which goes off.
    PassUntilRing,
    Terminate(Plan),
    /// If a termination runs, all happens that it takes to end it.
    SeeThrough,
    Listen,
}

fn script() -> impl Strategy<Value = Vec<Step>> {
    let timeout = prop_oneof![
        3 => Just(None),
        1 => Just(Some(Duration::ZERO)),
        1 => Just(Some(Duration::MAX)),
        6 => up_to(10 * SECOND).prop_map(Some),
    ];
    script_with(timeout)
}

/// A script whose terminations have all the time there is.
fn patient_script() -> impl Strategy<Value = Vec<Step>> {
    script_with(Just(None))
}

/// A few terminations that are seen through, and one that may not be: what happens before each, and what
/// happens while it runs, with another call now and then.
fn script_with(timeout: impl Strategy<Value = Option<Duration>> + 'static) -> impl Strategy<Value = Vec<Step>> {
    let delay = prop_oneof![2 => Just(Duration::ZERO), 1 => up_to(2 * SECOND)];
    let terminate = (delay, timeout, any::<bool>())
        .prop_map(|(delay, timeout, observed)| Step::Terminate(Plan { delay, timeout, observed }))
        .boxed();
    let meanwhile = prop_oneof![30 => event(), 1 => terminate.clone(), 1 => Just(Step::Listen)];
    let termination = (vec(event(), 0..20), terminate, vec(meanwhile, 0..40))
        .prop_map(|(before, terminate, meanwhile)| [before, vec![terminate], meanwhile].concat());
    vec(termination, 1..3).prop_map(|terminations| terminations.join(&[Step::SeeThrough, Step::Listen][..]))
}

fn event() -> impl Strategy<Value = Step> {
    let place = || 0..8_usize;
    prop_oneof![
        4 => transport().prop_map(Step::Open),
        2 => transport().prop_map(Step::OpenSession),
        8 => (place(), any::<bool>()).prop_map(|(place, more)| Step::Start(place, more)),
        8 => (place(), finished()).prop_map(|(place, finished)| Step::Finish(place, finished)),
        1 => place().prop_map(Step::Abort),
        2 => place().prop_map(Step::Pong),
        1 => place().prop_map(Step::Hijack),
        1 => place().prop_map(Step::Receive),
        2 => place().prop_map(Step::ReceiveUnnoticed),
        1 => place().prop_map(Step::NothingMore),
        1 => place().prop_map(Step::Leave),
        4 => place().prop_map(Step::SocketCloses),
        2 => Just(Step::ServerCloses),
        4 => Just(Step::Turn),
        1 => Just(Step::StartTask),
        2 => any::<bool>().prop_map(Step::FinishTask),
        2 => up_to(SECOND).prop_map(Step::Pass),
        1 => Just(Step::Ring),
        1 => Just(Step::PassUntilRing),
    ]
}

fn transport() -> impl Strategy<Value = Transport> {
    prop_oneof![Just(Transport::Plain), Just(Transport::Tls)]
}

fn finished() -> impl Strategy<Value = Finished> {
    let arriving = prop_oneof![
        4 => Just(Arriving::Nothing),
        1 => Just(Arriving::Body),
        1 => Just(Arriving::NextRequest),
    ];
    (arriving, any::<bool>()).prop_map(|(arriving, said_close)| Finished { arriving, said_close, ..KEPT_ALIVE })
}

fn up_to(longest: Duration) -> impl Strategy<Value = Duration> {
    (0..=longest.as_millis() as u64).prop_map(Duration::from_millis)
}

/// When a request came, as seen from the termination that runs while it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    Before,
    During,
}

/// All that the caller knows of one connection.
#[derive(Clone, Debug, Default)]
struct Peer {
    /// How many turns of the loop had been asked for when it came.
    came_after: usize,
    /// Oldest first. What is lost behind FIN stays.
    in_flight: VecDeque<Came>,
    /// Half a request has come.
    receiving: bool,
    /// Half a request has come, but nobody has looked.
    unnoticed: bool,
    /// The rest of a body is still coming, whose request is answered.
    answered_early: bool,
    hijacked: bool,
    /// HTTP/2 is spoken.
    session: bool,
    /// When the peer has had time enough to acknowledge a PING, once that is sent.
    pinging_until: Option<Instant>,
    ponged: bool,
    /// No further requests are taken, and it closes when the last has ended.
    session_closing: bool,
    /// Whether the last answer in flight is going to say close.
    says_close: bool,
    /// Something has been under way on it since the termination began.
    was_busy: bool,
    /// FIN has left, or is bound to.
    leaving: bool,
    /// When the peer has had time enough to close.
    lingers_until: Option<Instant>,
    destroyed: bool,
    /// Something was under way on it when it was destroyed.
    forced: bool,
    /// Its socket closes by itself.
    closing: bool,
    /// A request on it has been cut, or it has, being a tunnel.
    cut: bool,
    /// It has been listed as such.
    listed: bool,
}

impl Peer {
    /// The oldest request ends, or over HTTP/2, where they end in any order, the newest.
    fn end_one(&mut self) -> Option<Came> {
        let came = if self.session { self.in_flight.pop_back() } else { self.in_flight.pop_front() };
        self.closing |= self.session_closing && self.in_flight.is_empty();
        came
    }

    fn is_busy(&self) -> bool {
        !self.in_flight.is_empty() || self.receiving || self.hijacked
    }

    /// How many requests go unanswered when it is destroyed. Half a request is one, but not behind FIN.
    fn requests_at_stake(&self) -> u32 {
        count(&self.in_flight) + u32::from(self.receiving && !self.leaving)
    }
}

/// A termination that runs.
#[derive(Clone, Debug)]
struct Termination {
    began: Instant,
    delayed_until: Option<Instant>,
    timeout: Option<Duration>,
    observed: bool,
    /// How many turns of the loop had been asked for when the delay was over.
    drains_after: Option<usize>,
    /// When it must end, once the delay is over.
    deadline: Option<Instant>,
    /// How many turns had been asked for when the machine was told that the deadline has passed.
    due_after: Option<usize>,
    /// A whole turn has been taken since, or there was no time at all.
    expired: bool,
    server_closed: bool,
    /// How many connections were open when it began, or came in later.
    connections: u32,
    /// What the report should say.
    expected: Report,
    /// What has been announced.
    told: Vec<Milestone>,
}

/// An action, and what was known when the machine asked for it.
#[derive(Debug)]
struct Moment {
    action: Action,
    now: Instant,
    /// The turn of the loop that was last taken.
    turn: usize,
    /// The connection that it is for, if that is open.
    peer: Option<Peer>,
    termination: Option<Termination>,
    /// Whether all that a termination waits for has ended.
    over: bool,
}

/// How often everything that can happen does, until nothing is left to happen.
const ROUNDS: usize = 100;

/// The caller, its sockets, and its clock.
struct World {
    drain: Drain,
    now: Instant,
    open: BTreeMap<ConnectionId, Peer>,
    /// The connection that is just closing: the last that is asked for it, is asked then.
    closing: Option<(ConnectionId, Peer)>,
    closed: Vec<Peer>,
    tasks: u32,
    listening: bool,
    /// The server says that it has closed once no connection is left.
    server_closing: bool,
    /// Turns of the loop are numbered as they are asked for.
    turns_asked: usize,
    turns_taken: usize,
    termination: Option<Termination>,
    terminations: usize,
    /// What each termination that has resolved said of itself, and what it was.
    reports: Vec<(Report, Termination)>,
    history: Vec<Moment>,
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "some instant to start from; only steps move it")]
    fn new() -> Self {
        Self {
            drain: Drain::new(),
            now: Instant::now(),
            open: BTreeMap::new(),
            closing: None,
            closed: Vec::new(),
            tasks: 0,
            listening: true,
            server_closing: false,
            turns_asked: 0,
            turns_taken: 0,
            termination: None,
            terminations: 0,
            reports: Vec::new(),
            history: Vec::new(),
        }
    }

    fn after(script: Vec<Step>) -> Self {
        let mut world = Self::new();
        script.into_iter().for_each(|step| world.play(step));
        world
    }

    fn at_the_end_of(script: Vec<Step>) -> Self {
        let mut world = Self::after(script);
        world.see_through();
        world
    }

    fn play(&mut self, step: Step) {
        match step {
            Step::Open(transport) => self.open(transport),
            Step::OpenSession(transport) => self.open_session(transport),
            Step::Start(place, more) => self.at(place, |world, id| world.start(id, more)),
            Step::Finish(place, finished) => self.at(place, |world, id| world.finish(id, finished)),
            Step::Abort(place) => self.at(place, Self::abort),
            Step::Pong(place) => self.at(place, Self::pong),
            Step::Hijack(place) => self.at(place, Self::hijack),
            Step::Receive(place) => self.at(place, Self::receive),
            Step::ReceiveUnnoticed(place) => self.at(place, Self::receive_unnoticed),
            Step::NothingMore(place) => self.at(place, Self::nothing_more),
            Step::Leave(place) => self.at(place, Self::close),
            Step::SocketCloses(place) => self.socket_closes(place),
            Step::ServerCloses => self.server_closes(),
            Step::Turn => self.turn(),
            Step::StartTask => self.start_task(),
            Step::FinishTask(fulfilled) => self.finish_task(fulfilled),
            Step::Pass(time) => self.now += time,
            Step::Ring => self.ring(),
            Step::PassUntilRing => self.pass_until_ring(),
            Step::Terminate(plan) => self.terminate(plan),
            Step::SeeThrough => self.see_through(),
            Step::Listen => self.listen(),
        }
    }

    fn see_through(&mut self) {
        let Some(Termination { deadline, timeout, .. }) = self.termination else { return };
        if deadline.is_some() || timeout.is_some_and(|timeout| timeout < Duration::MAX) {
            self.let_everything_hang();
        } else {
            self.finish_everything();
        }
    }

    /// All that was begun ends, until the termination resolves.
    fn finish_everything(&mut self) {
        for _ in 0..ROUNDS {
            if self.termination.is_none() {
                return;
            }
            for id in self.ids(|_| true) {
                if self.peer(id).receiving {
                    self.start(id, false);
                }
                for _ in 0..self.peer(id).in_flight.len() {
                    self.finish(id, KEPT_ALIVE);
                }
                if self.peer(id).hijacked {
                    self.close(id);
                }
            }
            for _ in 0..self.tasks {
                self.finish_task(true);
            }
            self.let_sockets_close();
        }
    }

    /// Nothing ends by itself, until the termination resolves.
    fn let_everything_hang(&mut self) {
        for _ in 0..ROUNDS {
            if self.termination.is_none() {
                return;
            }
            self.let_sockets_close();
        }
    }

    /// The loop turns, what is on its way out closes, and if that is all, time passes.
    fn let_sockets_close(&mut self) {
        for id in self.ids(|peer| peer.closing) {
            self.close(id);
        }
        self.server_closes();
        if self.turns_taken < self.turns_asked {
            self.turn();
        } else {
            self.pass_until_ring();
        }
    }

    // What happens. Each first makes its entry in the record, then tells the machine.

    fn open(&mut self, transport: Transport) {
        self.accept(transport, false);
        self.obey();
    }

    fn open_session(&mut self, transport: Transport) {
        let id = self.accept(transport, true);
        // While serving, this need not be known.
        if self.termination.is_some() {
            self.drain.handle_multiplexed(id, self.now);
        }
        self.obey();
    }

    fn accept(&mut self, transport: Transport, session: bool) -> ConnectionId {
        let id = self.drain.handle_opened(transport);
        let namesake = self.open.insert(id, Peer { came_after: self.turns_asked, session, ..Peer::default() });
        assert!(namesake.is_none(), "an id names one connection at a time");
        if let Some(termination) = &mut self.termination {
            termination.connections += 1;
        }
        id
    }

    fn start(&mut self, id: ConnectionId, more: bool) {
        let peer = peer(&mut self.open, id);
        // Node refuses what comes on a session that closes.
        if peer.hijacked || peer.session_closing {
            return;
        }
        let more = more && !peer.session;
        peer.unnoticed = false;
        peer.answered_early = false;
        if !peer.leaving {
            peer.in_flight.push_back(if self.termination.is_some() { Came::During } else { Came::Before });
            peer.receiving = more;
            peer.was_busy = true;
            peer.says_close = false;
        }
        // While serving, requests are not events.
        let Some(termination) = &mut self.termination else { return };
        if peer.leaving {
            peer.cut = true;
            termination.expected.requests.cut += 1;
        }
        self.drain.handle_request_started(id, more);
        self.obey();
    }

    fn finish(&mut self, id: ConnectionId, Finished { arriving, said_close, .. }: Finished) {
        let peer = peer(&mut self.open, id);
        if peer.in_flight.is_empty() {
            return;
        }
        // HTTP/1 alone has such an end, and does not know what comes over a tunnel.
        let said_close = said_close && !peer.session;
        let arriving = if peer.session || peer.hijacked { Arriving::Nothing } else { arriving };
        // Behind FIN an answer ends, too, but reaches nobody.
        let answered = if peer.leaving { None } else { peer.end_one() };
        if peer.in_flight.is_empty() {
            peer.receiving = arriving == Arriving::NextRequest;
            peer.answered_early = arriving == Arriving::Body;
        }
        // Node sees to that by itself.
        peer.closing |= said_close;
        let Some(termination) = &mut self.termination else { return };
        peer.leaving |= said_close;
        match answered {
            Some(Came::Before) => termination.expected.requests.completed += 1,
            Some(Came::During) => termination.expected.requests.late += 1,
            None => {}
        }
        let finished = Finished { arriving, said_close, late: answered == Some(Came::During) };
        self.drain.handle_request_finished(id, finished, self.now);
        self.obey();
    }

    fn abort(&mut self, id: ConnectionId) {
        let peer = peer(&mut self.open, id);
        if !peer.session || peer.in_flight.is_empty() {
            return;
        }
        peer.end_one();
        if self.termination.is_some() {
            self.drain.handle_request_aborted(id);
            self.obey();
        }
    }

    fn pong(&mut self, id: ConnectionId) {
        // It may come when nobody waits for it any more.
        if self.peer(id).pinging_until.is_some() {
            self.peer(id).ponged = true;
            self.drain.handle_ponged(id);
            self.obey();
        }
    }

    fn hijack(&mut self, id: ConnectionId) {
        let peer = peer(&mut self.open, id);
        if peer.session {
            return;
        }
        peer.unnoticed = false;
        peer.answered_early = false;
        if let (true, Some(termination)) = (peer.leaving, &mut self.termination) {
            // A request for an upgrade is a request, too.
            peer.cut = true;
            termination.expected.requests.cut += 1;
        } else {
            peer.hijacked = true;
            peer.was_busy = true;
            peer.receiving = false;
        }
        self.drain.handle_hijacked(id);
        self.obey();
    }

    fn receive(&mut self, id: ConnectionId) {
        let peer = peer(&mut self.open, id);
        // Nobody looks for half a request in a tunnel or behind FIN.
        if peer.hijacked || peer.session || peer.leaving {
            return;
        }
        peer.receiving = true;
        peer.was_busy = true;
        peer.answered_early = false;
        if self.termination.is_some() {
            self.drain.handle_receiving(id);
            self.obey();
        }
    }

    fn receive_unnoticed(&mut self, id: ConnectionId) {
        self.peer(id).unnoticed = true;
    }

    fn nothing_more(&mut self, id: ConnectionId) {
        let peer = peer(&mut self.open, id);
        if peer.hijacked || peer.session || peer.in_flight.is_empty() {
            return;
        }
        peer.receiving &= peer.leaving;
        if self.termination.is_some() {
            self.drain.handle_nothing_more(id);
            self.obey();
        }
    }

    fn close(&mut self, id: ConnectionId) {
        let Some(mut peer) = self.open.remove(&id) else { return };
        if let Some(termination) = &mut self.termination {
            // What was destroyed was counted then, and a peer that goes by itself wants no answers.
            if peer.leaving && !peer.destroyed {
                peer.cut |= !peer.in_flight.is_empty();
                termination.expected.requests.cut += count(&peer.in_flight);
            }
            match &mut termination.expected.connections {
                connections if peer.forced => connections.forced += 1,
                connections if peer.was_busy => connections.drained += 1,
                connections => connections.idle += 1,
            }
        }
        self.closing = Some((id, peer));
        self.drain.handle_closed(id, self.now);
        self.obey();
        self.closed.extend(self.closing.take().map(|(_, peer)| peer));
    }

    fn socket_closes(&mut self, place: usize) {
        let closing = self.ids(|peer| peer.closing);
        if let Some(place) = place.checked_rem(closing.len()) {
            self.close(closing[place]);
        }
    }

    fn server_closes(&mut self) {
        if self.server_closing && self.open.is_empty() {
            self.server_closing = false;
            self.server_closed();
        }
    }

    fn server_closed(&mut self) {
        if let Some(termination) = &mut self.termination {
            termination.server_closed = true;
        }
        self.drain.handle_server_closed(self.now);
        self.obey();
    }

    fn turn(&mut self) {
        // Otherwise it is a call that nobody waits for.
        if self.turns_taken < self.turns_asked {
            self.turns_taken += 1;
        }
        if let Some(Termination { due_after: Some(turn), .. }) = self.termination
            && self.turns_taken > turn
        {
            self.expire();
        }
        self.drain.handle_turned(self.now);
        self.obey();
    }

    fn start_task(&mut self) {
        match &mut self.termination {
            Some(termination) if termination.expired => termination.expected.tasks.abandoned += 1,
            _ => self.tasks += 1,
        }
        self.drain.handle_task_started();
        self.obey();
    }

    fn finish_task(&mut self, fulfilled: bool) {
        // There may be none: what was abandoned at the deadline may still end.
        if let Some(left) = self.tasks.checked_sub(1) {
            self.tasks = left;
            match &mut self.termination {
                Some(termination) if fulfilled => termination.expected.tasks.completed += 1,
                Some(termination) => termination.expected.tasks.rejected += 1,
                None => {}
            }
        }
        self.drain.handle_task_finished(fulfilled, self.now);
        self.obey();
    }

    fn ring(&mut self) {
        self.look_at_the_clock();
        if let Some(termination) = &mut self.termination
            && termination.deadline.is_some_and(|deadline| deadline <= self.now)
        {
            termination.due_after.get_or_insert(self.turns_asked);
        }
        self.drain.handle_timeout(self.now);
        self.obey();
    }

    fn pass_until_ring(&mut self) {
        if let Some(due) = self.drain.poll_timeout() {
            self.now = self.now.max(due);
            self.ring();
        }
    }

    fn terminate(&mut self, plan: Plan) {
        let begins = self.termination.is_none();
        if begins {
            self.begin(plan);
        } else {
            self.bring_forward(plan);
        }
        self.look_at_the_clock();
        self.drain.handle_terminate(plan, self.now);
        self.obey();
        if begins {
            self.tell_of_early_answers();
        }
    }

    /// While serving the machine is told next to nothing, so now it is told where things stand.
    fn begin(&mut self, Plan { delay, timeout, observed }: Plan) {
        self.drain.handle_requests(&self.requests());
        self.terminations += 1;
        self.termination = Some(Termination {
            began: self.now,
            delayed_until: Some(self.now + delay),
            timeout,
            observed,
            drains_after: None,
            deadline: None,
            due_after: None,
            expired: false,
            server_closed: false,
            connections: count(&self.open),
            expected: Report::default(),
            told: Vec::new(),
        });
        self.open.values_mut().for_each(|peer| peer.was_busy = peer.is_busy());
        self.observe();
    }

    fn bring_forward(&mut self, Plan { delay, timeout, .. }: Plan) {
        let Some(termination) = &mut self.termination else { return };
        if termination.drains_after.is_none() {
            termination.delayed_until = earlier(termination.delayed_until, Some(self.now + delay));
            termination.timeout = earlier(termination.timeout, timeout);
        } else {
            let deadline = timeout.and_then(|timeout| (self.now + delay).checked_add(timeout));
            termination.deadline = earlier(termination.deadline, deadline);
            if (delay, timeout) == (Duration::ZERO, Some(Duration::ZERO)) {
                self.expire();
            }
        }
    }

    fn observe(&mut self) {
        for id in self.ids(|peer| peer.session) {
            self.drain.handle_multiplexed(id, self.now);
        }
        for id in self.ids(|peer| peer.receiving) {
            self.drain.handle_receiving(id);
        }
        self.tell_of_early_answers();
    }

    fn tell_of_early_answers(&mut self) {
        for id in self.ids(|peer| peer.answered_early) {
            self.drain.handle_answered_early(id, self.now);
        }
        self.obey();
    }

    /// The machine is about to be told the time, and so learns that the delay is over, or the deadline due.
    fn look_at_the_clock(&mut self) {
        let Some(termination) = &mut self.termination else { return };
        if termination.drains_after.is_none() && termination.delayed_until.is_some_and(|until| until <= self.now) {
            termination.drains_after = Some(self.turns_asked);
            termination.deadline = termination.timeout.and_then(|timeout| self.now.checked_add(timeout));
            if termination.timeout == Some(Duration::ZERO) {
                self.expire();
            }
        }
    }

    fn expire(&mut self) {
        let Some(termination) = &mut self.termination else { return };
        termination.expired = true;
        termination.expected.tasks.abandoned += std::mem::take(&mut self.tasks);
    }

    fn listen(&mut self) {
        // While a termination runs, it is an event that nobody waits for.
        if self.termination.is_none() {
            self.listening = true;
            self.server_closing = false;
        }
        self.drain.handle_listening();
        self.obey();
    }

    // What the machine asks for.

    fn obey(&mut self) {
        let actions: Vec<_> = std::iter::from_fn(|| self.drain.poll_action()).collect();
        for action in actions {
            self.record(action);
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Announce(milestone) => self.hear(milestone),
            Action::Observe => self.observe(),
            Action::CloseServer if self.listening => {
                self.listening = false;
                self.server_closing = true;
            }
            Action::CloseServer => self.server_closed(),
            Action::SayClose(id) => self.peer(id).says_close = true,
            Action::SayKeepAlive(id) => self.peer(id).says_close = false,
            Action::Close(id) | Action::CloseNotify(id) if self.peer(id).unnoticed => {
                self.peer(id).unnoticed = false;
                self.receive(id);
            }
            Action::CloseNotify(id) => self.linger(id, LINGER_FOR_CLOSE_NOTIFY),
            Action::Close(id) | Action::End(id) => {
                let peer = self.peer(id);
                peer.leaving = true;
                peer.closing = true;
            }
            Action::Linger(id) if self.peer(id).answered_early => self.linger(id, LINGER_FOR_BODY),
            Action::Linger(id) => self.linger(id, LINGER_FOR_CLOSE_NOTIFY),
            Action::Ping(id) => self.peer(id).pinging_until = Some(self.now + PING_AT_MOST),
            Action::CloseSession(id) => {
                let peer = self.peer(id);
                peer.session_closing = true;
                peer.closing |= peer.in_flight.is_empty();
            }
            Action::Cut(id) => self.list(id),
            Action::Destroy(id) => self.destroy(id),
            Action::AwaitTurn => self.turns_asked += 1,
            Action::Resolve => self.resolve(),
        }
    }

    fn linger(&mut self, id: ConnectionId, at_most: Duration) {
        let until = self.now + at_most;
        let peer = self.peer(id);
        peer.leaving = true;
        peer.was_busy |= peer.answered_early;
        peer.lingers_until = Some(until);
        // Not even if the answer said close: FIN is sent, but the peer is heard out.
        peer.closing = false;
    }

    fn destroy(&mut self, id: ConnectionId) {
        let peer = peer(&mut self.open, id);
        if let (false, Some(termination)) = (peer.destroyed, &mut self.termination) {
            termination.expected.requests.cut += peer.requests_at_stake();
            peer.forced = peer.requests_at_stake() > 0 || peer.hijacked && !peer.leaving;
            peer.cut |= peer.forced;
        }
        peer.leaving = true;
        peer.destroyed = true;
        peer.closing = true;
    }

    fn hear(&mut self, milestone: Milestone) {
        if let Some(termination) = &mut self.termination {
            termination.told.push(milestone);
        }
    }

    fn list(&mut self, id: ConnectionId) {
        if let Some(peer) = self.named(id) {
            peer.listed = true;
        }
    }

    fn resolve(&mut self) {
        let Some(mut termination) = self.termination.take() else { return };
        termination.expected.duration = self.now - termination.began;
        self.reports.push((self.drain.report().clone(), termination));
    }

    fn record(&mut self, action: Action) {
        let peer = id_of(action).and_then(|id| self.named(id)).cloned();
        self.history.push(Moment {
            action,
            now: self.now,
            turn: self.turns_taken,
            peer,
            termination: self.termination.clone(),
            over: self.is_over(),
        });
    }

    // What is known.

    /// Whether all that a termination waits for has ended.
    fn is_over(&self) -> bool {
        self.open.is_empty()
            && self.termination.as_ref().is_some_and(|Termination { expired, server_closed, .. }| {
                *expired || (*server_closed && self.tasks == 0)
            })
    }

    /// How many requests are in flight on each connection, by id.
    fn requests(&self) -> Vec<u32> {
        let ids = self.open.last_key_value().map_or(0, |(id, _)| id + 1);
        (0..ids).map(|id| self.open.get(&id).map_or(0, |peer| count(&peer.in_flight))).collect()
    }

    fn stats(&self) -> Stats {
        let upgraded = count(self.ids(|peer| peer.hijacked));
        let active = count(self.ids(|peer| !peer.hijacked && !peer.in_flight.is_empty()));
        let idle = count(self.ids(|peer| !peer.hijacked && peer.in_flight.is_empty()));
        let requests = self.requests().into_iter().sum();
        Stats { connections: idle + active + upgraded, idle, active, upgraded, requests, tasks: self.tasks }
    }

    fn ids(&self, wanted: impl Fn(&Peer) -> bool) -> Vec<ConnectionId> {
        self.open.iter().filter(|(_, peer)| wanted(peer)).map(|(&id, _)| id).collect()
    }

    fn at(&mut self, place: usize, happens: impl FnOnce(&mut Self, ConnectionId)) {
        let ids = self.ids(|_| true);
        if let Some(place) = place.checked_rem(ids.len()) {
            happens(self, ids[place]);
        }
    }

    fn peer(&mut self, id: ConnectionId) -> &mut Peer {
        peer(&mut self.open, id)
    }

    /// The connection that an action may be for.
    fn named(&mut self, id: ConnectionId) -> Option<&mut Peer> {
        let closing = self.closing.iter_mut().find(|(closing, _)| *closing == id).map(|(_, peer)| peer);
        self.open.get_mut(&id).or(closing)
    }
}

fn peer(open: &mut BTreeMap<ConnectionId, Peer>, id: ConnectionId) -> &mut Peer {
    open.get_mut(&id).expect("connections are named while they are open")
}

fn id_of(action: Action) -> Option<ConnectionId> {
    match action {
        Action::Announce(_) | Action::Observe | Action::CloseServer | Action::AwaitTurn | Action::Resolve => None,
        Action::SayClose(id)
        | Action::SayKeepAlive(id)
        | Action::Close(id)
        | Action::CloseNotify(id)
        | Action::End(id)
        | Action::Linger(id)
        | Action::Ping(id)
        | Action::CloseSession(id)
        | Action::Cut(id)
        | Action::Destroy(id) => Some(id),
    }
}

fn count(many: impl IntoIterator) -> u32 {
    many.into_iter().map(|_| 1).sum()
}
