//! Handshakes under way: who has sent a SYN to a listener, and not the last ACK yet.
//!
//! Only `sock_diag(7)` tells of them. It is asked by hand: crates that speak netlink bring five others with them, to write one
//! question of 72 bytes.

use std::io;
use std::net::{IpAddr, SocketAddr};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};

use super::failed;

/// `SOCK_DIAG_BY_FAMILY`, of which a question and its answers are.
const BY_FAMILY: u16 = 20;

/// A `struct nlmsghdr`, which is before each of them.
const HEADER: usize = 16;

/// That and a `struct inet_diag_req_v2`.
const QUESTION: usize = HEADER + 56;

/// What is received at once, at most. The kernel sends as many answers as there is room for.
const ANSWERS: usize = 32 * 1024;

/// How many handshakes are under way with the listener that is bound to `local`.
pub(super) fn count(local: SocketAddr) -> io::Result<u32> {
    // One of its own, as what is left of one answer would be taken for another.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(netlink::SOCK_DIAG))
        .map_err(|error| failed("socket(NETLINK_SOCK_DIAG)")(error.into()))?;
    send(&socket, &question(local), SendFlags::empty()).map_err(|error| failed("asking sock_diag")(error.into()))?;
    let mut count = 0;
    let mut buffer = vec![0; ANSWERS];
    loop {
        // There is something to receive until the end is told, so this need not wait.
        let (length, _) = recv(&socket, &mut buffer[..], RecvFlags::DONTWAIT)
            .map_err(|error| failed("hearing of sock_diag")(error.into()))?;
        let mut answers = &buffer[..length];
        while !answers.is_empty() {
            let answer = Answer::first_of(answers).ok_or(io::ErrorKind::InvalidData)?;
            match answer.kind {
                BY_FAMILY => {
                    count += u32::from(answer.is_handshake_with(local.ip()).ok_or(io::ErrorKind::InvalidData)?)
                }
                _ => return answer.end().map(|()| count).map_err(failed("sock_diag")),
            }
            // Each begins at a multiple of four.
            answers = answers.get(answer.length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// All that are in the state SYN_RECV on this port.
fn question(local: SocketAddr) -> [u8; QUESTION] {
    const REQUEST_DUMP: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    const SYN_RECV: u32 = 1 << 3;
    // Of a listener of IPv6 they all are, also those that come over IPv4.
    let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut question = [0; QUESTION];
    question[..4].copy_from_slice(&(QUESTION as u32).to_ne_bytes());
    question[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
    question[6..8].copy_from_slice(&REQUEST_DUMP.to_ne_bytes());
    question[HEADER] = family as u8;
    question[HEADER + 1] = libc::IPPROTO_TCP as u8;
    question[HEADER + 4..][..4].copy_from_slice(&SYN_RECV.to_ne_bytes());
    question[HEADER + 8..][..2].copy_from_slice(&local.port().to_be_bytes());
    question
}

/// One of the kernel's answers.
struct Answer<'a> {
    length: usize,
    kind: u16,
    body: &'a [u8],
}

impl<'a> Answer<'a> {
    fn first_of(answers: &'a [u8]) -> Option<Self> {
        let length = u32::from_ne_bytes(*answers.first_chunk()?) as usize;
        let kind = u16::from_ne_bytes(*answers.get(4..)?.first_chunk()?);
        Some(Self { length, kind, body: answers.get(HEADER..length)? })
    }

    /// Whether it tells of a handshake with this address, in which nothing was repeated yet. Its body is a
    /// `struct inet_diag_msg`: family, state, timer and repetitions, a byte each; then two ports and this end's address.
    fn is_handshake_with(&self, ip: IpAddr) -> Option<bool> {
        let (repetitions, to) = (self.body.get(3)?, self.body.get(8..24)?);
        let is_to = match ip {
            _ if ip.is_unspecified() => true,
            IpAddr::V4(ip) => to.starts_with(&ip.octets()),
            IpAddr::V6(ip) => to == ip.octets(),
        };
        Some(is_to && *repetitions == 0)
    }

    /// The last answer tells whether all went well.
    fn end(&self) -> io::Result<()> {
        match self.body.first_chunk().map(|error| i32::from_ne_bytes(*error)) {
            Some(0..) => Ok(()),
            Some(error) => Err(io::Error::from_raw_os_error(error.wrapping_neg())),
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}
