//! Signals to the calling thread, and what became of them.
//!
//! It is not libc's `raise`, which is declared a leaf and tells nothing: the result says
//! whether the signal was acted upon by the time the call returned.
//!
//! Invariant: the answer is about the calling thread at the moment of the call. Only this
//! thread, or a handler on it, can change its mask or deferral, so it cannot go stale
//! between the question and the signal, unless a handler in between edits the mask.
//!
//! # Safety
//! Two system calls: one takes integers, the other writes eight bytes into a local.
#![allow(unsafe_code)]

use std::ffi::c_long;
use std::ptr;

use super::{SendError, Value, check, own_pid, to_thread_of, to_thread_with};
use crate::set::SignalSet;
use crate::signal::Signal;

/// What became of a signal that a thread sent to itself.
///
/// # Examples
/// ```
/// use sigplane::{Signal, send::{self, Raised}};
///
/// // Ignored by default, so acted upon at once, by doing nothing.
/// assert_eq!(send::raise(Signal::WINCH)?, Raised::Delivered);
/// # Ok::<(), send::SendError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Raised {
    /// The kernel acted upon it: its handler has returned, or it was ignored. Handlers in
    /// other contexts than the immediate one have been handed the event, not more.
    Delivered,
    /// The thread blocks the signal: it is pending, and will be delivered when unblocked.
    Blocked,
    /// The thread is in a deferral ([`defer`](fn@crate::defer)): handlers run when it ends,
    /// and, if the thread blocks the signal besides, not before it is unblocked.
    Deferred,
}

/// Sends `signal` to the calling thread.
///
/// # Errors
/// [`SendError::QueueFull`] for real-time signals.
///
/// # Async-signal safety
/// Async-signal-safe. A failed call sets `errno`.
///
/// # References
/// `raise(3)`, `tgkill(2)`
///
/// # Examples
/// ```
/// use sigplane::{Signal, send::{self, Raised}};
///
/// let (tx, rx) = std::sync::mpsc::channel();
/// let _subscription = sigplane::on(Signal::USR1, move |event| {
///     let _ = tx.send(event.signal());
/// })?;
/// assert_eq!(send::raise(Signal::USR1)?, Raised::Delivered);
/// assert_eq!(rx.recv()?, Signal::USR1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn raise(signal: Signal) -> Result<Raised, SendError> {
    let expected = outlook(signal)?;
    to_thread_of(own_pid(), own_tid(), signal)?;
    Ok(expected)
}

/// Sends `signal` with `value` to the calling thread.
///
/// # Errors
/// [`SendError::QueueFull`].
///
/// # Async-signal safety
/// Async-signal-safe. A failed call sets `errno`.
///
/// # References
/// `pthread_sigqueue(3)`, `rt_tgsigqueueinfo(2)`
///
/// # Examples
/// ```
/// use sigplane::{Signal, send::{self, Value}};
///
/// let (tx, rx) = std::sync::mpsc::channel();
/// let _subscription = sigplane::on(Signal::rt(1)?, move |event| {
///     let _ = tx.send(event.value());
/// })?;
/// send::raise_with(Signal::rt(1)?, Value::from_int(42))?;
/// assert_eq!(rx.recv()?.map(Value::int), Some(42));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn raise_with(signal: Signal, value: Value) -> Result<Raised, SendError> {
    let expected = outlook(signal)?;
    to_thread_with(own_pid(), own_tid(), signal, value)?;
    Ok(expected)
}

/// What will become of `signal`, asked before it is sent.
///
/// The deferral is asked first: while it lasts, the library may block everything itself,
/// and that is not the caller's doing. Faults are never deferred, but a fault signal that
/// is sent is an ordinary one.
fn outlook(signal: Signal) -> Result<Raised, SendError> {
    if crate::defer::is_deferred() {
        return Ok(Raised::Deferred);
    }
    Ok(if own_mask()?.contains(signal) { Raised::Blocked } else { Raised::Delivered })
}

/// The signals that the calling thread blocks.
fn own_mask() -> Result<SignalSet, SendError> {
    let mut mask = 0u64;
    let (how, unchanged) = (c_long::from(libc::SIG_BLOCK), ptr::null::<u64>());
    let (old, size) = (&raw mut mask, size_of::<u64>() as c_long);
    // SAFETY: with a null second argument the call only writes `size` bytes to `old`, a local.
    let result = unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, unchanged, old, size) };
    check("rt_sigprocmask", result)?;
    Ok(SignalSet::from_bits(mask))
}

/// The kernel id of the calling thread.
fn own_tid() -> i32 {
    // SAFETY: takes nothing, cannot fail.
    let tid = unsafe { libc::syscall(libc::SYS_gettid) };
    tid as i32
}
