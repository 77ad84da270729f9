//! What happens. Each event first makes its entry in the record, then the machine is told of it.

use super::*;

impl World {
    pub(super) fn knock(&mut self, transport: Transport) {
        if self.listening && !self.held {
            self.waiting.push_back(transport);
        }
    }

    pub(super) fn begin_handshake(&mut self, transport: Transport) {
        if self.listening && !self.held {
            self.shaking_hands.push_back(transport);
        }
    }

    /// Whether new ones are held back or not.
    pub(super) fn end_handshake(&mut self) {
        self.waiting.extend(self.shaking_hands.pop_front());
    }

    pub(super) fn accept_all(&mut self) {
        self.waiting.append(&mut self.shaking_hands);
        while !self.waiting.is_empty() {
            self.accept();
        }
    }

    pub(super) fn accept(&mut self) {
        if let Some(transport) = self.waiting.pop_front() {
            self.open(transport);
        }
    }

    pub(super) fn gather(&mut self, crowd: Vec<Bystander>) {
        for Bystander { transport, age, gap } in crowd {
            let last = age.and_then(|age| self.now.checked_sub(age));
            let socket = self.arrive(transport, false);
            let peer = self.peer(socket);
            peer.last = last;
            peer.gap = gap.filter(|_| last.is_some());
        }
    }

    pub(super) fn open(&mut self, transport: Transport) {
        self.arrive(transport, false);
        self.obey();
    }

    pub(super) fn open_session(&mut self, transport: Transport) {
        let socket = self.arrive(transport, true);
        if let Some(id) = self.peer(socket).id {
            self.drain.handle_multiplexed(id, self.now);
        }
        self.obey();
    }

    fn arrive(&mut self, transport: Transport, session: bool) -> Socket {
        let socket = self.sockets;
        self.sockets += 1;
        let mut peer = Peer::new(transport, session, self.turns_asked);
        peer.distance = self.distance;
        // While serving, connections are not events.
        if let Some(termination) = &mut self.termination {
            peer.accepted = Some(self.now);
            peer.counted = true;
            termination.connections += 1;
            termination.somebody_came = true;
            termination.came_since = true;
            let id = self.drain.handle_opened(transport, self.distance, self.now);
            assert!(self.open.values().all(|peer| peer.id != Some(id)), "an id names one connection at a time");
            peer.id = Some(id);
        }
        self.open.insert(socket, peer);
        socket
    }

    pub(super) fn measure(&mut self, socket: Socket, gap: Duration) {
        let peer = self.peer(socket);
        if peer.last.is_some() {
            peer.gap = Some(gap);
        }
    }

    pub(super) fn start(&mut self, socket: Socket, more: bool) {
        let peer = peer_of(&mut self.open, socket);
        // Node refuses what comes on a session that closes.
        if peer.hijacked || peer.session_closing {
            return;
        }
        // While serving, requests are not events.
        let id = self.termination.is_some().then(|| self.find(socket));
        let peer = peer_of(&mut self.open, socket);
        let more = more && !peer.session;
        peer.unnoticed = false;
        peer.shows_until = None;
        peer.answered_early = false;
        peer.body_until = None;
        peer.last = Some(self.now);
        if !peer.leaving {
            peer.in_flight.push_back(if id.is_some() { Came::During } else { Came::Before });
            peer.receiving = more;
            peer.was_busy = true;
            peer.says_close = false;
        }
        let (Some(id), Some(termination)) = (id, &mut self.termination) else { return };
        peer.unheard = false;
        if peer.leaving {
            peer.cut = true;
            termination.expected.requests.cut += 1;
        }
        self.drain.handle_request_started(id, more);
        self.obey();
    }

    pub(super) fn finish(&mut self, socket: Socket, Finished { arriving, said_close, .. }: Finished) {
        let peer = peer_of(&mut self.open, socket);
        if peer.in_flight.is_empty() {
            return;
        }
        // HTTP/1 alone has such an end, and does not know what comes over a tunnel.
        let said_close = said_close && !peer.session;
        let arriving = if peer.session || peer.hijacked { Arriving::Nothing } else { arriving };
        // Behind FIN an answer ends, too, but reaches nobody.
        let answered = if peer.leaving { None } else { peer.end_one() };
        if peer.in_flight.is_empty() {
            peer.receiving = arriving == Arriving::NextRequest;
            peer.answered_early = arriving == Arriving::Body;
        }
        // Node sees to that by itself.
        peer.closing |= said_close;
        if answered == Some(Came::Before) && !said_close {
            self.leave_untold(socket);
        }
        let peer = peer_of(&mut self.open, socket);
        let (Some(id), Some(termination)) = (peer.id, &mut self.termination) else { return };
        peer.leaving |= said_close;
        match answered {
            Some(Came::Before) => termination.expected.requests.completed += 1,
            Some(Came::During) => termination.expected.requests.late += 1,
            None => {}
        }
        let finished = Finished { arriving, said_close, late: answered == Some(Came::During) };
        self.drain.handle_request_finished(id, finished, self.now);
        self.obey();
    }

    /// Its client has been answered, and does not know that it is to go.
    fn leave_untold(&mut self, socket: Socket) {
        let Some(termination) = self.termination.as_ref().filter(|termination| termination.parting.is_some()) else {
            return;
        };
        let (loaded, window) = (termination.was_loaded || self.is_loaded(self.now), termination.window_ends());
        let peer = peer_of(&mut self.open, socket);
        // The end of the answer counts as its last request.
        let gap = peer.rhythm.filter(|_| loaded).and_then(|rhythm| rhythm.gap);
        let rhythm = gap.map(|gap| peer.rhythm_ends(self.now, Some(gap)));
        let at_once = match (gap, peer.distance) {
            (None, Distance::Near) => self.now + ASKS_AGAIN_WITHIN,
            _ => self.now + SPEAKS_WITHIN + peer.round_trip(),
        };
        peer.untold_until = window.or(rhythm.max(Some(at_once)));
    }

    /// Over HTTP/2 a peer acknowledges what it has read, and what it has not read is not closed over.
    pub(super) fn read(&mut self, socket: Socket, unsent: u32) {
        let peer = peer_of(&mut self.open, socket);
        peer.unsent = if peer.session { 0 } else { unsent };
    }

    pub(super) fn abort(&mut self, socket: Socket) {
        let peer = peer_of(&mut self.open, socket);
        if !peer.session || peer.in_flight.is_empty() {
            return;
        }
        peer.end_one();
        if let Some(id) = peer.id {
            self.drain.handle_request_aborted(id);
            self.obey();
        }
    }

    pub(super) fn pong(&mut self, socket: Socket) {
        // It may come when nobody waits for it any more.
        let peer = peer_of(&mut self.open, socket);
        if let (Some(id), Some(_)) = (peer.id, peer.pinging_until) {
            // Late, but it has received everything.
            if peer.session_closing && !peer.ponged && !peer.was_busy && !peer.is_busy() {
                peer.lingers_until = Some(self.now + SESSION_CLOSES_WITHIN + peer.round_trip());
            }
            peer.ponged = true;
            self.drain.handle_ponged(id, self.now);
            self.obey();
        }
    }

    pub(super) fn hijack(&mut self, socket: Socket) {
        if self.peer(socket).session {
            return;
        }
        let id = self.termination.is_some().then(|| self.find(socket));
        let peer = peer_of(&mut self.open, socket);
        peer.unnoticed = false;
        peer.answered_early = false;
        peer.body_until = None;
        if let (true, Some(termination)) = (peer.leaving, &mut self.termination) {
            // A request for an upgrade is a request, too.
            peer.cut = true;
            termination.expected.requests.cut += 1;
        } else {
            peer.hijacked = true;
            peer.was_busy = true;
            peer.receiving = false;
        }
        if let Some(id) = id {
            self.drain.handle_hijacked(id);
            self.obey();
        }
    }

    pub(super) fn receive(&mut self, socket: Socket) {
        let peer = peer_of(&mut self.open, socket);
        // Nobody looks for half a request in a tunnel or behind FIN.
        if peer.hijacked || peer.session || peer.leaving {
            return;
        }
        peer.receiving = true;
        peer.was_busy = true;
        peer.shows_until = None;
        peer.answered_early = false;
        peer.body_until = None;
        if self.termination.is_some() {
            let id = self.find(socket);
            self.drain.handle_receiving(id);
            self.obey();
        }
    }

    pub(super) fn receive_unnoticed(&mut self, socket: Socket) {
        self.peer(socket).unnoticed = true;
    }

    pub(super) fn end_body(&mut self, socket: Socket, more: bool) {
        let peer = peer_of(&mut self.open, socket);
        if !std::mem::take(&mut peer.answered_early) || peer.leaving {
            return;
        }
        let awaited = peer.body_until.take().is_some();
        if more && self.termination.is_some() && !awaited {
            // Nobody has looked yet.
            peer.unnoticed = true;
        } else if more {
            peer.receiving = true;
            peer.was_busy = true;
        } else {
            self.leave_untold(socket);
        }
        if let (true, Some(id)) = (awaited, self.peer(socket).id) {
            self.drain.handle_body_ended(id, more, self.now);
            self.obey();
        }
    }

    pub(super) fn secure(&mut self, socket: Socket) {
        let peer = peer_of(&mut self.open, socket);
        let unused = peer.last.is_none() && !peer.hijacked && !peer.session && !peer.answered_early;
        let (true, false, Some(id), Some(_)) = (unused, peer.leaving, peer.id, &self.termination) else { return };
        // It was not idle, or it still is.
        peer.idle_at_parting &= !std::mem::take(&mut peer.receiving);
        peer.was_busy = false;
        peer.accepted = Some(self.now);
        self.drain.handle_secured(id, self.now);
        self.obey();
    }

    pub(super) fn nothing_more(&mut self, socket: Socket) {
        let peer = peer_of(&mut self.open, socket);
        if peer.hijacked || peer.session || peer.in_flight.is_empty() {
            return;
        }
        peer.receiving &= peer.leaving;
        if let Some(id) = peer.id {
            self.drain.handle_nothing_more(id);
            self.obey();
        }
    }

    pub(super) fn break_connection(&mut self, socket: Socket) {
        self.peer(socket).broken = true;
        self.close(socket);
    }

    pub(super) fn break_off(&mut self, socket: Socket) {
        let peer = peer_of(&mut self.open, socket);
        if !peer.session || peer.leaving || peer.end_one().is_none() {
            return;
        }
        if let (Some(id), Some(termination)) = (peer.id, &mut self.termination) {
            termination.expected.requests.cut += 1;
            self.drain.handle_request_broken_off(id);
            self.obey();
        }
    }

    pub(super) fn close(&mut self, socket: Socket) {
        let Some(mut peer) = self.open.remove(&socket) else { return };
        let (Some(id), Some(termination)) = (peer.id, &mut self.termination) else {
            // Nobody sees it.
            self.closed.push(peer);
            return;
        };
        // What was destroyed was counted then, and a peer that goes by itself wants no answers.
        if (peer.leaving || peer.broken) && !peer.destroyed {
            peer.cut |= !peer.in_flight.is_empty();
            termination.expected.requests.cut += count(&peer.in_flight);
        }
        match &mut termination.expected.connections {
            connections if peer.forced => connections.forced += 1,
            connections if peer.was_busy => connections.drained += 1,
            connections => connections.idle += 1,
        }
        let broken = peer.broken;
        self.closing = Some(peer);
        self.drain.handle_closed(id, !broken, self.now);
        self.obey();
        self.closed.extend(self.closing.take());
    }

    pub(super) fn socket_closes(&mut self, place: usize) {
        let closing = self.sockets(|peer| peer.closing);
        if let Some(place) = place.checked_rem(closing.len()) {
            self.close(closing[place]);
        }
    }

    pub(super) fn server_closes(&mut self) {
        if self.server_closing && self.open.is_empty() {
            self.server_closing = false;
            // It closes after its last connection, and so those that went unseen are known to have gone.
            self.notice_who_is_gone();
            self.server_closed();
        }
    }

    pub(super) fn server_closed(&mut self) {
        if let Some(termination) = &mut self.termination {
            termination.server_closed = true;
        }
        self.drain.handle_server_closed(self.now);
        self.obey();
    }

    pub(super) fn turn(&mut self) {
        // Otherwise it is a call that nobody waits for.
        let awaited = self.turns_taken < self.turns_asked;
        if awaited {
            self.turns_taken += 1;
        }
        if let Some(Termination { due_after: Some(turn), .. }) = self.termination
            && self.turns_taken > turn
        {
            self.expire();
        }
        if awaited && self.termination.as_ref().is_some_and(Termination::is_watching) {
            self.say_who_waits();
        }
        if let Some(termination) = &mut self.termination
            && awaited
        {
            // One that was asked for earlier may have begun earlier.
            let whole = termination.accepts_after.is_some_and(|turn| self.turns_taken > turn);
            let came = std::mem::take(&mut termination.somebody_came);
            termination.turns_without = if came { 0 } else { termination.turns_without + usize::from(whole) };
        }
        self.drain.handle_turned(self.now);
        self.obey();
    }

    pub(super) fn start_task(&mut self) {
        match &mut self.termination {
            Some(termination) if termination.expired => termination.expected.tasks.abandoned += 1,
            _ => self.tasks += 1,
        }
        self.drain.handle_task_started();
        self.obey();
    }

    pub(super) fn finish_task(&mut self, fulfilled: bool) {
        // There may be none: what was abandoned at the deadline may still end.
        if let Some(left) = self.tasks.checked_sub(1) {
            self.tasks = left;
            match &mut self.termination {
                Some(termination) if fulfilled => termination.expected.tasks.completed += 1,
                Some(termination) => termination.expected.tasks.rejected += 1,
                None => {}
            }
        }
        self.drain.handle_task_finished(fulfilled, self.now);
        self.obey();
    }

    pub(super) fn ring(&mut self) {
        self.look_at_the_clock();
        self.excuse_who_was_held_up();
        if let Some(termination) = &mut self.termination
            && termination.deadline.is_some_and(|deadline| deadline <= self.now)
        {
            termination.due_after.get_or_insert(self.turns_asked);
        }
        self.drain.handle_timeout(self.now);
        self.obey();
        // Otherwise it would ring again at once, and forever.
        assert!(self.drain.poll_timeout().is_none_or(|due| due > self.now), "What has rung is not due any more.");
    }

    pub(super) fn pass_until_ring(&mut self) {
        if let Some(due) = self.drain.poll_timeout() {
            self.now = self.now.max(due);
            self.ring();
        }
    }

    pub(super) fn terminate(&mut self, plan: Plan) {
        if self.termination.is_none() {
            self.begin(plan);
        } else {
            self.bring_forward(plan);
        }
        self.look_at_the_clock();
        self.drain.handle_terminate(plan, self.now);
        self.obey();
    }

    /// While serving the machine is told nothing, so now it is told where things stand.
    fn begin(&mut self, Plan { delay, timeout, keep_alive, observed }: Plan) {
        self.open.values_mut().for_each(|peer| peer.was_busy = peer.is_busy());
        for socket in self.sockets(Peer::is_under_way) {
            self.enter(socket);
            self.peer(socket).counted = true;
        }
        self.terminations += 1;
        self.termination = Some(Termination {
            began: self.now,
            delayed_until: Some(self.now + delay),
            timeout,
            keep_alive,
            observed,
            drains_after: None,
            accepts_after: None,
            endings: 0,
            reopened: false,
            accepts_until: None,
            accepts_excused: false,
            parting: None,
            was_loaded: false,
            deadline: None,
            due_after: None,
            expired: false,
            surveying: false,
            watching: false,
            watches: 0,
            holds: 0,
            holding: false,
            server_closes: 0,
            said_to_wait: None,
            said_to_come: 0,
            said_in_vain: false,
            came_since: false,
            turns_without: 0,
            somebody_came: false,
            server_closed: false,
            connections: count(self.sockets(|peer| peer.counted)),
            expected: Report::default(),
            told: Vec::new(),
        });
        self.observe();
        self.count_the_quiet();
    }

    fn bring_forward(&mut self, Plan { delay, timeout, .. }: Plan) {
        let accepts_until = self.accepts_until();
        let Some(termination) = &mut self.termination else { return };
        if termination.drains_after.is_none() {
            termination.delayed_until = earlier(termination.delayed_until, Some(self.now + delay));
            termination.timeout = earlier(termination.timeout, timeout);
        } else {
            if std::mem::take(&mut termination.reopened) {
                termination.endings += 1;
                termination.accepts_after = Some(self.turns_asked);
                termination.accepts_until = Some(accepts_until);
                termination.accepts_excused = false;
                termination.said_to_wait = None;
                termination.said_to_come = 0;
                termination.turns_without = 0;
                termination.server_closed = false;
                if termination.expired {
                    termination.deadline = None;
                    termination.due_after = None;
                }
            }
            let deadline = timeout.and_then(|timeout| (self.now + delay).checked_add(timeout));
            termination.deadline = earlier(termination.deadline, deadline);
            if (delay, timeout) == (Duration::ZERO, Some(Duration::ZERO)) {
                self.expire();
            }
        }
    }

    /// The machine is about to be told the time, and so learns that the delay is over, or the deadline due.
    fn look_at_the_clock(&mut self) {
        let accepts_until = self.accepts_until();
        let Some(termination) = &mut self.termination else { return };
        if termination.drains_after.is_none() && termination.delayed_until.is_some_and(|until| until <= self.now) {
            termination.drains_after = Some(self.turns_asked);
            termination.accepts_after = termination.drains_after;
            termination.endings = 1;
            termination.accepts_until = Some(accepts_until);
            termination.deadline = termination.timeout.and_then(|timeout| self.now.checked_add(timeout));
            if termination.timeout == Some(Duration::ZERO) {
                self.expire();
            }
        }
    }

    /// Of those who are waited for, and whose time turns out to be over.
    fn excuse_who_was_held_up(&mut self) {
        let (now, rang_at) = (self.now, self.rang_at.replace(self.now));
        self.held_up |= self.drain.poll_timeout().is_some_and(|due| is_held_up(due, now));
        let Some(termination) = &self.termination else { return };
        let turns_out = |over: &Instant| Some(*over) > rang_at && *over <= now;
        for peer in self.open.values_mut().filter(|peer| peer.id.is_some()) {
            if let Some(over) = termination.expects_until(peer).filter(turns_out)
                && peer.is_idle()
            {
                peer.excuse(over, now);
            }
            // It has that once, whatever it is waited for.
            let others = [peer.body_until, peer.lingers_until, peer.pinging_until];
            peer.excused |= others.into_iter().flatten().filter(turns_out).any(|over| is_held_up(over, now));
        }
    }

    fn expire(&mut self) {
        let Some(termination) = &mut self.termination else { return };
        termination.expired = true;
        // Nor is that waited for.
        termination.server_closed = true;
        termination.expected.tasks.abandoned += std::mem::take(&mut self.tasks);
    }

    pub(super) fn listen(&mut self) {
        let closed = self.termination.as_mut().is_none_or(|termination| {
            // What closes next is not what the termination has closed.
            termination.reopened |= termination.has_closed();
            termination.server_closed |= termination.reopened;
            termination.reopened
        });
        // Otherwise it is an event that nobody waits for.
        if closed {
            self.listening = true;
            self.held = false;
            self.server_closing = false;
        }
        if self.termination.is_none() {
            self.came_from = None;
        }
        self.drain.handle_listening(self.now);
        self.obey();
    }
}
