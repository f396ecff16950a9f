//! A process that cannot be mistaken for another: signals through a pidfd.
//!
//! It is not a child's handle: it neither waits nor reaps, and any process may be opened.
//!
//! Invariant: the descriptor refers to the process that had the id when it was opened,
//! for ever; a process id that is used again is never hit.
//!
//! # Safety
//! System calls that take integers, or a pointer to a borrowed `QueueInfo`; and one descriptor
//! that the kernel just made, so that nobody else owns it.
#![allow(unsafe_code)]

use std::ffi::c_long;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use super::{QueueInfo, SendError, Value, check, positive};
use crate::signal::Signal;

/// A process, by a descriptor that stays its own when the process id is used again.
///
/// The descriptor is readable once the process has ended, and is closed on `exec`.
///
/// # References
/// `pidfd_open(2)`, `pidfd_send_signal(2)`
///
/// # Examples
/// ```
/// use sigplane::{Signal, send::{PidFd, SendError}};
///
/// let mut child = std::process::Command::new("sleep").arg("60").spawn()?;
/// let process = PidFd::open(child.id() as i32)?;
/// process.send(Signal::TERM)?;
/// child.wait()?;
/// assert_eq!(process.send(Signal::TERM), Err(SendError::NoSuchProcess));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// Opens the process `pid`.
    ///
    /// For a child that was not waited for, this is the right process. For another one,
    /// its id may have been used again already: check its identity after opening.
    ///
    /// # Errors
    /// [`SendError::InvalidTarget`] if `pid` is not positive, [`SendError::NoSuchProcess`],
    /// [`SendError::Unsupported`] before Linux 5.3, [`SendError::Os`] with `EMFILE`,
    /// `ENFILE`, `ENOMEM`, or `EINVAL` or `ENOENT` if `pid` is a thread but not the first of
    /// its process.
    ///
    /// # Async-signal safety
    /// Async-signal-safe.
    #[doc(alias = "pidfd_open")]
    pub fn open(pid: i32) -> Result<PidFd, SendError> {
        let pid = positive(pid)?;
        // SAFETY: takes integers only.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0 as c_long) };
        let fd = check("pidfd_open", fd)?;
        // SAFETY: the kernel just made this descriptor, and nobody else knows of it.
        Ok(PidFd(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }))
    }

    /// Sends `signal` to the process.
    ///
    /// # Errors
    /// [`SendError::NoSuchProcess`] if it has ended and was waited for,
    /// [`SendError::PermissionDenied`], [`SendError::Unsupported`] before Linux 5.1,
    /// [`SendError::Os`] with `EBADF` if this was made from another kind of descriptor.
    ///
    /// # Async-signal safety
    /// Async-signal-safe.
    #[doc(alias = "pidfd_send_signal")]
    pub fn send(&self, signal: Signal) -> Result<(), SendError> {
        self.send_info(signal, None)
    }

    /// Sends `signal` with `value` to the process.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`SendError::QueueFull`].
    ///
    /// # Async-signal safety
    /// Async-signal-safe.
    #[doc(alias = "pidfd_send_signal")]
    pub fn send_with(&self, signal: Signal, value: Value) -> Result<(), SendError> {
        self.send_info(signal, Some(&QueueInfo::new(signal, value)))
    }

    /// Without `info` the kernel fills in what `kill(2)` would.
    fn send_info(&self, signal: Signal, info: Option<&QueueInfo>) -> Result<(), SendError> {
        let info = info.map_or(ptr::null(), ptr::from_ref);
        let fd = c_long::from(self.0.as_raw_fd());
        let (number, flags) = (c_long::from(signal.number()), 0 as c_long);
        // SAFETY: `info` is null or comes from a reference to a value of siginfo_t's layout.
        let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, number, info, flags) };
        check("pidfd_send_signal", result)?;
        Ok(())
    }
}

/// Takes a pidfd made elsewhere. Another kind of descriptor is found out when sending.
impl From<OwnedFd> for PidFd {
    fn from(fd: OwnedFd) -> PidFd {
        PidFd(fd)
    }
}

impl From<PidFd> for OwnedFd {
    fn from(process: PidFd) -> OwnedFd {
        process.0
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for PidFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
