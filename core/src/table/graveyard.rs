//! Subscriptions that were dropped inside an immediate handler, until a writer ends them.
//!
//! **`bury` runs inside signal handlers**: one compare-and-swap, nothing freed. The next call that
//! changes or prints the table takes them out in ordinary code. Until then the entry is disarmed: it
//! is passed by, and when it was the last, the default action is taken as if it were gone.
//!
//! # Safety
//! The list owns one count of each entry in it, handed over by `Arc::into_raw` and back by
//! `Arc::from_raw`. An entry is buried once: only the owner of its subscription can drop it.
#![allow(unsafe_code)]

use crate::delivery::entry::Entry;
use crate::sync::Ordering;
use core::sync::atomic::AtomicPtr;
use std::sync::Arc;

pub(crate) struct Graveyard {
    first: AtomicPtr<Entry>,
}

impl Graveyard {
    pub(crate) const fn new() -> Self {
        Self { first: AtomicPtr::new(core::ptr::null_mut()) }
    }

    pub(crate) fn bury(&self, entry: Arc<Entry>) {
        let dead = Arc::into_raw(entry).cast_mut();
        let mut first = self.first.load(Ordering::Relaxed);
        loop {
            // SAFETY: the list's own count keeps it alive.
            unsafe { &*dead }.next_dead.store(first, Ordering::Relaxed);
            // ORDERING: Release publishes `next_dead`; pairs with the Acquire in `exhume`.
            match self.first.compare_exchange_weak(
                first,
                dead,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(actual) => first = actual,
            }
        }
    }

    /// Takes one out. Takes the whole list first, so that no entry can come back at the same address
    /// in between (ABA), and puts the rest back.
    pub(crate) fn exhume(&self) -> Option<Arc<Entry>> {
        if self.first.load(Ordering::Relaxed).is_null() {
            return None;
        }
        let first = self.first.swap(core::ptr::null_mut(), Ordering::AcqRel);
        if first.is_null() {
            return None;
        }
        // SAFETY: `bury` handed over this count.
        let entry = unsafe { Arc::from_raw(first.cast_const()) };
        let mut rest = entry.next_dead.load(Ordering::Relaxed);
        while !rest.is_null() {
            // SAFETY: as above; its own link is read before it is buried again.
            let other = unsafe { Arc::from_raw(rest.cast_const()) };
            rest = other.next_dead.load(Ordering::Relaxed);
            self.bury(other);
        }
        Some(entry)
    }
}
