//! Waiting for a condition, with a generous deadline.

use std::time::{Duration, Instant};

/// What nothing in a test takes longer than on a slow and busy machine.
pub const DEADLINE: Duration = Duration::from_secs(240);

/// Waits until `condition` holds; panics at the deadline.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "{what} did not happen in {DEADLINE:?}");
        std::thread::yield_now();
    }
}
