//! One signal's row: the published chain, and what handlers note about it.
//!
//! **Read inside signal handlers.**
//!
//! # Safety
//! As in `published`.
#![allow(unsafe_code)]

use super::chain::Chain;
use super::counters::SIGNALS;
use super::published::{Published, Retired};
use crate::sync::{AtomicBool, AtomicUsize, Ordering};
use crate::sys::{self, KernelAction};

pub(crate) struct Slot {
    chain: Published<Chain>,
    /// A foreign `SA_RESETHAND` handler has had its one call.
    pub spent: AtomicBool,
    /// The kernel's action should be ours; see [`Slot::install`].
    wanted: AtomicBool,
    /// Events that went back to the kernel because a queue had no place at all.
    pub pushed_back: AtomicUsize,
    /// Events that not even the kernel could keep.
    pub lost: AtomicUsize,
}

impl Slot {
    const fn new() -> Self {
        Self {
            chain: Published::none(),
            spent: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            pushed_back: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
        }
    }

    pub(crate) const fn table() -> [Self; SIGNALS] {
        [const { Self::new() }; SIGNALS]
    }

    /// The current chain; none before the signal is first taken.
    ///
    /// # Safety
    /// As for [`Published::get`].
    #[inline(always)]
    pub(crate) unsafe fn chain<'a>(&self) -> Option<&'a Chain> {
        // SAFETY: the caller's promise.
        unsafe { self.chain.get() }
    }

    /// Makes `chain` the current one and gives the old one to be retired.
    pub(crate) fn publish(&self, chain: Chain) -> Option<Retired> {
        self.chain.publish(chain)
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst)
    }

    pub(crate) fn set_wanted(&self, wanted: bool) {
        self.wanted.store(wanted, Ordering::SeqCst);
    }

    /// The action to give back to the kernel: the foreign one, as the kernel itself would have it by
    /// now (a spent `SA_RESETHAND` handler reads as the default, with its flags kept:
    /// kernel/signal.c, `get_signal`).
    pub(crate) fn original(&self, foreign: &KernelAction) -> KernelAction {
        let mut action = *foreign;
        if self.spent.load(Ordering::SeqCst)
            && action.is_handler()
            && action.has(libc::SA_RESETHAND)
        {
            action.handler = libc::SIG_DFL;
        }
        action
    }

    /// Puts our action into the kernel again after a handler had to take it out for a moment, unless
    /// the last subscriber has gone meanwhile.
    ///
    /// **Runs inside signal handlers.**
    pub(crate) fn reinstall(&self, signal: i32, ours: &KernelAction, original: &KernelAction) {
        if !self.is_wanted() {
            return;
        }
        let _set = sys::sigaction(signal, Some(ours));
        if !self.is_wanted() {
            // ORDERING: SeqCst on `wanted`, and the writer clears it before it restores: whoever
            // acts last sees the other.
            let _set = sys::sigaction(signal, Some(original));
        }
    }
}
