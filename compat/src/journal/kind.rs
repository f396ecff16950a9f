//! The numbers in a journal's records: by which call, and what happened.

/// Which entry point changed an action.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[allow(missing_docs, reason = "named after the functions")]
pub enum Call {
    Sigaction = 1,
    Signal = 2,
    Ssignal = 3,
    BsdSignal = 4,
    SysvSignal = 5,
    Sigset = 6,
    Sigignore = 7,
    Siginterrupt = 8,
    Sigvec = 9,
    /// libc itself, behind the entry points: `system`, `abort`, `posix_spawn`.
    Libc = 10,
    /// A system call of the program's own, seen afterwards.
    Kernel = 11,
    /// Sigplane's own interface, from Rust or C.
    Sigplane = 12,
    /// What the program had when it began.
    Inherited = 13,
}

impl Call {
    /// All of them, in the order of their numbers from 1 on.
    pub const NAMES: [&'static str; 13] = [
        "sigaction",
        "signal",
        "ssignal",
        "bsd_signal",
        "sysv_signal",
        "sigset",
        "sigignore",
        "siginterrupt",
        "sigvec",
        "libc",
        "rt_sigaction",
        "sigplane",
        "inherited",
    ];

    /// The name of the call with this number.
    #[must_use]
    pub fn name(number: u32) -> &'static str {
        (number as usize).checked_sub(1).and_then(|at| Self::NAMES.get(at)).unwrap_or(&"unknown")
    }
}

/// What a record in the ring tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// An action was changed.
    Changed = 1,
    /// A process began to write here.
    Started = 2,
    /// An action was found changed that no entry point had changed; `new` is what was found.
    TakenOver = 3,
    /// An instance of a signal could not be queued (EAGAIN); noted once for each object that sends it.
    Refused = 4,
    /// Signals that the kernel also uses for faults were blocked, with `new_mask`; noted once for each object
    /// that does it.
    FaultBlocked = 5,
    /// A handler was found whose object is no longer loaded.
    Unloaded = 6,
    /// An alternate stack was set: address in `new_handler`, size in `new_mask`.
    AltStack = 7,
    /// A `vfork` child changed an action of its own; its parent's stays.
    Borrowed = 8,
}
