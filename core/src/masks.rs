//! The C library's mask calls, with the signals of faults kept out (feature `masks`).
//!
//! A fault whose signal is blocked kills the process, and no handler runs (kernel/signal.c,
//! `force_sig_info_to_task`). Programs block everything around short sections, and mean signals that come
//! from outside. So these two functions, which take the place of libc's in the executable and in every
//! shared object that the loader binds to it, pass on what they are asked for but for the six signals of
//! faults, once those are sigplane's ([`fault::enable`](crate::fault::enable)); and when asked, they answer as
//! if they had been blocked.
//!
//! Not covered: masks that are set otherwise, by `sigaction` for the time of a handler, by `sigsuspend` and
//! `ppoll` for the time of a wait, by `siglongjmp`, by the system call itself. [`table`](crate::table())
//! names threads that have faults blocked.
//!
//! # Async-signal safety
//! Both functions are, as signal-safety(7) says of libc's.
//!
//! # References
//! pthread_sigmask(3), sigprocmask(2).
#![allow(unsafe_code)]

use crate::sys;
use libc::{c_int, sigset_t};

/// The first word of a `sigset_t`, which is all that the kernel knows (64 signals).
///
/// # Safety
/// `set` is null or valid for reading.
unsafe fn word(set: *const sigset_t) -> Option<u64> {
    // SAFETY: the caller's promise; a `sigset_t` is at least 8 bytes, aligned to 8.
    (!set.is_null()).then(|| unsafe { set.cast::<u64>().read() })
}

/// Does what both functions do; an error number, or 0.
///
/// # Safety
/// `set` is null or valid for reading, `old` null or valid for writing.
unsafe fn change(how: c_int, set: *const sigset_t, old: *mut sigset_t) -> c_int {
    // SAFETY: the caller's promise.
    let wanted = unsafe { word(set) };
    let kept = if crate::fault::is_enabled() { sys::FAULT_BITS } else { 0 };
    let before = sys::arch::masked_faults();
    let passed = wanted.map(|wanted| wanted & !(kept | sys::LIBC_BITS));
    let mask = match sys::sigprocmask(how, passed) {
        Ok(mask) => mask,
        Err(errno) => return errno,
    };
    let of_faults = wanted.unwrap_or(0) & kept;
    match (wanted, how) {
        (None, _) => {}
        (_, libc::SIG_BLOCK) => sys::arch::set_masked_faults(before | of_faults),
        (_, libc::SIG_UNBLOCK) => sys::arch::set_masked_faults(before & !of_faults),
        _ => sys::arch::set_masked_faults(of_faults),
    }
    if !old.is_null() {
        // Only the word that the kernel knows is written, as by glibc (sysdeps/unix/sysv/linux/sigprocmask.c).
        // SAFETY: the caller's promise.
        unsafe { old.cast::<u64>().write(mask | before) };
    }
    0
}

/// pthread_sigmask(3).
///
/// # Safety
/// As libc's: `set` is null or valid for reading, `old` null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_sigmask(
    how: c_int,
    set: *const sigset_t,
    old: *mut sigset_t,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { change(how, set, old) }
}

/// sigprocmask(2), as libc has it.
///
/// # Safety
/// As for [`pthread_sigmask`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sigprocmask(
    how: c_int,
    set: *const sigset_t,
    old: *mut sigset_t,
) -> c_int {
    // SAFETY: the caller's promise.
    let errno = unsafe { change(how, set, old) };
    if errno == 0 {
        return 0;
    }
    let at = sys::Errno::location();
    // SAFETY: the calling thread's own.
    unsafe { at.write(errno) };
    -1
}
