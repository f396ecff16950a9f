//! syscall(2): programs that ask the kernel themselves, but through libc's function.

use super::user::{self, Stack};
use super::{actions, answer, masks, waits};
use core::ffi::{c_int, c_long};

/// Not in `libc` (arch/x86/entry/syscalls/syscall_64.tbl).
const SYS_IO_PGETEVENTS: c_long = 333;

/// What libc's `syscall` is about to be jumped to with, and where that is. A wait that puts on a mask is noted: nobody
/// takes the note away, but it fits no other call (`sigplane::legacy::WaitMask`).
#[allow(clippy::too_many_arguments, reason = "the arguments of syscall(2)")]
pub extern "C" fn libc_syscall(
    number: c_long,
    first: usize,
    second: usize,
    _third: usize,
    fourth: usize,
    fifth: usize,
    sixth: usize,
) -> usize {
    let here = &raw const sixth;
    match number {
        libc::SYS_rt_sigsuspend if second == 8 => note(first, here),
        libc::SYS_ppoll if fifth == 8 => note(fourth, here),
        libc::SYS_epoll_pwait | libc::SYS_epoll_pwait2 if sixth == 8 => note(fifth, here),
        libc::SYS_pselect6 | SYS_IO_PGETEVENTS => {
            // SAFETY: the caller has given it for a pair to be read: the mask and its size.
            if let Ok(Some([mask, 8])) = unsafe { user::read_if(sixth as *const [usize; 2], here) }
            {
                note(mask, here);
            }
        }
        _ => {}
    }
    super::real::SYSCALL.address()
}

#[cold]
fn note(mask: usize, here: Stack) {
    // The call is made in the caller's own frame, which begins a few words above.
    const CALLERS: usize = 512;
    // SAFETY: the caller has given it for a mask to be read.
    if let Some(noted) = unsafe { waits::note(mask as *const _, here, here.addr() + CALLERS) } {
        core::mem::forget(noted);
    }
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
            let call =
                unsafe { core::mem::transmute::<usize, Call>(super::real::SYSCALL.address()) };
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
