//! Actions that count their calls.

use signal_hook_registry::{SigId, register};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

static CALLS: AtomicUsize = AtomicUsize::new(0);

/// Registers one; the table names the line that called this.
#[track_caller]
pub fn counts(signal: i32) -> SigId {
    // SAFETY: changes an atomic.
    unsafe { register(signal, || count(1)) }.unwrap()
}

/// Counts so many calls.
pub fn count(calls: usize) {
    CALLS.fetch_add(calls, SeqCst);
}

/// How many there have been since the last look.
pub fn calls() -> usize {
    CALLS.swap(0, SeqCst)
}
