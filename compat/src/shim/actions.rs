//! Dispositions: `sigaction`, `signal`, and those of their relatives that change one.
//!
//! Each has the semantics of glibc's function of that name; its source is named. libc itself does not go
//! through a preloaded `sigaction`, which is why every one of them is here.

use super::libc_action::{Given, LibcAction, with_restorer};
use super::user::{self, Stack};
use super::{answer, fail, is_internal, is_valid, jvm, masks};
use crate::journal::{self, Call, Kind};
use core::ffi::{c_int, c_ulong};
use sigplane::legacy::{self, Action};
use std::sync::atomic::{AtomicU64, Ordering};

/// `SIG_HOLD` of sigset(3).
const SIG_HOLD: usize = 2;

/// A set of one signal.
fn bit(signal: c_int) -> u64 {
    1 << (signal - 1)
}

/// Sets and remembers who did it.
#[inline(always)]
fn set(call: Call, signal: c_int, new: Option<&Action>, stack: Stack) -> Result<Action, i32> {
    let old = jvm::sigaction(signal, new)?;
    if let Some(new) = new {
        // SAFETY: where the caller's return address is.
        let caller = unsafe { stack.read() };
        if legacy::is_borrowed() {
            journal::note(Kind::Borrowed, signal, caller, new.handler as u64);
        } else {
            journal::changed(call, signal, &old, new, caller);
        }
    }
    Ok(old)
}

/// sigaction(2). glibc checks the number first; everything else is the kernel's order: the new action is
/// read, set, and then the old one written, whose failure undoes nothing (kernel/signal.c, `rt_sigaction`).
///
/// # Safety
/// As libc's, but that pointers to memory that is not there are answered by `EFAULT`. `stack` is where the
/// caller's return address is.
pub unsafe extern "C" fn sigaction(
    signal: c_int,
    act: *const Given,
    old: *mut LibcAction,
    stack: Stack,
) -> c_int {
    if is_valid(signal) && old.is_null() && !act.is_null() && user::is_there(act, stack) {
        // SAFETY: the caller's promise; it can be read.
        unsafe { set_only(signal, act, old, stack) }
    } else {
        // SAFETY: the caller's promise.
        unsafe { exchange(signal, act, old, stack) }
    }
}

/// The usual set, which asks for nothing. Like `exchange` it takes the arguments of [`sigaction`], which thus is a
/// jump to one or the other.
///
/// # Safety
/// As for [`sigaction`]; `act` can be read.
#[inline(never)]
unsafe extern "C" fn set_only(
    signal: c_int,
    act: *const Given,
    old: *mut LibcAction,
    stack: Stack,
) -> c_int {
    // SAFETY: the caller's promise; an action may have any bytes.
    let given = unsafe { act.read_unaligned() };
    // SAFETY: the caller's promise.
    match unsafe { again(signal, given, stack) } {
        Some(result) => answer(result),
        // SAFETY: the caller's promise.
        None => unsafe { exchange(signal, act, old, stack) },
    }
}

/// # Safety
/// As for [`sigaction`].
#[inline(never)]
unsafe extern "C" fn exchange(
    signal: c_int,
    act: *const Given,
    old: *mut LibcAction,
    stack: Stack,
) -> c_int {
    if !is_valid(signal) {
        return fail(libc::EINVAL);
    }
    let result = (|| {
        // SAFETY: the caller's promise; an action may have any bytes.
        let new = unsafe { user::read_if(act, stack) }?.map(Action::from);
        let before = set(Call::Sigaction, signal, new.as_ref(), stack)?;
        // SAFETY: the caller's promise.
        unsafe { user::write_made_if(old, || LibcAction::from(before), stack) }
    })();
    answer(result)
}

/// Sets what the same caller has set last, a handler that is known: nobody needs to be told what was there
/// before. `None`, and nothing done, if it is not so simple.
///
/// # Safety
/// `stack` is where the caller's return address is.
#[inline(always)]
unsafe fn again(signal: c_int, given: Given, stack: Stack) -> Option<Result<(), i32>> {
    if !jvm::is_absent() {
        return None;
    }
    // SAFETY: the caller's promise.
    let caller = unsafe { stack.read() };
    let new = Action::from(given);
    let repeat = journal::repeats(signal, new.handler, caller)?;
    let result = legacy::set(signal, &new);
    if result.is_ok() {
        repeat.note(Call::Sigaction, signal, &new, caller);
    }
    Some(result)
}

/// The signals for which `siginterrupt` has said that calls are to be interrupted: glibc's hidden state of
/// `signal` (sysdeps/posix/signal.c, `_sigintr`).
static INTERRUPTS: AtomicU64 = AtomicU64::new(0);

/// What the functions of the old days return: a handler, or `SIG_ERR`.
fn handler(result: Result<Action, i32>) -> usize {
    match result {
        Ok(action) => action.handler,
        Err(errno) => fail(errno) as usize,
    }
}

fn checked(signal: c_int, handler: usize) -> Result<(), i32> {
    // glibc compares before anything else (sysdeps/posix/signal.c).
    if handler == libc::SIG_ERR || !is_valid(signal) { Err(libc::EINVAL) } else { Ok(()) }
}

/// `signal`, `bsd_signal`, `ssignal`: sysdeps/posix/signal.c.
pub extern "C" fn signal(signal: c_int, new: usize, stack: Stack) -> usize {
    let set = checked(signal, new).and_then(|()| {
        let restart = INTERRUPTS.load(Ordering::Relaxed) & bit(signal) == 0;
        let flags = if restart { libc::SA_RESTART } else { 0 };
        set(Call::Signal, signal, Some(&with_restorer(new, flags, bit(signal))), stack)
    });
    handler(set)
}

/// `sysv_signal`, `__sysv_signal`: sysdeps/posix/sysv_signal.c.
pub extern "C" fn sysv_signal(signal: c_int, new: usize, stack: Stack) -> usize {
    /// A flag that no kernel knows any more, which glibc sets.
    const SA_INTERRUPT: c_int = 0x2000_0000;
    let set = checked(signal, new).and_then(|()| {
        let flags = libc::SA_RESETHAND | libc::SA_NODEFER | SA_INTERRUPT;
        set(Call::SysvSignal, signal, Some(&with_restorer(new, flags, 0)), stack)
    });
    handler(set)
}

/// `sigset`: sysdeps/posix/sigset.c.
pub extern "C" fn sigset(signal: c_int, new: usize, stack: Stack) -> usize {
    // No word against `SIG_ERR` here: it becomes the handler.
    let result = checked(signal, libc::SIG_DFL).and_then(|()| {
        if new == SIG_HOLD {
            let before = masks::change(libc::SIG_BLOCK, Some(bit(signal)))?;
            let now = jvm::sigaction(signal, None)?;
            return Ok((before, now.handler));
        }
        let old = set(Call::Sigset, signal, Some(&with_restorer(new, 0, 0)), stack)?;
        let before = masks::change(libc::SIG_UNBLOCK, Some(bit(signal)))?;
        Ok((before, old.handler))
    });
    match result {
        Ok((before, _)) if before & bit(signal) != 0 => SIG_HOLD,
        Ok((_, handler)) => handler,
        Err(errno) => fail(errno) as usize,
    }
}

/// `sigignore`: sysdeps/posix/sigignore.c.
pub extern "C" fn sigignore(signal: c_int, stack: Stack) -> c_int {
    if !is_valid(signal) {
        return fail(libc::EINVAL);
    }
    let ignore = with_restorer(libc::SIG_IGN, 0, 0);
    answer(set(Call::Sigignore, signal, Some(&ignore), stack).map(|_| ()))
}

/// `siginterrupt`: sysdeps/posix/sigintr.c.
pub extern "C" fn siginterrupt(signal: c_int, interrupt: c_int, stack: Stack) -> c_int {
    if !is_valid(signal) {
        return fail(libc::EINVAL);
    }
    let result = jvm::sigaction(signal, None).and_then(|now| {
        let flags = now.flags as c_int;
        let flags = if interrupt != 0 {
            INTERRUPTS.fetch_or(bit(signal), Ordering::Relaxed);
            flags & !libc::SA_RESTART
        } else {
            INTERRUPTS.fetch_and(!bit(signal), Ordering::Relaxed);
            flags | libc::SA_RESTART
        };
        set(Call::Siginterrupt, signal, Some(&with_restorer(now.handler, flags, now.mask)), stack)
    });
    answer(result.map(|_| ()))
}

/// `struct sigvec` of 4.3BSD (glibc signal/sigvec.c, for binaries of long ago).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SigVec {
    handler: usize,
    mask: c_int,
    flags: c_int,
}

/// `sigvec`: sysdeps/posix/sigvec.c.
///
/// # Safety
/// As for [`sigaction`].
pub unsafe extern "C" fn sigvec(
    signal: c_int,
    new: *const SigVec,
    old: *mut SigVec,
    stack: Stack,
) -> c_int {
    const SV_ONSTACK: c_int = 1;
    const SV_INTERRUPT: c_int = 2;
    const SV_RESETHAND: c_int = 4;
    const PAIRS: [(c_int, c_int); 2] =
        [(SV_ONSTACK, libc::SA_ONSTACK), (SV_RESETHAND, libc::SA_RESETHAND)];
    if !is_valid(signal) {
        return fail(libc::EINVAL);
    }
    let result = (|| {
        // SAFETY: the caller's promise.
        let new = unsafe { user::read_if(new, stack) }?;
        let action = new.map(|new| {
            let restart = if new.flags & SV_INTERRUPT == 0 { libc::SA_RESTART } else { 0 };
            let flags = PAIRS.iter().filter(|(sv, _)| new.flags & sv != 0);
            let flags = flags.fold(restart, |flags, (_, sa)| flags | sa);
            with_restorer(new.handler, flags, u64::from(new.mask as u32))
        });
        let before = set(Call::Sigvec, signal, action.as_ref(), stack)?;
        let flags = before.flags as c_int;
        let interrupt = if flags & libc::SA_RESTART == 0 { SV_INTERRUPT } else { 0 };
        let kept = PAIRS.iter().filter(|(_, sa)| flags & sa != 0);
        let flags = kept.fold(interrupt, |flags, (sv, _)| flags | sv);
        let before = SigVec { handler: before.handler, mask: before.mask as c_int, flags };
        // SAFETY: the caller's promise.
        unsafe { user::write_if(old, before, stack) }
    })();
    answer(result)
}

/// rt_sigaction(2) through syscall(2): the kernel's own structure, and its own checks.
///
/// # Safety
/// As for [`sigaction`].
pub(super) unsafe fn raw(
    signal: c_int,
    act: *const Action,
    old: *mut Action,
    size: c_ulong,
    stack: Stack,
) -> Result<(), i32> {
    if size != 8 {
        return Err(libc::EINVAL);
    }
    // SAFETY: the caller's promise.
    let act = unsafe { user::read_if(act, stack) }?;
    if is_internal(signal) {
        // libc's: its handler is not to be virtual.
        return Err(libc::ENOSYS);
    }
    let before = set(Call::Kernel, signal, act.as_ref(), stack)?;
    // SAFETY: the caller's promise.
    unsafe { user::write_if(old, before, stack) }
}
