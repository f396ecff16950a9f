//! Why a signal could not be sent.
//!
//! It is not [`Error`](crate::Error): it is `Copy`, holds no allocation, and can be
//! matched on inside a signal handler.
//!
//! Invariant: each variant stands for one thing that the caller can do about it; every
//! other error number stays visible in [`SendError::Os`].

use std::fmt;
use std::io;

/// Why a signal was not sent. Nothing was sent, to anybody.
///
/// # Examples
/// ```
/// use sigplane::{Signal, send};
///
/// match send::to_process(0, Signal::TERM) {
///     Ok(()) => {}
///     Err(error) if error.is_retryable() => { /* let the receiver catch up, try again */ }
///     Err(error) => assert_eq!(error, send::SendError::InvalidTarget(0)),
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SendError {
    /// `EAGAIN`: the receiver has as many queued signals as its `RLIMIT_SIGPENDING` allows
    /// (a limit for all processes of its user). Sending again later may succeed.
    QueueFull,
    /// `ESRCH`: there is no such process, thread or group, or it has ended.
    NoSuchProcess,
    /// `EPERM`: the caller may not send to it, or not in this way.
    PermissionDenied,
    /// The identifier is one that the kernel would take for several processes, or none.
    InvalidTarget(i32),
    /// `ENOSYS`: the kernel, or a filter in front of it, does not have this system call.
    Unsupported {
        /// The system call.
        call: &'static str,
    },
    /// Another error.
    Os {
        /// The system call.
        call: &'static str,
        /// The error number.
        errno: i32,
    },
}

impl SendError {
    /// Whether the same call may succeed later: only [`SendError::QueueFull`].
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(self, SendError::QueueFull)
    }

    /// The error number that stands for this error in C.
    #[must_use]
    pub const fn errno(self) -> i32 {
        match self {
            SendError::QueueFull => libc::EAGAIN,
            SendError::NoSuchProcess => libc::ESRCH,
            SendError::PermissionDenied => libc::EPERM,
            SendError::InvalidTarget(_) => libc::EINVAL,
            SendError::Unsupported { .. } => libc::ENOSYS,
            SendError::Os { errno, .. } => errno,
        }
    }

    /// The error that `call` just left in `errno`.
    pub(super) fn last(call: &'static str) -> SendError {
        Self::from_errno(call, io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }

    fn from_errno(call: &'static str, errno: i32) -> SendError {
        match errno {
            libc::EAGAIN => SendError::QueueFull,
            libc::ESRCH => SendError::NoSuchProcess,
            libc::EPERM => SendError::PermissionDenied,
            libc::ENOSYS => SendError::Unsupported { call },
            errno => SendError::Os { call, errno },
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            SendError::QueueFull => f.write_str(
                "the receiver's signal queue is full: try later, or raise its RLIMIT_SIGPENDING",
            ),
            SendError::NoSuchProcess => {
                f.write_str("no such process, thread or group: it may have ended")
            }
            SendError::PermissionDenied => {
                f.write_str("not permitted to signal it: run as its user, or with CAP_KILL")
            }
            SendError::InvalidTarget(id) => {
                write!(f, "{id} does not name one target: give a positive id, or a group above 1")
            }
            SendError::Unsupported { call } => {
                write!(f, "{call} is not available: the kernel is too old, or a filter forbids it")
            }
            SendError::Os { call, errno } => {
                write!(f, "{call} failed: {}", io::Error::from_raw_os_error(errno))
            }
        }
    }
}

impl std::error::Error for SendError {}

impl From<SendError> for io::Error {
    fn from(error: SendError) -> io::Error {
        io::Error::from_raw_os_error(error.errno())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_numbers_round_trip() {
        for errno in [libc::EAGAIN, libc::ESRCH, libc::EPERM, libc::ENOSYS, libc::EBADF] {
            let error = SendError::from_errno("kill", errno);
            assert_eq!(error.errno(), errno);
            assert_eq!(error.is_retryable(), errno == libc::EAGAIN);
            assert_eq!(io::Error::from(error).raw_os_error(), Some(errno));
        }
        let text = SendError::from_errno("kill", libc::EBADF).to_string();
        assert!(text.starts_with("kill failed: "), "{text}");
        assert!(SendError::InvalidTarget(-1).to_string().starts_with("-1 does not name"));
    }
}
