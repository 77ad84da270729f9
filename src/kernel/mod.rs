//! What only the operating system knows: a listener's accept queue, what connections have received and not sent, and how far away
//! their peers are.
//!
//! ```text
//!               SYN                 the last ACK             accept(2)
//!   client ──────────────▶ handshake ───────────▶ accept queue ───────▶ connection ──▶ receive queue ──▶ Node
//!               ▲                  ▲                   ▲                                     ▲
//!       Listener::hold   Listener::handshakes   Listener::waiting                         unread
//!    refuses it from now on    how many            how many there are              whether there is anything
//! ```
//!
//! # How to close a listener without losing a connection
//!
//! Closing a listening socket resets every connection that waits in its accept queue, and every handshake that lacks the
//! client's last ACK, which is a round trip away: its client has connected and sent its request when the reset comes. So: let
//! no new ones begin ([`Listener::hold`]), let those end that have begun ([`Listener::handshakes`]), let Node accept until
//! none is left ([`Listener::waiting`]), have Node close its descriptor, then [`Listener::close`] ours. Who begins to connect
//! meanwhile is refused, and has not sent anything, so nothing is lost. Where the SYN can only be dropped, it is repeated, a
//! second later at first, and then refused, or reaches whoever listens on that port next.
//!
//! Where [`Listener::hold`] fails, because others share the socket or for want of a privilege, [`Listener::watch`] counts all the
//! same: the listener is then closed in a moment in which none waits.
//!
//! `waiting` does not count handshakes. Count them first: one that ends meanwhile is in the queue then. They end while the
//! listener is held, one round trip after `hold` at the latest, if no packet is lost.
//!
//! # What each platform can do
//!
//! | | Linux | other Unix | elsewhere |
//! |---|---|---|---|
//! | [`Listener`] | yes; `hold` may want a privilege before 5.7 and for `SO_REUSEPORT` | unsupported | unsupported |
//! | [`unread`], [`duplicate`], [`reset_at_close`] | yes | yes | unsupported |
//! | [`unsent`], [`round_trip`] | yes | unsupported | unsupported |
//! | [`signals`] | yes | unsupported | unsupported |
//! | [`end_process`] | yes | yes | yes, but libraries are told |
//!
//! Unsupported is an error of the kind [`std::io::ErrorKind::Unsupported`]; whoever calls goes on without.
//!
//! # Unsafe code
//!
//! This is the one module that has any. A descriptor comes from JavaScript as a bare number, and a number can be
//! wrong. So nothing is ever done through such a number that could change what it names: it is looked at (`poll`,
//! `fstat`, `FIONREAD`, `SIOCOUTQNSD`, `getsockopt`) or duplicated, and what is changed is changed through a duplicate that was
//! checked. [`reset_at_close`] can't check, as connections have no mark: it trusts that JavaScript has read the number from a
//! live handle.

#![deny(clippy::undocumented_unsafe_blocks)]

#[cfg(target_os = "linux")]
mod linux;
mod process;
#[cfg(all(test, unix))]
mod tests;
#[cfg(unix)]
mod unix;
#[cfg(not(target_os = "linux"))]
mod unsupported;

#[cfg(target_os = "linux")]
pub use linux::{Listener, round_trip, signals, unsent};
pub use process::end_process;
#[cfg(unix)]
pub use unix::{duplicate, reset_at_close, unread};
#[cfg(not(target_os = "linux"))]
pub use unsupported::{Listener, round_trip, signals, unsent};
#[cfg(not(unix))]
pub use unsupported::{duplicate, reset_at_close, unread};
