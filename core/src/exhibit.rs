//! What a reader from outside may look at: subscriptions and counts, for the `sigplane` command.
//!
//! `sigplane0_exhibit` is a table of addresses and offsets. Another process reads it, and then, through it,
//! memory of this one, while it goes on: nothing here waits for a reader, and a reader must expect rows
//! that change under it. A row's `entry` is read before and behind the rest; where it is the same and not
//! null, the row was that entry's.
//!
//! What it is not: a way to change anything, or a stable interface. A reader of another [`VERSION`] shows
//! nothing.
//!
//! # Safety
//! The addresses are those of statics. A row names memory of an entry from `show` to `hide`, which its
//! destructor calls first.
#![allow(unsafe_code)]

use crate::delivery::entry::Entry;
use crate::delivery::queue::Tally;
use crate::delivery::{Context, Place};
use crate::table::counters::{Counters, SIGNALS};
use crate::table::slot::Slot;
use crate::thread::Record;
use core::mem::offset_of;
use core::ptr;
use core::sync::atomic::Ordering::{Relaxed, Release};
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize};

/// "exhibit1".
pub const MAGIC: u64 = u64::from_le_bytes(*b"exhibit1");
/// Of the layout.
pub const VERSION: u32 = 1;
/// How many subscriptions can be seen.
pub const ROWS: usize = 256;

/// One subscription. Addresses are of the process that it is in.
#[derive(Debug)]
#[repr(C)]
pub struct Row {
    /// Null: no row. Otherwise it is unique as long as the row is there.
    entry: AtomicPtr<Entry>,
    /// Bit n - 1 for signal n.
    pub set: AtomicU64,
    /// Of the name it was given; may be empty.
    pub name: AtomicUsize,
    /// Its length.
    pub name_length: AtomicUsize,
    /// Of the path of the source file that subscribes.
    pub file: AtomicUsize,
    /// Its length.
    pub file_length: AtomicUsize,
    /// The line there.
    pub line: AtomicU32,
    /// Higher goes first.
    pub priority: AtomicU32,
    /// Bits 0 to 1: dispatcher, thread, inbox, immediate; bit 2: observes; bit 3: after the legacy action.
    pub kind: AtomicU32,
    /// Keeps the size a multiple of 8.
    pub unused: AtomicU32,
    /// Of the queue's counts, or 0; see [`Exhibit::tally`].
    pub tally: AtomicUsize,
}

impl Row {
    /// A number that is 0 for no row, and the same as long as the row is one entry's.
    pub fn identity(&self) -> usize {
        self.entry.load(core::sync::atomic::Ordering::Acquire).addr()
    }
}

/// See the module.
#[derive(Debug)]
#[repr(C)]
pub struct Exhibit {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`VERSION`].
    pub version: u32,
    /// `size_of::<Exhibit>()`.
    pub size: u32,
    /// The first row of the table, by signal number.
    pub slots: *const (),
    /// Counts of threads without a record.
    pub strangers: *const (),
    /// The first word of the list of thread records.
    pub records: *const (),
    /// Rows of the table.
    pub signals: u32,
    /// Size of one.
    pub slot: u32,
    /// Offset of its counts of events pushed back, and of lost ones.
    pub slot_counts: [u32; 2],
    /// Offset in a thread record of the next one's address.
    pub record_next: u32,
    /// Offset in a thread record of its counts.
    pub record_counts: u32,
    /// Offsets in counts of those per signal: delivered, passed, deferred.
    pub counts: [u32; 3],
    /// Offsets in a tally: queued, taken, dropped, deepest.
    pub tally: [u32; 4],
    /// Subscriptions that found no row.
    pub unseen: AtomicU32,
    /// The subscriptions.
    pub rows: [Row; ROWS],
}

// SAFETY: the addresses are never used here, and the rest is atomics.
unsafe impl Sync for Exhibit {}
// SAFETY: as above.
unsafe impl Send for Exhibit {}

/// Where a reader begins.
// SAFETY: nothing else in the program has this name, which carries the project's.
#[unsafe(no_mangle)]
#[used]
static sigplane0_exhibit: Exhibit = {
    let (slots, strangers, records) = crate::engine::exhibited();
    Exhibit {
        magic: MAGIC,
        version: VERSION,
        size: size_of::<Exhibit>() as u32,
        slots: slots.cast(),
        strangers: strangers.cast(),
        records: records.cast(),
        signals: SIGNALS as u32,
        slot: size_of::<Slot>() as u32,
        slot_counts: [offset_of!(Slot, pushed_back) as u32, offset_of!(Slot, lost) as u32],
        record_next: offset_of!(Record, next) as u32,
        record_counts: offset_of!(Record, counters) as u32,
        counts: Counters::OFFSETS,
        tally: [
            offset_of!(Tally, queued) as u32,
            offset_of!(Tally, taken) as u32,
            offset_of!(Tally, dropped) as u32,
            offset_of!(Tally, deepest) as u32,
        ],
        unseen: AtomicU32::new(0),
        rows: [const { Row::none() }; ROWS],
    }
};

impl Row {
    const fn none() -> Self {
        Self {
            entry: AtomicPtr::new(ptr::null_mut()),
            set: AtomicU64::new(0),
            name: AtomicUsize::new(0),
            name_length: AtomicUsize::new(0),
            file: AtomicUsize::new(0),
            file_length: AtomicUsize::new(0),
            line: AtomicU32::new(0),
            priority: AtomicU32::new(0),
            kind: AtomicU32::new(0),
            unused: AtomicU32::new(0),
            tally: AtomicUsize::new(0),
        }
    }
}

/// A row that is being filled has this in place of an entry, which no reader takes for one twice.
fn filling() -> *mut Entry {
    ptr::without_provenance_mut(1)
}

/// Gives an entry a row. Ordinary code only.
pub(crate) fn show(entry: &Entry) {
    let free = sigplane0_exhibit.rows.iter().find(|row| {
        row.entry.load(Relaxed).is_null()
            && row.entry.compare_exchange(ptr::null_mut(), filling(), Relaxed, Relaxed).is_ok()
    });
    let Some(row) = free else {
        sigplane0_exhibit.unseen.fetch_add(1, Relaxed);
        return;
    };
    let context = match entry.context() {
        Context::Dispatcher => 0,
        Context::Thread => 1,
        Context::Inbox => 2,
        Context::Immediate => 3,
    };
    let after = u32::from(entry.place == Place::AfterLegacy);
    let file = entry.location.file();
    row.set.store(entry.set.bits(), Relaxed);
    row.name.store(entry.name.as_ptr().addr(), Relaxed);
    row.name_length.store(entry.name.len(), Relaxed);
    row.file.store(file.as_ptr().addr(), Relaxed);
    row.file_length.store(file.len(), Relaxed);
    row.line.store(entry.location.line(), Relaxed);
    row.priority.store(entry.priority.cast_unsigned(), Relaxed);
    row.kind.store(context | u32::from(entry.observes) << 2 | after << 3, Relaxed);
    let tally = entry.queue().map_or(0, |queue| ptr::from_ref(&queue.tally).addr());
    row.tally.store(tally, Relaxed);
    // ORDERING: Release, so that who sees the entry sees the rest.
    row.entry.store(ptr::from_ref(entry).cast_mut(), Release);
}

/// Takes its row away.
pub(crate) fn hide(entry: &Entry) {
    for row in &sigplane0_exhibit.rows {
        if ptr::eq(row.entry.load(Relaxed), entry) {
            row.entry.store(ptr::null_mut(), Release);
            return;
        }
    }
}
