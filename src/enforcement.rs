//! Ends the process when its time is over, even while Node's event loop is blocked.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::sync::mpsc;
use std::time::Duration;

use slab::Slab;

use crate::alarm::{Alarm, AlarmClock};
use crate::clock::now;
use crate::kernel::{self, signals::Signals};
use crate::sync::{Mutex, global, lock};

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
struct Guard<E> {
    signals: Vec<i32>,
    after: Duration,
    line: String,
    /// Since the first one has come.
    enforcement: Option<E>,
}

/// All of them. A signal is overheard exactly while one of them is against it, since both change under the lock; and
/// a signal that has been overheard waits for the lock, and so finds the guard for whose sake it was.
#[derive(Debug)]
struct Guards<E>(Mutex<Slab<Guard<E>>>);

global! {
    // Not in thread-local variables: those of the main thread are dropped when it begins to exit, and what happens
    // then may block, too.
    static ENFORCEMENTS: Mutex<Slab<Enforcement>> = Mutex::new(Slab::new());
    static GUARDS: Guards<Enforcement> = Guards(Mutex::new(Slab::new()));
}

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
    GUARDS.add(guard, kernel::signals::overhear, kernel::signals::stop_overhearing)
}

/// Takes that back, and what has come of it.
pub fn unguard(key: usize) {
    GUARDS.remove(key, kernel::signals::stop_overhearing);
}

/// Starts the thread to which signals come, unless it runs. It does so to the end of the process: there is one place
/// where signals arrive, and this thread has it.
fn watch() -> io::Result<()> {
    global! {
        static RUNS: Mutex<bool> = Mutex::new(false);
    }
    let mut runs = lock(&RUNS);
    if !*runs {
        // The thread first: what can be opened only once must not be lost for want of one.
        let (hand_over, handed_over) = mpsc::channel::<Signals>();
        std::thread::Builder::new().name("http-signals".into()).spawn(move || {
            let Ok(mut signals) = handed_over.recv() else { return };
            while let Ok(signal) = signals.wait() {
                // If there is no thread for it, JavaScript tries again when it hears of the signal.
                GUARDS.came(signal, |after, line| Enforcement::begin(after, line).ok());
            }
        })?;
        // It waits for them.
        let _ = hand_over.send(Signals::open()?);
        *runs = true;
    }
    Ok(())
}

impl<E> Guards<E> {
    fn add(
        &self,
        guard: Guard<E>,
        overhear: impl Fn(i32) -> io::Result<()>,
        stop_overhearing: impl Fn(i32),
    ) -> io::Result<usize> {
        let mut guards = lock(&self.0);
        for &signal in &guard.signals {
            if let Err(error) = overhear(signal) {
                leave(&guards, &guard.signals, stop_overhearing);
                return Err(error);
            }
        }
        Ok(guards.insert(guard))
    }

    fn remove(&self, key: usize, stop_overhearing: impl Fn(i32)) {
        // Dropped after the lock is.
        let _removed = {
            let mut guards = lock(&self.0);
            let removed = guards.try_remove(key);
            if let Some(guard) = &removed {
                leave(&guards, &guard.signals, stop_overhearing);
            }
            removed
        };
    }

    fn came(&self, signal: i32, begin: impl Fn(Duration, String) -> Option<E>) {
        for (_, guard) in lock(&self.0).iter_mut() {
            if guard.enforcement.is_none() && guard.signals.contains(&signal) {
                guard.enforcement = begin(guard.after, guard.line.clone());
            }
        }
    }
}

/// Overhears no longer those signals that nobody else guards against.
fn leave<E>(guards: &Slab<Guard<E>>, signals: &[i32], stop_overhearing: impl Fn(i32)) {
    for &signal in signals {
        if !guards.iter().any(|(_, guard)| guard.signals.contains(&signal)) {
            stop_overhearing(signal);
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

#[cfg(all(test, feature = "loom"))]
mod loom_tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering::SeqCst;

    use loom::thread::spawn;

    use super::*;
    use crate::sync::AtomicBool;

    const SIGNAL: i32 = 15;

    fn guards() -> (Arc<Guards<()>>, Arc<AtomicBool>) {
        (Arc::new(Guards(Mutex::new(Slab::new()))), Arc::new(AtomicBool::new(false)))
    }

    fn add(guards: &Guards<()>, overheard: &AtomicBool) -> usize {
        let guard = Guard { signals: vec![SIGNAL], after: LINE_WITHIN, line: String::new(), enforcement: None };
        let overhear = |_| {
            overheard.store(true, SeqCst);
            Ok(())
        };
        guards.add(guard, overhear, |_| overheard.store(false, SeqCst)).unwrap()
    }

    #[test]
    fn loom_a_signal_that_is_overheard_is_enforced() {
        loom::model(|| {
            let (guards, overheard) = guards();
            let signal = spawn({
                let (guards, overheard) = (Arc::clone(&guards), Arc::clone(&overheard));
                move || {
                    let heard = overheard.load(SeqCst);
                    if heard {
                        guards.came(SIGNAL, |_, _| Some(()));
                    }
                    heard
                }
            });
            let key = add(&guards, &overheard);
            let heard = signal.join().unwrap();
            assert_eq!(lock(&guards.0)[key].enforcement.is_some(), heard);
        });
    }

    #[test]
    fn loom_a_signal_is_overheard_while_anybody_guards_against_it() {
        loom::model(|| {
            let (guards, overheard) = guards();
            let other = spawn({
                let (guards, overheard) = (Arc::clone(&guards), Arc::clone(&overheard));
                move || {
                    let key = add(&guards, &overheard);
                    guards.remove(key, |_| overheard.store(false, SeqCst));
                }
            });
            add(&guards, &overheard);
            other.join().unwrap();
            assert!(overheard.load(SeqCst));
        });
    }
}
