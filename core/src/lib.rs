//! sigplane: one owner of the process's signal table, shared by many parties.
//!
//! ```
//! use sigplane::Signal;
//!
//! let stop = sigplane::on(Signal::TERM, |event| println!("asked to stop by {:?}", event.sender()))?;
//! // … ordinary code; the handler runs on sigplane's own thread …
//! drop(stop); // SIGTERM kills again, as before
//! # Ok::<(), sigplane::Error>(())
//! ```
//!
//! Where a subscriber's code runs is its choice: on the [dispatcher](on) thread, on its own
//! [thread](Builder::thread) at safe points, nowhere (an [`Inbox`] to read), or
//! [in the handler](Builder::immediate) itself. [`defer()`](fn@defer) makes a critical section without a
//! system call, [`thread`] has waits that signals and posted closures interrupt without a race,
//! [`send`] sends, [`process`] is about fork and exec, and [`table()`](fn@table) tells who owns what.
//!
//! How it works, and why it is safe at every instruction, is in the folder `design/` of the project.
#![deny(unsafe_code)]

mod abi;
mod defer;
mod delivery;
mod dispatch;
mod engine;
mod error;
mod event;
mod frame;
mod inspect;
mod set;
mod signal;
mod subscribe;
mod sync;
mod sys;
mod table;

#[doc(hidden)]
pub mod capi;
#[doc(hidden)]
pub mod exhibit;
pub mod fault;
pub mod legacy;
#[doc(hidden)]
pub mod masks;
pub mod process;
pub mod send;
pub mod thread;

/// The thread that runs subscribers' closures.
pub mod dispatcher {
    pub(crate) use crate::delivery::dispatcher::report_panic;
    pub use crate::delivery::dispatcher::{PanicReport, is_current, on_panic};
}

/// What the project's own benchmarks need; no part of the interface.
#[doc(hidden)]
pub mod bench {
    /// The handler behind its test of who enters it; its result is expected in ecx (1: the kernel).
    pub fn entered() -> usize {
        crate::sys::arch::entered()
    }
}

pub use defer::{DeferGuard, defer, is_deferred};
pub use delivery::immediate::{Delivery, Verdict};
pub use delivery::inbox::Inbox;
pub use delivery::thread::ThreadSubscription;
pub use delivery::{Context, Overflow, Place};
pub use error::{Error, Result};
pub use event::{
    Cause, Child, ChildStatus, Event, FaultInfo, FaultKind, Poll, Sender, SysCall, Timer,
};
pub use inspect::{ActionInfo, EntryInfo, Handler, Row, Table, table};
pub use set::{SignalSet, SignalSetIter};
pub use signal::{DefaultAction, Signal};
pub use subscribe::{Builder, Subscription, SubscriptionStats, on, subscribe};
pub use table::Removal;
pub use thread::Wake;
