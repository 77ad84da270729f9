//! A listener's accept queue, and a gate before it.

mod handshakes;
mod round_trip;
mod sharing;
pub mod signals;
#[cfg(test)]
mod tests;
mod unsent;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::Path;

use socket2::{Protocol, SockFilter, Socket, Type};

use super::unix::{duplicated, look};
pub use round_trip::round_trip;
pub use unsent::unsent;

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
/// Node's closing does not close the socket while it is held or watched, so don't keep it for longer than that. It ends
/// in one of two ways, and the order of events decides which is right:
///
/// - **The server goes on listening**: drop it. New connections begin again, if that may be undone: it takes CAP_NET_RAW,
///   unless a filter keeps them out. So hold only what is about to close.
/// - **The server has closed its descriptor**: [`Listener::close`]. Ours is the last one then, and the socket is
///   closed with the gate still shut. Opening the gate first would let connections in, only to reset them.
///
/// On Linux only; elsewhere there is none.
///
/// # What stays behind
///
/// A connection whose handshake completes while its listener is held inherits a filter, if there is one, for the rest of its
/// life. Its data passes. What does not is a SYN for an established connection, which a client sends that has forgotten it
/// and uses its port again; that client then waits until the server has closed the old connection.
#[derive(Debug)]
pub struct Listener {
    /// Our own duplicate: a number that is closed and used again cannot make us touch another file.
    socket: Socket,
    /// The number that the socket was found under; looked at, no more.
    descriptor: RawFd,
    /// The address and port that it is bound to.
    local: SocketAddr,
    identity: Identity,
    /// What keeps new connections out, and must be undone.
    gate: Option<Gate>,
}

/// The two ways to keep new connections out of a listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    /// The socket is bound to an interface that does not exist, so the kernel finds nobody who listens, and refuses. Whoever
    /// connects knows at once, and can go elsewhere.
    ///
    /// That needs no privilege since Linux 5.7, but undoing it needs CAP_NET_RAW. Without that it stays, until the socket is
    /// closed. Refused is also a last ACK to which the kernel has kept no handshake (SYN cookies, in a flood), which nobody
    /// could have counted either.
    NoInterface,
    /// A filter drops SYNs. Their senders repeat them a second later. Kernels since 2026 allow that only with CAP_NET_ADMIN.
    Filter,
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
    /// not be looked at are passed over: they belong to another user, or don't want to be seen (`prctl(2)`).
    ///
    /// It cannot be seen that a descriptor is in flight between two processes, sent and not yet received, or in a
    /// child between `fork` and `exec`, which counts as sharing although it ends at once. Call this only for a socket
    /// that this process has bound itself and that is no cluster worker's, and don't send it anywhere meanwhile.
    ///
    /// # What it costs
    ///
    /// 12 µs for each process that `/proc` shows, 3 µs for each descriptor of a process that is looked at, and 0.4 µs
    /// for each descriptor that this process has room for: a millisecond among 72 processes, nine with 20,000
    /// descriptors of our own. Where it would take longer than some 15 ms, it gives up, and that is an error.
    ///
    /// # Errors
    ///
    /// Nothing has changed then.
    ///
    /// - [`io::ErrorKind::InvalidInput`]: no listening TCP socket bound to `local`.
    /// - [`io::ErrorKind::ResourceBusy`]: it is shared, or has a filter of somebody else, which stays.
    /// - Others: something that had to be known could not be found out, or the filter may not be attached. The text names
    ///   what failed, for either gate that was tried.
    pub fn hold(descriptor: RawFd, local: SocketAddr) -> io::Result<Self> {
        let mut listener = Self::unshared(descriptor, local)?;
        // Among those that share an address, the kernel chooses without a look at their interfaces.
        if listener.socket.reuse_port().map_err(failed("getsockopt(SO_REUSEPORT)"))? {
            listener.filter_out_syns()?;
        } else if let Err(first) = listener.leave_all_interfaces() {
            listener.filter_out_syns().map_err(|second| io::Error::new(second.kind(), format!("{first}; {second}")))?;
        }
        Ok(listener)
    }

    /// Takes hold of it, if nobody shares it, and keeps nobody out yet.
    fn unshared(descriptor: RawFd, local: SocketAddr) -> io::Result<Self> {
        let listener = Self::watch(descriptor, local)?;
        sharing::rule_out_ourselves(listener.identity, [descriptor, listener.socket.as_raw_fd()])?;
        sharing::rule_out_others(Path::new("/proc"), listener.identity.inode)?;
        Ok(listener)
    }

    /// Takes hold of the listening TCP socket that `descriptor` names without keeping anybody out.
    ///
    /// For where nobody needs to be kept out, or [`Listener::hold`] is refused: it only looks, so it needs no privilege
    /// and does no harm to whoever shares the socket. [`Listener::waiting`] tells as much then, but connections go on
    /// coming, so none may wait at one moment and one at the next. It costs a few microseconds.
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
        Ok(Self { socket, descriptor, local, identity, gate: None })
    }

    fn leave_all_interfaces(&mut self) -> io::Result<()> {
        if interface(&self.socket)? != ANY_INTERFACE {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "the listening socket is bound to an interface"));
        }
        bind_to_interface(&self.socket, NO_INTERFACE)?;
        self.gate = Some(Gate::NoInterface);
        Ok(())
    }

    fn filter_out_syns(&mut self) -> io::Result<()> {
        if has_filter(&self.socket)? {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "the listening socket has a filter already"));
        }
        self.socket.attach_filter(&NO_SYN).map_err(failed("setsockopt(SO_ATTACH_FILTER)"))?;
        self.gate = Some(Gate::Filter);
        Ok(())
    }

    /// How many connections are complete and not accepted yet: the length of the accept queue.
    ///
    /// # Errors
    ///
    /// When the operating system refuses to tell.
    pub fn waiting(&self) -> io::Result<u32> {
        // `struct tcp_info`: eight bytes, then 32 bits each; tcpi_unacked is the fifth of those. Of a listening socket
        // it is the length of the queue.
        let info: [u32; 7] = tcp_info(self.socket.as_fd())?;
        Ok(info[6])
    }

    /// How many handshakes are under way: who has sent a SYN, and whose ACK has not come yet. They are not among those that
    /// wait, and closing the socket resets them, too.
    ///
    /// They are counted until their SYN has to be answered once more, a second later: most of those are gone, or never meant
    /// to connect.
    ///
    /// The kernel looks through the table of all the machine's connections for that: half a millisecond with 262,144 buckets,
    /// 1.5 with 20,000 sockets in them, 18 with 134,000.
    ///
    /// # Errors
    ///
    /// When the operating system refuses to tell, as some sandboxes do.
    pub fn handshakes(&self) -> io::Result<u32> {
        handshakes::count(self.local)
    }

    /// Lets go of the socket after the server has closed it, without letting anything in before it is gone.
    ///
    /// Call it right after the server has closed its descriptor. If it has not, which is looked up, this is
    /// the same as dropping it: a socket that is still served is not left behind shut where that can be helped.
    pub fn close(mut self) {
        if identity(self.descriptor).map_or(true, |identity| identity != self.identity) {
            self.gate = None;
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Nothing is left to try if that fails, as it does without CAP_NET_RAW unless it is a filter. Only a server whose own
        // `close()` has failed, or takes its time, is still listening then, and refuses whoever connects.
        let _ = match self.gate {
            Some(Gate::Filter) => self.socket.detach_filter(),
            Some(Gate::NoInterface) => bind_to_interface(&self.socket, ANY_INTERFACE),
            None => Ok(()),
        };
    }
}

fn duplicate(descriptor: RawFd) -> io::Result<Socket> {
    duplicated(descriptor).map(Socket::from).map_err(failed("fcntl(F_DUPFD_CLOEXEC)"))
}

fn identity(descriptor: RawFd) -> io::Result<Identity> {
    look(descriptor, |borrowed| Ok(rustix::fs::fstat(borrowed)?))
        .map(|stat| Identity { device: stat.st_dev, inode: stat.st_ino })
        .map_err(failed("fstat"))
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
    let instructions = socket_option(socket.as_fd(), libc::SOL_SOCKET, GET_FILTER, &mut [])
        .map_err(failed("getsockopt(SO_GET_FILTER)"))?;
    Ok(instructions > 0)
}

const ANY_INTERFACE: u32 = 0;

/// The highest number there can be. Linux counts interfaces from one.
const NO_INTERFACE: u32 = i32::MAX as u32;

fn interface(socket: &Socket) -> io::Result<u32> {
    let mut interface = [0; 1];
    socket_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX, &mut interface)
        .map_err(failed("getsockopt(SO_BINDTOIFINDEX)"))?;
    Ok(interface[0])
}

/// Sets the one socket option that no crate wraps.
fn bind_to_interface(socket: &Socket, interface: u32) -> io::Result<()> {
    let length = size_of_val(&interface) as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of `interface`, which outlives the call, and the descriptor is open as
    // long as `socket`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTOIFINDEX,
            (&raw const interface).cast(),
            length,
        )
    };
    if result == 0 { Ok(()) } else { Err(failed("setsockopt(SO_BINDTOIFINDEX)")(io::Error::last_os_error())) }
}

/// The first numbers of `struct tcp_info`, of which older kernels know fewer.
fn tcp_info<const LENGTH: usize>(socket: BorrowedFd<'_>) -> io::Result<[u32; LENGTH]> {
    let mut info = [0; LENGTH];
    let length =
        socket_option(socket, libc::IPPROTO_TCP, libc::TCP_INFO, &mut info).map_err(failed("getsockopt(TCP_INFO)"))?;
    if length < size_of_val(&info) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "getsockopt(TCP_INFO) tells too little"));
    }
    Ok(info)
}

/// Reads a socket option that no crate wraps; gives the length that the kernel tells.
fn socket_option(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: &mut [u32],
) -> io::Result<usize> {
    let mut length = size_of_val(value) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `value`, of which any are valid, and one number to `length`;
    // both outlive the call. `SO_GET_FILTER` counts instructions of eight bytes instead, and writes none where `length` is 0,
    // which is how it is asked. A descriptor that names nothing open, or no socket, makes it fail.
    let result =
        unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, value.as_mut_ptr().cast(), &raw mut length) };
    if result == 0 { Ok(length as usize) } else { Err(io::Error::last_os_error()) }
}

/// Says in the error which call failed.
fn failed(call: &str) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{call} failed: {error}"))
}
