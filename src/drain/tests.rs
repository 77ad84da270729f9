//! Scenes played against the machine in virtual time: each names what a termination promises.

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const ANSWERED: Finished = Finished { arriving: Arriving::Nothing, said_close: true, late: false };
const ANSWERED_LATE: Finished = Finished { late: true, ..ANSWERED };
const KEPT_ALIVE: Finished = Finished { arriving: Arriving::Nothing, said_close: false, late: false };

/// A machine and the time in its world.
struct Scene {
    drain: Drain,
    now: Instant,
}

impl Scene {
    #[expect(clippy::disallowed_methods, reason = "some instant to start from; it never moves by itself")]
    fn new() -> Self {
        Self { drain: Drain::new(), now: Instant::now() }
    }

    fn open(&mut self, transport: Transport) -> ConnectionId {
        self.drain.handle_opened(transport)
    }

    /// A connection with this many requests in flight.
    fn active(&mut self, transport: Transport, requests: u32) -> ConnectionId {
        let id = self.open(transport);
        for _ in 0..requests {
            self.drain.handle_request_started(id, false);
        }
        id
    }

    /// A connection that has been used and is idle.
    fn idle(&mut self, transport: Transport) -> ConnectionId {
        let id = self.active(transport, 1);
        self.drain.handle_request_finished(id, KEPT_ALIVE, self.now);
        id
    }

    fn terminate(&mut self) -> Vec<Action> {
        self.terminate_within(Some(SECOND));
        self.actions()
    }

    fn terminate_within(&mut self, timeout: Option<Duration>) {
        self.drain.handle_terminate(Plan { delay: Duration::ZERO, timeout, observed: false }, self.now);
    }

    fn turn(&mut self) -> Vec<Action> {
        self.drain.handle_turned(self.now);
        self.actions()
    }

    fn start(&mut self, id: ConnectionId, more: bool) -> Vec<Action> {
        self.drain.handle_request_started(id, more);
        self.actions()
    }

    fn finish(&mut self, id: ConnectionId, finished: Finished) -> Vec<Action> {
        self.drain.handle_request_finished(id, finished, self.now);
        self.actions()
    }

    fn close(&mut self, id: ConnectionId) -> Vec<Action> {
        self.drain.handle_closed(id, self.now);
        self.actions()
    }

    fn server_closed(&mut self) -> Vec<Action> {
        self.drain.handle_server_closed(self.now);
        self.actions()
    }

    fn pass(&mut self, time: Duration) -> Vec<Action> {
        self.now += time;
        self.drain.handle_timeout(self.now);
        self.actions()
    }

    /// The deadline, and the turn of the loop that it grants.
    fn expire(&mut self, time: Duration) -> Vec<Action> {
        assert!(self.pass(time).contains(&Action::AwaitTurn));
        self.turn()
    }

    /// What is to be done. What is to be told has a scene of its own.
    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.drain.poll_action())
            .filter(|action| !matches!(action, Action::Announce(_)))
            .collect()
    }
}

#[test]
fn a_server_without_connections_ends_when_it_has_closed() {
    let mut scene = Scene::new();
    assert_eq!(scene.terminate(), [Action::CloseServer]);
    assert_eq!(scene.server_closed(), [Action::Resolve]);
    assert_eq!(scene.drain.phase(), Phase::Terminated);
    assert_eq!(scene.drain.poll_timeout(), None);
    assert!(scene.drain.report().graceful());
}

#[test]
fn idle_connections_get_one_turn_and_are_closed() {
    let mut scene = Scene::new();
    let new = scene.open(Transport::Plain);
    let idle = scene.idle(Transport::Plain);
    assert_eq!(scene.terminate(), [Action::CloseServer, Action::AwaitTurn]);
    assert_eq!(scene.turn(), [Action::Close(new), Action::Close(idle)]);
    assert_eq!(scene.close(new), []);
    assert_eq!(scene.close(idle), []);
    assert_eq!(scene.server_closed(), [Action::Resolve]);
    assert_eq!(scene.drain.report().connections, report::Connections { idle: 2, drained: 0, forced: 0 });
}

#[test]
fn an_idle_tls_connection_gets_a_close_notify_and_a_while_to_answer_it() {
    let mut scene = Scene::new();
    let polite = scene.idle(Transport::Tls);
    let dead = scene.idle(Transport::Tls);
    scene.terminate();
    assert_eq!(scene.turn(), [Action::CloseNotify(polite), Action::CloseNotify(dead)]);
    scene.server_closed();
    scene.close(polite);
    assert_eq!(scene.pass(LINGER_FOR_CLOSE_NOTIFY), [Action::Destroy(dead)]);
    assert_eq!(scene.close(dead), [Action::Resolve]);
    assert!(scene.drain.report().graceful(), "a peer that does not say goodbye has lost nothing");
    assert_eq!(scene.drain.report().connections.idle, 2);
}

#[test]
fn a_request_in_flight_is_told_to_close_and_ends() {
    let mut scene = Scene::new();
    let id = scene.active(Transport::Plain, 1);
    assert_eq!(scene.terminate(), [Action::SayClose(id), Action::CloseServer, Action::AwaitTurn]);
    assert_eq!(scene.turn(), []);
    assert_eq!(scene.finish(id, ANSWERED), [], "Node closes the connection after an answer that says so");
    scene.server_closed();
    assert_eq!(scene.close(id), [Action::Resolve]);
    assert_eq!(scene.drain.report().requests, report::Requests { completed: 1, late: 0, cut: 0 });
    assert_eq!(scene.drain.report().connections.drained, 1);
}

#[test]
fn an_answer_that_had_begun_is_followed_by_the_end() {
    for (transport, expected) in [
        (Transport::Plain, Action::End as fn(ConnectionId) -> Action),
        (Transport::Tls, Action::Linger as fn(ConnectionId) -> Action),
    ] {
        let mut scene = Scene::new();
        let id = scene.active(transport, 1);
        scene.terminate();
        scene.turn();
        assert_eq!(scene.finish(id, KEPT_ALIVE), [expected(id)]);
    }
}

#[test]
fn an_answer_that_ends_before_the_loop_has_turned_leaves_time_for_what_is_pipelined_behind_it() {
    let mut scene = Scene::new();
    let id = scene.active(Transport::Plain, 1);
    scene.terminate();
    assert_eq!(scene.finish(id, KEPT_ALIVE), []);
    assert_eq!(scene.start(id, false), [Action::SayClose(id)]);
    assert_eq!(scene.turn(), []);
    scene.finish(id, ANSWERED_LATE);
    assert_eq!(scene.drain.report().requests, report::Requests { completed: 1, late: 1, cut: 0 });
}

#[test]
fn half_a_request_is_waited_for() {
    let mut scene = Scene::new();
    let id = scene.open(Transport::Plain);
    scene.drain.handle_receiving(id);
    assert_eq!(scene.terminate(), [Action::CloseServer, Action::AwaitTurn]);
    assert_eq!(scene.turn(), []);
    assert_eq!(scene.start(id, false), [Action::SayClose(id)]);
    scene.finish(id, ANSWERED_LATE);
    assert_eq!(scene.drain.report().requests.late, 1);
}

#[test]
fn half_a_request_is_cut_at_the_deadline() {
    let mut scene = Scene::new();
    let id = scene.open(Transport::Plain);
    scene.drain.handle_receiving(id);
    scene.terminate();
    scene.turn();
    scene.server_closed();
    assert_eq!(scene.expire(SECOND), [Action::Cut(id), Action::Destroy(id)]);
    assert_eq!(scene.close(id), [Action::Resolve]);
    assert_eq!(scene.drain.report().requests.cut, 1);
    assert_eq!(scene.drain.report().connections.forced, 1);
    assert!(!scene.drain.report().graceful());
}

#[test]
fn bytes_that_come_before_an_idle_connection_is_closed_save_it() {
    for transport in [Transport::Plain, Transport::Tls] {
        let mut scene = Scene::new();
        let id = scene.idle(transport);
        scene.terminate();
        assert_eq!(scene.turn().len(), 1);
        scene.drain.handle_receiving(id);
        assert_eq!(scene.pass(LINGER_FOR_CLOSE_NOTIFY), []);
        assert_eq!(scene.start(id, false), [Action::SayClose(id)]);
    }
}

#[test]
fn only_the_last_pipelined_request_says_close() {
    let mut scene = Scene::new();
    let id = scene.active(Transport::Plain, 2);
    assert!(scene.terminate().contains(&Action::SayClose(id)));
    scene.turn();
    assert_eq!(scene.start(id, true), [Action::SayKeepAlive(id)], "a fourth has been received already");
    assert_eq!(scene.start(id, false), [Action::SayClose(id)]);
    for finished in [KEPT_ALIVE, KEPT_ALIVE, Finished { late: true, ..KEPT_ALIVE }, ANSWERED_LATE] {
        assert_eq!(scene.finish(id, finished), []);
    }
    assert_eq!(scene.drain.report().requests, report::Requests { completed: 2, late: 2, cut: 0 });
}

#[test]
fn a_request_that_was_not_followed_after_all_says_close() {
    let mut scene = Scene::new();
    let id = scene.idle(Transport::Tls);
    scene.terminate();
    assert_eq!(scene.start(id, true), [Action::SayKeepAlive(id)]);
    scene.drain.handle_nothing_more(id);
    assert_eq!(scene.actions(), [Action::SayClose(id)]);
    scene.finish(id, ANSWERED);
    scene.drain.handle_nothing_more(id);
    assert_eq!(scene.actions(), [], "its answer has left");
}

#[test]
fn a_request_behind_an_answer_that_said_close_is_listed_as_cut() {
    let mut scene = Scene::new();
    let id = scene.active(Transport::Plain, 1);
    scene.terminate();
    scene.turn();
    scene.finish(id, ANSWERED);
    assert_eq!(scene.start(id, false), [Action::Cut(id)]);
    scene.server_closed();
    assert_eq!(scene.close(id), [Action::Resolve]);
    assert_eq!(scene.drain.report().requests, report::Requests { completed: 1, late: 0, cut: 1 });
}

#[test]
fn an_early_answer_lingers_until_the_peer_is_done_or_time_is_up() {
    let early = Finished { arriving: Arriving::Body, said_close: true, late: false };
    let mut scene = Scene::new();
    let (patient, endless) = (scene.active(Transport::Plain, 1), scene.active(Transport::Plain, 1));
    scene.terminate_within(None);
    scene.actions();
    scene.turn();
    assert_eq!(scene.finish(patient, early), [Action::Linger(patient)]);
    assert_eq!(scene.finish(endless, early), [Action::Linger(endless)]);
    scene.server_closed();
    scene.close(patient);
    assert_eq!(scene.pass(LINGER_FOR_BODY - Duration::from_millis(1)), []);
    assert_eq!(scene.pass(Duration::from_millis(1)), [Action::Destroy(endless)]);
    assert_eq!(scene.close(endless), [Action::Resolve]);
    assert!(scene.drain.report().graceful(), "both answers were sent whole");
}

#[test]
fn a_body_that_still_comes_after_an_answer_given_before_is_read_to_its_end() {
    let mut scene = Scene::new();
    let id = scene.idle(Transport::Plain);
    scene.drain.handle_receiving(id);
    scene.terminate();
    scene.drain.handle_answered_early(id, scene.now);
    assert_eq!(scene.actions(), [Action::Linger(id)]);
    assert_eq!(scene.turn(), []);
    scene.server_closed();
    assert_eq!(scene.expire(SECOND), [Action::Destroy(id)]);
    scene.close(id);
    assert!(scene.drain.report().graceful());
}

#[test]
fn a_client_that_goes_away_is_neither_waited_for_nor_counted_as_cut() {
    let mut scene = Scene::new();
    let id = scene.active(Transport::Plain, 1);
    scene.terminate();
    scene.server_closed();
    assert_eq!(scene.close(id), [Action::Resolve]);
    assert!(scene.drain.report().graceful());
}

#[test]
fn at_the_deadline_everything_is_destroyed_and_listed() {
    let mut scene = Scene::new();
    let pipelined = scene.active(Transport::Plain, 3);
    let tunnel = scene.open(Transport::Tls);
    scene.drain.handle_hijacked(tunnel);
    scene.drain.handle_task_started();
    scene.terminate();
    scene.turn();
    assert_eq!(scene.drain.poll_timeout(), Some(scene.now + SECOND));
    assert_eq!(scene.pass(SECOND / 2), [], "not before the deadline");
    assert_eq!(
        scene.expire(SECOND / 2),
        [Action::Cut(pipelined), Action::Destroy(pipelined), Action::Cut(tunnel), Action::Destroy(tunnel)]
    );
    assert_eq!(scene.close(pipelined), []);
    assert_eq!(scene.close(tunnel), [Action::Resolve], "a server that does not close is not waited for");
    let report = scene.drain.report();
    assert_eq!((report.requests.cut, report.connections.forced, report.tasks.abandoned), (3, 2, 1));
    assert_eq!(report.duration, SECOND);
}

#[test]
fn what_was_done_while_the_loop_was_blocked_is_in_time() {
    let mut scene = Scene::new();
    let id = scene.active(Transport::Plain, 1);
    scene.terminate();
    scene.turn();
    assert_eq!(scene.pass(SECOND * 3), [Action::AwaitTurn]);
    assert_eq!(scene.finish(id, ANSWERED), []);
    scene.server_closed();
    assert_eq!(scene.close(id), [Action::Resolve]);
    assert!(scene.drain.report().graceful());
}

#[test]
fn a_turn_that_had_begun_before_the_deadline_is_not_the_last_one() {
    let mut scene = Scene::new();
    let id = scene.active(Transport::Plain, 1);
    scene.terminate();
    assert_eq!(scene.pass(SECOND), [], "a turn is awaited already");
    assert_eq!(scene.turn(), [Action::AwaitTurn]);
    assert_eq!(scene.turn(), [Action::Cut(id), Action::Destroy(id)]);
}

#[test]
fn what_comes_after_the_deadline_is_cut_at_once() {
    let mut scene = Scene::new();
    let hanging = scene.active(Transport::Plain, 1);
    scene.terminate();
    scene.turn();
    scene.expire(SECOND);
    let late = scene.open(Transport::Plain);
    assert_eq!(scene.actions(), [Action::Destroy(late)]);
    scene.drain.handle_task_started();
    scene.close(hanging);
    assert_eq!(scene.close(late), [Action::Resolve]);
    assert_eq!(scene.drain.report().tasks.abandoned, 1);
}

#[test]
fn no_time_at_all_cuts_at_once() {
    let mut scene = Scene::new();
    let id = scene.active(Transport::Plain, 1);
    scene.terminate_within(Some(Duration::ZERO));
    assert!(scene.actions().ends_with(&[Action::Cut(id), Action::Destroy(id)]));
    assert_eq!(scene.close(id), [Action::Resolve]);
}

#[test]
fn the_earlier_deadline_wins() {
    let mut scene = Scene::new();
    scene.active(Transport::Plain, 1);
    scene.terminate_within(None);
    assert_eq!(scene.drain.poll_timeout(), None);
    scene.terminate_within(Some(SECOND));
    assert_eq!(scene.drain.poll_timeout(), Some(scene.now + SECOND));
    scene.terminate_within(Some(SECOND * 2));
    scene.terminate_within(None);
    assert_eq!(scene.drain.poll_timeout(), Some(scene.now + SECOND));
    assert_eq!(scene.actions().iter().filter(|&&action| action == Action::CloseServer).count(), 1);
}

#[test]
fn a_timeout_beyond_the_end_of_time_is_none() {
    let mut scene = Scene::new();
    scene.active(Transport::Plain, 1);
    scene.terminate_within(Some(Duration::MAX));
    assert_eq!(scene.drain.poll_timeout(), None);
}

#[test]
fn many_idle_connections_are_closed_over_several_turns() {
    let mut scene = Scene::new();
    let ids: Vec<_> = (0..CLOSES_PER_TURN * 2 + 1).map(|_| scene.idle(Transport::Plain)).collect();
    scene.terminate();
    let mut closed = Vec::new();
    for expected in [CLOSES_PER_TURN, CLOSES_PER_TURN, 1] {
        let actions = scene.turn();
        let closes: Vec<_> = actions.iter().filter(|&&action| action != Action::AwaitTurn).collect();
        assert_eq!(closes.len(), expected);
        assert_eq!(actions.contains(&Action::AwaitTurn), expected == CLOSES_PER_TURN);
        closed.extend(closes.into_iter().copied());
    }
    assert_eq!(closed, ids.into_iter().map(Action::Close).collect::<Vec<_>>());
    assert_eq!(scene.turn(), []);
}

#[test]
fn a_request_on_a_connection_that_waits_for_its_turn_is_served() {
    let mut scene = Scene::new();
    let ids: Vec<_> = (0..=CLOSES_PER_TURN).map(|_| scene.idle(Transport::Plain)).collect();
    scene.terminate();
    scene.turn();
    let last = ids[CLOSES_PER_TURN];
    assert_eq!(scene.start(last, false), [Action::SayClose(last)]);
    assert_eq!(scene.turn(), []);
    scene.finish(last, ANSWERED_LATE);
    assert_eq!(scene.drain.report().requests.late, 1);
}

#[test]
fn a_connection_that_comes_in_while_draining_gets_a_turn_to_speak() {
    let mut scene = Scene::new();
    let busy = scene.active(Transport::Plain, 1);
    scene.terminate();
    scene.turn();
    let (quick, silent) = (scene.open(Transport::Plain), scene.open(Transport::Plain));
    assert_eq!(scene.actions(), [Action::AwaitTurn]);
    assert_eq!(scene.start(quick, false), [Action::SayClose(quick)]);
    assert_eq!(scene.turn(), [Action::AwaitTurn], "the loop may have polled before the second came in");
    assert_eq!(scene.turn(), [Action::Close(silent)]);
    assert_eq!(scene.finish(busy, ANSWERED), []);
}

#[test]
fn upgraded_connections_have_their_grace() {
    let mut scene = Scene::new();
    let id = scene.open(Transport::Plain);
    scene.drain.handle_hijacked(id);
    assert_eq!(scene.drain.stats(), Stats { connections: 1, upgraded: 1, ..Stats::default() });
    scene.terminate();
    assert_eq!(scene.turn(), []);
    scene.server_closed();
    assert_eq!(scene.close(id), [Action::Resolve]);
    assert!(scene.drain.report().graceful());
}

#[test]
fn tasks_are_waited_for() {
    let mut scene = Scene::new();
    scene.drain.handle_task_started();
    scene.drain.handle_task_started();
    scene.terminate();
    assert_eq!(scene.server_closed(), []);
    scene.drain.handle_task_finished(true, scene.now);
    assert_eq!(scene.actions(), []);
    scene.drain.handle_task_finished(false, scene.now);
    assert_eq!(scene.actions(), [Action::Resolve]);
    assert_eq!(scene.drain.report().tasks, report::Tasks { completed: 1, rejected: 1, abandoned: 0 });
    assert!(scene.drain.report().graceful(), "a task that failed has ended by itself");
}

#[test]
fn a_server_that_listens_again_can_be_terminated_again() {
    let mut scene = Scene::new();
    let id = scene.active(Transport::Plain, 1);
    scene.terminate();
    scene.server_closed();
    scene.close(id);
    scene.turn();
    scene.drain.handle_listening();
    assert_eq!(scene.drain.phase(), Phase::Serving);
    let again = scene.idle(Transport::Plain);
    assert_eq!(scene.terminate(), [Action::CloseServer, Action::AwaitTurn]);
    assert_eq!(scene.turn(), [Action::Close(again)]);
    scene.server_closed();
    assert_eq!(scene.close(again), [Action::Resolve]);
    assert_eq!(scene.drain.report().requests, report::Requests::default(), "each report is about one termination");
}

#[test]
fn requests_in_flight_are_taken_over_at_once() {
    let mut scene = Scene::new();
    let (idle, active) = (scene.open(Transport::Plain), scene.open(Transport::Plain));
    scene.drain.handle_requests(&[0, 2]);
    let expected = Stats { connections: 2, idle: 1, active: 1, requests: 2, ..Stats::default() };
    assert_eq!(scene.drain.stats(), expected);
    assert_eq!(scene.terminate(), [Action::SayClose(active), Action::CloseServer, Action::AwaitTurn]);
    scene.drain.handle_requests(&[7, 7]);
    assert_eq!(scene.drain.stats(), expected, "during a termination the machine counts by itself");
    assert_eq!(scene.turn(), [Action::Close(idle)]);
}

#[test]
fn events_nobody_waits_for_do_nothing() {
    let mut scene = Scene::new();
    let unknown = 42;
    for terminating in [false, true] {
        if terminating {
            scene.active(Transport::Plain, 1);
            scene.terminate();
            scene.turn();
        }
        assert_eq!(scene.turn(), []);
        assert_eq!(scene.start(unknown, false), []);
        assert_eq!(scene.finish(unknown, ANSWERED), []);
        assert_eq!(scene.close(unknown), []);
        assert_eq!(scene.pass(Duration::ZERO), []);
        scene.drain.handle_hijacked(unknown);
        scene.drain.handle_receiving(unknown);
        scene.drain.handle_answered_early(unknown, scene.now);
        scene.drain.handle_task_finished(true, scene.now);
        scene.drain.handle_listening();
        assert_eq!(scene.actions(), []);
    }
}

/// A session with this many streams.
fn session(scene: &mut Scene, streams: u32) -> ConnectionId {
    let id = scene.active(Transport::Tls, streams);
    scene.drain.handle_multiplexed(id, scene.now);
    id
}

#[test]
fn a_session_is_pinged_and_then_closes_when_its_streams_have_ended() {
    let mut scene = Scene::new();
    let (idle, busy) = (session(&mut scene, 0), session(&mut scene, 2));
    assert_eq!(scene.terminate(), [Action::CloseServer, Action::Ping(idle), Action::Ping(busy), Action::AwaitTurn]);
    assert_eq!(scene.turn(), [], "a session is not idle while its PING is on its way");
    assert_eq!(scene.start(busy, false), [], "what the peer sent before it knew is served");
    for id in [idle, busy] {
        scene.drain.handle_ponged(id);
        assert_eq!(scene.actions(), [Action::CloseSession(id)]);
        scene.drain.handle_ponged(id);
        assert_eq!(scene.actions(), []);
    }
    scene.server_closed();
    scene.close(idle);
    for finished in [ANSWERED_LATE, KEPT_ALIVE, KEPT_ALIVE] {
        assert_eq!(scene.finish(busy, finished), []);
    }
    assert_eq!(scene.close(busy), [Action::Resolve]);
    let report = scene.drain.report();
    assert_eq!(report.requests, report::Requests { completed: 2, late: 1, cut: 0 });
    assert_eq!(report.connections, report::Connections { idle: 1, drained: 1, forced: 0 });
}

#[test]
fn a_session_whose_peer_is_dead_is_closed_without_its_pong() {
    let mut scene = Scene::new();
    let id = session(&mut scene, 0);
    scene.terminate();
    scene.turn();
    assert_eq!(scene.pass(PING_AT_MOST), [Action::CloseSession(id)]);
}

#[test]
fn hanging_streams_are_cut_at_the_deadline() {
    let mut scene = Scene::new();
    let id = session(&mut scene, 3);
    scene.terminate();
    scene.turn();
    scene.drain.handle_ponged(id);
    scene.drain.handle_request_aborted(id);
    scene.actions();
    assert_eq!(scene.expire(SECOND), [Action::Cut(id), Action::Destroy(id)]);
    assert_eq!(scene.close(id), [Action::Resolve]);
    assert_eq!(scene.drain.report().requests.cut, 2, "what the client took back is not cut");
}

#[test]
fn a_session_that_begins_during_a_termination_is_pinged_too() {
    let mut scene = Scene::new();
    let id = scene.open(Transport::Tls);
    scene.drain.handle_receiving(id);
    scene.terminate();
    scene.turn();
    scene.drain.handle_multiplexed(id, scene.now);
    assert_eq!(scene.actions(), [Action::Ping(id)]);
}

const DELAY: Duration = Duration::from_millis(300);

fn delayed(scene: &mut Scene) -> Vec<Action> {
    scene.drain.handle_terminate(Plan { delay: DELAY, timeout: Some(SECOND), observed: false }, scene.now);
    scene.actions()
}

#[test]
fn while_it_delays_a_server_accepts_and_says_close() {
    let mut scene = Scene::new();
    let active = scene.active(Transport::Plain, 1);
    let idle = scene.idle(Transport::Plain);
    assert_eq!(delayed(&mut scene), [Action::SayClose(active)]);
    assert_eq!(scene.drain.phase(), Phase::Delaying);
    assert_eq!(scene.finish(active, KEPT_ALIVE), [], "its head had left; it may send another request");
    let opened = scene.open(Transport::Plain);
    assert_eq!(scene.start(opened, false), [Action::SayClose(opened)]);
    assert_eq!(scene.finish(opened, ANSWERED_LATE), []);
    scene.close(opened);
    assert_eq!(scene.pass(DELAY / 2), []);
    assert_eq!(delayed(&mut scene), [], "a second call does not start it again");
    assert_eq!(scene.pass(DELAY / 2), [Action::Observe, Action::CloseServer, Action::AwaitTurn]);
    assert_eq!(scene.drain.poll_timeout(), Some(scene.now + SECOND), "the timeout runs from the end of the delay");
    assert_eq!(scene.turn(), [Action::Close(active), Action::Close(idle)]);
}

#[test]
fn a_second_call_without_a_delay_ends_the_delay() {
    let mut scene = Scene::new();
    delayed(&mut scene);
    assert_eq!(scene.terminate(), [Action::Observe, Action::CloseServer]);
    assert_eq!(scene.server_closed(), [Action::Resolve]);
}

#[test]
fn sessions_carry_on_while_the_server_delays() {
    let mut scene = Scene::new();
    let id = session(&mut scene, 1);
    assert_eq!(delayed(&mut scene), []);
    assert_eq!(scene.finish(id, KEPT_ALIVE), []);
    assert_eq!(scene.start(id, false), []);
    assert!(scene.pass(DELAY).contains(&Action::Ping(id)));
}

#[test]
fn milestones_are_told_in_order() {
    let mut scene = Scene::new();
    let id = scene.active(Transport::Plain, 1);
    scene.drain.handle_terminate(Plan { delay: DELAY, timeout: Some(SECOND), observed: true }, scene.now);
    let mut told = Vec::new();
    for time in [Duration::ZERO, DELAY, SECOND / 2, SECOND / 2] {
        scene.now += time;
        scene.drain.handle_timeout(scene.now);
        for _ in 0..2 {
            scene.drain.handle_turned(scene.now);
        }
        told.extend(std::iter::from_fn(|| scene.drain.poll_action()));
    }
    scene.drain.handle_closed(id, scene.now);
    told.extend(std::iter::from_fn(|| scene.drain.poll_action()));
    told.retain(|action| matches!(action, Action::Announce(_)));
    let expected =
        [Milestone::Delaying, Milestone::Draining, Milestone::HalfTime, Milestone::Deadline, Milestone::Terminated];
    assert_eq!(told, expected.map(Action::Announce));
}

#[test]
fn a_turn_that_an_earlier_termination_asked_for_does_not_count() {
    let mut scene = Scene::new();
    let gone = scene.idle(Transport::Plain);
    scene.terminate();
    scene.server_closed();
    assert_eq!(scene.close(gone), [Action::Resolve]);
    scene.drain.handle_listening();
    let id = scene.idle(Transport::Plain);
    assert_eq!(scene.terminate(), [Action::CloseServer], "a turn is awaited already");
    assert_eq!(scene.turn(), [Action::AwaitTurn]);
    assert_eq!(scene.turn(), [Action::Close(id)]);
}

#[test]
fn an_upgrade_behind_fin_is_listed_as_cut() {
    let mut scene = Scene::new();
    let id = scene.idle(Transport::Tls);
    scene.terminate();
    assert_eq!(scene.turn(), [Action::CloseNotify(id)]);
    scene.drain.handle_hijacked(id);
    assert_eq!(scene.actions(), [Action::Cut(id)]);
    assert_eq!(scene.drain.report().requests.cut, 1);
}
