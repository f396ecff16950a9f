//! What has been reported of which child, so that each exit is reported once.
//!
//! Not here: where news comes from (`sweep`, signals) and what the kernel says (`kernel`).
//!
//! A child is at one place at a time:
//! * `known`: it has been seen alive.
//! * `zombies`: its end has been reported, or waits in `ready`, and it has not been reaped.
//! * `past`: it has been reported and is gone.
//!
//! # Pids that are used again
//! A zombie keeps its pid until it is reaped (wait(2), "Notes"); after that, pids are given out in
//! ascending order, each again when all others have had their turn (kernel/pid.c, `idr_alloc_cyclic`),
//! which may be before the next look. So a pid alone says nothing of a child that has been seen: its
//! pidfd is kept, alive and as a zombie, and is the judge of whether news is of that child or of a later
//! one with its pid. When it is reaped, the nest tells, and the pidfd is closed (before Linux 6.9: when
//! the next complete list of children has it no more).
//!
//! Only a siginfo cannot be judged so, when its child is gone. It may come late, after its child has been
//! seen, reported and reaped by other means: SIGCHLD was blocked, or its handler was held up. The child
//! sends no second one. So it is taken for a child of `past` with the same pid and status, of which no
//! siginfo has been heard. One SIGCHLD is pending at a time, so whatever is delivered afterwards shows
//! that none is waiting from before: with it, all that is older by [`LATE`] is forgotten.
use super::ChildExit;
use super::kernel::{self, Look, Nest};
use sigplane::ChildStatus;
use sigplane::send::{PidFd, SendError};
use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// How many zombies there may be before no more pidfds are kept for them: a program that reaps none is not
/// to run out of descriptors here. Of the others the pid is taken for the child, until a look finds that
/// it is no child's or that of a living one.
const HELD: usize = 128;

/// How many gone children are remembered.
const PAST: usize = 1024;

/// How long a handler may be held up between the kernel's taking the signal and its own clock.
const LATE: Duration = Duration::from_secs(10);

struct Known {
    pidfd: OwnedFd,
    adopted: bool,
}

struct Zombie {
    status: ChildStatus,
    /// `None` when no descriptor was left, or too many were held.
    pidfd: Option<OwnedFd>,
    /// Whether its siginfo has come.
    heard: bool,
}

struct Past {
    exit: ChildExit,
    heard: bool,
    since: Instant,
}

struct Report {
    exit: ChildExit,
    /// An adopted child that is still to be reaped.
    reap: bool,
}

pub(super) struct Ledger {
    known: HashMap<i32, Known>,
    zombies: HashMap<i32, Zombie>,
    past: VecDeque<Past>,
    ready: VecDeque<Report>,
    pub(super) nest: Nest,
}

impl Ledger {
    pub(super) fn new() -> io::Result<Self> {
        let (known, zombies) = (HashMap::new(), HashMap::new());
        let (past, ready) = (VecDeque::new(), VecDeque::new());
        Ok(Self { known, zombies, past, ready, nest: Nest::new()? })
    }

    /// How many children are known and alive.
    pub(super) fn known(&self) -> usize {
        self.known.len()
    }

    /// How many reports wait.
    pub(super) fn len(&self) -> usize {
        self.ready.len()
    }

    /// The next report. An adopted child is reaped here.
    pub(super) fn take(&mut self) -> Option<ChildExit> {
        let Report { exit, reap } = self.ready.pop_front()?;
        if reap {
            self.reap(exit.pid);
        }
        Some(exit)
    }

    /// The siginfo of a signal that arrived then says so of a child.
    pub(super) fn told(&mut self, pid: i32, status: ChildStatus, arrival: Instant) {
        if self.known.contains_key(&pid) {
            self.judge(pid, Some(status));
        } else if !self.is_zombie(pid) && !self.meet(pid) && !self.was_waited_for(pid, status) {
            // It has ended and been reaped, and this is all that is left of it.
            self.report_gone(pid, Some(status), true);
        }
        if let Some(zombie) = self.zombies.get_mut(&pid) {
            zombie.heard |= zombie.status == status;
        }
        self.past.retain(|past| past.since + LATE > arrival);
    }

    /// The nest has news of a child. Whether it may have ended.
    pub(super) fn stirred(&mut self, pid: i32) -> bool {
        if self.zombies.contains_key(&pid) {
            self.is_zombie(pid); // It has been reaped, or has just been added.
            return false;
        }
        self.judge(pid, None);
        true
    }

    /// A list of children has this one. Whether it still is a child.
    pub(super) fn listed(&mut self, pid: i32) -> bool {
        if self.known.contains_key(&pid) {
            return self.judge(pid, None);
        }
        match self.look_at_zombie(pid) {
            Some(Look::Ended(_)) => true,
            Some(Look::Leaving) => false,
            _ => self.meet(pid),
        }
    }

    /// These are all children there are.
    pub(super) fn only(&mut self, children: &HashSet<i32>) {
        let gone: Vec<i32> =
            self.zombies.keys().copied().filter(|pid| !children.contains(pid)).collect();
        for pid in gone {
            self.bury(pid);
        }
    }

    /// Makes a child known, or says why not.
    pub(super) fn watch(&mut self, pid: i32, adopt: bool) -> sigplane::Result<()> {
        let os = |call| move |source| sigplane::Error::Os { call, source };
        let pidfd = open(pid).map_err(os("pidfd_open"))?;
        let look = kernel::look(pidfd.as_fd()).map_err(os("waitid"))?;
        // The rest of one that has been reported, as in `meet`.
        let is_rest = look == Look::Leaving && self.is_past(pid);
        if is_rest || matches!(look, Look::Gone(_)) {
            return Err(os("waitid")(io::Error::from_raw_os_error(libc::ECHILD)));
        }
        if let Some(known) = self.known.get_mut(&pid) {
            known.adopted |= adopt;
            return Ok(()); // If it has ended, the nest says so.
        }
        if self.is_zombie(pid) {
            if adopt {
                if let Some(zombie) = self.zombies.get_mut(&pid) {
                    zombie.pidfd.get_or_insert(pidfd);
                }
                match self.ready.iter_mut().rev().find(|report| report.exit.pid == pid) {
                    Some(report) => report.reap = true,
                    None => self.reap(pid),
                }
            }
            return Ok(());
        }
        self.forget(pid);
        match look {
            Look::Ended(status) => self.report(pid, status, Some(pidfd), adopt),
            _ => self.learn(pid, pidfd, adopt).map_err(os("epoll_ctl"))?,
        }
        Ok(())
    }

    /// Looks at a known child, and reports it if it has ended: `told` is what a siginfo says of it, for
    /// want of something better. Whether it still is a child.
    fn judge(&mut self, pid: i32, told: Option<ChildStatus>) -> bool {
        let Some(known) = self.known.get(&pid) else { return true };
        let status = match kernel::look(known.pidfd.as_fd()) {
            Ok(Look::Ended(status)) => Ok(status),
            Ok(Look::Gone(status)) => Err(status.or(told)),
            Ok(Look::Leaving) => return false,
            Ok(Look::Alive) | Err(_) => return true,
        };
        let Some(Known { pidfd, adopted }) = self.known.remove(&pid) else { return true };
        match status {
            Ok(status) => self.report_zombie(
                pid,
                Zombie { status, pidfd: Some(pidfd), heard: false },
                adopted,
            ),
            Err(status) => {
                self.nest.remove(pidfd.as_fd());
                self.report_gone(pid, status, told.is_some());
            }
        }
        status.is_ok()
    }

    /// Looks at a reported child that was a zombie: `None` if this is none. One that is gone is buried.
    fn look_at_zombie(&mut self, pid: i32) -> Option<Look> {
        let look = match &self.zombies.get(&pid)?.pidfd {
            Some(pidfd) => kernel::look(pidfd.as_fd()),
            None => kernel::look_at(pid),
        };
        let look = look.ok()?;
        if matches!(look, Look::Gone(_) | Look::Alive) {
            self.bury(pid);
        }
        Some(look)
    }

    fn is_zombie(&mut self, pid: i32) -> bool {
        matches!(self.look_at_zombie(pid), Some(Look::Ended(_) | Look::Leaving))
    }

    /// Looks at a child that is neither known nor a zombie. Whether it still is a child.
    fn meet(&mut self, pid: i32) -> bool {
        let (look, pidfd) = match open(pid) {
            Ok(pidfd) => (kernel::look(pidfd.as_fd()), Some(pidfd)),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return false,
            Err(_) => (kernel::look_at(pid), None),
        };
        match (look, pidfd) {
            (Ok(Look::Ended(status)), pidfd) => {
                self.forget(pid);
                self.report(pid, status, pidfd, false);
                true
            }
            (Ok(Look::Gone(_)), _) => false,
            // In its last moment: of what has been reported it is the rest; otherwise its descriptor
            // has its status in a moment.
            (Ok(Look::Leaving), _) if self.is_past(pid) => false,
            (Ok(Look::Alive | Look::Leaving), Some(pidfd)) => {
                self.forget(pid);
                let _known = self.learn(pid, pidfd, false);
                true
            }
            // Without a descriptor, or a place in the nest: it is looked at after the next SIGCHLD.
            (_, _) => true,
        }
    }

    fn learn(&mut self, pid: i32, pidfd: OwnedFd, adopted: bool) -> io::Result<()> {
        self.nest.add(pidfd.as_fd(), pid)?;
        self.known.insert(pid, Known { pidfd, adopted });
        Ok(())
    }

    /// Puts the report of a zombie in line that was not known.
    fn report(&mut self, pid: i32, status: ChildStatus, pidfd: Option<OwnedFd>, reap: bool) {
        if let Some(pidfd) = &pidfd {
            // Without a place in the nest, the next list tells when it is gone.
            let _told = self.nest.add(pidfd.as_fd(), pid);
        }
        self.report_zombie(pid, Zombie { status, pidfd, heard: false }, reap);
    }

    /// Puts the report of a zombie in line.
    fn report_zombie(&mut self, pid: i32, mut zombie: Zombie, reap: bool) {
        if !reap
            && self.zombies.len() >= HELD
            && let Some(pidfd) = zombie.pidfd.take()
        {
            self.nest.remove(pidfd.as_fd());
        }
        let exit = ChildExit { pid, status: Some(zombie.status) };
        self.zombies.insert(pid, zombie);
        self.ready.push_back(Report { exit, reap });
    }

    /// Puts the report of a child in line that somebody else has reaped.
    fn report_gone(&mut self, pid: i32, status: Option<ChildStatus>, heard: bool) {
        let exit = ChildExit { pid, status };
        self.remember(exit, heard);
        self.ready.push_back(Report { exit, reap: false });
    }

    /// Reaps a zombie.
    fn reap(&mut self, pid: i32) {
        if let Some(pidfd) = self.zombies.get(&pid).and_then(|zombie| zombie.pidfd.as_ref()) {
            kernel::reap(pidfd.as_fd());
            self.bury(pid);
        }
    }

    /// A reported child has been reaped.
    fn bury(&mut self, pid: i32) {
        let Some(Zombie { status, pidfd, heard }) = self.zombies.remove(&pid) else { return };
        if let Some(pidfd) = pidfd {
            self.nest.remove(pidfd.as_fd());
        }
        self.remember(ChildExit { pid, status: Some(status) }, heard);
    }

    fn remember(&mut self, exit: ChildExit, heard: bool) {
        if self.past.len() == PAST {
            self.past.pop_front();
        }
        self.past.push_back(Past { exit, heard, since: Instant::now() });
    }

    /// The pid has been given to another child: what comes of it is that one's.
    fn forget(&mut self, pid: i32) {
        self.past.retain(|past| past.exit.pid != pid);
    }

    fn is_past(&self, pid: i32) -> bool {
        self.past.iter().any(|past| past.exit.pid == pid)
    }

    /// Whether this is the siginfo of a child that is gone, which has not come before.
    fn was_waited_for(&mut self, pid: i32, status: ChildStatus) -> bool {
        let late = self.past.iter_mut().find(|past| {
            let same = past.exit.status.is_none_or(|reported| reported == status);
            past.exit.pid == pid && same && !past.heard
        });
        late.map(|past| past.heard = true).is_some()
    }
}

/// Adopted children that have ended are not left behind. Those that live are nobody's.
impl Drop for Ledger {
    fn drop(&mut self) {
        while self.take().is_some() {}
        for known in self.known.values().filter(|known| known.adopted) {
            kernel::reap(known.pidfd.as_fd());
        }
    }
}

fn open(pid: i32) -> io::Result<OwnedFd> {
    PidFd::open(pid).map(OwnedFd::from).map_err(|error: SendError| error.into())
}
