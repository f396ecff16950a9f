//! The functions of `nix::sys::signal` that concern dispositions and masks, on sigplane's table: a program
//! writes `sigplane_compat::nix` where it had `nix::sys::signal`, and changes nothing else. Types, and
//! functions that need no wrapper (`kill`, `raise`, …), are nix's own.
//!
//! Methods of nix's types stay nix's: `SigSet::thread_block`, `thread_set_mask` and the like set the mask by
//! libc. Write `pthread_sigmask` where the signals of faults are sigplane's and may be in the set.
//!
//! # Safety
//! `SigAction` and `SigSet` are `repr(transparent)` over libc's types (nix 0.31, `sys/signal.rs`).
#![allow(unsafe_code)]

pub use ::nix::sys::signal::*;

use ::nix::Result;
use ::nix::errno::Errno;

/// What was set, in nix's type, with every flag and bit that it had.
fn wrapped(action: libc::sigaction) -> SigAction {
    // SAFETY: transparent over libc's type. That the handler is a function is the promise of whoever set it,
    // as in nix.
    unsafe { core::mem::transmute::<libc::sigaction, SigAction>(action) }
}

fn wrapped_set(set: libc::sigset_t) -> SigSet {
    // SAFETY: made by `super`, from a word of the kernel's.
    unsafe { SigSet::from_sigset_t_unchecked(set) }
}

/// As [`nix::sys::signal::sigaction`](::nix::sys::signal::sigaction): sets the action; the one before.
///
/// # Errors
/// `EINVAL` for SIGKILL and SIGSTOP.
///
/// # Safety
/// As for nix's: the handler keeps to signal-safety(7).
///
/// # Async-signal safety
/// Yes.
///
/// # Examples
/// ```
/// use sigplane_compat::nix::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
/// let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::SA_RESTART, SigSet::empty());
/// // SAFETY: no handler.
/// let before = unsafe { sigaction(Signal::SIGUSR1, &ignore) }?;
/// // SAFETY: what was there.
/// let ignored = unsafe { sigaction(Signal::SIGUSR1, &before) }?;
/// assert!(matches!(ignored.handler(), SigHandler::SigIgn));
/// # nix::Result::Ok(())
/// ```
pub unsafe fn sigaction(signal: Signal, sigaction: &SigAction) -> Result<SigAction> {
    let new = libc::sigaction::from(*sigaction);
    super::exchange(signal as i32, Some(&new)).map(wrapped).map_err(Errno::from_raw)
}

/// As [`nix::sys::signal::signal`](::nix::sys::signal::signal).
///
/// # Errors
/// `ENOTSUP` for a handler of three arguments, `EINVAL` for SIGKILL and SIGSTOP.
///
/// # Safety
/// As for nix's: the handler keeps to signal-safety(7), and what was there is called by nobody as a handler
/// of one argument if it takes three.
///
/// # Async-signal safety
/// Yes.
///
/// # Examples
/// ```
/// use sigplane_compat::nix::{SigHandler, Signal, signal};
/// // SAFETY: no handler.
/// unsafe { signal(Signal::SIGUSR2, SigHandler::SigIgn) }?;
/// # nix::Result::Ok(())
/// ```
pub unsafe fn signal(signal: Signal, handler: SigHandler) -> Result<SigHandler> {
    let handler = match handler {
        SigHandler::SigDfl => libc::SIG_DFL,
        SigHandler::SigIgn => libc::SIG_IGN,
        SigHandler::Handler(function) => function as usize,
        SigHandler::SigAction(_) => return Err(Errno::ENOTSUP),
    };
    super::bsd_signal(signal as i32, handler).map_err(Errno::from_raw).map(|old| match old {
        libc::SIG_DFL => SigHandler::SigDfl,
        libc::SIG_IGN => SigHandler::SigIgn,
        old => {
            // SAFETY: a function, by the promise of whoever set it.
            let function =
                unsafe { core::mem::transmute::<usize, extern "C" fn(libc::c_int)>(old) };
            SigHandler::Handler(function)
        }
    })
}

/// As [`nix::sys::signal::pthread_sigmask`](::nix::sys::signal::pthread_sigmask).
///
/// # Errors
/// None that `how` allows.
///
/// # Async-signal safety
/// Yes.
///
/// # Examples
/// ```
/// use sigplane_compat::nix::{SigSet, SigmaskHow, Signal, pthread_sigmask};
/// let mut before = SigSet::empty();
/// pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&Signal::SIGUSR1.into()), Some(&mut before))?;
/// pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
/// # nix::Result::Ok(())
/// ```
pub fn pthread_sigmask(
    how: SigmaskHow,
    set: Option<&SigSet>,
    oldset: Option<&mut SigSet>,
) -> Result<()> {
    let before = super::change_mask(how as i32, set.map(AsRef::as_ref)).map_err(Errno::from_raw)?;
    if let Some(old) = oldset {
        *old = wrapped_set(before);
    }
    Ok(())
}

/// As [`nix::sys::signal::sigprocmask`](::nix::sys::signal::sigprocmask): the same as [`pthread_sigmask`].
///
/// # Errors
/// None that `how` allows.
///
/// # Async-signal safety
/// Yes.
pub fn sigprocmask(
    how: SigmaskHow,
    set: Option<&SigSet>,
    oldset: Option<&mut SigSet>,
) -> Result<()> {
    pthread_sigmask(how, set, oldset)
}
