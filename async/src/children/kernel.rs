//! What the kernel says of one child, and the descriptors of many in one.
//!
//! Not here: which children there are (`sweep`), and what is made of the answers (`ledger`). Nothing here
//! reaps but [`reap`].
//!
//! # Safety
//! System calls on descriptors that a reference keeps open, and on local values of the types that the
//! kernel fills.
#![allow(unsafe_code)]

use crate::reactor::Keeper;
use sigplane::ChildStatus;
use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// What has become of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// It lives, or its tracer has not let go of what is left of it.
    Alive,
    /// It has ended, so, and nobody has reaped it.
    Ended(ChildStatus),
    /// Somebody is reaping it at this moment: its parent is no longer given its status, and its
    /// descriptor does not have it yet. The descriptor tells when that is over.
    Leaving,
    /// Not a child, or not any more; then this is how it ended, if the kernel has kept that.
    Gone(Option<ChildStatus>),
}

/// Asks about the child that has this id.
pub(super) fn look_at(pid: i32) -> io::Result<Look> {
    wait(libc::P_PID, pid, libc::WNOWAIT)
}

/// Asks about the child behind a pidfd.
pub(super) fn look(pidfd: BorrowedFd<'_>) -> io::Result<Look> {
    match wait(libc::P_PIDFD, pidfd.as_raw_fd(), libc::WNOWAIT)? {
        Look::Gone(_) => Ok(last_words(pidfd)),
        look => Ok(look),
    }
}

/// Reaps the child behind a pidfd if it has ended.
pub(super) fn reap(pidfd: BorrowedFd<'_>) {
    // A failure means that somebody else has reaped it, which is as good.
    let _reaped = wait(libc::P_PIDFD, pidfd.as_raw_fd(), 0);
}

fn wait(kind: libc::idtype_t, id: c_int, flags: c_int) -> io::Result<Look> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // `__WALL`: also children that end without SIGCHLD (clone(2) with another exit signal).
    let flags = flags | libc::WEXITED | libc::WNOHANG | libc::__WALL;
    // SAFETY: `info` is a writable value of the right type.
    let result = unsafe { libc::waitid(kind, id as libc::id_t, info.as_mut_ptr(), flags) };
    if result == -1 {
        let error = io::Error::last_os_error();
        let gone = error.raw_os_error() == Some(libc::ECHILD);
        return if gone { Ok(Look::Gone(None)) } else { Err(error) };
    }
    // SAFETY: all zero bytes are a valid siginfo_t, and so is what waitid has written over them.
    let info = unsafe { info.assume_init() };
    // SAFETY: waitid fills the members of SIGCHLD, or leaves zeroes.
    let number = unsafe { info.si_status() };
    // Zero when there is nothing to wait for.
    Ok(ending(info.si_code, number).map_or(Look::Alive, Look::Ended))
}

/// Reads the pair of `si_code` and `si_status` of a child that has ended; `None` for every other code.
fn ending(code: c_int, number: c_int) -> Option<ChildStatus> {
    Some(match code {
        libc::CLD_EXITED => ChildStatus::Exited(number),
        libc::CLD_KILLED => ChildStatus::Killed(number),
        libc::CLD_DUMPED => ChildStatus::Dumped(number),
        _ => return None,
    })
}

/// The status of a child that has been reaped, which its pidfd keeps since Linux 6.15.
///
/// The kernel looks for the status first and for the task then (fs/pidfs.c, `pidfd_info`): one that is released
/// in between has neither, and is asked about once more.
fn last_words(pidfd: BorrowedFd<'_>) -> Look {
    match ask(pidfd) {
        Look::Gone(None) => ask(pidfd),
        look => look,
    }
}

fn ask(pidfd: BorrowedFd<'_>) -> Look {
    let mut info = MaybeUninit::<libc::pidfd_info>::zeroed();
    // SAFETY: all bytes are zero, which is a valid value of plain integers.
    let info = unsafe { info.assume_init_mut() };
    info.mask = u64::from(libc::PIDFD_INFO_PID | libc::PIDFD_INFO_EXIT);
    // SAFETY: the request's number says the size of what it reads and writes, which is that of `info`.
    let result = unsafe { libc::ioctl(pidfd.as_raw_fd(), libc::PIDFD_GET_INFO, &raw mut *info) };
    if result == -1 {
        return Look::Gone(None); // ESRCH: gone and not kept. ENOTTY, EINVAL: before Linux 6.13.
    }
    if info.mask & u64::from(libc::PIDFD_INFO_EXIT) != 0 {
        let code = info.exit_code; // As wait(2) gives it.
        return Look::Gone(Some(match libc::WTERMSIG(code) {
            0 => ChildStatus::Exited(libc::WEXITSTATUS(code)),
            number if libc::WCOREDUMP(code) => ChildStatus::Dumped(number),
            number => ChildStatus::Killed(number),
        }));
    }
    if info.ppid == std::process::id() { Look::Leaving } else { Look::Gone(None) }
}

/// One epoll instance with the pidfds of all children that live: a single descriptor, which a reactor
/// watches for them all, and moves from runtime to runtime at the cost of one.
pub(super) struct Nest(OwnedFd);

// SAFETY: the descriptor is closed when the nest is dropped.
unsafe impl Keeper for Nest {
    fn descriptor(&self) -> sigplane::Result<RawFd> {
        Ok(self.0.as_raw_fd())
    }
}

impl Nest {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: takes an integer only.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// From now on [`ready`](Self::ready) tells `pid` when the process ends and when it is reaped.
    ///
    /// Edge-triggered, so that a child that is [leaving](Look::Leaving) is not told all the time.
    pub(super) fn add(&self, pidfd: BorrowedFd<'_>, pid: i32) -> io::Result<()> {
        let events = (libc::EPOLLIN | libc::EPOLLET) as u32;
        let mut event = libc::epoll_event { events, u64: pid as u64 };
        let (nest, fd) = (self.0.as_raw_fd(), pidfd.as_raw_fd());
        // SAFETY: `event` is a live value.
        check(unsafe { libc::epoll_ctl(nest, libc::EPOLL_CTL_ADD, fd, &raw mut event) })?;
        Ok(())
    }

    /// To be called before the pidfd is closed: a forked child may have a copy of it, and then closing
    /// it does not take it out (epoll(7), "Questions and answers", 6).
    pub(super) fn remove(&self, pidfd: BorrowedFd<'_>) {
        let (nest, fd) = (self.0.as_raw_fd(), pidfd.as_raw_fd());
        // SAFETY: takes no event.
        let _gone = unsafe { libc::epoll_ctl(nest, libc::EPOLL_CTL_DEL, fd, std::ptr::null_mut()) };
    }

    /// The ids of children of whom there is news. Call it until it gives none.
    pub(super) fn ready(&self) -> impl Iterator<Item = i32> + use<> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
        let (room, first) = (events.len() as c_int, events.as_mut_ptr());
        // SAFETY: `events` has room for as many.
        let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), first, room, 0) };
        let count = usize::try_from(count).unwrap_or(0);
        events.into_iter().take(count).map(|event| event.u64 as i32)
    }
}

fn check(result: c_int) -> io::Result<c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
