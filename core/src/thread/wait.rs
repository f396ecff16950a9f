//! Alertable waits: a thread sleeps until something arrives for it.
//!
//! Two ways to sleep, and no lost wake-up in either:
//! * on a futex: the word is `Record::attention` itself, so the kernel compares it once more;
//! * in any other system call: a handler that interrupts the thread between its check of `attention`
//!   and the `syscall` instruction moves it back to the check (`sys::arch::alertable`); the way in
//!   which musl implements cancellation points.
//!
//! Before it sleeps the thread stores how it is to be woken (`Record::state`), then looks at
//! `attention`; whoever alerts it does the reverse (`Record::alert`).
//!
//! A limit: a handler that sigplane does not own (installed by a raw system call) and that is itself
//! interrupted by the doorbell hides the range from it; the wait then lasts until the next signal.
//!
//! # Safety
//! The system call that `alertable_syscall` makes is its caller's; the others pass valid memory.
#![allow(unsafe_code)]

use super::record::{Record, attention, state};
use super::{attached, safe_point};
use crate::sync::Ordering;
use crate::{sys, table};
use core::ffi::c_long;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

/// How a wait ended.
///
/// # Examples
/// ```
/// use sigplane::thread::{self, Wake};
/// use std::time::Instant;
/// assert_eq!(thread::wait(Some(Instant::now())), Wake::Timeout);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Wake {
    /// A handler or closure of this thread ran.
    Work,
    /// The deadline passed first.
    Timeout,
}

/// What [`wait_fd`] waits for.
///
/// # Examples
/// ```
/// use sigplane::thread::Interest;
/// assert_ne!(Interest::READABLE, Interest::WRITABLE);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Interest(i16);

impl Interest {
    /// Data can be read, or the other end is closed.
    pub const READABLE: Self = Self(libc::POLLIN);
    /// Data can be written.
    pub const WRITABLE: Self = Self(libc::POLLOUT);
    /// Either.
    pub const BOTH: Self = Self(libc::POLLIN | libc::POLLOUT);
}

/// How [`wait_fd`] ended.
///
/// # Examples
/// ```
/// use sigplane::thread::{FdWake, Interest, wait_fd};
/// use std::os::fd::AsFd;
/// use std::os::unix::net::UnixStream;
/// let (a, _b) = UnixStream::pair()?;
/// let woken = wait_fd(a.as_fd(), Interest::WRITABLE, None)?;
/// assert!(matches!(woken, FdWake::Ready { writable: true, .. }));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FdWake {
    /// The descriptor is ready. An error or hang-up counts as ready for whatever was asked.
    Ready {
        /// A read will not block.
        readable: bool,
        /// A write will not block.
        writable: bool,
    },
    /// A handler or closure of this thread ran.
    Work,
    /// The deadline passed first.
    Timeout,
}

fn waitable() -> &'static Record {
    let record = attached();
    let can_wait = record.depth.load(Ordering::Relaxed) == 0
        && record.at_safe_point.load(Ordering::Relaxed) == 0;
    assert!(
        can_wait,
        "an alertable wait inside a deferral or inside a thread-context handler would never be woken: \
         leave it first, or use DeferGuard::wait"
    );
    forget_wait(record);
    record
}

/// Clears what a wait has left that a foreign handler ended by `siglongjmp`.
pub(crate) fn forget_wait(record: &Record) {
    record.state.store(state::RUNNING, Ordering::SeqCst);
    record.attention.fetch_and(!attention::DELIVERED, Ordering::SeqCst);
}

/// Waits until a handler or closure has been run on this thread, or the deadline has passed. What is
/// waiting already is run at once.
///
/// # Panics
/// Inside a deferral, and inside a thread-context handler or posted closure: nothing could ever wake
/// it there.
///
/// # Async-signal safety
/// No.
///
/// # Examples
/// ```
/// use sigplane::{Signal, send, thread};
/// let _sub = sigplane::subscribe(Signal::USR1).thread(|event| println!("{event}"))?;
/// send::raise(Signal::USR1)?;
/// assert_eq!(thread::wait(None), thread::Wake::Work);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn wait(deadline: Option<Instant>) -> Wake {
    let record = waitable();
    let deadline = sys::deadline(deadline);
    loop {
        if safe_point::reach(record) > 0 {
            return Wake::Work;
        }
        // ORDERING: SeqCst here and on `attention` below and in `Record::alert`: see there.
        record.state.store(state::WAITING, Ordering::SeqCst);
        let mut in_time = true;
        while in_time && record.attention.load(Ordering::SeqCst) == 0 {
            in_time = sys::futex_wait(&record.attention, 0, deadline);
        }
        record.state.store(state::RUNNING, Ordering::SeqCst);
        if !in_time && record.attention.load(Ordering::SeqCst) & attention::WORK == 0 {
            return Wake::Timeout;
        }
    }
}

/// Waits until the descriptor is ready, work has been run on this thread, or the deadline has passed.
///
/// # Errors
/// Those of ppoll(2), but never `EINTR`; `EBADF` for a descriptor that is not open.
///
/// # Panics
/// As [`wait`].
///
/// # Async-signal safety
/// No.
///
/// # Examples
/// See [`FdWake`].
pub fn wait_fd(
    fd: BorrowedFd<'_>,
    interest: Interest,
    deadline: Option<Instant>,
) -> io::Result<FdWake> {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: interest.0, revents: 0 };
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let mut time = left.map(timespec);
        let time_at = time.as_mut().map_or(0, |time| core::ptr::from_mut(time) as usize);
        let arguments = [&raw mut poll as usize, 1, time_at, 0, 8, 0];
        // SAFETY: ppoll(2) with one pollfd, a time or none, and no mask.
        match unsafe { alertable(libc::SYS_ppoll, arguments) } {
            Alerted::Ran => return Ok(FdWake::Work),
            Alerted::Returned(0) => return Ok(FdWake::Timeout),
            Alerted::Returned(_) if poll.revents & libc::POLLNVAL != 0 => {
                return Err(io::Error::from_raw_os_error(libc::EBADF));
            }
            Alerted::Returned(result) if result > 0 => {
                let failed = poll.revents & (libc::POLLERR | libc::POLLHUP) != 0;
                let is = |bit: i16| interest.0 & bit != 0 && (failed || poll.revents & bit != 0);
                return Ok(FdWake::Ready {
                    readable: is(libc::POLLIN),
                    writable: is(libc::POLLOUT),
                });
            }
            Alerted::Returned(error) if error == -(libc::EINTR as isize) => {}
            Alerted::Returned(error) => return Err(io::Error::from_raw_os_error(-error as i32)),
        }
    }
}

fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: duration.as_secs().min(i64::MAX as u64) as i64,
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

/// Makes any blocking system call, interrupted without a race by work that arrives for this thread:
/// closures posted to it, events of its thread-context subscriptions.
///
/// `number` is a system call number (`libc::SYS_read`, …); unused arguments are 0.
///
/// # Errors
/// * [`io::ErrorKind::Interrupted`] when work arrived before the call had done anything; it has been
///   run when this returns. Also when the kernel says so for a signal whose handler was installed
///   without `SA_RESTART`, as without sigplane.
/// * Whatever else the system call fails with.
///
/// When the call itself has completed, its result is returned, and work that arrived meanwhile is run
/// first all the same.
///
/// # Safety
/// The system call must be sound with these arguments. It must return to its caller: no `exit`,
/// `rt_sigreturn`, `clone` with a new stack, `vfork`.
///
/// # Panics
/// As [`wait`].
///
/// # Async-signal safety
/// No.
///
/// # Examples
/// ```
/// use sigplane::{Signal, send, thread};
/// use std::io::ErrorKind;
/// use std::os::fd::AsRawFd;
/// let _sub = sigplane::subscribe(Signal::USR1).thread(|_| ())?;
/// let (reader, _writer) = std::io::pipe()?;
/// send::raise(Signal::USR1)?; // before the read: the work is not missed
/// let mut byte = 0u8;
/// let arguments = [reader.as_raw_fd() as usize, &raw mut byte as usize, 1, 0, 0, 0];
/// // SAFETY: reads at most one byte into `byte`.
/// let result = unsafe { thread::alertable_syscall(libc::SYS_read, arguments) };
/// assert_eq!(result.unwrap_err().kind(), ErrorKind::Interrupted);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub unsafe fn alertable_syscall(number: c_long, arguments: [usize; 6]) -> io::Result<usize> {
    // SAFETY: the caller's promise.
    match unsafe { alertable(number, arguments) } {
        Alerted::Ran => Err(io::Error::from_raw_os_error(libc::EINTR)),
        Alerted::Returned(result) if result < 0 => {
            Err(io::Error::from_raw_os_error(-result as i32))
        }
        Alerted::Returned(result) => Ok(result as usize),
    }
}

enum Alerted {
    /// The call was not made, or was interrupted before it did anything, and work has been run.
    Ran,
    /// What the kernel returned.
    Returned(isize),
}

/// # Safety
/// As for [`alertable_syscall`].
unsafe fn alertable(number: c_long, arguments: [usize; 6]) -> Alerted {
    let record = waitable();
    if safe_point::reach(record) > 0 || table::pin_doorbell().is_err() {
        return Alerted::Ran;
    }
    // The bell must get through, whatever the thread's mask is.
    let bell = sys::bit(crate::delivery::doorbell::SIGNAL);
    let mask = sys::unblock(bell);
    record.state.store(state::IN_SYSCALL, Ordering::SeqCst);
    // SAFETY: the caller's promise; the record is never freed.
    let result = unsafe { sys::arch::alertable(record.attention.as_ptr(), number, &arguments) };
    record.state.store(state::RUNNING, Ordering::SeqCst);
    if mask & bell != 0 {
        sys::block(bell);
    }
    let ran = safe_point::reach(record);
    if ran > 0 && result == -(libc::EINTR as isize) {
        Alerted::Ran
    } else {
        Alerted::Returned(result)
    }
}
