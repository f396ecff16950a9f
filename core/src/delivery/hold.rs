//! Back-pressure into the kernel: which signals are blocked on which thread because a queue is full.
//!
//! **`place`, `lift_on_this_thread` run inside signal handlers.** No allocation, no lock.
//!
//! Problem: a handler must not lose an event and cannot wait for room. When its event takes the last
//! place, it blocks the signal in the mask of the thread it interrupted, so that the kernel keeps
//! every further instance, in order, with its value (signal(7), "Queueing and delivery semantics for
//! real-time signals"). The consumer, usually another thread, lifts it when there is room again: it
//! marks the hold and rings the thread's doorbell, whose handler takes the signal out of the
//! interrupted mask.
//!
//! A hold is one word: thread, signal, queue, and two flags, in a fixed table.
//!
//! | word | meaning |
//! |---|---|
//! | 0 | free |
//! | `RELEASE` clear | the signal is blocked on the thread, the queue is (or was) full |
//! | `RELEASE` set | the consumer has asked; the thread's doorbell has been rung |
//!
//! Refused: holding the event in the handler until there is room (the consumer may be the very
//! thread that was interrupted); writing the hold into the thread's record only (threads without a
//! record get signals too).
//!
//! # Atomic orderings
//! The handler places the hold and then looks at the queue's length; the consumer lowers the length
//! and then looks for holds. Both have a SeqCst fence in between, so a hold is never left behind on
//! a queue that has just been emptied.

use crate::sync::{AtomicUsize, Ordering};
use crate::sys;
use core::sync::atomic::AtomicU64;

/// Threads held at once, over all queues. Beyond it a signal is still pushed back, see `queue.rs`.
const HOLDS: usize = 4096;

const TID_BITS: u32 = 30;
const SIGNAL_BITS: u32 = 7;
const QUEUE_BITS: u32 = 24;
const RELEASE: u64 = 1 << 62;
/// The thread had the doorbell's signal blocked, which the hold had to lift.
const BELL_WAS_BLOCKED: u64 = 1 << 61;
const KEY: u64 = BELL_WAS_BLOCKED - 1;

const _: () = assert!(TID_BITS + SIGNAL_BITS + QUEUE_BITS == 61);

pub(crate) struct Holds {
    words: [AtomicU64; HOLDS],
    /// One more than the highest place ever used: what a search has to look at.
    used: AtomicUsize,
}

fn key(tid: i32, signal: i32, queue: u32) -> u64 {
    (tid as u64 & ((1 << TID_BITS) - 1))
        | (signal as u64) << TID_BITS
        | (u64::from(queue) & ((1 << QUEUE_BITS) - 1)) << (TID_BITS + SIGNAL_BITS)
}

fn tid_of(word: u64) -> i32 {
    (word & ((1 << TID_BITS) - 1)) as i32
}

fn signal_of(word: u64) -> i32 {
    (word >> TID_BITS & ((1 << SIGNAL_BITS) - 1)) as i32
}

fn queue_of(word: u64) -> u32 {
    (word >> (TID_BITS + SIGNAL_BITS) & ((1 << QUEUE_BITS) - 1)) as u32
}

/// A hold that [`Holds::place`] made.
pub(crate) struct Placed<'a> {
    word: &'a AtomicU64,
    value: u64,
}

impl Placed<'_> {
    /// Takes the hold back because the queue has room after all; `before` is the mask as it was. Nothing
    /// happens when a consumer has already asked for it: the doorbell is on its way and does it.
    pub(crate) fn take_back(&self, tid: i32, before: u64, mask: &mut u64) {
        if self.word.compare_exchange(self.value, 0, Ordering::SeqCst, Ordering::Relaxed).is_err() {
            return;
        }
        // The mask as it was, but without what an earlier delivery blocked for this very hold.
        let held = crate::engine::get().holds.held_on(tid);
        *mask = before;
        if held & sys::bit(signal_of(self.value)) == 0 {
            *mask &= !sys::bit(signal_of(self.value));
        }
        if self.value & BELL_WAS_BLOCKED != 0 && held == 0 {
            *mask |= sys::bit(super::doorbell::SIGNAL);
        }
    }
}

impl Holds {
    pub(crate) const fn new() -> Self {
        Self { words: [const { AtomicU64::new(0) }; HOLDS], used: AtomicUsize::new(0) }
    }

    fn in_use(&self) -> impl Iterator<Item = &AtomicU64> {
        self.words.iter().take(self.used.load(Ordering::Acquire))
    }

    /// Notes that `signal` is held on thread `tid` by `queue`, in whose favour the caller blocks it
    /// in `mask`. `None` when the table is full, and when the program itself has the signal blocked (it
    /// came in during ppoll or sigsuspend): then there is nothing to do, and nothing to lift later.
    pub(crate) fn place(
        &self,
        tid: i32,
        signal: i32,
        queue: u32,
        mask: &mut u64,
    ) -> Option<Placed<'_>> {
        if *mask & sys::bit(signal) != 0 && self.held_on(tid) & sys::bit(signal) == 0 {
            return None;
        }
        let bell = sys::bit(super::doorbell::SIGNAL);
        let mut value = key(tid, signal, queue);
        if *mask & bell != 0 {
            value |= BELL_WAS_BLOCKED;
        }
        for (index, word) in self.words.iter().enumerate() {
            let seen = word.load(Ordering::Relaxed);
            if seen & KEY == value & KEY && seen & RELEASE == 0 {
                *mask |= sys::bit(signal);
                return Some(Placed { word, value: seen });
            }
            if seen == 0
                && word.compare_exchange(0, value, Ordering::SeqCst, Ordering::Relaxed).is_ok()
            {
                self.used.fetch_max(index + 1, Ordering::AcqRel);
                *mask = (*mask & !bell) | sys::bit(signal);
                return Some(Placed { word, value });
            }
        }
        None
    }

    /// Asks every thread that `queue` holds to go on, and returns how many holds that were. Runs in
    /// ordinary code: `here` is the calling thread's id, whose own holds are lifted at once.
    pub(crate) fn release(&self, queue: u32, here: i32) -> usize {
        let queue = queue & ((1 << QUEUE_BITS) - 1);
        let mut released = 0;
        let mut own = false;
        for word in self.in_use() {
            let seen = word.load(Ordering::Acquire);
            if seen == 0 || seen & RELEASE != 0 || queue_of(seen) != queue {
                continue;
            }
            if word
                .compare_exchange(seen, seen | RELEASE, Ordering::SeqCst, Ordering::Relaxed)
                .is_err()
            {
                continue;
            }
            released += 1;
            if tid_of(seen) == here {
                own = true;
            } else if !super::doorbell::ring(tid_of(seen)) {
                // The thread has ended without ever having been attached.
                word.store(0, Ordering::SeqCst);
            }
        }
        if own {
            // Blocking everything makes the mask ours to edit: no handler comes in between.
            let mut mask = sys::block(sys::ASYNC_BITS);
            self.lift_on_this_thread(here, &mut mask);
            sys::set_mask(mask);
        }
        released
    }

    /// Takes the released signals of thread `tid`, which is the calling one, out of `mask`. Returns
    /// whether there were any.
    pub(crate) fn lift_on_this_thread(&self, tid: i32, mask: &mut u64) -> bool {
        let mut lifted = 0u64;
        let mut bell = false;
        for word in self.in_use() {
            let seen = word.load(Ordering::Acquire);
            if seen & RELEASE != 0
                && tid_of(seen) == tid
                && word.compare_exchange(seen, 0, Ordering::SeqCst, Ordering::Relaxed).is_ok()
            {
                lifted |= sys::bit(signal_of(seen));
                bell |= seen & BELL_WAS_BLOCKED != 0;
            }
        }
        if lifted == 0 {
            return false;
        }
        let mut others = false;
        for word in self.in_use() {
            let seen = word.load(Ordering::Acquire);
            if seen != 0 && tid_of(seen) == tid {
                lifted &= !sys::bit(signal_of(seen)); // Another full queue still holds it.
                others = true;
            }
        }
        *mask &= !lifted;
        if bell && !others {
            *mask |= sys::bit(super::doorbell::SIGNAL);
        } else if bell {
            // One of the holds that remain has to remember it.
            let of_thread = |word: &&AtomicU64| {
                let seen = word.load(Ordering::Acquire);
                seen != 0 && tid_of(seen) == tid
            };
            if let Some(word) = self.in_use().find(of_thread) {
                word.fetch_or(BELL_WAS_BLOCKED, Ordering::SeqCst);
            }
        }
        true
    }

    /// Forgets the holds of a thread that ends.
    pub(crate) fn forget(&self, tid: i32) {
        for word in self.in_use() {
            let seen = word.load(Ordering::Acquire);
            if seen != 0 && tid_of(seen) == tid {
                // Only a consumer that asks for its release can be quicker, and then it is lost too.
                word.store(0, Ordering::SeqCst);
            }
        }
    }

    /// In a forked child: the holds of the thread that forked, which was `old` in the parent, become
    /// released ones of `new`, to be lifted by the bell where they stand (the fork may be inside a
    /// handler, on top of the frame that has the mask); all others go. Whether there were any.
    pub(crate) fn carry_over(&self, old: i32, new: i32) -> bool {
        let mut any = false;
        for word in self.in_use() {
            let seen = word.load(Ordering::Acquire);
            let mine = seen != 0 && tid_of(seen) == old;
            any |= mine;
            let tid = (1u64 << TID_BITS) - 1;
            let carried = seen & !tid | new as u64 & tid | RELEASE;
            word.store(if mine { carried } else { 0 }, Ordering::SeqCst);
        }
        any
    }

    /// The signals held on thread `tid`.
    pub(crate) fn held_on(&self, tid: i32) -> u64 {
        let of = |word: u64| {
            if word != 0 && tid_of(word) == tid { sys::bit(signal_of(word)) } else { 0 }
        };
        self.in_use().fold(0, |held, word| held | of(word.load(Ordering::Acquire)))
    }

    /// Whether `queue` holds any thread.
    pub(crate) fn any(&self, queue: u32) -> bool {
        let queue = queue & ((1 << QUEUE_BITS) - 1);
        self.in_use().any(|word| {
            let seen = word.load(Ordering::Acquire);
            seen != 0 && seen & RELEASE == 0 && queue_of(seen) == queue
        })
    }
}
