//! Grace periods: when a published chain is replaced, how its last reader is waited for.
//!
//! **`enter` and `exit` run inside signal handlers.** They are wait-free and write only the calling
//! thread's own cache line.
//!
//! Problem: a handler may run at any instruction of any thread and must never wait, so the writer
//! does the waiting. A handler counts itself into one of two phases of its thread's [`Readers`] and
//! out again. The writer flips the phase and waits for the old phase to drain on every thread;
//! handlers that start meanwhile count into the new one, so a storm of signals cannot hold it up.
//!
//! Before that it waits for the other phase. A reader may load the phase and be delayed before it
//! counts itself in, and then count into a phase that is no longer current; waiting for one phase only
//! would miss it the next time. Nobody new counts into the other phase, so it drains, too; and once both
//! have, everybody who was there at the barrier has left. (The kernel's SRCU does the same, for the same
//! reason: kernel/rcu/srcutree.c, `srcu_advance_state`.) One barrier does for both: who counts in after it sees the new chain.
//!
//! # Atomic orderings
//! A reader stores its count and then loads the chain; a writer stores the chain and then loads the
//! counts. One of them must see the other, which needs a full barrier on both sides. The reader's
//! is a compiler fence when the writer can run membarrier(2) (`MEMBARRIER_CMD_PRIVATE_EXPEDITED`
//! makes every running thread execute one), a real fence otherwise. The count goes down with
//! Release, read with Acquire: what the reader read, it read before the writer frees it.
//!
//! Refused: hazard pointers (a handler that leaves by `siglongjmp` would leave one set; and they
//! cost a reload), a read lock (a writer cannot get in under a storm), epochs that readers advance
//! (a handler would write a shared line).

use crate::sync::{AtomicU32, Ordering, compiler_fence, fence};

/// The current phase, 0 or 1. One for the process.
#[derive(Debug)]
pub(crate) struct Phase(AtomicU32);

/// How many handlers of one thread are reading a chain, by the phase they started in.
#[derive(Debug)]
pub(crate) struct Readers([AtomicU32; 2]);

/// What a reader counted itself into.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    phase: usize,
    /// The count before this reader, which is the count after it: handlers that nest leave it alone.
    before: u32,
}

impl Phase {
    pub(crate) const fn new(word: AtomicU32) -> Self {
        Self(word)
    }

    #[inline(always)]
    fn current(&self) -> usize {
        (self.0.load(Ordering::Relaxed) & 1) as usize
    }

    /// Returns when every reader that entered before the call has left. One caller at a time.
    ///
    /// `barrier` is the writer's side of the barrier; `drained(phase)` tells whether no thread reads
    /// in that phase; `pause` lets others run.
    pub(crate) fn synchronize(
        &self,
        barrier: impl FnOnce(),
        drained: impl Fn(usize) -> bool,
        mut pause: impl FnMut(),
    ) {
        // ORDERING: orders the publication, before, and the counts, after.
        barrier();
        let old = self.current();
        while !drained(1 - old) {
            pause();
        }
        // ORDERING: Relaxed: which phase a reader takes does not matter, only that it is counted.
        self.0.store(1 - old as u32, Ordering::Relaxed);
        while !drained(old) {
            pause();
        }
    }
}

impl Readers {
    pub(crate) const fn new(first: AtomicU32, second: AtomicU32) -> Self {
        Self([first, second])
    }

    /// Counts the calling handler in. Only the owning thread calls this; a handler that nests leaves
    /// the counts as it found them, so plain loads and stores do.
    #[inline(always)]
    pub(crate) fn enter(&self, phase: &Phase, expedited: bool) -> Reading {
        let phase = phase.current();
        let count = &self.0[phase & 1];
        let before = count.load(Ordering::Relaxed);
        count.store(before.wrapping_add(1), Ordering::Relaxed);
        if expedited {
            compiler_fence(Ordering::SeqCst);
        } else {
            fence(Ordering::SeqCst);
        }
        Reading { phase, before }
    }

    /// Counts it out.
    #[inline(always)]
    pub(crate) fn exit(&self, reading: Reading) {
        // ORDERING: Release pairs with the Acquire in `is_drained`. The count is not loaded again, so that
        // a handler does not wait for its own store.
        self.0[reading.phase & 1].store(reading.before, Ordering::Release);
    }

    /// How many handlers of the calling thread are counted in.
    #[inline(always)]
    pub(crate) fn nesting(&self) -> u32 {
        let [first, second] = &self.0;
        first.load(Ordering::Relaxed).wrapping_add(second.load(Ordering::Relaxed))
    }

    /// As `enter`, for threads that share these counts.
    pub(crate) fn enter_shared(&self, phase: &Phase) -> Reading {
        let phase = phase.current();
        self.0[phase & 1].fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        Reading { phase, before: 0 }
    }

    /// As `exit`, for threads that share these counts.
    pub(crate) fn exit_shared(&self, reading: Reading) {
        let count = &self.0[reading.phase & 1];
        // A fork inside a handler on a thread without a record has reset the count in the child, so it
        // must not go below zero there.
        let mut seen = count.load(Ordering::Relaxed);
        while seen > 0 {
            match count.compare_exchange_weak(seen, seen - 1, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(actual) => seen = actual,
            }
        }
    }

    /// Whether nobody reads in `phase`.
    pub(crate) fn is_drained(&self, phase: usize) -> bool {
        self.0[phase & 1].load(Ordering::Acquire) == 0
    }

    /// Forgets every reader, in a forked child, of threads that do not exist there.
    pub(crate) fn reset_after_fork(&self) {
        for count in &self.0 {
            count.store(0, Ordering::Relaxed);
        }
    }
}
