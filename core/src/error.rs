//! The error of everything that subscribes, installs or parses.
//!
//! It is not the error of sending, which has its own small type
//! ([`SendError`](crate::send::SendError)) that callers match on in handlers, and never
//! one of the delivery path: nothing there can fail towards a caller.
//!
//! Invariants: every message says what is wrong and what to do about it; a system call's
//! own error is always reachable through `source()`.

use std::fmt;
use std::io;

use crate::fault::FixupError;
use crate::signal::Signal;

/// The result of most of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a request was refused. After an error nothing has changed.
///
/// Two errors are equal if they are the same variant with the same data; of [`Error::Os`]
/// the call and the error number are compared.
///
/// # Examples
/// ```
/// use sigplane::{Error, Signal};
///
/// let error = "SIGFOO".parse::<Signal>().unwrap_err();
/// assert_eq!(error, Error::UnknownName("SIGFOO".into()));
/// assert!(error.to_string().contains("SIGFOO"));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// `SIGKILL` and `SIGSTOP` cannot be caught, ignored or blocked.
    Uncatchable(Signal),
    /// libc uses this number for itself (thread cancellation, `setuid` across threads).
    ReservedByLibc(i32),
    /// No signal has this number.
    OutOfRange(i32),
    /// There is no `SIGRTMIN + n`, or no `SIGRTMAX - n`, with this `n`.
    RealtimeOutOfRange(u8),
    /// No signal has this name.
    UnknownName(String),
    /// A subscription to no signal at all.
    EmptySet,
    /// A queue that could never hold an event.
    ZeroCapacity,
    /// A fault signal can be handled only where it happens, in the immediate context.
    NeedsImmediate(Signal),
    /// The caller is a `vfork` (`CLONE_VM`) child: it shares the memory of its parent, so
    /// what it writes into the table would change its parent's.
    VforkChild,
    /// A range of addresses without any.
    EmptyRange {
        /// Its start.
        start: usize,
        /// Its end, which is not above.
        end: usize,
    },
    /// A range of code overlaps one that has a handler.
    RangeTaken {
        /// Start of the other one.
        start: usize,
        /// Its end.
        end: usize,
    },
    /// A table of fixups is not as it must be.
    Fixup(FixupError),
    /// The call waits for handlers, and the caller is one.
    InHandler,
    /// The kernel refused.
    Os {
        /// The system call or libc function.
        call: &'static str,
        /// What it answered; also the `source()`.
        source: io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Uncatchable(signal) => {
                write!(f, "{signal} cannot be caught, blocked or ignored: leave it out of the set")
            }
            Error::ReservedByLibc(number) => write!(
                f,
                "signal {number} is reserved by libc: use Signal::rt(n), which starts after those"
            ),
            Error::OutOfRange(number) => {
                write!(f, "{number} is not a signal number: use 1 to {}", libc::SIGRTMAX())
            }
            Error::RealtimeOutOfRange(n) => write!(
                f,
                "real-time signal {n} does not exist here: count from 0 to {}",
                Signal::rt_count().saturating_sub(1)
            ),
            Error::UnknownName(name) => write!(
                f,
                "unknown signal name {name:?}: write SIGTERM, TERM, SIGRTMIN+3 or SIGRTMAX-1"
            ),
            Error::EmptySet => f.write_str("the set of signals is empty: name at least one signal"),
            Error::ZeroCapacity => {
                f.write_str("a queue of capacity 0 holds nothing: use at least 1")
            }
            Error::NeedsImmediate(signal) => write!(
                f,
                "{signal} reports faults, to be handled where they happen: use `immediate`"
            ),
            Error::VforkChild => f.write_str(
                "this process shares its parent's memory (vfork) and must not change the \
                 parent's table: call exec or _exit first, or use fork",
            ),
            Error::EmptyRange { start, end } => write!(
                f,
                "the range {start:#x}..{end:#x} is empty: the end is the first address behind it"
            ),
            Error::RangeTaken { start, end } => write!(
                f,
                "the code at {start:#x}..{end:#x} has a handler already: drop that range first"
            ),
            Error::Fixup(error) => fmt::Display::fmt(error, f),
            Error::InHandler => f.write_str(
                "this cannot be done inside a signal handler, which it would wait for: do it in ordinary \
                 code",
            ),
            Error::Os { call, source } => write!(f, "{call} failed: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Os { source, .. } => Some(source),
            Error::Fixup(error) => Some(error),
            _ => None,
        }
    }
}

impl PartialEq for Error {
    fn eq(&self, other: &Error) -> bool {
        match (self, other) {
            (Error::Uncatchable(a), Error::Uncatchable(b)) => a == b,
            (Error::ReservedByLibc(a), Error::ReservedByLibc(b)) => a == b,
            (Error::OutOfRange(a), Error::OutOfRange(b)) => a == b,
            (Error::RealtimeOutOfRange(a), Error::RealtimeOutOfRange(b)) => a == b,
            (Error::UnknownName(a), Error::UnknownName(b)) => a == b,
            (Error::EmptySet, Error::EmptySet) => true,
            (Error::ZeroCapacity, Error::ZeroCapacity) => true,
            (Error::NeedsImmediate(a), Error::NeedsImmediate(b)) => a == b,
            (Error::VforkChild, Error::VforkChild) => true,
            (Error::EmptyRange { start: a, end: b }, Error::EmptyRange { start: c, end: d })
            | (Error::RangeTaken { start: a, end: b }, Error::RangeTaken { start: c, end: d }) => {
                (a, b) == (c, d)
            }
            (Error::Fixup(a), Error::Fixup(b)) => a == b,
            (Error::InHandler, Error::InHandler) => true,
            (Error::Os { call: a, source: x }, Error::Os { call: b, source: y }) => {
                a == b && x.raw_os_error() == y.raw_os_error() && x.kind() == y.kind()
            }
            _ => false,
        }
    }
}

impl From<FixupError> for Error {
    fn from(error: FixupError) -> Self {
        Error::Fixup(error)
    }
}

/// The system's own error where there is one, `InvalidInput` or `Unsupported` otherwise,
/// so that `?` works in functions that return [`io::Result`].
impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        match error {
            Error::Os { source, .. } => source,
            Error::VforkChild => io::Error::new(io::ErrorKind::Unsupported, error),
            other => io::Error::new(io::ErrorKind::InvalidInput, other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn messages_say_what_and_what_to_do() {
        let text = Error::Uncatchable(Signal::KILL).to_string();
        assert_eq!(text, "SIGKILL cannot be caught, blocked or ignored: leave it out of the set");
        let last = Signal::rt_count() - 1;
        assert!(Error::RealtimeOutOfRange(99).to_string().ends_with(&format!("to {last}")));
        assert!(Error::NeedsImmediate(Signal::SEGV).to_string().contains("`immediate`"));
    }

    #[test]
    fn os_errors_keep_their_source() {
        let os =
            || Error::Os { call: "eventfd", source: io::Error::from_raw_os_error(libc::EMFILE) };
        assert!(os().source().is_some_and(|source| source.is::<io::Error>()));
        assert!(os().to_string().starts_with("eventfd failed: "));
        assert_eq!(os(), os());
        assert_ne!(os(), Error::EmptySet);
        assert_eq!(io::Error::from(os()).raw_os_error(), Some(libc::EMFILE));
        assert!(Error::EmptySet.source().is_none());
        assert_eq!(io::Error::from(Error::EmptySet).kind(), io::ErrorKind::InvalidInput);
    }
}
