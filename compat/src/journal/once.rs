//! What is noted once for each object that does it, because programs do it in loops: blocking the signals
//! of faults, sending more than the kernel queues, setting alternate stacks.
//!
//! **Runs inside signal handlers**, and keeps `errno`.
//!
//! What an object has done already is remembered beside its name in the journal. Code of no object (a
//! JIT's) has no such place: of that, the first few are noted.

use super::layout::{Kind, NONE, Object};
use super::{active, object, write};
use core::sync::atomic::Ordering::{Acquire, Relaxed};
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
use sigplane::legacy::{self, Action};

/// The signals by which the kernel tells of faults; bit n - 1 for signal n.
pub const FAULTS: u64 = bit(libc::SIGSEGV)
    | bit(libc::SIGBUS)
    | bit(libc::SIGFPE)
    | bit(libc::SIGILL)
    | bit(libc::SIGTRAP)
    | bit(libc::SIGSYS);

/// How often something is noted of code that is in no object.
const NAMELESS: u32 = 8;

/// Who blocked faults last, and is known: a program that blocks everything in a loop is told by one load.
static LAST: AtomicUsize = AtomicUsize::new(0);
static NOTED_NAMELESS: AtomicU32 = AtomicU32::new(0);

const fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// In a forked child, whose journal is to have its own notes.
pub(super) fn forget() {
    LAST.store(0, Relaxed);
    NOTED_NAMELESS.store(0, Relaxed);
}

/// Notes that `caller` has blocked the signals `mask`, if there is one of [`FAULTS`] among them and its object
/// has not done that before.
///
/// # Async-signal safety
/// Yes.
#[inline(always)]
pub fn blocks(mask: u64, caller: usize) {
    if mask & FAULTS != 0 && LAST.load(Relaxed) != caller {
        block(mask, caller);
    }
}

#[cold]
fn block(mask: u64, caller: usize) {
    let faults = mask & FAULTS;
    let is_new = |object: &Object| object.blocks.fetch_or(faults, Relaxed) & faults != faults;
    if first(caller, is_new) {
        let new = Action { handler: 0, flags: 0, restorer: 0, mask };
        write::noted(Kind::FaultBlocked, 0, caller, &new);
    }
    LAST.store(caller, Relaxed);
}

/// Counts an instance of `signal` that `caller` sent and the kernel did not queue.
///
/// # Async-signal safety
/// Yes.
#[cold]
pub fn refused(signal: i32, caller: usize) {
    let count = active().refused.get(signal as usize).filter(|_| signal > 0);
    let Some(count) = count.filter(|_| !legacy::is_borrowed()) else { return };
    count.fetch_add(1, Relaxed);
    let has = |word: &AtomicU64| word.fetch_or(bit(signal), Relaxed) & bit(signal) != 0;
    if first(caller, |object| !has(&object.refused)) {
        let new = Action { handler: 0, flags: 0, restorer: 0, mask: 0 };
        write::noted(Kind::Refused, signal, caller, &new);
    }
}

/// Counts an alternate stack that `caller` has set.
///
/// # Async-signal safety
/// Yes.
pub fn alternate_stack(address: usize, size: usize, caller: usize) {
    if first(caller, |object| object.stacks.fetch_add(1, Relaxed) == 0) {
        let new = Action { handler: address, flags: 0, restorer: 0, mask: size as u64 };
        write::noted(Kind::AltStack, 0, caller, &new);
    }
}

/// Whether something is to be noted of `caller`: what `is_new` says of its object. Not in a `vfork` child,
/// which shares this memory and whose doings are its own.
fn first(caller: usize, is_new: impl Fn(&Object) -> bool) -> bool {
    // SAFETY: only computes an address, the calling thread's.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: the calling thread's own.
    let before = unsafe { errno.read() };
    let is_first = look(caller, is_new);
    // SAFETY: as above.
    unsafe { errno.write(before) };
    is_first
}

fn look(caller: usize, is_new: impl Fn(&Object) -> bool) -> bool {
    if legacy::is_borrowed() {
        return false;
    }
    let journal = active();
    let pid = write::here(journal);
    // Without asking the loader, where the object is known.
    let known = journal.objects.iter().take_while(|object| object.state.load(Acquire) != 0);
    for object in known {
        let range = object.start.load(Relaxed)..object.end.load(Relaxed);
        if object.pid.load(Relaxed) == pid && range.contains(&(caller as u64)) {
            return is_new(object);
        }
    }
    match object::index(&journal.objects, pid, caller) {
        Ok(NONE) | Err(_) => NOTED_NAMELESS.fetch_add(1, Relaxed) < NAMELESS,
        Ok(at) => journal.objects.get(at as usize).is_some_and(is_new),
    }
}
