//! How often each signal was delivered, passed and deferred.
//!
//! **Written inside signal handlers.** Each thread counts in its own record, so that no cache line
//! is shared; threads without a record share one set. `table()` adds them up; a record that changes
//! hands keeps its counts, so that the sums never go down.

use crate::sync::{AtomicUsize, Ordering};

/// Signals are numbered 1 to 64.
pub(crate) const SIGNALS: usize = 65;

type PerSignal = [AtomicUsize; SIGNALS];

pub(crate) struct Counters {
    delivered: PerSignal,
    passed: PerSignal,
    deferred: PerSignal,
}

/// Which of the counts.
#[derive(Clone, Copy)]
pub(crate) enum Count {
    /// A handler of ours was entered and went through the chain.
    Delivered,
    /// Nobody took it: it got the default action. (What is taken is the rule, and costs no count.)
    Passed,
    /// It had to wait for the end of a deferral first.
    Deferred,
}

impl Counters {
    /// Where each of them begins, for `exhibit`.
    pub(crate) const OFFSETS: [u32; 3] = [
        core::mem::offset_of!(Self, delivered) as u32,
        core::mem::offset_of!(Self, passed) as u32,
        core::mem::offset_of!(Self, deferred) as u32,
    ];

    pub(crate) const fn new() -> Self {
        const fn zero() -> PerSignal {
            [const { AtomicUsize::new(0) }; SIGNALS]
        }
        Self { delivered: zero(), passed: zero(), deferred: zero() }
    }

    #[inline(always)]
    fn of(&self, count: Count) -> &PerSignal {
        match count {
            Count::Delivered => &self.delivered,
            Count::Passed => &self.passed,
            Count::Deferred => &self.deferred,
        }
    }

    /// Counts on the thread that owns these: plain load and store, no locked instruction.
    #[inline(always)]
    pub(crate) fn add_own(&self, count: Count, signal: i32) {
        if let Some(word) = self.of(count).get(signal as usize) {
            word.store(word.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// Counts where several threads share these.
    pub(crate) fn add_shared(&self, count: Count, signal: i32) {
        if let Some(word) = self.of(count).get(signal as usize) {
            word.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn get(&self, count: Count, signal: i32) -> usize {
        self.of(count).get(signal as usize).map_or(0, |word| word.load(Ordering::Relaxed))
    }
}
