//! Sending with a value: nothing is changed. What the kernel does not queue (`EAGAIN`, beyond `RLIMIT_SIGPENDING`)
//! is counted, because a lost instance is looked for in the receiver, and is to be found at the sender.

use super::real::call;
use super::user::Stack;
use crate::journal;
use core::ffi::{c_int, c_void};
use libc::{pid_t, pthread_t};

/// Who has not been served: the caller, whose return address is at `stack`.
#[cold]
fn refused(signal: c_int, stack: Stack) {
    // SAFETY: where the caller's return address is.
    journal::refused(signal, unsafe { stack.read() });
}

/// sigqueue(3).
///
/// # Safety
/// As libc's. `stack` is where the caller's return address is.
pub unsafe extern "C" fn sigqueue(
    pid: pid_t,
    signal: c_int,
    value: *mut c_void,
    stack: Stack,
) -> c_int {
    let result: c_int = call!(sigqueue(pid, signal, value));
    if result < 0 {
        // SAFETY: only computes an address.
        let errno = unsafe { libc::__errno_location() };
        // SAFETY: the calling thread's own.
        if unsafe { errno.read() } == libc::EAGAIN {
            refused(signal, stack);
        }
    }
    result
}

/// pthread_sigqueue(3), which returns the error's number.
///
/// # Safety
/// As for [`sigqueue`].
pub unsafe extern "C" fn pthread_sigqueue(
    thread: pthread_t,
    signal: c_int,
    value: *mut c_void,
    stack: Stack,
) -> c_int {
    let result: c_int = call!(pthread_sigqueue(thread, signal, value));
    if result == libc::EAGAIN {
        refused(signal, stack);
    }
    result
}
