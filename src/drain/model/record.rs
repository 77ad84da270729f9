//! What is written down of a termination, and of each moment in which the machine has asked for something.

use super::*;

/// The loop has read what had come in before the delay was over, everybody has been looked at, and idle connections are
/// parted with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parting {
    /// When the delay was to be over.
    pub(super) due: Instant,
    pub(super) at: Instant,
    /// More is going on than a test leaves behind.
    pub(super) loaded: bool,
    /// How many connections are idle, known or not.
    pub(super) idle: usize,
    /// Until when those that are known by their number are kept, if there is load.
    pub(super) quiet_until: Instant,
}

impl Parting {
    /// Until when a peer may speak whose handshake over TLS may have ended just now.
    pub(super) fn secured_until(&self, peer: &Peer) -> Option<Instant> {
        let is_to_speak = peer.idle_at_parting && peer.unheard && peer.is_far_over_tls();
        is_to_speak.then(|| self.at + SPEAKS_WITHIN + peer.round_trip())
    }
}

/// A termination that runs.
#[derive(Clone, Debug)]
pub(super) struct Termination {
    pub(super) began: Instant,
    pub(super) delayed_until: Option<Instant>,
    pub(super) timeout: Option<Duration>,
    pub(super) keep_alive: KeepAlive,
    pub(super) observed: bool,
    /// How many turns of the loop had been asked for when the delay was over.
    pub(super) drains_after: Option<usize>,
    /// The same when the server was last asked to end, which it may be again if it listens again.
    pub(super) accepts_after: Option<usize>,
    /// How often it was, and whether it listens again since.
    pub(super) endings: usize,
    pub(super) reopened: bool,
    /// By when the listener must close, whoever waits to be accepted.
    pub(super) accepts_until: Option<Instant>,
    /// Whether that was put off, as everything had been held up.
    pub(super) accepts_excused: bool,
    pub(super) parting: Option<Parting>,
    /// Whether there was load when the delay was over, or when idle connections were parted with.
    pub(super) was_loaded: bool,
    /// When it must end, once the delay is over.
    pub(super) deadline: Option<Instant>,
    /// How many turns had been asked for when the machine was told that the deadline has passed.
    pub(super) due_after: Option<usize>,
    /// A whole turn has been taken since, or there was no time at all.
    pub(super) expired: bool,
    /// A survey was begun, and some have not been looked at.
    pub(super) surveying: bool,
    /// The machine has asked to be told how many wait to be accepted, and not closed the listener since.
    pub(super) watching: bool,
    /// How often it has asked for each of these.
    pub(super) watches: usize,
    pub(super) holds: usize,
    /// Whether it has asked for the latter since it last asked for the former.
    pub(super) holding: bool,
    pub(super) server_closes: usize,
    /// How many wait to be accepted, as last said, if that was known.
    pub(super) said_to_wait: Option<u32>,
    /// How many handshakes were under way, as last said.
    pub(super) said_to_come: u32,
    /// Whether it was known by then that new connections can't be held back, so that those are not waited for.
    pub(super) said_in_vain: bool,
    /// Whether somebody came since that was said.
    pub(super) came_since: bool,
    /// How many whole turns in a row have brought nobody, and whether somebody came since the last one.
    pub(super) turns_without: usize,
    pub(super) somebody_came: bool,
    pub(super) server_closed: bool,
    /// How many connections the machine was told of.
    pub(super) connections: u32,
    /// What the report should say.
    pub(super) expected: Report,
    /// What has been announced.
    pub(super) told: Vec<Milestone>,
}

impl Termination {
    /// Whether it is to be told how many wait to be accepted.
    pub(super) fn is_watching(&self) -> bool {
        self.watching
    }

    /// Whether it has closed the server.
    pub(super) fn has_closed(&self) -> bool {
        self.endings > 0 && self.server_closes == self.endings
    }

    /// When the window closes in which idle connections are kept, if it has one.
    pub(super) fn window_ends(&self) -> Option<Instant> {
        match self.keep_alive {
            KeepAlive::Auto => None,
            KeepAlive::For(length) => self.parting.map(|parting| parting.at + length.min(WINDOW_AT_MOST)),
        }
    }

    /// Until when an idle connection is expected to have another request, unless that is left to a window.
    pub(super) fn expects_until(&self, peer: &Peer) -> Option<Instant> {
        let parting = self.parting.filter(|_| self.keep_alive == KeepAlive::Auto)?;
        let expected = if peer.idle_at_parting && parting.loaded {
            peer.in_rhythm_until().max(Some(parting.at + SPEAKS_WITHIN + peer.round_trip()))
        } else {
            parting.secured_until(peer)
        };
        // What it was told since counts more than what it did before.
        peer.untold_until.or(expected).max(peer.shows_until).max(peer.may_speak_until())
    }
}

/// An action, and what was known when the machine asked for it.
#[derive(Debug)]
pub(super) struct Moment {
    pub(super) action: Action,
    pub(super) now: Instant,
    /// The turn of the loop that was last taken.
    pub(super) turn: usize,
    /// The connection that it is for, if that is open.
    pub(super) peer: Option<Peer>,
    /// How many connections are known by their number only.
    pub(super) quiet: u32,
    /// How many wait to be accepted, and how many are about to.
    pub(super) waiting: usize,
    pub(super) shaking_hands: usize,
    pub(super) termination: Option<Termination>,
    /// Whether all that a termination waits for has ended.
    pub(super) over: bool,
}

/// Whether something is closed because nothing is under way on it.
pub(super) fn closes_idle(action: Action) -> bool {
    matches!(action, Action::Close(_) | Action::CloseNotify(_) | Action::CloseQuiet(_))
}

pub(super) fn id_of(action: Action) -> Option<ConnectionId> {
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
        | Action::LookUnsent(id)
        | Action::End(id)
        | Action::EndNotify(id)
        | Action::Linger(id)
        | Action::HearBody(id)
        | Action::HearOut(id)
        | Action::Ping(id)
        | Action::CloseSession(id)
        | Action::Cut(id)
        | Action::CutHalf(id)
        | Action::CutSession(id)
        | Action::Destroy(id) => Some(id),
    }
}
