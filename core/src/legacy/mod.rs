//! POSIX dispositions on top of the table: what sigaction(2) means in a process that sigplane owns.
//!
//! **Runs inside signal handlers**: sigaction(2) is async-signal-safe, and programs call it in handlers, in
//! the middle of anything. No lock, no allocation, no waiting.
//!
//! A signal is in one of two ways.
//! * *Direct*: nobody subscribes to it. The kernel has the program's own action, so flags, masks, stacks and
//!   `SA_RESETHAND` are the kernel's, and a delivery costs what it costs without sigplane.
//! * *Owned*: somebody subscribes, or all handlers are to be owned ([`own_handlers`]). The kernel has our
//!   entry stub, and what the program sets is virtual: the word of `table::disposition` is the truth, the
//!   kernel's action follows from it (`Slot::desired`), and the stub jumps to the handler.
//!
//! The two meet when a subscription begins or ends while others call [`sigaction`]. The rule is that whoever
//! changes the kernel looks at the word again afterwards, and puts the kernel right if it has changed: the
//! last one to look makes both agree.
//!
//! * This file — sigaction(2) itself, and the direct way.
//! * `owned` — the virtual action, and what follows from it in the kernel.
//! * `programs` — what a process under the shim begins with, and what others inherit from it.
//! * `wait_mask`, `memory` — what the shim has to know of a thread that waits, and of a caller's pointers.
//!
//! # Safety
//! Numbers are checked before they index anything.
#![allow(unsafe_code)]

#[doc(hidden)]
pub mod memory;
mod owned;
mod programs;
mod wait_mask;

pub use owned::{on_taken_over, own_handlers};
pub(crate) use owned::{owns, settle_after, spend};
pub use programs::{about_to_exec, exec_failed, recheck, start, step_aside, tid, vfork_stub};
#[doc(hidden)]
pub use wait_mask::WaitMask;
pub(crate) use wait_mask::take_wait_mask;

use self::owned::{adopt, make_virtual, set_alike, set_virtual};
use crate::engine;
use crate::sync::Ordering;
use crate::sys::{self, KernelAction};
use crate::table::disposition::Word;
use crate::table::interned;
use crate::table::slot::Slot;
use core::sync::atomic::AtomicU64;

/// An action of sigaction(2) as the kernel has it.
///
/// # Examples
/// ```
/// use sigplane::legacy::{self, Action};
/// let ignore = Action { handler: libc::SIG_IGN, ..Action::default() };
/// let before = legacy::sigaction(libc::SIGUSR1, Some(&ignore)).unwrap();
/// assert_eq!(legacy::sigaction(libc::SIGUSR1, Some(&before)).unwrap(), ignore);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Action {
    /// `SIG_DFL`, `SIG_IGN`, or the address of a handler.
    pub handler: usize,
    /// `SA_…`, `SA_RESTORER` (0x04000000) included.
    pub flags: u64,
    /// Where a handler returns to, with `SA_RESTORER`.
    pub restorer: usize,
    /// The signals blocked meanwhile: bit n - 1 for signal n.
    pub mask: u64,
}

impl From<KernelAction> for Action {
    fn from(action: KernelAction) -> Self {
        let KernelAction { handler, flags, restorer, mask } = action;
        Self { handler, flags, restorer, mask }
    }
}

impl From<Action> for KernelAction {
    fn from(action: Action) -> Self {
        let Action { handler, flags, restorer, mask } = action;
        Self { handler, flags, restorer, mask }
    }
}

const _: () = {
    assert!(size_of::<Action>() == size_of::<KernelAction>());
    assert!(core::mem::offset_of!(Action, handler) == core::mem::offset_of!(KernelAction, handler));
    assert!(core::mem::offset_of!(Action, flags) == core::mem::offset_of!(KernelAction, flags));
    assert!(
        core::mem::offset_of!(Action, restorer) == core::mem::offset_of!(KernelAction, restorer)
    );
    assert!(core::mem::offset_of!(Action, mask) == core::mem::offset_of!(KernelAction, mask));
};

/// The flags that the kernel keeps: those of `UAPI_SA_FLAGS` (include/linux/signal_types.h). One before 5.11
/// keeps all (kernel/signal.c, `do_sigaction`); [`start`] finds out.
static FLAGS: AtomicU64 = AtomicU64::new(0xdc00_0807);
const UNBLOCKABLE: u64 = sys::bit(libc::SIGKILL) | sys::bit(libc::SIGSTOP);

/// As the kernel keeps it: what it does not know or never blocks is gone.
#[inline(always)]
fn normal(action: &Action) -> KernelAction {
    let mut action = KernelAction::from(*action);
    action.flags &= FLAGS.load(Ordering::Relaxed);
    action.mask &= !UNBLOCKABLE;
    action
}

/// Sets the action of a signal when `new` is given; the action that it had before. Meant for callers that
/// expect sigaction(2) and nothing else: they see their own actions, on every thread, whoever subscribes.
///
/// Subscribers of the same signal go first, and the action set here is what stands behind them.
///
/// # Errors
/// `EINVAL` for a number that is none, and for SIGKILL and SIGSTOP; `ENOMEM` after four million different
/// actions. On an error nothing has changed.
///
/// # Async-signal safety
/// Yes.
///
/// # References
/// sigaction(2); kernel/signal.c, `do_sigaction`.
///
/// # Examples
/// See [`Action`].
pub fn sigaction(signal: i32, new: Option<&Action>) -> Result<Action, i32> {
    if !(1..=64).contains(&signal) {
        return Err(libc::EINVAL);
    }
    let slot = engine::get().slot(signal);
    if sys::arch::is_borrowed() {
        return borrowed(slot, signal, new);
    }
    match new {
        None => query(slot, signal),
        Some(new) => exchange(slot, signal, normal(new)),
    }
    .map(Action::from)
}

/// As [`sigaction`] with a new action, for a caller that does not want to know the old one: cheaper, where the
/// kernel need not be asked for it.
///
/// # Errors
/// As for [`sigaction`].
///
/// # Async-signal safety
/// Yes.
///
/// # Examples
/// ```
/// use sigplane::legacy::{self, Action};
/// legacy::set(libc::SIGUSR1, &Action { handler: libc::SIG_IGN, ..Action::default() }).unwrap();
/// assert_eq!(legacy::sigaction(libc::SIGUSR1, None).unwrap().handler, libc::SIG_IGN);
/// ```
#[inline(always)]
pub fn set(signal: i32, new: &Action) -> Result<(), i32> {
    // The words of the action are passed on one by one: behind a reference they would have to be in memory,
    // also where registers do.
    let Action { handler, flags, restorer, mask } = *new;
    if (1..=64).contains(&signal) && !sys::arch::is_borrowed() {
        let slot = engine::get().slot(signal);
        let word = slot.behind.get();
        if word.is_owned() {
            if set_alike(slot, signal, word, &normal(&Action { handler, flags, restorer, mask })) {
                return Ok(());
            }
        } else if !owns(signal)
            && let Some(begun) = slot.behind.begin(word)
        {
            let new = normal(&Action { handler, flags, restorer, mask });
            sys::set_action(signal, &new)?;
            if let Some(now) = slot.behind.end(begun) {
                make_virtual(slot, signal, now, &new)?;
            }
            return Ok(());
        }
    }
    set_in_full(signal, handler, flags, restorer, mask)
}

#[inline(never)]
fn set_in_full(
    signal: i32,
    handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
) -> Result<(), i32> {
    sigaction(signal, Some(&Action { handler, flags, restorer, mask })).map(|_| ())
}

/// Of a direct signal the kernel is asked: others may have set it past us, libc itself among them.
fn query(slot: &Slot, signal: i32) -> Result<KernelAction, i32> {
    loop {
        let word = slot.behind.get();
        if word.is_owned() {
            return Ok(*word.action());
        }
        let actual = sys::sigaction(signal, None)?;
        if !actual.is_ours() {
            return Ok(actual);
        }
        if slot.behind.get() == word {
            // Just given up, and about to be replaced in the kernel.
            return Ok(*word.action());
        }
    }
}

fn exchange(slot: &Slot, signal: i32, new: KernelAction) -> Result<KernelAction, i32> {
    if owns(signal) && !slot.behind.get().is_owned() {
        adopt(slot, signal)?;
    }
    let word = slot.behind.get();
    if word.is_owned() && set_alike(slot, signal, word, &new) {
        return Ok(*word.action());
    }
    loop {
        let word = slot.behind.get();
        if word.is_owned() {
            if let Some(old) = set_virtual(slot, signal, word, &new)? {
                return Ok(old);
            }
        } else if let Some(begun) = slot.behind.begin(word) {
            return set_direct(slot, signal, begun, &new);
        }
    }
}

fn set_direct(
    slot: &Slot,
    signal: i32,
    begun: Word,
    new: &KernelAction,
) -> Result<KernelAction, i32> {
    // It fails for SIGKILL and SIGSTOP, and then nothing has changed.
    let replaced = sys::sigaction(signal, Some(new))?;
    let Some(now) = slot.behind.end(begun) else {
        // Our stub is there while a subscription ends, which leaves what it finds now alone.
        return Ok(if replaced.is_ours() { *begun.action() } else { replaced });
    };
    // It may have ended altogether, and begun after `begun` was read: then what stood behind our stub is what the
    // signal was given up with, and not what it had before.
    let (behind, made) = make_virtual(slot, signal, now, new)?;
    let was_behind = replaced.is_ours() || (made && behind != *new);
    Ok(if was_behind { behind } else { replaced })
}

/// In a `vfork` child, which has the memory of its parent and actions of its own: the kernel is changed, the
/// table is not.
fn borrowed(slot: &Slot, signal: i32, new: Option<&Action>) -> Result<Action, i32> {
    let actual = match new {
        Some(new) => sys::sigaction(signal, Some(&KernelAction::from(*new)))?,
        None => sys::sigaction(signal, None)?,
    };
    Ok(if actual.was_ours() { *slot.behind.get().action() } else { actual }.into())
}

/// An action as the kernel would keep it, for as long as the process lives; equal ones are one. `None` when
/// there are too many different ones.
///
/// # Async-signal safety
/// Yes.
#[doc(hidden)]
pub fn keep(action: &Action) -> Option<&'static Action> {
    let kept = core::ptr::from_ref(interned::action(interned::intern(&normal(action))?));
    // SAFETY: both have the same four words in the same order (asserted below), and it stays.
    Some(unsafe { &*kept.cast::<Action>() })
}

/// Whether the action of a signal is virtual now.
#[doc(hidden)]
pub fn is_owned(signal: i32) -> bool {
    (1..=64).contains(&signal) && engine::get().slot(signal).behind.get().is_owned()
}

/// Says that the calling thread is about to make a child that shares its memory and its thread pointer, but not
/// its actions (clone(2) with `CLONE_VM` alone): the child's are then its own, as those of a `vfork` child.
///
/// # Async-signal safety
/// Yes.
#[doc(hidden)]
pub fn lend() {
    sys::arch::lend();
}

/// Whether the caller is a child of [`vfork_stub`], or of a call after [`lend`]: memory and thread are its parent's.
///
/// # Async-signal safety
/// Yes.
#[doc(hidden)]
#[inline]
pub fn is_borrowed() -> bool {
    sys::arch::is_borrowed()
}
