//! The operations of a program, in the order of their codes. The build script writes the same list as a
//! C header for the interpreter, so the two cannot drift.

/// Names of the operations; the position is the code.
pub const NAMES: &[&str] = &[
    "NOTHING",
    "SIGACTION",
    "QUERY",
    "SIGNAL",
    "HOLD",
    "INTERRUPT",
    "BLOCK",
    "GETMASK",
    "PENDING",
    "SEND",
    "ALTSTACK",
    "POLL",
    "BLOCKING",
    "SIGNALFD",
    "TIMER",
    "THREAD",
    "FORK",
    "VFORK",
    "SPAWN",
    "SYSTEM",
    "FAULT",
    "ABORT",
    "JUMP",
    "CONTEXT",
    "TELLPARENT",
    "EXIT",
];
