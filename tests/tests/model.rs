//! Model checks of the lock-free parts: every interleaving and every allowed reordering, by loom.
//!
//! What is checked is the code of core itself: its files are compiled here with loom's types in the
//! place of `core/src/sync.rs` and a futex made of loom's parts. Each property has a counterpart, a
//! victim that must fail, so that a check that checks nothing is noticed.
//!
//! Issue "Core", what must be shown, 3 (a `loom` run of the table and rings beside it).
#![allow(dead_code, reason = "the files of core have more in them than a model needs")]

use loom::sync::Arc;
use loom::thread;
use sigplane_tests::{Running, Suite, victim};

/// `core/src/sync.rs` with loom's types.
mod sync {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};

    /// On the reader's side stands for what membarrier(2) makes of it when the writer runs it.
    pub(crate) fn compiler_fence(order: Ordering) {
        fence(order);
    }
}

/// The two calls of `core/src/sys` that the event count makes: a futex of which a wake reaches
/// whoever sleeps, and nobody sleeps whose word has changed.
mod sys {
    use super::sync::{AtomicU32, Ordering};
    use loom::sync::{Condvar, Mutex};
    use std::time::Duration;

    loom::lazy_static! {
        static ref QUEUE: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());
    }

    pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, _deadline: Option<Duration>) -> bool {
        let guard = QUEUE.0.lock().expect("not poisoned");
        if word.load(Ordering::SeqCst) == expected {
            drop(QUEUE.1.wait(guard));
        }
        true
    }

    pub(crate) fn futex_wake(_word: &AtomicU32, _count: i32) {
        drop(QUEUE.0.lock());
        QUEUE.1.notify_all();
    }
}

// Their own unit tests are not run here: without a harness `#[test]` makes nothing.
#[path = "../../core/src/delivery/eventcount.rs"]
mod eventcount;
#[path = "../../core/src/table/grace.rs"]
mod grace;
#[allow(unused_imports, reason = "those of its unit tests")]
#[path = "../../core/src/delivery/ring.rs"]
mod ring;

/// Every execution with up to so many preemptions: two or three find the known bugs of such code, and
/// all of them take hours.
fn bounded(preemptions: usize, check: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(check);
}

mod ring_model {
    use super::ring::Ring;
    use super::*;

    fn model(check: impl Fn() + Sync + Send + 'static) {
        bounded(2, check);
    }

    /// Pushes until there is room; the model's scheduler is told to let others run.
    fn push(ring: &Ring<u32>, value: u32) {
        while ring.push(value).is_err() {
            thread::yield_now();
        }
    }

    /// Two producers, which interrupt each other anywhere, and a consumer: each value once, each
    /// producer's in order, over more than a lap.
    pub fn two_producers() {
        model(|| {
            let ring = Arc::new(Ring::new(2));
            let producers = [10, 20].map(|first| {
                let ring = Arc::clone(&ring);
                thread::spawn(move || {
                    let pushed = [first, first + 1].map(|value| ring.push(value).is_ok());
                    pushed.map(u32::from)
                })
            });
            let mut seen = Vec::new();
            seen.extend(ring.pop());
            seen.extend(ring.pop());
            let pushed: u32 =
                producers.into_iter().flat_map(|producer| producer.join().expect("no panic")).sum();
            seen.extend(std::iter::from_fn(|| ring.pop()));
            assert_eq!(seen.len() as u32, pushed, "lost or doubled: {seen:?}");
            for first in [10, 20] {
                let own: Vec<u32> =
                    seen.iter().copied().filter(|value| value / 10 * 10 == first).collect();
                assert!(own.is_sorted_by(|a, b| a < b), "out of order: {seen:?}");
            }
        });
    }

    /// One producer and two consumers: each value goes to one of them, and each sees them in order.
    pub fn two_consumers() {
        model(|| {
            let ring = Arc::new(Ring::new(2));
            let consumers = [(); 2].map(|()| {
                let ring = Arc::clone(&ring);
                thread::spawn(move || [ring.pop(), ring.pop()])
            });
            let pushed: Vec<u32> = (1..=3).filter(|value| ring.push(*value).is_ok()).collect();
            let mut seen = Vec::new();
            for consumer in consumers {
                let own: Vec<u32> =
                    consumer.join().expect("no panic").into_iter().flatten().collect();
                assert!(own.is_sorted_by(|a, b| a < b), "out of order: {own:?}");
                seen.extend(own);
            }
            seen.extend(std::iter::from_fn(|| ring.pop()));
            seen.sort_unstable();
            assert_eq!(seen, pushed, "lost or doubled");
        });
    }

    /// The way of `Overflow::DropOldest`: the producer takes the oldest itself to make room, and competes
    /// for it with the consumer. Everything is read or dropped; what is read is in order.
    pub fn drop_oldest() {
        model(|| {
            let ring = Arc::new(Ring::new(2));
            push(&ring, 1);
            push(&ring, 2);
            let consumer = thread::spawn({
                let ring = Arc::clone(&ring);
                move || [ring.pop(), ring.pop()]
            });
            let mut dropped = Vec::new();
            for value in 3..=4 {
                // As in `Queue::offer`: a full ring loses its oldest, then the new one goes in, if a
                // consumer in the middle of a cell is not in the way.
                if ring.push(value).is_err() {
                    dropped.extend(ring.pop());
                    dropped.extend(ring.push(value).err());
                }
            }
            let mut seen: Vec<u32> =
                consumer.join().expect("no panic").into_iter().flatten().collect();
            seen.extend(std::iter::from_fn(|| ring.pop()));
            assert!(seen.is_sorted_by(|a, b| a < b), "out of order: {seen:?}");
            seen.extend(&dropped);
            seen.sort_unstable();
            assert_eq!(seen, [1, 2, 3, 4], "lost or doubled; dropped: {dropped:?}");
        });
    }

    /// The counterpart: a cell handed over without Release and Acquire is a data race, which loom sees.
    pub fn a_relaxed_hand_over_is_found() {
        model(|| {
            let cell = Arc::new((sync::UnsafeCell::new(0), sync::AtomicUsize::new(0)));
            let producer = thread::spawn({
                let cell = Arc::clone(&cell);
                move || {
                    cell.0.with_mut(|at| unsafe { *at = 1 });
                    cell.1.store(1, sync::Ordering::Relaxed);
                }
            });
            if cell.1.load(sync::Ordering::Relaxed) == 1 {
                // SAFETY: none, as above.
                assert_eq!(cell.0.with(|at| unsafe { *at }), 1);
            }
            producer.join().expect("no panic");
        });
    }
}

mod eventcount_model {
    use super::eventcount::EventCount;
    use super::sync::{AtomicU32, AtomicUsize, Ordering};
    use super::*;

    /// Two handlers publish and notify; the consumer takes both. A lost wake-up is a deadlock of the
    /// model, which loom reports.
    pub fn no_wake_up_is_lost() {
        bounded(2, || {
            let shared = Arc::new((EventCount::new(AtomicU32::new(0)), AtomicUsize::new(0)));
            let handlers = [(); 2].map(|()| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    shared.1.fetch_add(1, Ordering::Relaxed);
                    shared.0.notify();
                })
            });
            for _ in 0..2 {
                let take = || {
                    let left = shared.1.load(Ordering::Relaxed);
                    (left > 0).then(|| shared.1.fetch_sub(1, Ordering::Relaxed))
                };
                assert!(shared.0.wait(None, take).is_some());
            }
            handlers.into_iter().for_each(|handler| handler.join().expect("no panic"));
        });
    }

    /// The counterpart: a consumer that does not look again after it has announced itself falls asleep
    /// behind a handler that has seen nobody.
    pub fn a_lost_wake_up_is_found() {
        loom::model(|| {
            let shared = Arc::new((AtomicU32::new(0), AtomicUsize::new(0)));
            let handler = thread::spawn({
                let shared = Arc::clone(&shared);
                move || {
                    shared.1.store(1, Ordering::SeqCst);
                    shared.0.swap(0, Ordering::SeqCst);
                }
            });
            let sleeps = shared.1.load(Ordering::SeqCst) == 0;
            if sleeps {
                shared.0.store(1, Ordering::SeqCst);
            }
            handler.join().expect("no panic");
            assert!(!sleeps || shared.0.load(Ordering::SeqCst) == 0, "sleeps for ever");
        });
    }
}

mod grace_model {
    use super::grace::{Phase, Readers};
    use super::sync::{AtomicU32, AtomicUsize, Ordering, fence};
    use super::*;

    /// A published "chain": an index into flags that say whether it has been freed.
    struct World {
        phase: Phase,
        readers: [Readers; 2],
        chain: AtomicUsize,
        freed: [loom::cell::Cell<bool>; 3],
    }

    // SAFETY: loom's cell reports every access that is not ordered, which is what is checked.
    unsafe impl Sync for World {}
    // SAFETY: as above.
    unsafe impl Send for World {}

    impl World {
        fn new() -> Arc<Self> {
            let readers = || Readers::new(AtomicU32::new(0), AtomicU32::new(0));
            Arc::new(Self {
                phase: Phase::new(AtomicU32::new(0)),
                readers: [readers(), readers()],
                chain: AtomicUsize::new(0),
                freed: [(); 3].map(|()| loom::cell::Cell::new(false)),
            })
        }

        fn drained(&self, phase: usize) -> bool {
            self.readers.iter().all(|readers| readers.is_drained(phase))
        }

        /// What a handler does on thread `own`, or on one that shares its counts.
        fn read(&self, own: usize, shared: bool, expedited: bool) {
            let readers = &self.readers[own];
            let reading = match shared {
                true => readers.enter_shared(&self.phase),
                false => readers.enter(&self.phase, expedited),
            };
            let chain = self.chain.load(Ordering::Acquire);
            assert!(!self.freed[chain].get(), "a reader saw a chain that was freed");
            match shared {
                true => readers.exit_shared(reading),
                false => readers.exit(reading),
            }
        }

        /// What a writer does: publish, wait, free.
        fn replace(&self, with: usize) {
            let old = self.chain.swap(with, Ordering::AcqRel);
            self.phase.synchronize(
                || fence(Ordering::SeqCst),
                |phase| self.drained(phase),
                thread::yield_now,
            );
            self.freed[old].set(true);
        }
    }

    fn readers_against_writer(shared: bool, expedited: bool) {
        bounded(2, move || {
            let world = World::new();
            let readers = [0, 1].map(|own| {
                let world = Arc::clone(&world);
                thread::spawn(move || world.read(own, shared, expedited))
            });
            world.replace(1);
            world.replace(2);
            readers.into_iter().for_each(|reader| reader.join().expect("no panic"));
        });
    }

    /// Two readers, a writer that replaces and frees twice: no reader sees a freed chain.
    pub fn nobody_reads_what_is_freed() {
        readers_against_writer(false, false);
    }

    /// With membarrier(2): the compiler's fence of the reader is a real one when the writer says so.
    pub fn nobody_reads_what_is_freed_expedited() {
        readers_against_writer(false, true);
    }

    /// Threads without a record, which share their counts.
    pub fn strangers_do_not_read_what_is_freed() {
        readers_against_writer(true, false);
    }

    /// One reader that nests nothing but comes twice, against two grace periods.
    pub fn a_reader_that_comes_again() {
        bounded(3, || {
            let world = World::new();
            let reader = thread::spawn({
                let world = Arc::clone(&world);
                move || (0..2).for_each(|_| world.read(0, false, false))
            });
            world.replace(1);
            world.replace(2);
            reader.join().expect("no panic");
        });
    }

    /// The counterpart, and the reason for two phases: a writer that waits for one of them frees under a
    /// reader that counted itself into the other.
    pub fn one_phase_is_not_enough() {
        bounded(3, || {
            let world = World::new();
            let reader = thread::spawn({
                let world = Arc::clone(&world);
                move || world.read(0, false, false)
            });
            for with in [1, 2] {
                let old = world.chain.swap(with, Ordering::AcqRel);
                let drained = |phase| phase == 1 || world.drained(phase);
                world.phase.synchronize(|| fence(Ordering::SeqCst), drained, thread::yield_now);
                world.freed[old].set(true);
            }
            reader.join().expect("no panic");
        });
    }
}

/// Each counterpart fails, and for the reason it is meant to.
fn counterparts_fail() {
    for (name, reason) in [
        ("a_relaxed_hand_over", "Causality violation"),
        ("a_lost_wake_up", "sleeps for ever"),
        ("one_phase", "Causality violation"),
    ] {
        let (exit, output) = Running::start(victim(name)).finish();
        assert!(!exit.success() && output.contains(reason), "{name}: {exit:?} {output}");
    }
}

fn main() {
    if std::env::var_os("SIGPLANE_VICTIM").is_some() {
        // Where `counterparts_fail` can read it.
        std::panic::set_hook(Box::new(|panic| println!("{panic}")));
    }
    Suite {
        tests: &[
            ("ring_two_producers", ring_model::two_producers),
            ("ring_two_consumers", ring_model::two_consumers),
            ("ring_drop_oldest", ring_model::drop_oldest),
            ("eventcount_no_wake_up_is_lost", eventcount_model::no_wake_up_is_lost),
            ("grace", grace_model::nobody_reads_what_is_freed),
            ("grace_expedited", grace_model::nobody_reads_what_is_freed_expedited),
            ("grace_strangers", grace_model::strangers_do_not_read_what_is_freed),
            ("grace_again", grace_model::a_reader_that_comes_again),
            ("counterparts_fail", counterparts_fail),
        ],
        victims: &[
            ("a_relaxed_hand_over", ring_model::a_relaxed_hand_over_is_found),
            ("a_lost_wake_up", eventcount_model::a_lost_wake_up_is_found),
            ("one_phase", grace_model::one_phase_is_not_enough),
        ],
    }
    .main()
}
