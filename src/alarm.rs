//! Alarms that ring on time even while Node's event loop is blocked.
//!
//! All alarms share one thread with a current-thread tokio runtime. It starts with the first alarm and
//! ends after the last one is dropped, so a process that terminates nothing has no such thread.

#![forbid(unsafe_code)]

use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

/// A hold on the alarm thread: it runs as long as anybody has one.
#[derive(Clone, Debug)]
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

static THREAD: Mutex<Weak<Thread>> = Mutex::new(Weak::new());

impl AlarmClock {
    /// Takes hold of the thread, and starts it if nobody else has it.
    ///
    /// # Errors
    ///
    /// When the operating system refuses another thread.
    pub fn start() -> io::Result<Self> {
        let mut shared = THREAD.lock().unwrap_or_else(PoisonError::into_inner);
        let thread = if let Some(running) = shared.upgrade() { running } else { Arc::new(spawn()?) };
        *shared = Arc::downgrade(&thread);
        Ok(Self { thread })
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
    use std::sync::mpsc::channel;
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
        let (rang, ring) = channel();
        let other = rang.clone();
        let due = Instant::now() + Duration::from_millis(20);
        drop(clock.set(due, move || rang.send("dropped").unwrap()));
        let _later = clock.set(due + Duration::from_millis(20), move || other.send("later").unwrap());
        assert_eq!(ring.recv(), Ok("later"));
        // Both senders are gone when the thread has let go of both orders.
        assert!(ring.recv().is_err());
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
