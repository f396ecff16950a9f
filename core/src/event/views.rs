//! What comes along with a signal, by cause: sender, child, timer, descriptor, call.
//!
//! It is not the reading of memory (`fields.rs`) and not the decision which view an event
//! has (`cause.rs`). Faults have a file of their own.
//!
//! Invariants: views are plain copies; making one neither fails nor panics, whatever a
//! sender wrote into its `siginfo_t`.
//!
//! # Safety
//! One unsafe block asks `sysconf` for the length of a clock tick.
#![allow(unsafe_code)]

use std::fmt;
use std::time::Duration;

use libc::siginfo_t;

use super::fields;
use crate::signal::Signal;

/// The process that sent a signal.
///
/// With [`Cause::User`](crate::Cause::User) and [`Cause::Thread`](crate::Cause::Thread)
/// the kernel filled this in. With the others the sender did, and may have lied.
///
/// # Examples
/// ```
/// use sigplane::Signal;
///
/// let (tx, rx) = std::sync::mpsc::channel();
/// let _subscription = sigplane::on(Signal::USR2, move |event| {
///     let _ = tx.send(event.sender());
/// })?;
/// sigplane::send::raise(Signal::USR2)?;
/// let sender = rx.recv()?.expect("raise has a sender");
/// assert_eq!(sender.pid as u32, std::process::id());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sender {
    /// Its process id; 0 for a process outside this one's pid namespace.
    pub pid: i32,
    /// Its real user id.
    pub uid: u32,
}

/// What happened to a child process.
///
/// # Examples
/// ```
/// use sigplane::{ChildStatus, Signal};
///
/// let (tx, rx) = std::sync::mpsc::channel();
/// let _subscription = sigplane::on(Signal::CHLD, move |event| {
///     let _ = tx.send(event.child());
/// })?;
/// let mut process = std::process::Command::new("sh").args(["-c", "exit 3"]).spawn()?;
/// let child = rx.recv()?.expect("a child ended");
/// assert_eq!(child.pid as u32, process.id());
/// assert_eq!(child.status, ChildStatus::Exited(3));
/// process.wait()?; // the event does not reap the child
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Child {
    /// Its process id.
    pub pid: i32,
    /// Its real user id.
    pub uid: u32,
    /// What happened.
    pub status: ChildStatus,
    /// Processor time it spent in user mode, without that of its own children.
    pub user_time: Duration,
    /// Processor time it spent in the kernel, without that of its own children.
    pub system_time: Duration,
}

/// How a child ended, or how it changed. Signals are numbers here, because a child can
/// die of one that [`Signal`] cannot hold; [`signal`](Self::signal) converts.
///
/// # References
/// `sigaction(2)`, the `CLD_` codes; `waitid(2)`
///
/// # Examples
/// ```
/// use sigplane::{ChildStatus, Signal};
///
/// assert_eq!(ChildStatus::Killed(9).signal(), Some(Signal::KILL));
/// assert_eq!(ChildStatus::Killed(9).to_string(), "killed by SIGKILL");
/// assert!(ChildStatus::Exited(1).has_ended());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChildStatus {
    /// It called `exit` with this status.
    Exited(i32),
    /// This signal killed it.
    Killed(i32),
    /// This signal killed it, and it left a core dump.
    Dumped(i32),
    /// It is traced, and this signal or event stopped it.
    Trapped(i32),
    /// This signal stopped it.
    Stopped(i32),
    /// It continued, after this signal (`SIGCONT`).
    Continued(i32),
}

impl ChildStatus {
    /// The signal that killed, stopped or continued the child.
    #[must_use]
    pub fn signal(self) -> Option<Signal> {
        match self {
            ChildStatus::Exited(_) => None,
            ChildStatus::Killed(number)
            | ChildStatus::Dumped(number)
            | ChildStatus::Trapped(number)
            | ChildStatus::Stopped(number)
            | ChildStatus::Continued(number) => Signal::try_from(number).ok(),
        }
    }

    /// Whether the child is gone, and can be reaped.
    #[must_use]
    pub const fn has_ended(self) -> bool {
        matches!(self, ChildStatus::Exited(_) | ChildStatus::Killed(_) | ChildStatus::Dumped(_))
    }

    fn of(code: i32, status: i32) -> Option<ChildStatus> {
        Some(match code {
            libc::CLD_EXITED => ChildStatus::Exited(status),
            libc::CLD_KILLED => ChildStatus::Killed(status),
            libc::CLD_DUMPED => ChildStatus::Dumped(status),
            libc::CLD_TRAPPED => ChildStatus::Trapped(status),
            libc::CLD_STOPPED => ChildStatus::Stopped(status),
            libc::CLD_CONTINUED => ChildStatus::Continued(status),
            _ => return None,
        })
    }
}

impl fmt::Display for ChildStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, number) = match *self {
            ChildStatus::Exited(status) => return write!(f, "exited with status {status}"),
            ChildStatus::Killed(number) => ("killed", number),
            ChildStatus::Dumped(number) => ("killed, with a core dump,", number),
            ChildStatus::Trapped(number) => ("trapped", number),
            ChildStatus::Stopped(number) => ("stopped", number),
            ChildStatus::Continued(number) => ("continued", number),
        };
        match self.signal() {
            Some(signal) => write!(f, "{what} by {signal}"),
            None => write!(f, "{what} by signal {number}"),
        }
    }
}

/// A POSIX timer that expired.
///
/// # Examples
/// ```
/// fn missed(event: &sigplane::Event) -> i32 {
///     event.timer().map_or(0, |timer| timer.overrun)
/// }
/// # let (tx, rx) = std::sync::mpsc::channel();
/// # let _s = sigplane::on(sigplane::Signal::USR1, move |event| tx.send(missed(event)).unwrap())?;
/// # sigplane::send::raise(sigplane::Signal::USR1)?;
/// # assert_eq!(rx.recv()?, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timer {
    /// The kernel's id of the timer. libc's `timer_t` need not be the same number.
    pub id: i32,
    /// How many further expirations this one instance stands for.
    pub overrun: i32,
}

/// A descriptor on which something became possible.
///
/// # References
/// `fcntl(2)`: `F_SETOWN`, `F_SETSIG`
///
/// # Examples
/// ```
/// fn readable(event: &sigplane::Event) -> Option<i32> {
///     event.poll().filter(|poll| poll.band & i64::from(libc::POLLIN) != 0).map(|poll| poll.fd)
/// }
/// # let _ = readable;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Poll {
    /// What is possible, as `POLLIN`, `POLLOUT`… of `poll(2)`.
    pub band: i64,
    /// The descriptor, as it was numbered when the signal was set up.
    pub fd: i32,
}

/// A system call that a filter caught instead of running it.
///
/// # References
/// `seccomp(2)`: `SECCOMP_RET_TRAP`; `prctl(2)`: `PR_SET_SYSCALL_USER_DISPATCH`
///
/// # Examples
/// ```
/// fn blocked(event: &sigplane::Event) -> Option<i32> {
///     event.syscall().map(|call| call.number)
/// }
/// # let _ = blocked;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SysCall {
    /// Where the call was made: the address after the instruction.
    pub address: usize,
    /// The number of the call, in the numbering of `arch`.
    pub number: i32,
    /// The architecture, as `AUDIT_ARCH_X86_64`… of `linux/audit.h`.
    pub arch: u32,
    /// The 16 bits that the filter returned with `SECCOMP_RET_TRAP` (`si_errno`).
    pub data: i32,
}

impl Sender {
    pub(super) fn of(info: &siginfo_t) -> Sender {
        Sender { pid: fields::pid(info), uid: fields::uid(info) }
    }
}

impl Child {
    pub(super) fn of(info: &siginfo_t) -> Option<Child> {
        Some(Child {
            pid: fields::pid(info),
            uid: fields::uid(info),
            status: ChildStatus::of(info.si_code, fields::status(info))?,
            user_time: from_ticks(fields::user_ticks(info)),
            system_time: from_ticks(fields::system_ticks(info)),
        })
    }
}

impl Timer {
    pub(super) fn of(info: &siginfo_t) -> Timer {
        Timer { id: fields::timer_id(info), overrun: fields::timer_overrun(info) }
    }
}

impl Poll {
    pub(super) fn of(info: &siginfo_t) -> Poll {
        Poll { band: fields::poll_band(info), fd: fields::poll_fd(info) }
    }
}

impl SysCall {
    pub(super) fn of(info: &siginfo_t) -> SysCall {
        SysCall {
            address: fields::address(info),
            number: fields::syscall_number(info),
            arch: fields::syscall_arch(info),
            data: info.si_errno,
        }
    }
}

/// The time that `ticks` of `sysconf(_SC_CLK_TCK)` a second are; negative ones are none.
fn from_ticks(ticks: i64) -> Duration {
    // SAFETY: `sysconf` only reads; it is async-signal-safe.
    let rate = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    let rate = u64::try_from(rate).ok().filter(|rate| *rate > 0).unwrap_or(100);
    let ticks = u64::try_from(ticks).unwrap_or(0);
    let nanos = (ticks % rate).saturating_mul(1_000_000_000) / rate;
    Duration::from_secs(ticks / rate).saturating_add(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks() {
        // SAFETY: `sysconf` only reads.
        let rate = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
        assert_eq!(from_ticks(rate * 5 / 2), Duration::from_millis(2500));
        assert_eq!(from_ticks(-1), Duration::ZERO);
        assert!(from_ticks(i64::MAX) > Duration::ZERO);
    }

    #[test]
    fn statuses() {
        assert_eq!(ChildStatus::of(libc::CLD_KILLED, 32), Some(ChildStatus::Killed(32)));
        assert_eq!(ChildStatus::Killed(32).signal(), None);
        assert_eq!(ChildStatus::Killed(32).to_string(), "killed by signal 32");
        assert_eq!(ChildStatus::Exited(2).to_string(), "exited with status 2");
        assert!(!ChildStatus::Stopped(libc::SIGTSTP).has_ended());
        assert_eq!(ChildStatus::of(0, 0), None);
    }
}
