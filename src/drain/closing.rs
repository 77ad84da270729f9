//! The ways in which one connection ends, and how long its peer may take over it: one on another machine a round trip more.

use std::time::{Duration, Instant};

use super::connection::{Course, Reading, Tally};
use super::{Action, ConnectionId, Drain, Transport};

/// How long a peer may take to finish writing what is not going to be answered: the body of a request that has been
/// answered already, or requests behind an answer that said close.
///
/// The same five seconds as nginx's `lingering_timeout`; the deadline of the termination comes first
/// where it is earlier.
pub const HEAR_OUT_AT_MOST: Duration = Duration::from_secs(5);

/// How soon it is looked again whether a peer that was still reading has taken everything. It may have, and leave its own end open.
/// Each look is twice as long after the one before, as long as the peer goes on: it may take nothing for [`HEAR_OUT_AT_MOST`].
///
/// One on this machine that has nothing to write may not for longer than that. The kernel goes on sending there, whoever is gone, so
/// that it loses something only if it writes before it has read; and a test may leave an answer unread.
pub const LOOKS_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// How long a TLS peer may take to answer our `close_notify` with its own (RFC 8446, section 6.1).
///
/// Closing without waiting would answer the peer's alert with a reset. A peer that is alive needs one
/// round trip; one that is not must not hold up a termination.
pub const CLOSE_NOTIFY_AT_MOST: Duration = Duration::from_millis(250);

/// How long an HTTP/2 peer may take to acknowledge a PING (RFC 9113, section 6.7).
///
/// What it sent before the acknowledgement has arrived then, and is served. A peer that is alive needs
/// one round trip; one that is not must not hold up a termination.
pub const PING_AT_MOST: Duration = Duration::from_millis(200);

/// How long the peer of an idle HTTP/2 session, which has acknowledged a PING, may take to close its end of the connection.
pub const SESSION_CLOSES_WITHIN: Duration = Duration::from_millis(250);

/// How long what has come on an idle connection may take to show that it is a request.
///
/// It is none if it is an empty line (RFC 9112, section 2.2), or a message of TLS's own (RFC 8446, section 4.6). Otherwise
/// it is the beginning of a record, whose rest a peer that is alive has sent as well.
pub const SHOWS_WITHIN: Duration = Duration::from_millis(250);

impl Drain {
    /// Nothing is under way on it.
    pub(super) fn close_idle(&mut self, id: ConnectionId, now: Instant) {
        let action = match self.leave(id, Tally::Idle, now) {
            Transport::Plain => Action::Close(id),
            Transport::Tls => Action::CloseNotify(id),
        };
        self.actions.push_back(action);
    }

    /// Its last answer has ended, and did not say close.
    pub(super) fn end(&mut self, id: ConnectionId, now: Instant) {
        let action = match self.leave(id, Tally::Drained, now) {
            Transport::Plain => Action::End(id),
            Transport::Tls => Action::EndNotify(id),
        };
        self.actions.push_back(action);
    }

    /// Its last answer has ended, and said close: Node closes it.
    pub(super) fn leave_to_node(&mut self, id: ConnectionId) {
        self.connections[id].course = Course::Leaving(Tally::Drained);
        self.actions.push_back(Action::LookUnsent(id));
    }

    /// FIN is about to leave, under TLS behind our `close_notify`, to which the peer has an answer.
    fn leave(&mut self, id: ConnectionId, tally: Tally, now: Instant) -> Transport {
        let transport = self.connections[id].transport;
        match transport {
            Transport::Plain => self.connections[id].course = Course::Leaving(tally),
            Transport::Tls => self.linger(id, CLOSE_NOTIFY_AT_MOST, tally, now),
        }
        transport
    }

    /// Its last answer has left before the request had come whole, and said nothing of the connection: the peer may send
    /// another request behind the rest of this one, and is not to find FIN before.
    pub(super) fn hear_body(&mut self, id: ConnectionId, now: Instant) {
        let until = self.has_until(id, HEAR_OUT_AT_MOST, now);
        let connection = &mut self.connections[id];
        connection.busy = true;
        connection.course = Course::HearingBody { until };
        self.be_patient(id, until);
        self.actions.push_back(Action::HearBody(id));
    }

    /// The same of an answer that said close. To close the connection at once would reset it, which takes with it what
    /// the peer has not read yet.
    pub(super) fn linger_for_body(&mut self, id: ConnectionId, now: Instant) {
        self.linger(id, HEAR_OUT_AT_MOST, Tally::Drained, now);
        self.actions.push_back(Action::Linger(id));
    }

    /// The same, but it is further requests that come, or may come before the answer has been read. Behind an answer that said
    /// close they may not be processed (RFC 9112, section 9.6), so Node must not see them.
    pub(super) fn hear_out(&mut self, id: ConnectionId, now: Instant) {
        self.linger(id, HEAR_OUT_AT_MOST, Tally::Drained, now);
        self.actions.push_back(Action::HearOut(id));
    }

    /// The same, but it is the peer that has yet to take so much of what was sent, and what it may send before it closes.
    pub(super) fn hear_out_reading(&mut self, id: ConnectionId, unsent: u32, tally: Tally, now: Instant) {
        let may_pause_for = if self.connections[id].distance.is_far() { HEAR_OUT_AT_MOST } else { LOOKS_AGAIN_AFTER };
        self.linger_while_reading(id, Reading::begun(unsent, may_pause_for, now), tally, now);
        self.actions.push_back(Action::HearOut(id));
    }

    /// Its peer has had its time to close. As long as it is reading, it can't.
    pub(super) fn look_unsent(&mut self, id: ConnectionId) {
        if !std::mem::replace(&mut self.connections[id].is_looked_at, true) {
            self.actions.push_back(Action::LookUnsent(id));
        }
    }

    /// The same, when that is known.
    pub(super) fn linger_on(&mut self, id: ConnectionId, unsent: u32, tally: Tally, now: Instant) {
        let reading = match self.connections[id].reading {
            // It was writing.
            None => Some(Reading::begun(unsent, HEAR_OUT_AT_MOST, now)),
            Some(reading) => reading.gone_on(unsent, now),
        };
        match reading.filter(|_| unsent > 0) {
            Some(reading) => self.linger_while_reading(id, reading, tally, now),
            None => self.destroy(id),
        }
    }

    /// The rest of its request's body has had its time to come, and its peer was told nothing. As long as it is reading, it hears that
    /// there is no more by FIN.
    pub(super) fn give_up_body(&mut self, id: ConnectionId, unsent: u32, now: Instant) {
        self.linger_on(id, unsent, Tally::Drained, now);
        if unsent > 0 {
            self.actions.push_back(Action::Linger(id));
        }
    }

    fn linger_while_reading(&mut self, id: ConnectionId, reading: Reading, tally: Tally, now: Instant) {
        self.connections[id].reading = Some(reading);
        self.linger(id, reading.look_again_after, tally, now);
    }

    fn linger(&mut self, id: ConnectionId, at_most: Duration, tally: Tally, now: Instant) {
        let until = self.has_until(id, at_most, now);
        self.connections[id].course = Course::Lingering { until, tally };
        self.be_patient(id, until);
    }

    /// A request has come after FIN has left. Node runs its handler all the same, but no answer can leave.
    pub(super) fn cut_behind_fin(&mut self, id: ConnectionId) {
        self.report.requests.cut += 1;
        self.actions.push_back(Action::Cut(id));
    }

    /// HTTP/2 is asked first: streams that its peer has opened by now are served.
    pub(super) fn ping(&mut self, id: ConnectionId, now: Instant) {
        let until = self.has_until(id, PING_AT_MOST, now);
        self.connections[id].course = Course::Pinging { until };
        self.be_patient(id, until);
        self.actions.push_back(Action::Ping(id));
    }

    /// Its peer has acknowledged the PING, or does not in time. In the former case it has received whatever was answered before,
    /// and has no more to say than that it closes, too: but it may not.
    pub(super) fn close_session(&mut self, id: ConnectionId, acknowledged: bool, now: Instant) {
        self.connections[id].course = Course::ClosingSession { until: None };
        if acknowledged {
            self.await_end_of_session(id, now);
        }
        self.actions.push_back(Action::CloseSession(id));
    }

    /// Its peer has acknowledged the PING.
    pub(super) fn await_end_of_session(&mut self, id: ConnectionId, now: Instant) {
        let connection = &self.connections[id];
        if !connection.busy && connection.is_quiet() {
            let until = self.has_until(id, SESSION_CLOSES_WITHIN, now);
            self.connections[id].course = Course::ClosingSession { until: Some(until) };
            self.be_patient(id, until);
        }
    }

    /// The deadline has passed.
    ///
    /// The client of a session that closes has been told so, or is about to be. If streams are in flight, those of Node take the
    /// end of the connection for the end of their answers then, even a reset, unless they hear of the cut before. What they
    /// still write is answered with a reset once the socket is gone, and that overtakes whatever has not left. So those that
    /// are far away have a moment to hear of it. On this machine it is there at once, if they read.
    pub(super) fn cut_off(&mut self, id: ConnectionId, now: Instant) {
        let connection = &self.connections[id];
        let is_streaming = matches!(connection.course, Course::ClosingSession { .. }) && connection.requests > 0;
        if !is_streaming || !connection.distance.is_far() {
            self.destroy(id);
            return;
        }
        let until = now + connection.distance.hears_within();
        self.list_cut(id);
        self.connections[id].course = Course::Destroyed { until: Some(until) };
        self.be_patient(id, until);
        self.actions.push_back(Action::CutSession(id));
    }

    /// No longer waits for those that may hear that they were cut.
    pub(super) fn go_on_without_those_cut(&mut self) {
        for id in self.ids() {
            if matches!(self.connections[id].course, Course::Destroyed { until: Some(_) }) {
                self.destroy_socket(id);
            }
        }
    }

    /// Its peer has heard that it was cut, or had time to.
    pub(super) fn destroy_socket(&mut self, id: ConnectionId) {
        self.connections[id].course = Course::Destroyed { until: None };
        self.actions.push_back(Action::Destroy(id));
    }

    pub(super) fn destroy(&mut self, id: ConnectionId) {
        self.list_cut(id);
        self.actions.push_back(Action::Destroy(id));
    }

    /// Marks it destroyed, and has what was under way on it listed.
    fn list_cut(&mut self, id: ConnectionId) {
        let connection = &mut self.connections[id];
        let half = connection.is_cut_in_half();
        let cut = connection.destroy() && !connection.is_quiet_but_for_receiving();
        if cut {
            self.actions.push_back(Action::Cut(id));
        }
        if half {
            self.actions.push_back(Action::CutHalf(id));
        }
    }
}

impl Reading {
    fn begun(unsent: u32, may_pause_for: Duration, now: Instant) -> Self {
        Self { unsent, taken_at: now, may_pause_for, look_again_after: LOOKS_AGAIN_AFTER }
    }

    /// What is known after one more look, unless it has taken nothing for so long that it has stopped.
    fn gone_on(self, unsent: u32, now: Instant) -> Option<Self> {
        // The end of the connection counts as a byte, and is written only after the first look.
        let taken_at = if unsent < self.unsent { now } else { self.taken_at };
        let stops_after = (taken_at + self.may_pause_for).checked_duration_since(now).filter(|time| !time.is_zero())?;
        Some(Self { unsent, taken_at, look_again_after: stops_after.min(self.look_again_after * 2), ..self })
    }
}
