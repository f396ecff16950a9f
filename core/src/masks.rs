//! Masks with the signals of faults kept out: a fault whose signal is blocked ends the process and no handler
//! runs (kernel/signal.c, `force_sig_info_to_task`).
//!
//! Once the signals of faults are sigplane's ([`fault::enable`](crate::fault::enable)), [`change`] passes on
//! what it is asked for but for those six; and when asked, it answers as if they had been blocked.
//!
//! Two use it: the shim; and with the feature `masks` the functions below, which take the place of libc's in
//! the executable and in every shared object that the loader binds to it.
//!
//! Not covered by the latter: masks that are set otherwise, by `sigaction` for the time of a handler, by
//! `sigsuspend` and `ppoll` for the time of a wait, by `siglongjmp`, by the system call itself.
//! [`table`](crate::table()) names threads that have faults blocked.
//!
//! # Async-signal safety
//! All of it, as signal-safety(7) says of libc's.
//!
//! # References
//! pthread_sigmask(3), sigprocmask(2).
#![allow(unsafe_code)]

use crate::sys;
use libc::c_int;
#[cfg(feature = "masks")]
use libc::sigset_t;

/// The signals that are kept out of masks now.
pub fn kept_out() -> u64 {
    // A vfork child is on its way to another program, whose mask is its own affair.
    if crate::fault::is_enabled() && !sys::arch::is_borrowed() { sys::FAULT_BITS } else { 0 }
}

/// Those of them that this thread has asked to be blocked.
pub fn asked_for() -> u64 {
    sys::arch::masked_faults()
}

/// Notes that, for a thread that starts with such a mask.
pub fn set_asked_for(signals: u64) {
    sys::arch::set_masked_faults(signals & sys::FAULT_BITS);
}

/// sigprocmask(2) in numbers: changes the calling thread's mask if `wanted` is given; the mask before, as it
/// was asked for. An error number if `how` is none of the three.
///
/// # Errors
/// `EINVAL`.
pub fn change(how: c_int, wanted: Option<u64>) -> Result<u64, i32> {
    let kept = kept_out();
    let before = if sys::arch::is_borrowed() { 0 } else { sys::arch::masked_faults() };
    let mask = sys::sigprocmask(how, wanted.map(|wanted| wanted & !kept))?;
    if kept != 0 || before != 0 {
        let of_faults = wanted.unwrap_or(0) & kept;
        match (wanted, how) {
            (None, _) => {}
            (_, libc::SIG_BLOCK) => sys::arch::set_masked_faults(before | of_faults),
            (_, libc::SIG_UNBLOCK) => sys::arch::set_masked_faults(before & !of_faults),
            _ => sys::arch::set_masked_faults(of_faults),
        }
    }
    Ok(mask | before)
}

/// Opens the kept-out signals on this thread, which somebody else may have blocked for real.
#[doc(hidden)]
pub fn open() {
    sys::unblock(kept_out());
}

/// Blocks for real what has been asked for, for a program that is about to be executed and inherits the mask.
#[doc(hidden)]
pub fn about_to_exec() -> u64 {
    let asked = if sys::arch::is_borrowed() { 0 } else { sys::arch::masked_faults() };
    if asked != 0 { asked & !sys::block(asked) } else { 0 }
}

/// Undoes [`about_to_exec`].
#[doc(hidden)]
pub fn exec_failed(blocked: u64) {
    if blocked != 0 {
        sys::unblock(blocked);
    }
}

/// Does what both functions do; an error number, or 0.
///
/// # Safety
/// `set` is null or valid for reading, `old` null or valid for writing.
#[cfg(feature = "masks")]
unsafe fn exchange(how: c_int, set: *const sigset_t, old: *mut sigset_t) -> c_int {
    // The first word of a `sigset_t` is all that the kernel knows (64 signals).
    // SAFETY: the caller's promise; a `sigset_t` is at least 8 bytes, aligned to 8.
    let wanted = (!set.is_null()).then(|| unsafe { set.cast::<u64>().read() });
    // As glibc, which keeps its own signals out.
    match change(how, wanted.map(|wanted| wanted & !sys::LIBC_BITS)) {
        Err(errno) => errno,
        Ok(before) => {
            if !old.is_null() {
                // Only that word is written, as by glibc (sysdeps/unix/sysv/linux/sigprocmask.c).
                // SAFETY: the caller's promise.
                unsafe { old.cast::<u64>().write(before) };
            }
            0
        }
    }
}

/// pthread_sigmask(3).
///
/// # Safety
/// As libc's: `set` is null or valid for reading, `old` null or valid for writing.
#[cfg(feature = "masks")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_sigmask(
    how: c_int,
    set: *const sigset_t,
    old: *mut sigset_t,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { exchange(how, set, old) }
}

/// sigprocmask(2), as libc has it.
///
/// # Safety
/// As for [`pthread_sigmask`].
#[cfg(feature = "masks")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sigprocmask(
    how: c_int,
    set: *const sigset_t,
    old: *mut sigset_t,
) -> c_int {
    // SAFETY: the caller's promise.
    let errno = unsafe { exchange(how, set, old) };
    if errno == 0 {
        return 0;
    }
    let at = sys::Errno::location();
    // SAFETY: the calling thread's own.
    unsafe { at.write(errno) };
    -1
}
