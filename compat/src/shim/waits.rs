//! Calls that put on a mask for the time of a wait. A handler that runs meanwhile has that mask too, and a
//! fault in it would end the process; so the signals of faults are kept out, once they are sigplane's.
//!
//! The waiting itself is libc's: these are cancellation points.

use super::masks::change;
use super::real::call;
use super::user::{self, Stack, here};
use super::{fail, is_valid};
use core::ffi::c_int;
use libc::{epoll_event, fd_set, nfds_t, pollfd, sigset_t, timespec};
use sigplane::legacy::WaitMask;

/// A mask as a wait is to have it.
enum Mask {
    /// The caller's own.
    Given(*const sigset_t),
    /// A copy with something left out.
    Without(sigset_t),
}

impl Mask {
    /// A mask that cannot be read is left for the kernel to refuse, in the order of its own checks.
    ///
    /// # Safety
    /// `set` is what libc's function would be given.
    unsafe fn of(set: *const sigset_t) -> Self {
        let kept = sigplane::masks::kept_out();
        if kept == 0 || set.is_null() {
            return Self::Given(set);
        }
        // SAFETY: the caller's promise; only the first word counts.
        match unsafe { user::read(set.cast::<u64>(), here!()) } {
            Ok(word) if word & kept != 0 => Self::Without(set_of(word & !kept)),
            _ => Self::Given(set),
        }
    }

    fn as_ptr(&self) -> *const sigset_t {
        match self {
            Self::Given(set) => *set,
            Self::Without(set) => set,
        }
    }
}

/// Waits, and has a handler that interrupts it know the mask. `set` is what a caller of one of the functions
/// below has given it: null, or where a mask should be.
fn wait<R>(set: *const sigset_t, call: impl FnOnce(*const sigset_t) -> R) -> R {
    // SAFETY: the caller's promise.
    let mask = unsafe { Mask::of(set) };
    let at = mask.as_ptr();
    let here = here!();
    // SAFETY: the caller's promise, or a copy.
    let _noted = unsafe { note(at, here, here.addr()) };
    call(at)
}

/// Notes the mask at `at`, if there is one, for a wait that is made below `below` on this stack.
///
/// # Safety
/// `at` is null or where a mask should be; only its first word counts.
pub(super) unsafe fn note(at: *const sigset_t, here: Stack, below: usize) -> Option<WaitMask> {
    // SAFETY: the caller's promise.
    let word = unsafe { user::read_if(at.cast::<u64>(), here) };
    let word = word.ok().flatten()?;
    Some(WaitMask::note(word & !UNBLOCKABLE, at.addr(), below))
}

/// What the kernel leaves out of every mask.
const UNBLOCKABLE: u64 = 1 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1);

fn set_of(word: u64) -> sigset_t {
    // SAFETY: all zero bytes are a set.
    let mut set: sigset_t = unsafe { core::mem::zeroed() };
    // SAFETY: a set is longer than a word.
    unsafe { (&raw mut set).cast::<u64>().write(word) };
    set
}

/// libc copies these two before it asks the kernel.
///
/// # Safety
/// `time` is what libc's function would be given.
unsafe fn is_there(time: *const timespec) -> bool {
    // SAFETY: the caller's promise.
    unsafe { user::read_if(time, here!()) }.is_ok()
}

/// sigsuspend(2).
///
/// # Safety
/// As libc's.
pub unsafe extern "C-unwind" fn sigsuspend(set: *const sigset_t) -> c_int {
    wait(set, |set| call!(sigsuspend(set)))
}

fn suspend_with(word: u64) -> c_int {
    let set = set_of(word);
    // SAFETY: a set of our own.
    unsafe { sigsuspend(&raw const set) }
}

/// `__sigpause`: a signal to be let in, or a mask of 32 (sysdeps/posix/sigpause.c).
pub extern "C-unwind" fn sigpause_either(signal_or_mask: c_int, is_signal: c_int) -> c_int {
    if is_signal == 0 {
        return suspend_with(u64::from(signal_or_mask as u32));
    }
    if !is_valid(signal_or_mask) {
        return fail(libc::EINVAL);
    }
    match change(libc::SIG_BLOCK, None) {
        Ok(mask) => suspend_with(mask & !(1 << (signal_or_mask - 1))),
        Err(errno) => fail(errno),
    }
}

/// `sigpause` as BSD has it: the argument is a mask.
pub extern "C-unwind" fn sigpause(mask: c_int) -> c_int {
    sigpause_either(mask, 0)
}

/// `__xpg_sigpause`, which X/Open means by `sigpause`: the argument is a signal.
pub extern "C-unwind" fn sigpause_xpg(signal: c_int) -> c_int {
    sigpause_either(signal, 1)
}

/// ppoll(2).
///
/// # Safety
/// As libc's.
pub unsafe extern "C-unwind" fn ppoll(
    fds: *mut pollfd,
    count: nfds_t,
    time: *const timespec,
    set: *const sigset_t,
) -> c_int {
    // SAFETY: the caller's promise.
    if !unsafe { is_there(time) } {
        return fail(libc::EFAULT);
    }
    wait(set, |set| call!(ppoll(fds, count, time, set)))
}

/// `ppoll` of programs that were compiled with `_FORTIFY_SOURCE`.
///
/// # Safety
/// As libc's.
pub unsafe extern "C-unwind" fn ppoll_checked(
    fds: *mut pollfd,
    count: nfds_t,
    time: *const timespec,
    set: *const sigset_t,
    room: usize,
) -> c_int {
    // SAFETY: the caller's promise.
    if !unsafe { is_there(time) } {
        return fail(libc::EFAULT);
    }
    wait(set, |set| call!(__ppoll_chk(fds, count, time, set, room)))
}

/// pselect(2).
///
/// # Safety
/// As libc's.
pub unsafe extern "C-unwind" fn pselect(
    count: c_int,
    read: *mut fd_set,
    write: *mut fd_set,
    except: *mut fd_set,
    time: *const timespec,
    set: *const sigset_t,
) -> c_int {
    // SAFETY: the caller's promise.
    if !unsafe { is_there(time) } {
        return fail(libc::EFAULT);
    }
    wait(set, |set| call!(pselect(count, read, write, except, time, set)))
}

/// epoll_pwait(2).
///
/// # Safety
/// As libc's.
pub unsafe extern "C-unwind" fn epoll_pwait(
    epoll: c_int,
    events: *mut epoll_event,
    count: c_int,
    time: c_int,
    set: *const sigset_t,
) -> c_int {
    wait(set, |set| call!(epoll_pwait(epoll, events, count, time, set)))
}

/// epoll_pwait2(2).
///
/// # Safety
/// As libc's.
pub unsafe extern "C-unwind" fn epoll_pwait2(
    epoll: c_int,
    events: *mut epoll_event,
    count: c_int,
    time: *const timespec,
    set: *const sigset_t,
) -> c_int {
    wait(set, |set| call!(epoll_pwait2(epoll, events, count, time, set)))
}
