//! How a consumer sleeps until a handler has something for it, without a lost wake-up.
//!
//! **`notify` runs inside signal handlers.** It makes a system call only when somebody sleeps.
//!
//! Problem: a consumer that finds the queue empty and then sleeps misses what arrives in between.
//! The word is odd while somebody may be asleep: a consumer makes it odd, looks again, and sleeps only
//! while the word is what it has seen; the handler publishes, then looks at the word, and makes an odd
//! one even, which is another number than any sleeper has seen. A flag instead of a number would not
//! do: a second consumer could raise it again for itself before the first one is asleep.
//!
//! # Atomic orderings
//! The two sides each store one thing and load the other (Dekker): the queue and the word. Both
//! have a SeqCst fence between the store and the load, so at least one of them sees the other.

use crate::sync::{AtomicU32, Ordering, fence};
use core::time::Duration;

#[derive(Debug)]
pub(crate) struct EventCount {
    /// Odd when somebody may be asleep; see the module.
    word: AtomicU32,
}

impl EventCount {
    /// `word` starts at 0.
    pub(crate) const fn new(word: AtomicU32) -> Self {
        Self { word }
    }

    /// Wakes whoever sleeps. Called after the thing waited for has been published.
    #[inline]
    pub(crate) fn notify(&self) {
        fence(Ordering::SeqCst);
        let seen = self.word.load(Ordering::Relaxed);
        if seen & 1 == 0 {
            return;
        }
        // Consumers only change even words, so a failure means that another handler did this, after
        // this one's fence.
        let even = seen.wrapping_add(1);
        if self.word.compare_exchange(seen, even, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
            crate::sys::futex_wake(&self.word, i32::MAX);
        }
    }

    /// Sleeps until `ready` gives something or the deadline has passed.
    pub(crate) fn wait<R>(
        &self,
        deadline: Option<Duration>,
        mut ready: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        loop {
            if let Some(result) = ready() {
                return Some(result);
            }
            let seen = self.word.fetch_or(1, Ordering::SeqCst) | 1;
            fence(Ordering::SeqCst);
            if let Some(result) = ready() {
                return Some(result);
            }
            if !crate::sys::futex_wait(&self.word, seen, deadline) {
                return ready();
            }
        }
    }
}
