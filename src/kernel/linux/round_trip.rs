//! How far away a peer is, as TCP has measured.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use super::tcp_info;
use crate::kernel::unix::look;

/// How long it takes at least until what is sent on this connection is acknowledged: the least that TCP has measured in the last
/// minutes.
///
/// The handshake is the first sample, so a connection that was accepted has one. The smoothed time (RFC 6298, section 2) is none of
/// the distance: a peer acknowledges up to 40 ms late, to do so with its next request, and a queue on the way makes it longer, too.
/// It costs a microsecond.
///
/// A wrong number does no harm: `getsockopt` looks, and changes nothing. The answer for it is then that of another
/// connection, or an error. Read the number from a live handle in the same turn of the event loop.
///
/// On Linux only; elsewhere it is unsupported.
///
/// # Errors
///
/// When the number names no TCP connection, nothing has been measured, or the operating system refuses to tell.
pub fn round_trip(descriptor: RawFd) -> io::Result<Duration> {
    // `struct tcp_info`: tcpi_min_rtt, 32 bits at byte 148, in microseconds, since Linux 4.6.
    let info: [u32; 38] = look(descriptor, tcp_info)?;
    match info[37] {
        // Before the first sample.
        u32::MAX => Err(io::ErrorKind::WouldBlock.into()),
        microseconds => Ok(Duration::from_micros(microseconds.into())),
    }
}
