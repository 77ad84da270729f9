//! Scenes played against the machine in virtual time: each names what a termination promises.

use super::closing::{CLOSE_NOTIFY_AT_MOST, HEAR_OUT_AT_MOST, LOOKS_AGAIN_AFTER, PING_AT_MOST, SESSION_CLOSES_WITHIN};
use super::distance::{HEARS_WITHIN, ROUND_TRIP_AT_MOST};
use super::idle::CLOSES_PER_TURN;
use super::keep_alive::{ASKS_AGAIN_WITHIN, FEW, RHYTHM_FROM_AFAR_AT_MOST, SPEAKS_WITHIN};
use super::listener::ACCEPT_AT_MOST;
use super::patience::{HELD_UP_FROM, HELD_UP_GETS};
use super::*;

const SECOND: Duration = Duration::from_secs(1);
const ANSWERED: Finished = Finished { arriving: Arriving::Nothing, said_close: true, late: false };
const ANSWERED_LATE: Finished = Finished { late: true, ..ANSWERED };
/// What most scenes are about is what happens besides waiting for idle connections.
const AT_ONCE: KeepAlive = KeepAlive::For(Duration::ZERO);
const KEPT_ALIVE: Finished = Finished { arriving: Arriving::Nothing, said_close: false, late: false };

/// A machine and the time in its world.
struct Scene {
    drain: Drain,
    now: Instant,
}

impl Scene {
    #[expect(clippy::disallowed_methods, reason = "some instant to start from; it never moves by itself")]
    fn new() -> Self {
        Self { drain: Drain::default(), now: Instant::now() }
    }

    fn open(&mut self, transport: Transport) -> ConnectionId {
        self.drain.handle_found(transport, Distance::Near, false, None)
    }

    /// A connection that comes in during a termination.
    fn accept(&mut self, transport: Transport) -> ConnectionId {
        self.drain.handle_opened(transport, Distance::Near, self.now)
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
        self.terminate_keeping(AT_ONCE, timeout);
    }

    fn terminate_keeping(&mut self, keep_alive: KeepAlive, timeout: Option<Duration>) {
        let plan = Plan { delay: Duration::ZERO, timeout, keep_alive, observed: false };
        self.drain.handle_terminate(plan, self.now);
    }

    fn turn(&mut self) -> Vec<Action> {
        self.drain.handle_turned(self.now);
        self.actions()
    }

    fn look(&mut self, id: ConnectionId, unsent: u32) -> Vec<Action> {
        self.drain.handle_unsent(id, unsent, self.now);
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

    /// So many are about to wait to be accepted, and nobody does yet.
    fn see_handshakes(&mut self, under_way: u32) {
        self.drain.handle_accept_queue(Some(0), under_way, self.now);
    }

    /// How long the listener, which can be held, is kept open for one that does not end.
    fn waits_for_a_handshake(&mut self) -> Duration {
        self.see_handshakes(1);
        self.drain.handle_listener_held();
        self.see_handshakes(1);
        while self.drain.poll_action().is_some() {}
        assert_eq!(self.turn(), []);
        self.drain.poll_timeout().expect("it ends") - self.now
    }

    fn close(&mut self, id: ConnectionId) -> Vec<Action> {
        self.drain.handle_closed(id, true, self.now);
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

    /// What is to be done. What is to be told has a scene of its own; nobody waits to be accepted; and
    /// everybody is known already.
    fn actions(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some(action) = self.drain.poll_action() {
            match action {
                Action::Announce(_) | Action::DestroyQuiet => {}
                Action::Survey(_) | Action::LastSurvey(_) => self.drain.handle_surveyed(true, self.now),
                Action::WatchListener | Action::HoldListener => self.drain.handle_accept_queue(Some(0), 0, self.now),
                action => actions.push(action),
            }
        }
        actions
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
    assert_eq!(scene.terminate(), [Action::AwaitTurn, Action::CloseServer]);
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
    assert_eq!(scene.pass(CLOSE_NOTIFY_AT_MOST), [Action::LookUnsent(dead)]);
    assert_eq!(scene.look(dead, 0), [Action::Destroy(dead)]);
    assert_eq!(scene.close(dead), [Action::Resolve]);
    assert!(scene.drain.report().graceful(), "a peer that does not say goodbye has lost nothing");
    assert_eq!(scene.drain.report().connections.idle, 2);
}

#[test]
fn a_request_in_flight_is_told_to_close_and_ends() {
    let mut scene = Scene::new();
    let id = scene.active(Transport::Plain, 1);
    assert_eq!(scene.terminate(), [Action::SayClose(id), Action::AwaitTurn, Action::CloseServer]);
    assert_eq!(scene.turn(), []);
    assert_eq!(
        scene.finish(id, ANSWERED),
        [Action::LookUnsent(id)],
        "Node closes the connection after an answer that says so"
    );
    scene.server_closed();
    assert_eq!(scene.close(id), [Action::Resolve]);
    assert_eq!(scene.drain.report().requests, report::Requests { completed: 1, late: 0, cut: 0 });
    assert_eq!(scene.drain.report().connections.drained, 1);
}

#[test]
fn an_answer_that_had_begun_is_followed_by_the_end() {
    for (transport, expected) in [
        (Transport::Plain, Action::End as fn(ConnectionId) -> Action),
        (Transport::Tls, Action::EndNotify as fn(ConnectionId) -> Action),
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
    assert_eq!(scene.terminate(), [Action::AwaitTurn, Action::CloseServer]);
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
    assert_eq!(scene.expire(SECOND), [Action::CutHalf(id), Action::Destroy(id)]);
    assert_eq!(scene.close(id), [Action::Resolve]);
    assert_eq!(scene.drain.report().requests.cut, 1);
    assert_eq!(scene.drain.report().connections.forced, 1);
    assert!(!scene.drain.report().graceful());
}

#[test]
fn half_a_request_behind_others_is_listed_besides_them() {
    let mut scene = Scene::new();
    let id = scene.active(Transport::Plain, 2);
    scene.drain.handle_receiving(id);
    scene.terminate();
    scene.turn();
    scene.server_closed();
    assert_eq!(scene.expire(SECOND), [Action::Cut(id), Action::CutHalf(id), Action::Destroy(id)]);
    scene.close(id);
    assert_eq!(scene.drain.report().requests.cut, 3);
}

#[test]
fn half_a_handshake_is_waited_for_and_its_end_is_no_request() {
    let mut scene = Scene::new();
    let id = scene.open(Transport::Tls);
    scene.drain.handle_receiving(id);
    scene.terminate();
    assert_eq!(scene.turn(), []);
    assert_eq!(scene.pass(SPEAKS_WITHIN), []);
    scene.drain.handle_secured(id, scene.now);
    assert_eq!(scene.pass(SPEAKS_WITHIN), [Action::AwaitTurn]);
    assert_eq!(scene.turn(), [Action::CloseNotify(id)]);
    scene.close(id);
    assert_eq!(scene.drain.report().connections.idle, 1);
}

#[test]
fn bytes_that_come_before_an_idle_connection_is_closed_save_it() {
    for transport in [Transport::Plain, Transport::Tls] {
        let mut scene = Scene::new();
        let id = scene.idle(transport);
        scene.terminate();
        assert_eq!(scene.turn().len(), 1);
        scene.drain.handle_receiving(id);
        assert_eq!(scene.pass(CLOSE_NOTIFY_AT_MOST), []);
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
    for finished in [KEPT_ALIVE, KEPT_ALIVE, Finished { late: true, ..KEPT_ALIVE }] {
        assert_eq!(scene.finish(id, finished), []);
    }
    assert_eq!(scene.finish(id, ANSWERED_LATE), [Action::LookUnsent(id)]);
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
fn a_client_that_writes_on_behind_an_answer_that_said_close_is_heard_out() {
    let mut scene = Scene::new();
    let pipelined = scene.active(Transport::Plain, 2);
    let begun = scene.active(Transport::Plain, 1);
    scene.terminate();
    scene.turn();
    assert_eq!(scene.finish(pipelined, ANSWERED), [Action::HearOut(pipelined)]);
    let followed = Finished { arriving: Arriving::NextRequest, ..ANSWERED };
    assert_eq!(scene.finish(begun, followed), [Action::HearOut(begun)]);
    assert_eq!(scene.start(begun, false), [Action::Cut(begun)]);
    assert_eq!(scene.close(pipelined), [Action::Cut(pipelined)]);
    scene.server_closed();
    assert_eq!(scene.close(begun), [Action::Resolve]);
    assert_eq!(scene.drain.report().requests, report::Requests { completed: 2, late: 0, cut: 2 });
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
    assert_eq!(scene.pass(HEAR_OUT_AT_MOST - Duration::from_millis(1)), []);
    assert_eq!(scene.pass(Duration::from_millis(1)), [Action::LookUnsent(endless)]);
    assert_eq!(scene.look(endless, 0), [Action::Destroy(endless)]);
    assert_eq!(scene.close(endless), [Action::Resolve]);
    assert!(scene.drain.report().graceful(), "both answers were sent whole");
}

#[test]
fn whoever_is_still_reading_its_last_answer_is_heard_out() {
    let mut scene = Scene::new();
    let (told, untold, idle) =
        (scene.active(Transport::Plain, 1), scene.active(Transport::Plain, 1), scene.idle(Transport::Plain));
    scene.terminate_within(None);
    scene.actions();
    assert_eq!(scene.turn(), [Action::Close(idle)]);
    scene.server_closed();
    assert_eq!(scene.look(idle, 9), [Action::HearOut(idle)]);
    assert_eq!(scene.finish(told, ANSWERED), [Action::LookUnsent(told)]);
    assert_eq!(scene.look(told, 9), [Action::HearOut(told)]);
    assert_eq!(scene.finish(untold, KEPT_ALIVE), [Action::End(untold)]);
    assert_eq!(scene.look(untold, 9), [Action::HearOut(untold)]);
    assert_eq!(scene.look(told, 9), [], "that is known");
    assert_eq!(scene.pass(LOOKS_AGAIN_AFTER), [told, untold, idle].map(Action::LookUnsent));
    assert_eq!(scene.look(untold, 0), [Action::Destroy(untold)], "it has everything, and does not close");
    assert_eq!(scene.look(told, 8), []);
    assert_eq!(scene.look(idle, 8), []);
    scene.close(untold);
    scene.close(idle);
    assert_eq!(scene.pass(LOOKS_AGAIN_AFTER), [Action::LookUnsent(told)]);
    assert_eq!(scene.look(told, 7), []);
    scene.close(told);
    assert!(scene.drain.report().graceful());
    assert_eq!(scene.drain.report().connections, report::Connections { idle: 1, drained: 2, forced: 0 });
}

#[test]
fn whoever_has_stopped_reading_is_not_waited_for() {
    for (distance, at_most) in
        [(Distance::Near, LOOKS_AGAIN_AFTER), (Distance::Far { round_trip: Duration::ZERO }, HEAR_OUT_AT_MOST)]
    {
        let mut scene = Scene::new();
        let id = scene.drain.handle_found(Transport::Plain, distance, false, None);
        scene.drain.handle_request_started(id, false);
        scene.terminate_within(None);
        scene.turn();
        scene.server_closed();
        scene.finish(id, ANSWERED);
        scene.look(id, 9);
        let mut waited = Duration::ZERO;
        // It takes a little before the first of these looks, and never again.
        while scene.look(id, 8) != [Action::Destroy(id)] {
            let due = scene.drain.poll_timeout().unwrap() - scene.now;
            waited += due;
            scene.pass(due);
        }
        assert_eq!(waited, LOOKS_AGAIN_AFTER + at_most, "since it was last seen to take some");
        assert_eq!(scene.close(id), [Action::Resolve]);
        assert!(scene.drain.report().graceful(), "the kernel goes on sending what it holds");
    }
}

#[test]
fn whoever_is_still_reading_is_heard_out_also_if_its_body_has_not_come_in_time() {
    for unsent in [0, 9] {
        let mut scene = Scene::new();
        let id = scene.active(Transport::Plain, 1);
        scene.terminate_within(None);
        scene.turn();
        assert_eq!(scene.finish(id, Finished { arriving: Arriving::Body, ..KEPT_ALIVE }), [Action::HearBody(id)]);
        assert_eq!(scene.pass(HEAR_OUT_AT_MOST), [Action::LookUnsent(id)]);
        assert_eq!(scene.look(id, unsent), [if unsent > 0 { Action::Linger(id) } else { Action::Destroy(id) }]);
    }
}

#[test]
fn over_tls_whoever_is_still_reading_is_heard_out_in_place_of_answering_a_close_notify() {
    let mut scene = Scene::new();
    let (idle, active) = (scene.idle(Transport::Tls), scene.active(Transport::Tls, 1));
    scene.terminate();
    assert_eq!(scene.turn(), [Action::CloseNotify(idle)]);
    assert_eq!(scene.look(idle, 9), [Action::HearOut(idle)]);
    assert_eq!(scene.finish(active, KEPT_ALIVE), [Action::EndNotify(active)]);
    assert_eq!(scene.look(active, 9), [Action::HearOut(active)]);
    assert_eq!(scene.pass(LOOKS_AGAIN_AFTER), [idle, active].map(Action::LookUnsent));
}

#[test]
fn a_body_that_still_comes_after_an_answer_given_before_is_read_to_its_end() {
    let mut scene = Scene::new();
    let id = scene.idle(Transport::Plain);
    scene.drain.handle_receiving(id);
    scene.terminate();
    scene.drain.handle_answered_early(id, scene.now);
    assert_eq!(scene.actions(), [Action::HearBody(id)]);
    assert_eq!(scene.turn(), []);
    scene.server_closed();
    assert_eq!(scene.expire(SECOND), [Action::Destroy(id)]);
    scene.close(id);
    assert!(scene.drain.report().graceful());
}

#[test]
fn behind_such_a_body_a_further_request_is_waited_for_and_answered() {
    let early = Finished { arriving: Arriving::Body, said_close: false, late: false };
    let mut scene = Scene::new();
    let [silent, asking, endless] = [0; 3].map(|_| scene.active(Transport::Tls, 1));
    scene.drain.handle_terminate(
        Plan { delay: Duration::ZERO, timeout: None, keep_alive: KeepAlive::Auto, observed: false },
        scene.now,
    );
    scene.actions();
    scene.turn();
    for id in [silent, asking, endless] {
        assert_eq!(scene.finish(id, early), [Action::HearBody(id)]);
    }
    scene.drain.handle_body_ended(silent, false, scene.now);
    scene.drain.handle_body_ended(asking, true, scene.now);
    assert_eq!(scene.actions(), []);
    assert_eq!(scene.pass(ASKS_AGAIN_WITHIN), [Action::AwaitTurn]);
    assert_eq!(scene.turn(), [Action::CloseNotify(silent)]);
    assert_eq!(scene.start(asking, false), [Action::SayClose(asking)]);
    assert!(scene.pass(HEAR_OUT_AT_MOST).contains(&Action::LookUnsent(endless)));
    assert_eq!(scene.look(endless, 0), [Action::Destroy(endless)]);
    assert_eq!(scene.drain.report().requests.cut, 0);
}

#[test]
fn what_comes_over_a_tunnel_is_no_body() {
    let early = Finished { arriving: Arriving::Body, said_close: false, late: false };
    let mut scene = Scene::new();
    let id = scene.active(Transport::Plain, 1);
    scene.drain.handle_hijacked(id);
    scene.terminate();
    scene.turn();
    assert_eq!(scene.finish(id, early), []);
    scene.drain.handle_answered_early(id, scene.now);
    scene.drain.handle_body_ended(id, false, scene.now);
    assert_eq!(scene.actions(), []);
}

#[test]
fn what_somebody_here_closes_is_cut() {
    let mut scene = Scene::new();
    let id = scene.active(Transport::Plain, 2);
    scene.terminate();
    scene.drain.handle_closed(id, false, scene.now);
    assert_eq!(scene.actions(), [Action::Cut(id)]);
    assert_eq!(scene.drain.report().requests.cut, 2);
    assert_eq!(scene.drain.report().connections.drained, 1);
}

#[test]
fn a_stream_that_is_broken_off_is_cut_and_its_session_goes_on() {
    let mut scene = Scene::new();
    let id = scene.active(Transport::Plain, 2);
    scene.drain.handle_multiplexed(id, scene.now);
    scene.terminate();
    scene.drain.handle_request_broken_off(id);
    assert_eq!(scene.drain.report().requests.cut, 1);
    assert_eq!(scene.drain.stats().requests, 1);
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
    assert_eq!(scene.finish(id, ANSWERED), [Action::LookUnsent(id)]);
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
fn what_is_about_to_be_cut_gets_no_ping() {
    let mut scene = Scene::new();
    let session = scene.idle(Transport::Plain);
    scene.terminate_within(Some(Duration::ZERO));
    scene.drain.handle_multiplexed(session, scene.now);
    assert_eq!(scene.actions(), [Action::CloseServer, Action::Destroy(session)]);
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
fn what_may_be_a_request_has_time_to_show_that() {
    for transport in [Transport::Plain, Transport::Tls] {
        let mut scene = Scene::new();
        let [idle, asks] = [scene.idle(transport), scene.idle(transport)];
        let close = if transport == Transport::Plain { Action::Close } else { Action::CloseNotify };
        scene.terminate_within(None);
        scene.actions();
        assert_eq!(scene.turn(), [close(idle), close(asks)]);
        for id in [idle, asks] {
            scene.drain.handle_stirred(id, scene.now);
        }
        assert_eq!(scene.pass(SHOWS_WITHIN - Duration::from_millis(1)), []);
        assert_eq!(scene.start(asks, false), [Action::SayClose(asks)]);
        assert_eq!(scene.pass(Duration::from_millis(1)), [Action::AwaitTurn]);
        assert_eq!(scene.turn(), [close(idle)]);
    }
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
        assert_eq!(closes.len(), expected as usize);
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
    let last = ids[CLOSES_PER_TURN as usize];
    assert_eq!(scene.start(last, false), [Action::SayClose(last)]);
    assert_eq!(scene.turn(), []);
    scene.finish(last, ANSWERED_LATE);
    assert_eq!(scene.drain.report().requests.late, 1);
}

#[test]
fn a_connection_that_comes_in_has_time_to_speak() {
    let mut scene = Scene::new();
    scene.terminate();
    let (quick, silent) = (scene.accept(Transport::Plain), scene.accept(Transport::Plain));
    assert_eq!(scene.actions(), [Action::AwaitTurn]);
    assert_eq!(scene.start(quick, false), [Action::SayClose(quick)]);
    assert_eq!(scene.turn(), []);
    let late = scene.accept(Transport::Plain);
    assert_eq!(scene.pass(SPEAKS_WITHIN - Duration::from_millis(1)), []);
    assert_eq!(scene.start(late, false), [Action::SayClose(late)]);
    assert_eq!(scene.pass(Duration::from_millis(1)), [Action::AwaitTurn]);
    assert_eq!(scene.turn(), [Action::Close(silent)]);
}

#[test]
fn one_that_came_in_has_that_time_although_its_upload_was_answered_at_once() {
    let mut scene = Scene::new();
    scene.terminate();
    let id = scene.accept(Transport::Plain);
    scene.turn();
    assert_eq!(scene.start(id, false), [Action::SayClose(id)]);
    let early = Finished { arriving: Arriving::Body, said_close: false, late: true };
    assert_eq!(scene.finish(id, early), [Action::HearBody(id)]);
    scene.drain.handle_body_ended(id, false, scene.now);
    assert_eq!(scene.pass(SPEAKS_WITHIN - Duration::from_millis(1)), []);
    assert_eq!(scene.pass(Duration::from_millis(1)), [Action::AwaitTurn]);
    assert_eq!(scene.turn(), [Action::Close(id)]);
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
    scene.drain.handle_listening(scene.now);
    assert_eq!(scene.drain.phase(), Phase::Serving);
    let again = scene.idle(Transport::Plain);
    assert_eq!(scene.terminate(), [Action::AwaitTurn, Action::CloseServer]);
    assert_eq!(scene.turn(), [Action::Close(again)]);
    scene.server_closed();
    assert_eq!(scene.close(again), [Action::Resolve]);
    assert_eq!(scene.drain.report().requests, report::Requests::default(), "each report is about one termination");
}

#[test]
fn a_server_that_listens_again_meanwhile_need_not_say_that_it_has_closed() {
    let mut scene = Scene::new();
    let id = scene.active(Transport::Plain, 1);
    scene.terminate_within(None);
    scene.drain.handle_listening(scene.now);
    assert_eq!(scene.actions(), [Action::SayClose(id), Action::AwaitTurn, Action::CloseServer]);
    scene.turn();
    scene.drain.handle_listening(scene.now);
    assert_eq!(scene.actions(), []);
    assert_eq!(scene.close(id), [Action::Resolve]);
}

#[test]
fn a_server_that_listens_again_meanwhile_ends_if_that_is_asked_for_again() {
    let mut scene = Scene::new();
    let id = scene.active(Transport::Plain, 1);
    scene.terminate_within(None);
    scene.actions();
    scene.turn();
    scene.drain.handle_listening(scene.now);
    scene.terminate_within(None);
    assert_eq!(scene.actions(), [Action::AwaitTurn, Action::CloseServer]);
    scene.finish(id, ANSWERED);
    assert_eq!(scene.close(id), [], "it has yet to say that it has closed");
    assert_eq!(scene.server_closed(), [Action::Resolve]);
}

#[test]
fn at_the_deadline_a_server_that_listens_again_is_left_alone() {
    let mut scene = Scene::new();
    let id = scene.active(Transport::Plain, 1);
    scene.terminate();
    scene.turn();
    scene.drain.handle_listening(scene.now);
    assert_eq!(scene.expire(SECOND), [Action::Cut(id), Action::Destroy(id)]);
    assert_eq!(scene.close(id), [Action::Resolve]);
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
        } else {
            scene.drain.handle_listening(scene.now);
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
    assert_eq!(scene.terminate(), [Action::Ping(idle), Action::Ping(busy), Action::AwaitTurn, Action::CloseServer]);
    assert_eq!(scene.turn(), [], "a session is not idle while its PING is on its way");
    assert_eq!(scene.start(busy, false), [], "what the peer sent before it knew is served");
    for id in [idle, busy] {
        scene.drain.handle_ponged(id, scene.now);
        assert_eq!(scene.actions(), [Action::CloseSession(id)]);
        scene.drain.handle_ponged(id, scene.now);
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
fn the_peer_of_an_idle_session_may_take_a_moment_to_close_its_end() {
    let mut scene = Scene::new();
    let (idle, busy, silent) = (session(&mut scene, 0), session(&mut scene, 1), session(&mut scene, 0));
    scene.terminate_within(None);
    scene.actions();
    scene.turn();
    for id in [idle, busy] {
        scene.drain.handle_ponged(id, scene.now);
    }
    scene.finish(busy, KEPT_ALIVE);
    assert_eq!(scene.pass(PING_AT_MOST), [Action::CloseSession(silent)]);
    assert_eq!(scene.pass(SESSION_CLOSES_WITHIN - PING_AT_MOST), [Action::Destroy(idle)]);
    assert_eq!(scene.drain.poll_timeout(), None, "the others may not have received everything yet");
    scene.drain.handle_ponged(silent, scene.now);
    assert_eq!(scene.pass(SESSION_CLOSES_WITHIN), [Action::Destroy(silent)]);
    scene.drain.handle_ponged(busy, scene.now);
    assert_eq!(scene.drain.poll_timeout(), None, "what it had in flight may still be on its way");
    for id in [idle, busy, silent] {
        scene.close(id);
    }
    assert_eq!(scene.drain.report().connections, report::Connections { idle: 2, drained: 1, forced: 0 });
}

#[test]
fn hanging_streams_are_cut_at_the_deadline() {
    let mut scene = Scene::new();
    let id = session(&mut scene, 3);
    scene.terminate();
    scene.turn();
    scene.drain.handle_ponged(id, scene.now);
    scene.drain.handle_request_aborted(id);
    scene.actions();
    assert_eq!(scene.expire(SECOND), [Action::Cut(id), Action::Destroy(id)]);
    assert_eq!(scene.close(id), [Action::Resolve]);
    assert_eq!(scene.drain.report().requests.cut, 2, "what the client took back is not cut");
}

/// A session with one stream in flight.
fn streaming(scene: &mut Scene, distance: Distance) -> ConnectionId {
    let id = scene.drain.handle_found(Transport::Tls, distance, true, None);
    scene.drain.handle_multiplexed(id, scene.now);
    scene.start(id, false);
    id
}

#[test]
fn a_client_far_away_has_time_to_hear_that_its_streams_are_cut() {
    let mut scene = Scene::new();
    let sessions = [Distance::Near, FAR[0], FAR[1], FAR[1]].map(|distance| streaming(&mut scene, distance));
    let [near, unknown, far, leaves] = sessions;
    scene.terminate();
    scene.turn();
    for id in sessions {
        scene.drain.handle_ponged(id, scene.now);
    }
    scene.actions();
    let told = [unknown, far, leaves].map(|id| [Action::Cut(id), Action::CutSession(id)]);
    assert_eq!(scene.expire(SECOND), [vec![Action::Cut(near), Action::Destroy(near)], told.concat()].concat());
    for id in [near, leaves] {
        assert_eq!(scene.close(id), []);
    }
    assert_eq!(scene.pass(HEARS_WITHIN), [Action::Destroy(unknown)]);
    assert_eq!(scene.close(unknown), []);
    assert_eq!(scene.pass(ROUND_TRIP - MILLISECOND), []);
    assert_eq!(scene.pass(MILLISECOND), [Action::Destroy(far)]);
    assert_eq!(scene.close(far), [Action::Resolve]);
    let report = scene.drain.report();
    assert_eq!((report.requests.cut, report.connections.forced), (4, 4));
}

#[test]
fn nobody_has_time_to_hear_of_a_cut_once_the_server_listens_again() {
    let mut scene = Scene::new();
    let id = streaming(&mut scene, FAR[1]);
    scene.terminate();
    scene.turn();
    scene.drain.handle_ponged(id, scene.now);
    scene.actions();
    assert_eq!(scene.expire(SECOND), [Action::Cut(id), Action::CutSession(id)]);
    scene.drain.handle_listening(scene.now);
    assert_eq!(scene.actions(), [Action::Destroy(id)]);
    assert_eq!(scene.close(id), [Action::Resolve]);
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
    scene.drain.handle_terminate(
        Plan { delay: DELAY, timeout: Some(SECOND), keep_alive: AT_ONCE, observed: false },
        scene.now,
    );
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
    assert_eq!(scene.finish(opened, ANSWERED_LATE), [Action::LookUnsent(opened)]);
    scene.close(opened);
    assert_eq!(scene.pass(DELAY / 2), []);
    assert_eq!(delayed(&mut scene), [], "a second call does not start it again");
    assert_eq!(scene.pass(DELAY / 2), [Action::AwaitTurn, Action::CloseServer]);
    assert_eq!(scene.drain.poll_timeout(), Some(scene.now + SECOND), "the timeout runs from the end of the delay");
    assert_eq!(scene.turn(), [Action::Close(active), Action::Close(idle)]);
}

#[test]
fn a_second_call_without_a_delay_ends_the_delay() {
    let mut scene = Scene::new();
    delayed(&mut scene);
    assert_eq!(scene.terminate(), [Action::CloseServer]);
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
    scene
        .drain
        .handle_terminate(Plan { delay: DELAY, timeout: Some(SECOND), keep_alive: AT_ONCE, observed: true }, scene.now);
    let mut told = Vec::new();
    for time in [Duration::ZERO, DELAY, SECOND / 2, SECOND / 2] {
        scene.now += time;
        scene.drain.handle_timeout(scene.now);
        for _ in 0..2 {
            scene.drain.handle_turned(scene.now);
            scene.drain.handle_surveyed(true, scene.now);
        }
        told.extend(std::iter::from_fn(|| scene.drain.poll_action()));
    }
    scene.drain.handle_closed(id, true, scene.now);
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
    scene.drain.handle_listening(scene.now);
    let id = scene.idle(Transport::Plain);
    assert_eq!(scene.terminate(), [Action::CloseServer], "a turn is awaited already");
    assert_eq!(scene.turn(), [Action::AwaitTurn]);
    assert_eq!(scene.turn(), [Action::Close(id)]);
}

#[test]
fn a_server_that_an_earlier_termination_has_closed_is_not_closed_once_more() {
    let mut scene = Scene::new();
    let id = scene.active(Transport::Plain, 1);
    scene.terminate_within(Some(Duration::ZERO));
    assert!(scene.actions().ends_with(&[Action::CloseServer, Action::Cut(id), Action::Destroy(id)]));
    assert_eq!(scene.close(id), [Action::Resolve], "cut, it does not wait for the server");
    let id = scene.active(Transport::Plain, 1);
    scene.terminate_within(Some(SECOND));
    scene.drain.handle_server_closed(scene.now);
    scene.drain.handle_closed(id, true, scene.now);
    assert_eq!(scene.actions().last(), Some(&Action::Resolve));
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

const MILLISECOND: Duration = Duration::from_millis(1);

impl Scene {
    /// An idle connection whose requests came so far apart, the last one so long ago.
    fn rhythmic(&mut self, gap: Duration, age: Duration) -> ConnectionId {
        let rhythm = self.now.checked_sub(age).map(|last| Rhythm { last, gap: Some(gap) });
        self.drain.handle_found(Transport::Plain, Distance::Near, true, rhythm)
    }

    /// An idle connection that has been used once, so long ago.
    fn used_once(&mut self, age: Duration) -> ConnectionId {
        let rhythm = self.now.checked_sub(age).map(|last| Rhythm { last, gap: None });
        self.drain.handle_found(Transport::Plain, Distance::Near, true, rhythm)
    }

    /// Ends a server that keeps its connections as their rhythm asks for, and lets the loop turn once.
    fn terminate_by_rhythm(&mut self) -> Vec<Action> {
        self.terminate_keeping(KeepAlive::Auto, None);
        self.actions();
        self.turn()
    }
}

#[test]
fn under_load_a_connection_in_rhythm_is_kept_until_it_is_out_of_it() {
    let mut scene = Scene::new();
    let ids = [60; FEW + 1].map(|gap| scene.rhythmic(gap * MILLISECOND, 100 * MILLISECOND));
    assert_eq!(scene.terminate_by_rhythm(), []);
    assert_eq!(scene.start(ids[0], false), [Action::SayClose(ids[0])], "that is what it was kept for");
    assert_eq!(scene.pass(379 * MILLISECOND), []);
    assert_eq!(scene.pass(MILLISECOND), [Action::AwaitTurn], "480 ms are eight gaps");
    assert_eq!(scene.turn(), ids[1..].iter().map(|&id| Action::Close(id)).collect::<Vec<_>>());
}

#[test]
fn a_slow_rhythm_is_waited_for_half_a_second() {
    let mut scene = Scene::new();
    let ids = [0, 0, 0, 0].map(|_| scene.rhythmic(SECOND, 100 * MILLISECOND));
    assert_eq!(scene.terminate_by_rhythm(), []);
    assert_eq!(scene.pass(399 * MILLISECOND), []);
    assert_eq!(scene.pass(MILLISECOND), [Action::AwaitTurn]);
    assert_eq!(scene.turn().len(), ids.len());
}

#[test]
fn load_counts_that_was_told_to_go_before_idle_connections_are_parted_with() {
    let mut scene = Scene::new();
    let busy = [0; FEW + 1].map(|_| scene.idle(Transport::Plain));
    busy.iter().for_each(|&id| drop(scene.start(id, false)));
    let once = scene.used_once(MILLISECOND);
    scene.terminate_keeping(KeepAlive::Auto, None);
    scene.actions();
    for id in busy {
        scene.drain.handle_closed(id, true, scene.now);
    }
    assert_eq!(scene.turn(), []);
    assert_eq!(scene.pass(SPEAKS_WITHIN), [Action::AwaitTurn]);
    assert_eq!(scene.turn(), [Action::Close(once)]);
}

#[test]
fn connections_that_were_used_once_are_no_load() {
    let mut scene = Scene::new();
    let ids = [0; 9].map(|_| scene.used_once(MILLISECOND));
    assert_eq!(scene.terminate_by_rhythm(), ids.map(Action::Close));
}

#[test]
fn a_few_connections_are_not_waited_for_whatever_their_rhythm() {
    let mut scene = Scene::new();
    let mut closes: Vec<_> = (0..FEW).map(|_| Action::Close(scene.rhythmic(SECOND, MILLISECOND))).collect();
    closes.push(Action::Close(scene.open(Transport::Plain)));
    assert_eq!(scene.terminate_by_rhythm(), closes);
}

#[test]
fn a_survey_may_take_several_turns_and_nobody_is_closed_before_its_end() {
    let mut scene = Scene::new();
    let idle = scene.idle(Transport::Plain);
    scene.drain.handle_quiet(CLOSES_PER_TURN, scene.now);
    assert_eq!(scene.terminate(), [Action::AwaitTurn, Action::CloseServer]);
    for all in [false, true] {
        scene.drain.handle_turned(scene.now);
        assert_eq!(scene.drain.poll_action(), Some(Action::Survey(Duration::ZERO)));
        scene.drain.handle_surveyed(all, scene.now);
        let closes = if all { vec![Action::CloseQuiet(CLOSES_PER_TURN)] } else { vec![] };
        assert_eq!(scene.actions(), [closes, vec![Action::AwaitTurn]].concat());
    }
    scene.drain.handle_quiet_closed(CLOSES_PER_TURN, 0, scene.now);
    assert_eq!(scene.turn(), [Action::Close(idle)]);
}

#[test]
fn at_the_deadline_those_are_looked_at_who_have_not_been_before_anything_is_cut() {
    for somebody_waits in [false, true] {
        let mut scene = Scene::new();
        scene.drain.handle_quiet(2, scene.now);
        scene.terminate_within(Some(SECOND));
        scene.drain.handle_accept_queue(Some(u32::from(somebody_waits)), 0, scene.now);
        scene.drain.handle_turned(scene.now);
        scene.drain.handle_surveyed(false, scene.now);
        scene.now += SECOND;
        scene.drain.handle_timeout(scene.now);
        // One that was asked for before the deadline came, and a whole one.
        scene.drain.handle_turned(scene.now);
        scene.drain.handle_turned(scene.now);
        let actions: Vec<_> = std::iter::from_fn(|| scene.drain.poll_action()).collect();
        assert_eq!(actions.contains(&Action::Survey(Duration::ZERO)), !somebody_waits);
        assert_eq!(actions.last(), Some(&Action::LastSurvey(Duration::ZERO)));
        let half = scene.drain.handle_found(Transport::Plain, Distance::Near, true, None);
        scene.drain.handle_quiet(1, scene.now);
        scene.drain.handle_receiving(half);
        scene.drain.handle_surveyed(true, scene.now);
        let actions: Vec<_> = std::iter::from_fn(|| scene.drain.poll_action()).collect();
        assert!(actions.ends_with(&[Action::DestroyQuiet, Action::CutHalf(half), Action::Destroy(half)]));
    }
}

#[test]
fn a_deadline_at_which_nobody_is_left_is_none() {
    let mut scene = Scene::new();
    scene.drain.handle_quiet(1, scene.now);
    scene.terminate_within(Some(SECOND));
    scene.now += SECOND;
    scene.drain.handle_timeout(scene.now);
    scene.drain.handle_turned(scene.now);
    scene.drain.handle_server_closed(scene.now);
    scene.drain.handle_turned(scene.now);
    let actions: Vec<_> = std::iter::from_fn(|| scene.drain.poll_action()).collect();
    assert_eq!(actions.last(), Some(&Action::LastSurvey(Duration::ZERO)));
    // Its client had gone, which nobody had noticed.
    scene.drain.handle_quiet_closed(1, 0, scene.now);
    scene.drain.handle_surveyed(true, scene.now);
    let actions: Vec<_> = std::iter::from_fn(|| scene.drain.poll_action()).collect();
    assert_eq!(actions, [Action::Announce(Milestone::Terminated), Action::Resolve]);
    assert!(scene.drain.report().graceful());
}

#[test]
fn under_load_every_connection_has_time_to_speak() {
    let mut scene = Scene::new();
    for _ in 0..=FEW {
        scene.active(Transport::Plain, 1);
    }
    let new = scene.open(Transport::Plain);
    // It is the pool that is in rhythm, whichever of its connections is used next.
    let long_idle = scene.rhythmic(40 * MILLISECOND, 900 * MILLISECOND);
    scene.drain.handle_quiet(3, scene.now);
    assert_eq!(scene.terminate_by_rhythm(), []);
    assert_eq!(scene.pass(SPEAKS_WITHIN - MILLISECOND), []);
    assert_eq!(scene.pass(MILLISECOND), [Action::AwaitTurn]);
    assert_eq!(scene.turn(), [Action::CloseQuiet(3), Action::Close(new), Action::Close(long_idle)]);
}

#[test]
fn from_afar_they_have_a_round_trip_more() {
    for distance in FAR {
        let mut scene = Scene::new();
        for _ in 0..=FEW {
            scene.active(Transport::Plain, 1);
        }
        scene.drain.handle_came_from(distance);
        scene.drain.handle_quiet(3, scene.now);
        let known = scene.drain.handle_found(Transport::Plain, distance, true, None);
        assert_eq!(scene.terminate_by_rhythm(), []);
        assert_eq!(scene.pass(SPEAKS_WITHIN + distance.round_trip() - MILLISECOND), []);
        assert_eq!(scene.pass(MILLISECOND), [Action::AwaitTurn]);
        assert_eq!(scene.turn(), [Action::CloseQuiet(3), Action::Close(known)]);
    }
}

#[test]
fn whoever_was_held_up_with_the_server_has_more_time_once() {
    let mut scene = Scene::new();
    let ids = [0; FEW + 1].map(|_| scene.rhythmic(60 * MILLISECOND, 100 * MILLISECOND));
    assert_eq!(scene.terminate_by_rhythm(), []);
    assert_eq!(scene.pass(380 * MILLISECOND + HELD_UP_FROM), []);
    assert_eq!(scene.start(ids[0], false), [Action::SayClose(ids[0])], "that is what it has come for");
    assert_eq!(scene.pass(HELD_UP_GETS - MILLISECOND), []);
    assert_eq!(scene.pass(MILLISECOND + HELD_UP_FROM), [Action::AwaitTurn], "nobody is stopped for ever");
    assert_eq!(scene.turn(), ids[1..].iter().map(|&id| Action::Close(id)).collect::<Vec<_>>());
}

#[test]
fn nobody_was_held_up_by_a_busy_loop() {
    let mut scene = Scene::new();
    let ids = [0; FEW + 1].map(|_| scene.rhythmic(60 * MILLISECOND, 100 * MILLISECOND));
    assert_eq!(scene.terminate_by_rhythm(), []);
    assert_eq!(scene.pass(379 * MILLISECOND + HELD_UP_FROM), [Action::AwaitTurn]);
    assert_eq!(scene.turn(), ids.map(Action::Close));
}

#[test]
fn there_is_load_if_there_was_when_the_delay_was_over_though_that_is_found_late() {
    let mut scene = Scene::new();
    let plan = Plan { delay: SECOND, timeout: None, keep_alive: KeepAlive::Auto, observed: false };
    // Out of rhythm after 320 ms, as all of them are when that is found, and the last one when it is over.
    let ids = [0, 0, 0, 0, 320].map(|age| {
        let last = scene.now + SECOND - age * MILLISECOND;
        scene.drain.handle_found(
            Transport::Plain,
            Distance::Near,
            true,
            Some(Rhythm { last, gap: Some(40 * MILLISECOND) }),
        )
    });
    scene.drain.handle_terminate(plan, scene.now);
    scene.actions();
    assert_eq!(scene.pass(SECOND + 400 * MILLISECOND), [Action::AwaitTurn, Action::CloseServer]);
    assert_eq!(scene.turn(), []);
    assert_eq!(scene.start(ids[0], false), [Action::SayClose(ids[0])]);
    assert_eq!(scene.pass(SPEAKS_WITHIN - MILLISECOND), []);
    assert_eq!(scene.pass(MILLISECOND), [Action::AwaitTurn]);
    assert_eq!(scene.turn(), ids[1..].iter().map(|&id| Action::Close(id)).collect::<Vec<_>>());
}

#[test]
fn held_up_before_the_survey_it_looks_further_back() {
    let mut scene = Scene::new();
    scene.drain.handle_quiet(1, scene.now);
    scene.terminate_keeping(KeepAlive::Auto, None);
    scene.drain.handle_accept_queue(Some(0), 0, scene.now);
    scene.now += SECOND;
    scene.drain.handle_turned(scene.now);
    let surveys = std::iter::from_fn(|| scene.drain.poll_action()).filter_map(|action| match action {
        Action::Survey(horizon) => Some(horizon),
        _ => None,
    });
    assert_eq!(surveys.collect::<Vec<_>>(), [RHYTHM_FROM_AFAR_AT_MOST + SECOND]);
}

#[test]
fn quiet_ones_under_load_have_more_time_if_they_were_held_up() {
    let mut scene = Scene::new();
    for _ in 0..=FEW {
        scene.active(Transport::Plain, 1);
    }
    scene.drain.handle_quiet(70, scene.now);
    assert_eq!(scene.terminate_by_rhythm(), []);
    assert_eq!(scene.pass(SPEAKS_WITHIN + HELD_UP_FROM), []);
    assert_eq!(scene.turn(), []);
    assert_eq!(scene.pass(HELD_UP_GETS + HELD_UP_FROM), [Action::AwaitTurn]);
    assert_eq!(scene.turn(), [Action::CloseQuiet(CLOSES_PER_TURN), Action::AwaitTurn]);
    scene.drain.handle_quiet_closed(CLOSES_PER_TURN, 6, scene.now);
    scene.now += SECOND;
    assert_eq!(scene.turn(), [Action::CloseQuiet(6)], "they have had it");
}

#[test]
fn they_have_it_too_if_the_loop_turns_before_a_timer_goes_off() {
    let mut scene = Scene::new();
    for _ in 0..2 {
        let busy = [0; FEW + 1].map(|_| scene.active(Transport::Plain, 1));
        scene.drain.handle_quiet(5, scene.now);
        assert_eq!(scene.terminate_by_rhythm(), []);
        scene.now += SPEAKS_WITHIN + HELD_UP_FROM;
        let late = scene.drain.handle_found(Transport::Plain, Distance::Near, true, None);
        assert_eq!(scene.turn(), [Action::AwaitTurn, Action::Close(late)], "which has asked for a turn");
        assert_eq!(scene.pass(HELD_UP_GETS), [Action::AwaitTurn]);
        assert_eq!(scene.turn(), [Action::CloseQuiet(5)]);
        scene.drain.handle_quiet_closed(5, 0, scene.now);
        busy.into_iter().chain([late]).for_each(|id| drop(scene.close(id)));
        assert_eq!(scene.server_closed(), [Action::Resolve]);
        scene.drain.handle_listening(scene.now);
    }
}

#[test]
fn quiet_ones_in_a_window_have_more_time_if_they_were_held_up_at_its_end() {
    let mut scene = Scene::new();
    scene.drain.handle_quiet(70, scene.now);
    scene.terminate_keeping(KeepAlive::For(SECOND), None);
    scene.actions();
    assert_eq!(scene.turn(), []);
    assert_eq!(scene.pass(SECOND + HELD_UP_FROM), []);
    assert_eq!(scene.pass(HELD_UP_GETS - MILLISECOND), []);
    assert_eq!(scene.pass(MILLISECOND + HELD_UP_FROM), [Action::AwaitTurn]);
    assert_eq!(scene.turn(), [Action::CloseQuiet(CLOSES_PER_TURN), Action::AwaitTurn]);
    scene.drain.handle_quiet_closed(CLOSES_PER_TURN, 6, scene.now);
    scene.now += SECOND;
    assert_eq!(scene.turn(), [Action::CloseQuiet(6)]);
}

#[test]
fn who_has_more_time_anyway_is_excused_when_that_is_over() {
    let mut scene = Scene::new();
    let ids = [0; FEW + 1].map(|_| scene.rhythmic(100 * MILLISECOND, MILLISECOND));
    scene.terminate_keeping(KeepAlive::Auto, None);
    scene.actions();
    scene.now += HELD_UP_FROM;
    assert_eq!(scene.turn(), []);
    assert_eq!(scene.pass(SECOND), []);
    assert_eq!(scene.pass(HELD_UP_GETS), [Action::AwaitTurn]);
    assert_eq!(scene.turn(), ids.map(Action::Close));
}

#[test]
fn a_session_that_was_held_up_has_more_time_to_acknowledge() {
    let mut scene = Scene::new();
    let id = scene.open(Transport::Plain);
    scene.drain.handle_multiplexed(id, scene.now);
    assert!(scene.terminate().contains(&Action::Ping(id)));
    assert_eq!(scene.pass(PING_AT_MOST + HELD_UP_FROM), []);
    assert_eq!(scene.pass(HELD_UP_GETS), [Action::CloseSession(id)]);
}

#[test]
fn a_few_idle_connections_are_kept_for_the_whole_window() {
    let mut scene = Scene::new();
    let (served, kept) = (scene.idle(Transport::Plain), scene.idle(Transport::Plain));
    scene.drain.handle_quiet(2, scene.now);
    scene.terminate_keeping(KeepAlive::For(SECOND), None);
    scene.actions();
    assert_eq!(scene.turn(), []);
    assert_eq!(scene.pass(SECOND - MILLISECOND), []);
    assert_eq!(scene.start(served, false), [Action::SayClose(served)]);
    assert_eq!(scene.pass(MILLISECOND), [Action::AwaitTurn]);
    assert_eq!(scene.turn(), [Action::CloseQuiet(2), Action::Close(kept)]);
}

#[test]
fn a_termination_ends_before_its_window_when_nobody_is_left() {
    let mut scene = Scene::new();
    let id = scene.idle(Transport::Plain);
    scene.drain.handle_quiet(1, scene.now);
    scene.terminate_keeping(KeepAlive::For(SECOND), None);
    scene.actions();
    scene.turn();
    scene.drain.handle_quiet(0, scene.now);
    scene.close(id);
    assert_eq!(scene.server_closed(), [Action::Resolve]);
    assert_eq!(scene.drain.poll_timeout(), None);
}

#[test]
fn the_closes_of_a_crowd_are_spread_over_the_window() {
    let mut scene = Scene::new();
    let known: Vec<_> = (0..100).map(|_| scene.idle(Transport::Plain)).collect();
    scene.drain.handle_quiet(100, scene.now);
    scene.terminate_keeping(KeepAlive::For(SECOND), None);
    scene.actions();
    assert_eq!(scene.turn(), []);
    let (mut left, mut closed_by) = (100, Vec::new());
    let mut closed = 0;
    for _ in 0..10 {
        // The alarm may ring as often as it wants to in a tenth of the window.
        for _ in 0..10 {
            if scene.pass(SECOND / 100).contains(&Action::AwaitTurn) {
                for action in scene.turn() {
                    if let Action::CloseQuiet(count) = action {
                        left -= count;
                        closed += count as usize;
                        scene.drain.handle_quiet_closed(count, left, scene.now);
                    } else {
                        closed += usize::from(matches!(action, Action::Close(_)));
                    }
                }
            }
        }
        closed_by.push(closed);
    }
    assert_eq!(closed_by, [20, 40, 60, 80, 100, 120, 140, 160, 180, 200]);
    assert_eq!(known.len() + 100, 200);
}

#[test]
fn a_window_does_not_outlast_the_deadline() {
    let mut scene = Scene::new();
    let id = scene.idle(Transport::Plain);
    scene.drain.handle_quiet(1, scene.now);
    scene.terminate_keeping(KeepAlive::For(Duration::MAX), Some(SECOND));
    scene.actions();
    scene.turn();
    assert_eq!(scene.expire(SECOND), [Action::Destroy(id)]);
    scene.drain.handle_quiet_closed(1, 0, scene.now);
    assert_eq!(scene.close(id), [Action::Resolve]);
    assert!(scene.drain.report().graceful(), "nothing was under way");
    assert_eq!(scene.drain.report().connections.idle, 2);
}

#[test]
fn a_timeout_within_a_step_of_the_window_closes_nobody() {
    let mut scene = Scene::new();
    let (quiet, window) = (203, 20_300 * MILLISECOND);
    scene.terminate_keeping(KeepAlive::For(window), None);
    scene.drain.handle_quiet(quiet, scene.now);
    scene.actions();
    scene.turn();
    assert_eq!(scene.drain.poll_timeout(), Some(scene.now + 200 * MILLISECOND), "two at a time");
    assert_eq!(scene.pass(100 * MILLISECOND), [], "one of them");
    assert_eq!(scene.pass(100 * MILLISECOND), [Action::AwaitTurn]);
    assert_eq!(scene.turn(), [Action::CloseQuiet(2)]);
}

#[test]
fn what_waits_to_be_accepted_is_accepted_before_the_listener_closes() {
    let mut scene = Scene::new();
    scene.terminate_within(Some(SECOND));
    assert_eq!(scene.drain.poll_action(), Some(Action::Announce(Milestone::Draining)));
    assert_eq!(scene.drain.poll_action(), Some(Action::WatchListener));
    scene.drain.handle_accept_queue(Some(2), 0, scene.now);
    assert_eq!(scene.drain.poll_action(), Some(Action::HoldListener));
    scene.drain.handle_accept_queue(Some(2), 0, scene.now);
    assert_eq!(scene.actions(), [Action::AwaitTurn]);
    let id = scene.accept(Transport::Plain);
    scene.drain.handle_accept_queue(Some(1), 0, scene.now);
    assert_eq!(scene.turn(), [Action::AwaitTurn]);
    scene.start(id, false);
    scene.drain.handle_accept_queue(Some(0), 0, scene.now);
    assert_eq!(scene.actions(), [Action::CloseServer]);
    assert_eq!(scene.drain.phase(), Phase::Reading, "the loop has not read yet what it has accepted");
    assert_eq!(scene.turn(), []);
    assert_eq!(scene.drain.phase(), Phase::Draining);
}

#[test]
fn where_nobody_knows_who_waits_two_turns_without_anybody_are_enough() {
    let mut scene = Scene::new();
    scene.terminate_within(Some(SECOND));
    while scene.drain.poll_action().is_some() {}
    scene.drain.handle_accept_queue(None, 0, scene.now);
    assert_eq!(scene.actions(), [Action::AwaitTurn]);
    assert_eq!(scene.turn(), [Action::AwaitTurn]);
    let id = scene.accept(Transport::Plain);
    assert_eq!(scene.turn(), [Action::AwaitTurn]);
    assert_eq!(scene.turn(), [Action::AwaitTurn]);
    assert_eq!(scene.turn(), [Action::CloseServer]);
    assert_eq!(scene.start(id, false), [Action::SayClose(id)]);
}

/// A connection in rhythm whose answer has begun, in a crowd of others, and all of them drain.
fn scene_with_an_answer_begun(keep_alive: KeepAlive, gap: Option<Duration>, others: usize) -> (Scene, ConnectionId) {
    let mut scene = Scene::new();
    let rhythm = Some(Rhythm { last: scene.now, gap });
    let id = scene.drain.handle_found(Transport::Plain, Distance::Near, true, rhythm);
    scene.start(id, false);
    for _ in 0..others {
        let other = scene.drain.handle_found(Transport::Plain, Distance::Near, true, None);
        scene.start(other, false);
    }
    scene.terminate_keeping(keep_alive, None);
    scene.actions();
    scene.turn();
    assert_eq!(scene.drain.phase(), Phase::Draining);
    (scene, id)
}

#[test]
fn who_was_answered_and_not_told_to_go_may_ask_once_more() {
    let (mut scene, id) = scene_with_an_answer_begun(KeepAlive::Auto, Some(MILLISECOND), FEW);
    scene.now += SECOND;
    assert_eq!(scene.finish(id, KEPT_ALIVE), []);
    scene.now += 200 * MILLISECOND;
    assert_eq!(scene.start(id, false), [Action::SayClose(id)]);
    // If its handler has said otherwise, it is not kept a second time.
    assert_eq!(scene.finish(id, Finished { late: true, ..KEPT_ALIVE }), [Action::End(id)]);
}

/// On other machines, one of which is next door.
const FAR: [Distance; 2] = [Distance::Far { round_trip: Duration::ZERO }, Distance::Far { round_trip: ROUND_TRIP }];
const ROUND_TRIP: Duration = Duration::from_millis(80);
/// How long these take from there; a way of no length is one that is not known.
const HANDSHAKES: [Duration; 2] = [Duration::from_millis(250), ROUND_TRIP];

/// A connection that was answered, and could not be told to go.
fn scene_with_an_answer_that_told_nothing(distance: Distance) -> (Scene, ConnectionId) {
    let mut scene = Scene::new();
    let id = scene.drain.handle_found(Transport::Plain, distance, true, None);
    scene.start(id, false);
    scene.terminate_keeping(KeepAlive::Auto, None);
    scene.actions();
    scene.turn();
    assert_eq!(scene.finish(id, KEPT_ALIVE), []);
    (scene, id)
}

#[test]
fn who_was_answered_on_another_machine_has_longer_to_ask_again() {
    let (scene, _) = scene_with_an_answer_that_told_nothing(Distance::Near);
    assert_eq!(scene.drain.poll_timeout(), Some(scene.now + ASKS_AGAIN_WITHIN));
    for far in FAR {
        let (mut scene, id) = scene_with_an_answer_that_told_nothing(far);
        assert_eq!(scene.drain.poll_timeout(), Some(scene.now + SPEAKS_WITHIN + far.round_trip()));
        assert_eq!(scene.start(id, false), [Action::SayClose(id)]);
    }
}

#[test]
fn who_has_ended_a_handshake_on_another_machine_has_time_to_speak() {
    for transport in [Transport::Plain, Transport::Tls] {
        for distance in [Distance::Near, FAR[0], FAR[1]] {
            let mut scene = Scene::new();
            scene.drain.handle_found(transport, distance, false, None);
            scene.terminate_keeping(KeepAlive::Auto, None);
            scene.actions();
            let kept = distance.is_far() && transport == Transport::Tls;
            assert_eq!(scene.turn().is_empty(), kept, "{transport:?}, {distance:?}");
            let until = Some(scene.now + SPEAKS_WITHIN + distance.round_trip()).filter(|_| kept);
            assert!(!kept || scene.drain.poll_timeout() == until, "{distance:?}");
        }
    }
}

#[test]
fn one_connection_in_rhythm_is_load_if_its_peer_is_on_another_machine() {
    for distance in [Distance::Near, FAR[0], FAR[1]] {
        let mut scene = Scene::new();
        let rhythm = Some(Rhythm { last: scene.now, gap: Some(MILLISECOND) });
        let id = scene.drain.handle_found(Transport::Plain, distance, true, rhythm);
        scene.terminate_keeping(KeepAlive::Auto, None);
        scene.actions();
        let kept_until = Some(scene.now + SPEAKS_WITHIN + distance.round_trip()).filter(|_| distance.is_far());
        assert_eq!(scene.turn().contains(&Action::Close(id)), !distance.is_far());
        assert_eq!(scene.drain.poll_timeout(), kept_until, "what is lost on the way is sent once more after 200 ms");
    }
}

#[test]
fn a_connection_from_afar_is_in_rhythm_for_longer_the_further_it_comes_from() {
    let far = |milliseconds| Distance::Far { round_trip: Duration::from_millis(milliseconds) };
    for (distance, gap, in_rhythm) in [
        (Distance::Near, 100, 500),
        (far(0), 100, 500),
        (far(2), 100, 600),
        (far(2), 70, 560),
        (far(80), 100, 800),
        (far(80), 200, 1_000),
        (far(300), 200, 1_000),
        (far(300), 20, 550),
    ] {
        let mut scene = Scene::new();
        let rhythm = Some(Rhythm { last: scene.now, gap: Some(gap * MILLISECOND) });
        for _ in 0..=FEW {
            scene.drain.handle_found(Transport::Plain, distance, true, rhythm);
        }
        scene.terminate_by_rhythm();
        assert_eq!(scene.drain.poll_timeout(), Some(scene.now + in_rhythm * MILLISECOND), "{distance:?}, {gap}");
    }
}

#[test]
fn so_is_one_that_was_used_once_whether_there_are_others_or_not() {
    for (others, round_trip, in_rhythm) in
        [(FEW + 1, 0, 250), (0, 0, 250), (0, 2, 352), (FEW + 1, 80, 580), (0, 700, 1_000)]
    {
        let far = Distance::Far { round_trip: Duration::from_millis(round_trip) };
        let mut scene = Scene::new();
        let rhythm = Some(Rhythm { last: scene.now, gap: None });
        for _ in 0..others {
            scene.active(Transport::Plain, 1);
        }
        scene.drain.handle_found(Transport::Plain, far, true, rhythm);
        scene.terminate_by_rhythm();
        assert_eq!(scene.drain.poll_timeout(), Some(scene.now + in_rhythm * MILLISECOND), "{far:?}");
    }
}

#[test]
fn who_connects_from_afar_has_a_round_trip_more_to_speak() {
    for far in FAR {
        let mut scene = Scene::new();
        scene.active(Transport::Tls, 1);
        scene.terminate_keeping(KeepAlive::Auto, None);
        scene.actions();
        scene.turn();
        let id = scene.drain.handle_opened(Transport::Tls, far, scene.now);
        let until = SPEAKS_WITHIN + far.round_trip();
        assert_eq!(scene.drain.poll_timeout(), Some(scene.now + until));
        scene.now += until - MILLISECOND;
        scene.drain.handle_secured(id, scene.now);
        scene.now += MILLISECOND;
        scene.drain.handle_timeout(scene.now);
        assert_eq!(scene.drain.poll_timeout(), Some(scene.now + until - MILLISECOND), "the handshake has ended");
    }
}

#[test]
fn whatever_a_peer_has_to_answer_takes_it_a_round_trip_more() {
    for far in FAR {
        let mut scene = Scene::new();
        let id = scene.drain.handle_found(Transport::Tls, far, true, None);
        scene.terminate();
        scene.turn();
        assert_eq!(scene.drain.poll_timeout(), Some(scene.now + CLOSE_NOTIFY_AT_MOST + far.round_trip()), "{id}");

        let mut scene = Scene::new();
        let id = scene.drain.handle_found(Transport::Tls, far, true, None);
        scene.drain.handle_multiplexed(id, scene.now);
        scene.terminate();
        assert_eq!(scene.drain.poll_timeout(), Some(scene.now + PING_AT_MOST + far.round_trip()));
        scene.drain.handle_ponged(id, scene.now);
        scene.actions();
        assert_eq!(scene.pass(SESSION_CLOSES_WITHIN + far.round_trip() - MILLISECOND), []);
        assert_eq!(scene.pass(MILLISECOND), [Action::Destroy(id)]);
    }
}

#[test]
fn handshakes_are_waited_for_as_long_as_the_way_to_the_furthest_client() {
    for (far, handshake) in std::iter::zip(FAR, HANDSHAKES) {
        let mut scene = Scene::new();
        let id = scene.drain.handle_found(Transport::Plain, far, true, None);
        scene.start(id, false);
        scene.terminate_within(None);
        while scene.drain.poll_action().is_some() {}
        assert_eq!(scene.waits_for_a_handshake(), ACCEPT_AT_MOST + handshake);
    }
}

#[test]
fn who_was_answered_and_not_told_to_go_is_closed_when_it_has_stopped_asking() {
    for (gap, others, kept) in [
        (Some(40 * MILLISECOND), FEW, keep_alive::GAPS * 40 * MILLISECOND),
        (Some(20 * MILLISECOND), FEW, SPEAKS_WITHIN),
        (None, FEW, ASKS_AGAIN_WITHIN),
        (Some(40 * MILLISECOND), 0, ASKS_AGAIN_WITHIN),
        (None, 0, ASKS_AGAIN_WITHIN),
    ] {
        let (mut scene, id) = scene_with_an_answer_begun(KeepAlive::Auto, gap, others);
        scene.now += SECOND;
        assert_eq!(scene.finish(id, KEPT_ALIVE), []);
        assert_eq!(scene.drain.poll_timeout(), Some(scene.now + kept), "{gap:?} and {others} others");
    }
    let (mut scene, id) = scene_with_an_answer_begun(KeepAlive::For(Duration::ZERO), None, FEW);
    assert_eq!(scene.finish(id, KEPT_ALIVE), [Action::End(id)]);
}

fn is_kept_when_the_others_have_gone(
    mut scene: Scene,
    id: ConnectionId,
    others: impl IntoIterator<Item = ConnectionId>,
) {
    for other in others {
        assert_eq!(scene.finish(other, ANSWERED), [Action::LookUnsent(other)]);
        scene.close(other);
    }
    assert_eq!(scene.finish(id, KEPT_ALIVE), []);
    assert_eq!(scene.drain.poll_timeout(), Some(scene.now + SPEAKS_WITHIN));
}

#[test]
fn it_is_under_load_also_if_the_others_have_gone_since() {
    let (scene, id) = scene_with_an_answer_begun(KeepAlive::Auto, Some(MILLISECOND), FEW);
    is_kept_when_the_others_have_gone(scene, id, id + 1..=id + FEW);
}

#[test]
fn it_is_under_load_also_if_the_others_have_come_since_the_delay_was_over() {
    let mut scene = Scene::new();
    let rhythm = Some(Rhythm { last: scene.now, gap: Some(MILLISECOND) });
    let id = scene.drain.handle_found(Transport::Plain, Distance::Near, true, rhythm);
    scene.start(id, false);
    scene.terminate_keeping(KeepAlive::Auto, None);
    scene.actions();
    let others = [0; FEW].map(|_| scene.active(Transport::Plain, 1));
    scene.turn();
    assert_eq!(scene.drain.phase(), Phase::Draining);
    is_kept_when_the_others_have_gone(scene, id, others);
}

#[test]
fn who_has_ended_a_handshake_has_no_less_time_under_load_than_without() {
    for round_trip in [Duration::ZERO, ROUND_TRIP, 10 * SECOND] {
        for others in [0, FEW + 1] {
            let mut scene = Scene::new();
            for _ in 0..others {
                scene.active(Transport::Plain, 1);
            }
            scene.drain.handle_found(Transport::Tls, Distance::Far { round_trip }, false, None);
            scene.terminate_by_rhythm();
            let until = scene.now + SPEAKS_WITHIN + round_trip.min(ROUND_TRIP_AT_MOST);
            assert_eq!(scene.drain.poll_timeout(), Some(until), "{round_trip:?}, {others} others");
        }
    }
}

#[test]
fn quiet_ones_have_as_long_under_load_as_the_furthest_that_is_known() {
    for (found, came_from) in [(FAR[1], FAR[0]), (FAR[0], FAR[1])] {
        let mut scene = Scene::new();
        scene.drain.handle_came_from(came_from);
        scene.drain.handle_quiet(1, scene.now);
        let id = scene.drain.handle_found(Transport::Plain, found, true, None);
        scene.start(id, false);
        scene.terminate_by_rhythm();
        assert_eq!(scene.drain.poll_timeout(), Some(scene.now + SPEAKS_WITHIN + ROUND_TRIP), "{found:?}");
    }
}

/// A scene in which three wait to be accepted.
fn scene_with_a_queue(held: bool) -> Scene {
    let mut scene = Scene::new();
    scene.terminate_within(None);
    while scene.drain.poll_action().is_some() {}
    scene.drain.handle_accept_queue(Some(3), 0, scene.now);
    assert_eq!(scene.drain.poll_action(), Some(Action::HoldListener));
    // It may take a while to find out how, and the machine may be held up meanwhile.
    scene.now += SECOND;
    if held {
        scene.drain.handle_listener_held();
    }
    scene.drain.handle_accept_queue(Some(3), 0, scene.now);
    assert_eq!(scene.actions(), [Action::AwaitTurn]);
    scene
}

#[test]
fn who_waits_to_be_accepted_has_more_time_if_everything_was_held_up() {
    let mut scene = scene_with_a_queue(false);
    scene.now += HELD_UP_GETS - MILLISECOND;
    scene.drain.handle_accept_queue(Some(3), 0, scene.now);
    assert_eq!(scene.turn(), [Action::AwaitTurn]);
    scene.now += SECOND;
    scene.drain.handle_accept_queue(Some(3), 0, scene.now);
    assert_eq!(scene.actions(), [Action::CloseServer], "others may come for ever");
}

#[test]
fn who_waits_to_be_accepted_is_whenever_that_is_if_nobody_follows() {
    let mut scene = scene_with_a_queue(true);
    for waiting in [2, 1] {
        scene.now += SECOND;
        scene.accept(Transport::Plain);
        scene.drain.handle_accept_queue(Some(waiting), 0, scene.now);
        assert_eq!(scene.turn(), [Action::AwaitTurn]);
    }
    // But not if the server takes nobody in.
    for expected in [vec![Action::AwaitTurn], vec![Action::CloseServer]] {
        scene.now += SECOND;
        scene.drain.handle_accept_queue(Some(1), 0, scene.now);
        let actions = scene.turn();
        assert_eq!(actions[..1], expected[..1]);
    }
}

#[test]
fn where_nobody_knows_who_waits_two_turns_show_it_after_a_standstill_too() {
    let mut scene = Scene::new();
    scene.terminate_within(None);
    while scene.drain.poll_action().is_some() {}
    scene.drain.handle_accept_queue(None, 0, scene.now);
    scene.now += SECOND;
    scene.accept(Transport::Plain);
    let turns = [scene.turn(), scene.turn(), scene.turn()];
    let closes = turns.map(|actions| actions.contains(&Action::CloseServer));
    assert_eq!(closes, [false, false, true], "others may wait behind the one that was accepted");
}

#[test]
fn all_who_wait_are_accepted_however_long_it_takes_if_nobody_follows() {
    let mut scene = Scene::new();
    scene.terminate_within(None);
    while scene.drain.poll_action().is_some() {}
    scene.drain.handle_accept_queue(Some(3), 0, scene.now);
    assert_eq!(scene.drain.poll_action(), Some(Action::HoldListener));
    scene.drain.handle_listener_held();
    scene.drain.handle_accept_queue(Some(3), 0, scene.now);
    assert_eq!(scene.actions(), [Action::AwaitTurn]);
    for waiting in [2, 1] {
        scene.now += ACCEPT_AT_MOST - Duration::from_millis(1);
        scene.accept(Transport::Plain);
        scene.drain.handle_accept_queue(Some(waiting), 0, scene.now);
        assert_eq!(scene.turn(), [Action::AwaitTurn]);
    }
    // But not for one that the loop does not accept at all.
    scene.now += ACCEPT_AT_MOST;
    assert!(scene.turn().contains(&Action::CloseServer));
}

/// A scene in which nobody waits to be accepted, but two are a round trip away, and nobody follows.
fn scene_with_handshakes() -> Scene {
    let mut scene = scene_about_to_hold(2);
    scene.drain.handle_listener_held();
    scene.see_handshakes(2);
    assert_eq!(scene.drain.poll_action(), None, "but for the turn in which what had come is read");
    scene.see_handshakes(2);
    assert_eq!(scene.turn(), []);
    scene
}

fn scene_about_to_hold(handshakes: u32) -> Scene {
    let mut scene = Scene::new();
    scene.idle(Transport::Plain);
    scene.terminate_within(None);
    while scene.drain.poll_action().is_some() {}
    scene.see_handshakes(handshakes);
    assert_eq!(scene.drain.poll_action(), Some(Action::HoldListener));
    scene
}

#[test]
fn whose_handshake_is_under_way_is_accepted_before_the_listener_closes() {
    let mut scene = scene_with_handshakes();
    assert_eq!(scene.drain.poll_timeout(), Some(scene.now + ACCEPT_AT_MOST));
    scene.accept(Transport::Plain);
    assert_eq!(scene.actions(), [], "no turn of the loop shows more than that the other one has come");
    scene.accept(Transport::Plain);
    assert_eq!(scene.actions(), [Action::AwaitTurn]);
    scene.see_handshakes(1);
    assert_eq!(scene.turn(), [], "only who comes after that was looked at counts for it");
    scene.accept(Transport::Plain);
    scene.see_handshakes(0);
    assert_eq!(scene.actions(), [Action::AwaitTurn, Action::CloseServer]);
    scene.turn();
    assert_eq!(scene.drain.phase(), Phase::Draining);
}

#[test]
fn who_waits_is_accepted_without_regard_to_handshakes() {
    let mut scene = scene_with_handshakes();
    scene.drain.handle_accept_queue(Some(1), 2, scene.now);
    assert_eq!(scene.actions(), [Action::AwaitTurn]);
}

#[test]
fn handshakes_are_not_waited_for_where_others_follow() {
    let mut scene = scene_about_to_hold(2);
    scene.see_handshakes(2);
    assert_eq!(scene.actions(), [Action::CloseServer]);
}

#[test]
fn a_handshake_that_does_not_end_is_not_waited_for_long() {
    let mut scene = scene_with_handshakes();
    scene.now += ACCEPT_AT_MOST;
    scene.drain.handle_timeout(scene.now);
    assert_eq!(scene.actions(), [Action::AwaitTurn]);
    assert_eq!(scene.drain.poll_timeout(), None, "the turn shows it");
    // What has ended may have been another listener's, or have been given up.
    scene.see_handshakes(1);
    assert!(scene.turn().contains(&Action::CloseServer));
}

#[test]
fn whoever_comes_brings_the_end_of_the_handshakes_nearer() {
    let mut scene = scene_with_handshakes();
    scene.accept(Transport::Plain);
    scene.now += ACCEPT_AT_MOST;
    scene.drain.handle_timeout(scene.now);
    scene.see_handshakes(1);
    assert!(!scene.turn().contains(&Action::CloseServer));
    assert_eq!(scene.drain.poll_timeout(), Some(scene.now + ACCEPT_AT_MOST));
}

#[test]
fn who_comes_when_everything_was_cut_ends_the_wait_for_handshakes_too() {
    let mut scene = Scene::new();
    let id = scene.idle(Transport::Plain);
    scene.terminate_within(Some(SECOND));
    scene.actions();
    scene.turn();
    scene.expire(SECOND);
    scene.drain.handle_listening(scene.now);
    scene.terminate_within(None);
    while scene.drain.poll_action().is_some() {}
    scene.see_handshakes(1);
    scene.drain.handle_listener_held();
    scene.see_handshakes(1);
    while scene.drain.poll_action().is_some() {}
    assert_eq!(scene.turn(), []);
    let late = scene.accept(Transport::Plain);
    assert_eq!(scene.actions(), [Action::AwaitTurn, Action::Destroy(late)]);
    scene.see_handshakes(0);
    assert_eq!(scene.actions(), [Action::CloseServer]);
    assert_ne!(id, late);
}

#[test]
fn turns_count_only_from_when_nobody_knows_any_more_who_waits() {
    let mut scene = Scene::new();
    scene.terminate_within(Some(SECOND));
    while scene.drain.poll_action().is_some() {}
    scene.drain.handle_accept_queue(Some(1), 0, scene.now);
    while scene.drain.poll_action().is_some() {}
    assert_eq!(scene.turn(), [Action::AwaitTurn]);
    assert_eq!(scene.turn(), [Action::AwaitTurn]);
    scene.drain.handle_accept_queue(None, 0, scene.now);
    assert_eq!(scene.actions(), [], "one waited all the time");
    assert_eq!(scene.turn(), [Action::AwaitTurn]);
    assert_eq!(scene.turn(), [Action::CloseServer]);
}

#[test]
fn a_queue_that_never_empties_is_left_after_a_while() {
    for waiting in [Some(5), None] {
        let mut scene = Scene::new();
        scene.terminate_within(None);
        while scene.drain.poll_action().is_some() {}
        scene.drain.handle_accept_queue(waiting, 0, scene.now);
        scene.accept(Transport::Plain);
        while scene.drain.poll_action().is_some() {}
        scene.now += ACCEPT_AT_MOST;
        assert!(scene.turn().contains(&Action::CloseServer));
    }
}

#[test]
fn nobody_is_looked_for_where_the_last_one_has_gone_before_the_listener_closes() {
    let mut scene = Scene::new();
    let id = scene.idle(Transport::Plain);
    scene.terminate_within(None);
    scene.drain.handle_accept_queue(Some(0), 0, scene.now);
    scene.drain.handle_closed(id, true, scene.now);
    while scene.drain.poll_action().is_some() {}
    scene.drain.handle_turned(scene.now);
    assert_eq!(std::iter::from_fn(|| scene.drain.poll_action()).collect::<Vec<_>>(), []);
    // Whoever is emitted by hand is.
    scene.drain.handle_opened(Transport::Plain, Distance::Near, scene.now);
    assert_eq!(scene.drain.poll_action(), Some(Action::AwaitTurn));
    scene.drain.handle_turned(scene.now);
    assert!(matches!(scene.drain.poll_action(), Some(Action::Survey(_))));
}

#[test]
fn whoever_may_be_about_to_connect_from_another_machine_is_held_back() {
    for distance in [Distance::Near, FAR[0], FAR[1]] {
        let mut scene = Scene::new();
        scene.terminate_within(None);
        while scene.drain.poll_action().is_some() {}
        scene.drain.handle_came_from(distance);
        scene.drain.handle_accept_queue(Some(0), 0, scene.now);
        let actions: Vec<_> = std::iter::from_fn(|| scene.drain.poll_action()).collect();
        assert_eq!(actions.contains(&Action::HoldListener), distance.is_far());
        assert_eq!(actions.contains(&Action::CloseServer), !distance.is_far());
    }
}

#[test]
fn its_handshake_has_a_round_trip_more() {
    for (far, handshake) in std::iter::zip(FAR, HANDSHAKES) {
        let mut scene = Scene::new();
        scene.drain.handle_came_from(far);
        scene.terminate_within(None);
        assert_eq!(scene.waits_for_a_handshake(), ACCEPT_AT_MOST + handshake);
    }
}

#[test]
fn one_client_from_this_machine_does_not_hide_those_from_others_before_the_server_listens_anew() {
    let mut scene = Scene::new();
    scene.drain.handle_came_from(FAR[1]);
    scene.drain.handle_came_from(Distance::Near);
    assert_eq!(scene.drain.clients_come_from(), Some(FAR[1]));
    scene.drain.handle_came_from(FAR[0]);
    assert_eq!(scene.drain.clients_come_from(), Some(FAR[0]));
    scene.terminate_within(None);
    scene.drain.handle_server_closed(scene.now);
    assert_eq!(scene.drain.phase(), Phase::Terminated);
    scene.drain.handle_listening(scene.now);
    assert_eq!(scene.drain.clients_come_from(), None);
}
