//! What the C API (`sigplane-compat`) needs beyond the public interface. Hidden, and no part of it: the
//! header's inline functions go to a thread's own words, and C programs need answers where Rust programs
//! have types.
//!
//! The head of a thread's record is part of the C ABI: `{ attention, state, depth }`, three 32-bit words.
//! The assertions below keep it where the header says it is.

use crate::defer::DeferGuard;
use crate::delivery::inbox::{self, Inbox};
use crate::engine;
use crate::sync::Ordering;
use crate::sys;
use crate::thread::{Record, ThreadHandle, attached};
use core::mem::offset_of;

/// Where `Record::attention` is in a record: not 0 when something waits for the thread.
pub const ATTENTION: usize = offset_of!(Record, attention);
/// Where the state is.
pub const STATE: usize = offset_of!(Record, state);
/// Where the depth of the thread's deferrals is.
pub const DEPTH: usize = offset_of!(Record, depth);

const _: () = assert!(ATTENTION == 0 && STATE == 4 && DEPTH == 8, "the C header says so");

/// Where each thread has the address of its record, or null: so far from what its thread pointer points
/// to. The same for all threads, for as long as the object is loaded.
pub fn thread_offset() -> isize {
    sys::arch::record_offset()
}

/// Enters a deferral that [`undefer`] leaves.
pub fn defer() {
    core::mem::forget(crate::defer());
}

/// Leaves a deferral, as the end of a guard does; a safe point when it was the outermost.
pub fn undefer() {
    drop(DeferGuard::of(attached()));
}

/// Whether the thread may wait: it is in no deferral, in no handler, and not at a safe point.
pub fn can_wait() -> bool {
    Record::current().is_none_or(|record| {
        let depth = record.depth.load(Ordering::Relaxed);
        depth == 0 && record.at_safe_point.load(Ordering::Relaxed) == 0
    }) && !in_handler()
}

/// Whether the caller is code that runs in a handler of sigplane.
pub fn in_handler() -> bool {
    Record::in_handler()
}

/// Whether the caller is a `vfork` child of the engine's process.
pub fn is_borrowed() -> bool {
    engine::get().is_borrowed()
}

/// Whether the signals of faults are sigplane's.
pub fn faults_enabled() -> bool {
    crate::fault::is_enabled()
}

/// The calling thread as two numbers. Attaches it.
pub fn current_thread() -> [u64; 2] {
    let record = attached();
    let at = core::ptr::from_ref(record).addr();
    [at as u64, record.generation.load(Ordering::Acquire)]
}

/// The thread that two numbers stand for, whatever they are; `None` for one that has ended or never was.
pub fn thread([at, generation]: [u64; 2]) -> Option<ThreadHandle> {
    let mut records = engine::get().threads.iter();
    let record = records.find(|record| core::ptr::from_ref(*record).addr() as u64 == at)?;
    // The generation is read once more by whoever uses the handle, which is made of this one.
    let handle = ThreadHandle::of(record);
    (record.generation.load(Ordering::Acquire) == generation && handle.is_alive()).then_some(handle)
}

/// Ends the waits of everybody who reads the inbox; they find nothing.
pub fn close(inbox: &Inbox) {
    if let Some(queue) = inbox.entry().queue() {
        inbox::close(queue);
    }
}
