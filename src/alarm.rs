//! Alarms that ring on time even while Node's event loop is blocked.
//!
//! All alarms share one thread with a current-thread tokio runtime. It starts with the first [`AlarmClock`] and
//! ends after the last one is dropped, so a process that terminates nothing has no such thread.

#![forbid(unsafe_code)]

use std::io;
use std::sync::{Arc, Weak};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use crate::sync::{Mutex, global, lock};

/// A hold on the alarm thread: it runs as long as anybody has one.
#[derive(Debug)]
pub struct AlarmClock {
    thread: Arc<Thread>,
}

/// Rings once unless it is dropped first.
#[derive(Debug)]
pub struct Alarm {
    due: Instant,
    _cancel: oneshot::Sender<()>,
}

/// Ends the thread when dropped, as that closes the channel.
#[derive(Debug)]
struct Thread {
    orders: mpsc::UnboundedSender<Order>,
}

/// An alarm on its way to the thread.
struct Order {
    due: Instant,
    ring: Box<dyn FnOnce() + Send>,
    cancelled: oneshot::Receiver<()>,
}

/// What lives for as long as anybody holds it, and is made anew for whoever comes after that.
#[derive(Debug)]
struct Shared<T>(Mutex<Weak<T>>);

global! {
    static THREAD: Shared<Thread> = Shared(Mutex::new(Weak::new()));
}

impl AlarmClock {
    /// Takes hold of the thread, and starts it if nobody else has it.
    ///
    /// # Errors
    ///
    /// When the operating system refuses another thread.
    pub fn start() -> io::Result<Self> {
        Ok(Self { thread: THREAD.hold(spawn)? })
    }

    /// Calls `ring` on the thread at `due`, or at once if that has passed.
    ///
    /// Nothing rings after the last hold on the thread is gone, so keep this beside the alarm.
    pub fn set(&self, due: Instant, ring: impl FnOnce() + Send + 'static) -> Alarm {
        let (cancel, cancelled) = oneshot::channel();
        // The thread receives for as long as `self` is held, so the order always arrives.
        let _ = self.thread.orders.send(Order { due, ring: Box::new(ring), cancelled });
        Alarm { due, _cancel: cancel }
    }
}

impl Alarm {
    /// When it rings.
    #[must_use]
    pub fn due(&self) -> Instant {
        self.due
    }
}

impl<T> Shared<T> {
    fn hold(&self, make: impl FnOnce() -> io::Result<T>) -> io::Result<Arc<T>> {
        let mut shared = lock(&self.0);
        if let Some(held) = shared.upgrade() {
            return Ok(held);
        }
        let made = Arc::new(make()?);
        *shared = Arc::downgrade(&made);
        Ok(made)
    }
}

fn spawn() -> io::Result<Thread> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let (orders, mut received) = mpsc::unbounded_channel::<Order>();
    std::thread::Builder::new().name("http-terminator".into()).spawn(move || {
        runtime.block_on(async {
            while let Some(Order { due, ring, cancelled }) = received.recv().await {
                tokio::spawn(async move {
                    tokio::select! {
                        // Whoever is cancelled must not ring, even if both are ready.
                        biased;
                        _ = cancelled => {}
                        () = tokio::time::sleep_until(due.into()) => ring(),
                    }
                });
            }
        });
    })?;
    Ok(Thread { orders })
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "these tests are about real time")]
mod tests {
    use std::sync::mpsc::{RecvTimeoutError, channel};
    use std::time::Duration;

    use super::*;

    #[test]
    fn rings_not_before_it_is_due() {
        let clock = AlarmClock::start().unwrap();
        let (rang, ring) = channel();
        let due = Instant::now() + Duration::from_millis(20);
        let alarm = clock.set(due, move || rang.send(Instant::now()).unwrap());
        assert_eq!(alarm.due(), due);
        assert!(ring.recv().unwrap() >= due);
    }

    #[test]
    fn rings_at_once_when_overdue() {
        let clock = AlarmClock::start().unwrap();
        let (rang, ring) = channel();
        let _alarm = clock.set(Instant::now(), move || rang.send(()).unwrap());
        ring.recv().unwrap();
    }

    #[test]
    fn a_dropped_alarm_does_not_ring() {
        let clock = AlarmClock::start().unwrap();
        let (rang, ring) = channel::<()>();
        drop(clock.set(Instant::now() + Duration::from_secs(3600), move || rang.send(()).unwrap()));
        // The thread has let go of the order, and of the sender in it, long before that would have been due.
        assert_eq!(ring.recv_timeout(Duration::from_secs(60)), Err(RecvTimeoutError::Disconnected));
        drop(clock);
    }

    #[test]
    fn nothing_rings_once_nobody_holds_the_clock() {
        let (rang, ring) = channel::<()>();
        let clock = AlarmClock::start().unwrap();
        let alarm = clock.set(Instant::now() + Duration::from_secs(3600), move || drop(rang));
        drop((clock, alarm));
        // The order, and the sender in it, go with the alarm or with the thread.
        assert!(ring.recv().is_err());
    }
}

#[cfg(all(test, feature = "loom"))]
mod loom_tests {
    use std::sync::atomic::Ordering::SeqCst;

    use loom::thread::spawn;

    use super::*;
    use crate::sync::AtomicBool;

    /// Stands for the thread: it runs until it is dropped.
    struct Runs(Arc<AtomicBool>);

    impl Drop for Runs {
        fn drop(&mut self) {
            self.0.store(false, SeqCst);
        }
    }

    fn hold(shared: &Shared<Runs>) -> Arc<Runs> {
        shared.hold(|| Ok(Runs(Arc::new(AtomicBool::new(true))))).unwrap()
    }

    #[test]
    fn loom_what_is_held_runs_and_is_the_same_for_all_who_hold_it_at_a_time() {
        loom::model(|| {
            let shared = Arc::new(Shared(Mutex::new(Weak::new())));
            let other = spawn({
                let shared = Arc::clone(&shared);
                move || {
                    let held = hold(&shared);
                    assert!(held.0.load(SeqCst));
                    drop(held);
                    hold(&shared)
                }
            });
            let held = hold(&shared);
            assert!(held.0.load(SeqCst));
            let others = other.join().unwrap();
            assert!(Arc::ptr_eq(&held, &others));
        });
    }
}
