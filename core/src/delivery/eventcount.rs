//! How a consumer sleeps until a handler has something for it, without a lost wake-up.
//!
//! **`notify` runs inside signal handlers.** It makes a system call only when somebody sleeps.
//!
//! Problem: a consumer that finds the queue empty and then sleeps misses what arrives in between.
//! The word says whether anybody may be asleep: the consumer sets it, looks again, and sleeps only
//! while it is still set; the handler publishes, then looks at the word.
//!
//! # Atomic orderings
//! The two sides each store one thing and load the other (Dekker): the queue and the word. Both
//! have a SeqCst fence between the store and the load, so at least one of them sees the other.

use crate::sync::{AtomicU32, Ordering, fence};
use core::time::Duration;

#[derive(Debug)]
pub(crate) struct EventCount {
    /// 1 when somebody may be asleep.
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
        if self.word.load(Ordering::Relaxed) != 0 && self.word.swap(0, Ordering::SeqCst) != 0 {
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
            self.word.store(1, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            if let Some(result) = ready() {
                return Some(result);
            }
            if !crate::sys::futex_wait(&self.word, 1, deadline) {
                return ready();
            }
        }
    }
}
