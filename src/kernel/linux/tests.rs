//! Real sockets on the loopback interface. What has happened in the kernel is looked up there, never waited out.

#![expect(clippy::disallowed_methods, reason = "a limit for what never happens")]

use std::env;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::Domain;

use super::*;

/// While one test starts a process, that has every socket of this process open for a moment: until its `exec`.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same for a test that attaches filters. Recent kernels allow that on TCP sockets only with CAP_NET_ADMIN.
fn one_at_a_time_with_filters() -> Option<MutexGuard<'static, ()>> {
    let turn = one_at_a_time();
    match Socket::new(Domain::IPV4, Type::STREAM, None).unwrap().attach_filter(&NO_SYN) {
        Ok(()) => Some(turn),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            assert!(env::var_os("REQUIRE_PRIVILEGES").is_none(), "this needs CAP_NET_ADMIN");
            eprintln!("skipped: this needs CAP_NET_ADMIN");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// How long to wait for what should come at once, or when a packet is repeated.
const LIMIT: Duration = Duration::from_secs(20);

fn within_limit(socket: &impl AsFd, events: PollFlags) -> bool {
    let limit = Timespec::try_from(LIMIT).unwrap();
    poll(&mut [PollFd::new(socket, events)], Some(&limit)).unwrap() == 1
}

fn until(what: &str, happened: impl Fn() -> bool) {
    let limit = Instant::now() + LIMIT;
    while !happened() {
        assert!(Instant::now() < limit, "never: {what}");
        std::thread::yield_now();
    }
}

fn loopbacks() -> [SocketAddr; 2] {
    [(Ipv4Addr::LOCALHOST, 0).into(), (Ipv6Addr::LOCALHOST, 0).into()]
}

fn listen() -> TcpListener {
    TcpListener::bind(loopbacks()[0]).unwrap()
}

fn hold(listener: &TcpListener) -> io::Result<Listener> {
    Listener::hold(listener.as_raw_fd(), listener.local_addr().unwrap())
}

/// A hold as it is where interfaces can't be left.
fn filter(listener: &TcpListener) -> io::Result<Listener> {
    let mut listener = Listener::unshared(listener.as_raw_fd(), listener.local_addr().unwrap())?;
    listener.filter_out_syns()?;
    Ok(listener)
}

/// Either hold, by itself and as it is where interfaces can't be left. That the first is not undone shows only where it could be,
/// with CAP_NET_RAW, as root has it.
const HOLDS: [fn(&TcpListener) -> io::Result<Listener>; 2] = [hold, filter];

/// Has sent a SYN when it returns, and waits for nothing.
fn connect(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_nonblocking(true).unwrap();
    let begun = socket.connect(&address.into()).unwrap_err();
    assert_eq!(begun.raw_os_error(), Some(libc::EINPROGRESS));
    socket
}

/// Waits until the connection is made or refused.
fn connected(socket: Socket) -> io::Result<TcpStream> {
    assert!(within_limit(&socket, PollFlags::OUT), "still connecting");
    match socket.take_error()? {
        Some(error) => Err(error),
        None => {
            socket.set_nonblocking(false)?;
            Ok(socket.into())
        }
    }
}

fn is_connecting(socket: &Socket) -> bool {
    const SYN_SENT: u8 = 2;
    let info: [u32; 1] = tcp_info(socket.as_fd()).unwrap();
    info[0].to_ne_bytes()[0] == SYN_SENT
}

/// How many segments the socket has refused, by its filter or for another reason.
fn refused(socket: impl AsFd) -> u32 {
    const MEMINFO: libc::c_int = 55;
    let mut info = [0; 9];
    let socket = Socket::from(socket.as_fd().try_clone_to_owned().unwrap());
    socket_option(socket.as_fd(), libc::SOL_SOCKET, MEMINFO, &mut info).unwrap();
    info[8]
}

fn filtered(socket: impl AsFd) -> bool {
    has_filter(&Socket::from(socket.as_fd().try_clone_to_owned().unwrap())).unwrap()
}

/// What keeps new connections out of the socket.
fn gate(socket: impl AsFd) -> Option<Gate> {
    let bound_to = interface(&Socket::from(socket.as_fd().try_clone_to_owned().unwrap())).unwrap();
    match (bound_to, filtered(socket)) {
        (ANY_INTERFACE, false) => None,
        (NO_INTERFACE, false) => Some(Gate::NoInterface),
        (ANY_INTERFACE, true) => Some(Gate::Filter),
        (bound_to, filtered) => panic!("bound to {bound_to}, and filtered: {filtered}"),
    }
}

fn accept(server: &TcpListener) -> TcpStream {
    assert!(within_limit(server, PollFlags::IN), "nobody to accept");
    server.accept().unwrap().0
}

/// A request there and an answer back.
fn converse(mut client: &TcpStream, mut server: &TcpStream) {
    client.set_read_timeout(Some(LIMIT)).unwrap();
    server.set_read_timeout(Some(LIMIT)).unwrap();
    let mut received = [0; 3];
    client.write_all(b"GET").unwrap();
    server.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"GET");
    server.write_all(b"200").unwrap();
    client.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"200");
}

#[test]
fn counts_what_waits_to_be_accepted() {
    let Some(_turn) = one_at_a_time_with_filters() else { return };
    for address in loopbacks() {
        let server = TcpListener::bind(address).unwrap();
        let clients: Vec<_> = (0..5).map(|_| TcpStream::connect(server.local_addr().unwrap()).unwrap()).collect();
        let held = hold(&server).unwrap();
        until("five wait", || held.waiting().unwrap() == 5);
        for left in (0..5).rev() {
            accept(&server);
            assert_eq!(held.waiting().unwrap(), left);
        }
        drop(clients);
    }
}

#[test]
fn watching_counts_too_and_keeps_nobody_out() {
    let _turn = one_at_a_time();
    for address in loopbacks() {
        let server = TcpListener::bind(address).unwrap();
        let local = server.local_addr().unwrap();
        let _process = Process::start("cat", &[], &server);
        let watched = Listener::watch(server.as_raw_fd(), local).unwrap();
        assert_eq!(gate(&server), None);
        let clients: Vec<_> = (0..5).map(|_| TcpStream::connect(local).unwrap()).collect();
        until("five wait", || watched.waiting().unwrap() == 5);
        for (left, client) in (0..5).rev().zip(&clients) {
            converse(client, &accept(&server));
            assert_eq!(watched.waiting().unwrap(), left);
        }
        drop(watched);
        Listener::watch(server.as_raw_fd(), local).unwrap().close();
        goes_on_accepting(&server);
    }
}

#[test]
fn watching_leaves_a_filter_of_somebody_else_alone() {
    let Some(_turn) = one_at_a_time_with_filters() else { return };
    let server = listen();
    let held = filter(&server).unwrap();
    let local = server.local_addr().unwrap();
    Listener::watch(server.as_raw_fd(), local).unwrap().close();
    drop(Listener::watch(server.as_raw_fd(), local).unwrap());
    assert!(filtered(&server));
    drop(held);
}

#[test]
fn a_filter_lets_nothing_new_in_and_loses_nothing_that_is_in() {
    let Some(_turn) = one_at_a_time_with_filters() else { return };
    for address in loopbacks() {
        let server = TcpListener::bind(address).unwrap();
        let local = server.local_addr().unwrap();
        let established = TcpStream::connect(local).unwrap();
        let serving = accept(&server);
        let queued = TcpStream::connect(local).unwrap();

        let held = filter(&server).unwrap();
        until("one waits", || held.waiting().unwrap() == 1);
        let before = refused(&server);
        let late = connect(local);
        until("the SYN has come", || refused(&server) > before);
        assert!(is_connecting(&late));
        assert_eq!(held.waiting().unwrap(), 1);

        let accepted = accept(&server);
        converse(&established, &serving);
        converse(&queued, &accepted);
        assert_eq!(held.waiting().unwrap(), 0);

        drop(held);
        assert!(!filtered(&server));
        // One that comes now is in at once, the other when its SYN is repeated.
        let new = TcpStream::connect(local).unwrap();
        converse(&new, &accept(&server));
        converse(&connected(late).unwrap(), &accept(&server));
        // They have stayed usable.
        converse(&established, &serving);
        converse(&queued, &accepted);
    }
}

/// Connects and hears no answer to its SYN, until its filter goes: so the last ACK is missing until the answer is repeated,
/// a second later.
fn connect_deaf(address: SocketAddr) -> Socket {
    let client = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    client.set_nonblocking(true).unwrap();
    client.attach_filter(&NO_SYN).unwrap();
    client.connect(&address.into()).unwrap_err();
    until("the answer has come", || refused(&client) > 0);
    client
}

#[test]
fn a_handshake_under_way_completes() {
    let Some(_turn) = one_at_a_time_with_filters() else { return };
    for (address, hold) in loopbacks().into_iter().flat_map(|address| HOLDS.map(|hold| (address, hold))) {
        let server = TcpListener::bind(address).unwrap();
        let client = connect_deaf(server.local_addr().unwrap());
        let held = hold(&server).unwrap();
        assert_eq!((held.handshakes().unwrap(), held.waiting().unwrap()), (1, 0));
        client.detach_filter().unwrap();
        let client = connected(client).unwrap();
        until("it waits", || held.waiting().unwrap() == 1);
        assert_eq!(held.handshakes().unwrap(), 0);
        converse(&client, &accept(&server));
    }
}

#[test]
fn handshakes_are_counted_with_one_listener_and_until_the_answer_was_repeated() {
    let Some(_turn) = one_at_a_time_with_filters() else { return };
    let everywhere = (Ipv6Addr::UNSPECIFIED, 0).into();
    for (address, host) in
        [(loopbacks()[0], loopbacks()[0]), (loopbacks()[1], loopbacks()[1]), (everywhere, loopbacks()[0])]
    {
        let server = TcpListener::bind(address).unwrap();
        let local = server.local_addr().unwrap();
        let watched = Listener::watch(server.as_raw_fd(), local).unwrap();
        // On the same port, where that can be.
        let elsewhere =
            if address == loopbacks()[0] { (Ipv4Addr::new(127, 0, 0, 2), local.port()).into() } else { address };
        let other = TcpListener::bind(elsewhere).unwrap();
        let other = Listener::watch(other.as_raw_fd(), other.local_addr().unwrap()).unwrap();
        let count = || (watched.handshakes().unwrap(), other.handshakes().unwrap());
        assert_eq!(count(), (0, 0));
        let there = SocketAddr::new(host.ip(), local.port());
        let client = connect_deaf(there);
        assert_eq!(count(), (1, 0));
        // More than the kernel's first answer has room for.
        let clients: Vec<_> = (0..99).map(|_| connect_deaf(there)).collect();
        assert_eq!(count(), (100, 0));
        until("the answer was repeated to all", || clients.iter().chain([&client]).all(|client| refused(client) > 1));
        until("nobody is waited for", || count() == (0, 0));
    }
}

#[test]
fn connections_inherit_the_filter_for_good() {
    let Some(_turn) = one_at_a_time_with_filters() else { return };
    let server = listen();
    let before = TcpStream::connect(server.local_addr().unwrap()).unwrap();
    let serving_before = accept(&server);
    let client = connect_deaf(server.local_addr().unwrap());
    let held = filter(&server).unwrap();
    client.detach_filter().unwrap();
    let client = connected(client).unwrap();
    let serving = accept(&server);
    drop(held);
    assert!(!filtered(&serving_before));
    assert!(filtered(&serving));
    converse(&client, &serving);
    converse(&before, &serving_before);
}

#[test]
fn the_new_are_refused_and_the_queue_is_served() {
    let _turn = one_at_a_time();
    for address in loopbacks() {
        let server = TcpListener::bind(address).unwrap();
        let address = server.local_addr().unwrap();
        let established = TcpStream::connect(address).unwrap();
        let accepted = accept(&server);
        let queued = TcpStream::connect(address).unwrap();
        let held = hold(&server).unwrap();
        assert_eq!(connected(connect(address)).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(held.waiting().unwrap(), 1);
        converse(&established, &accepted);
        converse(&queued, &accept(&server));
        drop(server);
        held.close();
        assert_eq!(connected(connect(address)).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        converse(&established, &accepted);
    }
}

#[test]
fn a_listener_for_both_families_is_held_for_both() {
    let _turn = one_at_a_time();
    let server = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
    let port = server.local_addr().unwrap().port();
    let _held = hold(&server).unwrap();
    for host in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        let error = connected(connect_refused((host, port).into())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}

#[test]
fn those_that_share_an_address_are_held_by_a_filter() {
    let Some(_turn) = one_at_a_time_with_filters() else { return };
    let listen_beside = |address: SocketAddr| {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.set_reuse_port(true).unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(64).unwrap();
        TcpListener::from(socket)
    };
    let one = listen_beside(loopbacks()[0]);
    let other = listen_beside(one.local_addr().unwrap());
    let held = hold(&one).unwrap();
    assert_eq!(gate(&one), Some(Gate::Filter));
    // Some of these go to the one that is held, which does not take them in.
    let clients: Vec<_> = (0..20).map(|_| connect(one.local_addr().unwrap())).collect();
    let connecting = || clients.iter().filter(|client| is_connecting(client)).count() as u32;
    until("the others are in", || connecting() <= refused(&one));
    assert_eq!(held.waiting().unwrap(), 0);
    drop((held, other));
}

#[test]
fn letting_in_again_takes_a_privilege() {
    let _turn = one_at_a_time();
    let server = listen();
    drop(hold(&server).unwrap());
    match gate(&server) {
        None => goes_on_accepting(&server),
        // Where it is lacking, what is left shut is at least known to be.
        Some(_) => drop(connected(connect(server.local_addr().unwrap())).unwrap_err()),
    }
}

#[test]
fn an_interface_that_somebody_else_chose_is_left_alone() {
    let _turn = one_at_a_time();
    let server = listen();
    let other = Socket::from(server.as_fd().try_clone_to_owned().unwrap());
    bind_to_interface(&other, 1).unwrap();
    let mut listener = Listener::watch(server.as_raw_fd(), server.local_addr().unwrap()).unwrap();
    assert_eq!(listener.leave_all_interfaces().unwrap_err().kind(), io::ErrorKind::ResourceBusy);
    drop(listener);
    assert_eq!(interface(&other).unwrap(), 1);
}

#[test]
fn where_somebody_else_chose_an_interface_it_is_held_by_a_filter() {
    let Some(_turn) = one_at_a_time_with_filters() else { return };
    let server = listen();
    let other = Socket::from(server.as_fd().try_clone_to_owned().unwrap());
    bind_to_interface(&other, 1).unwrap();
    let local = server.local_addr().unwrap();
    drop(server);
    let held = Listener::hold(other.as_raw_fd(), local).unwrap();
    assert_eq!((interface(&other).unwrap(), filtered(&other)), (1, true));
    drop(held);
    assert_eq!((interface(&other).unwrap(), filtered(&other)), (1, false));
}

#[test]
fn where_somebody_else_chose_both_it_is_not_held_and_says_why() {
    let Some(_turn) = one_at_a_time_with_filters() else { return };
    let owner = Socket::from(OwnedFd::from(listen()));
    bind_to_interface(&owner, 1).unwrap();
    owner.attach_filter(&NO_SYN).unwrap();
    let local = owner.local_addr().unwrap().as_socket().unwrap();
    let error = Listener::hold(owner.as_raw_fd(), local).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (
            io::ErrorKind::ResourceBusy,
            "the listening socket is bound to an interface; the listening socket has a filter already"
        )
    );
    assert_eq!((interface(&owner).unwrap(), filtered(&owner)), (1, true));
}

#[test]
fn dropping_a_filter_lets_in_again() {
    let Some(_turn) = one_at_a_time_with_filters() else { return };
    let server = listen();
    let held = filter(&server).unwrap();
    assert!(filtered(&server));
    drop(held);
    assert!(!filtered(&server));
    let client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
    converse(&client, &accept(&server));
}

#[test]
fn closing_leaves_it_shut_as_long_as_anybody_has_it_open() {
    let Some(_turn) = one_at_a_time_with_filters() else { return };
    for (address, hold) in loopbacks().into_iter().flat_map(|address| HOLDS.map(|hold| (address, hold))) {
        let server = TcpListener::bind(address).unwrap();
        let held = hold(&server).unwrap();
        let observer = held.socket.try_clone().unwrap();
        let shut_by = gate(&server);
        drop(server);
        held.close();
        assert!(shut_by.is_some());
        assert_eq!(gate(&observer), shut_by);
    }
}

#[test]
fn closing_with_a_filter_lets_nobody_in_before_the_socket_is_gone() {
    let Some(_turn) = one_at_a_time_with_filters() else { return };
    for address in loopbacks() {
        let server = TcpListener::bind(address).unwrap();
        let local = server.local_addr().unwrap();
        let held = filter(&server).unwrap();
        let observer = held.socket.try_clone().unwrap();
        drop(server);
        let late = connect(local);
        until("the SYN has come", || refused(&observer) > 0);
        held.close();
        // Our observer still has the socket open, so that it can be asked: the gate has stayed shut.
        assert!(filtered(&observer));
        assert!(is_connecting(&late));
        drop(observer);
        assert_eq!(connected(connect_refused(local)).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(connected(late).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}

/// Like [`connect`], where nobody listens any more.
fn connect_refused(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.connect(&address.into()).unwrap_err();
    socket
}

#[test]
fn closing_while_the_server_still_listens_only_takes_the_filter_off() {
    let Some(_turn) = one_at_a_time_with_filters() else { return };
    let server = listen();
    filter(&server).unwrap().close();
    assert!(!filtered(&server));
    let client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
    converse(&client, &accept(&server));
}

#[test]
fn refuses_what_is_no_such_listener() {
    let _turn = one_at_a_time();
    let server = listen();
    let local = server.local_addr().unwrap();
    let client = TcpStream::connect(local).unwrap();
    let serving = accept(&server);
    let (pipe, _writer) = io::pipe().unwrap();
    let udp = UdpSocket::bind(local).unwrap();
    let path = std::env::temp_dir().join(format!("http-terminator-{}.sock", std::process::id()));
    let unix = UnixListener::bind(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let unbound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let file = File::open("/dev/null").unwrap();
    let others: [&dyn AsRawFd; 7] = [&client, &serving, &pipe, &udp, &unix, &unbound, &file];
    for other in others {
        let error = Listener::hold(other.as_raw_fd(), local).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
    }
    for other in [client.as_fd(), serving.as_fd(), udp.as_fd(), unix.as_fd(), unbound.as_fd()] {
        assert_eq!(gate(other), None);
    }
    converse(&client, &serving);
}

#[test]
fn refuses_a_listener_with_another_address() {
    let _turn = one_at_a_time();
    let (server, other) = (listen(), listen());
    let local = server.local_addr().unwrap();
    for address in
        [other.local_addr().unwrap(), (Ipv6Addr::LOCALHOST, local.port()).into(), ([0; 4], local.port()).into()]
    {
        let error = Listener::hold(server.as_raw_fd(), address).unwrap_err();
        assert_eq!(error.to_string(), format!("not a TCP socket that listens on {address}"));
    }
    assert_eq!(gate(&server), None);
}

#[test]
fn a_filter_holds_a_listener_for_both_families() {
    let Some(_turn) = one_at_a_time_with_filters() else { return };
    let server = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
    let held = filter(&server).unwrap();
    let port = server.local_addr().unwrap().port();
    let late = [connect((Ipv4Addr::LOCALHOST, port).into()), connect((Ipv6Addr::LOCALHOST, port).into())];
    until("both SYNs have come", || refused(&server) >= 2);
    assert!(late.iter().all(is_connecting));
    assert_eq!(held.waiting().unwrap(), 0);
}

#[test]
fn refuses_a_number_that_names_nothing() {
    let _turn = one_at_a_time();
    let server = listen();
    let local = server.local_addr().unwrap();
    // Beyond the numbers that other tests get meanwhile.
    let closed = rustix::io::fcntl_dupfd_cloexec(&server, 900).unwrap().as_raw_fd();
    for descriptor in [closed, -1, i32::MIN, i32::MAX] {
        let error = Listener::hold(descriptor, local).unwrap_err();
        assert!(error.to_string().starts_with("fcntl(F_DUPFD_CLOEXEC) failed: "), "{error}");
    }
}

#[test]
fn leaves_a_filter_of_somebody_else_alone() {
    let Some(_turn) = one_at_a_time_with_filters() else { return };
    let server = listen();
    let owner = Socket::from(OwnedFd::from(server));
    let local = owner.local_addr().unwrap().as_socket().unwrap();
    const ACCEPT_ALL: [SockFilter; 1] = [SockFilter::new(0x06, 0, 0, u32::MAX)];
    owner.attach_filter(&ACCEPT_ALL).unwrap();
    let mut listener = Listener::unshared(owner.as_raw_fd(), local).unwrap();
    assert_eq!(listener.filter_out_syns().unwrap_err().to_string(), "the listening socket has a filter already");
    drop(listener);
    assert!(filtered(&owner));
}

#[test]
fn refuses_what_this_process_has_twice() {
    let Some(_turn) = one_at_a_time_with_filters() else { return };
    let server = listen();
    let twice = server.try_clone().unwrap();
    let error = filter(&server).unwrap_err();
    let text = format!("the listening socket is shared with descriptor {} of this process", twice.as_raw_fd());
    assert_eq!((error.kind(), error.to_string()), (io::ErrorKind::ResourceBusy, text));
    assert_eq!(gate(&server), None);
    drop(twice);
    let held = filter(&server).unwrap();
    assert_eq!(filter(&server).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
    assert_eq!(gate(&server), Some(Gate::Filter));
    drop(held);
    assert_eq!(gate(&server), None);
}

#[test]
fn a_number_that_is_used_again_is_left_alone() {
    let Some(_turn) = one_at_a_time_with_filters() else { return };
    let ends: [fn(Listener); 2] = [Listener::close, drop];
    for (end, hold) in ends.into_iter().flat_map(|end| HOLDS.map(|hold| (end, hold))) {
        let server = listen();
        // Beyond the numbers that other tests get meanwhile.
        let number = TcpListener::from(rustix::io::fcntl_dupfd_cloexec(&server, 800).unwrap());
        drop(server);
        let held = hold(&number).unwrap();
        let successor = listen();
        let client = TcpStream::connect(successor.local_addr().unwrap()).unwrap();
        let mut number = OwnedFd::from(number);
        rustix::io::dup2(&successor, &mut number).unwrap();
        drop(successor);
        let successor = TcpListener::from(number);
        let own = Socket::from(successor.as_fd().try_clone_to_owned().unwrap());
        own.attach_filter(&NO_SYN).unwrap();
        bind_to_interface(&own, 1).unwrap();
        // One waits for the successor, none for the one that is held.
        assert_eq!(held.waiting().unwrap(), 0);
        end(held);
        assert_eq!((interface(&own).unwrap(), filtered(&successor)), (1, true));
        converse(&client, &accept(&successor));
    }
}

/// A process that ends when we close the pipe that it reads from.
struct Process {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Process {
    /// The program has `listener` as its output.
    fn start(program: &str, arguments: &[&str], listener: &TcpListener) -> Self {
        let output = Stdio::from(OwnedFd::from(listener.try_clone().unwrap()));
        let mut child =
            Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(output).stderr(Stdio::piped()).spawn();
        let pipe = child.as_mut().unwrap().stdin.take();
        Self { child: child.unwrap(), pipe }
    }

    /// Waits until it says so on its second output.
    fn ready(&mut self) {
        self.child.stderr.as_mut().unwrap().read_exact(&mut [0; 5]).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.pipe = None;
        let _ = self.child.wait();
    }
}

fn goes_on_accepting(server: &TcpListener) {
    assert_eq!(gate(server), None);
    let client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
    converse(&client, &accept(server));
}

fn shared_with_a_process(server: &TcpListener) -> u32 {
    let error = hold(server).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ResourceBusy, "{error}");
    goes_on_accepting(server);
    let text = error.to_string();
    text.strip_prefix("the listening socket is shared with process ").expect(&text).parse().unwrap()
}

/// Whether nobody shares it, be it that it may be held or not.
fn is_free(server: &TcpListener) -> bool {
    hold(server).map_or_else(|error| error.to_string().contains("setsockopt(SO_ATTACH_FILTER)"), |_| true)
}

#[test]
fn refuses_what_a_child_shares() {
    let _turn = one_at_a_time();
    let server = listen();
    let process = Process::start("cat", &[], &server);
    assert_eq!(shared_with_a_process(&server), process.child.id());
    drop(process);
    assert!(is_free(&server));
}

#[test]
fn refuses_what_a_grandchild_shares() {
    let _turn = one_at_a_time();
    let server = listen();
    let script = "exec 3<&0; cat <&3 & exec 1>&- 3<&-; echo ready >&2; wait";
    let mut process = Process::start("sh", &["-c", script], &server);
    process.ready();
    assert_ne!(shared_with_a_process(&server), process.child.id());
    drop(process);
    assert!(is_free(&server));
}

#[test]
fn refuses_what_a_descendant_shares_that_lost_its_parent() {
    let _turn = one_at_a_time();
    let server = listen();
    let mut process = Process::start("sh", &["-c", "exec 3<&0; cat <&3 & "], &server);
    process.child.wait().unwrap();
    assert_ne!(shared_with_a_process(&server), process.child.id());
    drop(process);
    until("the descendant has ended", || is_free(&server));
}

#[test]
fn a_child_without_the_socket_does_no_harm() {
    let _turn = one_at_a_time();
    let (server, other) = (listen(), listen());
    let _process = Process::start("cat", &[], &other);
    assert!(is_free(&server));
}

#[test]
fn the_handshake_tells_how_far_away_a_peer_is() {
    for address in loopbacks() {
        let listener = TcpListener::bind(address).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        for stream in [&client, &server] {
            let round_trip = round_trip(stream.as_raw_fd()).unwrap();
            assert!(!round_trip.is_zero() && round_trip < Duration::from_secs(1), "{round_trip:?}");
        }
    }
}

#[test]
fn a_peer_that_acknowledges_late_is_not_further_away() {
    let listener = listen();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    // At first it acknowledges at once; later with what it sends next, if that is soon.
    for _ in 0..40 {
        server.write_all(b"?").unwrap();
        client.read_exact(&mut [0]).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        client.write_all(b"!").unwrap();
        server.read_exact(&mut [0]).unwrap();
    }
    let round_trip = round_trip(server.as_raw_fd()).unwrap();
    assert!(round_trip < Duration::from_millis(10), "{round_trip:?}");
}

#[test]
fn what_is_no_tcp_connection_is_not_far_away() {
    let datagrams = UdpSocket::bind(loopbacks()[0]).unwrap();
    let (local, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let file = File::open("/dev/null").unwrap();
    for descriptor in [datagrams.as_raw_fd(), local.as_raw_fd(), file.as_raw_fd(), -1, i32::MIN, i32::MAX] {
        round_trip(descriptor).unwrap_err();
    }
}
