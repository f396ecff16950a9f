//! What the journal looks like in memory: the same for the program that writes it and for the command
//! that reads it from outside.
//!
//! Every word is an atomic, so that a writer in a handler, writers on other threads and a reader in
//! another process can meet in any order; nothing in here points anywhere. All zeroes is a valid, empty
//! journal. A change of this layout changes [`VERSION`].

pub use super::kind::{Call, Kind};
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

/// "sigplane", and not by chance.
pub const MAGIC: u64 = u64::from_le_bytes(*b"sigplane");
/// Of the layout.
pub const VERSION: u32 = 2;
/// Signals are numbered 1 to 64.
pub const SIGNALS: usize = 65;
/// How many owners of one signal are kept apart; see [`Owners`].
pub const OWNERS: usize = 8;
/// How many changes the ring keeps: the newest ones.
pub const CHANGES: usize = 2048;
/// How many objects can have a name.
pub const OBJECTS: usize = 256;
/// Bytes of an object's path, with the closing zero.
pub const PATH: usize = 200;
/// In place of an index: there is none.
pub const NONE: u32 = u32::MAX;

/// One change: fixed size, valid when `stamp` is even, not zero, and the same before and after reading.
#[derive(Debug)]
#[repr(C)]
pub struct Change {
    /// `2 * sequence + 2` when complete, `2 * sequence + 1` while it is written, 0 when unused.
    pub stamp: AtomicU64,
    /// Coarse monotonic time, in nanoseconds.
    pub time: AtomicU64,
    /// Address after the call.
    pub caller: AtomicU64,
    /// The action before.
    pub old_handler: AtomicU64,
    /// See `sigaction(2)`.
    pub old_flags: AtomicU64,
    /// The action after.
    pub new_handler: AtomicU64,
    /// See `sigaction(2)`.
    pub new_flags: AtomicU64,
    /// Bit n - 1 for signal n.
    pub new_mask: AtomicU64,
    /// Whose.
    pub pid: AtomicU32,
    /// Which thread.
    pub tid: AtomicU32,
    /// [`Kind`].
    pub kind: AtomicU8,
    /// [`Call`].
    pub call: AtomicU8,
    /// Which.
    pub signal: AtomicU8,
    /// Keeps what follows aligned.
    pub unused: AtomicU8,
    /// Index of the caller's object, or [`NONE`].
    pub caller_object: AtomicU32,
    /// Of the old handler's.
    pub old_object: AtomicU32,
    /// Of the new handler's.
    pub new_object: AtomicU32,
}

/// A handler that a caller set for a signal: the first time in full, later times as a count.
#[derive(Debug)]
#[repr(C)]
pub struct Owner {
    /// 0 unused, 1 being written, 2 complete.
    pub state: AtomicU32,
    /// [`Call`].
    pub call: AtomicU32,
    /// With `caller`, what it is found by.
    pub handler: AtomicU64,
    /// Address after the call.
    pub caller: AtomicU64,
    /// As last set.
    pub flags: AtomicU64,
    /// As last set.
    pub mask: AtomicU64,
    /// When it was first set; coarse monotonic time, in nanoseconds.
    pub time: AtomicU64,
    /// How often it was set. Increments that meet may be lost.
    pub count: AtomicU64,
    /// Which thread set it first.
    pub tid: AtomicU32,
    /// Index, or [`NONE`].
    pub caller_object: AtomicU32,
    /// Index, or [`NONE`].
    pub handler_object: AtomicU32,
    /// Keeps the size a multiple of 8.
    pub unused: AtomicU32,
}

/// The owners that a signal has had.
#[derive(Debug)]
#[repr(C)]
pub struct Owners {
    /// Index of the present one, plus 1; 0 for none; `OWNERS + 1` when it found no place: then the ring
    /// has it.
    pub current: AtomicU32,
    /// How many changes found no place.
    pub crowded: AtomicU32,
    /// Index, plus 1, of one that is entered before the present one and stays: a Java VM's. 0 for none.
    pub first: AtomicU32,
    /// Keeps what follows aligned.
    pub unused: AtomicU32,
    /// In order of their first appearance.
    pub list: [Owner; OWNERS],
}

/// A loaded object.
#[derive(Debug)]
#[repr(C)]
pub struct Object {
    /// 0 unused, 1 being written, 2 complete.
    pub state: AtomicU32,
    /// Whose, because with `--follow` several processes write here.
    pub pid: AtomicU32,
    /// What to subtract from an address to have one of the file's.
    pub bias: AtomicU64,
    /// The first address.
    pub start: AtomicU64,
    /// The first address behind it.
    pub end: AtomicU64,
    /// Signals of faults that it has blocked.
    pub blocks: AtomicU64,
    /// Signals that it has sent and the kernel did not queue.
    pub refused: AtomicU64,
    /// How many alternate stacks it has set.
    pub stacks: AtomicU64,
    /// Its path up to a zero; empty for the executable.
    pub path: [AtomicU8; PATH],
}

/// Bits of [`Journal::mode`].
pub mod mode {
    /// Every change goes to the ring, also a repeated one.
    pub const TRACE: u32 = 1;
    /// The programs that this one starts write here as well.
    pub const FOLLOW: u32 = 2;
    /// The process has executed a program that writes elsewhere: a `sigplane run` with a reporter of its own.
    pub const LEFT: u32 = 4;
}

/// All of it.
#[derive(Debug)]
#[repr(C)]
pub struct Journal {
    /// [`MAGIC`] once there is anything to read.
    pub magic: AtomicU64,
    /// [`VERSION`].
    pub version: AtomicU32,
    /// `size_of::<Journal>()`, against a reader of another build.
    pub size: AtomicU32,
    /// Whose owners these are.
    pub pid: AtomicU32,
    /// See [`mode`].
    pub mode: AtomicU32,
    /// When it began.
    pub started: AtomicU64,
    /// How many changes were given a number; those before `next - CHANGES` are overwritten.
    pub next: AtomicU64,
    /// How many more found their place in use.
    pub lost: AtomicU64,
    /// How many objects found no place.
    pub unnamed: AtomicU64,
    /// How many instances of a signal the kernel did not queue for this process, by signal number.
    pub refused: [AtomicU64; SIGNALS],
    /// Path of the executable up to a zero.
    pub executable: [AtomicU8; PATH],
    /// By signal number.
    pub owners: [Owners; SIGNALS],
    /// In order of their first appearance.
    pub objects: [Object; OBJECTS],
    /// By sequence modulo [`CHANGES`].
    pub ring: [Change; CHANGES],
}

impl Journal {
    /// An empty one, which costs no memory before it is written.
    #[must_use]
    pub const fn new() -> Self {
        // Everything is zero on purpose: the static of it lies where the loader maps zero pages.
        const fn change() -> Change {
            Change {
                stamp: AtomicU64::new(0),
                time: AtomicU64::new(0),
                caller: AtomicU64::new(0),
                old_handler: AtomicU64::new(0),
                old_flags: AtomicU64::new(0),
                new_handler: AtomicU64::new(0),
                new_flags: AtomicU64::new(0),
                new_mask: AtomicU64::new(0),
                pid: AtomicU32::new(0),
                tid: AtomicU32::new(0),
                kind: AtomicU8::new(0),
                call: AtomicU8::new(0),
                signal: AtomicU8::new(0),
                unused: AtomicU8::new(0),
                caller_object: AtomicU32::new(0),
                old_object: AtomicU32::new(0),
                new_object: AtomicU32::new(0),
            }
        }
        const fn owner() -> Owner {
            Owner {
                state: AtomicU32::new(0),
                call: AtomicU32::new(0),
                handler: AtomicU64::new(0),
                caller: AtomicU64::new(0),
                flags: AtomicU64::new(0),
                mask: AtomicU64::new(0),
                time: AtomicU64::new(0),
                count: AtomicU64::new(0),
                tid: AtomicU32::new(0),
                caller_object: AtomicU32::new(0),
                handler_object: AtomicU32::new(0),
                unused: AtomicU32::new(0),
            }
        }
        const fn owners() -> Owners {
            Owners {
                current: AtomicU32::new(0),
                crowded: AtomicU32::new(0),
                first: AtomicU32::new(0),
                unused: AtomicU32::new(0),
                list: [const { owner() }; OWNERS],
            }
        }
        const fn object() -> Object {
            Object {
                state: AtomicU32::new(0),
                pid: AtomicU32::new(0),
                bias: AtomicU64::new(0),
                start: AtomicU64::new(0),
                end: AtomicU64::new(0),
                blocks: AtomicU64::new(0),
                refused: AtomicU64::new(0),
                stacks: AtomicU64::new(0),
                path: [const { AtomicU8::new(0) }; PATH],
            }
        }
        Self {
            magic: AtomicU64::new(0),
            version: AtomicU32::new(0),
            size: AtomicU32::new(0),
            pid: AtomicU32::new(0),
            mode: AtomicU32::new(0),
            started: AtomicU64::new(0),
            next: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            unnamed: AtomicU64::new(0),
            refused: [const { AtomicU64::new(0) }; SIGNALS],
            executable: [const { AtomicU8::new(0) }; PATH],
            owners: [const { owners() }; SIGNALS],
            objects: [const { object() }; OBJECTS],
            ring: [const { change() }; CHANGES],
        }
    }
}

impl Default for Journal {
    fn default() -> Self {
        Self::new()
    }
}
