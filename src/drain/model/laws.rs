//! What holds for every script, looked at in the [`World`] that plays it.
//!
//! A law is a function that panics where it does not hold. Each is a property of its own, tried on random
//! scripts; a fuzzer looks at all of them together.

use super::*;

/// Makes one function of several laws, and a property of each: it is tried in a world in which a crowd of that size
/// stands by, and looked at when the other function says.
macro_rules! laws {
    ($(#[$doc:meta])* $all:ident, $tried:ident: $($law:ident among $crowd:expr,)+) => {
        $(#[$doc])*
        pub(super) fn $all(world: &World) {
            $($law(world);)+
        }

        #[cfg(test)]
        mod $tried {
            use proptest::prelude::*;

            use super::super::properties::{self, config, crowd, kernel, script};
            use super::*;

            proptest! {
                #![proptest_config(config())]

                $(
                    #[test]
                    fn $law(kernel in kernel(), crowd in crowd($crowd), script in script()) {
                        properties::$tried(World::with(kernel, crowd, Vec::new()), script, super::$law);
                    }
                )+
            }
        }
    };
}

laws! {
    /// What holds at every moment.
    hold_now, after_each_step:
    a_termination_runs_until_everything_has_ended among 0..1,
    a_session_is_closed_when_its_ping_is_acknowledged among 0..1,
    everything_is_destroyed_one_whole_turn_after_the_deadline among 0..1,
    a_body_whose_request_is_answered_is_heard_to_its_end among 0..1,
    the_answer_to_the_last_request_says_close among 0..1,
    nothing_is_reported_unless_a_termination_runs among 0..1,
    only_a_running_termination_has_a_timeout_and_no_later_call_puts_it_off among 0..1,
}

laws! {
    /// What holds of everything that was done.
    have_held, at_the_end:
    a_termination_resolves_when_everything_has_ended_and_not_before among 0..1,
    every_termination_resolves_once among 0..1,
    only_behind_the_last_answer_are_requests_discarded among 0..1,
    nothing_is_closed_that_has_a_request_in_flight_or_is_receiving_one among 0..1,
    nothing_is_closed_before_the_delay_is_over among 0..1,
    a_session_is_closed_only_when_its_ping_is_acknowledged_or_has_taken_too_long among 0..1,
    a_connection_is_silent_through_a_whole_turn_before_it_is_closed_as_idle among 0..1,
    nothing_is_destroyed_before_the_deadline_unless_it_has_lingered_long_enough among 0..1,
    whoever_is_far_away_has_time_to_hear_that_its_streams_are_cut among 0..1,
    no_answer_says_close_unless_its_request_is_the_last among 0..1,
    every_action_is_for_a_connection_that_is_open among 0..1,
    nothing_is_done_unless_a_termination_runs among 0..1,
    a_report_adds_up among 0..1,
    what_is_cut_is_listed_and_nothing_else_is among 0..1,
    milestones_are_told_once_and_in_order among 0..1,
    a_connection_in_rhythm_is_kept_as_long_as_it_is_under_load_or_in_the_window among 0..20,
    whoever_is_accepted_during_a_termination_has_time_to_speak among 0..1,
    whoever_was_held_up_has_more_time among 0..20,
    what_may_be_a_request_has_time_to_show_that among 0..20,
    under_load_everybody_has_time_to_speak among 0..20,
    nobody_is_closed_before_the_window_ends_unless_they_are_a_crowd among 0..CROWD,
    no_more_quiet_connections_are_closed_than_there_are among 0..100,
    whoever_is_there_is_looked_for_when_the_listener_has_closed among 0..20,
    nobody_is_closed_as_idle_before_everybody_has_been_looked_at among 0..20,
    the_listener_is_closed_once_whenever_that_is_asked_for among 0..1,
    the_listener_is_not_closed_while_somebody_is_about_to_be_accepted among 0..1,
    new_connections_are_held_back_only_while_the_listener_is_watched among 0..1,
}

fn a_termination_runs_until_everything_has_ended(world: &World) {
    assert!(!world.is_over(), "it runs though everything has ended: {:?}", world.termination);
}

fn a_termination_resolves_when_everything_has_ended_and_not_before(world: &World) {
    for Moment { action, over, termination, .. } in &world.history {
        assert!(*over || *action != Action::Resolve, "{termination:?}");
    }
}

fn every_termination_resolves_once(world: &World) {
    let resolved = world.history.iter().filter(|moment| moment.action == Action::Resolve).count();
    assert_eq!(resolved, world.terminations);
}

fn nothing_is_closed_that_has_a_request_in_flight_or_is_receiving_one(world: &World) {
    for Moment { action, peer, .. } in &world.history {
        let Some(peer) = peer else { continue };
        if matches!(
            action,
            Action::Close(_) | Action::CloseNotify(_) | Action::End(_) | Action::EndNotify(_) | Action::Linger(_)
        ) {
            assert!(!peer.is_busy() && !peer.session, "{action:?}: {peer:?}");
        }
    }
}

fn only_behind_the_last_answer_are_requests_discarded(world: &World) {
    for Moment { action, peer, .. } in &world.history {
        let (Action::HearOut(_), Some(peer)) = (action, peer) else { continue };
        assert!(peer.leaving && !peer.session && peer.lingers_until.is_none(), "{peer:?}");
        assert!(peer.is_busy() || peer.unsent > 0, "{peer:?}");
    }
}

fn nothing_is_closed_before_the_delay_is_over(world: &World) {
    for Moment { action, peer, termination, .. } in &world.history {
        let Some(Termination { drains_after: None, .. }) = termination else { continue };
        // But an answer may have said close.
        let linger = matches!(action, Action::EndNotify(_) | Action::Linger(_))
            && !peer.as_ref().is_some_and(|peer| peer.leaving);
        let end = matches!(action, Action::End(_) | Action::Ping(_) | Action::HoldListener | Action::CloseServer);
        assert!(!closes_idle(*action) && !linger && !end, "{action:?}");
    }
}

fn a_session_is_closed_when_its_ping_is_acknowledged(world: &World) {
    let acknowledged = world.sockets(|peer| peer.ponged && !peer.session_closing && !peer.destroyed);
    assert!(acknowledged.is_empty(), "{acknowledged:?}");
}

fn a_session_is_closed_only_when_its_ping_is_acknowledged_or_has_taken_too_long(world: &World) {
    for Moment { action, peer, now, .. } in &world.history {
        let (Action::CloseSession(_), Some(peer)) = (action, peer) else { continue };
        let waited = peer.pinging_until.is_some_and(|until| peer.ponged || until <= *now);
        assert!(waited && peer.session && !peer.session_closing, "{peer:?}");
    }
}

fn a_connection_is_silent_through_a_whole_turn_before_it_is_closed_as_idle(world: &World) {
    for Moment { action, peer, termination, turn, now, .. } in &world.history {
        let (true, Some(termination)) = (closes_idle(*action), termination) else { continue };
        assert!(Some(*turn) > termination.drains_after, "{action:?}: {peer:?}");
        // Of the quiet ones, all had come before.
        let Some(peer) = peer else { continue };
        // The loop may have been blocked for all the time that it had; the kernel is asked before it closes.
        let had_its_time = peer.accepted.is_some_and(|accepted| accepted + SPEAKS_WITHIN + peer.round_trip() <= *now);
        assert!(had_its_time || *turn > peer.came_after, "{action:?}: {peer:?}");
    }
}

fn nothing_is_destroyed_before_the_deadline_unless_it_has_lingered_long_enough(world: &World) {
    for Moment { action, peer, termination, now, .. } in &world.history {
        let (Action::Destroy(_), Some(peer), Some(termination)) = (action, peer, termination) else { continue };
        let lingered = peer.lingers_until.or(peer.body_until).is_some_and(|until| until <= *now);
        let reading = peer.unsent > 0 && peer.lingers_until.is_some() && !peer.has_stalled(*now);
        assert!(termination.expired || lingered && !reading, "{peer:?}");
    }
}

fn everything_is_destroyed_one_whole_turn_after_the_deadline(world: &World) {
    let expired = world.termination.as_ref().is_some_and(|termination| termination.expired);
    let spared = world.sockets(|peer| !peer.destroyed);
    assert!(!expired || spared.is_empty(), "{spared:?}");
}

fn whoever_is_far_away_has_time_to_hear_that_its_streams_are_cut(world: &World) {
    for Moment { action, peer, termination, now, .. } in &world.history {
        let (Some(peer), Some(termination)) = (peer, termination) else { continue };
        let is_streaming = peer.session_closing && !peer.in_flight.is_empty();
        match action {
            Action::CutSession(_) => {
                assert!(termination.expired && is_streaming && peer.distance.is_far(), "{peer:?}");
                assert!(!peer.destroyed, "{peer:?}");
            }
            Action::Destroy(_) if is_streaming && peer.distance.is_far() => {
                // Nobody is waited for once the server listens again.
                let had_its_time = peer.lingers_until.is_some_and(|until| until <= *now) || termination.reopened;
                assert!(peer.destroyed && had_its_time, "{peer:?}");
            }
            _ => {}
        }
    }
}

fn a_body_whose_request_is_answered_is_heard_to_its_end(world: &World) {
    let parted = world.termination.as_ref().is_some_and(|termination| termination.parting.is_some());
    let heard = |peer: &Peer| peer.lingers_until.or(peer.body_until).is_some() || peer.destroyed;
    let unheard = world.sockets(|peer| peer.answered_early && !heard(peer));
    assert!(!parted || unheard.is_empty(), "{unheard:?}");
}

fn no_answer_says_close_unless_its_request_is_the_last(world: &World) {
    for Moment { action, peer, .. } in &world.history {
        let (Action::SayClose(_), Some(peer)) = (action, peer) else { continue };
        assert!(!peer.in_flight.is_empty() && !peer.receiving && !peer.session, "{peer:?}");
    }
}

fn the_answer_to_the_last_request_says_close(world: &World) {
    let untold = world.sockets(|peer| {
        let answerable = !peer.in_flight.is_empty() && !peer.leaving && !peer.hijacked && !peer.session;
        answerable && !peer.receiving && !peer.says_close
    });
    assert!(world.termination.is_none() || untold.is_empty(), "{untold:?}");
}

fn every_action_is_for_a_connection_that_is_open(world: &World) {
    for Moment { action, peer, .. } in &world.history {
        assert_eq!(peer.is_some(), id_of(*action).is_some(), "{action:?}");
    }
}

fn nothing_is_done_unless_a_termination_runs(world: &World) {
    let mut before = None;
    for Moment { action, termination, .. } in &world.history {
        // Asked for together with the close of a server that turned out to be closed already.
        let is_a_turn_too_many = *action == Action::AwaitTurn && before == Some(Action::Resolve);
        assert!(termination.is_some() || is_a_turn_too_many, "{action:?}");
        before = Some(*action);
    }
}

fn nothing_is_reported_unless_a_termination_runs(world: &World) {
    if world.termination.is_none() {
        let last = world.reports.last().map(|(report, _)| report.clone());
        assert_eq!(*world.drain.report(), last.unwrap_or_default());
    }
}

fn a_report_adds_up(world: &World) {
    for (report, Termination { connections, expected, .. }) in &world.reports {
        assert_eq!(report, expected);
        let Connections { idle, drained, forced } = report.connections;
        assert_eq!(idle + drained + forced, *connections);
        let nothing_lost = (forced, report.requests.cut, report.tasks.abandoned) == (0, 0, 0);
        assert_eq!(report.graceful(), nothing_lost);
    }
}

fn what_is_cut_is_listed_and_nothing_else_is(world: &World) {
    for peer in &world.closed {
        assert_eq!(peer.cut, peer.listed, "{peer:?}");
    }
}

fn only_a_running_termination_has_a_timeout_and_no_later_call_puts_it_off(world: &World) {
    let timeout = world.drain.poll_timeout();
    match world.termination {
        None => assert_eq!(timeout, None),
        Some(Termination { due_after: None, expired: false, drains_after, delayed_until, deadline, .. }) => {
            let due = if drains_after.is_some() { deadline } else { delayed_until };
            assert!(due.is_none_or(|due| timeout.is_some_and(|timeout| timeout <= due)));
        }
        Some(_) => {}
    }
}

fn milestones_are_told_once_and_in_order(world: &World) {
    let course =
        [Milestone::Delaying, Milestone::Draining, Milestone::HalfTime, Milestone::Deadline, Milestone::Terminated];
    for (_, Termination { told, observed, drains_after, expired, .. }) in &world.reports {
        let in_order = course.iter().filter(|milestone| told.contains(milestone)).copied().collect::<Vec<_>>();
        assert_eq!(*told, in_order);
        assert_eq!(told.contains(&Milestone::Draining), drains_after.is_some());
        assert_eq!(told.contains(&Milestone::Deadline), *expired);
        assert!(*observed || !told.contains(&Milestone::HalfTime));
        assert!(told.ends_with(&[Milestone::Terminated]));
    }
}

fn a_connection_in_rhythm_is_kept_as_long_as_it_is_under_load_or_in_the_window(world: &World) {
    for Moment { action, peer, termination, now, .. } in &world.history {
        let (true, Some(peer), Some(termination)) = (closes_idle(*action), peer, termination) else { continue };
        let Some(parting) = termination.parting.filter(|_| peer.idle_at_parting) else { continue };
        let kept_until = match termination.keep_alive {
            KeepAlive::Auto => peer.in_rhythm_until().filter(|_| parting.loaded),
            KeepAlive::For(_) => peer.in_rhythm_until().min(termination.window_ends()),
        };
        assert!(kept_until <= Some(*now), "{parting:?}: {peer:?}");
    }
}

fn whoever_is_accepted_during_a_termination_has_time_to_speak(world: &World) {
    for Moment { action, peer, now, .. } in &world.history {
        let (true, Some(peer)) = (closes_idle(*action), peer) else { continue };
        assert!(peer.may_speak_until() <= Some(*now), "{peer:?}");
    }
}

fn whoever_was_held_up_has_more_time(world: &World) {
    for Moment { action, peer, now, .. } in &world.history {
        let (true, Some(peer)) = (closes_idle(*action), peer) else { continue };
        assert!(peer.more_until <= Some(*now), "{peer:?}");
    }
}

fn what_may_be_a_request_has_time_to_show_that(world: &World) {
    for Moment { action, peer, now, .. } in &world.history {
        let (true, Some(peer)) = (closes_idle(*action), peer) else { continue };
        assert!(peer.shows_until <= Some(*now), "{peer:?}");
    }
}

fn under_load_everybody_has_time_to_speak(world: &World) {
    for Moment { action, peer, termination, now, .. } in &world.history {
        let (true, Some(Termination { keep_alive: KeepAlive::Auto, parting: Some(parting), .. })) =
            (closes_idle(*action), termination)
        else {
            continue;
        };
        if !parting.loaded || parting.at + SPEAKS_WITHIN <= *now {
            continue;
        }
        assert!(!peer.as_ref().is_some_and(|peer| peer.idle_at_parting));
        assert!(!matches!(action, Action::CloseQuiet(_)));
    }
}

fn nobody_is_closed_before_the_window_ends_unless_they_are_a_crowd(world: &World) {
    for Moment { action, peer, termination, now, .. } in &world.history {
        let (true, Some(termination)) = (closes_idle(*action), termination) else { continue };
        let (Some(ends), Some(parting)) = (termination.window_ends(), termination.parting) else { continue };
        let idle = peer.as_ref().is_none_or(|peer| peer.idle_at_parting);
        assert!(!idle || parting.idle > CROWD || ends <= *now, "{action:?}: {parting:?}");
    }
}

fn no_more_quiet_connections_are_closed_than_there_are(world: &World) {
    for Moment { action, quiet, .. } in &world.history {
        assert!(!matches!(action, Action::CloseQuiet(count) if *count == 0 || count > quiet), "{action:?}");
    }
}

fn whoever_is_there_is_looked_for_when_the_listener_has_closed(world: &World) {
    for Moment { action, termination, now, .. } in &world.history {
        let (Action::Survey(horizon) | Action::LastSurvey(horizon), Some(termination)) = (action, termination) else {
            continue;
        };
        assert_eq!(matches!(action, Action::LastSurvey(_)), termination.expired);
        assert!(termination.expired || termination.has_closed(), "{termination:?}");
        assert!(termination.drains_after.is_some() && termination.parting.is_none(), "{termination:?}");
        let at_once = termination.keep_alive == KeepAlive::For(Duration::ZERO);
        // Whose rhythm mattered when the delay was over.
        let late = termination.delayed_until.map_or(Duration::ZERO, |until| *now - until);
        assert_eq!(*horizon, if at_once { Duration::ZERO } else { RHYTHM_FROM_AFAR_AT_MOST + late });
    }
}

fn nobody_is_closed_as_idle_before_everybody_has_been_looked_at(world: &World) {
    for Moment { action, termination, .. } in &world.history {
        let (true, Some(termination)) = (closes_idle(*action), termination) else { continue };
        assert!(termination.parting.is_some() && !termination.surveying, "{action:?}: {termination:?}");
    }
}

fn the_listener_is_closed_once_whenever_that_is_asked_for(world: &World) {
    for (_, termination) in &world.reports {
        // If somebody else has closed the server, a termination may end with the delay, before it is asked to end.
        let &Termination { endings, server_closes, watches, holds, .. } = termination;
        // And if that was an earlier termination, which did not wait for it, before the listener is closed once more.
        let closed = server_closes == endings || (termination.server_closed && server_closes == 0);
        assert!(closed && watches <= endings && holds <= watches, "{termination:?}");
    }
}

fn the_listener_is_not_closed_while_somebody_is_about_to_be_accepted(world: &World) {
    for Moment { action, waiting, shaking_hands, termination, now, .. } in &world.history {
        let (Action::CloseServer, Some(termination)) = (action, termination) else { continue };
        if termination.expired || termination.accepts_until <= Some(*now) {
            continue;
        }
        match termination.said_to_wait {
            Some(said) => {
                assert_eq!((said, *waiting, termination.said_to_come), (0, 0, 0));
                assert!(*shaking_hands == 0 || termination.said_in_vain, "{termination:?}");
            }
            None => assert!(termination.turns_without >= 2, "{termination:?}"),
        }
    }
}

fn new_connections_are_held_back_only_while_the_listener_is_watched(world: &World) {
    for Moment { action, termination, .. } in &world.history {
        let (Action::HoldListener, Some(termination)) = (action, termination) else { continue };
        assert!(termination.is_watching() && termination.said_to_wait.is_some(), "{termination:?}");
    }
}

/// Not among those above, as it makes those calls.
pub(super) fn calls_that_nobody_waits_for_change_nothing(world: &mut World) {
    let quiet = count(&world.quiet);
    let World { drain, now, turns_asked, turns_taken, termination, tasks, open, .. } = world;
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
        if termination.as_ref().is_some_and(|termination| !termination.has_closed()) {
            drain.handle_listening(*now);
        }
        for (&id, _) in known.iter().filter(|(_, peer)| peer.session) {
            drain.handle_multiplexed(id, *now);
        }
    } else {
        drain.handle_server_closed(*now);
    }
    if !termination.as_ref().is_some_and(Termination::is_watching) {
        drain.handle_accept_queue(Some(0), 0, *now);
        drain.handle_accept_queue(Some(7), 0, *now);
        drain.handle_accept_queue(None, 0, *now);
        drain.handle_accept_queue(Some(0), 7, *now);
    }
    if !termination.as_ref().is_some_and(|termination| termination.surveying) {
        drain.handle_surveyed(true, *now);
        drain.handle_surveyed(false, *now);
    }
    drain.handle_quiet(quiet, *now);
    drain.handle_quiet_closed(0, quiet, *now);
    for (&id, peer) in &known {
        if peer.in_flight.is_empty() {
            drain.handle_request_finished(id, KEPT_ALIVE, *now);
            drain.handle_request_aborted(id);
            drain.handle_nothing_more(id);
        } else {
            drain.handle_answered_early(id, *now);
        }
        if peer.ponged || !peer.session {
            drain.handle_ponged(id, *now);
        }
        if !peer.leaving {
            drain.handle_stirred(id, *now);
            drain.handle_unsent(id, 1, *now);
        }
        if peer.lingers_until.is_none_or(|until| until > *now) {
            drain.handle_unsent(id, 0, *now);
        }
        if peer.body_until.is_none() {
            drain.handle_body_ended(id, true, *now);
        }
    }
    for unknown in (0..20).filter(|id| !known.contains_key(id)) {
        drain.handle_request_started(unknown, true);
        drain.handle_request_finished(unknown, KEPT_ALIVE, *now);
        drain.handle_request_aborted(unknown);
        drain.handle_multiplexed(unknown, *now);
        drain.handle_ponged(unknown, *now);
        drain.handle_hijacked(unknown);
        drain.handle_receiving(unknown);
        drain.handle_stirred(unknown, *now);
        drain.handle_nothing_more(unknown);
        drain.handle_answered_early(unknown, *now);
        drain.handle_body_ended(unknown, false, *now);
        drain.handle_closed(unknown, true, *now);
        drain.handle_request_broken_off(unknown);
    }
    assert!(format!("{drain:#?}") == before, "{before} has become {drain:#?}");
}
