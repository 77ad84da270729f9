//! How much of what was written to a connection is yet to leave.

use std::ffi::c_int;
use std::io;
use std::os::fd::RawFd;

use rustix::ioctl::{Getter, Opcode, ioctl};

use crate::kernel::unix::look;

/// `include/uapi/linux/sockios.h`.
const SIOCOUTQNSD: Opcode = 0x894b;

/// How many bytes of what was written to this connection have not left, because its peer, or the way there, takes no more yet.
///
/// What has left and is not acknowledged does not count. That a connection ends does, as one byte. It costs some 0.4 µs.
///
/// A wrong number does no harm: this looks, and changes nothing about any file. The answer for it is then that of another
/// connection, or an error. Read the number from a live handle in the same turn of the event loop.
///
/// On Linux only; elsewhere it is unsupported. A Unix domain socket has no such queue: what was written is with its peer.
///
/// # Errors
///
/// When the number names no TCP connection, or the operating system refuses to tell.
pub fn unsent(descriptor: RawFd) -> io::Result<u32> {
    look(descriptor, |socket| {
        // SAFETY: for that number a socket writes a C `int` and changes nothing, and whatever is no socket refuses it: the
        // numbers that begin with 0x89 are those of sockets.
        let unsent = unsafe { ioctl(socket, Getter::<SIOCOUTQNSD, c_int>::new()) }?;
        Ok(u32::try_from(unsent).unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::kernel::tests::{loopback, pair};

    /// Writes until the kernel takes no more, and tells how much that was.
    fn fill(stream: &mut TcpStream) -> usize {
        stream.set_nonblocking(true).unwrap();
        let some = [0; 64 * 1024];
        let mut written = 0;
        while let Ok(length) = stream.write(&some) {
            written += length;
        }
        written
    }

    #[test]
    fn what_the_peer_does_not_take_has_not_left() {
        let (mut client, mut server) = pair(loopback());
        assert_eq!(unsent(server.as_raw_fd()).unwrap(), 0);
        let mut left = fill(&mut server);
        assert!(unsent(server.as_raw_fd()).unwrap() > 0);
        let mut some = vec![0; 64 * 1024];
        while left > 0 {
            left -= client.read(&mut some).unwrap();
        }
        assert_eq!(unsent(server.as_raw_fd()).unwrap(), 0);
    }

    #[test]
    fn what_is_on_its_way_has_left() {
        let (_client, mut server) = pair(loopback());
        server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        assert_eq!(unsent(server.as_raw_fd()).unwrap(), 0);
    }

    #[test]
    fn what_is_no_tcp_connection_is_an_error() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert!(unsent(one.as_raw_fd()).is_err());
        assert!(unsent(std::fs::File::open("/dev/null").unwrap().as_raw_fd()).is_err());
        let listener = TcpListener::bind(loopback()).unwrap();
        assert!(unsent(listener.as_raw_fd()).is_err());
        assert_eq!(unsent(-1).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
