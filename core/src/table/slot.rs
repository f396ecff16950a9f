//! One signal's row: the published chain, and what handlers note about it.
//!
//! **Read inside signal handlers.**
//!
//! # Safety
//! As in `published`.
#![allow(unsafe_code)]

use super::chain::Chain;
use super::counters::SIGNALS;
use super::disposition::{Disposition, Word};
use super::published::{Published, Retired};
use crate::legacy;
use crate::sync::{AtomicBool, AtomicUsize, Ordering};
use crate::sys::{self, KernelAction};

pub(crate) struct Slot {
    chain: Published<Chain>,
    /// What stands behind the entries.
    pub behind: Disposition,
    /// The `SA_RESETHAND` handler that a chain remembers as `older` has had its one call.
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
            behind: Disposition::new(),
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

    /// What the kernel is to have, as things are.
    pub(crate) fn desired(&self, signal: i32, behind: Word) -> KernelAction {
        let legacy = behind.action();
        let wanted = self.is_wanted();
        if wanted || (legacy::owns(signal) && behind.is_owned() && behind.is_handler()) {
            KernelAction::ours(legacy, signal, wanted)
        } else {
            *legacy
        }
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
