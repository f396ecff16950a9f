//! What sigplane knows of one thread.
//!
//! **Read and written inside signal handlers of its own thread**, found there through one word of
//! initial-exec thread-local storage. Records are never freed: one that a thread has left is given
//! to the next (its generation tells old handles apart), so a writer can walk all of them without a
//! lock, and a handler can never hold a dangling one.
//!
//! # Safety
//! The fields are in three groups, each with its own rule:
//! * own: written by the thread and its handlers only, with plain loads and stores;
//! * shared: atomics that any thread may touch;
//! * `deferred`: touched by the thread and its handlers with every asynchronous signal blocked.
#![allow(unsafe_code)]

use crate::event::RawEvent;
use crate::sync::{AtomicU32, AtomicUsize, Ordering};
use crate::sys::lock::Lock;
use crate::table::counters::Counters;
use crate::table::grace::Readers;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64};
use std::collections::VecDeque;

/// Events a deferral can hold before the kernel is asked to hold the rest. One is already lossless;
/// more make the time with everything blocked rarer. Eight keep the record within a page.
pub(crate) const DEFERRED_SLOTS: usize = 8;

/// Bits of [`Record::attention`].
pub(crate) mod attention {
    /// Closures or events wait for a safe point.
    pub(crate) const WORK: u32 = 1;
    /// Deferred signals wait for the end of the deferral.
    pub(crate) const DEFERRED: u32 = 2;
    /// A handler ran during `DeferGuard::wait`.
    pub(crate) const DELIVERED: u32 = 4;
}

/// Values of [`Record::state`]: how the thread is woken.
///
/// | state | the thread is | woken by |
/// |---|---|---|
/// | `RUNNING` | running, it looks at `attention` itself | nothing |
/// | `WAITING` | in `thread::wait` | a futex wake on `attention` |
/// | `WAITING_ANY` | in `DeferGuard::wait` | the same; local handlers set `DELIVERED` |
/// | `IN_SYSCALL` | in an alertable system call | the doorbell |
pub(crate) mod state {
    pub(crate) const RUNNING: u32 = 0;
    pub(crate) const WAITING: u32 = 1;
    pub(crate) const WAITING_ANY: u32 = 2;
    pub(crate) const IN_SYSCALL: u32 = 3;
}

/// A closure posted to a thread; see `thread::handle`.
pub(crate) trait Job: Send {
    /// Runs it on the thread it was posted to.
    fn run(self: Box<Self>);
    /// Gives it back to whoever posted it, because the thread has ended.
    fn give_back(self: Box<Self>);
}

/// What other threads left for this one; never touched by a handler.
pub(crate) struct Mailbox {
    pub jobs: VecDeque<Box<dyn Job>>,
    pub alive: bool,
}

/// Signals that arrived in a deferral, oldest first: in the places here, then in the shared ones.
pub(crate) struct Deferred {
    events: [core::mem::MaybeUninit<RawEvent>; DEFERRED_SLOTS],
    first: usize,
    count: usize,
    /// How many follow in `spill`, and how many there have been.
    spilled: u32,
    tickets: u32,
}

impl Deferred {
    const fn new() -> Self {
        Self {
            events: [const { core::mem::MaybeUninit::uninit() }; DEFERRED_SLOTS],
            first: 0,
            count: 0,
            spilled: 0,
            tickets: 0,
        }
    }

    /// Whether the kernel is to keep what follows.
    pub(crate) fn is_full(&self) -> bool {
        self.count >= DEFERRED_SLOTS || self.spilled > 0
    }

    /// Appends an event of the calling thread; false when there is no place at all.
    pub(crate) fn push(&mut self, event: RawEvent) -> bool {
        if self.is_empty() {
            self.tickets = 0;
        }
        if self.is_full() {
            let put = crate::engine::get().spill.put(event.tid, self.tickets, event);
            self.spilled += u32::from(put);
            self.tickets = self.tickets.wrapping_add(u32::from(put));
            return put;
        }
        let at = (self.first + self.count) % DEFERRED_SLOTS;
        if let Some(place) = self.events.get_mut(at) {
            place.write(event);
            self.count += 1;
        }
        true
    }

    /// Whether none is stored.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0 && self.spilled == 0
    }

    /// Takes the oldest event that `mask` does not block, of the calling thread, whose id is `tid`.
    pub(crate) fn pop(&mut self, tid: i32, mask: u64) -> Option<RawEvent> {
        let stored = (0..self.count).map(|index| (self.first + index) % DEFERRED_SLOTS);
        for (index, at) in stored.enumerate() {
            // SAFETY: the places from `first` on, `count` of them, have been written by `push`.
            let event = unsafe { self.events.get(at)?.assume_init_read() };
            if crate::sys::bit(event.info.si_signo) & mask == 0 {
                self.close_gap(index);
                return Some(event);
            }
        }
        if self.spilled == 0 {
            return None;
        }
        let event = crate::engine::get().spill.take(tid, mask)?;
        self.spilled -= 1;
        Some(event)
    }

    /// Moves those stored before `index` up by one place over it.
    fn close_gap(&mut self, index: usize) {
        for behind in (0..index).rev() {
            let from = (self.first + behind) % DEFERRED_SLOTS;
            self.events.copy_within(from..from + 1, (from + 1) % DEFERRED_SLOTS);
        }
        self.first = (self.first + 1) % DEFERRED_SLOTS;
        self.count -= 1;
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }
}

/// See the module. Aligned so that no two threads share a cache line (or a pair the prefetcher
/// takes together).
#[repr(C, align(128))]
pub(crate) struct Record {
    // Shared: the word `poll` and the end of a deferral look at.
    pub attention: AtomicU32,
    /// See [`state`]. Written by the thread, read by those who wake it.
    pub state: AtomicU32,
    // Own.
    pub depth: AtomicU32,
    /// The depth to which a `DeferGuard::wait` in progress returns.
    pub suspended: AtomicU32,
    pub readers: Readers,
    pub tid: AtomicI32,
    /// What a handler added to the thread's mask when the last place of `deferred` was taken.
    pub blocked: AtomicU64,
    /// Where on the stack a foreign handler runs that was called from ordinary code; 0 when none does.
    pub foreign_at: AtomicUsize,
    /// 1 while the thread runs handlers or closures at a safe point: those are not interrupted by
    /// others at safe points of their own.
    pub at_safe_point: AtomicU32,
    /// Counts the threads that have had this record.
    pub generation: AtomicU64,
    /// Where the thread's `errno` is.
    pub errno: AtomicPtr<i32>,
    pub next: AtomicPtr<Record>,
    /// The next that no thread uses.
    pub next_unused: AtomicPtr<Record>,
    pub mailbox: Lock<Mailbox>,
    pub locals: UnsafeCell<super::local::Locals>,
    pub altstack: UnsafeCell<super::altstack::Attached>,
    pub counters: Counters,
    pub deferred: UnsafeCell<Deferred>,
}

// SAFETY: see the rules of the module: atomics and locks are shared, the cells are reached only by
// the record's own thread.
unsafe impl Sync for Record {}
// SAFETY: as above.
unsafe impl Send for Record {}

const _: () = assert!(size_of::<Record>() <= 4096, "TARGETS: at most a page per attached thread");

impl core::fmt::Debug for Record {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Record").field("tid", &self.tid).finish_non_exhaustive()
    }
}

impl Record {
    pub(crate) fn new() -> Self {
        Self {
            attention: AtomicU32::new(0),
            depth: AtomicU32::new(0),
            suspended: AtomicU32::new(0),
            readers: Readers::new(AtomicU32::new(0), AtomicU32::new(0)),
            state: AtomicU32::new(state::RUNNING),
            tid: AtomicI32::new(0),
            blocked: AtomicU64::new(0),
            foreign_at: AtomicUsize::new(0),
            at_safe_point: AtomicU32::new(0),
            generation: AtomicU64::new(0),
            errno: AtomicPtr::new(core::ptr::null_mut()),
            next: AtomicPtr::new(core::ptr::null_mut()),
            next_unused: AtomicPtr::new(core::ptr::null_mut()),
            mailbox: Lock::new(Mailbox { jobs: VecDeque::new(), alive: false }),
            locals: UnsafeCell::new(super::local::Locals::new()),
            altstack: UnsafeCell::new(super::altstack::Attached::none()),
            counters: Counters::new(),
            deferred: UnsafeCell::new(Deferred::new()),
        }
    }

    /// The record of the calling thread, if it is attached.
    #[inline(always)]
    pub(crate) fn current() -> Option<&'static Record> {
        let record = crate::sys::arch::record();
        // SAFETY: the word is null or a record that is never freed, and stays this thread's.
        unsafe { record.as_ref() }
    }

    /// Where the `errno` of the thread is, which is the calling one.
    #[inline(always)]
    pub(crate) fn errno(&self) -> *mut i32 {
        self.errno.load(Ordering::Relaxed)
    }

    /// Whether a handler on this thread has nothing to mind: no deferral, no wait, nothing left over.
    #[inline(always)]
    pub(crate) fn is_undisturbed(&self) -> bool {
        let of = |word: &AtomicU32| word.load(Ordering::Relaxed);
        of(&self.depth) | of(&self.state) | of(&self.attention) == 0
    }

    pub(crate) fn is_current(&self) -> bool {
        core::ptr::eq(crate::sys::arch::record(), self)
    }

    /// The events deferred on the calling thread.
    ///
    /// # Safety
    /// Called by the record's own thread with every asynchronous signal blocked, and the reference
    /// is not kept over anything that could call this again.
    #[allow(clippy::mut_from_ref, reason = "the cell is this thread's own")]
    pub(crate) unsafe fn deferred(&self) -> &mut Deferred {
        // SAFETY: the caller's promise makes the access exclusive.
        unsafe { &mut *self.deferred.get() }
    }

    /// Leaves something for the thread to look at, and wakes it from whatever it waits in.
    ///
    /// **Runs inside signal handlers.** The thread has not ended: the caller holds its mailbox, or
    /// reads a chain with an entry of it, which the thread removes before it ends.
    pub(crate) fn alert(&self, bits: u32) {
        // ORDERING: Dekker with `wait.rs`: there the state is stored before `attention` is loaded,
        // here `attention` before the state; both SeqCst, so one side sees the other.
        self.attention.fetch_or(bits, Ordering::SeqCst);
        match self.state.load(Ordering::SeqCst) {
            state::RUNNING => {}
            state::WAITING | state::WAITING_ANY => crate::sys::futex_wake(&self.attention, 1),
            _ if self.is_current() => {} // The handler sends it back to the check itself.
            _ => {
                crate::delivery::doorbell::ring(self.tid.load(Ordering::Relaxed));
            }
        }
    }
}
