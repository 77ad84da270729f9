//! What threads share memory through. With the feature `loom` it is loom's, whose tests try every order in which
//! threads may come to it: `npm run test:loom`.
//!
//! tokio's channels and `Arc`s of the standard library are not among it: loom can't see into them, and what they
//! promise is tested where they are made.

#![forbid(unsafe_code)]

use std::sync::PoisonError;

#[cfg(feature = "loom")]
pub use loom::sync::atomic::{AtomicBool, AtomicU8};
#[cfg(feature = "loom")]
pub use loom::sync::{Mutex, MutexGuard};
#[cfg(not(feature = "loom"))]
pub use std::sync::atomic::{AtomicBool, AtomicU8};
#[cfg(not(feature = "loom"))]
pub use std::sync::{Mutex, MutexGuard};

/// Takes the lock. What is behind the locks of this crate is whole at any time, so it does not matter who has
/// panicked.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A value for all threads. loom makes a new one each time that it tries another order.
macro_rules! global {
    ($($(#[$doc:meta])* static $name:ident: $type:ty = $value:expr;)+) => {
        $(
            #[cfg(not(feature = "loom"))]
            $(#[$doc])*
            static $name: $type = $value;
        )+
        #[cfg(feature = "loom")]
        loom::lazy_static! { $($(#[$doc])* static ref $name: $type = $value;)+ }
    };
}
pub(crate) use global;
