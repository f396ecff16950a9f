//! Stands in for the published `signal-hook-registry`, with sigplane's table under it.
//!
//! A program that uses tokio, signal-hook, async-signal or anything else that registers here moves to
//! sigplane with two lines in its `Cargo.toml`, and with no change to those crates or to itself:
//!
//! ```toml
//! [patch.crates-io]
//! signal-hook-registry = { path = "…/sigplane/compat/registry" }
//! ```
//!
//! If it also depends on `sigplane` itself, that must come from the same place (`path = "…/sigplane/core"`):
//! two copies would be two tables, each a foreign handler to the other.
//!
//! From then on the actions registered here are entries of the same chains as sigplane's subscriptions:
//! [`sigplane::table()`] shows them, and nobody takes a signal from anybody.
//!
//! # What is as its users know it
//! * Actions run in the signal handler, on the thread that got the signal, in the order of registration.
//! * A handler that the program had before runs first, with its own mask, and then the actions.
//! * A signal that was registered once **stays caught** when its last action is gone: it is received and
//!   nothing happens. signal-hook and tokio promise that to their users. Programs that want the default back
//!   use sigplane's own subscriptions, which give it back.
//! * `errno` is kept; system calls are restarted (`SA_RESTART`), unless a handler that was there before did
//!   not want that.
//! * [`unregister`] returns when the action is not running and will not run again.
//! * [`FORBIDDEN`] signals are refused with a panic, those that do not exist with `EINVAL`.
//!
//! # What is better
//! * [`unregister`] and [`unregister_signal`] may be called in an action, also for the action itself: they
//!   are async-signal-safe there, and do not wait.
//! * A handler that was there before may leave by `siglongjmp`: nothing is held while it runs. The actions
//!   behind it miss that delivery, as the return to the interrupted code does.
//! * A handler that somebody puts in place behind our back is taken into the chain by the next registration
//!   of the signal, instead of keeping it for ever.
//!
//! # What is different
//! * All asynchronous signals are blocked while an action runs. One that it raises itself is delivered when
//!   the actions are done, and not on top of them.
//! * In a sigplane deferral actions wait until its end, as every handler does.
//! * A `vfork` child cannot register: it would change its parent's table.
//!
//! # Examples
//! ```
//! use std::sync::atomic::{AtomicUsize, Ordering};
//! static HANGUPS: AtomicUsize = AtomicUsize::new(0);
//! // SAFETY: adds to an atomic, which is async-signal-safe.
//! let id = unsafe {
//!     signal_hook_registry::register(1, || {
//!         HANGUPS.fetch_add(1, Ordering::SeqCst);
//!     })
//! }?;
//! sigplane::send::raise(sigplane::Signal::HUP)?;
//! assert_eq!(HANGUPS.load(Ordering::SeqCst), 1);
//! assert!(signal_hook_registry::unregister(id));
//! sigplane::send::raise(sigplane::Signal::HUP)?; // Still caught: nothing happens.
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(unsafe_code)]

mod keep;
mod roll;

use libc::{SIGFPE, SIGILL, SIGKILL, SIGSEGV, SIGSTOP, c_int, siginfo_t};
use sigplane::{Delivery, Error, Place, Signal, Subscription, Verdict};
use std::io;

/// The signals that the checked functions refuse: two that cannot be caught, and three that report what
/// the running code did, which an action that cannot see the machine context can hardly mend.
pub const FORBIDDEN: &[c_int] = &[SIGKILL, SIGSTOP, SIGILL, SIGFPE, SIGSEGV];

/// A registered action, for [`unregister`]. Later registrations are greater within a signal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SigId {
    signal: c_int,
    action: roll::Ticket,
}

/// Runs `action` in the signal handler whenever the signal arrives, after those that are registered already.
///
/// # Panics
/// For the signals in [`FORBIDDEN`].
///
/// # Errors
/// `EINVAL` for a number that is no signal or is libc's own, and what the kernel says. After an error nothing
/// is registered.
///
/// # Safety
/// `action` interrupts any code of any thread: it must do only what is async-signal-safe
/// (signal-safety(7)), and must neither panic nor leave by a jump. It may end the process by `_exit`.
///
/// # Async-signal safety
/// The call itself: no.
///
/// # Examples
/// See the [crate](crate).
#[allow(unsafe_code)]
#[track_caller]
pub unsafe fn register<F>(signal: c_int, action: F) -> io::Result<SigId>
where
    F: Fn() + Sync + Send + 'static,
{
    // SAFETY: the caller's promise.
    unsafe { register_sigaction(signal, move |_| action()) }
}

/// As [`register`], with the kernel's information about the signal.
///
/// # Panics
/// For the signals in [`FORBIDDEN`].
///
/// # Errors
/// As [`register`].
///
/// # Safety
/// As [`register`].
#[allow(unsafe_code)]
#[track_caller]
pub unsafe fn register_sigaction<F>(signal: c_int, action: F) -> io::Result<SigId>
where
    F: Fn(&siginfo_t) + Sync + Send + 'static,
{
    assert!(
        !FORBIDDEN.contains(&signal),
        "signal {signal} is one of FORBIDDEN: `register_unchecked` takes those that can be caught at all"
    );
    // SAFETY: the caller's promise.
    unsafe { register_unchecked(signal, action) }
}

/// As [`register`], without regard to [`FORBIDDEN`].
///
/// When a fault has brought the signal, all actions run and the instruction is tried again: an action that
/// changes nothing is called for ever. Fixups, guarded calls, regions and code ranges of sigplane go first.
///
/// # Errors
/// As [`register`]; `EINVAL` also for SIGKILL and SIGSTOP.
///
/// # Safety
/// As [`register`].
#[allow(unsafe_code)]
#[track_caller]
pub unsafe fn register_signal_unchecked<F>(signal: c_int, action: F) -> io::Result<SigId>
where
    F: Fn() + Sync + Send + 'static,
{
    // SAFETY: the caller's promise.
    unsafe { register_unchecked(signal, move |_| action()) }
}

/// As [`register_sigaction`], without regard to [`FORBIDDEN`]; see [`register_signal_unchecked`].
///
/// # Errors
/// As [`register_signal_unchecked`].
///
/// # Safety
/// As [`register`].
#[allow(unsafe_code)]
#[track_caller]
pub unsafe fn register_unchecked<F>(signal: c_int, action: F) -> io::Result<SigId>
where
    F: Fn(&siginfo_t) + Sync + Send + 'static,
{
    let number = signal;
    let signal = Signal::try_from(signal).map_err(refusal)?;
    let run = move |delivery: &mut Delivery<'_>| {
        action(delivery.info());
        // Of a fault, the entry that handles is the last one asked: the other actions want their turn, so
        // the keeper says it for all of them.
        if delivery.is_fault() { Verdict::Pass } else { Verdict::Handled }
    };
    let builder = sigplane::subscribe(signal).place(Place::AfterLegacy);
    // SAFETY: the caller's promise; `run` adds nothing to it.
    let subscription: Subscription = unsafe { builder.immediate(run) }.map_err(refusal)?;
    // Only now, so that a signal that comes meanwhile has its action or its default, and is not swallowed.
    keep::keep(signal).map_err(refusal)?;
    Ok(SigId { signal: number, action: roll::enter(number, subscription) })
}

/// Ends an action. True if it was there, false if it had been ended before.
///
/// When it returns true the action is not running and will not run again, and what it owned has been
/// dropped. In an action (that one, or any other) it does not wait: the action is not called any more, and
/// what it owned is dropped by the next call that registers or unregisters in ordinary code.
///
/// The signal stays caught; see the [crate](crate).
///
/// # Async-signal safety
/// Yes, in actions registered here and in sigplane's immediate handlers. In other handlers no.
///
/// # Examples
/// ```
/// // SAFETY: does nothing.
/// let id = unsafe { signal_hook_registry::register(10, || ()) }?;
/// assert!(signal_hook_registry::unregister(id));
/// assert!(!signal_hook_registry::unregister(id));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn unregister(id: SigId) -> bool {
    roll::leave(id.action).is_some()
}

/// Ends all actions of a signal, whoever registered them. True if there were any.
///
/// # Async-signal safety
/// As [`unregister`].
#[deprecated(
    since = "1.3.0",
    note = "it ends other parties' actions: keep the ids and use `unregister`"
)]
#[doc(hidden)]
pub fn unregister_signal(signal: c_int) -> bool {
    roll::leave_all(signal) > 0
}

/// What users of this interface expect of a number that the kernel does not take: tokio, for one, passes on
/// the error's number.
fn refusal(error: Error) -> io::Error {
    match error {
        Error::Uncatchable(_) | Error::ReservedByLibc(_) | Error::OutOfRange(_) => {
            io::Error::from_raw_os_error(libc::EINVAL)
        }
        other => other.into(),
    }
}
