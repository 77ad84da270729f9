//! What the machine is told of who is there.

use super::*;

impl World {
    /// What is open, as the machine counts it.
    pub(super) fn look(&mut self) -> Stats {
        if self.termination.is_none() {
            return self.show();
        }
        self.notice_who_is_gone();
        self.drain.stats()
    }

    /// While serving, the machine is shown what is open, for a moment.
    fn show(&mut self) -> Stats {
        for socket in self.sockets(Peer::is_under_way) {
            self.enter(socket);
        }
        self.drain.handle_quiet(count(self.sockets(|peer| peer.id.is_none())), self.now);
        let stats = self.drain.stats();
        self.drain.handle_quiet(0, self.now);
        for peer in self.open.values_mut() {
            if let Some(id) = peer.id.take() {
                self.drain.handle_closed(id, true, self.now);
            }
        }
        self.obey();
        stats
    }

    /// Tells of a connection that was open before, and of what is under way on it.
    pub(super) fn enter(&mut self, socket: Socket) -> ConnectionId {
        let peer = peer_of(&mut self.open, socket);
        peer.rhythm = peer.last.map(|last| Rhythm { last, gap: peer.gap });
        peer.unheard = peer.last.is_none();
        let id = self.drain.handle_found(peer.transport, peer.distance, peer.last.is_some(), peer.rhythm);
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
    pub(super) fn find(&mut self, socket: Socket) -> ConnectionId {
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

    /// Of those who are not followed, only the number is told.
    pub(super) fn count_the_quiet(&mut self) {
        let rest = self.sockets(|peer| peer.id.is_none());
        self.quiet = rest.iter().map(|&socket| Quiet { socket, looked_at: false }).collect();
        rest.into_iter().for_each(|socket| self.count_in(socket));
        self.say_how_many_are_quiet();
    }

    pub(super) fn survey(&mut self, horizon: Duration, at_most: usize) {
        let since = self.now - horizon;
        let mut some = Vec::new();
        for quiet in self.quiet.iter_mut().filter(|quiet| !quiet.looked_at).take(at_most) {
            quiet.looked_at = true;
            some.push(quiet.socket);
        }
        for &socket in &some {
            if self.open.get(&socket).is_some_and(|peer| peer.is_worth_finding(since)) {
                self.find(socket);
            }
        }
        self.say_who_is_gone(&some);
        if let (None, Some((_, termination))) = (&self.termination, self.reports.last_mut()) {
            // Nobody was left to cut at the deadline.
            termination.expired = false;
        }
        let all = self.quiet.iter().all(|quiet| quiet.looked_at);
        if all {
            // What was found in the kernel.
            for socket in self.sockets(|peer| peer.id.is_none() && peer.is_busy()) {
                self.find(socket);
            }
            self.observe();
        }
        if let Some(termination) = &mut self.termination {
            termination.surveying = !all;
        }
        self.say_that_they_are_surveyed(all);
    }

    /// Now that everybody has been looked at, idle connections are parted with.
    fn say_that_they_are_surveyed(&mut self, all: bool) {
        let due = self.termination.as_ref().and_then(|termination| termination.delayed_until).unwrap_or(self.now);
        let parting = Parting {
            due,
            at: self.now,
            loaded: self.is_loaded(due) || self.termination.as_ref().is_some_and(|termination| termination.was_loaded),
            idle: self.sockets(Peer::is_idle).len() + self.quiet.len(),
            quiet_until: self.now + SPEAKS_WITHIN + self.distances().map(peer::round_trip).max().unwrap_or_default(),
        };
        self.drain.handle_surveyed(all, self.now);
        if let Some(termination) = &mut self.termination
            && !termination.expired
            && all
        {
            termination.parting = Some(parting);
            termination.was_loaded = parting.loaded;
            for peer in self.open.values_mut() {
                peer.idle_at_parting = peer.is_idle();
                let expected = termination.expects_until(peer);
                if expected > Some(parting.due) && expected < Some(parting.at + HELD_UP_GETS) {
                    peer.excuse(parting.due, parting.at);
                }
            }
        }
        self.obey();
    }

    fn say_how_many_are_quiet(&mut self) {
        self.drain.handle_quiet(count(&self.quiet), self.now);
        self.obey();
    }

    pub(super) fn notice_who_is_gone(&mut self) {
        let gone = self.quiet.iter().map(|quiet| quiet.socket).filter(|socket| !self.open.contains_key(socket));
        self.say_who_is_gone(&gone.collect::<Vec<_>>());
    }

    /// Of some quiet connections, several have closed, by whomever they were.
    pub(super) fn say_who_is_gone(&mut self, sockets: &[Socket]) {
        let before = self.quiet.len();
        self.quiet.retain(|quiet| !sockets.contains(&quiet.socket) || self.open.contains_key(&quiet.socket));
        self.say_that_some_are_gone((before - self.quiet.len()) as u32);
    }

    fn say_that_some_are_gone(&mut self, gone: u32) {
        if let Some(termination) = &mut self.termination {
            termination.expected.connections.idle += gone;
        }
        self.drain.handle_quiet_closed(gone, count(&self.quiet), self.now);
        self.obey();
    }

    pub(super) fn observe(&mut self) {
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

    pub(super) fn say_who_waits(&mut self) {
        let waiting = match self.kernel {
            _ if !self.listening => Some(0),
            Kernel { tells: true, .. } => Some(count(&self.waiting)),
            Kernel { tells: false, .. } => None,
        };
        self.excuse_who_waits();
        let accepts_until = self.accepts_until();
        // Nobody looks for them unless nobody waits.
        let handshakes = if waiting == Some(0) && self.listening { count(&self.shaking_hands) } else { 0 };
        if let Some(termination) = &mut self.termination {
            let fewer_wait = waiting.zip(termination.said_to_wait).is_some_and(|(now, before)| now < before);
            let came = std::mem::take(&mut termination.came_since);
            let fewer_come = came && waiting == Some(0) && handshakes < termination.said_to_come;
            // With nobody following, each one that is accepted brings the end nearer.
            if self.held && (fewer_wait || fewer_come) {
                termination.accepts_until = Some(accepts_until);
                termination.accepts_excused = false;
            }
            termination.said_to_wait = waiting;
            termination.said_in_vain = termination.holding && !self.held;
            termination.said_to_come = if termination.said_in_vain { 0 } else { handshakes };
        }
        self.drain.handle_accept_queue(waiting, handshakes, self.now);
    }

    /// If they were to be accepted by now, but it turns out so late that everything must have been held up.
    pub(super) fn excuse_who_waits(&mut self) {
        let now = self.now;
        let Some(termination) = self.termination.as_mut().filter(|termination| termination.is_watching()) else {
            return;
        };
        let was_held_up = termination.accepts_until.is_some_and(|until| is_held_up(until, now));
        if was_held_up && !std::mem::replace(&mut termination.accepts_excused, true) {
            termination.accepts_until = Some(now + HELD_UP_GETS);
        }
    }

    fn count_in(&mut self, socket: Socket) {
        let peer = peer_of(&mut self.open, socket);
        if let (false, Some(termination)) = (std::mem::replace(&mut peer.counted, true), &mut self.termination) {
            termination.connections += 1;
        }
    }
}
