//! The queue of one subscription: a ring, a capacity, and what happens when that is reached.
//!
//! **`reserve`, `commit`, `offer` run inside signal handlers**, `take` in ordinary code (and, for
//! `DropOldest`, in handlers too). None waits.
//!
//! The ring has room beyond the capacity, because back-pressure acts one event late on every thread:
//! the event that reaches the capacity is kept, its signal is then held on *that* thread, and other
//! threads may each bring one more before they are held too. Past the ring's end the event goes back
//! to the kernel, in the handler's own name (`dispatch::push_back`).
//!
//! # Atomic orderings
//! `length` counts places taken, before the ring is touched. It and `holding` are the two words of a
//! Dekker pair between handler and consumer (see `hold.rs`), all SeqCst.

use super::Overflow;
use super::eventcount::EventCount;
use super::ring::Ring;
use crate::engine;
use crate::event::RawEvent;
use crate::event::stamp::Stamp;
use crate::sync::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use crate::sys;
use crate::sys::lock::Lock;
use crate::table::counters::SIGNALS;
use crate::thread::Record;
use core::sync::atomic::AtomicI32;

/// Places beyond the capacity; see the module.
#[cfg(not(sigplane_small))]
const RESERVE: usize = 64;
#[cfg(sigplane_small)]
const RESERVE: usize = 1;

/// The largest capacity: the ring is allocated at once, at some 300 bytes each.
const LARGEST: usize = 1 << 24;

/// Who reads the queue, and how it is woken.
pub(crate) enum Consumer {
    Dispatcher,
    Thread(&'static Record),
    Inbox(Doorway),
}

/// How a reader of an inbox is woken: a futex for those who block, an eventfd for those who poll.
pub(crate) struct Doorway {
    pub sleepers: EventCount,
    /// The eventfd, made when it is first asked for; -1 before.
    pub fd: AtomicI32,
    /// Whether the eventfd has been made readable since a reader last found the queue empty.
    pub armed: AtomicBool,
    /// Whether the eventfd is watched for edges only, and so never has to become unreadable.
    pub edges: AtomicBool,
    pub closed: AtomicBool,
}

impl Doorway {
    pub(crate) fn new() -> Self {
        Self {
            sleepers: EventCount::new(AtomicU32::new(0)),
            fd: AtomicI32::new(-1),
            armed: AtomicBool::new(false),
            edges: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        }
    }

    /// Tells every kind of reader that there is something.
    pub(crate) fn open(&self) {
        let fd = self.fd.load(Ordering::SeqCst);
        if fd >= 0 && !self.armed.swap(true, Ordering::SeqCst) {
            sys::eventfd_set(fd);
        }
        self.sleepers.notify();
    }
}

/// Counts of one queue, for `table()` and `Subscription::stats`.
#[derive(Default)]
pub(crate) struct Tally {
    pub queued: AtomicUsize,
    pub dropped: AtomicUsize,
    pub discarded: AtomicUsize,
    pub taken: AtomicUsize,
    pub deepest: AtomicUsize,
    /// Panics of the subscriber's code.
    pub panics: AtomicUsize,
}

pub(crate) struct Queue {
    ring: Ring<RawEvent>,
    capacity: usize,
    limit: usize,
    pub overflow: Overflow,
    id: u32,
    length: AtomicUsize,
    /// Whether some thread may be held by this queue.
    holding: AtomicBool,
    /// Instances per signal that one queued event stands for (`Coalesce` only).
    merged: Option<Box<[AtomicU32]>>,
    pub consumer: Consumer,
    pub tally: Tally,
    /// Held by the reader of an inbox whose turn it is.
    turn: Lock<()>,
}

impl Queue {
    pub(crate) fn new(capacity: usize, overflow: Overflow, consumer: Consumer) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let capacity = capacity.min(LARGEST);
        let (capacity, extra) = match overflow {
            Overflow::Backpressure => (capacity, RESERVE),
            // One place per signal suffices, and one more while an event is being taken.
            Overflow::Coalesce => (capacity.max(2 * SIGNALS), 0),
            Overflow::DropNewest | Overflow::DropOldest => (capacity, 0),
        };
        // Twice what may be in it: a cell that a slow consumer is still emptying is not in the way.
        let ring = Ring::new((capacity + extra) * 2);
        let merged = matches!(overflow, Overflow::Coalesce)
            .then(|| core::iter::repeat_with(|| AtomicU32::new(0)).take(SIGNALS).collect());
        Self {
            ring,
            capacity,
            limit: capacity + extra,
            overflow,
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            length: AtomicUsize::new(0),
            holding: AtomicBool::new(false),
            merged,
            consumer,
            tally: Tally::default(),
            turn: Lock::new(()),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.length.load(Ordering::SeqCst)
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Takes a place for an event that must not be lost. False when there is none.
    pub(crate) fn reserve(&self) -> bool {
        let taken = self.length.fetch_add(1, Ordering::SeqCst);
        if taken >= self.limit {
            self.lower();
            return false;
        }
        if taken + 1 > self.tally.deepest.load(Ordering::Relaxed) {
            self.tally.deepest.fetch_max(taken + 1, Ordering::Relaxed);
        }
        true
    }

    /// One less; returns what is left. A fork in the middle may have emptied the queue of the child.
    fn lower(&self) -> usize {
        let less = |length: usize| length.checked_sub(1);
        self.length
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
            .map_or(0, |before| before.saturating_sub(1))
    }

    /// Gives a reserved place back. It may have been what kept a consumer from releasing the threads
    /// that are held, so this looks too. In a handler, whose frame is not at hand here: its own thread's
    /// bell is rung like any other's.
    pub(crate) fn cancel(&self) {
        let left = self.lower();
        if left <= self.low_water() && self.holding.load(Ordering::SeqCst) {
            self.holding.swap(false, Ordering::SeqCst);
            engine::get().holds.release(self.id, 0);
        }
    }

    /// Fills a reserved place, and holds the signal on this thread when the capacity is reached.
    #[allow(unsafe_code)]
    pub(crate) fn commit(&self, info: &libc::siginfo_t, stamp: Stamp, mask: &mut u64) {
        let signal = info.si_signo;
        // SAFETY: the ring passes a place for one event.
        if !self.ring.push_with(|at| unsafe { stamp.write(info, at) }) {
            // Whoever drops the oldest is stopped in the middle of `pop`, and the ring has come round.
            self.cancel();
            self.tally.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.tally.queued.fetch_add(1, Ordering::Relaxed);
        if self.len() >= self.capacity && matches!(self.overflow, Overflow::Backpressure) {
            self.hold(signal, stamp.tid, mask);
        }
        self.wake();
    }

    /// Blocks `signal` on the interrupted thread until there is room again. False when too many
    /// threads are held already.
    pub(crate) fn hold(&self, signal: i32, tid: i32, mask: &mut u64) -> bool {
        let before = *mask;
        let Some(placed) = engine::get().holds.place(tid, signal, self.id, mask) else {
            return false;
        };
        self.holding.store(true, Ordering::SeqCst);
        if self.len() <= self.low_water() {
            placed.take_back(tid, before, mask);
        }
        true
    }

    /// Queues an event under a policy that may drop or merge it.
    pub(crate) fn offer(&self, info: &libc::siginfo_t, stamp: Stamp, mask: &mut u64) {
        if let Some(merged) = &self.merged
            && let Some(count) = merged.get(info.si_signo as usize)
            && count.fetch_add(1, Ordering::SeqCst) > 0
        {
            self.tally.queued.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // Bounded: whoever drops the oldest competes with consumers that take it.
        for _ in 0..4 {
            if self.reserve() {
                return self.commit(info, stamp, mask);
            }
            if !matches!(self.overflow, Overflow::DropOldest) || self.ring.pop().is_none() {
                break;
            }
            self.lower();
            self.tally.dropped.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(count) = self.merged.as_ref().and_then(|m| m.get(info.si_signo as usize)) {
            count.store(0, Ordering::SeqCst); // Nothing queued stands for later ones.
        }
        self.tally.dropped.fetch_add(1, Ordering::Relaxed);
    }

    fn wake(&self) {
        match &self.consumer {
            Consumer::Dispatcher => engine::get().dispatcher.wake.notify(),
            Consumer::Thread(record) => record.alert(crate::thread::record::attention::WORK),
            Consumer::Inbox(doorway) => doorway.open(),
        }
    }

    fn low_water(&self) -> usize {
        self.capacity / 2
    }

    /// Several threads may read an inbox. One that is stopped in the middle of the ring's `pop` keeps its
    /// cell; were others to go on, the ring would come round to it and seem full while nearly empty. So
    /// they take turns. Handlers, which drop the oldest in other queues, never come here.
    fn pop(&self) -> Option<RawEvent> {
        if matches!(self.consumer, Consumer::Inbox(_)) {
            let _turn = self.turn.lock();
            return self.ring.pop();
        }
        self.ring.pop()
    }

    /// Takes the oldest event. Ordinary code, in one deferral: a handler that forked in the middle, or
    /// left by `siglongjmp`, would leave the length wrong.
    pub(crate) fn take(&self) -> Option<RawEvent> {
        if self.len() == 0 {
            return None;
        }
        let _critical = crate::defer::Critical::enter();
        let mut event = self.pop()?;
        if let Some(merged) = &self.merged
            && let Some(count) = merged.get(event.info.si_signo as usize)
        {
            event.instances = count.swap(0, Ordering::SeqCst).max(1);
        }
        let left = self.lower();
        self.tally.taken.fetch_add(event.instances as usize, Ordering::Relaxed);
        if left <= self.low_water() && self.holding.load(Ordering::SeqCst) {
            self.release_holds();
        }
        Some(event)
    }

    /// Lets every thread that this queue holds go on.
    pub(crate) fn release_holds(&self) {
        // A swap, not a store: it takes in what a handler did before its own store that this undoes.
        self.holding.swap(false, Ordering::SeqCst);
        let here = Record::current().map_or_else(sys::gettid, |r| r.tid.load(Ordering::Relaxed));
        engine::get().holds.release(self.id, here);
    }

    /// Whether this queue holds a thread just now.
    pub(crate) fn is_holding(&self) -> bool {
        self.holding.load(Ordering::SeqCst) && engine::get().holds.any(self.id)
    }

    /// Throws away what is queued, because its subscription has ended, and counts it.
    pub(crate) fn discard(&self) {
        while let Some(event) = self.take() {
            self.tally.taken.fetch_sub(event.instances as usize, Ordering::Relaxed);
            self.tally.discarded.fetch_add(event.instances as usize, Ordering::Relaxed);
        }
        self.release_holds();
    }

    /// In a forked child: what was queued belongs to the parent. Descriptors are replaced, so that
    /// the child's reads do not take the parent's wake-ups.
    ///
    /// # Safety
    /// As for [`Lock::reset_after_fork`].
    #[allow(unsafe_code)]
    pub(crate) unsafe fn reset_after_fork(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.turn.reset_after_fork() };
        self.ring.reset_after_fork();
        self.length.store(0, Ordering::Relaxed);
        self.holding.store(false, Ordering::Relaxed);
        for count in self.merged.iter().flatten() {
            count.store(0, Ordering::Relaxed);
        }
        if let Consumer::Inbox(doorway) = &self.consumer {
            doorway.armed.store(false, Ordering::Relaxed);
            let fd = doorway.fd.load(Ordering::Relaxed);
            if fd >= 0
                && let Ok(fresh) = sys::eventfd()
            {
                sys::dup_onto(fresh, fd);
                sys::close(fresh);
            }
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        if let Consumer::Inbox(doorway) = &self.consumer {
            let fd = doorway.fd.load(Ordering::Relaxed);
            if fd >= 0 {
                sys::close(fd);
            }
        }
    }
}
