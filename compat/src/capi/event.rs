//! Events and faults as C sees them.
//!
//! **Runs inside signal handlers.**

use super::abi::*;
use sigplane::fault::{Access, Fault as Caught};
use sigplane::{Cause, ChildStatus, FaultKind};

fn cause(cause: Cause) -> u32 {
    match cause {
        Cause::User => CAUSE_USER,
        Cause::Thread => CAUSE_THREAD,
        Cause::Queue => CAUSE_QUEUE,
        Cause::Timer => CAUSE_TIMER,
        Cause::MessageQueue => CAUSE_MESSAGE_QUEUE,
        Cause::AsyncIo => CAUSE_ASYNC_IO,
        Cause::SigIo => CAUSE_SIGIO,
        Cause::Kernel => CAUSE_KERNEL,
        Cause::Fault => CAUSE_FAULT,
        Cause::Child => CAUSE_CHILD,
        Cause::Poll => CAUSE_POLL,
        Cause::Syscall => CAUSE_SYSCALL,
        _ => CAUSE_OTHER,
    }
}

pub(super) fn fault_kind(kind: FaultKind) -> u32 {
    match kind {
        FaultKind::Unspecified => FAULT_UNSPECIFIED,
        FaultKind::Unmapped => FAULT_UNMAPPED,
        FaultKind::NonCanonical => FAULT_NON_CANONICAL,
        FaultKind::StackOverflow => FAULT_STACK_OVERFLOW,
        FaultKind::Protected => FAULT_PROTECTED,
        FaultKind::Bounds { .. } => FAULT_BOUNDS,
        FaultKind::ProtectionKey(_) => FAULT_PROTECTION_KEY,
        FaultKind::ControlFlow => FAULT_CONTROL_FLOW,
        FaultKind::MemoryTag => FAULT_MEMORY_TAG,
        FaultKind::Misaligned => FAULT_MISALIGNED,
        FaultKind::NoMemory => FAULT_NO_MEMORY,
        FaultKind::Object => FAULT_OBJECT,
        FaultKind::MemoryErrorNow { .. } => FAULT_MEMORY_ERROR_NOW,
        FaultKind::MemoryErrorElsewhere { .. } => FAULT_MEMORY_ERROR_ELSEWHERE,
        FaultKind::IntegerDivision => FAULT_INTEGER_DIVISION,
        FaultKind::IntegerOverflow => FAULT_INTEGER_OVERFLOW,
        FaultKind::FloatDivision => FAULT_FLOAT_DIVISION,
        FaultKind::FloatOverflow => FAULT_FLOAT_OVERFLOW,
        FaultKind::FloatUnderflow => FAULT_FLOAT_UNDERFLOW,
        FaultKind::FloatInexact => FAULT_FLOAT_INEXACT,
        FaultKind::FloatInvalid => FAULT_FLOAT_INVALID,
        FaultKind::FloatOther => FAULT_FLOAT_OTHER,
        FaultKind::Instruction => FAULT_INSTRUCTION,
        FaultKind::Privileged => FAULT_PRIVILEGED,
        FaultKind::Coprocessor => FAULT_COPROCESSOR,
        FaultKind::InternalStack => FAULT_INTERNAL_STACK,
        FaultKind::Breakpoint => FAULT_BREAKPOINT,
        FaultKind::Step => FAULT_STEP,
        FaultKind::Branch => FAULT_BRANCH,
        FaultKind::Watchpoint => FAULT_WATCHPOINT,
        FaultKind::Perf { .. } => FAULT_PERF,
        FaultKind::FilteredCall => FAULT_FILTERED_CALL,
        FaultKind::DispatchedCall => FAULT_DISPATCHED_CALL,
        _ => FAULT_OTHER,
    }
}

fn child_status(status: ChildStatus) -> i32 {
    match status {
        ChildStatus::Exited(value)
        | ChildStatus::Killed(value)
        | ChildStatus::Dumped(value)
        | ChildStatus::Trapped(value)
        | ChildStatus::Stopped(value)
        | ChildStatus::Continued(value) => value,
        _ => 0,
    }
}

impl Event {
    /// What C gets of an event.
    pub(super) fn of(event: &sigplane::Event) -> Self {
        let info = event.raw();
        // SAFETY: `siginfo_t` is 128 bytes of C data, all of which the kernel has written.
        let siginfo = unsafe { core::mem::transmute::<libc::siginfo_t, [u64; 16]>(*info) };
        let mut out = Self {
            size: size_of::<Self>() as u32,
            signo: event.signal().number(),
            code: event.code(),
            error: info.si_errno,
            tid: event.thread(),
            instances: event.instances(),
            time_ns: event.arrival().as_nanos() as u64,
            cause: cause(event.cause()),
            fields: 0,
            pid: 0,
            uid: 0,
            value: 0,
            address: 0,
            fault_kind: 0,
            status: 0,
            band: 0,
            fd: 0,
            timer_id: 0,
            overrun: 0,
            syscall_number: 0,
            syscall_arch: 0,
            reserved: [0; 7],
            siginfo,
        };
        if let Some(sender) = event.sender() {
            out.fields |= HAS_SENDER;
            (out.pid, out.uid) = (sender.pid, sender.uid);
        }
        if let Some(value) = event.value() {
            out.fields |= HAS_VALUE;
            out.value = value.addr() as u64;
        }
        if let Some(child) = event.child() {
            out.fields |= HAS_CHILD;
            (out.pid, out.uid, out.status) = (child.pid, child.uid, child_status(child.status));
        }
        if let Some(fault) = event.fault() {
            out.fields |= HAS_FAULT;
            out.fault_kind = fault_kind(fault.kind);
            if let Some(address) = fault.address {
                out.fields |= HAS_ADDRESS;
                out.address = address as u64;
            }
        }
        if let Some(timer) = event.timer() {
            out.fields |= HAS_TIMER;
            (out.timer_id, out.overrun) = (timer.id, timer.overrun);
        }
        if let Some(poll) = event.poll() {
            out.fields |= HAS_POLL;
            (out.band, out.fd) = (poll.band, poll.fd);
        }
        if let Some(call) = event.syscall() {
            out.fields |= HAS_SYSCALL;
            (out.syscall_number, out.syscall_arch) = (call.number, call.arch);
        }
        out
    }
}

impl Fault {
    /// What C gets of a fault.
    pub(super) fn of(fault: &Caught) -> Self {
        Self {
            size: size_of::<Self>() as u32,
            signo: fault.signal().number(),
            kind: fault_kind(fault.kind()),
            access: match fault.access() {
                None => ACCESS_UNKNOWN,
                Some(Access::Read) => ACCESS_READ,
                Some(Access::Write) => ACCESS_WRITE,
                Some(Access::Execute) => ACCESS_EXECUTE,
            },
            address: fault.address().unwrap_or(0) as u64,
            pc: fault.pc() as u64,
            done: fault.done() as u64,
            has_address: fault.address().is_some().into(),
            reserved: 0,
            spare: [0; 2],
        }
    }
}
