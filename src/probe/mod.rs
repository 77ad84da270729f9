//! A server of health probes, on a thread of its own, which answers also while Node's event loop is blocked.
//!
//! ```text
//!   lib/probe-server.js ── signals, heartbeats, checks, connections ──▶ health ◀── watch ◀── driver
//!                                                                          ▲
//!   kubelet, Prometheus ◀── HTTP ── server (its thread) ── site ───────────┴── metrics
//! ```
//!
//! The thread sees [`health`] and nothing else: phases, counters and the time of the last heartbeat.

#![forbid(unsafe_code)]

pub mod health;
pub mod metrics;
pub mod server;
pub mod site;
