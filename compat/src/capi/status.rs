//! Error numbers: from sigplane's errors, to texts; and the end of every panic.
//!
//! `strerror` and `contained` (of what does not panic) may run in signal handlers.

use super::abi::*;
use core::ffi::{CStr, c_char, c_int};
use sigplane::Error;
use sigplane::fault::FixupError;
use sigplane::send::SendError;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What the functions of this module's siblings return inside.
pub(super) type Result<T = ()> = core::result::Result<T, c_int>;

/// The boundary: the number of what `call` returns. A panic ends here.
pub(super) fn contained(call: impl FnOnce() -> Result) -> c_int {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => OK,
        Ok(Err(error)) => error,
        Err(payload) => {
            // Dropping it could panic again.
            core::mem::forget(payload);
            E_PANIC
        }
    }
}

/// For functions that wait for handlers, allocate or lock.
pub(super) fn ordinary() -> Result {
    if sigplane::capi::in_handler() { Err(IN_HANDLER) } else { Ok(()) }
}

/// For functions that change what a `vfork` child shares with its parent.
pub(super) fn own_process() -> Result {
    if sigplane::capi::is_borrowed() { Err(VFORK_CHILD) } else { Ok(()) }
}

/// Where the calling thread's errno is.
fn errno() -> *mut c_int {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::__errno_location() }
}

/// The calling thread's errno.
pub(super) fn get_errno() -> c_int {
    // SAFETY: the calling thread's own.
    unsafe { errno().read() }
}

pub(super) fn set_errno(value: c_int) {
    // SAFETY: the calling thread's own.
    unsafe { errno().write(value) };
}

/// An error of the system, which goes to errno.
pub(super) fn os(error: c_int) -> c_int {
    set_errno(error);
    E_OS
}

/// The number of an error.
pub(super) fn of(error: Error) -> c_int {
    match error {
        Error::Uncatchable(_) => E_UNCATCHABLE,
        Error::ReservedByLibc(_)
        | Error::OutOfRange(_)
        | Error::RealtimeOutOfRange(_)
        | Error::UnknownName(_) => E_SIGNAL,
        Error::EmptySet => E_EMPTY_SET,
        Error::ZeroCapacity => E_ZERO_CAPACITY,
        Error::NeedsImmediate(_) => E_NEEDS_IMMEDIATE,
        Error::VforkChild => VFORK_CHILD,
        Error::EmptyRange { .. } => E_EMPTY_RANGE,
        Error::RangeTaken { .. } => E_RANGE_TAKEN,
        Error::Fixup(FixupError::Misshapen { .. }) => FIXUP_MISSHAPEN,
        Error::Fixup(FixupError::Empty { .. }) => FIXUP_EMPTY,
        Error::Fixup(FixupError::OutOfOrder { .. }) => FIXUP_OUT_OF_ORDER,
        Error::Fixup(FixupError::Overlapping { .. }) => FIXUP_OVERLAPPING,
        Error::Fixup(FixupError::Cycle { .. }) => FIXUP_CYCLE,
        Error::Fixup(FixupError::Registered { .. }) => FIXUP_REGISTERED,
        Error::Fixup(FixupError::Unknown) => FIXUP_UNKNOWN,
        Error::InHandler => IN_HANDLER,
        Error::Os { source, .. } => os(source.raw_os_error().unwrap_or(0)),
        _ => OTHER,
    }
}

/// The number of an error of sending.
pub(super) fn of_send(error: SendError) -> c_int {
    match error {
        SendError::QueueFull => E_QUEUE_FULL,
        SendError::NoSuchProcess => E_NO_TARGET,
        SendError::PermissionDenied => E_PERMISSION,
        SendError::InvalidTarget(_) => E_ARGUMENT,
        other => os(other.errno()),
    }
}

/// `sigplane_strerror`
pub unsafe extern "C" fn strerror(error: c_int) -> *const c_char {
    text(error).as_ptr()
}

/// `sigplane_version`
pub unsafe extern "C" fn version() -> u32 {
    VERSION
}

/// `sigplane_abi_version`
pub unsafe extern "C" fn abi() -> u32 {
    ABI
}

fn text(error: c_int) -> &'static CStr {
    match error {
        OK => c"success",
        FIXUP_MISSHAPEN => c"the fixups are not a list of whole entries",
        FIXUP_EMPTY => c"a fixup covers no instruction",
        FIXUP_OUT_OF_ORDER => c"a fixup ends before it starts",
        FIXUP_OVERLAPPING => c"two fixups cover the same instruction",
        FIXUP_CYCLE => c"a fixup's landing leads back to it",
        FIXUP_REGISTERED => c"the fixups are registered already",
        FIXUP_UNKNOWN => c"no fixups are registered there",
        VFORK_CHILD => {
            c"this process shares its parent's memory (vfork): call exec or _exit first, or use fork"
        }
        IN_HANDLER => c"not possible inside a signal handler: do it in ordinary code",
        ABSENT => c"sigplane does not own a signal of faults in this process",
        E_NULL => c"a pointer is NULL that must not be",
        E_POINTER => c"a pointer to memory that is not there, or may not be written",
        E_HANDLE => c"no live object has this handle",
        E_SIZE => c"the size of a structure is not one that this library knows: set it to sizeof",
        E_ARGUMENT => c"a number is out of range, or a flag is unknown",
        E_SIGNAL => c"no such signal, or one that libc keeps for itself",
        E_EMPTY_SET => c"the set of signals is empty: name at least one signal",
        E_UNCATCHABLE => c"SIGKILL and SIGSTOP cannot be caught: leave them out of the set",
        E_NEEDS_IMMEDIATE => c"a signal of faults is handled where it happens: use the immediate context",
        E_ZERO_CAPACITY => c"a queue of capacity 0 holds nothing: use at least 1",
        E_EMPTY_RANGE => c"the range has no address, or goes beyond the end of the address space",
        E_RANGE_TAKEN => c"the range of code has a handler already: remove that range first",
        E_WRONG_THREAD => c"it belongs to another thread, which still runs",
        E_WRONG_CONTEXT => c"the subscription has another context",
        E_THREAD_ENDED => c"the thread has ended",
        E_TIMEOUT => c"the time has passed",
        E_CLOSED => c"the subscription has ended",
        E_CANNOT_WAIT => c"a wait would never end here: in a deferral, a handler, or at a safe point",
        E_INTERRUPTED => c"interrupted: work for the thread has been run",
        E_FAULT => c"the access has faulted",
        E_MISMATCH => c"the word has another value",
        E_QUEUE_FULL => c"the receiver's signal queue is full: try later",
        E_NO_TARGET => c"no such process or thread: it may have ended",
        E_PERMISSION => c"not permitted to signal it",
        E_TOO_MANY => c"too many live handles: remove some",
        E_OS => c"a system call has failed: see errno",
        E_PANIC => c"a defect of sigplane, which was contained: please report it",
        _ => c"unknown error",
    }
}
