//! Guest mode: sigplane's way with signals in a program whose owner is signal-hook.
//!
//! Such a program has the published `signal-hook-registry` (under signal-hook, tokio, async-signal) as the
//! handler in the kernel, and cannot put [ours](https://github.com/sigplane/sigplane/tree/main/compat/registry)
//! in its place. Here a library receives signals *through* that registry: nothing is changed in the kernel
//! that the owner has not changed itself, and everybody who registers with the owner goes on as before.
//!
//! The events are whole: who sent, with which value, every instance (the registry's users get a flag or a
//! number). They wait in a queue that the caller reads ([`Inbox`]), or a closure gets them on a thread of its
//! own, as ordinary code ([`on`]).
//!
//! ```
//! use sigplane::{Signal, SignalSet, send::{self, Value}};
//! use sigplane_compat::guest;
//!
//! let rt = Signal::rt(1)?;
//! let inbox = guest::subscribe(SignalSet::from([Signal::HUP, rt])).inbox()?;
//! for value in 0..3 {
//!     send::raise_with(rt, Value::from_int(value))?;
//! }
//! let values: Vec<_> = inbox.try_iter().filter_map(|event| event.value()).map(Value::int).collect();
//! assert_eq!(values, [0, 1, 2]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a guest cannot have
//! The owner decides what happens to the kernel's table, and its handler passes on the information only:
//! * A signal stays caught when the last guest leaves, as with every user of the registry.
//! * No machine context: no faults, no preemption, no immediate context, and no back-pressure into the kernel.
//!   An event that finds the queue full is dropped and counted in [`SubscriptionStats::dropped`].
//! * No deferral, no priorities, no observers: order is that of registration.
//! * Removal waits for handlers as the registry does: end a guest in ordinary code, never in a handler.
//!
//! A program that can take sigplane as its owner has all of that from [`sigplane::subscribe`].

mod queue;

use queue::Queue;
use signal_hook_registry::SigId;
use sigplane::{Error, Event, Result, Signal, SignalSet, SubscriptionStats};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Begins a guest's subscription; nothing happens before [`Builder::inbox`] or [`Builder::thread`].
pub fn subscribe(set: impl Into<SignalSet>) -> Builder {
    Builder { set: set.into(), capacity: 128 }
}

/// Runs `handler` on a thread of its own for every event; `subscribe(set).thread(handler)`.
///
/// # Errors
/// As [`Builder::inbox`].
///
/// # Examples
/// ```
/// use sigplane::{Signal, send};
/// use sigplane_compat::guest;
/// let (tell, told) = std::sync::mpsc::channel();
/// let _sub = guest::on(Signal::TERM, move |event| tell.send(event.sender()).unwrap())?;
/// send::raise(Signal::TERM)?;
/// assert_eq!(told.recv()?.map(|sender| sender.pid as u32), Some(std::process::id()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn on(
    set: impl Into<SignalSet>,
    handler: impl FnMut(&Event) + Send + 'static,
) -> Result<Subscription> {
    subscribe(set).thread(handler)
}

/// A guest's subscription in the making; see [`subscribe`](fn@subscribe).
#[must_use = "nothing is registered before it becomes an inbox or gets a closure"]
#[derive(Clone, Debug)]
pub struct Builder {
    set: SignalSet,
    capacity: usize,
}

impl Builder {
    /// How many events can wait at least; 128 by default. The queue is a pipe, so there is room for some more,
    /// and the system has a limit (`/proc/sys/fs/pipe-max-size`).
    pub fn capacity(mut self, events: usize) -> Self {
        self.capacity = events;
        self
    }

    /// Events wait until they are read.
    ///
    /// # Errors
    /// [`Error::EmptySet`], [`Error::ZeroCapacity`], [`Error::Uncatchable`]; [`Error::NeedsImmediate`] for the
    /// signals of faults; [`Error::Os`] when the registry or the kernel refuses. Nothing is registered then.
    ///
    /// # Async-signal safety
    /// No.
    pub fn inbox(self) -> Result<Inbox> {
        self.check()?;
        let queue = Arc::new(Queue::new(self.capacity)?);
        let mut guest = Guest { queue, ids: Vec::new() };
        for signal in self.set.iter() {
            guest.ids.push(register(signal, &guest.queue)?);
        }
        Ok(Inbox { guest })
    }

    /// Runs `handler` on a thread of its own for every event. A panic in it is caught and counted.
    ///
    /// # Errors
    /// As [`inbox`](Self::inbox).
    ///
    /// # Async-signal safety
    /// No.
    pub fn thread(self, handler: impl FnMut(&Event) + Send + 'static) -> Result<Subscription> {
        let inbox = self.inbox()?;
        let queue = Arc::clone(&inbox.guest.queue);
        let thread = thread::Builder::new()
            .name("sigplane-guest".into())
            .spawn(move || serve(&queue, handler))
            .map_err(|source| Error::Os { call: "pthread_create", source })?;
        Ok(Subscription { guest: inbox.guest, thread: Some(thread) })
    }

    fn check(&self) -> Result<()> {
        if self.set.is_empty() {
            return Err(Error::EmptySet);
        }
        for signal in self.set.iter() {
            if matches!(signal, Signal::KILL | Signal::STOP) {
                return Err(Error::Uncatchable(signal));
            }
            if signal.is_fault() {
                return Err(Error::NeedsImmediate(signal));
            }
        }
        if self.capacity == 0 { Err(Error::ZeroCapacity) } else { Ok(()) }
    }
}

fn register(signal: Signal, queue: &Arc<Queue>) -> Result<SigId> {
    let queue = Arc::clone(queue);
    // SAFETY: `put` is async-signal-safe.
    unsafe {
        signal_hook_registry::register_sigaction(signal.number(), move |info| queue.put(info))
    }
    .map_err(|source| Error::Os { call: "sigaction", source })
}

fn serve(queue: &Queue, mut handler: impl FnMut(&Event)) {
    while !queue.has_ended() {
        if let Some(event) = queue.wait(None)
            && !queue.has_ended()
            && catch_unwind(AssertUnwindSafe(|| handler(&event))).is_err()
        {
            queue.count_panic();
        }
    }
}

/// What is registered with the owner; dropping it ends that.
#[derive(Debug)]
struct Guest {
    queue: Arc<Queue>,
    ids: Vec<SigId>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        for id in self.ids.drain(..) {
            // Waits until no handler runs the action.
            signal_hook_registry::unregister(id);
        }
        self.queue.end();
    }
}

/// Events that wait to be read, from any thread; each goes to one reader. Dropping it ends the subscription.
///
/// A forked child has its parent's inboxes, but nothing arrives in them: it subscribes anew.
#[derive(Debug)]
pub struct Inbox {
    guest: Guest,
}

impl Inbox {
    /// Waits for the next event.
    pub fn recv(&self) -> Event {
        loop {
            if let Some(event) = self.guest.queue.wait(None) {
                return event;
            }
        }
    }

    /// Waits for the next event, for at most `limit`.
    pub fn recv_timeout(&self, limit: Duration) -> Option<Event> {
        match Instant::now().checked_add(limit) {
            Some(deadline) => self.guest.queue.wait(Some(deadline)),
            None => Some(self.recv()),
        }
    }

    /// The next event if there is one.
    pub fn try_recv(&self) -> Option<Event> {
        self.guest.queue.take()
    }

    /// Events for ever, waiting for each.
    pub fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        std::iter::repeat_with(|| self.recv())
    }

    /// The events that are there, without waiting.
    pub fn try_iter(&self) -> impl Iterator<Item = Event> + '_ {
        std::iter::from_fn(|| self.try_recv())
    }

    /// What the queue has seen so far.
    pub fn stats(&self) -> SubscriptionStats {
        self.guest.queue.stats()
    }
}

impl AsFd for Inbox {
    /// A descriptor that polls readable while events wait. Do not read it: call
    /// [`try_recv`](Inbox::try_recv) until it gives none.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.guest.queue.as_fd()
    }
}

impl AsRawFd for Inbox {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// Keeps a closure subscribed. When `drop` returns it is not running and will not run; dropped in the closure
/// itself, the same holds from its end. Events that wait are discarded.
#[must_use = "dropping it ends the subscription"]
#[derive(Debug)]
pub struct Subscription {
    guest: Guest,
    thread: Option<JoinHandle<()>>,
}

impl Subscription {
    /// What its queue has seen so far.
    pub fn stats(&self) -> SubscriptionStats {
        self.guest.queue.stats()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.guest.ids.drain(..).for_each(|id| {
            signal_hook_registry::unregister(id);
        });
        self.guest.queue.end();
        if let Some(thread) = self.thread.take() {
            if self.guest.queue.is_inherited() {
                // The thread is the parent's; waiting for it here would never end.
                std::mem::forget(thread);
            } else if thread.thread().id() != thread::current().id() {
                // It catches panics, so it ends in good order.
                let _ended = thread.join();
            }
        }
    }
}
