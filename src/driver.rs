//! The edge of the machine: owns it, reads the clock, and keeps one alarm set for its next deadline.

#![forbid(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::alarm::{Alarm, AlarmClock};
use crate::clock::now;
use crate::drain::{Action, ConnectionId, Distance, Drain, Finished, Phase, Plan, Report, Rhythm, Stats, Transport};
use crate::kernel::{self, Listener};
use crate::watch::Watch;

/// Called on the alarm's thread when [`Driver::timed_out`] is due; must only pass that on.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Drives one [`Drain`] in real time.
///
/// Each method that takes an event is that event of the machine; take the actions with
/// [`Driver::take_actions`] afterwards.
#[derive(Default)]
pub struct Driver {
    drain: Drain,
    /// Present while a termination runs, and no longer: it keeps Node's event loop alive.
    waker: Option<Waker>,
    alarm: Option<Alarm>,
    /// Held from when the listener is to close until it has closed.
    listener: Option<Listener>,
    /// Present once somebody else wants to know how far the server has come.
    watch: Option<Arc<Watch>>,
}

/// What it takes to be called back from beyond the event loop.
struct Waker {
    clock: AlarmClock,
    wake: Wake,
}

impl Driver {
    /// Where the server is in its course.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.drain.phase()
    }

    /// How the last termination went.
    #[must_use]
    pub fn report(&self) -> &Report {
        self.drain.report()
    }

    /// Where other threads can see how far the server has come, from now on.
    pub fn watch(&mut self) -> Arc<Watch> {
        let watch = Arc::clone(self.watch.get_or_insert_default());
        self.update_watch();
        watch
    }

    fn update_watch(&self) {
        if let Some(watch) = &self.watch {
            watch.note(self.drain.phase(), self.drain.began(), self.drain.report());
        }
    }

    /// What is open.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.drain.stats()
    }

    /// Whether requests are to be expected on connections that have had one, during a termination.
    #[must_use]
    pub fn expects_requests(&self) -> bool {
        self.drain.expects_requests(now())
    }

    /// A client has come: there is a descriptor of its connection if it is on another machine.
    pub fn came_from(&mut self, far: Option<i32>) {
        self.drain.handle_came_from(distance(far));
    }

    /// The server has accepted a connection, during a termination. This is its descriptor if its peer is on another machine.
    pub fn opened(&mut self, transport: Transport, far: Option<i32>) -> ConnectionId {
        self.drain.handle_opened(transport, distance(far), now())
    }

    /// A connection that was open before has become known, and how long ago its last request came, if one has,
    /// and its gap, if there were several. There is a descriptor if its peer is on another machine.
    pub fn found(
        &mut self,
        transport: Transport,
        far: Option<i32>,
        age: Option<Duration>,
        gap: Option<Duration>,
    ) -> ConnectionId {
        let used = age.is_some();
        let rhythm = age.and_then(|age| Some(Rhythm { last: now().checked_sub(age)?, gap }));
        self.drain.handle_found(transport, distance(far), used, rhythm)
    }

    /// So many connections are quiet.
    pub fn quiet(&mut self, quiet: u32) {
        self.drain.handle_quiet(quiet, now());
    }

    /// So many quiet connections were closed, and these are left.
    pub fn quiet_closed(&mut self, closed: u32, quiet: u32) {
        self.drain.handle_quiet_closed(closed, quiet, now());
    }

    /// Quiet connections have been looked at; `all` says that there are no more of them.
    pub fn surveyed(&mut self, all: bool) {
        self.drain.handle_surveyed(all, now());
    }

    /// The connection is gone; `by_peer` says that it was not closed here.
    pub fn closed(&mut self, id: ConnectionId, by_peer: bool) {
        self.drain.handle_closed(id, by_peer, now());
    }

    /// A request's head is complete; `more` says that another one follows it already.
    pub fn request_started(&mut self, id: ConnectionId, more: bool) {
        self.drain.handle_request_started(id, more);
    }

    /// An answer has ended.
    pub fn request_finished(&mut self, id: ConnectionId, finished: Finished) {
        self.drain.handle_request_finished(id, finished, now());
    }

    /// The client has taken back a request.
    pub fn request_aborted(&mut self, id: ConnectionId) {
        self.drain.handle_request_aborted(id);
    }

    /// An answer over HTTP/2 was broken off here.
    pub fn request_broken_off(&mut self, id: ConnectionId) {
        self.drain.handle_request_broken_off(id);
    }

    /// HTTP/2 is spoken on this connection.
    pub fn multiplexed(&mut self, id: ConnectionId) {
        self.drain.handle_multiplexed(id, now());
    }

    /// A PING was acknowledged.
    pub fn ponged(&mut self, id: ConnectionId) {
        self.drain.handle_ponged(id, now());
    }

    /// No further request follows after all.
    pub fn nothing_more(&mut self, id: ConnectionId) {
        self.drain.handle_nothing_more(id);
    }

    /// The connection was upgraded or became a tunnel.
    pub fn hijacked(&mut self, id: ConnectionId) {
        self.drain.handle_hijacked(id);
    }

    /// Part of a request or of a handshake has come.
    pub fn receiving(&mut self, id: ConnectionId) {
        self.drain.handle_receiving(id);
    }

    /// What has come may be no request.
    pub fn stirred(&mut self, id: ConnectionId) {
        self.drain.handle_stirred(id, now());
    }

    /// Looks how much of what was sent to its peer is yet to leave. `descriptor` is that of the connection.
    pub fn look_unsent(&mut self, id: ConnectionId, descriptor: i32) {
        // Where that can't be known, it is taken to have left.
        self.drain.handle_unsent(id, kernel::unsent(descriptor).unwrap_or_default(), now());
    }

    /// The handshake has ended.
    pub fn secured(&mut self, id: ConnectionId) {
        self.drain.handle_secured(id, now());
    }

    /// The body of a request answered earlier is still coming in.
    pub fn answered_early(&mut self, id: ConnectionId) {
        self.drain.handle_answered_early(id, now());
    }

    /// That body has ended; `more` says that a further request is arriving behind it.
    pub fn body_ended(&mut self, id: ConnectionId, more: bool) {
        self.drain.handle_body_ended(id, more, now());
    }

    /// A background task has begun.
    pub fn task_started(&mut self) {
        self.drain.handle_task_started();
    }

    /// A background task has ended.
    pub fn task_finished(&mut self, fulfilled: bool) {
        self.drain.handle_task_finished(fulfilled, now());
    }

    /// Gets what keeps the deadline of a termination that is about to begin. `wake` is kept until that resolves.
    ///
    /// # Errors
    ///
    /// When no thread can be had for it.
    pub fn arm(&mut self, wake: Wake) -> io::Result<()> {
        self.waker = Some(Waker { clock: AlarmClock::start()?, wake });
        Ok(())
    }

    /// End the server, or do so earlier. Before the first time, [`Driver::arm`] it.
    pub fn terminate(&mut self, plan: Plan) {
        self.drain.handle_terminate(plan, now());
    }

    /// From now on, looks before every turn how many connections wait to be accepted by the listener with
    /// this descriptor, which is bound to `local`. Unless its clients come from this machine, that includes those whose handshake is
    /// under way: to look for them may take a millisecond or more.
    ///
    /// # Errors
    ///
    /// When that can't be known. The termination goes on without it.
    pub fn watch_listener(&mut self, descriptor: i32, local: SocketAddr) -> io::Result<()> {
        if local.ip().is_loopback() {
            self.drain.handle_came_from(Distance::Near);
        }
        let watched = Listener::watch(descriptor, local).map(|listener| self.listener = Some(listener));
        self.look_at_accept_queue();
        watched
    }

    /// Holds new connections back from that listener.
    ///
    /// # Errors
    ///
    /// When that can't be, or must not be because others share the listener. It is still watched then.
    pub fn hold_listener(&mut self, descriptor: i32, local: SocketAddr) -> io::Result<()> {
        // The hold looks at who shares the socket, and our own watch would be one.
        self.listener = None;
        let (listener, held) = match Listener::hold(descriptor, local) {
            Ok(listener) => (Some(listener), Ok(())),
            Err(error) => (Listener::watch(descriptor, local).ok(), Err(error)),
        };
        self.listener = listener;
        if held.is_ok() {
            self.drain.handle_listener_held();
        }
        self.look_at_accept_queue();
        held
    }

    fn look_at_accept_queue(&mut self) {
        let near = self.drain.clients_come_from() == Some(Distance::Near);
        let (waiting, handshakes) = self.listener.as_ref().map_or((None, 0), |listener| who_comes(listener, near));
        self.drain.handle_accept_queue(waiting, handshakes, now());
    }

    /// So many connections wait to be accepted, or nobody knows.
    pub fn accept_queue(&mut self, waiting: Option<u32>) {
        self.drain.handle_accept_queue(waiting, 0, now());
    }

    /// The listener has closed.
    pub fn listener_closed(&mut self) {
        if let Some(listener) = self.listener.take() {
            listener.close();
        }
    }

    /// The event loop has polled for input once.
    pub fn turned(&mut self) {
        if self.listener.is_some() {
            self.look_at_accept_queue();
        }
        self.drain.handle_turned(now());
    }

    /// The alarm has rung.
    pub fn timed_out(&mut self) {
        self.alarm = None;
        self.drain.handle_timeout(now());
    }

    /// The server has closed.
    pub fn server_closed(&mut self) {
        self.drain.handle_server_closed(now());
    }

    /// The server listens again.
    pub fn listening(&mut self) {
        self.drain.handle_listening(now());
    }

    /// All that is to be done now, in order; sets the alarm for what is to be done later.
    pub fn take_actions(&mut self) -> Vec<Action> {
        let actions: Vec<_> = std::iter::from_fn(|| self.drain.poll_action()).collect();
        let due = self.drain.poll_timeout();
        if due != self.alarm.as_ref().map(Alarm::due) {
            self.alarm = due.zip(self.waker.as_ref()).map(|(due, Waker { clock, wake })| {
                // Not a hold of its own, which would be let go of on the alarm's thread, some time after the last turn.
                let wake = Arc::downgrade(wake);
                clock.set(due, move || {
                    if let Some(wake) = wake.upgrade() {
                        wake();
                    }
                })
            });
        }
        if actions.contains(&Action::Resolve) {
            self.waker = None;
            self.listener = None;
        }
        self.update_watch();
        actions
    }
}

/// How far away the peer of a connection is, of which there is a descriptor if it is on another machine.
fn distance(far: Option<i32>) -> Distance {
    // Where that can't be measured, it is unknown, which is written as none.
    let round_trip = |descriptor| kernel::round_trip(descriptor).unwrap_or_default();
    far.map_or(Distance::Near, |descriptor| Distance::Far { round_trip: round_trip(descriptor) })
}

/// How many wait to be accepted, and if nobody does, how many handshakes are under way that take time.
fn who_comes(listener: &Listener, near: bool) -> (Option<u32>, u32) {
    let waiting = || listener.waiting().ok();
    match waiting() {
        Some(0) if !near => {
            // Where that can't be known, it is as if there were none.
            let handshakes = listener.handshakes().unwrap_or(0);
            // Those that have ended meanwhile were in neither of the two.
            (waiting(), handshakes)
        }
        some => (some, 0),
    }
}

/// Against real sockets: a client that hears nothing has a handshake under way on the loopback interface, too.
#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::env;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use socket2::{Domain, SockFilter, Socket, Type};

    use super::*;
    use crate::drain::KeepAlive;

    const PLAN: Plan = Plan { delay: Duration::ZERO, timeout: None, keep_alive: KeepAlive::Auto, observed: false };

    /// Listens everywhere; and where its clients find it.
    fn listen() -> (TcpListener, SocketAddr) {
        let server = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let there = (Ipv4Addr::LOCALHOST, server.local_addr().unwrap().port()).into();
        (server, there)
    }

    fn terminate(server: &TcpListener, client: Option<Distance>) -> (Driver, Vec<Action>) {
        let mut driver = Driver::default();
        driver.terminate(PLAN);
        if let Some(distance) = client {
            driver.drain.handle_came_from(distance);
        }
        driver.watch_listener(server.as_raw_fd(), server.local_addr().unwrap()).unwrap();
        let actions = driver.take_actions();
        (driver, actions)
    }

    #[test]
    fn a_listener_that_nobody_connects_to_closes_at_once() {
        let (_driver, actions) = terminate(&listen().0, None);
        assert!(actions.contains(&Action::CloseServer));
    }

    #[test]
    fn it_holds_back_those_who_are_about_to_if_they_come_from_other_machines() {
        let (server, _) = listen();
        let (mut driver, actions) = terminate(&server, Some(Distance::Far { round_trip: Duration::ZERO }));
        assert!(actions.contains(&Action::HoldListener) && !actions.contains(&Action::CloseServer));
        // Whether that is allowed or not.
        let _ = driver.hold_listener(server.as_raw_fd(), server.local_addr().unwrap());
        assert!(driver.take_actions().contains(&Action::CloseServer));
    }

    #[test]
    fn it_does_not_before_somebody_was_accepted_who_waits() {
        let (server, there) = listen();
        let _client = TcpStream::connect(there).unwrap();
        let (mut driver, actions) = terminate(&server, Some(Distance::Near));
        assert!(actions.contains(&Action::HoldListener) && !actions.contains(&Action::CloseServer));
        driver.turned();
        assert!(!driver.take_actions().contains(&Action::CloseServer));
        server.accept().unwrap();
        driver.turned();
        assert!(driver.take_actions().contains(&Action::CloseServer));
    }

    #[test]
    fn nor_while_a_handshake_is_under_way() {
        let (server, there) = listen();
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        client.set_nonblocking(true).unwrap();
        // Hears nothing, so it never sends its last ACK. Recent kernels permit that with CAP_NET_ADMIN only.
        const NOTHING: SockFilter = SockFilter::new(0x06, 0, 0, 0);
        if client.attach_filter(&[NOTHING]).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
            assert!(env::var_os("REQUIRE_PRIVILEGES").is_none(), "this needs CAP_NET_ADMIN");
            eprintln!("skipped: this needs CAP_NET_ADMIN");
            return;
        }
        client.connect(&there.into()).unwrap_err();
        let watched = Listener::watch(server.as_raw_fd(), server.local_addr().unwrap()).unwrap();
        // Its SYN is on its way for a moment.
        while watched.handshakes().unwrap() == 0 {}
        let (_driver, actions) = terminate(&server, None);
        assert!(actions.contains(&Action::HoldListener) && !actions.contains(&Action::CloseServer));
        let (_driver, actions) = terminate(&server, Some(Distance::Near));
        assert!(actions.contains(&Action::CloseServer), "nobody looks for what takes no time");
    }
}
