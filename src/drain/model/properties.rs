//! The [`laws`](super::laws) on random scripts, and what holds in worlds that are arranged for it.
//!
//! A script that breaks a property is shrunk and printed. More of them are tried with
//! `PROPTEST_CASES=10000 cargo test drain::model`.

use arbitrary::{Arbitrary as _, Unstructured};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::RngAlgorithm;

use super::nonsense::{Nonsense, Talk};
use super::*;
use crate::drain::idle::CLOSES_PER_TURN;

const MILLISECOND: Duration = Duration::from_millis(1);
const AT_LEISURE: Plan =
    Plan { delay: Duration::ZERO, timeout: None, keep_alive: KeepAlive::For(Duration::ZERO), observed: false };

/// Looks whether a law holds at every moment.
pub(super) fn after_each_step(mut world: World, script: Vec<Step>, law: fn(&World)) {
    for step in script {
        world.play(step);
        law(&world);
    }
}

/// Looks whether a law has held.
pub(super) fn at_the_end(mut world: World, script: Vec<Step>, law: fn(&World)) {
    script.into_iter().for_each(|step| world.play(step));
    world.see_through();
    law(&world);
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_termination_ends_at_its_deadline_though_everything_hangs(script in script()) {
        let mut world = World::after(script);
        world.terminate(Plan { timeout: Some(SECOND), ..AT_LEISURE });
        let deadline = world.now + SECOND;
        let to_hear = world.open.values().filter(|peer| peer.session).map(Peer::hears_within).max();
        world.let_everything_hang();
        assert!(world.termination.is_none());
        assert!(world.now <= deadline + to_hear.unwrap_or_default());
    }

    #[test]
    fn a_termination_without_a_deadline_ends_by_itself_and_forces_nothing(script in patient_script()) {
        let mut world = World::after(script);
        world.terminate(AT_LEISURE);
        world.finish_everything();
        assert!(world.termination.is_none());
        for (report, _) in world.reports {
            assert_eq!((report.connections.forced, report.tasks.abandoned), (0, 0));
        }
    }

    #[test]
    fn what_is_open_is_counted(script in script()) {
        let mut world = World::new();
        for step in script {
            world.play(step);
            assert_eq!(world.look(), world.stats());
        }
    }

    #[test]
    fn calls_that_nobody_waits_for_change_nothing(script in script()) {
        let mut world = World::new();
        for step in script {
            world.play(step);
            laws::calls_that_nobody_waits_for_change_nothing(&mut world);
        }
    }

    #[test]
    fn a_crowd_of_idle_connections_is_closed_over_several_turns(
        kernel in kernel(),
        crowd in crowd(1..CLOSES_PER_TURN as usize * 2),
        keep_alive in keep_alive(),
        script in patient_script(),
    ) {
        let mut world = World::with(kernel, crowd, Vec::new());
        world.terminate(Plan { keep_alive, ..AT_LEISURE });
        script.into_iter().for_each(|step| world.play(step));
        world.finish_everything();
        assert!(world.termination.is_none());
        let mut closes = vec![0; world.turns_taken + 1];
        for Moment { action, turn, .. } in world.history {
            closes[turn] += match action {
                Action::CloseQuiet(count) => count,
                action => u32::from(closes_idle(action)),
            };
        }
        assert!(closes.iter().all(|&closes| closes <= CLOSES_PER_TURN), "{closes:?}");
    }

    #[test]
    fn the_closes_of_a_crowd_are_spread_over_the_window(
        kernel in kernel(),
        crowd in crowd(CROWD..CROWD * 4),
        window in up_to(10 * SECOND),
        script in patient_script(),
    ) {
        let mut world = World::with(kernel, crowd, Vec::new());
        world.terminate(Plan { keep_alive: KeepAlive::For(window), ..AT_LEISURE });
        let began = world.now;
        script.into_iter().for_each(|step| world.play(step));
        world.finish_everything();
        let mut closes = 0;
        for Moment { action, peer, termination, now, .. } in world.history {
            let (true, Some(termination)) = (closes_idle(action), termination) else { continue };
            // The script may have terminations of its own, later.
            let Some(parting) = termination.parting.filter(|_| termination.began == began) else { continue };
            let in_rhythm_until = peer.as_ref().filter(|peer| peer.idle_at_parting).and_then(Peer::in_rhythm_until);
            assert!(in_rhythm_until.min(termination.window_ends()) <= Some(now), "{peer:?}");
            closes += match action {
                Action::CloseQuiet(count) => u128::from(count),
                // Not once more when what had come has turned out to be nothing.
                _ => u128::from(peer.is_some_and(|peer| peer.idle_at_parting && peer.shows_until.is_none())),
            };
            let elapsed = (now - parting.at).as_nanos();
            let in_time = closes * window.as_nanos() <= elapsed * parting.idle as u128;
            assert!(in_time || elapsed >= window.as_nanos(), "{closes} of {parting:?} after {elapsed} ns");
        }
    }

    #[test]
    fn an_idle_connection_is_closed_as_soon_as_it_need_not_be_kept(
        earlier in script(),
        crowd in crowd(0..CROWD * 2),
        before in vec(event(), 0..30),
        plan in keep_alive().prop_map(|keep_alive| Plan { keep_alive, ..AT_LEISURE }),
        meanwhile in vec(event(), 0..30),
    ) {
        let mut world = World::at_the_end_of(earlier);
        world.listen();
        world.gather(crowd);
        before.into_iter().for_each(|step| world.play(step));
        world.terminate(plan);
        meanwhile.into_iter().for_each(|step| world.play(step));
        // From here on timers go off in time, but some may have been late, or be so already.
        let quiet_until = world.termination.as_ref().and_then(Termination::keeps_quiet_until);
        // Where a turn is awaited that is to close the quiet ones, nothing else is due.
        let over = [world.drain.poll_timeout(), quiet_until.filter(|_| !world.quiet.is_empty())];
        let is_late = over.into_iter().flatten().any(|over| is_held_up(over, world.now));
        let more = if world.held_up || is_late { HELD_UP_GETS } else { Duration::ZERO };
        let (watched_from, looks_from) = (world.history.len(), world.now + more);
        world.let_everybody_read();
        world.let_everything_hang();
        let idle = world.sockets(Peer::is_idle);
        assert!(idle.is_empty() && world.quiet.is_empty(), "{idle:?} and {:?}", world.quiet);
        for Moment { action, peer, termination, now, .. } in world.history.split_off(watched_from) {
            let (true, Some(termination)) = (closes_idle(action), termination) else { continue };
            let kept_until = match &peer {
                Some(peer) => termination.keeps_until(peer),
                None => termination.keeps_quiet_until(),
            };
            assert!(Some(now) <= kept_until.max(Some(looks_from)), "{action:?}: {termination:?}, {peer:?}");
        }
    }

    #[test]
    fn a_termination_ends_when_nobody_is_left_however_long_they_would_be_kept(
        kernel in kernel(),
        crowd in crowd(0..CROWD * 2),
        before in vec(event(), 0..30),
        keep_alive in keep_alive(),
    ) {
        let mut world = World::with(kernel, crowd, before);
        world.terminate(Plan { keep_alive, ..AT_LEISURE });
        let began = world.now;
        while world.listening {
            world.accept_all();
            world.turn();
        }
        world.sockets(|_| true).into_iter().for_each(|socket| world.close(socket));
        (0..world.tasks).for_each(|_| world.finish_task(true));
        world.server_closes();
        assert!(world.termination.is_none());
        assert_eq!(world.now, began);
    }

    /// Otherwise it would ring again at once, and forever.
    #[test]
    fn what_has_rung_is_not_due_any_more(kernel in kernel(), crowd in crowd(0..CROWD * 2), script in script()) {
        let mut world = World::with(kernel, crowd, Vec::new());
        for step in script {
            world.play(step);
            world.ring();
            let due = world.drain.poll_timeout();
            assert!(due.is_none_or(|due| due > world.now), "{due:?}");
        }
    }

    #[test]
    fn no_order_of_events_breaks_an_invariant_even_if_it_makes_no_sense(nonsense in nonsense()) {
        let mut talk = Talk::new();
        nonsense.into_iter().for_each(|nonsense| talk.say(nonsense));
    }

    /// What a fuzzer plays, but without one that has chosen the bytes.
    #[test]
    fn every_law_holds_whatever_the_bytes(bytes in vec(any::<u8>(), 0..400)) {
        Script::arbitrary(&mut Unstructured::new(&bytes)).unwrap().play();
        Gibberish::arbitrary(&mut Unstructured::new(&bytes)).unwrap().play();
    }
}

pub(super) fn config() -> ProptestConfig {
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

pub(super) fn script() -> impl Strategy<Value = Vec<Step>> {
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
    let terminate = (delay, timeout, keep_alive(), any::<bool>())
        .prop_map(|(delay, timeout, keep_alive, observed)| {
            Step::Terminate(Plan { delay, timeout, keep_alive, observed })
        })
        .boxed();
    let meanwhile = prop_oneof![30 => event(), 1 => terminate.clone(), 1 => Just(Step::Listen)];
    let termination = (kernel(), vec(event(), 0..30), terminate, vec(meanwhile, 0..40)).prop_map(
        |(kernel, before, terminate, meanwhile)| {
            [vec![Step::Runs(kernel)], before, vec![terminate], meanwhile].concat()
        },
    );
    vec(termination, 1..3).prop_map(|terminations| terminations.join(&[Step::SeeThrough, Step::Listen][..]))
}

fn event() -> impl Strategy<Value = Step> {
    let place = || 0..8_usize;
    let connections = prop_oneof![
        2 => transport().prop_map(Step::Knock),
        2 => transport().prop_map(Step::BeginHandshake),
        2 => Just(Step::EndHandshake),
        1 => Just(Step::LoseHandshake),
        1 => distance().prop_map(Step::Travel),
        2 => Just(Step::Accept),
        5 => transport().prop_map(Step::Open),
        2 => transport().prop_map(Step::OpenSession),
        1 => place().prop_map(Step::Follow),
        4 => (place(), up_to(200 * MILLISECOND)).prop_map(|(place, gap)| Step::Measure(place, gap)),
        1 => place().prop_map(Step::Hijack),
        1 => place().prop_map(Step::Leave),
        1 => place().prop_map(Step::Break),
        1 => place().prop_map(Step::BreakOff),
        4 => place().prop_map(Step::SocketCloses),
    ];
    let requests = prop_oneof![
        8 => (place(), any::<bool>()).prop_map(|(place, more)| Step::Start(place, more)),
        8 => (place(), finished()).prop_map(|(place, finished)| Step::Finish(place, finished)),
        1 => place().prop_map(Step::Abort),
        2 => place().prop_map(Step::Pong),
        1 => place().prop_map(Step::Receive),
        2 => place().prop_map(Step::ReceiveUnnoticed),
        1 => place().prop_map(Step::Stir),
        2 => (place(), 0..4_u32).prop_map(|(place, unsent)| Step::Read(place, unsent)),
        2 => (place(), any::<bool>()).prop_map(|(place, more)| Step::EndBody(place, more)),
        1 => place().prop_map(Step::Secure),
        1 => place().prop_map(Step::NothingMore),
    ];
    let others = prop_oneof![
        2 => Just(Step::ServerCloses),
        6 => Just(Step::Turn),
        1 => Just(Step::StartTask),
        2 => any::<bool>().prop_map(Step::FinishTask),
        1 => kernel().prop_map(Step::Runs),
        1 => Just(Step::Look),
        1 => up_to(SECOND).prop_map(Step::Pass),
        2 => up_to(100 * MILLISECOND).prop_map(Step::Pass),
        1 => Just(Step::Ring),
        1 => Just(Step::PassUntilRing),
    ];
    prop_oneof![connections, requests, others]
}

pub(super) fn kernel() -> impl Strategy<Value = Kernel> {
    (any::<bool>(), any::<bool>()).prop_map(|(tells, holds)| Kernel { tells, holds })
}

fn keep_alive() -> impl Strategy<Value = KeepAlive> {
    prop_oneof![
        3 => Just(KeepAlive::Auto),
        1 => Just(KeepAlive::For(Duration::ZERO)),
        1 => Just(KeepAlive::For(Duration::MAX)),
        2 => up_to(500 * MILLISECOND).prop_map(KeepAlive::For),
        2 => up_to(10 * SECOND).prop_map(KeepAlive::For),
    ]
}

pub(super) fn crowd(size: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Bystander>> {
    let age = option::of(up_to(SECOND));
    let gap = option::of(up_to(200 * MILLISECOND));
    vec((transport(), age, gap).prop_map(|(transport, age, gap)| Bystander { transport, age, gap }), size)
}

fn nonsense() -> impl Strategy<Value = Vec<Nonsense>> {
    let many = || 0..300_u32;
    let any_time = || prop_oneof![up_to(SECOND), Just(Duration::MAX)];
    let call = prop_oneof![
        (transport(), option::of((up_to(SECOND), any_time())))
            .prop_map(|(transport, rhythm)| Nonsense::Found(transport, rhythm)),
        many().prop_map(Nonsense::Quiet),
        (many(), many()).prop_map(|(closed, quiet)| Nonsense::QuietClosed(closed, quiet)),
        any::<bool>().prop_map(Nonsense::Surveyed),
        (option::of(many()), many()).prop_map(|(waiting, handshakes)| Nonsense::AcceptQueue(waiting, handshakes)),
    ];
    // What each step is followed by, if by anything.
    let calls = vec(option::weighted(0.3, call), 1..100);
    (script(), calls).prop_map(|(script, calls)| {
        let followed = script.into_iter().zip(calls.into_iter().cycle());
        followed.flat_map(|(step, call)| std::iter::once(Nonsense::Step(step)).chain(call)).collect()
    })
}

fn distance() -> impl Strategy<Value = Distance> {
    let round_trip = prop_oneof![Just(0), 0..400_u64, Just(5_000)].prop_map(Duration::from_millis);
    prop_oneof![Just(Distance::Near), round_trip.prop_map(|round_trip| Distance::Far { round_trip })]
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

impl World {
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
}

impl Termination {
    /// By when an idle connection is to be closed.
    fn keeps_until(&self, peer: &Peer) -> Option<Instant> {
        let parting = self.parting?;
        let expected = if peer.idle_at_parting && parting.loaded {
            peer.in_rhythm_until().max(Some(parting.at + SPEAKS_WITHIN + peer.round_trip()))
        } else {
            parting.secured_until(peer)
        };
        let kept = match self.keep_alive {
            KeepAlive::Auto => expected,
            KeepAlive::For(_) => self.window_ends().filter(|_| peer.idle_at_parting),
        };
        kept.max(peer.untold_until)
            .max(peer.shows_until)
            .max(peer.found_at)
            .max(peer.may_speak_until())
            .max(peer.more_until)
            .max(Some(parting.at))
    }

    /// By when the last of those known by their number only is to be closed.
    fn keeps_quiet_until(&self) -> Option<Instant> {
        let parting = self.parting?;
        match self.keep_alive {
            KeepAlive::Auto if parting.loaded => Some(parting.quiet_until),
            KeepAlive::Auto => Some(parting.at),
            KeepAlive::For(_) => self.window_ends(),
        }
    }
}
