//! One signal's row: the published chain, and what handlers note about it.
//!
//! **Read inside signal handlers.**
//!
//! # Safety
//! `chain` is null until the signal is first taken, and from then on points to a chain that is freed
//! only after it has been replaced and every reader that may hold it has left (`grace`). So a reader
//! may use what it loads until it leaves, and a writer that holds the table's lock may use what it
//! loads as long as it holds it.
#![allow(unsafe_code)]

use super::chain::Chain;
use super::counters::SIGNALS;
use crate::sync::{AtomicBool, AtomicUsize, Ordering};
use crate::sys::{self, KernelAction};
use core::sync::atomic::AtomicPtr;

pub(crate) struct Slot {
    chain: AtomicPtr<Chain>,
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
            chain: AtomicPtr::new(core::ptr::null_mut()),
            spent: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            pushed_back: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
        }
    }

    pub(crate) const fn table() -> [Self; SIGNALS] {
        [const { Self::new() }; SIGNALS]
    }

    /// The current chain.
    ///
    /// # Safety
    /// The caller is a reader (`grace`) or holds the table's lock, for as long as it uses the chain.
    #[inline(always)]
    pub(crate) unsafe fn chain<'a>(&self) -> Option<&'a Chain> {
        // ORDERING: Acquire pairs with the Release in `publish`: the chain is complete.
        let chain = self.chain.load(Ordering::Acquire);
        // SAFETY: null or live by the module's invariant.
        unsafe { chain.as_ref() }
    }

    /// Makes `chain` the current one and gives the old one to be retired.
    pub(crate) fn publish(&self, chain: Chain) -> Option<Retired> {
        let new = Box::into_raw(Box::new(chain));
        let old = self.chain.swap(new, Ordering::AcqRel);
        if old.is_null() { None } else { Some(Retired(old)) }
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

/// A chain that has been replaced; to be dropped after a grace period.
pub(crate) struct Retired(*mut Chain);

// SAFETY: it owns the chain, whose contents are Send and Sync.
unsafe impl Send for Retired {}

impl Drop for Retired {
    fn drop(&mut self) {
        // SAFETY: made by `Box::into_raw`, replaced, and no reader is left: whoever drops this has
        // waited for them.
        drop(unsafe { Box::from_raw(self.0) });
    }
}
