//! The journal under load: written by several threads and by handlers that interrupt them, read meanwhile, gone
//! round many times, and left behind by writers that were killed in the middle.
//!
//! For the journal's promise (`design/command.md`): a record that is read is whole, what is not there is
//! counted, and no writer's death spoils it for others.

#[path = "journal/killed.rs"]
mod killed;

use sigplane::legacy::Action;
use sigplane_compat::journal::layout::{CHANGES, Journal};
use sigplane_compat::journal::read::{Read, Record};
use sigplane_compat::journal::{self, Call, Kind};
use sigplane_tests::{Suite, raw};
use std::sync::Barrier;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::{AtomicI32, AtomicU64};

const THREADS: u64 = 4;
/// Notes of each thread, at least: the ring goes round more than forty times.
const NOTES: u64 = 20_000;

/// How often a writer is interrupted, at least.
const INTERRUPTED: u64 = 300;

/// What the writer `who` notes as its `count`-th: every word follows from the two, so that a mixture shows.
fn note(who: u64, count: u64) {
    let word = who << 32 | count;
    journal::note(Kind::Borrowed, who as i32 + 1, word as usize, !word);
}

/// Whether a record is one of those, and whose.
fn check(record: &Record) -> (u64, u64) {
    let (who, count) = (record.caller >> 32, record.caller & 0xffff_ffff);
    assert_eq!(record.kind, Kind::Borrowed as u8, "{record:?}");
    assert_eq!(record.new_handler, !record.caller, "{record:?}");
    assert_eq!(u64::from(record.signal), who + 1, "{record:?}");
    assert_eq!((record.old_handler, record.new_flags, record.new_mask), (0, 0, 0), "{record:?}");
    (who, count)
}

/// Reads from `from` on while others write: the records that were found, and where it stopped.
fn read_from(journal: &Journal, from: u64, found: &mut Vec<Record>) -> u64 {
    let next = journal.next.load(Acquire);
    for sequence in from.max(next.saturating_sub(CHANGES as u64))..next {
        if let Read::Complete(record) = journal.read(sequence) {
            assert_eq!(record.sequence, sequence);
            found.push(record);
        }
    }
    next
}

static INTERRUPTS: AtomicU64 = AtomicU64::new(0);

/// Interrupts a writer, on whichever thread, and writes.
extern "C" fn interrupt(_signal: i32) {
    let count = INTERRUPTS.fetch_add(1, Relaxed);
    note(THREADS, count);
}

/// Every note has its number, every record that is read is whole and its writer's in order, and at the end all
/// that is neither there nor overwritten is counted as lost.
fn threads_and_handlers_write_while_one_reads() {
    journal::start();
    raw::install(libc::SIGUSR1, interrupt as *const () as usize, libc::SA_RESTART, &[]);
    let journal = journal::current();
    let barrier = Barrier::new(THREADS as usize + 1);
    let threads = [const { AtomicI32::new(0) }; THREADS as usize];
    let mut found = Vec::new();
    let written = std::thread::scope(|scope| {
        let (barrier, threads) = (&barrier, &threads);
        let write = |who: u64| {
            // SAFETY: it takes nothing and cannot fail.
            threads[who as usize].store(unsafe { libc::gettid() }, Relaxed);
            barrier.wait();
            let enough = |count| count >= NOTES && INTERRUPTS.load(Relaxed) >= INTERRUPTED;
            let mut count = 0;
            while !enough(count) {
                note(who, count);
                count += 1;
            }
            count
        };
        let writers: Vec<_> = (0..THREADS).map(|who| scope.spawn(move || write(who))).collect();
        barrier.wait();
        let (mut from, process) = (0, std::process::id() as i32);
        while !writers.iter().all(|writer| writer.is_finished()) {
            for thread in threads {
                // SAFETY: no memory is passed; a thread that has ended is an error.
                unsafe { libc::tgkill(process, thread.load(Relaxed), libc::SIGUSR1) };
            }
            from = read_from(journal, from, &mut found);
        }
        read_from(journal, from, &mut found);
        writers.into_iter().map(|writer| writer.join().expect("it ends")).sum::<u64>()
    });
    let interrupts = INTERRUPTS.load(Relaxed);
    let next = journal.next.load(Acquire);
    assert_eq!(next, written + interrupts);
    let mut last = [None; THREADS as usize];
    for record in &found {
        let (who, count) = check(record);
        // A handler may be interrupted between its count and its record: only threads have an order.
        if let Some(last) = last.get_mut(who as usize) {
            assert!(last.is_none_or(|last| last < count), "{record:?} after {last:?}");
            *last = Some(count);
        }
    }
    // Nobody writes any more: the last ones are there, but for those that found their place in use.
    let complete = (next - CHANGES as u64..next)
        .filter(|&sequence| matches!(journal.read(sequence), Read::Complete(_)));
    let (complete, lost) = (complete.count() as u64, journal.lost.load(Relaxed));
    assert!(complete + lost >= CHANGES as u64, "{complete} complete, {lost} lost");
    assert!(lost * 100 <= next, "{lost} of {next} lost");
    println!(
        "{next} written, {} read meanwhile, {lost} lost, {interrupts} by handlers",
        found.len()
    );
}

/// The ring keeps the newest, and says of the others that they are gone.
fn the_ring_goes_round() {
    let journal = journal::current();
    let all = CHANGES as u64 * 3 + 5;
    for count in 0..all {
        note(0, count);
        assert_eq!(journal.next.load(Relaxed), count + 1);
    }
    for sequence in 0..all {
        match journal.read(sequence) {
            Read::Complete(record) => {
                assert_eq!((check(&record), record.sequence), ((0, sequence), sequence));
                assert!(sequence >= all - CHANGES as u64, "{sequence} is overwritten");
            }
            Read::Gone => assert!(sequence < all - CHANGES as u64, "{sequence} should be there"),
            Read::Unfinished => panic!("{sequence} was finished"),
        }
    }
    assert_eq!(journal.lost.load(Relaxed), 0);
}

/// A record that its writer has left unfinished is told as such, costs the one that wants its place next, and
/// nothing else.
fn an_unfinished_record_costs_its_place() {
    let journal = journal::current();
    for count in 0..10 {
        note(0, count);
    }
    // As a writer leaves it that is killed, or jumped out of: the stamp of one that writes.
    journal.ring[4].stamp.store(4 * 2 + 1, Relaxed);
    let is_there = |sequence| matches!(journal.read(sequence), Read::Complete(_));
    assert_eq!(journal.read(4), Read::Unfinished);
    assert!((0..10).filter(|&sequence| sequence != 4).all(is_there));
    let all = CHANGES as u64 * 3;
    for count in 10..all {
        note(0, count);
    }
    assert_eq!(journal.lost.load(Relaxed), 2, "one for each round");
    let missing = (all - CHANGES as u64..all).filter(|&sequence| !is_there(sequence));
    assert_eq!(missing.collect::<Vec<_>>(), [CHANGES as u64 * 2 + 4]);
}

/// Owners' counts are exact where each signal is set by one thread, while handlers set another one in between.
fn owners_are_counted() {
    static HANDLED: AtomicU64 = AtomicU64::new(0);
    fn set(signal: i32, handler: u64) {
        let action = |handler| Action { handler, flags: 0, restorer: 0, mask: handler as u64 };
        let new = action(0x1000 + handler as usize);
        journal::changed(Call::Sigaction, signal, &action(0), &new, 0x2000 + handler as usize);
    }
    extern "C" fn interrupt(_signal: i32) {
        set(60, HANDLED.fetch_add(1, Relaxed) % 2);
    }
    journal::start();
    raw::install(libc::SIGUSR1, interrupt as *const () as usize, libc::SA_RESTART, &[]);
    std::thread::scope(|scope| {
        for who in 0..THREADS {
            scope.spawn(move || {
                for count in 0..NOTES {
                    set(who as i32 + 1, count % 3);
                    if who == 0 && count % 8 == 0 {
                        // SAFETY: a signal to this thread, whose handler is there.
                        unsafe { libc::raise(libc::SIGUSR1) };
                    }
                }
            });
        }
    });
    let owners = |signal: usize| {
        let owners = &journal::current().owners[signal];
        let complete = owners.list.iter().filter(|owner| owner.state.load(Acquire) == 2);
        let all = complete.map(|owner| {
            let (handler, mask) = (owner.handler.load(Relaxed), owner.mask.load(Relaxed));
            assert_eq!((mask, owner.caller.load(Relaxed)), (handler, handler + 0x1000));
            (handler, owner.count.load(Relaxed))
        });
        all.collect::<Vec<_>>()
    };
    let third = |at: u64| (NOTES + 2 - at) / 3;
    for who in 1..=THREADS as usize {
        assert_eq!(owners(who), [(0x1000, third(0)), (0x1001, third(1)), (0x1002, third(2))]);
    }
    let half = NOTES / 8 / 2;
    assert_eq!(owners(60), [(0x1000, half), (0x1001, half)]);
}

fn main() {
    Suite {
        tests: &[
            (
                "threads_and_handlers_write_while_one_reads",
                threads_and_handlers_write_while_one_reads,
            ),
            ("the_ring_goes_round", the_ring_goes_round),
            ("an_unfinished_record_costs_its_place", an_unfinished_record_costs_its_place),
            ("owners_are_counted", owners_are_counted),
            ("killed_writers_leave_it_readable", killed::killed_writers_leave_it_readable),
        ],
        victims: &[("writers", killed::writers)],
    }
    .main()
}
