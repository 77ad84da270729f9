//! A listener's accept queue, and a gate before it.

mod sharing;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::path::Path;

use socket2::{Protocol, SockFilter, Socket, Type};

/// Lets pass what is not a SYN.
///
/// The kernel shows the filter of a TCP socket each segment from its TCP header on, over IPv4 as over IPv6. Only the
/// first packet of a handshake carries SYN towards a listener, so handshakes under way complete.
const NO_SYN: [SockFilter; 4] = {
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_IF_ANY_BIT: u16 = 0x45;
    const RETURN: u16 = 0x06;
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    [
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS),
        SockFilter::new(JUMP_IF_ANY_BIT, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
};

/// A hold on a listening TCP socket. While [`Listener::hold`] lasts, no new connection begins.
///
/// Node's closing does not close the socket while it is held or watched, so don't keep it for longer than that. It ends in one of two ways, and the order of events decides which is right:
///
/// - **The server goes on listening**: [`Listener::release`], or dropping. New connections begin again.
/// - **The server has closed its descriptor**: [`Listener::close`]. Ours is the last one then, and the socket is
///   closed with the gate still shut. Opening the gate first would let connections in, only to reset them.
///
/// On Linux only; elsewhere there is none.
///
/// # What stays behind
///
/// A connection whose handshake completes while its listener is held inherits the filter for the rest of its life.
/// Its data passes. What does not is a SYN for an established connection, which a client sends that has forgotten it
/// and uses its port again; that client then waits until the server has closed the old connection.
#[derive(Debug)]
pub struct Listener {
    /// Our own duplicate: a number that is closed and used again cannot make us touch another file.
    socket: Socket,
    /// The number that the socket was found under; looked at, no more.
    descriptor: RawFd,
    identity: Identity,
    /// Whether the filter is attached and must be detached.
    gated: bool,
}

/// What tells one open socket from every other. It is not used again while we hold a duplicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Listener {
    /// Takes hold of the listening TCP socket that `descriptor` names, and lets no new connection begin on it.
    ///
    /// The socket must be bound to `local`, address and port, and must be in no other hands: in none of our other
    /// descriptors and in no other process, as its connections would be kept from them too.
    ///
    /// # How it is known that nobody shares it
    ///
    /// By looking at the descriptors, in `/proc`, of every process that can have got the socket in the ways there
    /// are in Node: our descendants, our ancestors, and whoever was started after us (a descendant whose parent has
    /// ended has another parent then). A descendant that may not be looked at is taken to share it. Others that may
    /// not be looked at are passed over: they belong to another user.
    ///
    /// It cannot be seen that a descriptor is in flight between two processes, sent and not yet received, or in a
    /// child between `fork` and `exec`, which counts as sharing although it ends at once. Call this only for a socket
    /// that this process has bound itself and that is no cluster worker's, and don't send it anywhere meanwhile.
    ///
    /// # What it costs
    ///
    /// 12 µs for each process that `/proc` shows, 3 µs for each descriptor of a process that is looked at, and 0.4 µs
    /// for each descriptor that this process has room for: a millisecond among 72 processes, nine with 20,000
    /// descriptors of our own. Where it would take longer than some 150 ms, it gives up, and that is an error.
    ///
    /// # Errors
    ///
    /// Nothing has changed then.
    ///
    /// - [`io::ErrorKind::InvalidInput`]: no listening TCP socket bound to `local`.
    /// - [`io::ErrorKind::ResourceBusy`]: it is shared, or has a filter already, which stays.
    /// - [`io::ErrorKind::PermissionDenied`]: among others when the process lacks CAP_NET_ADMIN and the kernel is of
    ///   those, since 2026, that allow a filter on a TCP socket only with it. [`Listener::watch`] needs none.
    /// - Others: something that had to be known could not be found out. The text names what failed.
    pub fn hold(descriptor: RawFd, local: SocketAddr) -> io::Result<Self> {
        let mut listener = Self::watch(descriptor, local)?;
        if has_filter(&listener.socket)? {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "the listening socket has a filter already"));
        }
        sharing::rule_out_ourselves(listener.identity, [descriptor, listener.socket.as_raw_fd()])?;
        sharing::rule_out_others(Path::new("/proc"), listener.identity.inode)?;
        listener.socket.attach_filter(&NO_SYN).map_err(failed("setsockopt(SO_ATTACH_FILTER)"))?;
        listener.gated = true;
        Ok(listener)
    }

    /// Takes hold of the listening TCP socket that `descriptor` names without keeping anybody out.
    ///
    /// For where [`Listener::hold`] is refused: it only looks, so it needs no privilege and does no harm to whoever
    /// shares the socket. [`Listener::waiting`] tells as much then, but connections go on coming, so none may wait at
    /// one moment and one at the next. It costs a few microseconds.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] for what is no listening TCP socket bound to `local`; others name what failed.
    pub fn watch(descriptor: RawFd, local: SocketAddr) -> io::Result<Self> {
        let socket = duplicate(descriptor)?;
        if !is_tcp_listener_at(&socket, local)? {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("not a TCP socket that listens on {local}"),
            ));
        }
        let identity = identity(socket.as_raw_fd())?;
        Ok(Self { socket, descriptor, identity, gated: false })
    }

    /// How many connections are complete and not accepted yet: the length of the accept queue.
    ///
    /// # Errors
    ///
    /// When the operating system refuses to tell.
    pub fn waiting(&self) -> io::Result<u32> {
        // `struct tcp_info`: eight bytes, then 32 bits each; tcpi_unacked is the fifth of those. Of a listening socket
        // it is the length of the queue.
        let mut info = [0; 7];
        let length = socket_option(&self.socket, libc::IPPROTO_TCP, libc::TCP_INFO, &mut info)
            .map_err(failed("getsockopt(TCP_INFO)"))?;
        if length < size_of_val(&info) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "getsockopt(TCP_INFO) tells too little"));
        }
        Ok(info[6])
    }

    /// Lets new connections begin again, and lets go of the socket. So does dropping.
    pub fn release(self) {}

    /// Lets go of the socket after the server has closed it, without letting anything in before it is gone.
    ///
    /// Call it right after the server has closed its descriptor. If it has not, which is looked up, this is
    /// [`Listener::release`]: a socket that is still served is never left behind shut.
    pub fn close(mut self) {
        self.gated &= identity(self.descriptor).is_ok_and(|identity| identity == self.identity);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.gated {
            // Nothing is left to try if that fails; the server that comes next binds a new socket.
            let _ = self.socket.detach_filter();
        }
    }
}

fn duplicate(descriptor: RawFd) -> io::Result<Socket> {
    // Not among the first three numbers, which mean something to many programs.
    const LOWEST: RawFd = 3;
    look(descriptor, |borrowed| rustix::io::fcntl_dupfd_cloexec(borrowed, LOWEST))
        .map(Socket::from)
        .map_err(failed("fcntl(F_DUPFD_CLOEXEC)"))
}

fn identity(descriptor: RawFd) -> io::Result<Identity> {
    look(descriptor, |borrowed| rustix::fs::fstat(borrowed))
        .map(|stat| Identity { device: stat.st_dev, inode: stat.st_ino })
        .map_err(failed("fstat"))
}

/// `at` must do nothing that could change what the descriptor names: the number may be wrong.
fn look<T>(descriptor: RawFd, at: impl FnOnce(BorrowedFd<'_>) -> rustix::io::Result<T>) -> io::Result<T> {
    if descriptor < 0 {
        return Err(rustix::io::Errno::BADF.into());
    }
    // SAFETY: it is not -1. It is used for the one system call in `at`, which fails if the number names nothing open
    // and only looks at or duplicates what it names otherwise; so it need not be ours, nor stay open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    Ok(at(borrowed)?)
}

fn is_tcp_listener_at(socket: &Socket, local: SocketAddr) -> io::Result<bool> {
    let not_a_socket = |error: &io::Error| error.raw_os_error() == Some(libc::ENOTSOCK);
    let listening = match socket.is_listener() {
        Err(error) if not_a_socket(&error) => false,
        answer => answer.map_err(failed("getsockopt(SO_ACCEPTCONN)"))?,
    };
    if !listening
        || socket.r#type().map_err(failed("getsockopt(SO_TYPE)"))? != Type::STREAM
        || socket.protocol().map_err(failed("getsockopt(SO_PROTOCOL)"))? != Some(Protocol::TCP)
    {
        return Ok(false);
    }
    let bound = socket.local_addr().map_err(failed("getsockname"))?.as_socket();
    // JavaScript does not know an IPv6 address's flow information, nor always its scope.
    Ok(bound.is_some_and(|bound| (bound.ip(), bound.port()) == (local.ip(), local.port())))
}

/// Whether anybody has attached a filter. One of the extended kind is not shown, and fails.
fn has_filter(socket: &Socket) -> io::Result<bool> {
    // Linux defines SO_GET_FILTER as the same number. Without room for instructions it gives how many there are.
    const GET_FILTER: libc::c_int = libc::SO_ATTACH_FILTER;
    let instructions =
        socket_option(socket, libc::SOL_SOCKET, GET_FILTER, &mut []).map_err(failed("getsockopt(SO_GET_FILTER)"))?;
    Ok(instructions > 0)
}

/// Reads a socket option that no crate wraps; gives the length that the kernel tells.
fn socket_option(socket: &Socket, level: libc::c_int, name: libc::c_int, value: &mut [u32]) -> io::Result<usize> {
    let mut length = size_of_val(value) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `value`, of which any are valid, and one number to `length`;
    // both outlive the call, and the descriptor is open as long as `socket`.
    let result =
        unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, value.as_mut_ptr().cast(), &raw mut length) };
    if result == 0 { Ok(length as usize) } else { Err(io::Error::last_os_error()) }
}

/// Says in the error which call failed.
fn failed(call: &str) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{call} failed: {error}"))
}
