//! How far away the peer of a connection is. What it sends is on its way for a while, and may have to be sent once more.

use std::time::Duration;

use super::keep_alive::{ASKS_AGAIN_WITHIN, RHYTHM_AT_LEAST, RHYTHM_AT_MOST, SPEAKS_WITHIN};

/// How many round trips are added to the longest time in rhythm, which is doubled at most. The longer the way, the likelier it
/// is that a request is on it when its connection is closed.
const ROUND_TRIPS_IN_RHYTHM: u32 = 50;

/// Nobody is further away than a link over satellites. A connection whose packets are lost measures more, and must not hold up a
/// termination.
pub const ROUND_TRIP_AT_MOST: Duration = Duration::from_secs(2);

/// How long a handshake is taken to take, if clients come from other machines, and the round trip to none of them is known.
pub const ROUND_TRIP_IF_UNKNOWN: Duration = Duration::from_millis(250);

/// How long a peer on another machine may take to hear that it was cut, behind whatever was sent before; and a round trip more.
pub const HEARS_WITHIN: Duration = Duration::from_millis(250);

/// The same however far away it is. The deadline has passed by then.
pub const HEARS_WITHIN_AT_MOST: Duration = Duration::from_millis(500);

/// Where the peer of a connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Distance {
    /// On this machine.
    #[default]
    Near,
    /// On another one.
    Far {
        /// How long it takes until what is sent there is answered by the kernel there; zero if that is not known.
        round_trip: Duration,
    },
}

impl Distance {
    /// Whether it is on another machine.
    #[must_use]
    pub fn is_far(self) -> bool {
        self != Self::Near
    }

    /// How much longer than one on this machine its peer takes for whatever it is to do.
    pub(super) fn round_trip(self) -> Duration {
        match self {
            Self::Near => Duration::ZERO,
            Self::Far { round_trip } => round_trip.min(ROUND_TRIP_AT_MOST),
        }
    }

    /// How long a handshake takes from there.
    pub(super) fn shakes_hands_within(self) -> Duration {
        match self {
            Self::Far { round_trip: Duration::ZERO } => ROUND_TRIP_IF_UNKNOWN,
            _ => self.round_trip(),
        }
    }

    /// How long it takes on another machine to hear that it was cut, and to close.
    pub(super) fn hears_within(self) -> Duration {
        (HEARS_WITHIN + self.round_trip()).min(HEARS_WITHIN_AT_MOST)
    }

    pub(super) fn speaks_within(self) -> Duration {
        SPEAKS_WITHIN + self.round_trip()
    }

    pub(super) fn asks_again_within(self) -> Duration {
        match self {
            Self::Near => ASKS_AGAIN_WITHIN,
            Self::Far { .. } => self.speaks_within(),
        }
    }

    /// How long after its last request it is in rhythm, if that lasts so long by its gaps.
    pub(super) fn in_rhythm(self, by_gaps: Duration) -> Duration {
        let at_least = match self {
            Self::Near => RHYTHM_AT_LEAST,
            Self::Far { .. } => self.speaks_within(),
        };
        by_gaps.max(at_least).min(self.lengthened(RHYTHM_AT_MOST))
    }

    /// The same after its only request, of which there is no gap yet.
    pub(super) fn in_rhythm_after_one(self) -> Duration {
        (self.lengthened(SPEAKS_WITHIN) + self.round_trip()).min(self.lengthened(RHYTHM_AT_MOST))
    }

    fn lengthened(self, usual: Duration) -> Duration {
        usual + usual.min(self.round_trip() * ROUND_TRIPS_IN_RHYTHM)
    }
}
