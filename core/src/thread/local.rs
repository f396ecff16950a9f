//! The closures that a thread has subscribed in its own context.
//!
//! They need not be `Send`: the chain's entry, which any thread may hold, has only the queue and the
//! owner's record; the closure stays here, is run and dropped by its thread alone.
//!
//! # Safety
//! `Record::locals` is touched by the record's own thread only, in ordinary code, and no reference
//! into it is kept over a subscriber's code.
#![allow(unsafe_code)]

use super::record::Record;
use crate::delivery::entry::Entry;
use crate::delivery::runner::drop_contained;
use crate::event::{Event, RawEvent};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

type Closure = Rc<RefCell<dyn FnMut(&Event)>>;

struct Local {
    entry: Arc<Entry>,
    closure: Closure,
    /// Taken from the queue to be compared with the others', not run yet.
    front: Option<RawEvent>,
}

#[derive(Default)]
pub(crate) struct Locals(Vec<Local>);

impl Locals {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// See `Threads::reset_after_fork`.
    pub(crate) fn abandon(&mut self) {
        core::mem::forget(core::mem::take(self));
    }
}

#[allow(clippy::mut_from_ref, reason = "the cell is this thread's own")]
fn of_this_thread(record: &Record) -> &mut Locals {
    debug_assert!(record.is_current());
    // SAFETY: the module's rule.
    unsafe { &mut *record.locals.get() }
}

/// Keeps the closure of an entry of the calling thread.
pub(crate) fn add(record: &Record, entry: Arc<Entry>, closure: Closure) {
    of_this_thread(record).0.push(Local { entry, closure, front: None });
}

/// Forgets the closure of an entry; an event already taken from its queue is counted as discarded.
pub(crate) fn remove(record: &Record, entry: &Entry) {
    let locals = &mut of_this_thread(record).0;
    if let Some(at) =
        locals.iter().position(|local| core::ptr::eq(Arc::as_ptr(&local.entry), entry))
    {
        let local = locals.remove(at);
        discard_front(&local);
        // What the closure owns may call back into here when it is dropped: the vector is done with.
        drop_contained(local);
    }
}

fn discard_front(local: &Local) {
    if let (Some(event), Some(queue)) = (&local.front, local.entry.queue()) {
        use crate::sync::Ordering::Relaxed;
        queue.tally.taken.fetch_sub(event.instances as usize, Relaxed);
        queue.tally.discarded.fetch_add(event.instances as usize, Relaxed);
    }
}

/// The oldest event that waits for the calling thread, over all its queues, with what to run for it.
pub(crate) fn next(record: &Record) -> Option<(Arc<Entry>, Closure, Event)> {
    let locals = &mut of_this_thread(record).0;
    // Again until nothing new is found, for the reason given in `delivery::dispatcher::oldest`.
    let fetch = |local: &mut Local| {
        local.front = local.entry.queue().and_then(|queue| queue.take());
        local.front.is_some()
    };
    while locals.iter_mut().filter(|at| at.front.is_none()).fold(false, |new, at| fetch(at) | new) {
    }
    let oldest = locals.iter_mut().filter(|local| local.front.is_some()).min_by_key(|local| {
        (
            local.front.as_ref().map(|event| event.arrival_ns),
            core::cmp::Reverse(local.entry.priority),
        )
    })?;
    let event = oldest.front.take()?;
    Some((Arc::clone(&oldest.entry), Rc::clone(&oldest.closure), Event::from_raw(event)))
}

/// How many events wait for the calling thread.
pub(crate) fn waiting(record: &Record) -> usize {
    let waits = |local: &Local| {
        usize::from(local.front.is_some()) + local.entry.queue().map_or(0, |queue| queue.len())
    };
    of_this_thread(record).0.iter().map(waits).sum()
}

/// Forgets what was taken from the queues in the parent of a forked child.
pub(crate) fn reset_after_fork(record: &Record) {
    for local in &mut of_this_thread(record).0 {
        local.front = None;
    }
}

/// Ends every subscription of the calling thread, which is about to end itself.
pub(crate) fn end_all(record: &Record) {
    while let Some(local) = of_this_thread(record).0.pop() {
        discard_front(&local);
        let _restored = crate::table::remove(Arc::clone(&local.entry));
        drop_contained(local);
    }
}
