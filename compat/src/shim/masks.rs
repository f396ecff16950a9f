//! What threads block: libc's calls, with libc's own signals kept out as libc does, and those of faults once
//! they are sigplane's (`sigplane::masks`).

use super::user::{self, Stack, here};
use super::{answer, fail, is_valid};
use core::ffi::c_int;

/// libc's own, which its functions leave out of every mask, and the system call does not (glibc
/// internal-signals.h).
const INTERNAL: u64 = 3 << 31;

/// sigprocmask(2) in numbers, as libc has it.
pub(super) fn change(how: c_int, wanted: Option<u64>) -> Result<u64, i32> {
    sigplane::masks::change(how, wanted.map(|wanted| wanted & !INTERNAL))
}

/// glibc's `sigset_t`. The kernel knows its first word.
pub type Set = u64;

/// pthread_sigmask(3): an error number, or 0. The order is the kernel's (kernel/signal.c, `rt_sigprocmask`):
/// the mask is changed, and then the old one written, whose failure undoes nothing.
///
/// # Safety
/// As libc's, but that pointers to memory that is not there are answered by `EFAULT`.
pub unsafe extern "C" fn pthread_sigmask(how: c_int, set: *const Set, old: *mut Set) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { exchange(how, set, old, change, here!()) }.err().unwrap_or(0)
}

/// sigprocmask(2).
///
/// # Safety
/// As for [`pthread_sigmask`].
pub unsafe extern "C" fn sigprocmask(how: c_int, set: *const Set, old: *mut Set) -> c_int {
    // SAFETY: the caller's promise.
    answer(unsafe { exchange(how, set, old, change, here!()) })
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
    // SAFETY: the caller's promise.
    unsafe { user::write_if(old, before, stack) }
}

/// One signal added or taken away: `sighold`, `sigrelse` (sysdeps/posix/sighold.c, sigrelse.c).
fn one(how: c_int, signal: c_int) -> c_int {
    if !is_valid(signal) {
        return fail(libc::EINVAL);
    }
    answer(change(how, Some(1 << (signal - 1))).map(|_| ()))
}

/// sighold(3).
pub extern "C" fn sighold(signal: c_int) -> c_int {
    one(libc::SIG_BLOCK, signal)
}

/// sigrelse(3).
pub extern "C" fn sigrelse(signal: c_int) -> c_int {
    one(libc::SIG_UNBLOCK, signal)
}

/// A mask of 32 signals in and out: sysdeps/posix/sigblock.c, sigsetmask.c.
fn old_style(how: c_int, mask: c_int) -> c_int {
    match change(how, Some(u64::from(mask as u32))) {
        Ok(before) => before as c_int,
        Err(errno) => fail(errno),
    }
}

/// sigblock(3).
pub extern "C" fn sigblock(mask: c_int) -> c_int {
    old_style(libc::SIG_BLOCK, mask)
}

/// sigsetmask(3).
pub extern "C" fn sigsetmask(mask: c_int) -> c_int {
    old_style(libc::SIG_SETMASK, mask)
}

/// siggetmask(3).
pub extern "C" fn siggetmask() -> c_int {
    old_style(libc::SIG_BLOCK, 0)
}
