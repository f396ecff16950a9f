//! The one engine: everything that there is once in a process, behind one reference.
//!
//! A second copy of this crate in the same process is to find the first and use its engine instead of
//! its own; so handlers reach everything they rely on from here.
//!
//! # Safety
//! `.init_array` holds pointers to functions that the loader calls once, in ordinary context.
#![allow(unsafe_code)]

use crate::delivery::dispatcher::Dispatcher;
use crate::delivery::hold::Holds;
use crate::fault::Faults;
use crate::sync::{AtomicBool, AtomicU32, Ordering};
use crate::sys;
use crate::sys::lock::Lock;
use crate::table::counters::Counters;
use crate::table::grace::{Phase, Readers};
use crate::table::slot::Slot;
use crate::table::{Graveyard, Writer};
use crate::thread::spill::Spill;
use crate::thread::{Record, Threads};
use core::sync::atomic::{AtomicI32, AtomicPtr};
use std::sync::Once;

pub(crate) struct Engine {
    slots: [Slot; crate::table::counters::SIGNALS],
    pub phase: Phase,
    /// Readers and counts of threads without a record.
    pub strangers: Readers,
    pub stranger_counts: Counters,
    pub threads: Threads,
    pub holds: Holds,
    pub spill: Spill,
    pub dispatcher: Dispatcher,
    pub writer: Lock<Writer>,
    pub graveyard: Graveyard,
    pub faults: Faults,
    /// Held by whoever waits for a grace period.
    pub grace: Lock<()>,
    expedited: AtomicBool,
    /// Programs that know nothing of sigplane are to see what POSIX says; see `legacy`.
    posix: AtomicBool,
    pid: AtomicI32,
}

static ENGINE: Engine = Engine {
    slots: Slot::table(),
    phase: Phase::new(AtomicU32::new(0)),
    strangers: Readers::new(AtomicU32::new(0), AtomicU32::new(0)),
    stranger_counts: Counters::new(),
    threads: Threads::new(),
    holds: Holds::new(),
    spill: Spill::new(),
    dispatcher: Dispatcher::new(),
    writer: Lock::new(Writer::new()),
    graveyard: Graveyard::new(),
    faults: Faults::new(),
    grace: Lock::new(()),
    expedited: AtomicBool::new(false),
    posix: AtomicBool::new(false),
    pid: AtomicI32::new(0),
};

static STARTED: Once = Once::new();

/// What `exhibit` shows: the table's first row, the counts of strangers, the list of thread records.
pub(crate) const fn exhibited() -> (*const Slot, *const Counters, *const AtomicPtr<Record>) {
    (
        (&raw const ENGINE.slots).cast(),
        &raw const ENGINE.stranger_counts,
        &raw const ENGINE.threads.first,
    )
}

/// The engine as a handler sees it: no initialisation, no check.
#[inline(always)]
pub(crate) fn get() -> &'static Engine {
    &ENGINE
}

/// Starts the engine when the object that contains it is loaded: before there can be a second thread
/// that forks in the middle of it, and before there can be a `vfork` child that takes itself for the
/// process. It installs no handler, and attaches the
/// loading thread, which registers the object's own fixups.
#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = {
    extern "C" fn start() {
        started();
        // Not in `started`: it changes the table. This object's own fixups stay as long as its engine.
        crate::fault::register_own();
    }
    start
};

/// The engine, started. Ordinary code only.
pub(crate) fn started() -> &'static Engine {
    STARTED.call_once(|| {
        ENGINE.pid.store(sys::getpid(), Ordering::SeqCst);
        let expedited = !cfg!(sigplane_no_membarrier) && sys::membarrier_register();
        ENGINE.expedited.store(expedited, Ordering::SeqCst);
        crate::process::register();
    });
    &ENGINE
}

impl Engine {
    /// The row of a signal. Numbers are checked where they come in (`Signal`, or the kernel).
    #[inline(always)]
    pub(crate) fn slot(&self, signal: i32) -> &Slot {
        let [first, ..] = &self.slots;
        self.slots.get(signal as usize).unwrap_or(first)
    }

    /// The process that this engine belongs to. A `vfork` child shares it but has another id.
    pub(crate) fn pid(&self) -> i32 {
        self.pid.load(Ordering::Relaxed)
    }

    pub(crate) fn set_pid(&self, pid: i32) {
        self.pid.store(pid, Ordering::SeqCst);
    }

    /// Whether the caller is a `vfork` child, which must not change its parent's table. (A child
    /// made by a raw system call, without the C library's `fork`, looks the same.)
    pub(crate) fn is_borrowed(&self) -> bool {
        sys::getpid() != self.pid()
    }

    pub(crate) fn set_posix(&self) {
        self.posix.store(true, Ordering::SeqCst);
    }

    /// Whether attached threads keep the alternate stack that they have, whatever its size.
    pub(crate) fn is_posix(&self) -> bool {
        self.posix.load(Ordering::Relaxed)
    }

    pub(crate) fn set_expedited(&self, expedited: bool) {
        self.expedited.store(expedited, Ordering::SeqCst);
    }

    /// Whether writers use membarrier(2), so that readers need no fence.
    #[inline(always)]
    pub(crate) fn expedited(&self) -> bool {
        self.expedited.load(Ordering::Relaxed)
    }
}
