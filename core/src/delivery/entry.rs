//! One subscription as the chain sees it.
//!
//! **Read inside signal handlers.** Everything but the atomics is fixed when the entry is made. An
//! entry is freed only after the chains that name it have been retired (see `table::grace`).

#![allow(unsafe_code)]

use super::immediate::Callback;
use super::queue::{Consumer, Queue};
use super::runner::Runner;
use super::{Context, Place};
use crate::set::SignalSet;
use crate::sync::{AtomicBool, Ordering};
use core::ops::Deref;
use core::panic::Location;
use core::sync::atomic::AtomicPtr;
use std::borrow::Cow;
use std::sync::Arc;

#[repr(C, align(64))]
pub(crate) struct Entry {
    // What a handler reads of an immediate entry comes first, on one cache line.
    /// Set first of all when the subscription ends: a chain that still names the entry passes it by.
    pub disarmed: AtomicBool,
    pub observes: bool,
    pub place: Place,
    pub priority: i32,
    pub kind: Kind,
    pub set: SignalSet,
    /// As the subscriber gave it; see [`Entry::label`].
    pub name: Cow<'static, str>,
    pub location: &'static Location<'static>,
    /// Whether the table owns a count of it.
    pub linked: AtomicBool,
    /// The next in the list of those dropped inside a handler; see `table::graveyard`.
    pub next_dead: AtomicPtr<Entry>,
}

pub(crate) enum Kind {
    Immediate(Callback),
    Queued(Box<Queued>),
}

pub(crate) struct Queued {
    pub queue: Queue,
    /// The subscriber's closure, for the contexts that have one to run elsewhere.
    pub runner: Option<Runner>,
}

/// An entry as a chain names it: without a count of its own, so that a chain of many is copied at the
/// price of its pointers.
///
/// # Safety
/// The table owns a count of every entry that a chain names, and gives it up after the grace period that
/// follows the entry's removal from the last one. So the entry outlives every chain that a reader, or a
/// writer with the lock, can reach; and a retired chain is dropped without looking at its entries.
#[derive(Clone, Copy)]
pub(crate) struct Link(*const Entry);

// SAFETY: a shared reference to an entry, which is Sync, as above.
unsafe impl Send for Link {}
// SAFETY: as above.
unsafe impl Sync for Link {}

impl Link {
    /// The caller makes the table own a count of `entry`.
    pub(crate) fn to(entry: &Arc<Entry>) -> Self {
        Self(Arc::as_ptr(entry))
    }

    pub(crate) fn is(self, entry: &Entry) -> bool {
        core::ptr::eq(self.0, entry)
    }
}

impl Deref for Link {
    type Target = Entry;
    #[inline(always)]
    fn deref(&self) -> &Entry {
        // SAFETY: by the type's invariant.
        unsafe { &*self.0 }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        crate::exhibit::hide(self);
    }
}

impl Entry {
    pub(crate) fn is_armed(&self) -> bool {
        !self.disarmed.load(Ordering::Acquire)
    }

    pub(crate) fn disarm(&self) {
        self.disarmed.store(true, Ordering::Release);
    }

    /// What it is called in reports: its name, or else where it was made. Allocates.
    pub(crate) fn label(&self) -> Cow<'_, str> {
        if self.name.is_empty() {
            self.location.to_string().into()
        } else {
            Cow::Borrowed(&self.name)
        }
    }

    pub(crate) fn queue(&self) -> Option<&Queue> {
        match &self.kind {
            Kind::Queued(queued) => Some(&queued.queue),
            Kind::Immediate(_) => None,
        }
    }

    pub(crate) fn runner(&self) -> Option<&Runner> {
        match &self.kind {
            Kind::Queued(queued) => queued.runner.as_ref(),
            Kind::Immediate(_) => None,
        }
    }

    pub(crate) fn context(&self) -> Context {
        match &self.kind {
            Kind::Immediate(_) => Context::Immediate,
            Kind::Queued(queued) => match queued.queue.consumer {
                Consumer::Dispatcher => Context::Dispatcher,
                Consumer::Thread(_) => Context::Thread,
                Consumer::Inbox(_) => Context::Inbox,
            },
        }
    }
}
