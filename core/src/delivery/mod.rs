//! Where an entry's code runs, one file per context, and what they share.
//!
//! * `immediate` — in the handler itself.
//! * `dispatcher` — on sigplane's own thread.
//! * `thread` — on the subscribing thread, at its safe points.
//! * `inbox` — nowhere: the caller reads a queue.
//!
//! The last three share a queue (`queue`, on `ring`), its wake-up (`eventcount`), and back-pressure
//! into the kernel (`hold`, `doorbell`). `runner` runs a subscriber's closure and contains its panic.

pub(crate) mod dispatcher;
pub(crate) mod doom;
pub(crate) mod doorbell;
pub(crate) mod entry;
pub(crate) mod eventcount;
pub(crate) mod hold;
pub(crate) mod immediate;
pub(crate) mod inbox;
pub(crate) mod queue;
pub(crate) mod ring;
pub(crate) mod runner;
pub(crate) mod thread;

/// What a queue does with an event when it is full.
///
/// Whatever is chosen, nothing is lost silently: drops are counted in
/// [`SubscriptionStats`](crate::SubscriptionStats) and in [`table`](crate::table()).
///
/// # Examples
/// ```
/// use sigplane::{Overflow, Signal};
/// let inbox = sigplane::subscribe(Signal::WINCH).overflow(Overflow::Coalesce).inbox()?;
/// for _ in 0..3 {
///     sigplane::send::raise(Signal::WINCH)?;
/// }
/// assert_eq!(inbox.recv().instances(), 3); // one event that stands for three
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum Overflow {
    /// Push back into the kernel: the signal is blocked on the thread that received it until the
    /// queue has drained to half its capacity, so that further instances wait in the kernel, in
    /// order and with their values. Nothing is dropped. The kernel's own limits stay: it merges
    /// pending standard signals, and a sender of real-time signals gets `EAGAIN` at the receiver's
    /// `RLIMIT_SIGPENDING` (signal(7)).
    #[default]
    Backpressure,
    /// One queued event per signal stands for all that arrive until it is taken;
    /// [`Event::instances`](crate::Event::instances) tells how many. It carries the information of
    /// the first.
    Coalesce,
    /// The event that finds the queue full is dropped and counted.
    DropNewest,
    /// The oldest queued event is dropped and counted to make room. (While another thread is in the
    /// middle of writing that one, the newest is dropped instead.)
    DropOldest,
}

/// Where an entry stands relative to the action that a program set by POSIX means before (the
/// foreign handler, or the legacy action through the shim).
///
/// # Examples
/// ```
/// use sigplane::{Place, Signal};
/// let inbox = sigplane::subscribe(Signal::USR2).place(Place::AfterLegacy).inbox()?;
/// # drop(inbox);
/// # Ok::<(), sigplane::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub enum Place {
    /// Before it, the default.
    #[default]
    BeforeLegacy,
    /// After it, if it returns: a handler that leaves by `siglongjmp` takes these entries' turn
    /// away, as it takes away the return to the interrupted code.
    AfterLegacy,
}

/// Which of the contexts an entry has, for introspection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum Context {
    /// In the signal handler.
    Immediate,
    /// On the dispatcher thread.
    Dispatcher,
    /// On the subscribing thread, at its safe points.
    Thread,
    /// In a queue that the subscriber reads.
    Inbox,
}
