//! Safe points: where a thread runs the handlers and closures that wait for it.
//!
//! Ordinary code. Safe points do not nest: what runs at one is not interrupted by what runs at
//! another, however deep it calls (`poll` inside such code runs nothing).

use super::local;
use super::record::{Record, attention};
use crate::defer::{self, Critical};
use crate::delivery::runner;
use crate::sync::{AtomicU32, Ordering};

/// Marks the thread as being at a safe point; also when what runs there unwinds.
struct Busy<'a>(&'a AtomicU32);

impl<'a> Busy<'a> {
    fn begin(record: &'a Record) -> Option<Self> {
        (record.at_safe_point.swap(1, Ordering::Relaxed) == 0).then(|| Self(&record.at_safe_point))
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Delivers what a deferral stored and runs what waits; returns how many handlers and closures ran.
/// Runs nothing inside a deferral or another safe point.
#[cold]
pub(crate) fn reach(record: &'static Record) -> usize {
    if record.depth.load(Ordering::Relaxed) != 0 {
        return 0;
    }
    if record.attention.load(Ordering::Relaxed) & attention::DEFERRED != 0 {
        defer::flush(record);
    }
    if Record::in_handler() {
        return 0; // An immediate entry that has left a deferral: what waits is for ordinary code.
    }
    let Some(_busy) = Busy::begin(record) else {
        return 0;
    };
    // ORDERING: SeqCst: the bit is cleared before the queues are looked at; who adds to them sets it
    // afterwards, so nothing that is missed here goes unannounced.
    if record.attention.fetch_and(!attention::WORK, Ordering::SeqCst) & attention::WORK == 0 {
        return 0;
    }
    // What is there now, and no more: a closure that posts itself again, or a poster that is faster
    // than its closures, must not keep the thread here for ever.
    let (mut events, mut jobs) = (local::waiting(record), waiting_jobs(record));
    let mut ran = 0;
    while events > 0
        && let Some((entry, closure, event)) = local::next(record)
    {
        events -= 1;
        if entry.is_armed() {
            ran += 1;
            runner::contain(&entry, &event, || (closure.borrow_mut())(&event));
        }
    }
    while jobs > 0
        && let Some(job) = next_job(record)
    {
        jobs -= 1;
        ran += 1;
        job.run();
    }
    if local::waiting(record) > 0 || waiting_jobs(record) > 0 {
        record.attention.fetch_or(attention::WORK, Ordering::SeqCst);
    }
    ran
}

fn waiting_jobs(record: &Record) -> usize {
    let _critical = Critical::enter();
    record.mailbox.lock().jobs.len()
}

fn next_job(record: &Record) -> Option<Box<dyn super::record::Job>> {
    let _critical = Critical::enter();
    record.mailbox.lock().jobs.pop_front()
}
