//! Closing a listener after what the kernel has accepted, not before: whoever waits to be accepted has
//! connected already, may have sent a request, and would be reset. So would be whose handshake is under way: its last ACK,
//! a round trip away, finds nobody, and a request may be right behind it.

use std::time::{Duration, Instant};

use super::patience::more_time;

/// How long to wait for a moment in which nobody waits to be accepted, where more come all the time. Where none can come,
/// how long to wait for the next one to be accepted. A handshake takes a round trip more. Nobody knows how long that is before it
/// has ended, so it is taken to be as long as that to the furthest of the clients that are known.
pub const ACCEPT_AT_MOST: Duration = Duration::from_millis(250);

/// Where it can't be known how many connections wait, so many turns of the loop in a row that accept none
/// mean that none waits.
const TURNS_WITHOUT_ANY: u32 = 2;

/// How far a listener is on its way out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Listener {
    /// It is nobody's business. Next: `Accepting` or `Closed`.
    #[default]
    Open,
    /// It is to close when nobody waits to be accepted any more. Next: `Closed`.
    Accepting {
        until: Instant,
        /// How many wait, where that can be known.
        waiting: Option<u32>,
        /// How many handshakes are waited for, as of the last look, and how many connections were accepted since.
        handshakes: u32,
        arrived: u32,
        hold: Hold,
        /// Whether it was given more time once, as everything had been held up.
        excused: bool,
        /// How many turns in a row have accepted none while that was not known, and whether the running one has
        /// accepted some.
        turns_without: u32,
        accepted: bool,
    },
    /// It was told to close. Next: `Reopened`.
    Closed,
    /// The server listens again while its termination goes on, which leaves it alone. Next: `Accepting`, if that is asked for
    /// once more.
    Reopened,
}

/// Whether new connections are kept from a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// Nobody has tried. Next: `Asked`.
    NotAsked,
    /// Somebody tries. If who waits is told once more before it is `Held`, that can't be done.
    Asked,
    /// No further connection reaches the listener.
    Held,
}

impl Listener {
    pub(super) fn accepting(until: Instant) -> Self {
        Self::Accepting {
            until,
            waiting: None,
            handshakes: 0,
            arrived: 0,
            hold: Hold::NotAsked,
            excused: false,
            turns_without: 0,
            accepted: false,
        }
    }

    /// Whether new connections are to be held back from now on.
    ///
    /// To find out whether that may be done takes a millisecond or more. A server that nobody is about to
    /// connect to closes in less.
    pub(super) fn handle_waiting(
        &mut self,
        now_waiting: Option<u32>,
        under_way: u32,
        loaded: bool,
        accepts_until: Instant,
        now: Instant,
    ) -> bool {
        self.excuse(now);
        let Self::Accepting { until, waiting, handshakes, arrived, hold, excused, .. } = self else { return false };
        let fewer_wait = now_waiting.zip(*waiting).is_some_and(|(now_waiting, before)| now_waiting < before);
        // Handshakes with another listener on the same address may be among them, so that alone says nothing.
        let fewer_come = now_waiting == Some(0) && under_way < *handshakes && *arrived > 0;
        // If new handshakes can't be held back they never run out, so none is waited for. Mostly the socket is shared then: it
        // stays open in the other process, and closing ours resets nobody.
        let waited_for = if *hold == Hold::Asked { 0 } else { under_way };
        (*waiting, *handshakes, *arrived) = (now_waiting, waited_for, 0);
        if *hold == Hold::Held && (fewer_wait || fewer_come) {
            // There is an end to them. On a busy machine, it may take a while to come.
            *until = accepts_until;
            *excused = false;
        }
        let somebody_comes = |waiting| waiting > 0 || under_way > 0 || loaded;
        let try_it = *hold == Hold::NotAsked && now_waiting.is_some_and(somebody_comes);
        if try_it {
            *hold = Hold::Asked;
            *until = accepts_until;
        }
        try_it
    }

    /// No further connection reaches it, so there is an end to those that wait.
    pub(super) fn handle_held(&mut self) {
        if let Self::Accepting { hold, excused, .. } = self {
            *hold = Hold::Held;
            // To find out how may have taken a while.
            *excused = false;
        }
    }

    /// Who was to be accepted in time that nobody had, is accepted now. That is so once, unless it turns out that there is an
    /// end to them.
    fn excuse(&mut self, now: Instant) {
        if let Self::Accepting { until, excused, .. } = self
            && !*excused
            && let Some(more) = more_time(*until, now)
        {
            *until = more;
            *excused = true;
        }
    }

    pub(super) fn handle_accepted(&mut self) {
        if let Self::Accepting { accepted, arrived, .. } = self {
            *accepted = true;
            *arrived = arrived.saturating_add(1);
        }
    }

    pub(super) fn handle_turned(&mut self, now: Instant) {
        self.excuse(now);
        if let Self::Accepting { waiting, turns_without, accepted, .. } = self {
            // What is known says more than a turn; it may be known no longer in the next one.
            let tells_nothing = std::mem::take(accepted) || waiting.is_some();
            *turns_without = if tells_nothing { 0 } else { *turns_without + 1 };
        }
    }

    /// Whether it is to close now.
    pub(super) fn is_done(self, now: Instant) -> bool {
        match self {
            Self::Accepting { until, waiting, handshakes, turns_without, .. } => {
                let nobody_comes = |waiting| waiting == 0 && handshakes == 0;
                waiting.map_or(turns_without >= TURNS_WITHOUT_ANY, nobody_comes) || now >= until
            }
            Self::Open | Self::Closed | Self::Reopened => false,
        }
    }

    /// Until when nothing is to be done but to wait for handshakes to end: as long as fewer connections have come, there
    /// is nothing new to see.
    pub(super) fn awaits_handshakes_until(self) -> Option<Instant> {
        match self {
            Self::Accepting { until, waiting: Some(0), handshakes, arrived, .. } if arrived < handshakes => Some(until),
            _ => None,
        }
    }

    pub(super) fn is_accepting(self) -> bool {
        matches!(self, Self::Accepting { .. })
    }
}
