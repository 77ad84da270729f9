//! Connections: their receive queues, by `poll(2)`, further descriptors, and their resets.

use std::io;
use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{fcntl_dupfd_cloexec, ioctl_fionread, retry_on_intr};
use socket2::SockRef;

/// Which of these descriptors have bytes that nobody has read, in the same order.
///
/// One system call answers for all of them, and waits for nothing. A connection whose peer has only ended it (FIN,
/// or a reset) has no unread bytes; one whose peer has sent something before that has. A number that is negative or
/// names nothing open has none either.
///
/// A wrong number does no harm: `poll` and `FIONREAD` look, and change nothing about any file. The answer for it is
/// then that of another file, or of the connection that has got the number since. Read the numbers from live handles
/// in the same turn of the event loop.
///
/// On Unix only; elsewhere it is unsupported.
///
/// # Errors
///
/// When `poll` fails, as it does when there are more descriptors than the process may have open.
pub fn unread(descriptors: &[i32]) -> io::Result<Vec<bool>> {
    let mut polled: Vec<_> = descriptors
        .iter()
        .filter(|&&descriptor| descriptor >= 0)
        .map(|&descriptor| {
            // SAFETY: it is not -1. If it is open it stays so until we return, as long as the caller keeps to the
            // same turn of the event loop. If it is not, or names another file, the calls below fail or look at that
            // file, and neither of them can change, read from or close it; see the module's documentation.
            let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
            PollFd::from_borrowed_fd(borrowed, PollFlags::IN | ENDED)
        })
        .collect();
    retry_on_intr(|| poll(&mut polled, Some(&Timespec::default())))
        .map_err(|error| io::Error::new(error.kind(), format!("poll failed: {error}")))?;
    let mut answers = polled.iter();
    Ok(descriptors.iter().map(|&descriptor| descriptor >= 0 && answers.next().is_some_and(has_bytes)).collect())
}

/// A further descriptor of the same connection, which stays open when the first one is closed. Whoever calls owns it.
///
/// On Unix only; elsewhere it is unsupported.
///
/// # Errors
///
/// When the number names nothing open, or the process has as many descriptors as it may have.
pub fn duplicate(descriptor: i32) -> io::Result<RawFd> {
    Ok(duplicated(descriptor)?.into_raw_fd())
}

/// Has the kernel reset the connection when it is closed, in place of FIN, and drop what has not left (`SO_LINGER` with no time).
/// A Unix domain socket has no reset, and closes as ever.
///
/// A wrong number that names another socket has that reset when it is closed: read it from a live handle in the same turn of the
/// event loop.
///
/// On Unix only; elsewhere it is unsupported.
///
/// # Errors
///
/// When the number names no socket that is open, or the process has as many descriptors as it may have.
pub fn reset_at_close(descriptor: i32) -> io::Result<()> {
    SockRef::from(&duplicated(descriptor)?).set_linger(Some(Duration::ZERO))
}

pub(super) fn duplicated(descriptor: RawFd) -> io::Result<OwnedFd> {
    // Not among the first three numbers, which mean something to many programs.
    const LOWEST: RawFd = 3;
    look(descriptor, |borrowed| Ok(fcntl_dupfd_cloexec(borrowed, LOWEST)?))
}

/// `at` must do nothing that could change what the descriptor names: the number may be wrong.
pub(super) fn look<T>(descriptor: RawFd, at: impl FnOnce(BorrowedFd<'_>) -> io::Result<T>) -> io::Result<T> {
    if descriptor < 0 {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: it is not -1. It is used for the one system call in `at`, which fails if the number names nothing open
    // and only looks at or duplicates what it names otherwise; so it need not be ours, nor stay open. See the module's
    // documentation.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    at(borrowed)
}

/// What `poll` tells when the peer has ended its side. Readable alone means bytes then.
#[cfg(target_os = "linux")]
const ENDED: PollFlags = PollFlags::RDHUP;
#[cfg(not(target_os = "linux"))]
const ENDED: PollFlags = PollFlags::empty();

/// The end of a connection is readable like its bytes; if `poll` cannot tell them apart, their number does.
fn has_bytes(polled: &PollFd<'_>) -> bool {
    let events = polled.revents();
    if !events.contains(PollFlags::IN) {
        return false;
    }
    let can_tell = !ENDED.is_empty() && !events.intersects(ENDED | PollFlags::HUP | PollFlags::ERR);
    can_tell || ioctl_fionread(polled).is_ok_and(|bytes| bytes > 0)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv6Addr, Shutdown, TcpListener, TcpStream};
    use std::os::fd::{AsRawFd, FromRawFd};

    use proptest::collection;
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::tests::{loopback, pair};

    /// Waits until what the peer did has come: bytes, an end or both.
    fn readable(stream: &TcpStream) {
        poll(&mut [PollFd::new(stream, PollFlags::IN)], None).unwrap();
    }

    /// Waits until the peer's FIN has come.
    fn ended(stream: &TcpStream) {
        #[cfg(target_os = "linux")]
        poll(&mut [PollFd::new(stream, PollFlags::RDHUP)], None).unwrap();
        // Elsewhere nothing tells of a FIN behind bytes; on loopback it comes with them.
        #[cfg(not(target_os = "linux"))]
        readable(stream);
    }

    #[test]
    fn tells_bytes_from_silence_and_from_the_end() {
        for address in [loopback(), (Ipv6Addr::LOCALHOST, 0).into()] {
            let (silent_client, silent) = pair(address);
            let (mut sent_client, sent) = pair(address);
            let (ended_client, only_ended) = pair(address);
            let (mut both_client, both) = pair(address);
            sent_client.write_all(b"GET").unwrap();
            ended_client.shutdown(Shutdown::Write).unwrap();
            both_client.write_all(b"GET").unwrap();
            both_client.shutdown(Shutdown::Write).unwrap();
            readable(&sent);
            ended(&only_ended);
            ended(&both);
            let descriptors = [&silent, &sent, &only_ended, &both].map(AsRawFd::as_raw_fd);
            assert_eq!(unread(&descriptors).unwrap(), [false, true, false, true]);
            drop(silent_client);
        }
    }

    #[test]
    fn a_connection_stays_open_as_long_as_a_duplicate_of_it() {
        let (mut client, server) = pair(loopback());
        // SAFETY: it is new, and nobody else's.
        let mut duplicated = unsafe { TcpStream::from_raw_fd(duplicate(server.as_raw_fd()).unwrap()) };
        server.shutdown(Shutdown::Write).unwrap();
        drop(server);
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "FIN");
        client.write_all(b"GET").unwrap();
        duplicated.read_exact(&mut [0; 3]).unwrap();
        drop(duplicated);
        assert_eq!(duplicate(-1).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_connection_is_reset_when_it_is_closed_if_that_is_wanted() {
        let (mut client, server) = pair(loopback());
        reset_at_close(server.as_raw_fd()).unwrap();
        drop(server);
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(reset_at_close(-1).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn what_has_been_read_is_unread_no_longer() {
        let (mut client, mut server) = pair(loopback());
        client.write_all(b"GET").unwrap();
        readable(&server);
        assert_eq!(unread(&[server.as_raw_fd()]).unwrap(), [true]);
        server.read_exact(&mut [0; 3]).unwrap();
        assert_eq!(unread(&[server.as_raw_fd()]).unwrap(), [false]);
    }

    #[test]
    fn looking_takes_nothing() {
        let (mut client, mut server) = pair(loopback());
        client.write_all(b"GET").unwrap();
        readable(&server);
        for _ in 0..3 {
            assert_eq!(unread(&[server.as_raw_fd()]).unwrap(), [true]);
        }
        drop(client);
        let mut received = String::new();
        server.read_to_string(&mut received).unwrap();
        assert_eq!(received, "GET");
    }

    #[test]
    fn a_reset_is_not_read_away() {
        let (client, mut server) = pair(loopback());
        server.write_all(b"never read").unwrap();
        readable(&client);
        // What is closed with unread bytes is reset.
        drop(client);
        readable(&server);
        assert_eq!(unread(&[server.as_raw_fd()]).unwrap(), [false]);
        assert_eq!(server.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn numbers_that_name_nothing_have_no_bytes() {
        let (mut client, server) = pair(loopback());
        client.write_all(b"GET").unwrap();
        readable(&server);
        assert_eq!(
            unread(&[closed(&server), -1, server.as_raw_fd(), i32::MIN, i32::MAX]).unwrap(),
            [false, false, true, false, false]
        );
        assert_eq!(unread(&[]).unwrap(), []);
    }

    /// A number beyond those that other tests get meanwhile, closed again.
    fn closed(stream: &TcpStream) -> i32 {
        rustix::io::fcntl_dupfd_cloexec(stream, 240).unwrap().as_raw_fd()
    }

    #[test]
    fn sees_the_end_of_one_connection_among_many() {
        let listener = TcpListener::bind(loopback()).unwrap();
        let address = listener.local_addr().unwrap();
        let mut pairs: Vec<_> =
            (0..32).map(|_| (TcpStream::connect(address).unwrap(), listener.accept().unwrap().0)).collect();
        pairs[17].0.write_all(b"GET").unwrap();
        readable(&pairs[17].1);
        pairs[20].0.shutdown(Shutdown::Both).unwrap();
        ended(&pairs[20].1);
        let descriptors: Vec<_> = pairs.iter().map(|(_, server)| server.as_raw_fd()).collect();
        let expected: Vec<_> = (0..32).map(|index| index == 17).collect();
        assert_eq!(unread(&descriptors).unwrap(), expected);
    }

    /// What a peer has done.
    #[derive(Clone, Copy, Debug)]
    enum Peer {
        Nothing,
        Sent(usize),
        Ended,
        SentAndEnded(usize),
        /// The number is no descriptor at all.
        Absent,
    }

    fn peer() -> impl Strategy<Value = Peer> {
        prop_oneof![
            Just(Peer::Nothing),
            (1..5000_usize).prop_map(Peer::Sent),
            Just(Peer::Ended),
            (1..5000_usize).prop_map(Peer::SentAndEnded),
            Just(Peer::Absent),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_mixture_is_told_apart(peers in collection::vec(peer(), 0..16)) {
            let connections: Vec<_> = peers.iter().map(|&peer| {
                let (mut client, server) = pair(loopback());
                if let Peer::Sent(length) | Peer::SentAndEnded(length) = peer {
                    client.write_all(&vec![b'x'; length]).unwrap();
                    readable(&server);
                }
                if let Peer::Ended | Peer::SentAndEnded(_) = peer {
                    client.shutdown(Shutdown::Write).unwrap();
                    ended(&server);
                }
                (client, server)
            }).collect();
            let descriptors: Vec<_> = peers.iter().zip(&connections)
                .map(|(peer, (_, server))| if let Peer::Absent = peer { -1 } else { server.as_raw_fd() })
                .collect();
            let expected: Vec<_> = peers.iter()
                .map(|peer| matches!(peer, Peer::Sent(_) | Peer::SentAndEnded(_)))
                .collect();
            prop_assert_eq!(unread(&descriptors).unwrap(), expected);
        }
    }
}
