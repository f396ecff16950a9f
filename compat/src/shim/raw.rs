//! syscall(2): programs that ask the kernel themselves, but through libc's function.

use super::user::Stack;
use super::{actions, answer, masks};
use core::ffi::{c_int, c_long};

/// Where libc's `syscall` is, to be jumped to with the arguments as they came.
pub extern "C" fn libc_syscall() -> usize {
    super::real::SYSCALL.address()
}

/// `syscall(SYS_rt_sigaction, …)`. libc's own signals are set as they always were: by the kernel alone.
///
/// # Safety
/// As for the system call.
pub unsafe extern "C" fn rt_sigaction(
    signal: usize,
    act: usize,
    old: usize,
    size: usize,
    stack: Stack,
) -> c_long {
    let (act, old) = (act as *const _, old as *mut _);
    // SAFETY: the caller's promise.
    match unsafe { actions::raw(signal as c_int, act, old, size as u64, stack) } {
        Err(libc::ENOSYS) => {
            let number = libc::SYS_rt_sigaction;
            let (signal, act, old) = (signal as c_int, act as usize, old as usize);
            type Call = unsafe extern "C" fn(c_long, c_int, usize, usize, usize) -> c_long;
            // SAFETY: libc's `syscall`, found when the library was loaded.
            let call = unsafe { core::mem::transmute::<usize, Call>(libc_syscall()) };
            // SAFETY: the caller's promise.
            unsafe { call(number, signal, act, old, size) }
        }
        result => answer(result).into(),
    }
}

/// `syscall(SYS_rt_sigprocmask, …)`.
///
/// # Safety
/// As for the system call.
pub unsafe extern "C" fn rt_sigprocmask(
    how: usize,
    set: usize,
    old: usize,
    size: usize,
    stack: Stack,
) -> c_long {
    if size != 8 {
        return answer(Err(libc::EINVAL)).into();
    }
    // SAFETY: the caller's promise.
    let result = unsafe {
        masks::exchange(
            how as c_int,
            set as *const _,
            old as *mut _,
            sigplane::masks::change,
            stack,
        )
    };
    answer(result).into()
}
