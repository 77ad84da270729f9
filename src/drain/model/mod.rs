//! A naive model of the machine's caller, and what must hold of the two whatever happens.
//!
//! A [`World`] plays a script of events the way the real caller would: it tells the machine what a caller
//! knows and no more, does what the machine asks for, and lets sockets close, the loop turn and time pass
//! as the script has it. It keeps a naive record of its own, in which nothing is inferred: the requests
//! themselves where the machine counts, what was said and done where the machine has a course. The
//! [`laws`] compare the two.
//!
//! Scripts come from two sides: [`properties`] makes random ones, and shrinks the one that breaks a law;
//! a fuzzer (`fuzz/` in the repository) makes [`bytes`], guided by the code that they reach. A script
//! that breaks a law belongs into `tests.rs` as a scene.

mod bytes;
mod laws;
mod nonsense;
#[cfg(test)]
mod properties;

use std::collections::{BTreeMap, VecDeque};

use super::closing::{CLOSE_NOTIFY_AT_MOST, HEAR_OUT_AT_MOST, PING_AT_MOST};
use super::keep_alive::{ASKS_AGAIN_WITHIN, CROWD, FEW, GAPS, RHYTHM_AT_LEAST, RHYTHM_AT_MOST, WINDOW_AT_MOST};
use super::listener::ACCEPT_AT_MOST;
use super::termination::earlier;
use super::*;

pub use bytes::{Gibberish, Script};

const SECOND: Duration = Duration::from_secs(1);
const KEPT_ALIVE: Finished = Finished { arriving: Arriving::Nothing, said_close: false, late: false };

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
    /// A further request is coming behind an answer that said close.
    followed_up: bool,
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
            followed_up: false,
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
        self.rhythm.map(|Rhythm { last, gap }| last + (gap * GAPS).clamp(RHYTHM_AT_LEAST, RHYTHM_AT_MOST))
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
            drain: Drain::default(),
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
            Step::Look => assert_eq!(self.look(), self.stats()),
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
        peer.followed_up = said_close && (peer.receiving || !peer.in_flight.is_empty());
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
        let rhythm = peer
            .rhythm
            .filter(|_| loaded)
            .map(|Rhythm { gap, .. }| self.now + (gap * GAPS).clamp(RHYTHM_AT_LEAST, RHYTHM_AT_MOST));
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
        // Otherwise it would ring again at once, and forever.
        assert!(self.drain.poll_timeout().is_none_or(|due| due > self.now), "What has rung is not due any more.");
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
            Action::CloseNotify(id) => self.linger(id, CLOSE_NOTIFY_AT_MOST),
            Action::CloseQuiet(count) => self.close_quiet(count as usize),
            Action::DestroyQuiet => self.destroy_quiet(),
            Action::Close(id) | Action::End(id) => {
                let peer = self.named(id);
                peer.leaving = true;
                peer.closing = true;
            }
            Action::Linger(id) if self.named(id).lingers_until.is_some() => {}
            Action::Linger(id) if self.named(id).answered_early || self.named(id).followed_up => {
                self.linger(id, HEAR_OUT_AT_MOST)
            }
            Action::Linger(id) => self.linger(id, CLOSE_NOTIFY_AT_MOST),
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
            peer.cut |= peer.requests_at_stake() > 0 || peer.hijacked && !peer.leaving;
            // It was going to end anyway, whatever its peer wrote behind the last answer.
            peer.forced = peer.is_busy() && !peer.leaving;
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

/// Whether something is closed because nothing is under way on it.
fn closes_idle(action: Action) -> bool {
    matches!(action, Action::Close(_) | Action::CloseNotify(_) | Action::CloseQuiet(_))
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
