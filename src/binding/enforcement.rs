//! The end of a process whose JavaScript has failed to end it.

use std::time::Duration;

use napi::{Error, Result, Status};
use napi_derive::napi;

use super::{milliseconds, to_u32};
use crate::enforcement;

/// Ends the process with code 1 in `after` milliseconds, after it has written `line` to stderr. Gives the key that
/// names this until `relent`.
///
/// # Errors
///
/// When no thread can be had to keep the time, or it is no time.
#[napi(catch_unwind)]
pub fn enforce(after: f64, line: String) -> Result<u32> {
    Ok(to_u32(enforcement::enforce(time(after)?, line)?))
}

/// Lets the process live. A key that names nothing does no harm.
#[napi(catch_unwind)]
pub fn relent(key: u32) {
    enforcement::relent(key as usize);
}

/// Enforces the same as soon as one of these signals has come, which JavaScript must be listening to. Gives the key
/// that names this until `unguard`.
///
/// # Errors
///
/// When the platform does not tell, or there is no such signal.
#[napi(catch_unwind)]
pub fn guard(signals: Vec<i32>, after: f64, line: String) -> Result<u32> {
    Ok(to_u32(enforcement::guard(signals, time(after)?, line)?))
}

/// Guards against these signals no longer, nor enforces what has come of it.
#[napi(catch_unwind)]
pub fn unguard(key: u32) {
    enforcement::unguard(key as usize);
}

fn time(after: f64) -> Result<Duration> {
    milliseconds(after).ok_or_else(|| Error::new(Status::InvalidArg, format!("{after} is no time to wait for")))
}
