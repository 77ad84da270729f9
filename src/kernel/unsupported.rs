//! Where the operating system does not tell.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

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

    /// Would count the handshakes under way.
    ///
    /// # Errors
    ///
    /// Never, as there is no listener to ask.
    pub fn handshakes(&self) -> io::Result<u32> {
        match self.never {}
    }

    /// Would let go of the socket for good.
    pub fn close(self) {
        match self.never {}
    }
}

/// Would tell how long it takes until what is sent on this connection is acknowledged.
///
/// # Errors
///
/// Always, with [`io::ErrorKind::Unsupported`].
pub fn round_trip(_descriptor: i32) -> io::Result<Duration> {
    Err(unsupported("how far away a peer is, is not known on this platform"))
}

/// Would tell how much of what was written waits until the peer takes more.
///
/// # Errors
///
/// Always, with [`io::ErrorKind::Unsupported`].
pub fn unsent(_descriptor: i32) -> io::Result<u32> {
    Err(unsupported("connections' send queues are not known on this platform"))
}

/// Would give a further descriptor of the same connection.
///
/// # Errors
///
/// Always, with [`io::ErrorKind::Unsupported`].
#[cfg(not(unix))]
pub fn duplicate(_descriptor: i32) -> io::Result<i32> {
    Err(unsupported("connections have no descriptors on this platform"))
}

/// Would have the kernel reset a connection when it is closed.
///
/// # Errors
///
/// Always, with [`io::ErrorKind::Unsupported`].
#[cfg(not(unix))]
pub fn reset_at_close(_descriptor: i32) -> io::Result<()> {
    Err(unsupported("connections have no descriptors on this platform"))
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

/// Signals as they come: nobody hears of them here but JavaScript.
pub mod signals {
    use super::{Infallible, io, unsupported};

    /// The signals that come: none on this platform.
    #[derive(Debug)]
    pub struct Signals {
        never: Infallible,
    }

    impl Signals {
        /// Would open the place where they arrive.
        ///
        /// # Errors
        ///
        /// Always, with [`io::ErrorKind::Unsupported`].
        pub fn open() -> io::Result<Self> {
            Err(unsupported("signals are not overheard on this platform"))
        }

        /// Would wait for the next one.
        ///
        /// # Errors
        ///
        /// Never, as there is nothing to wait at.
        pub fn wait(&mut self) -> io::Result<i32> {
            match self.never {}
        }
    }

    /// Would have a signal come to [`Signals`] as well.
    ///
    /// # Errors
    ///
    /// Always, with [`io::ErrorKind::Unsupported`].
    pub fn overhear(_signal: i32) -> io::Result<()> {
        Err(unsupported("signals are not overheard on this platform"))
    }

    /// Would leave a signal to JavaScript alone again.
    pub fn stop_overhearing(_signal: i32) {}
}

fn unsupported(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, what)
}
