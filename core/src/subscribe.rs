//! Subscribing: the one-line form, the builder, and what keeps a subscription alive.

use crate::delivery::entry::{Entry, Kind, Queued};
use crate::delivery::immediate::{Callback, Delivery, Verdict};
use crate::delivery::inbox::{self, Inbox};
use crate::delivery::queue::{Consumer, Queue};
use crate::delivery::runner::Runner;
use crate::delivery::thread::ThreadSubscription;
use crate::delivery::{Overflow, Place};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::set::SignalSet;
use crate::signal::Signal;
use crate::sync::{AtomicBool, Ordering};
use crate::table::{self, Removal};
use crate::thread::{attached, local};
use core::fmt;
use core::panic::Location;
use core::sync::atomic::AtomicPtr;
use crossbeam_channel::Receiver;
use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// Runs `handler` on sigplane's dispatcher thread whenever one of the signals arrives: ordinary code,
/// which may allocate, lock, print and even panic (which is caught and counted). The default action is
/// suppressed. Dropping the subscription ends it and gives the signal back.
///
/// The same as `subscribe(set).dispatcher(handler)`; see [`Builder`] for everything else.
///
/// # Errors
/// [`Error::Uncatchable`] for SIGKILL and SIGSTOP, [`Error::NeedsImmediate`] for the signals of
/// synchronous faults, [`Error::EmptySet`], [`Error::VforkChild`], [`Error::Os`].
///
/// # Async-signal safety
/// No.
///
/// # Examples
/// ```
/// use sigplane::{Signal, send};
/// let (tell, told) = std::sync::mpsc::channel();
/// let _sub = sigplane::on(Signal::TERM, move |event| {
///     let _ = tell.send(event.sender());
/// })?;
/// send::raise(Signal::TERM)?;
/// assert_eq!(told.recv()?.unwrap().pid as u32, std::process::id());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[track_caller]
pub fn on(
    set: impl Into<SignalSet>,
    handler: impl FnMut(&Event) + Send + 'static,
) -> Result<Subscription> {
    subscribe(set).dispatcher(handler)
}

/// Begins a subscription of one or more signals. Nothing happens before the [`Builder`] is finished by
/// choosing a context.
///
/// # Examples
/// ```
/// use sigplane::{Overflow, Signal, SignalSet};
/// let inbox = sigplane::subscribe(SignalSet::from([Signal::HUP, Signal::USR1]))
///     .name("reload")
///     .priority(10)
///     .capacity(16)
///     .overflow(Overflow::DropOldest)
///     .inbox()?;
/// assert!(sigplane::table().to_string().contains("reload"));
/// # Ok::<(), sigplane::Error>(())
/// ```
#[track_caller]
pub fn subscribe(set: impl Into<SignalSet>) -> Builder {
    Builder {
        set: set.into(),
        name: Cow::Borrowed(""),
        priority: 0,
        observes: false,
        capacity: 128,
        overflow: Overflow::default(),
        place: Place::default(),
        location: Location::caller(),
    }
}

/// A subscription in the making; see [`subscribe`].
///
/// # Examples
/// ```
/// use sigplane::Signal;
/// // Sees SIGWINCH without suppressing anything.
/// let sub = sigplane::subscribe(Signal::WINCH).observe().dispatcher(|_| ())?;
/// # drop(sub);
/// # Ok::<(), sigplane::Error>(())
/// ```
#[must_use = "nothing is subscribed before a context is chosen"]
#[derive(Debug)]
pub struct Builder {
    set: SignalSet,
    name: Cow<'static, str>,
    priority: i32,
    observes: bool,
    capacity: usize,
    overflow: Overflow,
    place: Place,
    location: &'static Location<'static>,
}

impl Builder {
    /// A name for [`table`](crate::table()) and panic reports. Without one, the place in the source
    /// where [`subscribe`] was called stands for it.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Higher goes first; 0 by default. Within one priority the order of subscription holds.
    pub fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    /// Only looks: when nobody handles the signal, its default action is taken all the same, with the
    /// true exit status and core dump. Without this a subscription handles.
    ///
    /// A default action that ends the process waits for observers on the dispatcher, and is then taken
    /// there. It does not wait for a thread's safe point or for the reader of an inbox: observe such a
    /// signal on the dispatcher or in the immediate context.
    pub fn observe(mut self) -> Self {
        self.observes = true;
        self
    }

    /// How many events may wait; 128 by default. At least 1; 16,777,216 at most (more is taken as that). A queue has room for some more than this,
    /// because back-pressure begins on each thread with the event that reaches it.
    pub fn capacity(mut self, events: usize) -> Self {
        self.capacity = events;
        self
    }

    /// What happens when that many wait; [`Overflow::Backpressure`] by default.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Before or after the action that was there before, or the legacy action; before by default.
    pub fn place(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    fn check(&self, queued: bool) -> Result<()> {
        if crate::engine::started().is_borrowed() {
            return Err(Error::VforkChild);
        }
        if self.set.is_empty() {
            return Err(Error::EmptySet);
        }
        for signal in self.set.iter() {
            if matches!(signal, Signal::KILL | Signal::STOP) {
                return Err(Error::Uncatchable(signal));
            }
            if queued && signal.is_fault() {
                return Err(Error::NeedsImmediate(signal));
            }
        }
        if queued && self.capacity == 0 { Err(Error::ZeroCapacity) } else { Ok(()) }
    }

    fn entry(self, kind: Kind) -> Arc<Entry> {
        let entry = Arc::new(Entry {
            name: self.name,
            location: self.location,
            priority: self.priority,
            place: self.place,
            observes: self.observes,
            set: self.set,
            kind,
            disarmed: AtomicBool::new(false),
            linked: AtomicBool::new(false),
            next_dead: AtomicPtr::new(core::ptr::null_mut()),
        });
        crate::exhibit::show(&entry);
        entry
    }

    fn queued(self, consumer: Consumer, runner: Option<Runner>) -> Result<Arc<Entry>> {
        self.check(true)?;
        let queue = Queue::new(self.capacity, self.overflow, consumer);
        Ok(self.entry(Kind::Queued(Box::new(Queued { queue, runner }))))
    }

    /// Runs `handler` on the dispatcher thread: see [`on`].
    ///
    /// # Errors
    /// Those of [`on`], and [`Error::ZeroCapacity`].
    ///
    /// # Async-signal safety
    /// No.
    pub fn dispatcher(self, handler: impl FnMut(&Event) + Send + 'static) -> Result<Subscription> {
        let entry = self.queued(Consumer::Dispatcher, Some(Runner::new(Box::new(handler))))?;
        crate::engine::started().dispatcher.serve(&entry)?;
        if let Err(error) = table::add(&entry) {
            crate::engine::get().dispatcher.forget(&entry);
            return Err(error);
        }
        Ok(Subscription(Some(entry)))
    }

    /// Runs `handler` on this thread, at its safe points: [`thread::poll`](crate::thread::poll), the
    /// end of the outermost [`defer`](fn@crate::defer), and alertable waits. It need not be `Send`.
    /// Panics are caught and counted as on the dispatcher.
    ///
    /// # Errors
    /// Those of [`on`], and [`Error::ZeroCapacity`].
    ///
    /// # Async-signal safety
    /// No.
    ///
    /// # Examples
    /// See [`ThreadSubscription`].
    pub fn thread(self, handler: impl FnMut(&Event) + 'static) -> Result<ThreadSubscription> {
        self.check(true)?;
        let record = attached();
        let entry = self.queued(Consumer::Thread(record), None)?;
        local::add(record, Arc::clone(&entry), Rc::new(RefCell::new(handler)));
        if let Err(error) = table::add(&entry) {
            local::remove(record, &entry);
            return Err(error);
        }
        Ok(ThreadSubscription::new(entry))
    }

    /// Puts events into a queue that the caller reads: see [`Inbox`].
    ///
    /// # Errors
    /// Those of [`on`], and [`Error::ZeroCapacity`].
    ///
    /// # Async-signal safety
    /// No.
    pub fn inbox(self) -> Result<Inbox> {
        let entry = self.queued(inbox::consumer(), None)?;
        table::add(&entry)?;
        Ok(Inbox::new(Subscription(Some(entry))))
    }

    /// As [`inbox`](Self::inbox), read through a crossbeam channel, for `select!`. A thread moves the
    /// events over, because sending into a channel is not possible in a handler; it ends with the
    /// subscription, and does not exist in a forked child.
    ///
    /// # Errors
    /// Those of [`on`], and [`Error::ZeroCapacity`].
    ///
    /// # Async-signal safety
    /// No.
    ///
    /// # Examples
    /// ```
    /// use crossbeam_channel::{never, select};
    /// use sigplane::{Signal, send};
    /// let (_sub, signals) = sigplane::subscribe(Signal::INT).channel()?;
    /// let work = never::<()>();
    /// send::raise(Signal::INT)?;
    /// select! {
    ///     recv(signals) -> event => assert_eq!(event?.signal(), Signal::INT),
    ///     recv(work) -> _ => unreachable!(),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn channel(self) -> Result<(Subscription, Receiver<Event>)> {
        let entry = self.queued(inbox::consumer(), None)?;
        table::add(&entry)?;
        let subscription = Subscription(Some(Arc::clone(&entry)));
        let receiver = inbox::pump(entry)?;
        Ok((subscription, receiver))
    }

    /// Runs `handler` in the signal handler itself, with the machine context: for profilers,
    /// preemption, faults. Its verdict counts unless the subscription only [observes](Self::observe).
    ///
    /// This is the one context that takes the signals of synchronous faults.
    ///
    /// # Errors
    /// Those of [`on`], except that fault signals are taken.
    ///
    /// # Safety
    /// `handler` runs at any instruction of any thread. It must do only what is async-signal-safe
    /// (signal-safety(7)): no allocation, no lock that interrupted code may hold, no `std` I/O, no
    /// first use of a thread-local with a destructor. It must return: no unwinding (a panic aborts),
    /// no `longjmp`. `errno` is saved around it. It may drop a [`Subscription`], which is then ended
    /// by the next call that changes the table; see [`Removal::Deferred`].
    ///
    /// # Async-signal safety
    /// The call itself: no.
    ///
    /// # Examples
    /// See [`Delivery`].
    #[allow(unsafe_code)]
    pub unsafe fn immediate(
        self,
        handler: impl Fn(&mut Delivery<'_>) -> Verdict + Send + Sync + 'static,
    ) -> Result<Subscription> {
        self.check(false)?;
        let entry = self.entry(Kind::Immediate(Callback::new(handler)));
        table::add(&entry)?;
        Ok(Subscription(Some(entry)))
    }
}

/// Keeps a subscription alive. Dropping it ends it, quiescently: when `drop` returns, the code is not
/// running and will not run. From inside the handler itself it returns at once, and the same holds from
/// that handler's end. Events still queued are discarded and counted.
///
/// A drop waits for the code to end if it is running on another thread: do not hold a lock that the
/// handler takes.
///
/// # Async-signal safety
/// Dropping it inside an immediate handler is allowed; see [`Removal::Deferred`].
///
/// # Examples
/// ```
/// use sigplane::{Removal, Signal};
/// let sub = sigplane::on(Signal::USR2, |_| ())?;
/// assert_eq!(sub.unsubscribe(), Removal::Restored);
/// # Ok::<(), sigplane::Error>(())
/// ```
#[must_use = "dropping it ends the subscription; `detach` keeps it for ever"]
pub struct Subscription(Option<Arc<Entry>>);

impl Subscription {
    pub(crate) fn entry(&self) -> &Arc<Entry> {
        match &self.0 {
            Some(entry) => entry,
            None => unreachable!("only the methods that consume a subscription empty it"),
        }
    }

    /// Ends it and says what became of the kernel's action.
    pub fn unsubscribe(mut self) -> Removal {
        self.end()
    }

    /// Keeps it for as long as the process lives.
    pub fn detach(mut self) {
        self.0 = None;
    }

    /// Stops it at once, for good, without taking it out of the table: its code is not called again,
    /// except where a call has already begun. Dropping it later still gives the signal back.
    ///
    /// # Async-signal safety
    /// Yes: one store.
    pub fn disarm(&self) {
        self.entry().disarm();
    }

    /// What it has seen so far.
    pub fn stats(&self) -> SubscriptionStats {
        SubscriptionStats::of(self.entry())
    }

    fn end(&mut self) -> Removal {
        let Some(entry) = self.0.take() else {
            return Removal::Restored;
        };
        if let Some(queue) = entry.queue() {
            inbox::close(queue);
        }
        table::remove(entry)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let _removal = self.end();
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Subscription");
        if let Some(entry) = &self.0 {
            debug.field("name", &entry.label()).field("set", &entry.set);
        }
        debug.finish()
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("name", &self.label()).field("set", &self.set).finish()
    }
}

/// What the queue of one subscription has seen. All zero for the immediate context, which has none.
///
/// # Examples
/// ```
/// use sigplane::{Overflow, Signal, send};
/// let inbox = sigplane::subscribe(Signal::USR1).capacity(1).overflow(Overflow::DropNewest).inbox()?;
/// send::raise(Signal::USR1)?;
/// send::raise(Signal::USR1)?;
/// let stats = inbox.stats();
/// assert_eq!((stats.queued, stats.dropped, stats.deepest), (1, 1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SubscriptionStats {
    /// Events put into the queue; merged ones count each.
    pub queued: usize,
    /// Events taken out of it.
    pub taken: usize,
    /// Events dropped under the policy that the subscriber chose.
    pub dropped: usize,
    /// Events that were waiting when the subscription ended.
    pub discarded: usize,
    /// Events that wait now.
    pub waiting: usize,
    /// The most that ever waited.
    pub deepest: usize,
    /// Panics of the subscriber's code.
    pub panics: usize,
    /// Whether the queue holds a signal back in the kernel just now.
    pub holding: bool,
}

impl SubscriptionStats {
    pub(crate) fn of(entry: &Entry) -> Self {
        let Some(queue) = entry.queue() else {
            return Self::default();
        };
        let tally = &queue.tally;
        Self {
            queued: tally.queued.load(Ordering::Relaxed),
            taken: tally.taken.load(Ordering::Relaxed),
            dropped: tally.dropped.load(Ordering::Relaxed),
            discarded: tally.discarded.load(Ordering::Relaxed),
            waiting: queue.len(),
            deepest: tally.deepest.load(Ordering::Relaxed),
            panics: tally.panics.load(Ordering::Relaxed),
            holding: queue.is_holding(),
        }
    }
}
