//! One connection: what is under way on it, and whether it is on its way out.

use std::time::{Duration, Instant};

use super::Distance;
use super::keep_alive::Rhythm;

/// Names a connection from [`Drain::handle_opened`](super::Drain::handle_opened) until it has closed; may be used again
/// for another connection afterwards.
pub type ConnectionId = usize;

/// What a connection is doing. The names and their successors are those of Go's `http.ConnState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No request has come yet. Next: `Active`, `Hijacked` or closed.
    New,
    /// At least one request is in flight. Next: `Idle`, `Hijacked` or closed.
    Active,
    /// Kept alive between requests. Next: `Active`, `Hijacked` or closed.
    Idle,
    /// Upgraded, or a CONNECT tunnel. Next: closed.
    Hijacked,
}

/// What lies below HTTP on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP or a Unix domain socket.
    Plain,
    /// TLS, whose own end (`close_notify`) the peer answers.
    Tls,
}

/// What is still coming in on a connection when an answer on it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arriving {
    /// Nothing that is known of.
    Nothing,
    /// The rest of the body of the request that was just answered.
    Body,
    /// The beginning of a further request.
    NextRequest,
}

/// What is known of a request when its answer has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// What is still coming in on its connection.
    pub arriving: Arriving,
    /// Whether the answer said `Connection: close`. Node ends the connection by itself then, unless it is to linger.
    pub said_close: bool,
    /// Whether its head came only during the termination.
    pub late: bool,
}

/// How a closed connection is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tally {
    Idle,
    Drained,
    Forced,
}

/// How far a connection is on its way out. At the deadline, each is `Destroyed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// Not at all. Next: any other.
    Open,
    /// Idle, and kept to serve one more request. Next: `Open` when one comes, `Queued` when it is time, `Pinging` when
    /// it turns out to be HTTP/2, or closed.
    Kept { until: Instant },
    /// Waits for its turn to be closed as idle. Next: `Leaving` or `Lingering`; `Open` when a request comes, `Kept` when
    /// a handshake has ended, `Pinging` when it turns out to be HTTP/2, or closed.
    Queued,
    /// Answered, and the rest of that request's body is still to come. Its peer was told nothing, and may send another
    /// request behind it. Next: `Open` when that comes, or the body has ended; `Destroyed`, or closed.
    HearingBody { until: Instant },
    /// HTTP/2: waits for the peer to acknowledge a PING. Next: `ClosingSession`, `Destroyed`, or closed.
    Pinging { until: Instant },
    /// HTTP/2: no new streams; closes when the last one has ended. Next: `Destroyed`, or closed.
    ClosingSession {
        /// How long a peer that has received everything may take to close its end.
        until: Option<Instant>,
    },
    /// Is being closed, by us or by Node after an answer that said close. Next: `Open` when it was to be closed as idle
    /// and a request had come, `Kept` when that is not sure, `Destroyed`, or closed.
    Leaving(Tally),
    /// FIN is sent, input is discarded. Next: as of `Leaving`.
    Lingering { until: Instant, tally: Tally },
    /// Destroyed, or as good as that: only the socket's `close` is awaited.
    Destroyed {
        /// When the socket follows, if the peer is to hear first that it was cut.
        until: Option<Instant>,
    },
}

impl Course {
    /// Until when its peer is waited for, to be put off.
    pub(super) fn until(&mut self) -> Option<&mut Instant> {
        match self {
            Self::Kept { until }
            | Self::HearingBody { until }
            | Self::Pinging { until }
            | Self::Lingering { until, .. } => Some(until),
            Self::ClosingSession { until } | Self::Destroyed { until } => until.as_mut(),
            Self::Open | Self::Queued | Self::Leaving(_) => None,
        }
    }
}

/// What is known of a peer that is still reading what was sent to it, when it has been looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// How many bytes it had yet to take.
    pub(super) unsent: u32,
    /// When it was last seen to have taken some.
    pub(super) taken_at: Instant,
    /// For how long it may take none.
    pub(super) may_pause_for: Duration,
    pub(super) look_again_after: Duration,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) transport: Transport,
    pub(super) requests: u32,
    pub(super) receiving: bool,
    pub(super) course: Course,
    /// Whether HTTP/2 is spoken, as far as that is known.
    pub(super) multiplexed: bool,
    pub(super) distance: Distance,
    /// Whether it has had a request in flight since the termination began.
    pub(super) busy: bool,
    /// Until when it is kept for a request, if it was accepted during the termination.
    pub(super) accepted_until: Option<Instant>,
    /// When its requests came before the termination, if there were any.
    pub(super) rhythm: Option<Rhythm>,
    pub(super) used: bool,
    /// Whether it was given more time once, as it had been held up.
    pub(super) excused: bool,
    /// If it is on its way out, and its peer was still reading.
    pub(super) reading: Option<Reading>,
    /// Whether its peer has had its time, and it is looked whether it is still reading; until what has been seen is told, which follows
    /// at once. What is told otherwise is what is seen before it is closed.
    pub(super) is_looked_at: bool,
    hijacked: bool,
    /// Set when it is destroyed: what it counts as, and how many requests were cut with it.
    destroyed_as: Option<(Tally, u32)>,
}

impl Connection {
    pub(super) fn new(transport: Transport, distance: Distance) -> Self {
        Self {
            transport,
            distance,
            requests: 0,
            receiving: false,
            course: Course::Open,
            multiplexed: false,
            busy: false,
            accepted_until: None,
            rhythm: None,
            used: false,
            excused: false,
            reading: None,
            is_looked_at: false,
            hijacked: false,
            destroyed_as: None,
        }
    }

    pub(super) fn state(&self) -> State {
        if self.hijacked {
            State::Hijacked
        } else if self.requests > 0 {
            State::Active
        } else if self.used {
            State::Idle
        } else {
            State::New
        }
    }

    /// Whether nothing is under way: no request in flight, none arriving, not hijacked.
    pub(super) fn is_quiet(&self) -> bool {
        self.is_quiet_but_for_receiving() && !self.receiving
    }

    /// The same, but a request may be arriving.
    pub(super) fn is_quiet_but_for_receiving(&self) -> bool {
        self.requests == 0 && !self.hijacked
    }

    /// Whether it is quiet, and nothing is done about it yet.
    pub(super) fn is_idle(&self) -> bool {
        self.is_quiet() && self.course == Course::Open
    }

    /// Whether HTTP/1 is busy on it, or soon to be.
    pub(super) fn is_lively(&self, now: Instant) -> bool {
        // From this machine, a single request may be a whole test. From another one, it is a client that may come back.
        let rhythm = self.rhythm.filter(|rhythm| rhythm.has_gap() || self.distance.is_far());
        let expected = rhythm.map(|rhythm| rhythm.holds_until(self.distance)).max(self.accepted_until);
        !self.hijacked && (!self.is_quiet() || expected.is_some_and(|until| until > now))
    }

    /// Until when a request may come under load, in its own rhythm or because the pool that it belongs to comes to it.
    pub(super) fn taken_up_until(&self, now: Instant) -> Instant {
        let taken_up = now + self.distance.speaks_within();
        self.in_rhythm_until().max(self.accepted_until).map_or(taken_up, |until| until.max(taken_up))
    }

    /// Until when a request may come, in its rhythm, or because it was accepted during this termination or has never been used.
    pub(super) fn expected_until(&self, now: Instant) -> Option<Instant> {
        self.in_rhythm_until().max(self.unused_until(now)).max(self.accepted_until)
    }

    /// The same where rhythm does not count, nor that the connection was never used, unless the handshake of TLS before 1.3 may
    /// have ended just now: that is a round trip before a request can follow.
    pub(super) fn secured_until(&self, now: Instant) -> Option<Instant> {
        let is_far_over_tls = self.distance.is_far() && self.transport == Transport::Tls;
        self.unused_until(now).filter(|_| is_far_over_tls).max(self.accepted_until)
    }

    fn unused_until(&self, now: Instant) -> Option<Instant> {
        (!self.used).then(|| now + self.distance.speaks_within())
    }

    fn in_rhythm_until(&self) -> Option<Instant> {
        self.rhythm.map(|rhythm| rhythm.holds_until(self.distance))
    }

    /// Until when another request is to be expected, if the client has just been answered and was told nothing.
    pub(super) fn asks_again_until(&self, under_load: bool, now: Instant) -> Instant {
        match self.rhythm.filter(|rhythm| under_load && rhythm.has_gap()) {
            Some(rhythm) => rhythm.goes_on_until(now, self.distance).max(now + self.distance.speaks_within()),
            None => now + self.distance.asks_again_within(),
        }
    }

    /// Whether FIN has left, or is bound to: no further answer reaches the peer.
    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.course, Course::Leaving(_) | Course::Lingering { .. } | Course::Destroyed { .. })
    }

    /// Whether it was about to be closed as idle. Whoever closes it looks at it once more before, and it may be open yet.
    pub(super) fn was_to_close_idle(&self) -> bool {
        matches!(self.course, Course::Leaving(Tally::Idle) | Course::Lingering { tally: Tally::Idle, .. })
    }

    pub(super) fn start_request(&mut self, more: bool) {
        self.requests += 1;
        self.used = true;
        self.receiving = more;
        self.stay();
    }

    /// It was about to be closed as idle, or kept as such, and turns out to be busy.
    pub(super) fn stay(&mut self) {
        if matches!(self.course, Course::Queued | Course::Kept { .. } | Course::HearingBody { .. }) {
            self.course = Course::Open;
        } else if let Course::ClosingSession { until } = &mut self.course {
            *until = None;
        }
    }

    /// Whether there was a request to end.
    pub(super) fn end_request(&mut self) -> bool {
        let Some(left) = self.requests.checked_sub(1) else { return false };
        self.requests = left;
        true
    }

    pub(super) fn hijack(&mut self) {
        self.hijacked = true;
        self.receiving = false;
        self.stay();
    }

    /// Marks it destroyed, and says whether something was under way on it.
    pub(super) fn destroy(&mut self) -> bool {
        let cut = self.cut_at_deadline();
        let answered = matches!(self.course, Course::Leaving(_) | Course::Lingering { .. });
        let tally = if !answered && (cut > 0 || self.hijacked) { Tally::Forced } else { self.tally() };
        // A second destruction finds the first one's verdict.
        self.destroyed_as.get_or_insert((tally, cut));
        self.course = Course::Destroyed { until: None };
        // What had come behind the last answer was lost with that, and the connection not ended by force.
        tally == Tally::Forced || cut > 0
    }

    /// How many requests are lost if this connection is destroyed now. Half a request is one.
    fn cut_at_deadline(&self) -> u32 {
        match self.course {
            Course::Destroyed { .. } => 0,
            _ => self.requests + u32::from(self.is_cut_in_half()),
        }
    }

    /// Whether half a request is lost if this connection is destroyed now. Behind FIN it counts for nothing.
    pub(super) fn is_cut_in_half(&self) -> bool {
        self.receiving && !self.is_leaving()
    }

    /// How many requests are lost with this connection, now that it has closed.
    pub(super) fn cut_by_close(&self, by_peer: bool) -> u32 {
        match self.course {
            Course::Leaving(_) | Course::Lingering { .. } => self.requests,
            Course::Destroyed { .. } => self.destroyed_as.map_or(0, |(_, cut)| cut),
            _ if by_peer => 0,
            // Somebody here has closed it, such as a handler that could not go on.
            _ => self.requests,
        }
    }

    pub(super) fn tally(&self) -> Tally {
        match self.course {
            Course::Open
            | Course::Kept { .. }
            | Course::Queued
            | Course::HearingBody { .. }
            | Course::Pinging { .. }
            | Course::ClosingSession { .. } => {
                if self.busy || self.receiving || self.hijacked {
                    Tally::Drained
                } else {
                    Tally::Idle
                }
            }
            // It was answered while the loop had its turn, and was then closed as idle.
            Course::Leaving(_) | Course::Lingering { .. } if self.busy => Tally::Drained,
            Course::Leaving(tally) | Course::Lingering { tally, .. } => tally,
            Course::Destroyed { .. } => self.destroyed_as.map_or(Tally::Forced, |(tally, _)| tally),
        }
    }

    pub(super) fn assert_invariants(&self) {
        assert!(
            self.is_quiet() || !matches!(self.course, Course::Queued | Course::Kept { .. }),
            "Nothing is closed while it is receiving or has a request in flight."
        );
        assert!(
            self.multiplexed || !matches!(self.course, Course::Pinging { .. } | Course::ClosingSession { .. }),
            "Only sessions are pinged."
        );
        assert!(
            self.destroyed_as.is_some() == matches!(self.course, Course::Destroyed { .. }),
            "What is destroyed knows what it counts as."
        );
    }
}
