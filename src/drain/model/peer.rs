//! One connection, as its caller knows it: nothing is counted or inferred that can be written down as it is.

use super::*;

/// When a request came, as seen from the termination that runs while it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    Before,
    During,
}

/// Sockets are numbered as they are opened, and never anew.
pub(super) type Socket = usize;

/// All that the caller knows of one connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) transport: Transport,
    pub(super) distance: Distance,
    /// What the machine calls it, if it has been told of it as one of its own.
    pub(super) id: Option<ConnectionId>,
    /// The machine has been told of it, or of the number of those among which it is.
    pub(super) counted: bool,
    /// How many turns of the loop had been asked for when it came.
    pub(super) came_after: usize,
    /// When it was accepted, if a termination ran.
    pub(super) accepted: Option<Instant>,
    /// The caller keeps an eye on it.
    pub(super) followed: bool,
    /// When the last request came.
    pub(super) last: Option<Instant>,
    /// How far apart requests come, if that has been found.
    pub(super) gap: Option<Duration>,
    /// What the machine was told of that.
    pub(super) rhythm: Option<Rhythm>,
    /// The machine was never told that a request has come.
    pub(super) unheard: bool,
    /// It was idle when the loop had read what had come in before the delay was over.
    pub(super) idle_at_parting: bool,
    /// Until when its next request is to be expected, if the answer to its last one could not say close.
    pub(super) untold_until: Option<Instant>,
    /// Everything was held up when its time was over, and until when it has more.
    pub(super) excused: bool,
    pub(super) more_until: Option<Instant>,
    /// Oldest first. What is lost behind FIN stays.
    pub(super) in_flight: VecDeque<Came>,
    /// Half a request has come.
    pub(super) receiving: bool,
    /// Half a request has come, but nobody has looked.
    pub(super) unnoticed: bool,
    /// Something has come that is no request, but nobody has looked.
    pub(super) stirred: bool,
    /// When that was found, or that it is still reading, as it was to be closed as one of many. It becomes one that is known, and is
    /// looked at again.
    pub(super) found_at: Option<Instant>,
    /// When that will have shown.
    pub(super) shows_until: Option<Instant>,
    /// The rest of a body is still coming, whose request is answered.
    pub(super) answered_early: bool,
    /// When that has had time enough to come, if the machine waits for it.
    pub(super) body_until: Option<Instant>,
    /// So much of what was sent to it waits until it takes more.
    pub(super) unsent: u32,
    /// The looks at that: when, and how much it was.
    pub(super) looks: Vec<(Instant, u32)>,
    /// For how long it may take nothing, by what was known at the first look.
    pub(super) may_pause_for: Duration,
    pub(super) hijacked: bool,
    /// HTTP/2 is spoken.
    pub(super) session: bool,
    /// When the peer has had time enough to acknowledge a PING, once that is sent.
    pub(super) pinging_until: Option<Instant>,
    pub(super) ponged: bool,
    /// No further requests are taken, and it closes when the last has ended.
    pub(super) session_closing: bool,
    /// Whether the last answer in flight is going to say close.
    pub(super) says_close: bool,
    /// Something has been under way on it since the termination began.
    pub(super) was_busy: bool,
    /// FIN has left, or is bound to.
    pub(super) leaving: bool,
    /// When the peer has had time enough to close.
    pub(super) lingers_until: Option<Instant>,
    pub(super) destroyed: bool,
    /// Something was under way on it when it was destroyed.
    pub(super) forced: bool,
    /// Its socket closes by itself.
    pub(super) closing: bool,
    /// Somebody here has closed it.
    pub(super) broken: bool,
    /// A request on it has been cut, or it has, being a tunnel.
    pub(super) cut: bool,
    /// It has been listed as such.
    pub(super) listed: bool,
}

impl Peer {
    pub(super) fn new(transport: Transport, session: bool, came_after: usize) -> Self {
        Self {
            transport,
            distance: Distance::Near,
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
            excused: false,
            more_until: None,
            in_flight: VecDeque::new(),
            receiving: false,
            unnoticed: false,
            stirred: false,
            found_at: None,
            shows_until: None,
            answered_early: false,
            body_until: None,
            unsent: 0,
            looks: Vec::new(),
            may_pause_for: Duration::ZERO,
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

    /// It has more time, once, if it turns out late that what it had is over.
    pub(super) fn excuse(&mut self, over: Instant, now: Instant) {
        if is_held_up(over, now) && !std::mem::replace(&mut self.excused, true) {
            self.more_until = Some(now + HELD_UP_GETS);
        }
    }

    /// The oldest request ends, or over HTTP/2, where they end in any order, the newest.
    pub(super) fn end_one(&mut self) -> Option<Came> {
        let came = if self.session { self.in_flight.pop_back() } else { self.in_flight.pop_front() };
        self.closing |= self.session_closing && self.in_flight.is_empty();
        came
    }

    /// How soon it is looked again: the time doubles from look to look, but ends when it has taken nothing for long.
    pub(super) fn is_looked_at_again_after(&self) -> Duration {
        let mut after = LOOKS_AGAIN_AFTER / 2;
        for (count, &(at, _)) in (1..).zip(&self.looks) {
            after = (after * 2).min(self.stalls_at(count).map_or(Duration::ZERO, |stalls| stalls - at.min(stalls)));
        }
        after
    }

    /// Whether it has not been seen to take anything for long.
    pub(super) fn has_stalled(&self, now: Instant) -> bool {
        self.stalls_at(self.looks.len()).is_some_and(|stalls| stalls <= now)
    }

    /// When it will not have taken anything for long, by so many looks.
    fn stalls_at(&self, looks: usize) -> Option<Instant> {
        let mut before = u32::MAX;
        let mut taken_at = None;
        for &(at, unsent) in self.looks.iter().take(looks) {
            if unsent < before {
                taken_at = Some(at);
            }
            before = unsent;
        }
        taken_at.map(|at| at + self.may_pause_for)
    }

    pub(super) fn is_busy(&self) -> bool {
        !self.in_flight.is_empty() || self.receiving || self.hijacked
    }

    /// Whether a handshake may have ended a round trip before its peer can speak.
    pub(super) fn is_far_over_tls(&self) -> bool {
        self.distance.is_far() && self.transport == Transport::Tls
    }

    /// Whether the machine knows it, and nothing is under way or done on it.
    pub(super) fn is_idle(&self) -> bool {
        self.id.is_some() && !self.is_busy() && !self.answered_early && !self.session && !self.leaving
    }

    /// Whether the caller knows it for its own sake, though no termination runs, or finds it when one begins.
    pub(super) fn is_under_way(&self) -> bool {
        self.followed || self.session || self.is_busy() || self.answered_early
    }

    /// Whether it is more than one of many, if requests that came before matter no more.
    pub(super) fn is_worth_finding(&self, since: Instant) -> bool {
        let is_recent = self.last.is_some_and(|last| last >= since);
        // Under TLS an end is a conversation of its own.
        self.transport == Transport::Tls || is_recent
    }

    /// How many requests go unanswered when it is destroyed. Half a request is one, but not behind FIN.
    pub(super) fn requests_at_stake(&self) -> u32 {
        count(&self.in_flight) + u32::from(self.receiving && !self.leaving)
    }

    /// Until when its next request is to be expected, going by the last ones.
    pub(super) fn in_rhythm_until(&self) -> Option<Instant> {
        self.rhythm.map(|Rhythm { last, gap }| self.rhythm_ends(last, gap))
    }

    /// Until when another request is to be expected after the last one.
    pub(super) fn rhythm_ends(&self, last: Instant, gap: Option<Duration>) -> Instant {
        let round_trip = self.round_trip();
        match (gap, self.distance) {
            (Some(gap), Distance::Near) => last + (gap * GAPS).clamp(RHYTHM_AT_LEAST, RHYTHM_AT_MOST),
            (Some(gap), Distance::Far { .. }) => {
                let at_most = (RHYTHM_AT_MOST + round_trip * 50).min(RHYTHM_FROM_AFAR_AT_MOST);
                last + (gap * GAPS).max(SPEAKS_WITHIN + round_trip).min(at_most)
            }
            (None, _) => {
                let within = SPEAKS_WITHIN + (round_trip * 50).min(SPEAKS_WITHIN) + round_trip;
                last + within.min(RHYTHM_FROM_AFAR_AT_MOST)
            }
        }
    }

    /// How much longer it takes for anything than a peer on this machine.
    pub(super) fn round_trip(&self) -> Duration {
        round_trip(self.distance)
    }

    /// How long it takes to hear that it was cut, and to close.
    pub(super) fn hears_within(&self) -> Duration {
        match self.distance {
            Distance::Near => Duration::ZERO,
            Distance::Far { round_trip } => (HEARS_WITHIN + round_trip).min(HEARS_WITHIN_AT_MOST),
        }
    }

    /// Until when it may speak, having been accepted a moment ago.
    pub(super) fn may_speak_until(&self) -> Option<Instant> {
        self.accepted.map(|accepted| accepted + SPEAKS_WITHIN + self.round_trip())
    }

    /// Whether something goes on, or is to be expected.
    pub(super) fn is_lively(&self, now: Instant) -> bool {
        // One request makes no rhythm, unless it comes from another machine.
        let is_rhythm = |rhythm: Rhythm| rhythm.gap.is_some() || self.distance.is_far();
        let in_rhythm_until = self.in_rhythm_until().filter(|_| self.rhythm.is_some_and(is_rhythm));
        let expected = in_rhythm_until.max(self.may_speak_until()).is_some_and(|until| until > now);
        self.id.is_some() && !self.hijacked && (self.is_busy() || expected)
    }
}

/// One of the connections of which the machine knows no more than their number. It may have closed unseen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quiet {
    pub(super) socket: Socket,
    /// It has been surveyed.
    pub(super) looked_at: bool,
}

/// How much longer it takes from there.
pub(super) fn round_trip(distance: Distance) -> Duration {
    match distance {
        Distance::Near => Duration::ZERO,
        Distance::Far { round_trip } => round_trip.min(ROUND_TRIP_AT_MOST),
    }
}

/// Whether it turns out so late that a time is over that everything must have been held up.
pub(super) fn is_held_up(over: Instant, now: Instant) -> bool {
    over + HELD_UP_FROM <= now
}
