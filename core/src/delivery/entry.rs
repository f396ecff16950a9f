//! One subscription as the chain sees it.
//!
//! **Read inside signal handlers.** Everything but the atomics is fixed when the entry is made. An
//! entry is freed only after the chains that name it have been retired (see `table::grace`).

use super::immediate::Callback;
use super::queue::{Consumer, Queue};
use super::runner::Runner;
use super::{Context, Place};
use crate::set::SignalSet;
use crate::sync::{AtomicBool, Ordering};
use core::panic::Location;
use core::sync::atomic::AtomicPtr;
use std::borrow::Cow;

#[repr(C)]
pub(crate) struct Entry {
    // What a handler reads of an immediate entry comes first, on one cache line.
    /// Set first of all when the subscription ends: a chain that still names the entry passes it by.
    pub disarmed: AtomicBool,
    pub observes: bool,
    pub place: Place,
    pub priority: i32,
    pub kind: Kind,
    pub name: Cow<'static, str>,
    pub location: &'static Location<'static>,
    pub set: SignalSet,
    /// The next in the list of those dropped inside a handler; see `table::graveyard`.
    pub next_dead: AtomicPtr<Entry>,
}

#[allow(clippy::large_enum_variant, reason = "an entry is allocated once, with its queue")]
pub(crate) enum Kind {
    Immediate(Callback),
    /// The runner is the subscriber's closure, for the contexts that have one to run elsewhere.
    Queued {
        queue: Queue,
        runner: Option<Runner>,
    },
}

impl Entry {
    pub(crate) fn is_armed(&self) -> bool {
        !self.disarmed.load(Ordering::Acquire)
    }

    pub(crate) fn disarm(&self) {
        self.disarmed.store(true, Ordering::Release);
    }

    pub(crate) fn queue(&self) -> Option<&Queue> {
        match &self.kind {
            Kind::Queued { queue, .. } => Some(queue),
            Kind::Immediate(_) => None,
        }
    }

    pub(crate) fn runner(&self) -> Option<&Runner> {
        match &self.kind {
            Kind::Queued { runner, .. } => runner.as_ref(),
            Kind::Immediate(_) => None,
        }
    }

    pub(crate) fn context(&self) -> Context {
        match &self.kind {
            Kind::Immediate(_) => Context::Immediate,
            Kind::Queued { queue, .. } => match queue.consumer {
                Consumer::Dispatcher => Context::Dispatcher,
                Consumer::Thread(_) => Context::Thread,
                Consumer::Inbox(_) => Context::Inbox,
            },
        }
    }
}
