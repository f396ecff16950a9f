//! Removal: when `drop` returns, the handler is not running and will not be called.

use crate::Stop;
use crate::memory::{LENGTH, Memory, load};
use sigplane::fault::Region;
use sigplane::{Verdict, thread};
use sigplane_tests::{eventually, quick};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

const ALIVE: u64 = 0x0a11_7e0a_117e;
const POISON: u64 = 0xdead_dead_dead;

/// What a handler owns: it can tell whether it has been freed.
struct Data {
    word: AtomicU64,
    freed: Arc<AtomicUsize>,
}

impl Drop for Data {
    fn drop(&mut self) {
        self.word.store(POISON, SeqCst);
        self.freed.fetch_add(1, SeqCst);
    }
}

// Four threads fault in a region that is dropped and made anew 10,000 times.
pub(crate) fn removal_is_quiescent() {
    static RUNNING: AtomicU64 = AtomicU64::new(0);
    static DEAD: AtomicU64 = AtomicU64::new(0);
    const HERE: u64 = 12;
    let memory = Memory::new(1);
    let last = unsafe {
        Region::with_priority(memory.range(), -1, |context| {
            context.set_return_value(0);
            context.skip(LENGTH);
            Verdict::Handled
        })
    };
    let (stop, taken, freed) = (AtomicBool::new(false), AtomicU64::new(0), Arc::default());
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (stop, taken, at) = (&stop, &taken, memory.page(0));
            scope.spawn(move || {
                if number % 2 == 0 {
                    thread::current();
                }
                while !stop.load(SeqCst) {
                    let value = unsafe { load(at) };
                    assert!(value == 0 || value == HERE, "{value:#x}");
                    taken.fetch_add(u64::from(value == HERE), SeqCst);
                }
            });
        }
        let _stop = Stop(&stop);
        for round in 0..quick(10_000) as usize {
            let data = Data { word: AtomicU64::new(ALIVE), freed: Arc::clone(&freed) };
            let region = unsafe {
                Region::new(memory.range(), move |context| {
                    RUNNING.fetch_add(1, SeqCst);
                    for _ in 0..20 {
                        if data.word.load(SeqCst) != ALIVE {
                            DEAD.fetch_add(1, SeqCst);
                        }
                    }
                    context.set_return_value(HERE as usize);
                    context.skip(LENGTH);
                    RUNNING.fetch_sub(1, SeqCst);
                    Verdict::Handled
                })
            };
            let before = taken.load(SeqCst);
            if round % 50 == 0 {
                eventually("a fault in it", || taken.load(SeqCst) > before);
            }
            drop(region.unwrap());
            assert_eq!(RUNNING.load(SeqCst), 0, "in round {round}");
            assert_eq!(freed.load(SeqCst), round + 1, "what it owned is freed");
            assert_eq!(DEAD.load(SeqCst), 0, "a handler saw freed data in round {round}");
        }
    });
    drop(last);
    println!("{} faults taken", taken.into_inner());
}

// Dropped by its own handler, it is not called again; and its memory stays, because the handler runs.
pub(crate) fn dropped_in_its_own_handler() {
    static SELF: Mutex<Option<Region>> = Mutex::new(None);
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let memory = Memory::new(1);
    let last = unsafe {
        Region::with_priority(memory.range(), -1, |context| {
            context.set_return_value(1);
            context.skip(LENGTH);
            Verdict::Handled
        })
    };
    let once = || {
        for verdict in [Verdict::Handled, Verdict::Pass] {
            let freed = Arc::new(AtomicUsize::new(0));
            let data = Data { word: AtomicU64::new(ALIVE), freed: Arc::clone(&freed) };
            let region = unsafe {
                Region::new(memory.range(), move |context| {
                    CALLS.fetch_add(1, SeqCst);
                    // Free, because only this thread uses it.
                    if let Ok(mut own) = SELF.try_lock() {
                        drop(own.take());
                    }
                    context.set_return_value(data.word.load(SeqCst) as usize);
                    context.skip(LENGTH);
                    verdict
                })
            };
            *SELF.lock().unwrap() = Some(region.unwrap());
            let expected = if verdict == Verdict::Handled { ALIVE } else { 1 };
            assert_eq!(unsafe { load(memory.page(0)) }, expected);
            assert!(SELF.lock().unwrap().is_none());
            for _ in 0..3 {
                assert_eq!(unsafe { load(memory.page(0)) }, 1, "the next one");
            }
            assert_eq!(CALLS.swap(0, SeqCst), 1);
        }
    };
    std::thread::scope(|scope| scope.spawn(once).join().unwrap()); // Without a record.
    thread::current();
    once();
    drop(last);
    // Pieces of the dead go with the next change to them.
    assert_eq!(sigplane::table().faults.regions, 0);
}
