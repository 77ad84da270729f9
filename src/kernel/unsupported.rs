//! Where the operating system does not tell.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;

/// A hold on a listening TCP socket: there is none on this platform.
#[derive(Debug)]
pub struct Listener {
    never: Infallible,
}

impl Listener {
    /// Would hold the listening socket that `descriptor` names.
    ///
    /// # Errors
    ///
    /// Always, with [`io::ErrorKind::Unsupported`].
    pub fn hold(_descriptor: i32, _local: SocketAddr) -> io::Result<Self> {
        Err(unsupported("a listener's accept queue is not known on this platform"))
    }

    /// Would watch the listening socket that `descriptor` names.
    ///
    /// # Errors
    ///
    /// Always, with [`io::ErrorKind::Unsupported`].
    pub fn watch(descriptor: i32, local: SocketAddr) -> io::Result<Self> {
        Self::hold(descriptor, local)
    }

    /// Would count the connections that Node has not accepted.
    ///
    /// # Errors
    ///
    /// Never, as there is no listener to ask.
    pub fn waiting(&self) -> io::Result<u32> {
        match self.never {}
    }

    /// Would let new connections in again.
    pub fn release(self) {
        match self.never {}
    }

    /// Would let go of the socket for good.
    pub fn close(self) {
        match self.never {}
    }
}

/// Would tell which of these descriptors have unread bytes.
///
/// # Errors
///
/// Always, with [`io::ErrorKind::Unsupported`].
#[cfg(not(unix))]
pub fn unread(_descriptors: &[i32]) -> io::Result<Vec<bool>> {
    Err(unsupported("connections' receive queues are not known on this platform"))
}

fn unsupported(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, what)
}
