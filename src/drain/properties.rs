//! Random orders of events, played by a caller that does what the machine says, beside a naive count.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// What may happen next. An index picks one of the connections that are open then.
#[derive(Clone, Debug)]
enum Step {
    Open(bool),
    Start { index: usize, more: bool },
    Finish { index: usize, arriving: Arriving, said_close: bool },
    Abort(usize),
    Receive(usize),
    BytesCome(usize),
    Hijack(usize),
    Multiplex(usize),
    Pong(usize),
    PeerCloses(usize),
    SocketCloses(usize),
    AnsweredEarly(usize),
    NothingMore(usize),
    TaskStarts,
    TaskEnds(bool),
    Turn,
    Pass(u64),
    Terminate { delay: u64, timeout: Option<u64> },
    ServerCloses,
    Listen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let arriving = prop_oneof![
        6 => Just(Arriving::Nothing),
        1 => Just(Arriving::Body),
        1 => Just(Arriving::NextRequest),
    ];
    let index = any::<usize>();
    let step = prop_oneof![
        6 => any::<bool>().prop_map(Step::Open),
        8 => (index, prop::bool::weighted(0.2)).prop_map(|(index, more)| Step::Start { index, more }),
        8 => (index, arriving, any::<bool>())
            .prop_map(|(index, arriving, said_close)| Step::Finish { index, arriving, said_close }),
        1 => index.prop_map(Step::Abort),
        2 => index.prop_map(Step::Receive),
        1 => index.prop_map(Step::BytesCome),
        1 => index.prop_map(Step::Hijack),
        1 => index.prop_map(Step::Multiplex),
        2 => index.prop_map(Step::Pong),
        2 => index.prop_map(Step::PeerCloses),
        4 => index.prop_map(Step::SocketCloses),
        1 => index.prop_map(Step::AnsweredEarly),
        1 => index.prop_map(Step::NothingMore),
        1 => Just(Step::TaskStarts),
        1 => any::<bool>().prop_map(Step::TaskEnds),
        4 => Just(Step::Turn),
        3 => (0_u64..400).prop_map(Step::Pass),
        2 => (prop_oneof![3 => Just(0), 1 => 0_u64..300], prop::option::of(0_u64..1500))
            .prop_map(|(delay, timeout)| Step::Terminate { delay, timeout }),
        1 => Just(Step::ServerCloses),
        1 => Just(Step::Listen),
    ];
    prop::collection::vec(step, 1..120)
}

/// What a caller knows of a connection.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    requests: u32,
    receiving: bool,
    hijacked: bool,
    multiplexed: bool,
    /// The machine has asked for its end; the socket has yet to close.
    ending: bool,
    destroyed: bool,
    /// Bytes have come that nobody has looked at yet.
    bytes_came: bool,
}

impl Known {
    /// No answer can leave any more. A session that is closing still answers its streams.
    fn is_leaving(self) -> bool {
        self.destroyed || (self.ending && !self.multiplexed)
    }
}

/// A caller that carries out every action, and objects to those that lose something.
struct World {
    drain: Drain,
    now: Instant,
    known: HashMap<ConnectionId, Known>,
    turn_awaited: bool,
    terminating: bool,
    deadline_passed: bool,
    closes_in_turn: usize,
    resolved: u32,
    began: u32,
    opened_or_open: u32,
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "some instant to start from; it never moves by itself")]
    fn new() -> Self {
        Self {
            drain: Drain::new(),
            now: Instant::now(),
            known: HashMap::new(),
            turn_awaited: false,
            terminating: false,
            deadline_passed: false,
            closes_in_turn: 0,
            resolved: 0,
            began: 0,
            opened_or_open: 0,
        }
    }

    /// One of the connections that are open, or now and then one that is not.
    fn pick(&self, index: usize) -> ConnectionId {
        let mut ids: Vec<_> = self.known.keys().copied().collect();
        ids.sort_unstable();
        if ids.is_empty() || index.is_multiple_of(17) { 1_000_000 + index % 7 } else { ids[index % ids.len()] }
    }

    fn play(&mut self, step: &Step) {
        match *step {
            Step::Open(tls) => {
                let transport = if tls { Transport::Tls } else { Transport::Plain };
                let id = self.drain.handle_opened(transport);
                assert!(self.known.insert(id, Known::default()).is_none(), "an id names one connection at a time");
                self.opened_or_open += 1;
            }
            Step::Start { index, more } => {
                let id = self.pick(index);
                if let Some(known) = self.known.get_mut(&id).filter(|known| !known.hijacked) {
                    let more = more && !known.multiplexed;
                    // After FIN a request can't be answered, and is not waited for.
                    if !known.is_leaving() {
                        known.requests += 1;
                        known.receiving = more;
                    }
                    self.drain.handle_request_started(id, more);
                } else {
                    self.drain.handle_request_started(1_000_000, more);
                }
            }
            Step::Finish { index, arriving, said_close } => {
                let id = self.pick(index);
                let Some(known) = self.known.get_mut(&id).filter(|known| known.requests > 0) else { return };
                if known.is_leaving() {
                    return;
                }
                known.requests -= 1;
                // A request behind it can't have started before its body had come.
                let body_impossible = arriving == Arriving::Body && known.requests > 0;
                let arriving = if body_impossible { Arriving::Nothing } else { arriving };
                let finished = if known.multiplexed {
                    Finished { arriving: Arriving::Nothing, said_close: false, late: false }
                } else {
                    Finished { arriving, said_close, late: false }
                };
                if self.terminating && known.requests == 0 && !known.multiplexed {
                    known.receiving = arriving == Arriving::NextRequest;
                }
                if self.terminating && !known.multiplexed && said_close && arriving != Arriving::Body {
                    known.ending = true;
                }
                self.drain.handle_request_finished(id, finished, self.now);
            }
            Step::Abort(index) => {
                let id = self.pick(index);
                if let Some(known) =
                    self.known.get_mut(&id).filter(|known| known.multiplexed && known.requests > 0 && !known.destroyed)
                {
                    known.requests -= 1;
                    self.drain.handle_request_aborted(id);
                }
            }
            Step::Receive(index) => {
                let id = self.pick(index);
                if let Some(known) = self.known.get_mut(&id) {
                    if known.ending || known.multiplexed || known.hijacked {
                        return;
                    }
                    known.receiving = true;
                }
                self.drain.handle_receiving(id);
            }
            Step::BytesCome(index) => {
                let id = self.pick(index);
                if let Some(known) = self.known.get_mut(&id) {
                    known.bytes_came = true;
                }
            }
            Step::Hijack(index) => {
                let id = self.pick(index);
                if let Some(known) = self.known.get_mut(&id) {
                    if known.requests > 0 || known.ending || known.multiplexed {
                        return;
                    }
                    known.hijacked = true;
                    known.receiving = false;
                }
                self.drain.handle_hijacked(id);
            }
            Step::Multiplex(index) => {
                let id = self.pick(index);
                if let Some(known) = self.known.get_mut(&id) {
                    if known.requests > 0 || known.ending || known.hijacked {
                        return;
                    }
                    known.multiplexed = true;
                    known.receiving = false;
                }
                self.drain.handle_multiplexed(id, self.now);
            }
            Step::Pong(index) => self.drain.handle_ponged(self.pick(index)),
            Step::PeerCloses(index) => self.close(self.pick(index)),
            Step::SocketCloses(index) => {
                let id = self.pick(index);
                if self.known.get(&id).is_some_and(|known| known.ending) {
                    self.close(id);
                }
            }
            Step::AnsweredEarly(index) => {
                let id = self.pick(index);
                if let Some(known) = self.known.get_mut(&id) {
                    if known.hijacked || known.multiplexed {
                        return;
                    }
                    if self.terminating && known.requests == 0 && !known.ending {
                        known.receiving = false;
                    }
                }
                self.drain.handle_answered_early(id, self.now);
            }
            Step::NothingMore(index) => {
                let id = self.pick(index);
                if let Some(known) = self.known.get_mut(&id) {
                    if known.multiplexed {
                        return;
                    }
                    if self.terminating && known.requests > 0 && !known.ending {
                        known.receiving = false;
                    }
                }
                self.drain.handle_nothing_more(id);
            }
            Step::TaskStarts => self.drain.handle_task_started(),
            Step::TaskEnds(fulfilled) => self.drain.handle_task_finished(fulfilled, self.now),
            Step::Turn => self.turn(),
            Step::Pass(milliseconds) => self.pass(Duration::from_millis(milliseconds)),
            Step::Terminate { delay, timeout } => self.terminate(delay, timeout),
            Step::ServerCloses => {
                if self.known.is_empty() {
                    self.drain.handle_server_closed(self.now);
                }
            }
            Step::Listen => self.drain.handle_listening(),
        }
        self.carry_out();
        assert_eq!(self.drain.stats().connections as usize, self.known.len(), "the machine knows what is open");
        let requests: u32 = self.known.values().map(|known| known.requests).sum();
        assert_eq!(self.drain.stats().requests, requests, "the machine knows what is in flight");
    }

    fn terminate(&mut self, delay: u64, timeout: Option<u64>) {
        let before = self.drain.poll_timeout();
        let running = self.terminating;
        if !running {
            self.terminating = true;
            self.deadline_passed = false;
            self.began += 1;
            self.opened_or_open = u32::try_from(self.known.len()).unwrap();
        }
        let delay = Duration::from_millis(delay);
        let timeout = timeout.map(Duration::from_millis);
        self.drain.handle_terminate(Plan { delay, timeout, observed: true }, self.now);
        if running && self.drain.phase() == Phase::Draining && !self.deadline_passed {
            let after = self.drain.poll_timeout();
            assert!(before.is_none() || after.is_none() || after <= before, "a deadline is never put off");
        }
    }

    fn turn(&mut self) {
        self.closes_in_turn = 0;
        self.turn_awaited = false;
        self.drain.handle_turned(self.now);
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        // Time that is not due changes nothing.
        let due = self.drain.poll_timeout();
        if due.is_none_or(|due| due > until) {
            self.now = until;
            self.drain.handle_timeout(self.now);
            assert_eq!(self.drain.poll_action(), None, "a timeout that is not due does nothing");
            return;
        }
        self.now = until;
        self.drain.handle_timeout(self.now);
    }

    fn close(&mut self, id: ConnectionId) {
        self.drain.handle_closed(id, self.now);
        self.carry_out();
        self.known.remove(&id);
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.drain.poll_action() {
            assert!(self.terminating, "while serving there is nothing to do: {action:?}");
            match action {
                Action::Close(id) | Action::CloseNotify(id) => {
                    let known = self.known.get_mut(&id).expect("only what is open is closed");
                    let quiet = known.requests == 0 && !known.receiving && !known.hijacked && !known.multiplexed;
                    assert!(quiet, "nothing is closed while something is under way on it: {known:?}");
                    if known.bytes_came {
                        known.receiving = true;
                        self.drain.handle_receiving(id);
                    } else {
                        known.ending = true;
                    }
                    self.closes_in_turn += 1;
                    assert!(self.closes_in_turn <= CLOSES_PER_TURN, "closes are spread over turns");
                }
                Action::End(id) => {
                    let known = self.known.get_mut(&id).expect("only what is open is ended");
                    assert!(known.requests == 0 && !known.receiving, "no answer is cut: {known:?}");
                    known.ending = true;
                }
                Action::Linger(id) => {
                    let known = self.known.get_mut(&id).expect("only what is open lingers");
                    assert_eq!(known.requests, 0, "no answer is cut: {known:?}");
                    known.ending = true;
                }
                Action::SayClose(id) => {
                    let known = self.known[&id];
                    assert!(known.requests > 0 && !known.receiving, "close is said on the last answer: {known:?}");
                    assert!(!known.multiplexed, "HTTP/2 has no such header");
                }
                Action::SayKeepAlive(id) => assert!(self.known[&id].receiving, "another request follows"),
                Action::Ping(id) => assert!(self.known[&id].multiplexed),
                Action::CloseSession(id) => {
                    let known = self.known.get_mut(&id).expect("only what is open is closed");
                    assert!(known.multiplexed);
                    known.ending = true;
                }
                Action::Cut(id) => assert!(self.known.contains_key(&id), "what is cut is open"),
                Action::Destroy(id) => {
                    let known = self.known.get_mut(&id).expect("only what is open is destroyed");
                    assert!(
                        self.deadline_passed || known.ending,
                        "nothing is destroyed before the deadline: {known:?}"
                    );
                    known.ending = true;
                    known.destroyed = true;
                }
                Action::AwaitTurn => {
                    assert!(!self.turn_awaited, "one turn is awaited at a time");
                    self.turn_awaited = true;
                }
                Action::Announce(Milestone::Deadline) => self.deadline_passed = true,
                Action::Resolve => self.resolve(),
                Action::Announce(_) | Action::Observe | Action::CloseServer => {}
            }
        }
    }

    fn resolve(&mut self) {
        self.resolved += 1;
        self.terminating = false;
        self.turn_awaited = false;
        assert_eq!(self.drain.phase(), Phase::Terminated);
        assert_eq!(self.drain.stats().connections, 0, "nothing is left when a termination resolves");
        let report = self.drain.report();
        let report::Connections { idle, drained, forced } = report.connections;
        assert_eq!(idle + drained + forced, self.opened_or_open, "each connection is counted once");
        let all_whole = forced == 0 && report.requests.cut == 0 && report.tasks.abandoned == 0;
        assert_eq!(report.graceful(), all_whole);
        if !self.deadline_passed {
            assert_eq!(forced, 0, "nothing is forced before the deadline");
        }
        self.opened_or_open = 0;
    }

    /// Ends everything as a caller would, so that a running termination must resolve.
    fn see_through(&mut self) {
        for _ in 0..3 {
            if !self.terminating {
                return;
            }
            self.terminate(0, Some(1));
            self.carry_out();
            self.pass(Duration::from_secs(60));
            self.carry_out();
            for _ in 0..3 {
                self.turn();
                self.carry_out();
            }
            for id in self.known.keys().copied().collect::<Vec<_>>() {
                self.close(id);
            }
            self.drain.handle_server_closed(self.now);
            self.carry_out();
        }
        panic!("a termination whose deadline has passed and whose sockets have closed resolves");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_whatever_happens_in_whatever_order(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.play(step);
        }
        world.see_through();
        prop_assert_eq!(world.resolved, world.began, "a termination resolves exactly once");
        prop_assert_eq!(world.drain.poll_timeout(), None);
    }
}
