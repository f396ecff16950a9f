//! Structures and constants of the C API, as the header has them.
//!
//! They are not documented here: the header is the place. What is declared by the macros is also listed, so
//! that the header can be compared with it.

use core::ffi::{c_char, c_int, c_void};

/// A structure as this side lays it out.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Its name in C.
    pub name: &'static str,
    /// Its size.
    pub size: usize,
    /// Its members: name, offset, size.
    pub fields: &'static [(&'static str, usize, usize)],
}

macro_rules! structures {
    ($($name:ident = $c:literal { $($field:ident: $type:ty,)* })*) => {
        $(
            #[doc = concat!("`", $c, "`: see `sigplane.h`.")]
            #[repr(C)]
            #[derive(Clone, Copy, Debug)]
            #[allow(missing_docs, reason = "the header documents them")]
            pub struct $name { $(pub $field: $type,)* }
        )*
        /// Every structure of the header.
        pub const LAYOUTS: &[Layout] = &[$(Layout {
            name: $c,
            size: size_of::<$name>(),
            fields: &[$((
                stringify!($field),
                core::mem::offset_of!($name, $field),
                size_of::<$type>(),
            ),)*],
        },)*];
    };
}

macro_rules! constants {
    ($($name:ident: $type:ty = $value:expr;)*) => {
        $(
            #[doc = concat!("`SIGPLANE_", stringify!($name), "`: see `sigplane.h`.")]
            pub const $name: $type = $value;
        )*
        /// Every constant of the header.
        pub const CONSTANTS: &[(&str, i64)] =
            &[$((concat!("SIGPLANE_", stringify!($name)), $value as i64),)*];
    };
}

/// `sigplane_destructor`
pub type Destructor = unsafe extern "C-unwind" fn(user: *mut c_void);
/// `sigplane_handler`
pub type Handler = unsafe extern "C-unwind" fn(event: *const Event, user: *mut c_void);
/// `sigplane_immediate_handler`
pub type ImmediateHandler =
    unsafe extern "C-unwind" fn(delivery: *mut Delivery, user: *mut c_void) -> c_int;
/// `sigplane_fault_handler`
pub type FaultHandler =
    unsafe extern "C-unwind" fn(context: *mut FaultContext, user: *mut c_void) -> c_int;
/// `sigplane_fatal_hook`
pub type FatalHook = unsafe extern "C-unwind" fn(fatal: *const Fatal, user: *mut c_void);
/// `sigplane_call`
pub type Call = unsafe extern "C-unwind" fn(argument: *mut c_void);

structures! {
    Event = "sigplane_event" {
        size: u32,
        signo: i32,
        code: i32,
        error: i32,
        tid: i32,
        instances: u32,
        time_ns: u64,
        cause: u32,
        fields: u32,
        pid: i32,
        uid: u32,
        value: u64,
        address: u64,
        fault_kind: u32,
        status: i32,
        band: i64,
        fd: i32,
        timer_id: i32,
        overrun: i32,
        syscall_number: i32,
        syscall_arch: u32,
        reserved: [u32; 7],
        siginfo: [u64; 16],
    }
    Options = "sigplane_options" {
        size: u32,
        flags: u32,
        priority: i32,
        overflow: u32,
        capacity: u64,
        name: *const c_char,
        destroy: Option<Destructor>,
        reserved: u64,
    }
    Subscription = "sigplane_subscription" {
        id: u64,
    }
    Delivery = "sigplane_delivery" {
        size: u32,
        signo: i32,
        tid: i32,
        flags: u32,
        info: *const c_void,
        context: *mut c_void,
        reserved: [u64; 2],
    }
    Stats = "sigplane_stats" {
        queued: u64,
        taken: u64,
        dropped: u64,
        discarded: u64,
        waiting: u64,
        deepest: u64,
        panics: u64,
        holding: u64,
    }
    ThreadHead = "struct sigplane_thread_head" {
        attention: u32,
        state: u32,
        depth: u32,
    }
    Thread = "sigplane_thread" {
        words: [u64; 2],
    }
    Fault = "sigplane_fault" {
        size: u32,
        signo: i32,
        kind: u32,
        access: u32,
        address: u64,
        pc: u64,
        done: u64,
        has_address: u32,
        reserved: u32,
        spare: [u64; 2],
    }
    FaultContext = "sigplane_fault_context" {
        size: u32,
        flags: u32,
        fault: *const Fault,
        info: *const c_void,
        context: *mut c_void,
        reserved: [u64; 2],
    }
    Region = "sigplane_region" {
        id: u64,
    }
    CodeRange = "sigplane_code_range" {
        id: u64,
    }
    Fatal = "sigplane_fatal" {
        size: u32,
        signo: i32,
        tid: i32,
        reserved: u32,
        event: *const Event,
        fault: *const Fault,
        info: *const c_void,
        context: *const c_void,
    }
    LastChance = "sigplane_last_chance" {
        id: u64,
    }
}

const _: () = assert!(size_of::<Event>() == 256 && size_of::<Fault>() == 64, "for ever");
const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(ThreadHead, attention) == sigplane::capi::ATTENTION);
    assert!(offset_of!(ThreadHead, state) == sigplane::capi::STATE);
    assert!(offset_of!(ThreadHead, depth) == sigplane::capi::DEPTH);
};

constants! {
    VERSION: u32 = 0x000100;
    ABI: u32 = 1;

    OK: c_int = 0;
    FIXUP_MISSHAPEN: c_int = 1;
    FIXUP_EMPTY: c_int = 2;
    FIXUP_OUT_OF_ORDER: c_int = 3;
    FIXUP_OVERLAPPING: c_int = 4;
    FIXUP_CYCLE: c_int = 5;
    FIXUP_REGISTERED: c_int = 6;
    FIXUP_UNKNOWN: c_int = 7;
    VFORK_CHILD: c_int = 8;
    IN_HANDLER: c_int = 9;
    OTHER: c_int = 10;
    ABSENT: c_int = -1;
    E_NULL: c_int = 16;
    E_POINTER: c_int = 17;
    E_HANDLE: c_int = 18;
    E_SIZE: c_int = 19;
    E_ARGUMENT: c_int = 20;
    E_SIGNAL: c_int = 21;
    E_EMPTY_SET: c_int = 22;
    E_UNCATCHABLE: c_int = 23;
    E_NEEDS_IMMEDIATE: c_int = 24;
    E_ZERO_CAPACITY: c_int = 25;
    E_EMPTY_RANGE: c_int = 26;
    E_RANGE_TAKEN: c_int = 27;
    E_WRONG_THREAD: c_int = 28;
    E_WRONG_CONTEXT: c_int = 29;
    E_THREAD_ENDED: c_int = 30;
    E_TIMEOUT: c_int = 31;
    E_CLOSED: c_int = 32;
    E_CANNOT_WAIT: c_int = 33;
    E_INTERRUPTED: c_int = 34;
    E_FAULT: c_int = 35;
    E_MISMATCH: c_int = 36;
    E_QUEUE_FULL: c_int = 37;
    E_NO_TARGET: c_int = 38;
    E_PERMISSION: c_int = 39;
    E_TOO_MANY: c_int = 40;
    E_OS: c_int = 41;
    E_PANIC: c_int = 42;

    SET_FAULTS: u64 = sigplane::SignalSet::FAULTS.bits();

    CAUSE_OTHER: u32 = 0;
    CAUSE_USER: u32 = 1;
    CAUSE_THREAD: u32 = 2;
    CAUSE_QUEUE: u32 = 3;
    CAUSE_TIMER: u32 = 4;
    CAUSE_MESSAGE_QUEUE: u32 = 5;
    CAUSE_ASYNC_IO: u32 = 6;
    CAUSE_SIGIO: u32 = 7;
    CAUSE_KERNEL: u32 = 8;
    CAUSE_FAULT: u32 = 9;
    CAUSE_CHILD: u32 = 10;
    CAUSE_POLL: u32 = 11;
    CAUSE_SYSCALL: u32 = 12;

    HAS_SENDER: u32 = 0x01;
    HAS_VALUE: u32 = 0x02;
    HAS_CHILD: u32 = 0x04;
    HAS_FAULT: u32 = 0x08;
    HAS_ADDRESS: u32 = 0x10;
    HAS_TIMER: u32 = 0x20;
    HAS_POLL: u32 = 0x40;
    HAS_SYSCALL: u32 = 0x80;

    OBSERVE: u32 = 0x1;
    AFTER_LEGACY: u32 = 0x2;
    EDGE_TRIGGERED: u32 = 0x4;
    BACKPRESSURE: u32 = 0;
    COALESCE: u32 = 1;
    DROP_NEWEST: u32 = 2;
    DROP_OLDEST: u32 = 3;
    DELIVERY_FAULT: u32 = 0x1;
    DELIVERY_DEFERRED: u32 = 0x2;
    PASS: c_int = 0;
    HANDLED: c_int = 1;
    REMOVAL_RESTORED: c_int = 0;
    REMOVAL_TAKEN_OVER: c_int = 1;
    REMOVAL_DEFERRED: c_int = 2;
    READABLE: u32 = 1;
    WRITABLE: u32 = 2;

    FAULT_UNSPECIFIED: u32 = 0;
    FAULT_UNMAPPED: u32 = 1;
    FAULT_NON_CANONICAL: u32 = 2;
    FAULT_STACK_OVERFLOW: u32 = 3;
    FAULT_PROTECTED: u32 = 4;
    FAULT_BOUNDS: u32 = 5;
    FAULT_PROTECTION_KEY: u32 = 6;
    FAULT_CONTROL_FLOW: u32 = 7;
    FAULT_MEMORY_TAG: u32 = 8;
    FAULT_MISALIGNED: u32 = 9;
    FAULT_NO_MEMORY: u32 = 10;
    FAULT_OBJECT: u32 = 11;
    FAULT_MEMORY_ERROR_NOW: u32 = 12;
    FAULT_MEMORY_ERROR_ELSEWHERE: u32 = 13;
    FAULT_INTEGER_DIVISION: u32 = 14;
    FAULT_INTEGER_OVERFLOW: u32 = 15;
    FAULT_FLOAT_DIVISION: u32 = 16;
    FAULT_FLOAT_OVERFLOW: u32 = 17;
    FAULT_FLOAT_UNDERFLOW: u32 = 18;
    FAULT_FLOAT_INEXACT: u32 = 19;
    FAULT_FLOAT_INVALID: u32 = 20;
    FAULT_FLOAT_OTHER: u32 = 21;
    FAULT_INSTRUCTION: u32 = 22;
    FAULT_PRIVILEGED: u32 = 23;
    FAULT_COPROCESSOR: u32 = 24;
    FAULT_INTERNAL_STACK: u32 = 25;
    FAULT_BREAKPOINT: u32 = 26;
    FAULT_STEP: u32 = 27;
    FAULT_BRANCH: u32 = 28;
    FAULT_WATCHPOINT: u32 = 29;
    FAULT_PERF: u32 = 30;
    FAULT_FILTERED_CALL: u32 = 31;
    FAULT_DISPATCHED_CALL: u32 = 32;
    FAULT_OTHER: u32 = 33;

    ACCESS_UNKNOWN: u32 = 0;
    ACCESS_READ: u32 = 1;
    ACCESS_WRITE: u32 = 2;
    ACCESS_EXECUTE: u32 = 3;

    REG_PC: c_int = 0;
    REG_SP: c_int = 1;
    REG_FP: c_int = 2;
    REG_ARG0: c_int = 3;
    REG_RESULT: c_int = 9;
}
