//! Reading the ring while others write it: from another process, from a copy, or from inside.
//!
//! A record is taken only if its stamp says that it is complete, and says the same after it has been read.
//!
//! # Examples
//! ```
//! use sigplane_compat::journal::{self, Kind, read::Read};
//!
//! journal::note(Kind::TakenOver, 10, 0x1234, 0);
//! let newest = journal::current().next.load(std::sync::atomic::Ordering::Acquire) - 1;
//! let Read::Complete(record) = journal::current().read(newest) else { panic!("it is there") };
//! assert_eq!((record.signal, record.new_handler), (10, 0x1234));
//! ```

use super::layout::{CHANGES, Change, Journal};
use core::sync::atomic::Ordering::{Acquire, Relaxed};
use core::sync::atomic::fence;

/// A record of the ring in plain numbers; see [`Change`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "as in `Change`")]
pub struct Record {
    pub sequence: u64,
    pub time: u64,
    pub caller: u64,
    pub old_handler: u64,
    pub old_flags: u64,
    pub new_handler: u64,
    pub new_flags: u64,
    pub new_mask: u64,
    pub pid: u32,
    pub tid: u32,
    pub kind: u8,
    pub call: u8,
    pub signal: u8,
    pub caller_object: u32,
    pub old_object: u32,
    pub new_object: u32,
}

/// What is found of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Read {
    /// All of it.
    Complete(Record),
    /// It is being written, or has been given up by its writer: only time tells.
    Unfinished,
    /// A later one has its place.
    Gone,
}

impl Journal {
    /// Reads the record with this number, which must be below `next`.
    ///
    /// # Async-signal safety
    /// Yes.
    #[must_use]
    pub fn read(&self, sequence: u64) -> Read {
        let place = &self.ring[sequence as usize % CHANGES];
        let complete = sequence * 2 + 2;
        let stamp = place.stamp.load(Acquire);
        if stamp != complete {
            return if stamp > complete { Read::Gone } else { Read::Unfinished };
        }
        let record = copy(sequence, place);
        // ORDERING: the stamp is read again behind everything; see `Change::stamp`.
        fence(Acquire);
        if place.stamp.load(Relaxed) == stamp { Read::Complete(record) } else { Read::Gone }
    }
}

fn copy(sequence: u64, change: &Change) -> Record {
    Record {
        sequence,
        time: change.time.load(Relaxed),
        caller: change.caller.load(Relaxed),
        old_handler: change.old_handler.load(Relaxed),
        old_flags: change.old_flags.load(Relaxed),
        new_handler: change.new_handler.load(Relaxed),
        new_flags: change.new_flags.load(Relaxed),
        new_mask: change.new_mask.load(Relaxed),
        pid: change.pid.load(Relaxed),
        tid: change.tid.load(Relaxed),
        kind: change.kind.load(Relaxed),
        call: change.call.load(Relaxed),
        signal: change.signal.load(Relaxed),
        caller_object: change.caller_object.load(Relaxed),
        old_object: change.old_object.load(Relaxed),
        new_object: change.new_object.load(Relaxed),
    }
}
