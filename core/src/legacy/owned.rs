//! The owned way: the action that a program sets is virtual, and the kernel's follows from it.
//!
//! **Runs inside signal handlers.** Whoever changes the kernel here looks at the word again afterwards
//! ([`settle`]), and so does whoever subscribes.
//!
//! # Safety
//! The one pointer to a function is stored by a function that takes just that.
#![allow(unsafe_code)]

use super::UNBLOCKABLE;
use crate::engine;
use crate::sync::{AtomicBool, Ordering};
use crate::sys::{self, KernelAction};
use crate::table::disposition::Word;
use crate::table::interned;
use crate::table::slot::Slot;
use core::sync::atomic::AtomicPtr;

static OWN_HANDLERS: AtomicBool = AtomicBool::new(false);

/// Whether a handler that a program sets for a signal is entered through our stub also where nobody
/// subscribes. That of SIGSYS is not: it may have to let system calls through before there can be one, even
/// for the mask (prctl(2), `PR_SET_SYSCALL_USER_DISPATCH`).
#[inline(always)]
pub(crate) fn owns(signal: i32) -> bool {
    OWN_HANDLERS.load(Ordering::Relaxed) && signal != libc::SIGSYS
}

/// Has handlers entered through sigplane's stub from now on, also where nobody subscribes: so that they
/// are counted, and held back by deferrals. Handlers that are there already are taken now.
///
/// # Async-signal safety
/// Yes.
///
/// # Examples
/// ```
/// sigplane::legacy::own_handlers();
/// ```
pub fn own_handlers() {
    OWN_HANDLERS.store(true, Ordering::SeqCst);
    let never = UNBLOCKABLE | sys::LIBC_BITS;
    for signal in (1..=64).filter(|signal| sys::bit(*signal) & never == 0 && owns(*signal)) {
        let _adopted = adopt(engine::get().slot(signal), signal);
    }
}

/// Makes a signal owned that nobody subscribes to. Its handler, if it has one, is replaced by our stub.
pub(super) fn adopt(slot: &Slot, signal: i32) -> Result<(), i32> {
    if UNBLOCKABLE & sys::bit(signal) != 0 {
        return Err(libc::EINVAL);
    }
    loop {
        let word = slot.behind.get();
        if word.is_owned() {
            return Ok(());
        }
        // Who changes the kernel's action from here on makes the exchange below fail.
        let Some(asked) = slot.behind.ask(word) else { continue };
        let actual = sys::sigaction(signal, None)?;
        if actual.is_ours() {
            continue; // A subscription that begins or ends: the word tells in a moment.
        }
        let index = interned::intern(&actual).ok_or(libc::ENOMEM)?;
        if slot.behind.adopt_after(asked, index) {
            if actual.is_handler() {
                let _replaced = settle(slot, signal);
            }
            return Ok(());
        }
    }
}

/// Sets the virtual action, and what follows from it in the kernel if that changes. `None` if the word is
/// not `seen` any more.
#[inline(never)]
pub(super) fn set_virtual(
    slot: &Slot,
    signal: i32,
    seen: Word,
    new: &KernelAction,
) -> Result<Option<KernelAction>, i32> {
    let index = interned::intern(new).ok_or(libc::ENOMEM)?;
    let before = slot.desired(signal, seen);
    let Some(now) = slot.behind.set(seen, index) else { return Ok(None) };
    let after = slot.desired(signal, now);
    // An action that the kernel itself takes is told to it again even if it is the same: setting one that
    // ignores discards what is pending (kernel/signal.c, `do_sigaction`).
    // So is one that the kernel may have reset.
    if after != before || !after.is_ours() || before.has(libc::SA_RESETHAND) {
        settle_and_tell(slot, signal, &before);
    }
    Ok(Some(*seen.action()))
}

/// As `settle`; if the kernel had neither our stub nor `before`, somebody is told.
fn settle_and_tell(slot: &Slot, signal: i32, before: &KernelAction) {
    let replaced = settle(slot, signal);
    if replaced != *before && !replaced.is_ours() {
        taken_over(signal, &replaced);
    }
}

/// As [`set_virtual`], where the kernel need not hear of it: one handler after another, both entered through the
/// same action of ours. If it says no, nothing has been done, and `set_virtual` is to do it.
///
/// The kernel's action follows from the word and from `Slot::wanted`, which others change meanwhile. With both
/// handlers it is the same whatever `wanted` is, as long as it is our stub at all; so who has computed it from
/// the word before is right still, and who computes it from the word after also. It is our stub if handlers
/// are owned, or if the signal is wanted. The latter is looked at *afterwards*: who gives the signal up later
/// clears it first and reads the word then, and finds the new action.
#[inline(always)]
pub(super) fn set_alike(slot: &Slot, signal: i32, seen: Word, new: &KernelAction) -> bool {
    if !seen.is_handler() || !new.is_handler() || !are_alike(seen.action().flags, new.flags) {
        return false;
    }
    let Some(index) = interned::known(new) else { return false };
    if !slot.behind.set_handler(seen, index) {
        return false;
    }
    // ORDERING: the exchange and this load are SeqCst, as are the store and the load of who gives up.
    if !owns(signal) && !slot.is_wanted() {
        settle_unwanted(slot, signal, seen);
    }
    true
}

/// A subscription begins or ends just now.
#[cold]
fn settle_unwanted(slot: &Slot, signal: i32, seen: Word) {
    settle_and_tell(slot, signal, &slot.desired(signal, seen));
}

/// Whether two handlers with these flags have the same action of ours in the kernel (`KernelAction::ours`), and
/// the kernel cannot have reset it.
#[inline(always)]
fn are_alike(before: u64, after: u64) -> bool {
    const FOLLOWED: u64 =
        (libc::SA_NOCLDSTOP | libc::SA_NOCLDWAIT | libc::SA_RESTART | libc::SA_ONSTACK) as u64;
    const RESETHAND: u64 = libc::SA_RESETHAND as u32 as u64;
    (before ^ after) & FOLLOWED == 0 && (before | after) & RESETHAND == 0
}

/// The word has changed during a change of the kernel's action, before or after the kernel had the new one. If the
/// signal is owned, the new action is made the virtual one now, as if this call had come later. What the word has had,
/// and whether it was replaced.
#[cold]
pub(super) fn make_virtual(
    slot: &Slot,
    signal: i32,
    mut word: Word,
    new: &KernelAction,
) -> Result<(KernelAction, bool), i32> {
    while word.is_owned() {
        let index = interned::intern(new).ok_or(libc::ENOMEM)?;
        let old = *word.action();
        if slot.behind.set(word, index).is_some() {
            let _replaced = settle(slot, signal);
            return Ok((old, true));
        }
        word = slot.behind.get();
    }
    Ok((*word.action(), false))
}

/// Makes the kernel's action what follows from the word, if the signal is owned. What the kernel had.
pub(crate) fn settle(slot: &Slot, signal: i32) -> KernelAction {
    let mut first = None;
    loop {
        let word = slot.behind.get();
        let desired = slot.desired(signal, word);
        if !word.is_owned() {
            // Whoever ended it sees to the kernel.
            return first.unwrap_or(desired);
        }
        let replaced = sys::sigaction(signal, Some(&desired)).unwrap_or(desired);
        let first = *first.get_or_insert(replaced);
        let now = slot.behind.get();
        if now == word {
            return first;
        }
        if !now.is_owned() && desired.is_ours() && !replaced.is_ours() {
            // It has ended in between, the kernel had what it is to have: that, or what somebody has set
            // since, goes back.
            let newer = sys::sigaction(signal, Some(&replaced)).unwrap_or(desired);
            if !newer.is_ours() {
                let _put_back = sys::sigaction(signal, Some(&newer));
            }
            return first;
        }
    }
}

/// As `settle`, if the word is not `seen` any more, for which the kernel is right.
pub(crate) fn settle_after(slot: &Slot, signal: i32, seen: Word) {
    if slot.behind.get() != seen {
        let _replaced = settle(slot, signal);
    }
}

/// Uses up a handler with `SA_RESETHAND`: the action becomes the default, its flags and its mask stay
/// (kernel/signal.c, `get_signal`). Whether it was this call that did it.
pub(crate) fn spend(slot: &Slot, signal: i32, seen: Word) -> bool {
    let spent = KernelAction { handler: libc::SIG_DFL, ..*seen.action() };
    if sys::arch::is_borrowed() {
        // A child with actions of its own: the parent's is not used up.
        return sys::set_action(signal, &spent).is_ok();
    }
    // Without room the handler keeps its place: called again, rather than never.
    let Some(index) = interned::intern(&spent) else { return true };
    slot.behind.set(seen, index).is_some()
}

static TAKEN_OVER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Has `tell` called, with the signal and the handler, when an action is found that nobody has set through
/// sigplane: it may run inside handlers.
#[doc(hidden)]
pub fn on_taken_over(tell: fn(i32, usize)) {
    TAKEN_OVER.store(tell as *mut (), Ordering::Release);
}

#[cold]
fn taken_over(signal: i32, found: &KernelAction) {
    let tell = TAKEN_OVER.load(Ordering::Acquire);
    if !tell.is_null() {
        // SAFETY: stored by `on_taken_over`.
        let tell = unsafe { core::mem::transmute::<*mut (), fn(i32, usize)>(tell) };
        tell(signal, found.handler);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is called alike is one action of ours in the kernel, for every signal, wanted or not; and nearly all
    /// handlers are.
    #[test]
    fn alike_means_the_same_in_the_kernel() {
        let flags = [
            libc::SA_NOCLDSTOP,
            libc::SA_NOCLDWAIT,
            libc::SA_SIGINFO,
            libc::SA_RESTART,
            libc::SA_ONSTACK,
            libc::SA_NODEFER,
            libc::SA_RESETHAND,
        ];
        let all: Vec<u64> = (0..1 << flags.len())
            .map(|set| {
                let chosen = flags.iter().enumerate().filter(|(at, _)| set >> at & 1 != 0);
                chosen.fold(sys::SA_RESTORER, |sum, (_, flag)| sum | *flag as u32 as u64)
            })
            .collect();
        let action = |handler, flags| KernelAction { handler, flags, restorer: 1, mask: flags };
        let mut alike = 0;
        for before in &all {
            for after in all.iter().filter(|after| are_alike(*before, **after)) {
                alike += 1;
                for signal in 1..=64 {
                    for first in [false, true] {
                        let ours =
                            |action: KernelAction| KernelAction::ours(&action, signal, first);
                        assert_eq!(ours(action(0x1000, *before)), ours(action(0x2000, *after)));
                    }
                }
            }
        }
        // Of 64 without `SA_RESETHAND` each is like those that differ in the other two flags.
        assert_eq!(alike, 64 * 4);
    }
}
