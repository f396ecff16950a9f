//! The dispatcher: one thread of sigplane's own that runs subscribers' closures as ordinary code.
//!
//! It is started by the first subscription that needs it, blocks every signal but the synchronous
//! faults, and sleeps on one eventcount for all its queues. Of the events that wait it takes the one
//! that arrived first, whichever subscription it is for, so that order holds across signals; copies
//! of one event for several subscriptions go by priority.
//!
//! It never ends: a handler may need it at any time. In a forked child it does not exist; `process`
//! starts another there.

use super::doom::Doom;
use super::entry::Entry;
use super::eventcount::EventCount;
use crate::defer::Critical;
use crate::error::Result;
use crate::event::{Event, RawEvent};
use crate::sync::{AtomicU32, AtomicUsize, Ordering};
use crate::sys;
use crate::sys::lock::Lock;
use std::any::Any;
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct Dispatcher {
    /// Notified by handlers that have queued something, and when the list below changes.
    pub wake: EventCount,
    /// Counts changes of the list, so that the thread need not lock it for each event.
    version: AtomicUsize,
    /// Counts forks, in the child: what the thread has taken by then is the parent's.
    forks: AtomicUsize,
    list: Lock<List>,
    hook: Lock<Option<Arc<Hook>>>,
    pub doom: Doom,
    /// Held while a subscriber's code runs on the thread.
    at_work: Lock<()>,
    panics: AtomicUsize,
}

struct List {
    entries: Vec<Arc<Entry>>,
    running: bool,
}

/// How long a `fork` waits for subscribers' code that is running.
const PATIENCE: Duration = Duration::from_millis(100);

type Hook = dyn Fn(&PanicReport<'_>) + Send + Sync;

thread_local! {
    static IS_DISPATCHER: Cell<bool> = const { Cell::new(false) };
}

/// A panic in a subscriber's code on the dispatcher thread or at a safe point; it went no further.
///
/// # Examples
/// See [`on_panic`].
#[derive(Debug)]
#[non_exhaustive]
pub struct PanicReport<'a> {
    /// The subscription's name.
    pub subscription: &'a str,
    /// What it was called with.
    pub event: &'a Event,
    /// What it panicked with, when that was a string.
    pub message: Option<&'a str>,
}

/// Sets what is called, on the thread where it happened, when a subscriber's code panics. Replaces the
/// hook set before. Rust's own panic message is printed in any case, unless `std::panic::set_hook`
/// says otherwise; panics are also counted per subscription.
///
/// # Async-signal safety
/// No.
///
/// # Examples
/// ```
/// use sigplane::{Signal, dispatcher, send};
/// let (send_message, message) = std::sync::mpsc::channel();
/// dispatcher::on_panic(move |report| {
///     let _ = send_message.send(report.message.unwrap_or("?").to_owned());
/// });
/// let _sub = sigplane::on(Signal::USR1, |_| panic!("as expected"))?;
/// send::raise(Signal::USR1)?;
/// assert_eq!(message.recv()?, "as expected");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn on_panic(hook: impl Fn(&PanicReport<'_>) + Send + Sync + 'static) {
    let _critical = Critical::enter();
    let hook: Arc<Hook> = Arc::new(hook);
    let old = crate::engine::get().dispatcher.hook.lock().replace(hook);
    drop(old);
}

/// Whether the caller runs on the dispatcher thread.
///
/// # Async-signal safety
/// No.
///
/// # Examples
/// ```
/// assert!(!sigplane::dispatcher::is_current());
/// ```
pub fn is_current() -> bool {
    IS_DISPATCHER.get()
}

/// Counts a panic and passes it to the hook; a panic of the hook itself is only counted.
pub(crate) fn report_panic(name: &str, event: &Event, payload: &(dyn Any + Send)) {
    let dispatcher = &crate::engine::get().dispatcher;
    dispatcher.panics.fetch_add(1, Ordering::Relaxed);
    let text = payload.downcast_ref::<&str>().copied();
    let message = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let hook = {
        let _critical = Critical::enter();
        dispatcher.hook.lock().clone()
    };
    if let Some(hook) = hook {
        let report = PanicReport { subscription: name, event, message };
        let call = std::panic::AssertUnwindSafe(|| hook(&report));
        if let Err(payload) = std::panic::catch_unwind(call) {
            dispatcher.panics.fetch_add(1, Ordering::Relaxed);
            super::runner::drop_contained(payload);
        }
    }
}

impl Dispatcher {
    pub(crate) const fn new() -> Self {
        Self {
            wake: EventCount::new(AtomicU32::new(0)),
            version: AtomicUsize::new(0),
            forks: AtomicUsize::new(0),
            list: Lock::new(List { entries: Vec::new(), running: false }),
            hook: Lock::new(None),
            doom: Doom::new(),
            at_work: Lock::new(()),
            panics: AtomicUsize::new(0),
        }
    }

    /// How often subscribers' code has panicked, over all subscriptions there ever were.
    pub(crate) fn panics(&self) -> usize {
        self.panics.load(Ordering::Relaxed)
    }

    /// Serves an entry from now on; starts the thread if there is none.
    pub(crate) fn serve(&self, entry: &Arc<Entry>) -> Result<()> {
        let _critical = Critical::enter();
        let mut list = self.list.lock();
        let at = list.entries.partition_point(|other| other.priority >= entry.priority);
        list.entries.insert(at, Arc::clone(entry));
        if !list.running
            && let Err(error) = start()
        {
            list.entries.remove(at);
            return Err(error);
        }
        list.running = true;
        self.changed();
        Ok(())
    }

    /// Stops serving an entry. Events of it that the thread has taken already are discarded.
    pub(crate) fn forget(&self, entry: &Arc<Entry>) {
        let _critical = Critical::enter();
        let removed = {
            let mut list = self.list.lock();
            let at = list.entries.iter().position(|other| Arc::ptr_eq(other, entry));
            at.map(|at| list.entries.remove(at))
        };
        self.changed();
        drop(removed);
    }

    fn changed(&self) {
        self.version.fetch_add(1, Ordering::SeqCst);
        self.wake.notify();
    }

    /// Before a `fork`: waits for subscribers' code that runs on the thread just now, so that the child
    /// gets closures at rest; but not long, because it may be waiting for the thread that forks. Returns
    /// whether it is at rest, and keeps it so.
    pub(crate) fn rest_for_fork(&self) -> bool {
        is_current() || {
            let guard = self.at_work.lock_until(sys::now().saturating_add(PATIENCE));
            guard.map(core::mem::forget).is_some()
        }
    }

    /// Takes the other locks over a `fork`, and forgets the guards.
    pub(crate) fn lock_for_fork(&self) {
        core::mem::forget(self.list.lock());
        core::mem::forget(self.hook.lock());
    }

    /// # Safety
    /// The calling thread has called `lock_for_fork`, and `rest_for_fork`, which returned
    /// `at_rest`.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn unlock_after_fork(&self, at_rest: bool) {
        if at_rest && !is_current() {
            // SAFETY: the caller's promise.
            unsafe { self.at_work.unlock_forgotten() };
        }
        // SAFETY: the caller's promise.
        unsafe { self.hook.unlock_forgotten() };
        // SAFETY: the caller's promise.
        unsafe { self.list.unlock_forgotten() };
    }

    /// In a forked child: nothing that was waiting is this process's, and the thread is gone unless
    /// it is the one that forked.
    ///
    /// # Safety
    /// As for [`Lock::reset_after_fork`].
    #[allow(unsafe_code)]
    pub(crate) unsafe fn reset_after_fork(&self) {
        self.version.fetch_add(1, Ordering::SeqCst);
        self.forks.fetch_add(1, Ordering::SeqCst);
        self.doom.reset_after_fork();
        let mut list = self.list.lock();
        list.running = is_current();
        if is_current() {
            return;
        }
        // SAFETY: the caller's promise; the thread that held it does not exist here.
        unsafe { self.at_work.reset_after_fork() };
        for entry in &list.entries {
            // SAFETY: as above.
            let torn = entry.runner().is_some_and(|runner| unsafe { runner.reset_after_fork() });
            if torn {
                entry.disarm();
            }
        }
    }

    /// Starts the thread again in a forked child, if anything is to be served.
    pub(crate) fn restart_after_fork(&self) {
        let mut list = self.list.lock();
        if !list.running && !list.entries.is_empty() {
            list.running = start().is_ok();
        }
    }
}

fn start() -> Result<()> {
    // The thread inherits the mask: no signal can come in on it before it has blocked them itself.
    let mask = sys::block(sys::ASYNC_BITS);
    let started = std::thread::Builder::new().name("sigplane".into()).spawn(serve_for_ever);
    sys::set_mask(mask);
    let error = |source| crate::Error::Os { call: "pthread_create", source };
    started.map(drop).map_err(error)
}

/// An entry as the thread sees it, with the event at the front of its queue.
struct Served {
    entry: Arc<Entry>,
    front: Option<RawEvent>,
}

fn serve_for_ever() {
    IS_DISPATCHER.set(true);
    let dispatcher = &crate::engine::get().dispatcher;
    let mut served = Vec::new();
    let mut version = usize::MAX;
    let mut forks = dispatcher.forks.load(Ordering::SeqCst);
    let mut look = || {
        if dispatcher.version.load(Ordering::SeqCst) != version {
            let now = dispatcher.forks.load(Ordering::SeqCst);
            if now != forks {
                // This thread has forked inside a handler, and this is the child.
                forks = now;
                served.iter_mut().for_each(|one: &mut Served| one.front = None);
            }
            version = refresh(dispatcher, &mut served);
        }
        oldest(&mut served)
    };
    loop {
        if let Some((entry, event)) = dispatcher.wake.wait(None, &mut look) {
            run(&entry, &event);
        }
    }
}

/// Takes over the list; returns the version it had.
fn refresh(dispatcher: &Dispatcher, served: &mut Vec<Served>) -> usize {
    let (version, entries) = {
        let _critical = Critical::enter();
        let list = dispatcher.list.lock();
        (dispatcher.version.load(Ordering::SeqCst), list.entries.clone())
    };
    let mut before = core::mem::take(served);
    served.extend(entries.into_iter().map(|entry| {
        let known = before.iter_mut().find(|known| Arc::ptr_eq(&known.entry, &entry));
        Served { front: known.and_then(|known| known.front.take()), entry }
    }));
    for gone in before {
        if let (Some(event), Some(queue)) = (gone.front, gone.entry.queue()) {
            queue.tally.taken.fetch_sub(event.instances as usize, Ordering::Relaxed);
            queue.tally.discarded.fetch_add(event.instances as usize, Ordering::Relaxed);
        }
    }
    version
}

/// The event that arrived first; of equal ones that of the highest priority, which stands first.
fn oldest(served: &mut [Served]) -> Option<(Arc<Entry>, Event)> {
    // Again until a pass finds nothing new: while one goes from queue to queue, a queue that it has found
    // empty may get an event and a later queue another, which the pass then finds. What is older than
    // anything found in a pass, and came in on the same thread, is in its queue by the next.
    let fetch = |one: &mut Served| {
        one.front = one.entry.queue().and_then(|queue| queue.take());
        one.front.is_some()
    };
    while served
        .iter_mut()
        .filter(|one| one.front.is_none())
        .fold(false, |new, one| fetch(one) | new)
    {}
    let arrival = |one: &Served| one.front.as_ref().map(|event| event.arrival_ns);
    let first = served.iter_mut().filter(|one| one.front.is_some()).min_by_key(|one| arrival(one));
    crate::engine::get().dispatcher.doom.strike(first.as_ref().and_then(|first| arrival(first)));
    let first = first?;
    let event = first.front.take()?;
    Some((Arc::clone(&first.entry), Event::from_raw(event)))
}

fn run(entry: &Entry, event: &Event) {
    let _at_work = crate::engine::get().dispatcher.at_work.lock();
    if let Some(runner) = entry.runner() {
        runner.run(event, entry);
    }
}
