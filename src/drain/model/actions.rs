//! What the machine asks for, and the world does.

use super::*;

impl World {
    pub(super) fn obey(&mut self) {
        let actions: Vec<_> = std::iter::from_fn(|| self.drain.poll_action()).collect();
        for action in actions {
            self.record(action);
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Announce(milestone) => self.hear(milestone),
            Action::Survey(horizon) => self.survey(horizon, SURVEYED_TOGETHER),
            Action::LastSurvey(horizon) => {
                self.look_into_the_kernel();
                self.survey(horizon, usize::MAX);
            }
            Action::WatchListener => self.watch_listener(),
            Action::HoldListener => self.hold_listener(),
            Action::CloseServer => self.close_server(),
            Action::SayClose(id) => self.named(id).says_close = true,
            Action::SayKeepAlive(id) => self.named(id).says_close = false,
            Action::Close(id) | Action::CloseNotify(id) if self.named(id).unnoticed => self.look_at(id),
            Action::Close(id) | Action::CloseNotify(id) if self.named(id).stirred => self.wait_for(id),
            Action::CloseQuiet(count) => self.close_quiet(count as usize),
            Action::DestroyQuiet => self.destroy_quiet(),
            Action::LookUnsent(id) => self.look_unsent(id),
            Action::Close(id) | Action::End(id) => {
                self.look_unsent(id);
                // Unless it is heard out.
                let peer = self.named(id);
                peer.closing = peer.lingers_until.is_none();
            }
            Action::CloseNotify(id) | Action::EndNotify(id) => {
                self.look_unsent(id);
                if self.named(id).lingers_until.is_none() {
                    self.linger(id, CLOSE_NOTIFY_AT_MOST);
                }
            }
            Action::HearBody(id) => self.hear_body(id),
            Action::Linger(id) | Action::HearOut(id) => {
                let peer = self.named(id);
                let at_most = if peer.looks.is_empty() { HEAR_OUT_AT_MOST } else { peer.is_looked_at_again_after() };
                self.linger(id, at_most);
            }
            Action::Ping(id) => {
                let now = self.now;
                let peer = self.named(id);
                peer.pinging_until = Some(now + PING_AT_MOST + peer.round_trip());
            }
            Action::CloseSession(id) => {
                let now = self.now;
                let peer = self.named(id);
                peer.session_closing = true;
                // It has received everything, and is not waited for in vain.
                let received = peer.ponged && !peer.was_busy;
                peer.lingers_until = Some(now + SESSION_CLOSES_WITHIN + peer.round_trip()).filter(|_| received);
                peer.closing |= peer.in_flight.is_empty();
            }
            Action::Cut(id) | Action::CutHalf(id) => self.list(id),
            Action::CutSession(id) => self.cut_session(id),
            Action::Destroy(id) => self.destroy(id),
            Action::AwaitTurn => self.turns_asked += 1,
            Action::Resolve => self.resolve(),
        }
    }

    fn watch_listener(&mut self) {
        if let Some(termination) = &mut self.termination {
            termination.watching = true;
            termination.watches += 1;
            termination.holding = false;
            termination.somebody_came = false;
        }
        if !self.came_from.is_some_and(Distance::is_far) || self.distance.is_far() {
            self.came_from = Some(self.distance);
        }
        self.drain.handle_came_from(self.distance);
        self.say_who_waits();
        self.obey();
    }

    fn hold_listener(&mut self) {
        let accepts_until = self.accepts_until();
        if let Some(termination) = &mut self.termination {
            termination.holds += 1;
            termination.holding = true;
            termination.accepts_until = Some(accepts_until);
        }
        // Where it can't be held, there is nothing new to say.
        if self.kernel.holds {
            self.held = true;
            if let Some(termination) = &mut self.termination {
                termination.accepts_excused = false;
            }
            self.drain.handle_listener_held();
            self.say_who_waits();
            self.obey();
        }
    }

    fn close_server(&mut self) {
        if let Some(termination) = &mut self.termination {
            termination.watching = false;
            termination.server_closes += 1;
        }
        // Whoever still waits is turned away.
        self.waiting.clear();
        self.shaking_hands.clear();
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

    /// It finds what may be the beginning of one, and will not be.
    fn wait_for(&mut self, id: ConnectionId) {
        let now = self.now;
        let peer = self.named(id);
        peer.stirred = false;
        peer.shows_until = Some(now + SHOWS_WITHIN + peer.round_trip());
        self.drain.handle_stirred(id, self.now);
        self.obey();
    }

    /// Its peer is on its way out, or has had its time for that.
    fn look_unsent(&mut self, id: ConnectionId) {
        let now = self.now;
        let peer = self.named(id);
        let unsent = peer.unsent;
        if unsent > 0 {
            if peer.looks.is_empty() {
                let was_writing = peer.lingers_until.or(peer.body_until).is_some();
                let is_patient = was_writing || peer.distance.is_far();
                peer.may_pause_for = if is_patient { HEAR_OUT_AT_MOST } else { LOOKS_AGAIN_AFTER };
            }
            peer.looks.push((now, unsent));
            if peer.lingers_until.is_some() && !peer.has_stalled(now) {
                peer.lingers_until = Some(now + peer.is_looked_at_again_after() + peer.round_trip());
            }
        }
        peer.leaving = true;
        self.drain.handle_unsent(id, unsent, now);
        self.obey();
    }

    fn close_quiet(&mut self, count: usize) {
        let chosen: Vec<_> = self.quiet.iter().take(count).map(|quiet| quiet.socket).collect();
        for &socket in &chosen {
            match self.open.get_mut(&socket) {
                Some(peer) if peer.unnoticed => {
                    peer.unnoticed = false;
                    self.receive(socket);
                }
                // It is found, and looked at once more when it is to be closed as one that is known.
                Some(peer) if peer.stirred || peer.unsent > 0 => {
                    peer.found_at = Some(self.now);
                    self.find(socket);
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

    fn hear_body(&mut self, id: ConnectionId) {
        let now = self.now;
        let peer = self.named(id);
        peer.was_busy = true;
        peer.body_until = Some(now + HEAR_OUT_AT_MOST + peer.round_trip());
    }

    fn linger(&mut self, id: ConnectionId, at_most: Duration) {
        let now = self.now;
        let peer = self.named(id);
        peer.leaving = true;
        peer.was_busy |= peer.answered_early;
        peer.lingers_until = Some(now + at_most + peer.round_trip());
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

    /// It is as good as destroyed, but for its socket.
    fn cut_session(&mut self, id: ConnectionId) {
        self.destroy(id);
        let now = self.now;
        let peer = self.named(id);
        peer.closing = false;
        peer.lingers_until = Some(now + peer.hears_within());
    }

    fn hear(&mut self, milestone: Milestone) {
        let due = self.termination.as_ref().and_then(|termination| termination.delayed_until).unwrap_or(self.now);
        let is_loaded = self.is_loaded(due);
        if let Some(termination) = &mut self.termination {
            termination.told.push(milestone);
            termination.was_loaded |= milestone == Milestone::Draining && is_loaded;
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
            waiting: self.waiting.len(),
            shaking_hands: self.shaking_hands.len(),
            termination: self.termination.clone(),
            over: self.is_over(),
        });
    }
}
