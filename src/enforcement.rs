//! Ends the process when its time is over, even while Node's event loop is blocked.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::sync::mpsc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use slab::Slab;

use crate::alarm::{Alarm, AlarmClock};
use crate::driver::now;
use crate::kernel::{self, signals::Signals};

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

/// What is to be enforced when one of these signals comes.
#[derive(Debug)]
struct Guard {
    signals: Vec<i32>,
    after: Duration,
    line: String,
    /// Since the first one has come.
    enforcement: Option<Enforcement>,
}

/// Not in thread-local variables: those of the main thread are dropped when it begins to exit, and what happens
/// then may block, too.
static ENFORCEMENTS: Mutex<Slab<Enforcement>> = Mutex::new(Slab::new());
static GUARDS: Mutex<Slab<Guard>> = Mutex::new(Slab::new());

/// Ends the process in `after`, unless it has ended by then or somebody relents. Gives what names this.
///
/// # Errors
///
/// When the operating system refuses a thread, or the clock does not go so far.
pub fn enforce(after: Duration, line: String) -> io::Result<usize> {
    Ok(lock(&ENFORCEMENTS).insert(Enforcement::begin(after, line)?))
}

/// Takes that back.
pub fn relent(key: usize) {
    // Dropped after the lock is.
    let _enforcement = lock(&ENFORCEMENTS).try_remove(key);
}

/// Enforces the same as soon as one of these signals has come, whether or not JavaScript has heard of it. JavaScript
/// must be listening to them. Gives what names this.
///
/// # Errors
///
/// When a signal can't be overheard; none is then.
pub fn guard(signals: Vec<i32>, after: Duration, line: String) -> io::Result<usize> {
    watch()?;
    let guard = Guard { signals, after, line, enforcement: None };
    for &signal in &guard.signals {
        if let Err(error) = kernel::signals::overhear(signal) {
            leave(&guard.signals);
            return Err(error);
        }
    }
    Ok(lock(&GUARDS).insert(guard))
}

/// Takes that back, and what has come of it.
pub fn unguard(key: usize) {
    let guard = lock(&GUARDS).try_remove(key);
    if let Some(guard) = guard {
        leave(&guard.signals);
    }
}

/// Overhears no longer those signals that nobody else guards.
fn leave(signals: &[i32]) {
    let guards = lock(&GUARDS);
    for &signal in signals {
        if !guards.iter().any(|(_, guard)| guard.signals.contains(&signal)) {
            kernel::signals::stop_overhearing(signal);
        }
    }
}

/// Starts the thread to which signals come, unless it runs. It does so to the end of the process: there is one place
/// where signals arrive, and this thread has it.
fn watch() -> io::Result<()> {
    static RUNS: Mutex<bool> = Mutex::new(false);
    let mut runs = lock(&RUNS);
    if !*runs {
        let mut signals = Signals::open()?;
        std::thread::Builder::new().name("http-signals".into()).spawn(move || {
            while let Ok(signal) = signals.wait() {
                came(signal);
            }
        })?;
        *runs = true;
    }
    Ok(())
}

fn came(signal: i32) {
    for (_, guard) in lock(&GUARDS).iter_mut() {
        if guard.enforcement.is_none() && guard.signals.contains(&signal) {
            // If there is no thread for it, JavaScript tries again when it hears of the signal.
            guard.enforcement = Enforcement::begin(guard.after, guard.line.clone()).ok();
        }
    }
}

impl Enforcement {
    fn begin(after: Duration, line: String) -> io::Result<Self> {
        let due = now().checked_add(after).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let clock = AlarmClock::start()?;
        let alarm = clock.set(due, move || {
            say(line);
            kernel::end_process(FORCED);
        });
        Ok(Self { _alarm: alarm, _clock: clock })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
