//! How long idle connections are kept open, to serve one more request each.
//!
//! A connection that is closed while a request is on its way to it loses that request, and nobody can see
//! a request on the wire. So whoever is likely to send is waited for, and is told to go by
//! `Connection: close` on the answer, after which no client sends another.
//!
//! # The rule of `Auto`
//!
//! 1. A connection is *in rhythm* if its last request is less than [`GAPS`] of its own gaps old, but
//!    [`RHYTHM_AT_LEAST`] in any case, and [`RHYTHM_AT_MOST`] at the latest. It is kept until then at least. One that has
//!    had a single request has no gap yet, and is kept for [`SPEAKS_WITHIN`] after it: pools open connections that they
//!    use again.
//! 2. One that was accepted when the termination had begun is kept for [`SPEAKS_WITHIN`]: whoever connects
//!    is about to ask.
//! 3. None that is idle is kept for less than [`SPEAKS_WITHIN`]. It may have been accepted a moment ago. Or it lies in a
//!    pool that uses first what it has used last, as those of nginx and Go do: the closes of the others are what brings it
//!    into use, however long it has been idle.
//! 4. One that was busy, and whose answer could not say close because its head had left, is kept for [`ASKS_AGAIN_WITHIN`]
//!    after the end of that answer: agents have requests that wait for a connection to be free. If it has had several, the
//!    end counts as its last request, and 1 and 3 hold. One on which a single download has ended is done, and its client
//!    sees its end by that of the connection. Nobody is kept like that twice.
//! 5. But if no more than [`FEW`] connections are busy, in rhythm by a gap of their own or just accepted, and all of them
//!    come from this machine, 1 and 3 do not hold: that is a test's teardown, whose clients are done, and not a server
//!    under load. From another machine, a single request is a rhythm, too. Load is looked for when the delay is over, when idle
//!    connections are parted with, and if there was some at either, there is to the end; and once more when one becomes
//!    idle later.
//! 6. Where the end of the delay is found late, what counts for 5 is the time at which it was to be.
//! 7. What a peer on another machine sends is on its way for a while, and may have to be sent once more, which TCP
//!    does after a round trip and 200 ms. So it has [`SPEAKS_WITHIN`] where it would have less by 1 or 4, and a round trip
//!    more; and over TLS it has that by 3 without load, too, if it has yet to ask for the first time, as a handshake before TLS 1.3
//!    ends here a round trip before a request can follow. Where those that nobody has looked at come from is not known: under
//!    load they are kept as long as the furthest that is known. The further away a peer is, the longer it is in rhythm: up to
//!    twice as long, and at most a second; see [`distance`](super::distance).
//! 8. Without load, all others are closed at once.
//!
//! Eight gaps, as of requests that come at random with a mean gap of their own, one in three thousand is
//! later than that. The gaps are smoothed as TCP smooths its round-trip time (RFC 6298, section 2).

use std::time::{Duration, Instant};

use super::Distance;

/// How many of its gaps after its last request a connection is out of rhythm.
pub const GAPS: u32 = 8;

/// How long after its last request a connection is in rhythm at least. The gaps of who sends without a pause are a
/// millisecond, but a busy machine may stop its process for longer.
pub const RHYTHM_AT_LEAST: Duration = Duration::from_millis(50);

/// How long after its last request a connection from this machine is out of rhythm, whatever its gap.
pub const RHYTHM_AT_MOST: Duration = Duration::from_millis(500);

/// The same of any connection. A request that is on its way to a connection when it is closed is lost, and from another machine
/// it is on its way for longer.
pub const RHYTHM_FROM_AFAR_AT_MOST: Duration = RHYTHM_AT_MOST.saturating_mul(2);

/// How long after it was accepted, has been used for the first time, or is the one that a pool is left with, a connection may be
/// silent before it counts as idle.
pub const SPEAKS_WITHIN: Duration = Duration::from_millis(250);

/// How long after an answer that said nothing of it a client may take to ask again. Most that have another request
/// waiting send it in less, and a teardown should not notice.
pub const ASKS_AGAIN_WITHIN: Duration = Duration::from_millis(5);

/// So many connections at once may have been left behind by the clients of a test.
pub const FEW: usize = 3;

/// So many idle connections may close in one instant. The clients of more would all connect to another
/// server in that instant, so the closes are spread.
pub const CROWD: usize = 100;

/// The longest window. Nobody waits longer, and the clock goes no further than some centuries.
pub const WINDOW_AT_MOST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How long idle connections are kept open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeepAlive {
    /// As long as each connection's own rhythm asks for; see the [module documentation](self).
    #[default]
    Auto,
    /// So long, every one of them. Zero is not at all.
    For(Duration),
}

impl KeepAlive {
    /// How old a connection's last request may be for its rhythm to matter, so long after idle ones were due to be parted with.
    pub(super) fn horizon(self, late: Duration) -> Duration {
        match self {
            Self::For(Duration::ZERO) => Duration::ZERO,
            _ => RHYTHM_FROM_AFAR_AT_MOST.saturating_add(late),
        }
    }
}

/// When the requests of a connection come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rhythm {
    /// When the last one came.
    pub last: Instant,
    /// The smoothed time between two of them, if there were two.
    pub gap: Option<Duration>,
}

impl Rhythm {
    /// Until when the next request is to be expected, if the last one has been answered only now.
    pub(super) fn goes_on_until(self, now: Instant, distance: Distance) -> Instant {
        Self { last: now, ..self }.holds_until(distance)
    }

    /// Whether it is known by a gap: a single request is none.
    pub(super) fn has_gap(&self) -> bool {
        self.gap.is_some()
    }

    /// Until when the next request is to be expected.
    pub(super) fn holds_until(self, distance: Distance) -> Instant {
        let within = self.gap.map(|gap| distance.in_rhythm(gap.saturating_mul(GAPS)));
        self.last + within.unwrap_or(distance.in_rhythm_after_one())
    }
}

/// A window of fixed length, in which idle connections wait to be told to go.
///
/// A few close together when it ends; the closes of a crowd are spread over it, first those of the quiet
/// connections, then those of the known ones, which have been used more recently.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) began: Instant,
    pub(super) length: Duration,
    /// How many quiet connections were open when it began.
    pub(super) quiet: u32,
    /// How many idle ones were known then.
    pub(super) known: usize,
}

impl Window {
    /// In how many steps the closes are spread.
    const STEPS: usize = 100;

    pub(super) fn end(self) -> Instant {
        self.began + self.length
    }

    /// When one of the known connections closes, counted from zero.
    pub(super) fn closes_known(self, place: usize) -> Instant {
        self.closes(self.quiet as usize + place + 1)
    }

    /// How many quiet connections may still be open.
    pub(super) fn quiet_at(self, now: Instant) -> u32 {
        if now >= self.end() {
            return 0;
        }
        if self.connections() <= CROWD {
            return self.quiet;
        }
        let elapsed = now.saturating_duration_since(self.began).as_nanos();
        let closed = elapsed * self.connections() as u128 / self.length.as_nanos();
        // It is less than all of them, or the window had ended.
        self.quiet.saturating_sub(closed as u32)
    }

    /// When the next of so many quiet connections close.
    pub(super) fn next_step(self, quiet: u32) -> Instant {
        let closed = self.quiet.saturating_sub(quiet) as usize;
        let step = (self.connections() / Self::STEPS).max(1);
        self.closes((closed + step).min(self.quiet as usize))
    }

    fn connections(self) -> usize {
        self.quiet as usize + self.known
    }

    /// When so many connections may have closed.
    fn closes(self, count: usize) -> Instant {
        if self.connections() <= CROWD {
            return self.end();
        }
        // Rounded up, so that then they really may.
        let nanoseconds = (self.length.as_nanos() * count as u128).div_ceil(self.connections() as u128);
        self.began + Duration::from_nanos(nanoseconds as u64)
    }
}
