//! How far away a peer is, as TCP has measured.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use super::{failed, look, socket_option};

/// How long it takes until what is sent on this connection is acknowledged: TCP's smoothed round-trip time (RFC 6298, section 2).
///
/// The handshake is its first sample, so a connection that was accepted has one. It costs a microsecond.
///
/// A wrong number does no harm: `getsockopt` looks, and changes nothing. The answer for it is then that of another
/// connection, or an error. Read the number from a live handle in the same turn of the event loop.
///
/// On Linux only; elsewhere it is unsupported.
///
/// # Errors
///
/// When the number names no TCP connection, or the operating system refuses to tell.
pub fn round_trip(descriptor: RawFd) -> io::Result<Duration> {
    // `struct tcp_info`: eight bytes, then 32 bits each; tcpi_rtt is the sixteenth of those, in microseconds.
    let mut info = [0; 18];
    let length = look(descriptor, |borrowed| socket_option(borrowed, libc::IPPROTO_TCP, libc::TCP_INFO, &mut info))
        .map_err(failed("getsockopt(TCP_INFO)"))?;
    if length < size_of_val(&info) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "getsockopt(TCP_INFO) tells too little"));
    }
    Ok(Duration::from_micros(info[17].into()))
}
