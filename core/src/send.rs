//! Sending signals: to processes, threads, groups, and to oneself.
//!
//! It is not a part of the table or of the delivery path: nothing here looks at who is
//! subscribed. It is the kernel's interface with types, and with the traps taken out.
//!
//! Invariants:
//! - no identifier that makes the kernel broadcast (0, -1, other negative numbers, and
//!   group 1) reaches a system call: it is refused as [`SendError::InvalidTarget`];
//! - the caller's identity in a queued signal is the true one;
//! - nothing allocates, locks or waits.
//!
//! # Which function
//! | to | plain | with a [`Value`] |
//! |---|---|---|
//! | a process | [`to_process`] | [`to_process_with`] |
//! | a process that may end meanwhile | [`PidFd::send`] | [`PidFd::send_with`] |
//! | a thread of this process | [`to_thread`] | [`to_thread_with`] |
//! | a thread of any process | [`to_thread_of`] | [`to_thread_with`] |
//! | a process group | [`to_group`], [`to_own_group`] | |
//! | the calling thread | [`raise`] | [`raise_with`] |
//!
//! # What can be lost
//! The kernel keeps one pending instance of a standard signal; a second one, and its
//! value, is dropped without an error. Real-time signals are queued one by one, up to the
//! receiver's `RLIMIT_SIGPENDING`: beyond it a send with a value, or to a thread, fails
//! with [`SendError::QueueFull`], but a plain send to a process or group succeeds and is
//! merged with what is pending.
//!
//! # Async-signal safety
//! Every function of this module is async-signal-safe. A failed one sets `errno`.
//!
//! # Safety
//! The unsafe blocks are system calls that take integers, or a pointer to a local value
//! of the size that the kernel reads (asserted for `QueueInfo`).
#![allow(unsafe_code)]

mod error;
mod pidfd;
mod raise;
#[cfg(test)]
mod tests;
mod value;

use std::ffi::{c_int, c_long};

use crate::signal::Signal;

pub use error::SendError;
pub use pidfd::PidFd;
pub use raise::{Raised, raise, raise_with};
pub use value::Value;

/// Sends `signal` to the process `pid`; one of its threads will receive it.
///
/// # Errors
/// [`SendError::InvalidTarget`] if `pid` is not positive, [`SendError::NoSuchProcess`],
/// [`SendError::PermissionDenied`].
///
/// # References
/// `kill(2)`
///
/// # Examples
/// ```
/// use sigplane::{Signal, send};
///
/// let mut child = std::process::Command::new("sleep").arg("60").spawn()?;
/// send::to_process(child.id() as i32, Signal::TERM)?;
/// assert!(!child.wait()?.success());
/// assert_eq!(send::to_process(-1, Signal::TERM), Err(send::SendError::InvalidTarget(-1)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "kill")]
pub fn to_process(pid: i32, signal: Signal) -> Result<(), SendError> {
    kill(positive(pid)?, signal)
}

/// Sends `signal` with `value` to the process `pid`.
///
/// # Errors
/// As [`to_process`], and [`SendError::QueueFull`].
///
/// # References
/// `sigqueue(3)`, `rt_sigqueueinfo(2)`
///
/// # Examples
/// ```
/// use sigplane::{Signal, send::{self, Value}};
///
/// let mut child = std::process::Command::new("sleep").arg("60").spawn()?;
/// send::to_process_with(child.id() as i32, Signal::rt(0)?, Value::from_int(1))?;
/// assert!(!child.wait()?.success());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias("sigqueue", "rt_sigqueueinfo"))]
pub fn to_process_with(pid: i32, signal: Signal, value: Value) -> Result<(), SendError> {
    let pid = positive(pid)?;
    let info = QueueInfo::new(signal, value);
    let number = c_long::from(signal.number());
    // SAFETY: `info` is a live value of the size and layout of the kernel's siginfo_t.
    let result = unsafe { libc::syscall(libc::SYS_rt_sigqueueinfo, pid, number, &raw const info) };
    check("rt_sigqueueinfo", result)?;
    Ok(())
}

/// Sends `signal` to the thread `tid` (a kernel id) of the calling process.
///
/// # Errors
/// [`SendError::InvalidTarget`] if `tid` is not positive, [`SendError::NoSuchProcess`] if
/// this process has no such thread, [`SendError::QueueFull`] for real-time signals.
///
/// # References
/// `tgkill(2)`
///
/// # Examples
/// ```
/// use sigplane::{Signal, send};
///
/// let (tx, rx) = std::sync::mpsc::channel();
/// let _subscription = sigplane::on(Signal::USR1, move |event| {
///     let _ = tx.send(event.thread());
/// })?;
/// // SAFETY: gettid has no preconditions.
/// let tid = unsafe { libc::gettid() };
/// send::to_thread(tid, Signal::USR1)?;
/// assert_eq!(rx.recv()?, tid);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias("tgkill", "pthread_kill"))]
pub fn to_thread(tid: i32, signal: Signal) -> Result<(), SendError> {
    to_thread_of(own_pid(), tid, signal)
}

/// Sends `signal` to the thread `tid` of the process `pid`.
///
/// # Errors
/// As [`to_process`] and [`to_thread`].
///
/// # References
/// `tgkill(2)`
///
/// # Examples
/// ```
/// use sigplane::{Signal, send};
///
/// let mut child = std::process::Command::new("sleep").arg("60").spawn()?;
/// let pid = child.id() as i32; // also the id of its first thread
/// send::to_thread_of(pid, pid, Signal::TERM)?;
/// assert!(!child.wait()?.success());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "tgkill")]
pub fn to_thread_of(pid: i32, tid: i32, signal: Signal) -> Result<(), SendError> {
    let (pid, tid, number) = (positive(pid)?, positive(tid)?, c_long::from(signal.number()));
    // SAFETY: takes integers only.
    let result = unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, number) };
    check("tgkill", result)?;
    Ok(())
}

/// Sends `signal` with `value` to the thread `tid` of the process `pid`.
///
/// # Errors
/// As [`to_thread_of`].
///
/// # References
/// `pthread_sigqueue(3)`, `rt_tgsigqueueinfo(2)`
///
/// # Examples
/// ```
/// use sigplane::{Signal, send::{self, SendError, Value}};
///
/// let refused = send::to_thread_with(0, 0, Signal::USR1, Value::from_int(1));
/// assert_eq!(refused, Err(SendError::InvalidTarget(0)));
/// ```
#[doc(alias("pthread_sigqueue", "rt_tgsigqueueinfo"))]
pub fn to_thread_with(pid: i32, tid: i32, signal: Signal, value: Value) -> Result<(), SendError> {
    let (pid, tid, number) = (positive(pid)?, positive(tid)?, c_long::from(signal.number()));
    let info = QueueInfo::new(signal, value);
    let info = &raw const info;
    // SAFETY: `info` points to a live value of the size and layout of the kernel's siginfo_t.
    let result = unsafe { libc::syscall(libc::SYS_rt_tgsigqueueinfo, pid, tid, number, info) };
    check("rt_tgsigqueueinfo", result)?;
    Ok(())
}

/// Sends `signal` to every process of the group `pgid` that the caller may send to.
///
/// # Errors
/// [`SendError::InvalidTarget`] if `pgid` is not above 1: the kernel takes group 0 for
/// the caller's own ([`to_own_group`]), and group 1 cannot be told from "everybody".
/// [`SendError::NoSuchProcess`], [`SendError::PermissionDenied`] if no process may be
/// sent to.
///
/// # References
/// `killpg(3)`, `kill(2)`
///
/// # Examples
/// ```
/// use std::os::unix::process::CommandExt;
/// use sigplane::{Signal, send};
///
/// let mut child = std::process::Command::new("sleep").arg("60").process_group(0).spawn()?;
/// send::to_group(child.id() as i32, Signal::TERM)?;
/// assert!(!child.wait()?.success());
/// assert!(send::to_group(1, Signal::TERM).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "killpg")]
pub fn to_group(pgid: i32, signal: Signal) -> Result<(), SendError> {
    match pgid {
        2.. => kill(-c_long::from(pgid), signal),
        _ => Err(SendError::InvalidTarget(pgid)),
    }
}

/// Sends `signal` to every process of the caller's own group, the caller included.
///
/// # Errors
/// None that depend on the caller; [`SendError::Os`] for what the kernel may invent.
///
/// # References
/// `kill(2)` with pid 0
///
/// # Examples
/// ```
/// // SIGWINCH is ignored by default, so nobody in the group is hurt.
/// sigplane::send::to_own_group(sigplane::Signal::WINCH)?;
/// # Ok::<(), sigplane::send::SendError>(())
/// ```
pub fn to_own_group(signal: Signal) -> Result<(), SendError> {
    kill(0, signal)
}

/// `kill(2)` as it is; callers have made sure that `pid` is what they mean.
fn kill(pid: c_long, signal: Signal) -> Result<(), SendError> {
    // SAFETY: takes integers only.
    let result = unsafe { libc::syscall(libc::SYS_kill, pid, c_long::from(signal.number())) };
    check("kill", result)?;
    Ok(())
}

/// `id` as a system call's argument, if it names one process or thread.
fn positive(id: i32) -> Result<c_long, SendError> {
    if id > 0 { Ok(c_long::from(id)) } else { Err(SendError::InvalidTarget(id)) }
}

/// The id of the calling process: asked each time, so true in a `vfork` child as well.
fn own_pid() -> i32 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::getpid() }
}

/// The one place where a system call's -1 is turned into an error.
fn check(call: &'static str, result: c_long) -> Result<c_long, SendError> {
    if result == -1 { Err(SendError::last(call)) } else { Ok(result) }
}

/// A `siginfo_t` of a queued signal, member `_rt` of the union; the kernel's
/// `include/uapi/asm-generic/siginfo.h` for 64-bit targets.
#[repr(C)]
struct QueueInfo {
    signo: c_int,
    errno: c_int,
    code: c_int,
    padding: c_int,
    pid: libc::pid_t,
    uid: libc::uid_t,
    value: Value,
    rest: [u64; 12],
}

const _: () = assert!(size_of::<QueueInfo>() == size_of::<libc::siginfo_t>());

impl QueueInfo {
    /// As `sigqueue(3)` fills it in.
    fn new(signal: Signal, value: Value) -> QueueInfo {
        QueueInfo {
            signo: signal.number(),
            errno: 0,
            code: libc::SI_QUEUE,
            padding: 0,
            pid: own_pid(),
            // SAFETY: takes nothing, cannot fail.
            uid: unsafe { libc::getuid() },
            value,
            rest: [0; 12],
        }
    }
}
