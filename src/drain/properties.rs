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
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::RngAlgorithm;

use super::keep_alive::{ASKS_AGAIN_WITHIN, CROWD, GAPS, RHYTHM_AT_MOST};
use super::*;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const AT_LEISURE: Plan =
    Plan { delay: Duration::ZERO, timeout: None, keep_alive: KeepAlive::For(Duration::ZERO), observed: false };
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
            // But an answer may have said close.
            let linger = matches!(action, Action::Linger(_)) && !peer.is_some_and(|peer| peer.leaving);
            let end = matches!(action, Action::End(_) | Action::Ping(_) | Action::HoldListener | Action::CloseServer);
            prop_assert!(!closes_idle(action) && !linger && !end, "{action:?}");
        }
    }

    #[test]
    fn a_session_is_closed_when_its_ping_is_acknowledged_or_has_taken_too_long(script in script()) {
        let mut world = World::new();
        for step in script {
            world.play(step);
            let acknowledged = world.sockets(|peer| peer.ponged && !peer.session_closing && !peer.destroyed);
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
        for Moment { action, peer, termination, turn, now, .. } in World::at_the_end_of(script).history {
            let (true, Some(termination)) = (closes_idle(action), termination) else { continue };
            prop_assert!(Some(turn) > termination.drains_after, "{action:?}: {peer:?}");
            // Of the quiet ones, all had come before.
            let Some(peer) = peer else { continue };
            // The loop may have been blocked for all the time that it had; the kernel is asked before it closes.
            let had_its_time = peer.accepted.is_some_and(|accepted| accepted + SPEAKS_WITHIN <= now);
            prop_assert!(had_its_time || turn > peer.came_after, "{action:?}: {peer:?}");
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
            let spared = world.sockets(|peer| !peer.destroyed);
            prop_assert!(!expired || spared.is_empty(), "{spared:?}");
        }
    }

    #[test]
    fn a_body_whose_request_is_answered_is_heard_to_its_end(script in script()) {
        let mut world = World::new();
        for step in script {
            world.play(step);
            let drains = world.termination.as_ref().is_some_and(|termination| termination.drains_after.is_some());
            let unheard = world.sockets(|peer| peer.answered_early && peer.lingers_until.is_none() && !peer.destroyed);
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
            let untold = world.sockets(|peer| {
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
            prop_assert_eq!(world.look(), world.stats());
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
            let (quiet, unused) = (count(&world.quiet), world.unused());
            let World { drain, now, turns_asked, turns_taken, termination, tasks, open, .. } = &mut world;
            let known: BTreeMap<_, _> = open.values().filter_map(|peer| Some((peer.id?, peer))).collect();
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
                drain.handle_listening();
                for (&id, _) in known.iter().filter(|(_, peer)| peer.session) {
                    drain.handle_multiplexed(id, *now);
                }
            } else {
                drain.handle_server_closed(*now);
            }
            if !termination.as_ref().is_some_and(Termination::is_watching) {
                drain.handle_accept_queue(Some(0), *now);
                drain.handle_accept_queue(Some(7), *now);
                drain.handle_accept_queue(None, *now);
            }
            drain.handle_quiet(quiet, unused, *now);
            drain.handle_quiet_closed(0, quiet, unused, *now);
            for (&id, peer) in &known {
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
            for unknown in (0..20).filter(|id| !known.contains_key(id)) {
                drain.handle_request_started(unknown, true);
                drain.handle_request_finished(unknown, KEPT_ALIVE, *now);
                drain.handle_request_aborted(unknown);
                drain.handle_multiplexed(unknown, *now);
                drain.handle_ponged(unknown);
                drain.handle_hijacked(unknown);
                drain.handle_receiving(unknown);
                drain.handle_nothing_more(unknown);
                drain.handle_answered_early(unknown, *now);
                drain.handle_closed(unknown, true, *now);
                drain.handle_request_broken_off(unknown);
            }
            prop_assert!(format!("{drain:#?}") == before, "{before} has become {drain:#?}");
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
        prop_assert!(world.termination.is_none());
        let mut closes = vec![0; world.turns_taken + 1];
        for Moment { action, turn, .. } in world.history {
            closes[turn] += match action {
                Action::CloseQuiet(count) => count,
                action => u32::from(closes_idle(action)),
            };
        }
        prop_assert!(closes.iter().all(|&closes| closes <= CLOSES_PER_TURN), "{closes:?}");
    }

    #[test]
    fn a_connection_in_rhythm_is_kept_as_long_as_it_is_under_load_or_in_the_window(
        kernel in kernel(),
        crowd in crowd(0..20),
        script in script(),
    ) {
        let mut world = World::with(kernel, crowd, script);
        world.see_through();
        for Moment { action, peer, termination, now, .. } in world.history {
            let (true, Some(peer), Some(termination)) = (closes_idle(action), peer, termination) else { continue };
            let Some(parting) = termination.parting.filter(|_| peer.idle_at_parting) else { continue };
            let kept_until = match termination.keep_alive {
                KeepAlive::Auto => peer.in_rhythm_until().filter(|_| parting.loaded),
                KeepAlive::For(_) => peer.in_rhythm_until().min(termination.window_ends()),
            };
            prop_assert!(kept_until <= Some(now), "{parting:?}: {peer:?}");
        }
    }

    #[test]
    fn whoever_is_accepted_during_a_termination_has_time_to_speak(script in script()) {
        for Moment { action, peer, now, .. } in World::at_the_end_of(script).history {
            let (true, Some(peer)) = (closes_idle(action), peer) else { continue };
            prop_assert!(peer.may_speak_until() <= Some(now), "{peer:?}");
        }
    }

    #[test]
    fn under_load_whoever_has_never_spoken_has_time_to(
        kernel in kernel(),
        crowd in crowd(0..20),
        script in script(),
    ) {
        let mut world = World::with(kernel, crowd, script);
        world.see_through();
        for Moment { action, peer, quiet, unused, termination, now, .. } in world.history {
            let (true, Some(Termination { keep_alive: KeepAlive::Auto, parting: Some(parting), .. })) =
                (closes_idle(action), termination)
            else {
                continue;
            };
            if !parting.loaded || parting.at + SPEAKS_WITHIN <= now {
                continue;
            }
            prop_assert!(!peer.is_some_and(|peer| peer.idle_at_parting && peer.unheard));
            prop_assert!(!matches!(action, Action::CloseQuiet(count) if count > quiet - unused));
        }
    }

    #[test]
    fn nobody_is_closed_before_the_window_ends_unless_they_are_a_crowd(
        kernel in kernel(),
        crowd in crowd(0..CROWD),
        script in script(),
    ) {
        let mut world = World::with(kernel, crowd, script);
        world.see_through();
        for Moment { action, peer, termination, now, .. } in world.history {
            let (true, Some(termination)) = (closes_idle(action), termination) else { continue };
            let (Some(ends), Some(parting)) = (termination.window_ends(), termination.parting) else { continue };
            let idle = peer.is_none_or(|peer| peer.idle_at_parting);
            prop_assert!(!idle || parting.idle > CROWD || ends <= now, "{action:?}: {parting:?}");
        }
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
            prop_assert!(in_rhythm_until.min(termination.window_ends()) <= Some(now), "{peer:?}");
            closes += match action {
                Action::CloseQuiet(count) => u128::from(count),
                _ => u128::from(peer.is_some_and(|peer| peer.idle_at_parting)),
            };
            let elapsed = (now - parting.at).as_nanos();
            let in_time = closes * window.as_nanos() <= elapsed * parting.idle as u128;
            prop_assert!(in_time || elapsed >= window.as_nanos(), "{closes} of {parting:?} after {elapsed} ns");
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
        let (watched_from, looks_from) = (world.history.len(), world.now);
        world.let_everything_hang();
        let idle = world.sockets(Peer::is_idle);
        prop_assert!(idle.is_empty() && world.quiet.is_empty(), "{idle:?} and {:?}", world.quiet);
        for Moment { action, peer, termination, now, .. } in world.history.split_off(watched_from) {
            let (true, Some(termination)) = (closes_idle(action), termination) else { continue };
            let kept_until = match &peer {
                Some(peer) => termination.keeps_until(peer),
                None => termination.keeps_quiet_until(),
            };
            prop_assert!(Some(now) <= kept_until.max(Some(looks_from)), "{action:?}: {termination:?}, {peer:?}");
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
            while !world.waiting.is_empty() {
                world.accept();
            }
            world.turn();
        }
        world.sockets(|_| true).into_iter().for_each(|socket| world.close(socket));
        (0..world.tasks).for_each(|_| world.finish_task(true));
        world.server_closes();
        prop_assert!(world.termination.is_none());
        prop_assert_eq!(world.now, began);
    }

    #[test]
    fn no_more_quiet_connections_are_closed_than_there_are(kernel in kernel(), crowd in crowd(0..100), script in script()) {
        let mut world = World::with(kernel, crowd, script);
        world.see_through();
        for Moment { action, quiet, .. } in world.history {
            prop_assert!(!matches!(action, Action::CloseQuiet(count) if count == 0 || count > quiet), "{action:?}");
        }
    }

    #[test]
    fn whoever_is_there_is_looked_for_when_the_delay_begins_and_when_it_is_over(script in script()) {
        let world = World::at_the_end_of(script);
        for Moment { action, termination, .. } in &world.history {
            let (Action::Survey(horizon) | Action::LastSurvey(horizon), Some(termination)) = (action, termination) else {
                continue;
            };
            prop_assert_eq!(matches!(action, Action::LastSurvey(_)), termination.expired);
            let looked_for_before = termination.drains_after.is_some() && termination.told.contains(&Milestone::Delaying);
            prop_assert_eq!(termination.surveys, usize::from(looked_for_before));
            let at_once = termination.keep_alive == KeepAlive::For(Duration::ZERO);
            prop_assert_eq!(*horizon, if at_once { Duration::ZERO } else { RHYTHM_AT_MOST });
        }
        for (_, Termination { surveys, told, .. }) in world.reports {
            let expected = [Milestone::Delaying, Milestone::Draining].map(|milestone| told.contains(&milestone));
            prop_assert_eq!(surveys, expected.into_iter().map(usize::from).sum::<usize>());
        }
    }

    #[test]
    fn the_listener_is_closed_once_in_each_termination(script in script()) {
        for (_, termination) in World::at_the_end_of(script).reports {
            let Termination { server_closes, watches, holds, .. } = termination;
            // If somebody else has closed the server, a termination may end with the delay.
            let closed = server_closes == usize::from(termination.drains_after.is_some());
            prop_assert!(closed && watches <= server_closes && holds <= watches, "{termination:?}");
        }
    }

    #[test]
    fn the_listener_is_not_closed_while_somebody_waits_to_be_accepted(script in script()) {
        for Moment { action, waiting, termination, now, .. } in World::at_the_end_of(script).history {
            let (Action::CloseServer, Some(termination)) = (action, termination) else { continue };
            if termination.expired || termination.accepts_until <= Some(now) {
                continue;
            }
            match termination.said_to_wait {
                Some(said) => prop_assert_eq!((said, waiting), (0, 0)),
                None => prop_assert!(termination.turns_without >= 2, "{termination:?}"),
            }
        }
    }

    #[test]
    fn new_connections_are_held_back_only_while_the_listener_is_watched(script in script()) {
        for Moment { action, termination, .. } in World::at_the_end_of(script).history {
            let (Action::HoldListener, Some(termination)) = (action, termination) else { continue };
            prop_assert!(termination.is_watching() && termination.said_to_wait.is_some(), "{termination:?}");
        }
    }

    /// Otherwise it would ring again at once, and forever.
    #[test]
    fn what_has_rung_is_not_due_any_more(kernel in kernel(), crowd in crowd(0..CROWD * 2), script in script()) {
        let mut world = World::with(kernel, crowd, Vec::new());
        for step in script {
            world.play(step);
            world.ring();
            let due = world.drain.poll_timeout();
            prop_assert!(due.is_none_or(|due| due > world.now), "{due:?}");
        }
    }

    /// No world keeps these events in order. The machine asserts its invariants by itself.
    #[test]
    fn no_order_of_events_breaks_an_invariant_even_if_it_makes_no_sense(nonsense in nonsense()) {
        let World { mut drain, mut now, .. } = World::new();
        for nonsense in nonsense {
            let serving = drain.phase() == Phase::Serving && !matches!(nonsense, Nonsense::Step(Step::Terminate(_)));
            match nonsense {
                Nonsense::Step(step) => match step {
                    Step::Open(transport) => drop(drain.handle_opened(transport, now)),
                    Step::Start(id, more) => drain.handle_request_started(id, more),
                    Step::Finish(id, finished) => drain.handle_request_finished(id, finished, now),
                    Step::OpenSession(_) => drain.handle_multiplexed(0, now),
                    Step::Follow(id) => drain.handle_multiplexed(id, now),
                    Step::Abort(id) => drain.handle_request_aborted(id),
                    Step::Pong(id) => drain.handle_ponged(id),
                    Step::Hijack(id) => drain.handle_hijacked(id),
                    Step::Receive(id) => drain.handle_receiving(id),
                    Step::ReceiveUnnoticed(id) => drain.handle_answered_early(id, now),
                    Step::Secure(id) => drain.handle_secured(id, now),
                    Step::NothingMore(id) => drain.handle_nothing_more(id),
                    Step::Leave(id) | Step::SocketCloses(id) => drain.handle_closed(id, true, now),
                    Step::Break(id) => drain.handle_closed(id, false, now),
                    Step::BreakOff(id) => drain.handle_request_broken_off(id),
                    Step::ServerCloses => drain.handle_server_closed(now),
                    Step::Turn => drain.handle_turned(now),
                    Step::StartTask => drain.handle_task_started(),
                    Step::FinishTask(fulfilled) => drain.handle_task_finished(fulfilled, now),
                    Step::Pass(time) => now += time,
                    Step::Ring => drain.handle_timeout(now),
                    Step::Terminate(plan) => drain.handle_terminate(plan, now),
                    Step::Listen => drain.handle_listening(),
                    Step::PassUntilRing => {
                        now = drain.poll_timeout().map_or(now, |due| due.max(now));
                        drain.handle_timeout(now);
                    }
                    Step::Runs(_)
                    | Step::Knock(_)
                    | Step::Accept
                    | Step::Measure(..)
                    | Step::Look
                    | Step::SeeThrough => {}
                },
                Nonsense::Found(transport, rhythm) => {
                    // The last request may even be yet to come.
                    let rhythm = rhythm.map(|(ahead, gap)| Rhythm { last: now + ahead, gap });
                    drain.handle_found(transport, rhythm.is_some(), rhythm);
                }
                Nonsense::Quiet(quiet, unused) => drain.handle_quiet(quiet, unused, now),
                Nonsense::QuietClosed(closed, quiet, unused) => drain.handle_quiet_closed(closed, quiet, unused, now),
                Nonsense::AcceptQueue(waiting) => drain.handle_accept_queue(waiting, now),
            }
            let actions = std::iter::from_fn(|| drain.poll_action()).count();
            prop_assert!(!serving || actions == 0);
        }
    }
}

/// Whether something is closed because nothing is under way on it.
fn closes_idle(action: Action) -> bool {
    matches!(action, Action::Close(_) | Action::CloseNotify(_) | Action::CloseQuiet(_))
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
    /// From now on, this is what the kernel is able to do.
    Runs(Kernel),
    /// Somebody connects, and waits to be accepted.
    Knock(Transport),
    /// One of those who wait is accepted.
    Accept,
    /// Somebody connects and is accepted at once.
    Open(Transport),
    /// An HTTP/2 connection, over which the peer speaks at once.
    OpenSession(Transport),
    /// The caller keeps an eye on a connection from now on, whether something is under way on it or not.
    Follow(usize),
    /// The caller has found that the requests on a connection come this far apart.
    Measure(usize, Duration),
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
    /// A TLS handshake ends.
    Secure(usize),
    /// No further request follows the one that was said to be followed.
    NothingMore(usize),
    /// The peer closes.
    Leave(usize),
    /// Somebody here closes, and not because the machine asked for it.
    Break(usize),
    /// Somebody here resets a stream.
    BreakOff(usize),
    /// Of the sockets on their way out, one has closed.
    SocketCloses(usize),
    ServerCloses,
    Turn,
    StartTask,
    FinishTask(bool),
    /// Somebody wants to know what is open.
    Look,
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

/// What the kernel is able to do with a listener.
#[derive(Clone, Copy, Debug)]
struct Kernel {
    /// It tells how many wait to be accepted.
    tells: bool,
    /// It can hold new connections back.
    holds: bool,
}

/// A connection that is open and idle when a termination begins.
#[derive(Clone, Copy, Debug)]
struct Bystander {
    transport: Transport,
    /// How long ago the last request on it came, if one has.
    age: Option<Duration>,
    gap: Option<Duration>,
}

/// What may be told to a machine by somebody who has not read its contract.
#[derive(Clone, Copy, Debug)]
enum Nonsense {
    Step(Step),
    Found(Transport, Option<(Duration, Duration)>),
    Quiet(u32, u32),
    QuietClosed(u32, u32, u32),
    AcceptQueue(Option<u32>),
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
        1 => place().prop_map(Step::Secure),
        1 => place().prop_map(Step::NothingMore),
    ];
    let others = prop_oneof![
        2 => Just(Step::ServerCloses),
        6 => Just(Step::Turn),
        1 => Just(Step::StartTask),
        2 => any::<bool>().prop_map(Step::FinishTask),
        1 => Just(Step::Look),
        1 => up_to(SECOND).prop_map(Step::Pass),
        2 => up_to(100 * MILLISECOND).prop_map(Step::Pass),
        1 => Just(Step::Ring),
        1 => Just(Step::PassUntilRing),
    ];
    prop_oneof![connections, requests, others]
}

fn kernel() -> impl Strategy<Value = Kernel> {
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

fn crowd(size: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Bystander>> {
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
        (many(), many()).prop_map(|(quiet, unused)| Nonsense::Quiet(quiet, unused)),
        (many(), many(), many()).prop_map(|(closed, quiet, unused)| Nonsense::QuietClosed(closed, quiet, unused)),
        option::of(many()).prop_map(Nonsense::AcceptQueue),
    ];
    // What each step is followed by, if by anything.
    let calls = vec(option::weighted(0.3, call), 1..100);
    (script(), calls).prop_map(|(script, calls)| {
        let followed = script.into_iter().zip(calls.into_iter().cycle());
        followed.flat_map(|(step, call)| std::iter::once(Nonsense::Step(step)).chain(call)).collect()
    })
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

/// Sockets are numbered as they are opened, and never anew.
type Socket = usize;

/// All that the caller knows of one connection.
#[derive(Clone, Debug)]
struct Peer {
    transport: Transport,
    /// What the machine calls it, if it has been told of it as one of its own.
    id: Option<ConnectionId>,
    /// The machine has been told of it, or of the number of those among which it is.
    counted: bool,
    /// How many turns of the loop had been asked for when it came.
    came_after: usize,
    /// When it was accepted, if a termination ran.
    accepted: Option<Instant>,
    /// The caller keeps an eye on it.
    followed: bool,
    /// When the last request came.
    last: Option<Instant>,
    /// How far apart requests come, if that has been found.
    gap: Option<Duration>,
    /// What the machine was told of that.
    rhythm: Option<Rhythm>,
    /// The machine was never told that a request has come.
    unheard: bool,
    /// It was idle when the loop had read what had come in before the delay was over.
    idle_at_parting: bool,
    /// Until when its next request is to be expected, if the answer to its last one could not say close.
    untold_until: Option<Instant>,
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
    /// Somebody here has closed it.
    broken: bool,
    /// A request on it has been cut, or it has, being a tunnel.
    cut: bool,
    /// It has been listed as such.
    listed: bool,
}

impl Peer {
    fn new(transport: Transport, session: bool, came_after: usize) -> Self {
        Self {
            transport,
            id: None,
            counted: false,
            came_after,
            accepted: None,
            followed: false,
            last: None,
            gap: None,
            rhythm: None,
            unheard: true,
            idle_at_parting: false,
            untold_until: None,
            in_flight: VecDeque::new(),
            receiving: false,
            unnoticed: false,
            answered_early: false,
            hijacked: false,
            session,
            pinging_until: None,
            ponged: false,
            session_closing: false,
            says_close: false,
            was_busy: false,
            leaving: false,
            lingers_until: None,
            destroyed: false,
            forced: false,
            closing: false,
            broken: false,
            cut: false,
            listed: false,
        }
    }

    /// The oldest request ends, or over HTTP/2, where they end in any order, the newest.
    fn end_one(&mut self) -> Option<Came> {
        let came = if self.session { self.in_flight.pop_back() } else { self.in_flight.pop_front() };
        self.closing |= self.session_closing && self.in_flight.is_empty();
        came
    }

    fn is_busy(&self) -> bool {
        !self.in_flight.is_empty() || self.receiving || self.hijacked
    }

    /// Whether the machine knows it, and nothing is under way or done on it.
    fn is_idle(&self) -> bool {
        self.id.is_some() && !self.is_busy() && !self.answered_early && !self.session && !self.leaving
    }

    /// Whether the caller knows it for its own sake, though no termination runs.
    fn is_followed(&self) -> bool {
        self.followed || self.session || self.hijacked || !self.in_flight.is_empty()
    }

    /// Whether it is more than one of many, if requests that came before matter no more.
    fn is_worth_finding(&self, since: Instant) -> bool {
        let in_rhythm = self.gap.is_some() && self.last.is_some_and(|last| last >= since);
        // Under TLS an end is a conversation of its own.
        self.transport == Transport::Tls || self.is_busy() || self.answered_early || in_rhythm
    }

    /// How many requests go unanswered when it is destroyed. Half a request is one, but not behind FIN.
    fn requests_at_stake(&self) -> u32 {
        count(&self.in_flight) + u32::from(self.receiving && !self.leaving)
    }

    /// Until when its next request is to be expected, going by the last ones.
    fn in_rhythm_until(&self) -> Option<Instant> {
        self.rhythm.map(|Rhythm { last, gap }| last + (gap * GAPS).min(RHYTHM_AT_MOST))
    }

    /// Until when it may speak, having been accepted a moment ago.
    fn may_speak_until(&self) -> Option<Instant> {
        self.accepted.map(|accepted| accepted + SPEAKS_WITHIN)
    }

    /// Whether something goes on, or is to be expected.
    fn is_lively(&self, now: Instant) -> bool {
        let expected = self.in_rhythm_until().max(self.may_speak_until()).is_some_and(|until| until > now);
        self.id.is_some() && !self.hijacked && (self.is_busy() || expected)
    }
}

/// One of the connections of which the machine knows no more than their number. It may have closed unseen.
#[derive(Clone, Copy, Debug)]
struct Quiet {
    socket: Socket,
    unused: bool,
}

/// The loop has read what had come in before the delay was over, and idle connections are parted with.
#[derive(Clone, Copy, Debug)]
struct Parting {
    at: Instant,
    /// More is going on than a test leaves behind.
    loaded: bool,
    /// How many connections are idle, known or not.
    idle: usize,
}

/// A termination that runs.
#[derive(Clone, Debug)]
struct Termination {
    began: Instant,
    delayed_until: Option<Instant>,
    timeout: Option<Duration>,
    keep_alive: KeepAlive,
    observed: bool,
    /// How many turns of the loop had been asked for when the delay was over.
    drains_after: Option<usize>,
    /// By when the listener must close, whoever waits to be accepted.
    accepts_until: Option<Instant>,
    parting: Option<Parting>,
    /// When it must end, once the delay is over.
    deadline: Option<Instant>,
    /// How many turns had been asked for when the machine was told that the deadline has passed.
    due_after: Option<usize>,
    /// A whole turn has been taken since, or there was no time at all.
    expired: bool,
    /// How often the machine has asked for each of these.
    surveys: usize,
    watches: usize,
    holds: usize,
    server_closes: usize,
    /// How many wait to be accepted, as last said, if that was known.
    said_to_wait: Option<u32>,
    /// How many whole turns in a row have brought nobody, and whether somebody came since the last one.
    turns_without: usize,
    somebody_came: bool,
    server_closed: bool,
    /// How many connections the machine was told of.
    connections: u32,
    /// What the report should say.
    expected: Report,
    /// What has been announced.
    told: Vec<Milestone>,
}

impl Termination {
    /// Whether it is to be told how many wait to be accepted.
    fn is_watching(&self) -> bool {
        self.watches > self.server_closes
    }

    /// When the window closes in which idle connections are kept, if it has one.
    fn window_ends(&self) -> Option<Instant> {
        match self.keep_alive {
            KeepAlive::Auto => None,
            KeepAlive::For(length) => self.parting.map(|parting| parting.at + length.min(WINDOW_AT_MOST)),
        }
    }

    /// By when an idle connection is to be closed.
    fn keeps_until(&self, peer: &Peer) -> Option<Instant> {
        let parting = self.parting?;
        let expected = if peer.idle_at_parting && parting.loaded {
            let unheard = if peer.unheard { Some(parting.at + SPEAKS_WITHIN) } else { None };
            peer.in_rhythm_until().max(unheard)
        } else {
            None
        };
        let kept = match self.keep_alive {
            KeepAlive::Auto => expected,
            KeepAlive::For(_) => self.window_ends().filter(|_| peer.idle_at_parting),
        };
        kept.max(peer.untold_until).max(peer.may_speak_until()).max(Some(parting.at))
    }

    /// By when the last of those known by their number only is to be closed.
    fn keeps_quiet_until(&self) -> Option<Instant> {
        let parting = self.parting?;
        match self.keep_alive {
            KeepAlive::Auto if parting.loaded => Some(parting.at + SPEAKS_WITHIN),
            KeepAlive::Auto => Some(parting.at),
            KeepAlive::For(_) => self.window_ends(),
        }
    }
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
    /// How many connections are known by their number only, and how many of these were never used.
    quiet: u32,
    unused: u32,
    /// How many wait to be accepted.
    waiting: usize,
    termination: Option<Termination>,
    /// Whether all that a termination waits for has ended.
    over: bool,
}

/// How often everything that can happen does, until nothing is left to happen.
const ROUNDS: usize = 10_000;

/// The caller, its sockets, and its clock.
struct World {
    drain: Drain,
    now: Instant,
    kernel: Kernel,
    open: BTreeMap<Socket, Peer>,
    /// How many sockets there have been.
    sockets: usize,
    /// The connection that is just closing: the last that is asked for it, is asked then.
    closing: Option<Peer>,
    closed: Vec<Peer>,
    /// Those that were never used come last.
    quiet: Vec<Quiet>,
    tasks: u32,
    listening: bool,
    /// New connections don't reach the listener.
    held: bool,
    /// Who waits to be accepted.
    waiting: VecDeque<Transport>,
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
            // Some of what is open may be older than the world.
            now: Instant::now() + 10 * SECOND,
            kernel: Kernel { tells: true, holds: true },
            open: BTreeMap::new(),
            sockets: 0,
            closing: None,
            closed: Vec::new(),
            quiet: Vec::new(),
            tasks: 0,
            listening: true,
            held: false,
            waiting: VecDeque::new(),
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

    /// A world on a kernel, in which a crowd stands by, and then some more has happened.
    fn with(kernel: Kernel, crowd: Vec<Bystander>, before: Vec<Step>) -> Self {
        let mut world = Self::new();
        world.kernel = kernel;
        world.gather(crowd);
        before.into_iter().for_each(|step| world.play(step));
        world
    }

    fn play(&mut self, step: Step) {
        match step {
            Step::Runs(kernel) => self.kernel = kernel,
            Step::Knock(transport) => self.knock(transport),
            Step::Accept => self.accept(),
            Step::Open(transport) => self.open(transport),
            Step::OpenSession(transport) => self.open_session(transport),
            Step::Follow(place) => self.at(place, |world, socket| world.peer(socket).followed = true),
            Step::Measure(place, gap) => self.at(place, |world, socket| world.measure(socket, gap)),
            Step::Start(place, more) => self.at(place, |world, socket| world.start(socket, more)),
            Step::Finish(place, finished) => self.at(place, |world, socket| world.finish(socket, finished)),
            Step::Abort(place) => self.at(place, Self::abort),
            Step::Pong(place) => self.at(place, Self::pong),
            Step::Hijack(place) => self.at(place, Self::hijack),
            Step::Receive(place) => self.at(place, Self::receive),
            Step::ReceiveUnnoticed(place) => self.at(place, Self::receive_unnoticed),
            Step::Secure(place) => self.at(place, Self::secure),
            Step::NothingMore(place) => self.at(place, Self::nothing_more),
            Step::Leave(place) => self.at(place, Self::close),
            Step::Break(place) => self.at(place, Self::break_connection),
            Step::BreakOff(place) => self.at(place, Self::break_off),
            Step::SocketCloses(place) => self.socket_closes(place),
            Step::ServerCloses => self.server_closes(),
            Step::Turn => self.turn(),
            Step::StartTask => self.start_task(),
            Step::FinishTask(fulfilled) => self.finish_task(fulfilled),
            Step::Look => drop(self.look()),
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
            for socket in self.sockets(|peer| peer.is_busy()) {
                if self.peer(socket).receiving {
                    self.start(socket, false);
                }
                for _ in 0..self.peer(socket).in_flight.len() {
                    self.finish(socket, KEPT_ALIVE);
                }
                if self.peer(socket).hijacked {
                    self.close(socket);
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

    /// Who waits is accepted, the loop turns, what is on its way out closes, and if that is all, time passes.
    fn let_sockets_close(&mut self) {
        while !self.waiting.is_empty() {
            self.accept();
        }
        for socket in self.sockets(|peer| peer.closing) {
            self.close(socket);
        }
        self.server_closes();
        if self.turns_taken < self.turns_asked {
            self.turn();
        } else {
            self.pass_until_ring();
        }
    }

    // What happens. Each first makes its entry in the record, then tells the machine.

    fn knock(&mut self, transport: Transport) {
        if self.listening && !self.held {
            self.waiting.push_back(transport);
        }
    }

    fn accept(&mut self) {
        if let Some(transport) = self.waiting.pop_front() {
            self.open(transport);
        }
    }

    fn gather(&mut self, crowd: Vec<Bystander>) {
        for Bystander { transport, age, gap } in crowd {
            let last = age.and_then(|age| self.now.checked_sub(age));
            let socket = self.arrive(transport, false);
            let peer = self.peer(socket);
            peer.last = last;
            peer.gap = gap.filter(|_| last.is_some());
        }
    }

    fn open(&mut self, transport: Transport) {
        self.arrive(transport, false);
        self.obey();
    }

    fn open_session(&mut self, transport: Transport) {
        let socket = self.arrive(transport, true);
        if let Some(id) = self.peer(socket).id {
            self.drain.handle_multiplexed(id, self.now);
        }
        self.obey();
    }

    fn arrive(&mut self, transport: Transport, session: bool) -> Socket {
        let socket = self.sockets;
        self.sockets += 1;
        let mut peer = Peer::new(transport, session, self.turns_asked);
        // While serving, connections are not events.
        if let Some(termination) = &mut self.termination {
            peer.accepted = Some(self.now);
            peer.counted = true;
            termination.connections += 1;
            termination.somebody_came = true;
            let id = self.drain.handle_opened(transport, self.now);
            assert!(self.open.values().all(|peer| peer.id != Some(id)), "an id names one connection at a time");
            peer.id = Some(id);
        }
        self.open.insert(socket, peer);
        socket
    }

    fn measure(&mut self, socket: Socket, gap: Duration) {
        let peer = self.peer(socket);
        if peer.last.is_some() {
            peer.gap = Some(gap);
        }
    }

    fn start(&mut self, socket: Socket, more: bool) {
        let peer = peer_of(&mut self.open, socket);
        // Node refuses what comes on a session that closes.
        if peer.hijacked || peer.session_closing {
            return;
        }
        // While serving, requests are not events.
        let id = self.termination.is_some().then(|| self.find(socket));
        let peer = peer_of(&mut self.open, socket);
        let more = more && !peer.session;
        peer.unnoticed = false;
        peer.answered_early = false;
        peer.last = Some(self.now);
        if !peer.leaving {
            peer.in_flight.push_back(if id.is_some() { Came::During } else { Came::Before });
            peer.receiving = more;
            peer.was_busy = true;
            peer.says_close = false;
        }
        let (Some(id), Some(termination)) = (id, &mut self.termination) else { return };
        peer.unheard = false;
        if peer.leaving {
            peer.cut = true;
            termination.expected.requests.cut += 1;
        }
        self.drain.handle_request_started(id, more);
        self.obey();
    }

    fn finish(&mut self, socket: Socket, Finished { arriving, said_close, .. }: Finished) {
        let peer = peer_of(&mut self.open, socket);
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
        if answered == Some(Came::Before) && !said_close {
            self.leave_untold(socket);
        }
        let peer = peer_of(&mut self.open, socket);
        let (Some(id), Some(termination)) = (peer.id, &mut self.termination) else { return };
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

    /// Its client has been answered, and does not know that it is to go.
    fn leave_untold(&mut self, socket: Socket) {
        let Some(termination) = self.termination.as_ref().filter(|termination| termination.parting.is_some()) else {
            return;
        };
        let loaded = self.open.values().filter(|peer| peer.is_lively(self.now)).count() > FEW;
        let window = termination.window_ends();
        let peer = peer_of(&mut self.open, socket);
        let rhythm =
            peer.rhythm.filter(|_| loaded).map(|Rhythm { gap, .. }| self.now + (gap * GAPS).min(RHYTHM_AT_MOST));
        peer.untold_until = window.or(rhythm.max(Some(self.now + ASKS_AGAIN_WITHIN)));
    }

    fn abort(&mut self, socket: Socket) {
        let peer = peer_of(&mut self.open, socket);
        if !peer.session || peer.in_flight.is_empty() {
            return;
        }
        peer.end_one();
        if let Some(id) = peer.id {
            self.drain.handle_request_aborted(id);
            self.obey();
        }
    }

    fn pong(&mut self, socket: Socket) {
        // It may come when nobody waits for it any more.
        let peer = peer_of(&mut self.open, socket);
        if let (Some(id), Some(_)) = (peer.id, peer.pinging_until) {
            peer.ponged = true;
            self.drain.handle_ponged(id);
            self.obey();
        }
    }

    fn hijack(&mut self, socket: Socket) {
        if self.peer(socket).session {
            return;
        }
        let id = self.termination.is_some().then(|| self.find(socket));
        let peer = peer_of(&mut self.open, socket);
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
        if let Some(id) = id {
            self.drain.handle_hijacked(id);
            self.obey();
        }
    }

    fn receive(&mut self, socket: Socket) {
        let peer = peer_of(&mut self.open, socket);
        // Nobody looks for half a request in a tunnel or behind FIN.
        if peer.hijacked || peer.session || peer.leaving {
            return;
        }
        peer.receiving = true;
        peer.was_busy = true;
        peer.answered_early = false;
        if self.termination.is_some() {
            let id = self.find(socket);
            self.drain.handle_receiving(id);
            self.obey();
        }
    }

    fn receive_unnoticed(&mut self, socket: Socket) {
        self.peer(socket).unnoticed = true;
    }

    fn secure(&mut self, socket: Socket) {
        let peer = peer_of(&mut self.open, socket);
        let unused = peer.last.is_none() && !peer.hijacked && !peer.session && !peer.answered_early;
        let (true, false, Some(id), Some(_)) = (unused, peer.leaving, peer.id, &self.termination) else { return };
        // It was not idle, or it still is.
        peer.idle_at_parting &= !std::mem::take(&mut peer.receiving);
        peer.was_busy = false;
        peer.accepted = Some(self.now);
        self.drain.handle_secured(id, self.now);
        self.obey();
    }

    fn nothing_more(&mut self, socket: Socket) {
        let peer = peer_of(&mut self.open, socket);
        if peer.hijacked || peer.session || peer.in_flight.is_empty() {
            return;
        }
        peer.receiving &= peer.leaving;
        if let Some(id) = peer.id {
            self.drain.handle_nothing_more(id);
            self.obey();
        }
    }

    fn break_connection(&mut self, socket: Socket) {
        self.peer(socket).broken = true;
        self.close(socket);
    }

    fn break_off(&mut self, socket: Socket) {
        let peer = peer_of(&mut self.open, socket);
        if !peer.session || peer.leaving || peer.end_one().is_none() {
            return;
        }
        if let (Some(id), Some(termination)) = (peer.id, &mut self.termination) {
            termination.expected.requests.cut += 1;
            self.drain.handle_request_broken_off(id);
            self.obey();
        }
    }

    fn close(&mut self, socket: Socket) {
        let Some(mut peer) = self.open.remove(&socket) else { return };
        let (Some(id), Some(termination)) = (peer.id, &mut self.termination) else {
            // Nobody sees it.
            self.closed.push(peer);
            return;
        };
        // What was destroyed was counted then, and a peer that goes by itself wants no answers.
        if (peer.leaving || peer.broken) && !peer.destroyed {
            peer.cut |= !peer.in_flight.is_empty();
            termination.expected.requests.cut += count(&peer.in_flight);
        }
        match &mut termination.expected.connections {
            connections if peer.forced => connections.forced += 1,
            connections if peer.was_busy => connections.drained += 1,
            connections => connections.idle += 1,
        }
        let broken = peer.broken;
        self.closing = Some(peer);
        self.drain.handle_closed(id, !broken, self.now);
        self.obey();
        self.closed.extend(self.closing.take());
    }

    fn socket_closes(&mut self, place: usize) {
        let closing = self.sockets(|peer| peer.closing);
        if let Some(place) = place.checked_rem(closing.len()) {
            self.close(closing[place]);
        }
    }

    fn server_closes(&mut self) {
        if self.server_closing && self.open.is_empty() {
            self.server_closing = false;
            // It closes after its last connection, and so those that went unseen are known to have gone.
            self.notice_who_is_gone();
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
        let awaited = self.turns_taken < self.turns_asked;
        if awaited {
            self.turns_taken += 1;
        }
        if let Some(Termination { due_after: Some(turn), .. }) = self.termination
            && self.turns_taken > turn
        {
            self.expire();
        }
        if self.termination.as_ref().is_some_and(Termination::is_watching) {
            self.say_who_waits();
        }
        if let Some(termination) = &mut self.termination
            && awaited
        {
            // One that was asked for earlier may have begun earlier.
            let whole = termination.drains_after.is_some_and(|turn| self.turns_taken > turn);
            let came = std::mem::take(&mut termination.somebody_came);
            termination.turns_without = if came { 0 } else { termination.turns_without + usize::from(whole) };
        }
        let reads = self.drain.phase() == Phase::Reading;
        let parting = Parting {
            at: self.now,
            loaded: self.open.values().filter(|peer| peer.is_lively(self.now)).count() > FEW,
            idle: self.sockets(Peer::is_idle).len() + self.quiet.len(),
        };
        self.drain.handle_turned(self.now);
        if let Some(termination) = &mut self.termination
            && !termination.expired
            && reads
            && self.drain.phase() == Phase::Draining
        {
            termination.parting = Some(parting);
            self.open.values_mut().for_each(|peer| peer.idle_at_parting = peer.is_idle());
        }
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
        if self.termination.is_none() {
            self.begin(plan);
        } else {
            self.bring_forward(plan);
        }
        self.look_at_the_clock();
        self.drain.handle_terminate(plan, self.now);
        self.obey();
    }

    /// While serving the machine is told nothing, so now it is told where things stand.
    fn begin(&mut self, Plan { delay, timeout, keep_alive, observed }: Plan) {
        self.open.values_mut().for_each(|peer| peer.was_busy = peer.is_busy());
        for socket in self.sockets(Peer::is_followed) {
            self.enter(socket);
            self.peer(socket).counted = true;
        }
        self.terminations += 1;
        self.termination = Some(Termination {
            began: self.now,
            delayed_until: Some(self.now + delay),
            timeout,
            keep_alive,
            observed,
            drains_after: None,
            accepts_until: None,
            parting: None,
            deadline: None,
            due_after: None,
            expired: false,
            surveys: 0,
            watches: 0,
            holds: 0,
            server_closes: 0,
            said_to_wait: None,
            turns_without: 0,
            somebody_came: false,
            server_closed: false,
            connections: count(self.sockets(|peer| peer.counted)),
            expected: Report::default(),
            told: Vec::new(),
        });
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

    /// The machine is about to be told the time, and so learns that the delay is over, or the deadline due.
    fn look_at_the_clock(&mut self) {
        let Some(termination) = &mut self.termination else { return };
        if termination.drains_after.is_none() && termination.delayed_until.is_some_and(|until| until <= self.now) {
            termination.drains_after = Some(self.turns_asked);
            termination.accepts_until = Some(self.now + ACCEPT_AT_MOST);
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
            self.held = false;
            self.server_closing = false;
        }
        self.drain.handle_listening();
        self.obey();
    }

    // What the machine is told of who is there.

    /// What is open, as the machine counts it.
    fn look(&mut self) -> Stats {
        if self.termination.is_none() {
            return self.show();
        }
        self.notice_who_is_gone();
        self.drain.stats()
    }

    /// While serving, the machine is shown what is open, for a moment.
    fn show(&mut self) -> Stats {
        for socket in self.sockets(Peer::is_followed) {
            self.enter(socket);
        }
        self.drain.handle_quiet(count(self.sockets(|peer| peer.id.is_none())), 0, self.now);
        let stats = self.drain.stats();
        self.drain.handle_quiet(0, 0, self.now);
        for peer in self.open.values_mut() {
            if let Some(id) = peer.id.take() {
                self.drain.handle_closed(id, true, self.now);
            }
        }
        self.obey();
        stats
    }

    /// Tells of a connection that was open before, and of what is under way on it.
    fn enter(&mut self, socket: Socket) -> ConnectionId {
        let peer = peer_of(&mut self.open, socket);
        peer.rhythm = peer.last.zip(peer.gap).map(|(last, gap)| Rhythm { last, gap });
        peer.unheard = peer.last.is_none();
        let id = self.drain.handle_found(peer.transport, peer.last.is_some(), peer.rhythm);
        peer.id = Some(id);
        if peer.hijacked {
            self.drain.handle_hijacked(id);
        }
        for _ in &peer.in_flight {
            peer.unheard = false;
            self.drain.handle_request_started(id, false);
        }
        id
    }

    /// A connection on which something turns out to be under way, and which may have been one of many.
    fn find(&mut self, socket: Socket) -> ConnectionId {
        if let Some(id) = self.peer(socket).id {
            return id;
        }
        let id = self.enter(socket);
        self.count_in(socket);
        let before = self.quiet.len();
        self.quiet.retain(|quiet| quiet.socket != socket);
        if self.quiet.len() < before {
            self.say_how_many_are_quiet();
        }
        self.obey();
        id
    }

    fn survey(&mut self, horizon: Duration) {
        if let Some(termination) = &mut self.termination {
            termination.surveys += 1;
        }
        let known_before = std::mem::take(&mut self.quiet);
        let gone = count(known_before.iter().filter(|quiet| !self.open.contains_key(&quiet.socket)));
        let since = self.now - horizon;
        for socket in self.sockets(|peer| peer.id.is_none() && peer.is_worth_finding(since)) {
            self.find(socket);
        }
        let rest = self.sockets(|peer| peer.id.is_none());
        self.quiet = rest.iter().map(|&socket| Quiet { socket, unused: self.open[&socket].last.is_none() }).collect();
        self.quiet.sort_by_key(|quiet| quiet.unused);
        rest.into_iter().for_each(|socket| self.count_in(socket));
        self.observe();
        self.say_that_some_are_gone(gone);
    }

    fn say_how_many_are_quiet(&mut self) {
        self.drain.handle_quiet(count(&self.quiet), self.unused(), self.now);
        self.obey();
    }

    fn notice_who_is_gone(&mut self) {
        let gone = self.quiet.iter().map(|quiet| quiet.socket).filter(|socket| !self.open.contains_key(socket));
        self.say_who_is_gone(&gone.collect::<Vec<_>>());
    }

    /// Of some quiet connections, several have closed, by whomever they were.
    fn say_who_is_gone(&mut self, sockets: &[Socket]) {
        let before = self.quiet.len();
        self.quiet.retain(|quiet| !sockets.contains(&quiet.socket) || self.open.contains_key(&quiet.socket));
        self.say_that_some_are_gone((before - self.quiet.len()) as u32);
    }

    fn say_that_some_are_gone(&mut self, gone: u32) {
        if let Some(termination) = &mut self.termination {
            termination.expected.connections.idle += gone;
        }
        self.drain.handle_quiet_closed(gone, count(&self.quiet), self.unused(), self.now);
        self.obey();
    }

    fn observe(&mut self) {
        for id in self.ids(|peer| peer.session) {
            self.drain.handle_multiplexed(id, self.now);
        }
        for id in self.ids(|peer| peer.receiving) {
            self.drain.handle_receiving(id);
        }
        for id in self.ids(|peer| peer.answered_early) {
            self.drain.handle_answered_early(id, self.now);
        }
        self.obey();
    }

    fn say_who_waits(&mut self) {
        let waiting = match self.kernel {
            _ if !self.listening => Some(0),
            Kernel { tells: true, .. } => Some(count(&self.waiting)),
            Kernel { tells: false, .. } => None,
        };
        if let Some(termination) = &mut self.termination {
            // With nobody following, each one that is accepted brings the end nearer.
            if self.held && waiting.zip(termination.said_to_wait).is_some_and(|(now, before)| now < before) {
                termination.accepts_until = Some(self.now + ACCEPT_AT_MOST);
            }
            termination.said_to_wait = waiting;
        }
        self.drain.handle_accept_queue(waiting, self.now);
    }

    fn count_in(&mut self, socket: Socket) {
        let peer = peer_of(&mut self.open, socket);
        if let (false, Some(termination)) = (std::mem::replace(&mut peer.counted, true), &mut self.termination) {
            termination.connections += 1;
        }
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
            Action::Survey(horizon) => self.survey(horizon),
            Action::LastSurvey(horizon) => {
                self.look_into_the_kernel();
                self.survey(horizon);
            }
            Action::WatchListener => self.watch_listener(),
            Action::HoldListener => self.hold_listener(),
            Action::CloseServer => self.close_server(),
            Action::SayClose(id) => self.named(id).says_close = true,
            Action::SayKeepAlive(id) => self.named(id).says_close = false,
            Action::Close(id) | Action::CloseNotify(id) if self.named(id).unnoticed => self.look_at(id),
            Action::CloseNotify(id) => self.linger(id, LINGER_FOR_CLOSE_NOTIFY),
            Action::CloseQuiet(count) => self.close_quiet(count as usize),
            Action::DestroyQuiet => self.destroy_quiet(),
            Action::Close(id) | Action::End(id) => {
                let peer = self.named(id);
                peer.leaving = true;
                peer.closing = true;
            }
            Action::Linger(id) if self.named(id).answered_early => self.linger(id, LINGER_FOR_BODY),
            Action::Linger(id) => self.linger(id, LINGER_FOR_CLOSE_NOTIFY),
            Action::Ping(id) => self.named(id).pinging_until = Some(self.now + PING_AT_MOST),
            Action::CloseSession(id) => {
                let peer = self.named(id);
                peer.session_closing = true;
                peer.closing |= peer.in_flight.is_empty();
            }
            Action::Cut(id) | Action::CutHalf(id) => self.list(id),
            Action::Destroy(id) => self.destroy(id),
            Action::AwaitTurn => self.turns_asked += 1,
            Action::Resolve => self.resolve(),
        }
    }

    fn watch_listener(&mut self) {
        if let Some(termination) = &mut self.termination {
            termination.watches += 1;
            termination.somebody_came = false;
        }
        self.say_who_waits();
        self.obey();
    }

    fn hold_listener(&mut self) {
        if let Some(termination) = &mut self.termination {
            termination.holds += 1;
        }
        // Where it can't be held, there is nothing new to say.
        if self.kernel.holds {
            self.held = true;
            self.drain.handle_listener_held();
            self.say_who_waits();
            self.obey();
        }
    }

    fn close_server(&mut self) {
        if let Some(termination) = &mut self.termination {
            termination.server_closes += 1;
        }
        // Whoever still waits is turned away.
        self.waiting.clear();
        if std::mem::take(&mut self.listening) {
            self.server_closing = true;
        } else {
            self.server_closed();
        }
    }

    /// What nobody would read any more is found.
    fn look_into_the_kernel(&mut self) {
        for peer in self.open.values_mut().filter(|peer| !peer.hijacked && !peer.session && !peer.leaving) {
            let found = std::mem::take(&mut peer.unnoticed);
            peer.receiving |= found;
            peer.was_busy |= found;
            peer.answered_early &= !found;
        }
    }

    /// Before it is closed, somebody looks, and finds half a request.
    fn look_at(&mut self, id: ConnectionId) {
        self.named(id).unnoticed = false;
        for socket in self.sockets(|peer| peer.id == Some(id)) {
            self.receive(socket);
        }
    }

    fn close_quiet(&mut self, count: usize) {
        let chosen: Vec<_> = self.quiet.iter().take(count).map(|quiet| quiet.socket).collect();
        for &socket in &chosen {
            match self.open.get_mut(&socket) {
                Some(peer) if peer.unnoticed => {
                    peer.unnoticed = false;
                    self.receive(socket);
                }
                Some(_) => self.close(socket),
                // It has closed by itself, and nobody has seen it.
                None => {}
            }
        }
        self.say_who_is_gone(&chosen);
    }

    fn destroy_quiet(&mut self) {
        let quiet: Vec<_> = self.quiet.iter().map(|quiet| quiet.socket).collect();
        quiet.iter().for_each(|&socket| self.close(socket));
        self.say_who_is_gone(&quiet);
    }

    fn linger(&mut self, id: ConnectionId, at_most: Duration) {
        let until = self.now + at_most;
        let peer = self.named(id);
        peer.leaving = true;
        peer.was_busy |= peer.answered_early;
        peer.lingers_until = Some(until);
        // Not even if the answer said close: FIN is sent, but the peer is heard out.
        peer.closing = false;
    }

    fn destroy(&mut self, id: ConnectionId) {
        let peer = self.open.values_mut().find(|peer| peer.id == Some(id)).expect(NAMED_WHILE_OPEN);
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
        if let Some(peer) = self.find_named(id) {
            peer.listed = true;
        }
    }

    fn resolve(&mut self) {
        let Some(mut termination) = self.termination.take() else { return };
        termination.expected.duration = self.now - termination.began;
        self.reports.push((self.drain.report().clone(), termination));
    }

    fn record(&mut self, action: Action) {
        let peer = id_of(action).and_then(|id| self.find_named(id)).cloned();
        self.history.push(Moment {
            action,
            now: self.now,
            turn: self.turns_taken,
            peer,
            quiet: count(&self.quiet),
            unused: self.unused(),
            waiting: self.waiting.len(),
            termination: self.termination.clone(),
            over: self.is_over(),
        });
    }

    // What is known.

    /// Whether all that a termination waits for has ended, and it could know.
    fn is_over(&self) -> bool {
        self.open.is_empty()
            && self.quiet.is_empty()
            && self.termination.as_ref().is_some_and(|Termination { expired, server_closed, .. }| {
                *expired || (*server_closed && self.tasks == 0)
            })
    }

    fn stats(&self) -> Stats {
        let upgraded = count(self.sockets(|peer| peer.hijacked));
        let active = count(self.sockets(|peer| !peer.hijacked && !peer.in_flight.is_empty()));
        let idle = count(self.sockets(|peer| !peer.hijacked && peer.in_flight.is_empty()));
        let requests = self.open.values().map(|peer| count(&peer.in_flight)).sum();
        Stats { connections: idle + active + upgraded, idle, active, upgraded, requests, tasks: self.tasks }
    }

    fn unused(&self) -> u32 {
        count(self.quiet.iter().filter(|quiet| quiet.unused))
    }

    fn sockets(&self, wanted: impl Fn(&Peer) -> bool) -> Vec<Socket> {
        self.open.iter().filter(|(_, peer)| wanted(peer)).map(|(&socket, _)| socket).collect()
    }

    fn ids(&self, wanted: impl Fn(&Peer) -> bool) -> Vec<ConnectionId> {
        self.open.values().filter(|peer| wanted(peer)).filter_map(|peer| peer.id).collect()
    }

    fn at(&mut self, place: usize, happens: impl FnOnce(&mut Self, Socket)) {
        let sockets = self.sockets(|_| true);
        if let Some(place) = place.checked_rem(sockets.len()) {
            happens(self, sockets[place]);
        }
    }

    fn peer(&mut self, socket: Socket) -> &mut Peer {
        peer_of(&mut self.open, socket)
    }

    fn named(&mut self, id: ConnectionId) -> &mut Peer {
        self.open.values_mut().find(|peer| peer.id == Some(id)).expect(NAMED_WHILE_OPEN)
    }

    /// The connection that an action may be for.
    fn find_named(&mut self, id: ConnectionId) -> Option<&mut Peer> {
        self.open.values_mut().chain(&mut self.closing).find(|peer| peer.id == Some(id))
    }
}

const NAMED_WHILE_OPEN: &str = "connections are named while they are open";

fn peer_of(open: &mut BTreeMap<Socket, Peer>, socket: Socket) -> &mut Peer {
    open.get_mut(&socket).expect("sockets are named while they are open")
}

fn id_of(action: Action) -> Option<ConnectionId> {
    match action {
        Action::Announce(_)
        | Action::Survey(_)
        | Action::LastSurvey(_)
        | Action::WatchListener
        | Action::HoldListener
        | Action::CloseServer
        | Action::CloseQuiet(_)
        | Action::DestroyQuiet
        | Action::AwaitTurn
        | Action::Resolve => None,
        Action::SayClose(id)
        | Action::SayKeepAlive(id)
        | Action::Close(id)
        | Action::CloseNotify(id)
        | Action::End(id)
        | Action::Linger(id)
        | Action::Ping(id)
        | Action::CloseSession(id)
        | Action::Cut(id)
        | Action::CutHalf(id)
        | Action::Destroy(id) => Some(id),
    }
}

fn count(many: impl IntoIterator) -> u32 {
    many.into_iter().map(|_| 1).sum()
}
