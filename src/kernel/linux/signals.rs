//! Signals, heard of even while JavaScript is too busy to hear of them.
//!
//! Node handles a signal in two steps: a handler of libuv writes to a pipe, and the event loop, when it gets there,
//! calls the listeners. Ours stands before libuv's, does the same with a pipe of its own, and calls libuv's.

use std::io::{self, PipeReader, PipeWriter, Read};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use libc::{SA_RESETHAND, SA_SIGINFO, SIG_DFL, SIG_IGN, c_int, sigaction};

/// One more than the highest number that a signal has.
const SIGNALS: usize = 65;

/// The handler before which ours stands or has stood, by signal. It stays when ours goes, since ours may just be
/// running on another thread. It never becomes another: libuv has one handler, and any other may call ours by now,
/// which would then call it, for ever.
static BEFORE: [AtomicUsize; SIGNALS] = [const { AtomicUsize::new(0) }; SIGNALS];

/// Where to write what comes. Open for as long as the process lives.
static WRITER: OnceLock<PipeWriter> = OnceLock::new();

/// The signals that come, in their order.
#[derive(Debug)]
pub struct Signals {
    reader: PipeReader,
}

impl Signals {
    /// Opens the one place where they arrive.
    ///
    /// # Errors
    ///
    /// When the process has no descriptor left, or this was called before.
    pub fn open() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        // A handler must never wait.
        rustix::io::ioctl_fionbio(&writer, true)?;
        WRITER.set(writer).map_err(|_| io::Error::from(io::ErrorKind::AlreadyExists))?;
        Ok(Self { reader })
    }

    /// Waits for the next one.
    ///
    /// # Errors
    ///
    /// None that is known of, as the other end of the pipe stays open.
    pub fn wait(&mut self) -> io::Result<i32> {
        let mut number = [0];
        self.reader.read_exact(&mut number)?;
        Ok(number[0].into())
    }
}

/// Has a signal come to [`Signals`] as well as to JavaScript, which must be listening to it.
///
/// When JavaScript stops listening, libuv puts the default action in place of whatever is there, so this ends by
/// itself then. A default action of its own would be raised again by Node's, for ever: so without a listener this is
/// refused.
///
/// # Errors
///
/// When JavaScript does not listen, there is no such signal, or somebody else has placed a handler since the first call.
pub fn overhear(signal: i32) -> io::Result<()> {
    let before = place(signal)?;
    let mut action = current(signal)?;
    if action.sa_sigaction == ours() {
        return Ok(());
    }
    let is_handler = ![SIG_DFL, SIG_IGN].contains(&action.sa_sigaction);
    // libuv's handler takes the number alone and stays until it is taken away; Node's own goes when it is called.
    if !is_handler || action.sa_flags & (SA_SIGINFO | SA_RESETHAND) != 0 {
        return Err(io::Error::new(io::ErrorKind::Unsupported, format!("nothing of libuv handles signal {signal}")));
    }
    let first = before.compare_exchange(0, action.sa_sigaction, Ordering::SeqCst, Ordering::SeqCst);
    if first.is_err_and(|first| first != action.sa_sigaction) {
        return Err(io::Error::new(io::ErrorKind::Unsupported, format!("somebody else handles signal {signal}, too")));
    }
    action.sa_sigaction = ours();
    set(signal, &action)
}

/// Leaves a signal to JavaScript alone again.
pub fn stop_overhearing(signal: i32) {
    let (Ok(before), Ok(mut action)) = (place(signal), current(signal)) else { return };
    if action.sa_sigaction == ours() {
        action.sa_sigaction = before.load(Ordering::SeqCst);
        // It was accepted for this signal before.
        let _ = set(signal, &action);
    }
}

fn ours() -> usize {
    heard as extern "C" fn(c_int) as usize
}

fn place(signal: i32) -> io::Result<&'static AtomicUsize> {
    let place = usize::try_from(signal).ok().and_then(|number| BEFORE.get(number));
    place.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
}

/// Runs on any thread, between any two of its instructions: it may take no lock and no memory.
extern "C" fn heard(signal: c_int) {
    let Ok(before) = place(signal) else { return };
    // `OnceLock::get` never blocks, as its documentation says, so this may be called here.
    if let (Some(writer), Ok(number)) = (WRITER.get(), u8::try_from(signal)) {
        // On some machines rustix goes through libc, and whoever was interrupted may be about to read `errno`.
        // SAFETY: this thread has an `errno` for as long as it runs.
        let (errno, interrupted) = unsafe { (libc::__errno_location(), *libc::__errno_location()) };
        // A system call and nothing else. It is refused when thousands have come that nobody has read, and then one
        // more says nothing new.
        let _ = rustix::io::write(writer, &[number]);
        // SAFETY: as above.
        unsafe { *errno = interrupted };
    }
    let before = before.load(Ordering::SeqCst);
    if before != 0 {
        // SAFETY: it was the handler of this signal, without SA_SIGINFO, so it is a function that takes the number.
        let handler = unsafe { std::mem::transmute::<usize, extern "C" fn(c_int)>(before) };
        handler(signal);
    }
}

fn current(signal: i32) -> io::Result<sigaction> {
    let mut action = MaybeUninit::uninit();
    // SAFETY: nothing is set, and what is there is written to where there is room for it.
    if unsafe { sigaction(signal, ptr::null(), action.as_mut_ptr()) } == 0 {
        // SAFETY: it has just been written.
        Ok(unsafe { action.assume_init() })
    } else {
        Err(io::Error::last_os_error())
    }
}

fn set(signal: i32, action: &sigaction) -> io::Result<()> {
    // SAFETY: the handler is either ours, which keeps to what a handler may do, or was there before us; and it has
    // the flags and the mask that it was there with.
    if unsafe { sigaction(signal, action, ptr::null_mut()) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    static CALLED: AtomicBool = AtomicBool::new(false);
    static CHAINED: AtomicBool = AtomicBool::new(false);

    extern "C" fn before(_signal: c_int) {
        CALLED.store(true, Ordering::SeqCst);
    }

    /// Does more than `heard` alone: an optimised build gives two functions that do the same the same address.
    extern "C" fn chained(signal: c_int) {
        CHAINED.store(true, Ordering::SeqCst);
        heard(signal);
    }

    /// One test, as there is one place where signals arrive, and one table of handlers in the process.
    #[test]
    fn a_signal_is_overheard_and_handled_as_before() {
        let mut signals = Signals::open().unwrap();
        assert_eq!(Signals::open().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(overhear(libc::SIGUSR2).unwrap_err().kind(), io::ErrorKind::Unsupported, "nobody listens");
        for wrong in [-1, 0, 65, i32::MAX, libc::SIGKILL] {
            assert!(overhear(wrong).is_err());
            stop_overhearing(wrong);
        }

        let mut action = current(libc::SIGUSR2).unwrap();
        action.sa_sigaction = before as extern "C" fn(c_int) as usize;
        action.sa_flags = libc::SA_RESTART;
        set(libc::SIGUSR2, &action).unwrap();
        overhear(libc::SIGUSR2).unwrap();
        overhear(libc::SIGUSR2).unwrap();
        // SAFETY: it takes any number, and has come to this very thread when it returns.
        assert_eq!(unsafe { libc::raise(libc::SIGUSR2) }, 0);
        assert!(CALLED.load(Ordering::SeqCst));
        assert_eq!(signals.wait().unwrap(), libc::SIGUSR2);

        stop_overhearing(libc::SIGUSR2);
        stop_overhearing(libc::SIGUSR2);
        assert_eq!(current(libc::SIGUSR2).unwrap().sa_sigaction, before as extern "C" fn(c_int) as usize);

        // Somebody stands before ours, and calls it.
        overhear(libc::SIGUSR2).unwrap();
        action.sa_sigaction = chained as extern "C" fn(c_int) as usize;
        set(libc::SIGUSR2, &action).unwrap();
        assert_eq!(overhear(libc::SIGUSR2).unwrap_err().kind(), io::ErrorKind::Unsupported);
        // SAFETY: as above.
        assert_eq!(unsafe { libc::raise(libc::SIGUSR2) }, 0);
        assert!(CHAINED.load(Ordering::SeqCst));
        assert_eq!(signals.wait().unwrap(), libc::SIGUSR2);
    }
}
