//! Ending the process, from any thread and whatever its other threads are doing.

/// Ends the process with this code, at once, and runs nothing else in it.
///
/// `std::process::exit` would run the handlers that Node and its libraries have registered with `atexit`. They take
/// V8 and libuv apart, on this thread, under the feet of the thread that is still running JavaScript: a crash or a
/// deadlock. `std::process::abort` ends with a signal, and with a core dump of whatever the process knows. So it is
/// `_exit` on Unix: the operating system takes everything back, and nobody is asked. What that leaves out is that a
/// terminal in raw mode is put right.
///
/// Elsewhere, which is Windows, `std::process::exit` is `ExitProcess`: it stops all other threads first, tells the
/// libraries, and leaves out what the program itself has registered.
pub fn end_process(code: i32) -> ! {
    #[cfg(unix)]
    // SAFETY: `_exit` takes any number, touches no memory of ours, and POSIX allows it even in signal handlers, so
    // it depends on no lock that another thread may hold.
    unsafe {
        libc::_exit(code)
    }
    #[cfg(not(unix))]
    std::process::exit(code)
}
