//! The agreement between HotSpot and `libjsig.so`, which we stand in for.
//!
//! A Java VM has to see the faults of its own code first: an implicit null check is a SIGSEGV. It asks for that
//! itself: if the process has functions of these names, the VM calls `JVM_begin_signal_setting`, sets its
//! handlers for faults and a few others, and calls `JVM_end_signal_setting`. From then on what anybody else
//! sets for these signals is kept aside as the *program's* action, with exact read-back, and the VM's handler
//! stays. Of a signal that is not its own the VM asks `JVM_get_signal_action`, and calls that handler itself.
//! (HotSpot src/hotspot/os/posix/signals_posix.cpp; the semantics are those of
//! src/java.base/unix/native/libjsig/jsig.c, except that `SA_RESETHAND` is honoured once and atomically.)
//!
//! Nothing changes in a process in which no VM asks.
//!
//! # Async-signal safety
//! Yes, all of it.

use super::libc_action::LibcAction;
use crate::journal;
use core::cell::UnsafeCell;
use core::ffi::c_int;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use sigplane::legacy::{self, Action};

/// The thread that is setting the VM's handlers.
static SETTING: AtomicI32 = AtomicI32::new(0);
/// The VM has set them.
static DONE: AtomicBool = AtomicBool::new(false);
/// Only for these the VM has to be first. It also sets SIGPIPE and SIGXFSZ then, with a handler that does
/// nothing but chain; there the last one to set wins, as without a VM.
const FAULTS: u64 = {
    const fn bit(signal: c_int) -> u64 {
        1 << (signal - 1)
    }
    bit(libc::SIGSEGV)
        | bit(libc::SIGBUS)
        | bit(libc::SIGFPE)
        | bit(libc::SIGILL)
        | bit(libc::SIGTRAP)
};
/// The signals that are the VM's: bit n - 1 for signal n.
static OWNED: AtomicU64 = AtomicU64::new(0);
/// What stands aside for each of them.
static PROGRAM: [AtomicPtr<Action>; 65] = [const { AtomicPtr::new(ptr::null_mut()) }; 65];

/// What the VM is shown: actions as libc has them, each kept for ever, so that what it looks at in its handler
/// is not changed under it. Not a thread-local variable: the first use of one may allocate, and a handler on top
/// would overwrite it.
static SHOWN: [Shown; 256] = [const { Shown::none() }; 256];

struct Shown {
    /// 0: free; 1: being filled, or given up by who did; 2: complete.
    state: AtomicU32,
    action: UnsafeCell<LibcAction>,
}

// SAFETY: written by the one that has made `state` 1, and read when it is 2.
unsafe impl Sync for Shown {}

impl Shown {
    const fn none() -> Self {
        Self { state: AtomicU32::new(0), action: UnsafeCell::new(LibcAction::DEFAULT) }
    }

    /// Where this action is shown; `None` when there are too many different ones. What has been shown once is
    /// always found again.
    fn place_of(action: &Action) -> Option<*mut LibcAction> {
        let wanted = LibcAction::from(*action);
        for shown in &SHOWN {
            // ORDERING: Acquire pairs with the Release below: a complete one has been written.
            let mut state = shown.state.load(Ordering::Acquire);
            if state == 0
                && shown.state.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                // SAFETY: claimed just now.
                unsafe { shown.action.get().write(wanted) };
                shown.state.store(2, Ordering::Release);
                state = 2;
            }
            // SAFETY: complete ones are not written any more.
            if state == 2 && unsafe { *shown.action.get() } == wanted {
                return Some(shown.action.get());
            }
        }
        None
    }
}

/// An action that can be shown later, spent or not.
fn keep(action: &Action) -> Option<*mut Action> {
    let kept = legacy::keep(action)?;
    Shown::place_of(kept)?;
    if is_once(kept) {
        Shown::place_of(&spent(kept))?;
    }
    Some(ptr::from_ref(kept).cast_mut())
}

fn is_once(action: &Action) -> bool {
    action.handler > libc::SIG_IGN && action.flags & u64::from(libc::SA_RESETHAND as u32) != 0
}

/// What is left of a handler with `SA_RESETHAND` that has been called.
fn spent(action: &Action) -> Action {
    Action { handler: libc::SIG_DFL, ..*action }
}

/// `JVM_begin_signal_setting`.
pub extern "C" fn begin() {
    SETTING.store(tid(), Ordering::SeqCst);
}

/// `JVM_end_signal_setting`.
pub extern "C" fn end() {
    DONE.store(true, Ordering::SeqCst);
    SETTING.store(0, Ordering::SeqCst);
    for signal in 1..=64 {
        if let Some(place) = place(signal) {
            // SAFETY: null, or an action that is kept for ever.
            let behind = unsafe { place.load(Ordering::Acquire).as_ref() };
            journal::stays_first(signal, behind.map_or(libc::SIG_DFL, |action| action.handler));
        }
    }
}

fn tid() -> i32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::gettid() }
}

/// `JVM_get_signal_action`: the program's action for a signal of the VM's, to be called or not; null for others.
pub extern "C" fn get_action(signal: c_int) -> *mut LibcAction {
    let Some(place) = place(signal) else { return ptr::null_mut() };
    loop {
        let seen = place.load(Ordering::Acquire);
        // SAFETY: null, or an action that is kept for ever.
        let Some(action) = (unsafe { seen.as_ref() }) else { return ptr::null_mut() };
        let (set, failed) = (Ordering::AcqRel, Ordering::Acquire);
        if is_once(action)
            && let Some(spent) = legacy::keep(&spent(action))
            && place.compare_exchange(seen, ptr::from_ref(spent).cast_mut(), set, failed).is_err()
        {
            continue;
        }
        return Shown::place_of(action).unwrap_or(ptr::null_mut());
    }
}

/// Where the program's action of a signal is, if that is the VM's.
fn place(signal: c_int) -> Option<&'static AtomicPtr<Action>> {
    let owned = OWNED.load(Ordering::Acquire);
    if owned == 0 || !(1..=64).contains(&signal) || owned & 1 << (signal - 1) == 0 {
        return None;
    }
    PROGRAM.get(signal as usize)
}

/// sigaction(2) as the caller is to see it: the VM's handlers go to the table, what others set for their
/// signals is kept aside.
#[inline(always)]
pub(super) fn sigaction(signal: c_int, new: Option<&Action>) -> Result<Action, i32> {
    if is_absent() {
        return legacy::sigaction(signal, new);
    }
    with_vm(signal, new)
}

/// Whether [`sigaction`] is the table's own.
#[inline(always)]
pub(super) fn is_absent() -> bool {
    OWNED.load(Ordering::Relaxed) == 0 && SETTING.load(Ordering::Relaxed) == 0
}

#[cold]
fn with_vm(signal: c_int, new: Option<&Action>) -> Result<Action, i32> {
    if legacy::is_borrowed() {
        return legacy::sigaction(signal, new);
    }
    let setting = SETTING.load(Ordering::SeqCst);
    if setting != 0 && setting == tid() {
        let old = legacy::sigaction(signal, new)?;
        let bit = 1u64 << (signal - 1);
        if new.is_some()
            && FAULTS & bit != 0
            && OWNED.load(Ordering::Acquire) & bit == 0
            && let (Some(place), Some(kept)) = (PROGRAM.get(signal as usize), keep(&old))
        {
            place.store(kept, Ordering::Release);
            OWNED.fetch_or(bit, Ordering::AcqRel);
        }
        return Ok(old);
    }
    let aside = place(signal).filter(|_| DONE.load(Ordering::Acquire));
    let Some(aside) = aside else { return legacy::sigaction(signal, new) };
    let old = match new {
        None => aside.load(Ordering::Acquire),
        Some(new) => {
            let kept = keep(new).ok_or(libc::ENOMEM)?;
            aside.swap(kept, Ordering::AcqRel)
        }
    };
    // SAFETY: null, or an action that is kept for ever.
    Ok(unsafe { old.as_ref() }.copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An action is shown in one place, another one elsewhere; what was shown before is found when there is no
    /// room for more.
    #[test]
    fn shown_for_ever() {
        let flags = u64::from(libc::SA_RESETHAND as u32);
        let action = |n| Action { handler: 0x1000 + n, flags, restorer: 7, mask: 1 };
        let first = Shown::place_of(&action(0)).expect("there is room");
        let shown = (0..SHOWN.len()).filter_map(|n| Shown::place_of(&action(n)));
        assert!(shown.count() <= SHOWN.len());
        assert_eq!(Shown::place_of(&action(SHOWN.len())), None);
        assert_eq!(Shown::place_of(&action(0)), Some(first));
        // SAFETY: complete, and not written any more.
        assert!(unsafe { *first } == LibcAction::from(action(0)));
        assert!(keep(&action(1)).is_none(), "its spent form cannot be shown");
    }
}
