//! What keeps a signal caught when its last action is gone.
//!
//! One entry for each signal that was ever registered, behind all others, for as long as the process lives.
//! It does nothing and says that the signal is dealt with.

use sigplane::{Place, Result, Signal, Verdict};
use std::sync::atomic::{AtomicBool, Ordering};

/// Which signals have theirs, by number. Set after the entry is there, so whoever reads true may rely on it;
/// two threads that read false at the same time make two, which is harmless.
static KEPT: [AtomicBool; 65] = [const { AtomicBool::new(false) }; 65];

/// Sees to it that `signal` stays caught.
#[allow(unsafe_code)]
pub(crate) fn keep(signal: Signal) -> Result<()> {
    let kept = KEPT.get(signal.number().unsigned_abs() as usize);
    // Acquire pairs with the Release below.
    if kept.is_some_and(|kept| kept.load(Ordering::Acquire)) {
        return Ok(());
    }
    let builder = sigplane::subscribe(signal)
        .name("signal-hook-registry: stays caught")
        .priority(i32::MIN)
        .place(Place::AfterLegacy);
    // SAFETY: does nothing at all.
    unsafe { builder.immediate(|_| Verdict::Handled) }?.detach();
    if let Some(kept) = kept {
        kept.store(true, Ordering::Release);
    }
    Ok(())
}
