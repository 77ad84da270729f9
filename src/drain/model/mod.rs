//! A naive model of the machine's caller, and what must hold of the two whatever happens.
//!
//! A [`World`] plays a script, [`step`] by step, the way the real caller would: it tells the machine of [`events`], and
//! of who is there ([`survey`]), as far as a caller knows; it does what the machine asks for ([`actions`]), and lets
//! sockets close, the loop turn and time pass as the script has it. It keeps a naive [`record`] of its own, in which
//! nothing is inferred: of each [`peer`] the requests themselves where the machine counts, what was said and done where
//! the machine has a course. The [`laws`] compare the two.
//!
//! Scripts come from two sides: [`properties`] makes random ones, and shrinks the one that breaks a law;
//! a fuzzer (`fuzz/` in the repository) makes [`bytes`], guided by the code that they reach. A script
//! that breaks a law belongs into `tests.rs` as a scene.

mod actions;
mod bytes;
mod events;
mod laws;
mod nonsense;
mod peer;
#[cfg(test)]
mod properties;
mod record;
mod step;
mod survey;

use std::collections::{BTreeMap, VecDeque};

use super::closing::{
    CLOSE_NOTIFY_AT_MOST, HEAR_OUT_AT_MOST, LOOKS_AGAIN_AFTER, PING_AT_MOST, SESSION_CLOSES_WITHIN, SHOWS_WITHIN,
};
use super::distance::{HEARS_WITHIN, HEARS_WITHIN_AT_MOST, ROUND_TRIP_AT_MOST, ROUND_TRIP_IF_UNKNOWN};
use super::keep_alive::{ASKS_AGAIN_WITHIN, CROWD, FEW, GAPS, WINDOW_AT_MOST};
use super::keep_alive::{RHYTHM_AT_LEAST, RHYTHM_AT_MOST, RHYTHM_FROM_AFAR_AT_MOST, SPEAKS_WITHIN};
use super::listener::ACCEPT_AT_MOST;
use super::patience::{HELD_UP_FROM, HELD_UP_GETS};
use super::termination::earlier;
use super::*;

use peer::{Came, Peer, Quiet, Socket, is_held_up};
use record::{Moment, Parting, Termination, closes_idle, id_of};
use step::{Bystander, Kernel, Step};

pub use bytes::{Gibberish, Script};

const SECOND: Duration = Duration::from_secs(1);
const KEPT_ALIVE: Finished = Finished { arriving: Arriving::Nothing, said_close: false, late: false };

/// How many quiet connections are surveyed in one turn of the loop: a few, so that it often takes several.
const SURVEYED_TOGETHER: usize = 3;

/// How often everything that can happen does, until nothing is left to happen.
const ROUNDS: usize = 10_000;

/// The caller, its sockets, and its clock.
struct World {
    drain: Drain,
    now: Instant,
    kernel: Kernel,
    open: BTreeMap<Socket, Peer>,
    /// How far away who connects is, and what the machine was told of that.
    distance: Distance,
    came_from: Option<Distance>,
    /// How many sockets there have been.
    sockets: usize,
    /// The connection that is just closing: the last that is asked for it, is asked then.
    closing: Option<Peer>,
    closed: Vec<Peer>,
    quiet: Vec<Quiet>,
    tasks: u32,
    listening: bool,
    /// New connections don't reach the listener.
    held: bool,
    /// Whose handshake is under way.
    shaking_hands: VecDeque<Transport>,
    /// Who waits to be accepted.
    waiting: VecDeque<Transport>,
    /// The server says that it has closed once no connection is left.
    server_closing: bool,
    /// Turns of the loop are numbered as they are asked for.
    turns_asked: usize,
    turns_taken: usize,
    termination: Option<Termination>,
    /// When a timer last went off, and whether one ever was so late that everything must have been held up.
    rang_at: Option<Instant>,
    held_up: bool,
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
            distance: Distance::Near,
            came_from: None,
            sockets: 0,
            closing: None,
            closed: Vec::new(),
            quiet: Vec::new(),
            tasks: 0,
            listening: true,
            held: false,
            shaking_hands: VecDeque::new(),
            waiting: VecDeque::new(),
            server_closing: false,
            turns_asked: 0,
            turns_taken: 0,
            termination: None,
            rang_at: None,
            held_up: false,
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
            Step::BeginHandshake(transport) => self.begin_handshake(transport),
            Step::EndHandshake => self.end_handshake(),
            Step::LoseHandshake => drop(self.shaking_hands.pop_back()),
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
            Step::Stir(place) => self.at(place, |world, socket| world.peer(socket).stirred = true),
            Step::Read(place, unsent) => self.at(place, |world, socket| world.read(socket, unsent)),
            Step::EndBody(place, more) => self.at(place, |world, socket| world.end_body(socket, more)),
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
            Step::Travel(distance) => self.distance = distance,
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
            self.let_everybody_read();
            for _ in 0..self.tasks {
                self.finish_task(true);
            }
            self.let_sockets_close();
        }
    }

    /// Otherwise they are looked at again and again, as long as there is no deadline.
    fn let_everybody_read(&mut self) {
        self.open.values_mut().for_each(|peer| peer.unsent = 0);
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

    /// Who comes is accepted, the loop turns, what is on its way out closes, and if that is all, time passes.
    fn let_sockets_close(&mut self) {
        self.accept_all();
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

    // What is known.

    /// Whether all that a termination waits for has ended, and it could know.
    fn is_over(&self) -> bool {
        self.open.is_empty()
            && self.quiet.is_empty()
            && self.termination.as_ref().is_some_and(|termination| termination.server_closed && self.tasks == 0)
    }

    fn stats(&self) -> Stats {
        let upgraded = count(self.sockets(|peer| peer.hijacked));
        let active = count(self.sockets(|peer| !peer.hijacked && !peer.in_flight.is_empty()));
        let idle = count(self.sockets(|peer| !peer.hijacked && peer.in_flight.is_empty()));
        let requests = self.open.values().map(|peer| count(&peer.in_flight)).sum();
        Stats { connections: idle + active + upgraded, idle, active, upgraded, requests, tasks: self.tasks }
    }

    /// Whether more goes on than a test leaves behind, or went on then.
    fn is_loaded(&self, at: Instant) -> bool {
        let lively: Vec<_> = self.open.values().filter(|peer| peer.is_lively(at)).collect();
        lively.len() > FEW || lively.iter().any(|peer| peer.distance.is_far())
    }

    /// Until when those who connect now may be waited for.
    fn accepts_until(&self) -> Instant {
        let handshakes = self.distances().map(|distance| match distance {
            Distance::Far { round_trip: Duration::ZERO } => ROUND_TRIP_IF_UNKNOWN,
            _ => peer::round_trip(distance),
        });
        self.now + ACCEPT_AT_MOST + handshakes.max().unwrap_or_default()
    }

    /// How far away those are who are known, and those who came otherwise.
    fn distances(&self) -> impl Iterator<Item = Distance> {
        self.open.values().filter(|peer| peer.id.is_some()).map(|peer| peer.distance).chain(self.came_from)
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

fn count(many: impl IntoIterator) -> u32 {
    many.into_iter().map(|_| 1).sum()
}
