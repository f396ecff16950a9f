//! The kernel's action: taking a signal, and giving it back exactly as it was.
//!
//! Called with the table's lock held.
//!
//! # Safety
//! Chains loaded here stay valid because only the holder of the lock replaces them.
#![allow(unsafe_code)]

use super::Writer;
use super::chain::Chain;
use super::interned;
use super::slot::Slot;
use crate::delivery::entry::Entry;
use crate::engine::Engine;
use crate::error::Result;
use crate::legacy;
use crate::signal::Signal;
use crate::sync::Ordering;
use crate::sys::{self, KernelAction};
use std::sync::Arc;

/// What became of the kernel's action when a subscription ended.
///
/// # Examples
/// ```
/// use sigplane::{Removal, Signal};
/// let sub = sigplane::on(Signal::HUP, |_| {})?;
/// assert_eq!(sub.unsubscribe(), Removal::Restored);
/// # Ok::<(), sigplane::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[must_use]
pub enum Removal {
    /// For each signal: the kernel has back what it had before the first subscription, or other
    /// subscriptions of it remain.
    Restored,
    /// Somebody else had put an action of their own in our place; it was left alone.
    TakenOver,
    /// Dropped inside an immediate handler: the code will not run again, and the kernel's action is
    /// given back by the next call that subscribes, unsubscribes or prints the table.
    Deferred,
}

impl Removal {
    pub(super) fn and(self, other: Self) -> Self {
        if self == Self::Restored { other } else { self }
    }
}

fn publish(slot: &Slot, writer: &mut Writer, chain: Chain) {
    writer.retired.extend(slot.publish(chain));
}

fn kernel_action(signal: i32) -> Result<KernelAction> {
    sys::sigaction(signal, None).map_err(|errno| sys::os_error("rt_sigaction", errno))
}

/// Makes a signal ours, with `entry` in its chain if one is given.
pub(super) fn take(
    engine: &Engine,
    writer: &mut Writer,
    signal: Signal,
    entry: Option<&Arc<Entry>>,
) -> Result<()> {
    let number = signal.number();
    let slot = engine.slot(number);
    let actual = kernel_action(number)?;
    // SAFETY: the lock is held.
    let current = unsafe { slot.chain() };
    let installed = writer.installed & sys::bit(number) != 0;
    if let (Some(chain), Some(entry), true) = (current, entry, installed && actual.is_ours()) {
        publish(slot, writer, chain.with(entry));
        return Ok(());
    }
    let mut chain = match current {
        Some(chain) if actual.was_ours() => chain.clone(),
        Some(chain) => {
            if installed {
                writer.exposed |= sys::bit(number);
            }
            in_front_of(slot, chain, actual, writer.exposed & sys::bit(number) != 0)
        }
        None => Chain::new(),
    };
    if let Some(entry) = entry {
        chain = chain.with(entry);
    }
    let known = slot.behind.get();
    if !actual.was_ours() {
        slot.behind.adopt(number_of(&actual)?);
    } else if !known.is_owned() {
        // Our stub, put back by somebody who had found it there: what stood behind it then does so again.
        slot.behind.adopt(number_of(known.action())?);
    }
    let adopted = slot.behind.get();
    publish(slot, writer, chain);
    slot.set_wanted(true);
    let ours = slot.desired(number, adopted);
    if actual == ours {
        writer.installed |= sys::bit(number);
        return Ok(());
    }
    let replaced = sys::sigaction(number, Some(&ours)).map_err(|errno| {
        slot.set_wanted(installed);
        slot.behind.disown();
        sys::os_error("rt_sigaction", errno)
    })?;
    if replaced != actual && !replaced.was_ours() {
        // Somebody changed it between our two calls: what they set is what stands behind us, unless
        // somebody has set it through us since.
        slot.behind.adopt_after(adopted, number_of(&replaced)?);
    }
    legacy::settle_after(slot, number, adopted);
    writer.installed |= sys::bit(number);
    writer.usurped &= !sys::bit(number);
    Ok(())
}

fn number_of(action: &KernelAction) -> Result<u32> {
    interned::intern(action).ok_or_else(|| sys::os_error("rt_sigaction", libc::ENOMEM))
}

/// The signal has been ours before and is not now. What is in the kernel stands behind us from here on.
///
/// If somebody has ever taken the signal from us, a handler that was not behind us before may hold our
/// stub as what it found. If it chains to the stub, the call must go on to what was behind us then, and
/// not to the entries again (see `dispatch`).
fn in_front_of(slot: &Slot, chain: &Chain, actual: KernelAction, exposed: bool) -> Chain {
    let before = *slot.behind.get().action();
    slot.spent.store(false, Ordering::SeqCst);
    if exposed && actual.is_handler() && actual.handler != before.handler {
        chain.with_older(before)
    } else {
        chain.clone()
    }
}

/// Takes `entry` out of a signal's chain; when it was the last, gives the signal back.
pub(super) fn remove(
    engine: &Engine,
    writer: &mut Writer,
    signal: Signal,
    entry: &Entry,
) -> Removal {
    let number = signal.number();
    let slot = engine.slot(number);
    // SAFETY: the lock is held.
    let Some(chain) = (unsafe { slot.chain() }) else {
        return Removal::Restored;
    };
    let remaining = chain.without(entry);
    let last = remaining.is_empty();
    publish(slot, writer, remaining);
    let bit = sys::bit(number);
    if !last || writer.pinned & bit != 0 || writer.installed & bit == 0 {
        return Removal::Restored;
    }
    writer.installed &= !bit;
    slot.set_wanted(false);
    let behind = if legacy::owns(number) { slot.behind.get() } else { slot.behind.disown() };
    let original = slot.desired(number, behind);
    let Ok(actual) = sys::sigaction(number, None) else {
        return Removal::Restored;
    };
    if actual == original || (actual.handler == original.handler && !actual.is_ours()) {
        return Removal::Restored; // The default action lets a stop through just now.
    }
    if !actual.is_ours() {
        writer.usurped |= bit;
        writer.exposed |= bit;
        return Removal::TakenOver;
    }
    match sys::sigaction(number, Some(&original)) {
        Ok(replaced) if !replaced.is_ours() => {
            // Taken between our two calls: theirs is the newer wish.
            let _put_back = sys::sigaction(number, Some(&replaced));
            writer.usurped |= bit;
            writer.exposed |= bit;
            Removal::TakenOver
        }
        _ => {
            legacy::settle_after(slot, number, behind);
            Removal::Restored
        }
    }
}
