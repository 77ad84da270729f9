//! The clock. Whoever decides is told the time, so this is for the edges.

#![forbid(unsafe_code)]

use std::time::Instant;

/// What time it is.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
pub fn now() -> Instant {
    Instant::now()
}
