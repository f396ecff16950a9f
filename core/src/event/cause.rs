//! What made a signal happen: the reading of `si_code`.
//!
//! It is not a view of the data that come along; each view in `views.rs` and `fault.rs`
//! is given out for certain causes only, and this module alone decides which cause it is.
//!
//! Invariant: the reading is the kernel's own (`siginfo_layout()` in `kernel/signal.c`):
//! first the codes that mean the same for every signal, then those of the signal, then,
//! for a signal without codes of its own, those of `SIGIO`.

use crate::signal::Signal;

/// The codes that libc does not name; the kernel's `include/uapi/asm-generic/siginfo.h`.
const SYS_USER_DISPATCH: i32 = 2;

/// Why a signal was sent, by whom, and so which of [`Event`](crate::Event)'s views exist.
///
/// # References
/// `sigaction(2)`, "The siginfo_t argument to a SA_SIGINFO handler"
///
/// # Examples
/// ```
/// use sigplane::{Cause, Signal};
///
/// let (sender, events) = std::sync::mpsc::channel();
/// let _subscription = sigplane::on(Signal::USR1, move |event| {
///     let _ = sender.send(event.cause());
/// })?;
/// sigplane::send::raise(Signal::USR1)?;
/// assert_eq!(events.recv()?, Cause::Thread);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// `SI_USER`: `kill(2)`. Has a sender, whom the kernel vouches for. Process and user
    /// 0 also mean that the kernel could not keep the details (`RLIMIT_SIGPENDING`), and
    /// the kernel's `SIGPIPE` looks as if this process had sent it to itself.
    User,
    /// `SI_TKILL`: `tgkill(2)`, `raise(3)`, `pthread_kill(3)`. Has a sender.
    Thread,
    /// `SI_QUEUE`: `sigqueue(3)`. Has a sender and a value, both as the sender says.
    Queue,
    /// `SI_TIMER`: a POSIX timer expired. Has a timer and a value.
    Timer,
    /// `SI_MESGQ`: a message arrived in an empty POSIX queue. Has a sender and a value.
    MessageQueue,
    /// `SI_ASYNCIO` or `SI_ASYNCNL`: asynchronous input, output or name look-up is
    /// complete. Has a value.
    AsyncIo,
    /// `SI_SIGIO`: input or output is possible, by a signal whose own codes mean something
    /// else. Has poll data.
    SigIo,
    /// `SI_KERNEL`: the kernel, without a process or a fault behind it; for example `SIGINT`
    /// from the terminal, or `SIGALRM`. Has nothing.
    Kernel,
    /// The running code did it. Has a fault.
    Fault,
    /// A child ended, stopped or continued. Has a child.
    Child,
    /// Input or output is possible on a descriptor. Has poll data. (A child that was made
    /// by `clone(2)` with another exit signal than `SIGCHLD` also looks like this.)
    Poll,
    /// A system call was filtered or dispatched. Has a system call and a fault.
    Syscall,
    /// Another code, with the number. Negative ones were chosen by the sender of
    /// `rt_sigqueueinfo(2)`; they have a sender and a value, as the sender says.
    Other(i32),
}

impl Cause {
    /// The cause of an instance of `signal` with this `si_code`.
    pub(super) fn of(signal: Signal, code: i32) -> Cause {
        match code {
            libc::SI_USER => Cause::User,
            libc::SI_TKILL => Cause::Thread,
            libc::SI_QUEUE => Cause::Queue,
            libc::SI_TIMER => Cause::Timer,
            libc::SI_MESGQ => Cause::MessageQueue,
            libc::SI_ASYNCIO | libc::SI_ASYNCNL => Cause::AsyncIo,
            libc::SI_SIGIO => Cause::SigIo,
            ..0 => Cause::Other(code),
            1..=SYS_USER_DISPATCH if signal == Signal::SYS => Cause::Syscall,
            _ if signal.is_fault() => Cause::Fault,
            libc::SI_KERNEL => Cause::Kernel,
            libc::CLD_EXITED..=libc::CLD_CONTINUED if signal == Signal::CHLD => Cause::Child,
            // POLL_IN to POLL_HUP, for SIGIO and for what F_SETSIG put in its place.
            1..=6 => Cause::Poll,
            _ => Cause::Other(code),
        }
    }

    /// Whether the `_kill` or `_rt` member names a process that sent the signal.
    ///
    /// Not for `AsyncIo`: there the kernel's USB code keeps a pointer in the same bytes.
    pub(super) fn has_sender(self) -> bool {
        matches!(
            self,
            Cause::User | Cause::Thread | Cause::Queue | Cause::MessageQueue | Cause::Other(..0)
        )
    }

    /// Whether the `_rt` or `_timer` member holds a value.
    pub(super) fn has_value(self) -> bool {
        matches!(
            self,
            Cause::Queue | Cause::Timer | Cause::MessageQueue | Cause::AsyncIo | Cause::Other(..0)
        )
    }
}
