//! Ends the process when its time is over, even while Node's event loop is blocked.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::sync::mpsc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use slab::Slab;

use crate::alarm::{Alarm, AlarmClock};
use crate::driver::now;
use crate::kernel;

/// The exit code of a process that had to be ended.
const FORCED: i32 = 1;

/// How long the last line may take. A pipe that nobody reads would take it never.
const LINE_WITHIN: Duration = Duration::from_millis(100);

/// An alarm, and a hold on the thread that keeps it.
#[derive(Debug)]
struct Enforcement {
    _alarm: Alarm,
    _clock: AlarmClock,
}

/// Not in a thread-local variable: those of the main thread are dropped when it begins to exit, and what happens
/// then may block, too.
static ENFORCEMENTS: Mutex<Slab<Enforcement>> = Mutex::new(Slab::new());

/// Ends the process in `after`, unless it has ended by then or somebody relents. Gives what names this.
///
/// # Errors
///
/// When the operating system refuses a thread, or the clock does not go so far.
pub fn enforce(after: Duration, line: String) -> io::Result<usize> {
    let due = now().checked_add(after).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let clock = AlarmClock::start()?;
    let alarm = clock.set(due, move || {
        say(line);
        kernel::end_process(FORCED);
    });
    Ok(enforcements().insert(Enforcement { _alarm: alarm, _clock: clock }))
}

/// Takes that back.
pub fn relent(key: usize) {
    // Dropped after the lock is.
    let _enforcement = enforcements().try_remove(key);
}

fn enforcements() -> MutexGuard<'static, Slab<Enforcement>> {
    ENFORCEMENTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes a line to stderr, on a thread of its own: the process ends whether or not anybody takes it.
fn say(line: String) {
    let (written, wait) = mpsc::channel::<()>();
    let writer = std::thread::Builder::new().spawn(move || {
        // There is nobody left to tell if it fails.
        let _ = io::stderr().write_all(line.as_bytes());
        drop(written);
    });
    if writer.is_ok() {
        // It hears nothing but that the thread is done, or that it is not.
        let _ = wait.recv_timeout(LINE_WITHIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_was_let_live_lives() {
        let key = enforce(Duration::from_millis(20), "not to be seen\n".into()).unwrap();
        relent(key);
        relent(key);
        std::thread::sleep(Duration::from_millis(60));
    }

    #[test]
    fn a_time_beyond_the_clock_is_an_error() {
        assert!(enforce(Duration::MAX, String::new()).is_err());
    }
}
