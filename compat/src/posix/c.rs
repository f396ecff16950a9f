//! libc's own signatures: a program replaces `libc::sigaction` by `sigplane_compat::posix::c::sigaction`, one
//! for one, and changes nothing else.
//!
//! Pointers are null or valid, results are 0 or -1 with `errno` (of `pthread_sigmask`, the error's number; of
//! `signal`, `SIG_ERR`). What the functions mean is said at those of the same name in [`posix`](super).
//!
//! # Safety
//! Every pointer is checked for null, and is the caller's otherwise.
#![allow(unsafe_code)]

use super::Result;
use core::ffi::c_int;
use libc::{sighandler_t, sigset_t, stack_t};

fn fail(errno: i32) -> c_int {
    // SAFETY: only computes an address.
    let at = unsafe { libc::__errno_location() };
    // SAFETY: the calling thread's own.
    unsafe { at.write(errno) };
    -1
}

/// Writes what was there before, if it is wanted.
///
/// # Safety
/// `at` is null or valid for writing.
unsafe fn put<T>(result: Result<T>, at: *mut T) -> Result<()> {
    let value = result?;
    if !at.is_null() {
        // SAFETY: the caller's promise.
        unsafe { at.write(value) };
    }
    Ok(())
}

/// sigaction(2); see [`posix::sigaction`](super::sigaction).
///
/// # Safety
/// `new` is null or an action whose handler keeps to signal-safety(7); `old` is null or can be written. They
/// may be the same.
///
/// # Async-signal safety
/// Yes.
///
/// # Examples
/// ```
/// use sigplane_compat::posix::c::sigaction;
/// // SAFETY: all zero bytes are an action; the pointers are to locals, or null.
/// unsafe {
///     let mut action: libc::sigaction = std::mem::zeroed();
///     action.sa_sigaction = libc::SIG_IGN;
///     assert_eq!(sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()), 0);
///     assert_eq!(sigaction(libc::SIGUSR1, std::ptr::null(), &mut action), 0);
///     assert_eq!(action.sa_sigaction, libc::SIG_IGN);
///     assert_eq!(sigaction(libc::SIGKILL, &action, std::ptr::null_mut()), -1);
/// }
/// ```
pub unsafe fn sigaction(
    signal: c_int,
    new: *const libc::sigaction,
    old: *mut libc::sigaction,
) -> c_int {
    // SAFETY: null, or valid by the caller's promise; not referred to after it may have been written.
    let new = unsafe { new.as_ref() };
    let before = super::exchange(signal, new);
    // SAFETY: the caller's promise.
    unsafe { put(before, old) }.map_or_else(fail, |()| 0)
}

/// signal(2); see [`posix::signal`](super::signal).
///
/// # Safety
/// The handler keeps to signal-safety(7).
///
/// # Async-signal safety
/// Yes.
pub unsafe fn signal(signal: c_int, handler: sighandler_t) -> sighandler_t {
    super::bsd_signal(signal, handler).unwrap_or_else(|errno| fail(errno) as sighandler_t)
}

/// siginterrupt(3); see [`posix::siginterrupt`](super::siginterrupt).
///
/// # Async-signal safety
/// Yes.
pub fn siginterrupt(signal: c_int, interrupt: c_int) -> c_int {
    super::interrupts(signal, interrupt != 0).map_or_else(fail, |()| 0)
}

/// sigprocmask(2); see [`posix::pthread_sigmask`](super::pthread_sigmask).
///
/// # Safety
/// `new` is null or a set; `old` is null or can be written.
///
/// # Async-signal safety
/// Yes.
pub unsafe fn sigprocmask(how: c_int, new: *const sigset_t, old: *mut sigset_t) -> c_int {
    // SAFETY: the caller's promise.
    match unsafe { pthread_sigmask(how, new, old) } {
        0 => 0,
        errno => fail(errno),
    }
}

/// pthread_sigmask(3); see [`posix::pthread_sigmask`](super::pthread_sigmask).
///
/// # Safety
/// As for [`sigprocmask`].
///
/// # Async-signal safety
/// Yes.
pub unsafe fn pthread_sigmask(how: c_int, new: *const sigset_t, old: *mut sigset_t) -> c_int {
    // SAFETY: null, or valid by the caller's promise; not referred to after it may have been written.
    let new = unsafe { new.as_ref() };
    let before = super::change_mask(how, new);
    // SAFETY: the caller's promise.
    unsafe { put(before, old) }.err().unwrap_or(0)
}

/// sigaltstack(2); see [`posix::sigaltstack`](super::sigaltstack).
///
/// # Safety
/// `new` is null or a stack that stays; `old` is null or can be written.
///
/// # Async-signal safety
/// Yes.
pub unsafe fn sigaltstack(new: *const stack_t, old: *mut stack_t) -> c_int {
    // SAFETY: the kernel checks both; the memory of the stack is the caller's promise.
    unsafe { libc::syscall(libc::SYS_sigaltstack, new, old) as c_int }
}
