//! What the running code did wrong: the view of a fault signal that the kernel raised.
//!
//! It is not the machine context: trap number, error code and registers are there, and
//! the `fault` modules read them. Nothing here looks at anything but `siginfo_t`.
//!
//! Invariant: an address is given only where the kernel wrote one, so `Some(0)` is a real
//! access to address 0 and `None` means that the kernel does not say.

use std::fmt;

use libc::siginfo_t;

use super::fields;
use crate::signal::Signal;

/// A fault of the running code.
///
/// # Examples
/// ```
/// use sigplane::{Event, FaultKind};
///
/// fn is_null_access(event: &Event) -> bool {
///     event.fault().is_some_and(|fault| {
///         fault.kind == FaultKind::Unmapped && fault.address.is_some_and(|at| at < 4096)
///     })
/// }
/// # let _ = is_null_access;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct FaultInfo {
    /// The memory that was accessed (`SIGSEGV`, `SIGBUS`), or the instruction (`SIGFPE`,
    /// `SIGILL`, `SIGTRAP`), or the end of the system call instruction (`SIGSYS`).
    ///
    /// `None` where the kernel does not say: with [`FaultKind::Unspecified`] (an access to
    /// a non-canonical address is one), with [`FaultKind::ControlFlow`], and with
    /// [`FaultKind::Misaligned`] on x86.
    pub address: Option<usize>,
    /// What kind of fault.
    pub kind: FaultKind,
    /// The `si_code` that `kind` was read from.
    pub code: i32,
}

/// The kinds of fault, each named after its `si_code`.
///
/// # References
/// `sigaction(2)`, the `ILL_`, `FPE_`, `SEGV_`, `BUS_`, `TRAP_` and `SYS_` codes
///
/// # Examples
/// ```
/// use sigplane::FaultKind;
///
/// assert_eq!(FaultKind::Unmapped.to_string(), "address not mapped");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// `SI_KERNEL`: the siginfo says no more. On x86_64: a non-canonical address or another
    /// general protection fault (`SIGSEGV`), a stack segment fault (`SIGBUS`), or a
    /// breakpoint instruction (`SIGTRAP`). The machine context tells.
    Unspecified,
    /// `SEGV_MAPERR`: nothing is mapped at the address. Addresses of the kernel count as such.
    Unmapped,
    /// The upper bits of the address are not all equal, so it is none. The machine context tells; an
    /// [`Event`](crate::Event) alone says [`Unspecified`](Self::Unspecified).
    NonCanonical,
    /// The stack has run into its guard page, or cannot grow. The machine context tells; an
    /// [`Event`](crate::Event) alone says [`Unmapped`](Self::Unmapped) or [`Protected`](Self::Protected).
    StackOverflow,
    /// `SEGV_ACCERR`: the mapping does not allow this access.
    Protected,
    /// `SEGV_BNDERR`: outside these bounds.
    Bounds {
        /// Lower bound.
        lower: usize,
        /// Upper bound.
        upper: usize,
    },
    /// `SEGV_PKUERR`: this protection key forbids the access.
    ProtectionKey(u32),
    /// `SEGV_CPERR`: the control flow was not the intended one (shadow stack).
    ControlFlow,
    /// `SEGV_MTEAERR`, `SEGV_MTESERR`: the memory tag does not match (aarch64).
    MemoryTag,
    /// `BUS_ADRALN`: the address is not aligned as it must be.
    Misaligned,
    /// `BUS_ADRERR`: nothing is behind the mapping, such as past the end of a file.
    NoMemory,
    /// `BUS_OBJERR`: a hardware error of the object behind the mapping.
    Object,
    /// `BUS_MCEERR_AR`: the memory is broken, and the running code needs it.
    /// `2^lsb` bytes around the address are lost.
    MemoryErrorNow {
        /// Least significant valid bit of the address.
        lsb: i16,
    },
    /// `BUS_MCEERR_AO`: memory of the process is broken, but not what the running code
    /// needs now. The one kind that is not synchronous.
    MemoryErrorElsewhere {
        /// Least significant valid bit of the address.
        lsb: i16,
    },
    /// `FPE_INTDIV`: integer division by zero.
    IntegerDivision,
    /// `FPE_INTOVF`: integer overflow.
    IntegerOverflow,
    /// `FPE_FLTDIV`: floating-point division by zero.
    FloatDivision,
    /// `FPE_FLTOVF`: floating-point overflow.
    FloatOverflow,
    /// `FPE_FLTUND`: floating-point underflow.
    FloatUnderflow,
    /// `FPE_FLTRES`: inexact floating-point result.
    FloatInexact,
    /// `FPE_FLTINV`: invalid floating-point operation.
    FloatInvalid,
    /// `FPE_FLTSUB`, `FPE_FLTUNK`: another floating-point error.
    FloatOther,
    /// `ILL_ILLOPC`, `ILL_ILLOPN`, `ILL_ILLADR`, `ILL_ILLTRP`: not an instruction. On x86
    /// the kernel always says `ILL_ILLOPN`.
    Instruction,
    /// `ILL_PRVOPC`, `ILL_PRVREG`: an instruction or register that is the kernel's.
    Privileged,
    /// `ILL_COPROC`: a coprocessor's error.
    Coprocessor,
    /// `ILL_BADSTK`: internal stack error.
    InternalStack,
    /// `TRAP_BRKPT`: a breakpoint.
    Breakpoint,
    /// `TRAP_TRACE`: a single step.
    Step,
    /// `TRAP_BRANCH`: a branch was taken.
    Branch,
    /// `TRAP_HWBKPT`: a hardware breakpoint or watchpoint.
    Watchpoint,
    /// `TRAP_PERF`: a `perf_event_open(2)` event with `sigtrap`.
    Perf {
        /// Its `sig_data`.
        data: usize,
    },
    /// `SYS_SECCOMP`: a seccomp filter caught a system call.
    FilteredCall,
    /// `SYS_USER_DISPATCH`: system call user dispatch caught a system call.
    DispatchedCall,
    /// A code that this version does not know.
    Other(i32),
}

impl FaultInfo {
    /// The view of `info`, which the caller knows to be one of a fault.
    pub(super) fn of(signal: Signal, info: &siginfo_t) -> FaultInfo {
        let code = info.si_code;
        let kind = FaultKind::of(signal, code, info);
        let address = match (kind, fields::address(info)) {
            // `SI_KERNEL` fills the `_kill` member; no address is there, whatever the bytes.
            (FaultKind::Unspecified, _) => None,
            // x86 passes a null pointer with these two, for want of the address.
            (FaultKind::ControlFlow | FaultKind::Misaligned, 0) => None,
            (_, address) => Some(address),
        };
        FaultInfo { address, kind, code }
    }
}

impl FaultKind {
    fn of(signal: Signal, code: i32, info: &siginfo_t) -> FaultKind {
        // Codes as in the kernel's include/uapi/asm-generic/siginfo.h; libc names few.
        match (signal, code) {
            (Signal::SEGV, 3) => FaultKind::Bounds {
                lower: fields::lower_bound(info),
                upper: fields::upper_bound(info),
            },
            (Signal::SEGV, 4) => FaultKind::ProtectionKey(fields::protection_key(info)),
            (Signal::BUS, libc::BUS_MCEERR_AR) => {
                FaultKind::MemoryErrorNow { lsb: fields::address_lsb(info) }
            }
            (Signal::BUS, libc::BUS_MCEERR_AO) => {
                FaultKind::MemoryErrorElsewhere { lsb: fields::address_lsb(info) }
            }
            (Signal::TRAP, 6) => FaultKind::Perf { data: fields::perf_data(info) },
            (signal, code) => FaultKind::by_code(signal, code),
        }
    }

    /// The kinds that `si_code` alone tells.
    pub(crate) fn by_code(signal: Signal, code: i32) -> FaultKind {
        match (signal, code) {
            (_, libc::SI_KERNEL) => FaultKind::Unspecified,
            (Signal::SEGV, 1) => FaultKind::Unmapped,
            (Signal::SEGV, 2) => FaultKind::Protected,
            (Signal::SEGV, 8 | 9) => FaultKind::MemoryTag,
            (Signal::SEGV, 10) => FaultKind::ControlFlow,
            (Signal::BUS, libc::BUS_ADRALN) => FaultKind::Misaligned,
            (Signal::BUS, libc::BUS_ADRERR) => FaultKind::NoMemory,
            (Signal::BUS, libc::BUS_OBJERR) => FaultKind::Object,
            (Signal::FPE, 1) => FaultKind::IntegerDivision,
            (Signal::FPE, 2) => FaultKind::IntegerOverflow,
            (Signal::FPE, 3) => FaultKind::FloatDivision,
            (Signal::FPE, 4) => FaultKind::FloatOverflow,
            (Signal::FPE, 5) => FaultKind::FloatUnderflow,
            (Signal::FPE, 6) => FaultKind::FloatInexact,
            (Signal::FPE, 7) => FaultKind::FloatInvalid,
            (Signal::FPE, 8 | 14) => FaultKind::FloatOther,
            (Signal::ILL, 1..=4) => FaultKind::Instruction,
            (Signal::ILL, 5 | 6) => FaultKind::Privileged,
            (Signal::ILL, 7) => FaultKind::Coprocessor,
            (Signal::ILL, 8) => FaultKind::InternalStack,
            (Signal::TRAP, libc::TRAP_BRKPT) => FaultKind::Breakpoint,
            (Signal::TRAP, libc::TRAP_TRACE) => FaultKind::Step,
            (Signal::TRAP, libc::TRAP_BRANCH) => FaultKind::Branch,
            (Signal::TRAP, libc::TRAP_HWBKPT) => FaultKind::Watchpoint,
            (Signal::SYS, 1) => FaultKind::FilteredCall,
            (Signal::SYS, 2) => FaultKind::DispatchedCall,
            (_, other) => FaultKind::Other(other),
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            FaultKind::Unspecified => "fault without details",
            FaultKind::Unmapped => "address not mapped",
            FaultKind::NonCanonical => "non-canonical address",
            FaultKind::StackOverflow => "stack overflow",
            FaultKind::Protected => "access not permitted",
            FaultKind::Bounds { lower, upper } => {
                return write!(f, "outside the bounds {lower:#x} to {upper:#x}");
            }
            FaultKind::ProtectionKey(key) => {
                return write!(f, "access not permitted by protection key {key}");
            }
            FaultKind::ControlFlow => "control flow violation",
            FaultKind::MemoryTag => "memory tag mismatch",
            FaultKind::Misaligned => "misaligned address",
            FaultKind::NoMemory => "nothing behind the mapping",
            FaultKind::Object => "hardware error behind the mapping",
            FaultKind::MemoryErrorNow { .. } => "broken memory, in use",
            FaultKind::MemoryErrorElsewhere { .. } => "broken memory, not in use",
            FaultKind::IntegerDivision => "integer division by zero",
            FaultKind::IntegerOverflow => "integer overflow",
            FaultKind::FloatDivision => "floating-point division by zero",
            FaultKind::FloatOverflow => "floating-point overflow",
            FaultKind::FloatUnderflow => "floating-point underflow",
            FaultKind::FloatInexact => "inexact floating-point result",
            FaultKind::FloatInvalid => "invalid floating-point operation",
            FaultKind::FloatOther => "floating-point error",
            FaultKind::Instruction => "illegal instruction",
            FaultKind::Privileged => "privileged instruction",
            FaultKind::Coprocessor => "coprocessor error",
            FaultKind::InternalStack => "internal stack error",
            FaultKind::Breakpoint => "breakpoint",
            FaultKind::Step => "single step",
            FaultKind::Branch => "branch taken",
            FaultKind::Watchpoint => "hardware breakpoint or watchpoint",
            FaultKind::Perf { .. } => "performance event",
            FaultKind::FilteredCall => "system call caught by seccomp",
            FaultKind::DispatchedCall => "system call dispatched to user space",
            FaultKind::Other(code) => return write!(f, "fault with code {code}"),
        })
    }
}
