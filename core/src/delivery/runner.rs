//! A subscriber's closure on its way to ordinary code: run one at a time, its panics contained, and
//! gone when its subscription is dropped.
//!
//! # Safety
//! The closure is reached only by whoever holds `busy`: the dispatcher while it runs it, or the
//! thread that ends the subscription. A closure of the thread context never leaves its thread
//! (`thread::local`), so this is for the dispatcher's alone.

use super::entry::Entry;
use crate::defer::Critical;
use crate::sync::Ordering;
use crate::sys::lock::Lock;
use crate::{Event, dispatcher};
use std::panic::{AssertUnwindSafe, catch_unwind};

type Closure = Box<dyn FnMut(&Event) + Send>;

pub(crate) struct Runner {
    busy: Lock<Option<Closure>>,
}

impl Runner {
    pub(crate) fn new(closure: Closure) -> Self {
        Self { busy: Lock::new(Some(closure)) }
    }

    /// Runs the closure; afterwards drops it if its subscription has ended meanwhile (only its own
    /// handler can have ended it without waiting).
    pub(crate) fn run(&self, event: &Event, entry: &Entry) {
        let ended = || !entry.is_armed();
        let mut closure = self.busy.lock();
        if let Some(run) = closure.as_mut()
            && !ended()
        {
            contain(entry, event, || run(event));
        }
        let gone = if ended() { closure.take() } else { None };
        // The lock goes first: dropping what a closure owns is the user's code.
        drop(closure);
        drop_contained(gone);
    }

    /// Waits until the closure is not running and drops it; at once when it is the caller that is
    /// running it, in which case [`Runner::run`] drops it.
    pub(crate) fn end(&self) {
        let gone = loop {
            {
                // A foreign handler that left from here by siglongjmp would leave the lock behind.
                let _critical = Critical::enter();
                let closure = self.busy.try_lock();
                if closure.is_some() || dispatcher::is_current() {
                    break closure.and_then(|mut closure| closure.take());
                }
            }
            // The wait is outside: what the closure waits for may be a signal to this thread.
            self.busy.wait_while_locked();
        };
        drop_contained(gone);
    }

    /// In a forked child: a closure that was running when the process was copied may be in any state. It
    /// is forgotten, neither run nor dropped. Returns whether it was.
    ///
    /// # Safety
    /// As for [`Lock::reset_after_fork`].
    #[allow(unsafe_code)]
    pub(crate) unsafe fn reset_after_fork(&self) -> bool {
        if self.busy.try_lock().is_some() {
            return false;
        }
        // SAFETY: the caller's promise.
        unsafe { self.busy.reset_after_fork() };
        core::mem::forget(self.busy.lock().take());
        true
    }
}

/// Runs a subscriber's code; a panic in it is counted and passed to the hook, and goes no further.
pub(crate) fn contain(entry: &Entry, event: &Event, run: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(run)) {
        if let Some(queue) = entry.queue() {
            queue.tally.panics.fetch_add(1, Ordering::Relaxed);
        }
        dispatcher::report_panic(&entry.label(), event, payload.as_ref());
        drop_contained(payload);
    }
}

/// Drops a user's value. A panic of its `Drop` goes no further; what it panicked with is forgotten,
/// because dropping that could panic again.
pub(crate) fn drop_contained<T>(value: T) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        core::mem::forget(second);
    }
}
