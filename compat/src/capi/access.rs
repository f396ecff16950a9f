//! Safe access and guarded calls.
//!
//! **Runs inside signal handlers**, once faults are enabled.

use super::abi::*;
use super::event::fault_kind;
use super::memory;
use super::status::{self, Result, contained};
use core::ffi::{CStr, c_char, c_int, c_void};
use core::sync::atomic::Ordering::SeqCst;
use sigplane::fault::{self, Fault as Caught, Plain, Word};
use sigplane::{FaultKind, capi};

fn ready() -> Result {
    if capi::faults_enabled() { Ok(()) } else { fault::enable().map_err(status::of) }
}

/// Hands a fault to the caller.
fn caught(fault: Caught, to: *mut Fault) -> c_int {
    memory::write_optional(to, Fault::of(&fault)).err().unwrap_or(E_FAULT)
}

/// An access that may fault.
fn access(to: *mut Fault, call: impl FnOnce() -> core::result::Result<(), Caught>) -> c_int {
    contained(|| {
        ready()?;
        memory::probe_optional(to)?;
        call().map_err(|fault| caught(fault, to))
    })
}

/// `sigplane_try_copy`
pub unsafe extern "C" fn copy(
    to: *mut c_void,
    from: *const c_void,
    length: usize,
    fault: *mut Fault,
) -> c_int {
    // SAFETY: the header's contract: what is written is the caller's.
    access(fault, || unsafe { fault::try_copy_nonoverlapping(from.cast(), to.cast(), length) })
}

/// `sigplane_try_move`
pub unsafe extern "C" fn move_(
    to: *mut c_void,
    from: *const c_void,
    length: usize,
    fault: *mut Fault,
) -> c_int {
    // SAFETY: as above.
    access(fault, || unsafe { fault::try_copy(from.cast(), to.cast(), length) })
}

/// `sigplane_try_fill`
pub unsafe extern "C" fn fill(
    to: *mut c_void,
    byte: c_int,
    length: usize,
    fault: *mut Fault,
) -> c_int {
    // SAFETY: as above.
    access(fault, || unsafe { fault::try_fill(to.cast(), byte as u8, length) })
}

/// `sigplane_try_strlen`
pub unsafe extern "C" fn strlen(
    string: *const c_char,
    limit: usize,
    length: *mut usize,
    fault: *mut Fault,
) -> c_int {
    contained(|| {
        ready()?;
        memory::probe_optional(fault)?;
        memory::probe(length)?;
        let found = fault::try_strlen(string, limit).map_err(|error| caught(error, fault))?;
        memory::write(length, found)
    })
}

fn read<T: Plain + memory::Bytes>(from: *const c_void, value: *mut T, fault: *mut Fault) -> c_int {
    contained(|| {
        ready()?;
        memory::probe_optional(fault)?;
        memory::probe(value)?;
        let found = fault::try_read(from.cast::<T>()).map_err(|error| caught(error, fault))?;
        memory::write(value, found)
    })
}

macro_rules! scalars {
    ($($read:ident $write:ident $type:ty;)*) => { $(
        #[doc = concat!("`sigplane_try_", stringify!($read), "`")]
        pub unsafe extern "C" fn $read(
            from: *const c_void,
            value: *mut $type,
            fault: *mut Fault,
        ) -> c_int {
            read(from, value, fault)
        }
        #[doc = concat!("`sigplane_try_", stringify!($write), "`")]
        pub unsafe extern "C" fn $write(to: *mut c_void, value: $type, fault: *mut Fault) -> c_int {
            // SAFETY: the header's contract: what is written is the caller's.
            access(fault, || unsafe { fault::try_write(to.cast(), value) })
        }
    )* };
}

scalars! {
    read8 write8 u8;
    read16 write16 u16;
    read32 write32 u32;
    read64 write64 u64;
}

fn compare_exchange<T: Word + memory::Bytes>(
    at: *mut c_void,
    expected: *mut T,
    desired: T,
    fault: *mut Fault,
) -> c_int {
    contained(|| {
        ready()?;
        memory::probe_optional(fault)?;
        memory::probe(expected)?;
        let wanted = memory::read(expected.cast_const())?;
        // SAFETY: the header's contract: what is written is the caller's.
        let done =
            unsafe { fault::try_compare_exchange(at.cast(), wanted, desired, SeqCst, SeqCst) };
        match done.map_err(|error| caught(error, fault))? {
            Ok(_) => Ok(()),
            Err(found) => memory::write(expected, found).and(Err(E_MISMATCH)),
        }
    })
}

/// `sigplane_try_compare_exchange32`
pub unsafe extern "C" fn compare_exchange32(
    at: *mut c_void,
    expected: *mut u32,
    desired: u32,
    fault: *mut Fault,
) -> c_int {
    compare_exchange(at, expected, desired, fault)
}

/// `sigplane_try_compare_exchange64`
pub unsafe extern "C" fn compare_exchange64(
    at: *mut c_void,
    expected: *mut u64,
    desired: u64,
    fault: *mut Fault,
) -> c_int {
    compare_exchange(at, expected, desired, fault)
}

/// `sigplane_guarded`
pub unsafe extern "C" fn guarded(
    call: Option<Call>,
    argument: *mut c_void,
    fault: *mut Fault,
) -> c_int {
    contained(|| {
        let call = call.ok_or(E_NULL)?;
        ready()?;
        memory::probe_optional(fault)?;
        let run = || {
            // SAFETY: the header's contract of a call.
            unsafe { call(argument) };
        };
        // SAFETY: the header asks of `call` what sigplane asks.
        let done = unsafe { fault::guarded(run) };
        done.map_err(|error| caught(error, fault))
    })
}

/// `sigplane_fault_text`
pub unsafe extern "C" fn fault_text(kind: u32) -> *const c_char {
    text(kind).as_ptr()
}

fn text(kind: u32) -> &'static CStr {
    match kind {
        FAULT_UNSPECIFIED => c"fault without details",
        FAULT_UNMAPPED => c"address not mapped",
        FAULT_NON_CANONICAL => c"non-canonical address",
        FAULT_STACK_OVERFLOW => c"stack overflow",
        FAULT_PROTECTED => c"access not permitted",
        FAULT_BOUNDS => c"outside the bounds",
        FAULT_PROTECTION_KEY => c"access not permitted by protection key",
        FAULT_CONTROL_FLOW => c"control flow violation",
        FAULT_MEMORY_TAG => c"memory tag mismatch",
        FAULT_MISALIGNED => c"misaligned address",
        FAULT_NO_MEMORY => c"nothing behind the mapping",
        FAULT_OBJECT => c"hardware error behind the mapping",
        FAULT_MEMORY_ERROR_NOW => c"broken memory, in use",
        FAULT_MEMORY_ERROR_ELSEWHERE => c"broken memory, not in use",
        FAULT_INTEGER_DIVISION => c"integer division by zero",
        FAULT_INTEGER_OVERFLOW => c"integer overflow",
        FAULT_FLOAT_DIVISION => c"floating-point division by zero",
        FAULT_FLOAT_OVERFLOW => c"floating-point overflow",
        FAULT_FLOAT_UNDERFLOW => c"floating-point underflow",
        FAULT_FLOAT_INEXACT => c"inexact floating-point result",
        FAULT_FLOAT_INVALID => c"invalid floating-point operation",
        FAULT_FLOAT_OTHER => c"floating-point error",
        FAULT_INSTRUCTION => c"illegal instruction",
        FAULT_PRIVILEGED => c"privileged instruction",
        FAULT_COPROCESSOR => c"coprocessor error",
        FAULT_INTERNAL_STACK => c"internal stack error",
        FAULT_BREAKPOINT => c"breakpoint",
        FAULT_STEP => c"single step",
        FAULT_BRANCH => c"branch taken",
        FAULT_WATCHPOINT => c"hardware breakpoint or watchpoint",
        FAULT_PERF => c"performance event",
        FAULT_FILTERED_CALL => c"system call caught by seccomp",
        FAULT_DISPATCHED_CALL => c"system call dispatched to user space",
        _ => c"fault",
    }
}

/// A kind's number, for the unit tests.
#[cfg(test)]
pub(super) fn described(kind: FaultKind) -> (u32, &'static CStr) {
    (fault_kind(kind), text(fault_kind(kind)))
}

#[cfg(not(test))]
const _: fn(FaultKind) -> u32 = fault_kind;
