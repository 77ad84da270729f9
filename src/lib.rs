//! The native half of `http-terminator-native`: it ends Node HTTP servers without losing a request.
//!
//! ```text
//!   Node's events                 ids, events                events, now
//!  ───────────────▶  lib/*.js  ───────────────▶  binding  ───────────────▶  drain
//!                    (wiring)  ◀───────────────  driver   ◀───────────────  (the machine)
//!                                  actions                 actions, deadline
//!                                                   │ descriptors
//!                                                   ▼
//!                                                 kernel
//!                                     (what only the operating system knows)
//! ```
//!
//! Every decision is made in [`drain`], a machine without input or output: it is told what happened
//! and what time it is, and answers with actions. [`driver`] owns one machine per server, reads the
//! [`clock`] and keeps the deadline with an [`alarm`] that does not depend on Node's event loop.
//! [`kernel`] sees what Node does not: connections it has not accepted and bytes it has not read.
//! [`chunked`] finds the end of a body before Node's parser has come to it.
//! [`enforcement`] ends the process when JavaScript has failed to do so in time.
//! [`probe`] answers health probes on a thread of its own, from what [`watch`] shows of the drivers.
//! [`binding`] is the hallway to JavaScript, which carries the actions out in the same tick.
//!
//! # Vocabulary
//!
//! The words are those of the field. A *connection* is New, Active, Idle or Hijacked (the names of
//! Go's `http.ConnState`; a hijacked connection was upgraded or became a CONNECT tunnel). A *request*
//! is in flight from its first byte until its answer has been handed to the operating system. A
//! *termination* runs from `terminate()` until its promise settles; in its course the server is
//! *drained*. A connection *lingers* when it has been told to go (FIN sent) and what its peer still
//! sends is read and thrown away (RFC 9112, section 9.6).

#![deny(missing_docs, unsafe_code)]

pub mod alarm;
pub mod binding;
pub mod chunked;
pub mod clock;
pub mod drain;
pub mod driver;
pub mod enforcement;
#[allow(unsafe_code, reason = "the one module that has any; SECURITY.md lists it")]
pub mod kernel;
pub mod probe;
pub mod sync;
pub mod watch;
