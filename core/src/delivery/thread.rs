//! The thread context: a subscription of the calling thread, run at its safe points.

use super::entry::Entry;
use crate::subscribe::SubscriptionStats;
use crate::table::Removal;
use crate::thread::{Record, local};
use core::marker::PhantomData;
use std::sync::Arc;

/// A subscription whose closure runs on the thread that made it, at its safe points. Bound to that
/// thread; dropping it ends it, and so does the end of the thread.
///
/// A signal that is directed at a thread with `tgkill` or `pthread_kill` (the kernel does not tell of
/// other ways, such as `pthread_sigqueue`) goes to that thread's own
/// subscription if it has one; everything else goes to every thread that subscribes, wherever the
/// kernel delivered it, and wakes its alertable wait.
///
/// # Examples
/// ```
/// use sigplane::{Signal, send, thread};
/// let mut count = 0;
/// let (tell, told) = std::sync::mpsc::channel();
/// let sub = sigplane::subscribe(Signal::HUP).thread(move |_| {
///     count += 1;
///     let _ = tell.send(count);
/// })?;
/// send::raise(Signal::HUP)?;
/// thread::poll();
/// assert_eq!(told.try_recv()?, 1);
/// drop(sub);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping it ends the subscription"]
#[derive(Debug)]
pub struct ThreadSubscription {
    entry: Option<Arc<Entry>>,
    not_send: PhantomData<*const ()>,
}

impl ThreadSubscription {
    pub(crate) fn new(entry: Arc<Entry>) -> Self {
        Self { entry: Some(entry), not_send: PhantomData }
    }

    /// What it has seen so far.
    pub fn stats(&self) -> SubscriptionStats {
        self.entry.as_ref().map(|entry| SubscriptionStats::of(entry)).unwrap_or_default()
    }

    /// Ends it and says what became of the kernel's action.
    pub fn unsubscribe(mut self) -> Removal {
        self.end()
    }

    /// Keeps it until the thread ends.
    pub fn detach(mut self) {
        self.entry = None;
    }

    fn end(&mut self) -> Removal {
        let Some(entry) = self.entry.take() else {
            return Removal::Restored;
        };
        entry.disarm();
        if let Some(record) = Record::current() {
            local::remove(record, &entry);
        }
        crate::table::remove(entry)
    }
}

impl Drop for ThreadSubscription {
    fn drop(&mut self) {
        let _removal = self.end();
    }
}
