//! The exits of children, each reported once, although the kernel merges their signals.
//!
//! Not here: reaping what is not ours. A child is looked at with `WNOWAIT`, which leaves it for whoever
//! waits for it; only an [adopted](ChildEvents::adopt) one is reaped. No handler is taken from anybody:
//! SIGCHLD is one subscription of sigplane's, beside those of others.
//!
//! # Three sources
//! One SIGCHLD is pending at a time, so that a second child's exit leaves no signal of its own (signal(7),
//! "Queueing and delivery semantics for standard signals"; kernel/signal.c, `legacy_queue`). But the signal
//! comes after the child has become a zombie (kernel/exit.c, `exit_notify`), and it stays one until it is
//! reaped (wait(2), "Notes"). So what is merged can be found:
//!
//! 1. *The siginfo* of each SIGCHLD that is delivered, `CLD_EXITED`, `CLD_KILLED` and `CLD_DUMPED` only:
//!    the status of that child even if it has been reaped before the handler's event is read.
//! 2. *A sweep* over the process's children after each SIGCHLD and each news from a descriptor, and at
//!    creation (`children/sweep.rs`). `waitid(…, WEXITED | WNOHANG | WNOWAIT)` on each gives the status of
//!    a zombie and leaves it one (waitid(2)).
//! 3. *A descriptor* of every child that has been seen alive, by a sweep or by `watch`: a pidfd becomes
//!    readable when its process has ended, whoever reaps it (pidfd_open(2)), and once more when it has
//!    been reaped (Linux 6.9; `__change_pid` in kernel/pid.c, later `__unhash_process` in kernel/exit.c).
//!    `waitid(P_PIDFD)`, Linux 5.4, looks at a zombie; of one that is reaped the kernel keeps the status
//!    with the pidfd since Linux 6.15 (ioctl `PIDFD_GET_INFO`, `PIDFD_INFO_EXIT`; fs/pidfs.c,
//!    `pidfs_exit`). Before that version such a child is reported without a status, unless a siginfo had
//!    it. All pidfds are in one epoll instance, which is the one descriptor in the reactor.
//!
//! They are brought together by pid; `children/ledger.rs` has the rule, and how it fares when a pid is
//! used again. `children/kernel.rs` has the system calls, and all unsafe code.
//!
//! # Races, and why they lose nothing
//! An exit after the look at a child: its SIGCHLD comes after the sweep began, and its event asks for
//! another; and a child seen alive has its descriptor. An exit after a child's descriptor was added: an
//! edge; before: epoll reports what is readable when it is added (epoll(7)). A reaping at the moment of a
//! look: `waitid` already fails and the descriptor has no status yet, because the reaper has marked the
//! child dead (kernel/exit.c, `wait_task_zombie`) and not come to `release_task`; the child is kept until
//! its descriptor speaks again. A listing that may have missed a child is taken again.

mod kernel;
mod ledger;
mod sweep;

use crate::reactor::Reactor;
use crate::stream::{BuilderExt, SignalStream};
use crate::trace::event;
use futures_core::{FusedStream, Stream};
use ledger::Ledger;
use sigplane::{ChildStatus, Error, Overflow, Result, Signal};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use sweep::Sweep;
use tokio::task::coop;

/// How many SIGCHLD may wait. What is beyond is dropped, oldest first, because to hold SIGCHLD back would
/// hold up everybody else who waits for it; a sweep finds what their siginfo said, but for children that
/// nobody had seen and somebody has reaped.
const CAPACITY: usize = 1024;

/// How often a sweep is taken again at once before other tasks have their turn.
const ATTEMPTS: usize = 8;

/// The exits of the process's children, from now on; see [`ChildEvents`]. Children that have ended before
/// and are not reaped yet are reported, too.
///
/// # Errors
/// Those of [`signal`](crate::signal); [`Error::Os`] when the kernel refuses a descriptor, and when there
/// is no /proc of this process's pid namespace: without it, merged signals would be lost.
///
/// # Panics
/// As [`signal`](crate::signal).
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sigplane::ChildStatus;
/// let mut exits = sigplane_async::child_events()?;
/// let mut child = tokio::process::Command::new("sh").args(["-c", "exit 3"]).spawn()?;
/// let exit = exits.recv().await;
/// assert_eq!(exit.status, Some(ChildStatus::Exited(3)));
/// assert_eq!(child.wait().await?.code(), Some(3)); // it has not been reaped
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn child_events() -> Result<ChildEvents> {
    let signals = sigplane::subscribe(Signal::CHLD)
        .name("child events")
        .capacity(CAPACITY)
        .overflow(Overflow::DropOldest)
        .stream()?;
    let sweep = Sweep::new().map_err(|source| Error::Os { call: "open(/proc/self)", source })?;
    let ledger = Ledger::new().map_err(|source| Error::Os { call: "epoll_create1", source })?;
    let process = std::process::id();
    let mut events =
        ChildEvents { reactor: Reactor::default(), signals, ledger, sweep, is_due: true, process };
    events.reactor.follow(&events.ledger.nest)?;
    events.sweep();
    Ok(events)
}

/// The end of a child.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut exits = sigplane_async::child_events()?;
/// let mut child = std::process::Command::new("true").spawn()?;
/// let sigplane_async::ChildExit { pid, status, .. } = exits.recv().await;
/// println!("{pid}: {}", status.map_or("gone".into(), |status| status.to_string()));
/// child.wait()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ChildExit {
    /// Its process id. It may belong to another process by now, unless the child is yours to reap and
    /// you have not.
    pub pid: i32,
    /// How it ended: [`Exited`](ChildStatus::Exited), [`Killed`](ChildStatus::Killed) or
    /// [`Dumped`](ChildStatus::Dumped). `None` if somebody else reaped it before that could be read,
    /// which Linux 6.15 and later do not let happen.
    pub status: Option<ChildStatus>,
}

/// The exits of the process's children, each reported once, although the kernel merges SIGCHLD.
///
/// It coexists with everybody else who waits for children: it reaps none that it was not told to
/// [adopt](Self::adopt), and `tokio::process`, `std::process`, a second `ChildEvents`, and other
/// handlers of SIGCHLD get what they would have got alone.
///
/// All children are reported, whoever made them, on whichever thread: also those that fell to the
/// process as an init or subreaper, and those made by clone(2) with another exit signal, when something
/// else causes a look or they were [watched](Self::watch). Children that stop or continue are not reported.
/// Exits that come together are reported in no particular order.
///
/// It never ends, is cancel-safe, and may be polled on any runtime, as a [`SignalStream`]. In a forked
/// child it begins anew, with the children of that process. It holds a descriptor for each child that
/// lives or has not been reaped.
///
/// # What is not seen
/// A child leaves no trace in the kernel if all of this is true: it was not [watched](Self::watch); it
/// started and ended between two looks; somebody else has reaped it by the second; and its SIGCHLD was
/// merged into another's (or dropped, when more than 1,024 wait). A program that hands its children to
/// others who reap them, and must know of each, calls `watch` after each spawn.
///
/// Looks are caused by SIGCHLD and by children seen before. Where SIGCHLD does not come, because every
/// thread blocks it, or because somebody has replaced sigplane's handler without calling it, only watched
/// and already seen children cause one.
///
/// # Children that nobody waits for
/// If SIGCHLD was ignored before sigplane, or is handled with `SA_NOCLDWAIT`, that is kept: children are
/// reaped by the kernel as they end (sigaction(2)). Then there are no zombies to find: what has not been
/// watched, or seen alive, is reported only by its own SIGCHLD, if that is not merged.
///
/// # References
/// signal(7), wait(2), pidfd_open(2), proc_pid_children(5), PR_SET_CHILD_SUBREAPER(2const).
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut exits: sigplane_async::ChildEvents = sigplane_async::child_events()?;
/// // A child that nobody else waits for.
/// let child = std::process::Command::new("true").spawn()?;
/// exits.adopt(child.id() as i32)?;
/// let exit = exits.recv().await; // reported, and reaped
/// assert_eq!(exit.pid, child.id() as i32);
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping it ends the subscription"]
pub struct ChildEvents {
    // Before the ledger, whose nest it has registered: fields are dropped in this order.
    reactor: Reactor,
    signals: SignalStream,
    ledger: Ledger,
    sweep: Sweep,
    /// Whether a sweep is to be made before waiting.
    is_due: bool,
    /// Whose children these are.
    process: u32,
}

impl ChildEvents {
    /// The next exit.
    ///
    /// Cancel-safe: an exit is taken only in the poll that returns it.
    ///
    /// # Panics
    /// As [`poll_recv`](Self::poll_recv).
    pub async fn recv(&mut self) -> ChildExit {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Takes the next exit, or has the task of `cx` woken when there may be one. Only the task of the
    /// last call is woken.
    ///
    /// # Panics
    /// As [`SignalStream::poll_recv`], and in a forked child that has no descriptor left.
    #[track_caller]
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<ChildExit> {
        let budget = ready!(coop::poll_proceed(cx));
        if let Err(error) = self.follow_fork() {
            panic!("child events cannot begin anew in this process: {error}");
        }
        if let Some(exit) = self.ledger.take() {
            budget.made_progress();
            return Poll::Ready(exit);
        }
        while let Poll::Ready(signal) = self.signals.poll_recv(cx) {
            self.is_due = true;
            if let Some(child) = signal.child().filter(|child| child.status.has_ended()) {
                self.ledger.told(child.pid, child.status, Instant::now() - signal.age());
            }
        }
        if let Err(error) = self.reactor.follow(&self.ledger.nest) {
            panic!("child events cannot join this runtime: {error}");
        }
        while let Poll::Ready(edge) = self.reactor.poll_edge(cx) {
            if let Err(error) = edge {
                panic!(
                    "no runtime wakes this stream ({error}): poll it in a running tokio runtime"
                );
            }
            self.hear();
        }
        if self.is_due && !self.sweep() {
            cx.waker().wake_by_ref(); // Once more, after other tasks have had their turn.
        }
        match self.ledger.take() {
            Some(exit) => {
                budget.made_progress();
                Poll::Ready(exit)
            }
            None => Poll::Pending,
        }
    }

    /// Makes a child known, best right after it has been spawned: from then on its exit is reported
    /// whatever happens, also if somebody else reaps it at once. Watching it again, or when it has been
    /// seen already, changes nothing. A child whose exit has been reported is not reported again.
    ///
    /// # Errors
    /// [`Error::Os`]: `pidfd_open` with `ESRCH` if there is no such process: it has ended and been reaped;
    /// with `EINVAL` if `pid` is not positive; with `EMFILE` or `ENFILE` if no descriptor is left.
    /// `waitid` with `ECHILD` if it is not a child of this process, or not any more. `epoll_ctl` with
    /// `ENOSPC` at the limit of watched descriptors (epoll(7), `max_user_watches`).
    pub fn watch(&mut self, pid: i32) -> Result<()> {
        self.follow_fork()?;
        self.ledger.watch(pid, false)
    }

    /// As [`watch`](Self::watch), and the child is ours: it is reaped by the call that reports its exit,
    /// or now if that has been reported. For children that nobody else waits for.
    ///
    /// When this is dropped, adopted children that have ended are reaped; those that live are nobody's,
    /// and stay zombies when they end, unless somebody waits for them.
    ///
    /// # Errors
    /// Those of [`watch`](Self::watch).
    pub fn adopt(&mut self, pid: i32) -> Result<()> {
        self.follow_fork()?;
        self.ledger.watch(pid, true)
    }

    /// Looks for children in `/proc/<pid>/stat` of all processes, as without `CONFIG_PROC_CHILDREN`.
    #[doc(hidden)]
    pub fn sweeping_all_processes(mut self) -> Self {
        self.sweep = Sweep::Parents;
        self
    }

    /// In a forked child: the children that are known are not its own.
    fn follow_fork(&mut self) -> Result<()> {
        let process = std::process::id();
        if process == self.process {
            return Ok(());
        }
        let os = |call| move |source| Error::Os { call, source };
        let ledger = Ledger::new().map_err(os("epoll_create1"))?;
        // The old registration is the parent's, and is forgotten; then the nest may go.
        self.reactor = Reactor::default();
        self.ledger = ledger;
        if let Sweep::Lists { ended } = &mut self.sweep {
            ended.clear();
        }
        (self.is_due, self.process) = (true, process);
        Ok(())
    }

    /// Hears what the descriptors have to say.
    fn hear(&mut self) {
        loop {
            let mut heard = false;
            for pid in self.ledger.nest.ready() {
                self.is_due |= self.ledger.stirred(pid);
                heard = true;
            }
            if !heard {
                return;
            }
        }
    }

    /// Looks at all children. Whether that is done, or cannot be done better before something happens.
    fn sweep(&mut self) -> bool {
        for _ in 0..ATTEMPTS {
            let listing = match self.sweep.list() {
                Ok(listing) => listing,
                // Probably out of descriptors: it stays due, until something wakes the task.
                Err(_error) => {
                    event!(warn, error = %_error, "children cannot be listed now");
                    return true;
                }
            };
            let mut complete = listing.complete;
            for &pid in &listing.children {
                complete &= self.ledger.listed(pid);
            }
            if complete {
                self.ledger.only(&listing.children.into_iter().collect());
                self.is_due = false;
                return true;
            }
        }
        false
    }
}

impl Stream for ChildEvents {
    type Item = ChildExit;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ChildExit>> {
        self.poll_recv(cx).map(Some)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.ledger.len(), None)
    }
}

impl FusedStream for ChildEvents {
    fn is_terminated(&self) -> bool {
        false
    }
}

impl fmt::Debug for ChildEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildEvents")
            .field("signals", &self.signals)
            .field("known", &self.ledger.known())
            .field("waiting", &self.ledger.len())
            .finish_non_exhaustive()
    }
}

const _: () = {
    const fn usable_anywhere<T: Send + Sync + Unpin + 'static>() {}
    usable_anywhere::<ChildEvents>();
};
