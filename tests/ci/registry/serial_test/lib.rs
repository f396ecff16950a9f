//! One test of a process at a time. signal-hook's tests use a package of this name and interface, which is
//! not published.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Waits for the other tests.
pub fn lock() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
