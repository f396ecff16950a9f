//! A default action that ends the process, put off until the dispatcher's observers have run.
//!
//! **`put_off` runs inside signal handlers.**
//!
//! An observer on the dispatcher is to see the signal, and then the default action is to happen. Were it
//! to happen in the handler, the observer would never run; were the handler to wait for it, it could wait
//! for a lock that the interrupted code holds. So the handler leaves it to the dispatcher, which takes
//! the default action when it has run everything that arrived up to then. The status is the same, and so
//! is the information in a core dump; the thread that takes the signal is the dispatcher.
//!
//! # Safety
//! `info` is written by the handler that turned `state` from 0 to 1, and read after it has become 2.
#![allow(unsafe_code)]

use crate::event::RawEvent;
use crate::event::stamp::Stamp;
use crate::frame::Frame;
use crate::signal::Signal;
use crate::sync::{AtomicU32, Ordering};
use crate::sys;
use crate::table::default_action;
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::time::Duration;

/// How long a handler waits for it.
const PATIENCE: Duration = Duration::from_secs(1);

pub(crate) struct Doom {
    /// 0: none; 1: being written; 2: written.
    state: AtomicU32,
    event: UnsafeCell<MaybeUninit<RawEvent>>,
}

// SAFETY: see the module.
unsafe impl Sync for Doom {}

impl Doom {
    pub(crate) const fn new() -> Self {
        Self { state: AtomicU32::new(0), event: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// Holds the calling handler's thread back until the dispatcher has struck: the program does not go on
    /// after a deadly signal. But not for ever, because an observer may be waiting for a lock that the
    /// interrupted code holds; then the process ends a little later.
    pub(crate) fn await_end(&self) {
        let end = sys::now().saturating_add(PATIENCE);
        while sys::now() < end && self.state.load(Ordering::Acquire) != 0 {
            sys::futex_wait(&self.state, 2, Some(end));
        }
    }

    /// Leaves the default action for a signal to the dispatcher, which the caller wakes. The first signal
    /// that does so ends the process; what comes later makes no difference.
    pub(crate) fn put_off(&self, info: &libc::siginfo_t, stamp: Stamp) {
        if self.state.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            // SAFETY: only the winner of the exchange gets here.
            let place = unsafe { &mut *self.event.get() };
            // SAFETY: a place for one event.
            unsafe { stamp.write(info, place.as_mut_ptr()) };
            self.state.store(2, Ordering::Release);
        }
    }

    /// Takes it, on the dispatcher, if nothing that arrived earlier is `next` to be run.
    pub(crate) fn strike(&self, next: Option<u64>) {
        if self.state.load(Ordering::Acquire) != 2 {
            return;
        }
        // SAFETY: written, and never again.
        let cell = unsafe { &*self.event.get() };
        // SAFETY: as above.
        let event = unsafe { cell.assume_init_read() };
        if next.is_some_and(|arrival_ns| arrival_ns <= event.arrival_ns) {
            return;
        }
        if let Ok(signal) = Signal::try_from(event.info.si_signo) {
            let mut frame = Frame::virtual_with(0);
            default_action::perform(signal, &event.info, &mut frame, false);
        }
    }

    /// Forgets it, in a forked child: it is the parent's.
    pub(crate) fn reset_after_fork(&self) {
        self.state.store(0, Ordering::Relaxed);
    }

    /// Whether the default action of `number` ends the process, so that it has to be put off.
    pub(crate) fn concerns(number: i32) -> bool {
        use crate::signal::DefaultAction::{Core, Terminate};
        (1..=64).contains(&number)
            && sys::FAULT_BITS & sys::bit(number) == 0
            && Signal::try_from(number)
                .is_ok_and(|signal| matches!(signal.default_action(), Terminate | Core))
    }
}
