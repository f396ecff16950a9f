//! What threads block: libc's calls, with libc's own signals kept out as libc does, and those of faults once
//! they are sigplane's (`sigplane::masks`).

use super::user::{self, Stack};
use super::{answer, fail, is_valid};
use crate::journal;
use core::ffi::c_int;

/// libc's own, which its functions leave out of every mask, and the system call does not (glibc
/// internal-signals.h).
const INTERNAL: u64 = 3 << 31;

/// sigprocmask(2) in numbers, as libc has it.
pub(super) fn change(how: c_int, wanted: Option<u64>) -> Result<u64, i32> {
    sigplane::masks::change(how, wanted.map(|wanted| wanted & !INTERNAL))
}

/// As [`change`], for a caller whose return address is at `stack`: who blocks faults is worth knowing. (For the
/// time of a wait that is no news: only handlers run then.)
fn change_for(how: c_int, wanted: Option<u64>, stack: Stack) -> Result<u64, i32> {
    let before = change(how, wanted)?;
    note_blocked(how, wanted, stack);
    Ok(before)
}

/// Has the journal know who has faults blocked, unless sigplane has kept them open.
#[inline(always)]
pub(super) fn note_blocked(how: c_int, wanted: Option<u64>, stack: Stack) {
    if let Some(wanted) = wanted
        && wanted & journal::FAULTS != 0
        && how != libc::SIG_UNBLOCK
    {
        // SAFETY: where the caller's return address is.
        journal::blocks(wanted & !sigplane::masks::kept_out(), unsafe { stack.read() });
    }
}

/// glibc's `sigset_t`. The kernel knows its first word.
pub type Set = u64;

/// pthread_sigmask(3): an error number, or 0. The order is the kernel's (kernel/signal.c, `rt_sigprocmask`):
/// the mask is changed, and then the old one written, whose failure undoes nothing.
///
/// # Safety
/// As libc's, but that pointers to memory that is not there are answered by `EFAULT`. `stack` is where the
/// caller's return address is, here and below.
pub unsafe extern "C" fn pthread_sigmask(
    how: c_int,
    set: *const Set,
    old: *mut Set,
    stack: Stack,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { exchange(how, set, old, change, stack) }.err().unwrap_or(0)
}

/// sigprocmask(2).
///
/// # Safety
/// As for [`pthread_sigmask`].
pub unsafe extern "C" fn sigprocmask(
    how: c_int,
    set: *const Set,
    old: *mut Set,
    stack: Stack,
) -> c_int {
    // SAFETY: the caller's promise.
    answer(unsafe { exchange(how, set, old, change, stack) })
}

/// # Safety
/// As for [`pthread_sigmask`].
pub(super) unsafe fn exchange(
    how: c_int,
    set: *const Set,
    old: *mut Set,
    change: impl Fn(c_int, Option<Set>) -> Result<Set, i32>,
    stack: Stack,
) -> Result<(), i32> {
    // SAFETY: the caller's promise.
    let wanted = unsafe { user::read_if(set, stack) }?;
    let before = change(how, wanted)?;
    note_blocked(how, wanted, stack);
    // SAFETY: the caller's promise.
    unsafe { user::write_if(old, before, stack) }
}

/// One signal added or taken away: `sighold`, `sigrelse` (sysdeps/posix/sighold.c, sigrelse.c).
fn one(how: c_int, signal: c_int, stack: Stack) -> c_int {
    if !is_valid(signal) {
        return fail(libc::EINVAL);
    }
    answer(change_for(how, Some(1 << (signal - 1)), stack).map(|_| ()))
}

/// sighold(3).
pub extern "C" fn sighold(signal: c_int, stack: Stack) -> c_int {
    one(libc::SIG_BLOCK, signal, stack)
}

/// sigrelse(3).
pub extern "C" fn sigrelse(signal: c_int, stack: Stack) -> c_int {
    one(libc::SIG_UNBLOCK, signal, stack)
}

/// A mask of 32 signals in and out: sysdeps/posix/sigblock.c, sigsetmask.c.
fn old_style(how: c_int, mask: c_int, stack: Stack) -> c_int {
    match change_for(how, Some(u64::from(mask as u32)), stack) {
        Ok(before) => before as c_int,
        Err(errno) => fail(errno),
    }
}

/// sigblock(3).
pub extern "C" fn sigblock(mask: c_int, stack: Stack) -> c_int {
    old_style(libc::SIG_BLOCK, mask, stack)
}

/// sigsetmask(3).
pub extern "C" fn sigsetmask(mask: c_int, stack: Stack) -> c_int {
    old_style(libc::SIG_SETMASK, mask, stack)
}

/// siggetmask(3).
pub extern "C" fn siggetmask() -> c_int {
    change(libc::SIG_BLOCK, None).map_or_else(fail, |mask| mask as c_int)
}
