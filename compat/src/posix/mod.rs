//! Rust with `sigaction` semantics: libc's calls about dispositions, masks and alternate stacks, on sigplane's
//! table.
//!
//! For programs that use sigaction(2) and want one owner of the table before, or without, moving to
//! [`sigplane::on`]. What is set is what is read back, flags and masks mean what they mean in sigaction(2),
//! handlers run where they would have run; and subscribers of the same signal see it as well, first, and are
//! neither seen nor disturbed.
//!
//! | instead of | write |
//! | --- | --- |
//! | `libc::sigaction(n, &new, &mut old)` | [`posix::c::sigaction`](c::sigaction)`(n, &new, &mut old)`, or [`sigaction`]`(n, Some(&new))` |
//! | `libc::signal`, `sigprocmask`, `pthread_sigmask`, `sigaltstack` | the functions of these names in [`c`], or here |
//! | `use nix::sys::signal::{sigaction, …}` | `use sigplane_compat::nix::{sigaction, …}` (feature `nix`) |
//!
//! Not seen: what other code in the process sets by libc's functions. That is what the shim is for; under it
//! this module is not needed.
//!
//! # Invariants
//! * An action that goes to the kernel has a restorer.
//! * The numbers that libc keeps for itself are refused as libc does.
//!
//! # Safety
//! Sets and stacks are libc's types, whose bytes mean what the kernel's do.
#![allow(unsafe_code)]

pub mod c;
#[cfg(feature = "nix")]
pub mod nix;
pub(crate) mod restorer;

use core::ffi::c_int;
use libc::{sighandler_t, sigset_t, stack_t};
use sigplane::legacy::{self, Action};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// The flag that says a restorer is given (asm/signal.h).
const SA_RESTORER: u64 = 0x0400_0000;
/// Numbers 32 and 33, which glibc keeps out of masks.
const INTERNAL: u64 = 0b11 << 31;

type Result<T> = core::result::Result<T, i32>;

fn checked(signal: c_int) -> Result<u64> {
    let taken = 1..=64;
    if !taken.contains(&signal) || INTERNAL & 1 << (signal - 1) != 0 {
        return Err(libc::EINVAL);
    }
    Ok(1 << (signal - 1))
}

/// The kernel's word of a set.
fn bits(set: &sigset_t) -> u64 {
    // SAFETY: a `sigset_t` begins with it (glibc bits/types/__sigset_t.h).
    unsafe { (&raw const *set).cast::<u64>().read() }
}

fn set_of(bits: u64) -> sigset_t {
    // SAFETY: all zero bytes are an empty set.
    let mut set: sigset_t = unsafe { core::mem::zeroed() };
    // SAFETY: as in `bits`.
    unsafe { (&raw mut set).cast::<u64>().write(bits) };
    set
}

fn for_the_kernel(action: &libc::sigaction) -> Action {
    Action {
        handler: action.sa_sigaction,
        // As libc passes it: an `int` made long.
        flags: action.sa_flags as u64 | SA_RESTORER,
        restorer: restorer::address(),
        mask: bits(&action.sa_mask),
    }
}

fn from_the_kernel(action: &Action) -> libc::sigaction {
    // SAFETY: all zero bytes are an action.
    let mut libc_action: libc::sigaction = unsafe { core::mem::zeroed() };
    libc_action.sa_sigaction = action.handler;
    libc_action.sa_flags = action.flags as c_int;
    libc_action.sa_mask = set_of(action.mask);
    let restorer = action.restorer;
    // SAFETY: null is `None`, and another address is only looked at.
    libc_action.sa_restorer =
        unsafe { core::mem::transmute::<usize, Option<extern "C" fn()>>(restorer) };
    libc_action
}

fn exchange(signal: c_int, new: Option<&libc::sigaction>) -> Result<libc::sigaction> {
    checked(signal)?;
    let new = new.map(for_the_kernel);
    legacy::sigaction(signal, new.as_ref()).map(|old| from_the_kernel(&old))
}

/// sigaction(2): sets the action of a signal when `new` is given; the one that it had before.
///
/// # Errors
/// `EINVAL` for a number that is no signal or one of libc's own (32, 33), and for SIGKILL and SIGSTOP if
/// `new` is given. Nothing has changed then.
///
/// # Safety
/// The handler is a function that may run between any two instructions of any thread: it keeps to
/// signal-safety(7), and takes what the flags say that it is given.
///
/// # Async-signal safety
/// Yes.
///
/// # References
/// sigaction(2).
///
/// # Examples
/// ```
/// use sigplane_compat::posix::sigaction;
/// use std::sync::atomic::{AtomicI32, Ordering};
///
/// static GOT: AtomicI32 = AtomicI32::new(0);
/// extern "C" fn handler(signal: i32) {
///     GOT.store(signal, Ordering::Relaxed);
/// }
///
/// // SAFETY: all zero bytes are an action, the default one.
/// let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
/// action.sa_sigaction = handler as extern "C" fn(i32) as usize;
/// action.sa_flags = libc::SA_RESTART;
/// // SAFETY: the handler only stores a number.
/// let before = unsafe { sigaction(libc::SIGUSR1, Some(&action)) }?;
/// assert_eq!(before.sa_sigaction, libc::SIG_DFL);
///
/// // SAFETY: sends a signal to this thread.
/// unsafe { libc::raise(libc::SIGUSR1) };
/// assert_eq!(GOT.load(Ordering::Relaxed), libc::SIGUSR1);
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "rt_sigaction")]
pub unsafe fn sigaction(
    signal: c_int,
    new: Option<&libc::sigaction>,
) -> io::Result<libc::sigaction> {
    exchange(signal, new).map_err(io::Error::from_raw_os_error)
}

/// What `siginterrupt` has said: [`signal`] does not restart the calls that these interrupt.
static INTERRUPTS: AtomicU64 = AtomicU64::new(0);

fn bsd_signal(signal: c_int, handler: sighandler_t) -> Result<sighandler_t> {
    if handler == libc::SIG_ERR {
        return Err(libc::EINVAL);
    }
    let mask = checked(signal)?;
    let restart = INTERRUPTS.load(Ordering::Relaxed) & mask == 0;
    let flags = if restart { libc::SA_RESTART as u64 } else { 0 } | SA_RESTORER;
    let new = Action { handler, flags, restorer: restorer::address(), mask };
    legacy::sigaction(signal, Some(&new)).map(|old| old.handler)
}

/// signal(2), with the semantics of BSD that glibc gives it: the handler stays, the signal is blocked while it
/// runs, and system calls are restarted. The handler before.
///
/// # Errors
/// `EINVAL`, as for [`sigaction`], and for `SIG_ERR`.
///
/// # Safety
/// As for [`sigaction`].
///
/// # Async-signal safety
/// Yes.
///
/// # Examples
/// ```
/// use sigplane_compat::posix::signal;
/// // SAFETY: no handler.
/// let before = unsafe { signal(libc::SIGPIPE, libc::SIG_IGN) }?;
/// // SAFETY: what was there.
/// assert_eq!(unsafe { signal(libc::SIGPIPE, before) }?, libc::SIG_IGN);
/// # std::io::Result::Ok(())
/// ```
pub unsafe fn signal(signal: c_int, handler: sighandler_t) -> io::Result<sighandler_t> {
    bsd_signal(signal, handler).map_err(io::Error::from_raw_os_error)
}

/// siginterrupt(3): whether system calls that this signal interrupts end with `EINTR` (`true`) or are
/// restarted; for the action that is there, and for those that [`signal`] sets from now on.
///
/// # Errors
/// `EINVAL`, as for [`sigaction`].
///
/// # Async-signal safety
/// Yes; a change of the action by another thread in between is lost, as in libc.
///
/// # Examples
/// ```
/// use sigplane_compat::posix::{sigaction, siginterrupt};
/// siginterrupt(libc::SIGUSR2, true)?;
/// // SAFETY: only asks.
/// let action = unsafe { sigaction(libc::SIGUSR2, None) }?;
/// assert_eq!(action.sa_flags & libc::SA_RESTART, 0);
/// # std::io::Result::Ok(())
/// ```
pub fn siginterrupt(signal: c_int, interrupt: bool) -> io::Result<()> {
    interrupts(signal, interrupt).map_err(io::Error::from_raw_os_error)
}

fn interrupts(signal: c_int, interrupt: bool) -> Result<()> {
    let bit = checked(signal)?;
    let mut action = legacy::sigaction(signal, None)?;
    let restart = libc::SA_RESTART as u64;
    if interrupt {
        INTERRUPTS.fetch_or(bit, Ordering::Relaxed);
        action.flags &= !restart;
    } else {
        INTERRUPTS.fetch_and(!bit, Ordering::Relaxed);
        action.flags |= restart;
    }
    action.flags |= SA_RESTORER;
    action.restorer = restorer::address();
    legacy::sigaction(signal, Some(&action)).map(|_| ())
}

fn change_mask(how: c_int, new: Option<&sigset_t>) -> Result<sigset_t> {
    let new = new.map(|new| bits(new) & !INTERNAL);
    sigplane::masks::change(how, new).map(set_of)
}

/// pthread_sigmask(3), which is sigprocmask(2): changes the calling thread's mask when `new` is given; the
/// mask before.
///
/// The signals of faults are kept out of it once they are sigplane's (`sigplane::fault::enable`), but read
/// back as they were set.
///
/// # Errors
/// `EINVAL` if `how` is none of `SIG_BLOCK`, `SIG_UNBLOCK` and `SIG_SETMASK` and `new` is given.
///
/// # Async-signal safety
/// Yes.
///
/// # Examples
/// ```
/// use sigplane_compat::posix::pthread_sigmask;
/// // SAFETY: all zero bytes are an empty set, which is then filled.
/// let all = unsafe {
///     let mut all: libc::sigset_t = std::mem::zeroed();
///     libc::sigfillset(&raw mut all);
///     all
/// };
/// let before = pthread_sigmask(libc::SIG_BLOCK, Some(&all))?;
/// // Nothing interrupts here, but SIGKILL and SIGSTOP.
/// pthread_sigmask(libc::SIG_SETMASK, Some(&before))?;
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "sigprocmask")]
pub fn pthread_sigmask(how: c_int, new: Option<&sigset_t>) -> io::Result<sigset_t> {
    change_mask(how, new).map_err(io::Error::from_raw_os_error)
}

/// sigaltstack(2): sets the calling thread's alternate stack when `new` is given; the one before.
///
/// # Errors
/// `EINVAL` for flags that are none, `ENOMEM` for a stack that is too small, `EPERM` on the stack itself.
///
/// # Safety
/// The memory is the thread's until another stack is set or the thread has ended. A thread that is attached
/// to sigplane, or that `std` has made, has a stack that its end takes away: put that back before.
///
/// # Async-signal safety
/// Yes.
///
/// # Examples
/// ```
/// // SAFETY: only asks.
/// let stack = unsafe { sigplane_compat::posix::sigaltstack(None) }?;
/// assert_eq!(stack.ss_flags & libc::SS_ONSTACK, 0, "we are not on it");
/// # std::io::Result::Ok(())
/// ```
pub unsafe fn sigaltstack(new: Option<&stack_t>) -> io::Result<stack_t> {
    // SAFETY: all zero bytes are a stack.
    let mut old: stack_t = unsafe { core::mem::zeroed() };
    let new = new.map_or(core::ptr::null(), core::ptr::from_ref);
    // SAFETY: `new` is null or the caller's, whose promise covers the memory; `old` is ours.
    let result = unsafe { libc::syscall(libc::SYS_sigaltstack, new, &raw mut old) };
    if result == 0 { Ok(old) } else { Err(io::Error::last_os_error()) }
}
