//! Writing: owners, the ring, and the first words of a journal.
//!
//! **Runs inside signal handlers.** A place is claimed by a compare-and-swap, filled by whoever claimed
//! it, and marked complete. A handler that interrupts a writer takes another place; one that leaves by
//! `siglongjmp` in the middle of a writer costs that place for ever, and nothing else.
//!
//! # Atomic orderings
//! Contents are relaxed; the word that marks a place complete (`state`, `stamp`) is stored with Release
//! and loaded with Acquire. `current` is stored after its owner is complete.

use super::layout::{CHANGES, Call, Change, Journal, Kind, MAGIC, OWNERS, Owner, VERSION, mode};
use super::{MODE, SESSION, active, object};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU32, AtomicU64, fence};
use sigplane::legacy::{self, Action};

/// What has happened, before it has its place.
struct Happening<'a> {
    kind: Kind,
    call: u8,
    signal: i32,
    old: &'a Action,
    new: &'a Action,
    caller: usize,
    pid: u32,
    tid: u32,
    time: u64,
}

/// The same handler from the same place once more.
#[inline(always)]
pub(super) fn repeat(owner: &Owner, new: &Action) {
    owner.count.store(owner.count.load(Relaxed).wrapping_add(1), Relaxed);
    owner.flags.store(new.flags, Relaxed);
    owner.mask.store(new.mask, Relaxed);
}

#[cold]
#[inline(never)]
pub(super) fn changed(
    journal: &Journal,
    call: Call,
    signal: i32,
    old: &Action,
    new: &Action,
    caller: usize,
) {
    let is_traced = MODE.load(Relaxed) & mode::TRACE != 0;
    if !is_traced && is_known(journal, signal, new, caller) {
        return;
    }
    let pid = here(journal);
    let mut happening = Happening {
        kind: Kind::Changed,
        call: call as u8,
        signal,
        old,
        new,
        caller,
        pid,
        tid: gettid(),
        time: now(),
    };
    if pid != journal.pid.load(Relaxed) {
        // It shares this memory and not the table: a `vfork` child.
        happening.kind = Kind::Borrowed;
        return record(journal, &happening);
    }
    let known = own(journal, &happening);
    if !known || is_traced {
        record(journal, &happening);
    }
}

pub(super) fn noted(kind: Kind, signal: i32, caller: usize, new: &Action) {
    let journal = active();
    let none = Action { handler: 0, flags: 0, restorer: 0, mask: 0 };
    let pid = here(journal);
    let happening = Happening {
        kind,
        call: 0,
        signal,
        old: &none,
        new,
        caller,
        pid,
        tid: gettid(),
        time: now(),
    };
    record(journal, &happening);
}

/// Makes a handler and caller that were seen before the present owner, without a system call: a program
/// that sets and restores in a loop gets here each time. (The shim notes `vfork` children by themselves.)
fn is_known(journal: &Journal, signal: i32, new: &Action, caller: usize) -> bool {
    let Some(owners) = journal.owners.get(signal as usize) else { return true };
    let wanted = (new.handler as u64, caller as u64);
    for (at, owner) in owners.list.iter().enumerate() {
        if owner.state.load(Acquire) == 2
            && (owner.handler.load(Relaxed), owner.caller.load(Relaxed)) == wanted
        {
            repeat(owner, new);
            owners.current.store(at as u32 + 1, Release);
            return true;
        }
    }
    false
}

/// Makes the change's handler and caller the present owner. Whether they are already known.
fn own(journal: &Journal, happening: &Happening<'_>) -> bool {
    let Some(owners) = journal.owners.get(happening.signal as usize) else { return true };
    let wanted = (happening.new.handler as u64, happening.caller as u64);
    for (at, owner) in owners.list.iter().enumerate() {
        let place = at as u32 + 1;
        match owner.state.load(Acquire) {
            2 if (owner.handler.load(Relaxed), owner.caller.load(Relaxed)) == wanted => {
                repeat(owner, happening.new);
                owners.current.store(place, Release);
                return true;
            }
            0 if claim(&owner.state) => {
                owner.call.store(happening.call.into(), Relaxed);
                owner.handler.store(wanted.0, Relaxed);
                owner.caller.store(wanted.1, Relaxed);
                owner.flags.store(happening.new.flags, Relaxed);
                owner.mask.store(happening.new.mask, Relaxed);
                owner.time.store(happening.time, Relaxed);
                owner.count.store(1, Relaxed);
                owner.tid.store(happening.tid, Relaxed);
                owner.caller_object.store(name(journal, happening.pid, happening.caller), Relaxed);
                let handler_object = name(journal, happening.pid, happening.new.handler);
                owner.handler_object.store(handler_object, Relaxed);
                owner.state.store(2, Release);
                owners.current.store(place, Release);
                return false;
            }
            _ => {}
        }
    }
    owners.crowded.fetch_add(1, Relaxed);
    owners.current.store(OWNERS as u32 + 1, Release);
    false
}

fn claim(state: &AtomicU32) -> bool {
    state.compare_exchange(0, 1, Relaxed, Relaxed).is_ok()
}

fn name(journal: &Journal, pid: u32, address: usize) -> u32 {
    object::index(&journal.objects, pid, address).unwrap_or_else(|_full| {
        journal.unnamed.fetch_add(1, Relaxed);
        super::layout::NONE
    })
}

/// Puts it into the ring, and into the reporter's when that is another one that follows.
fn record(journal: &Journal, happening: &Happening<'_>) {
    push(journal, happening);
    let session = SESSION.load(Acquire);
    if session.is_null() || core::ptr::eq(session, journal) {
        return;
    }
    // SAFETY: not null: a mapping that stays, by the invariant of `journal`.
    let session = unsafe { &*session };
    if session.mode.load(Relaxed) & mode::FOLLOW != 0 {
        push(session, happening);
    }
}

fn push(journal: &Journal, happening: &Happening<'_>) {
    let sequence = journal.next.fetch_add(1, Relaxed);
    let Some(change) = journal.ring.get(sequence as usize % CHANGES) else { return };
    let stamp = change.stamp.load(Acquire);
    let writing = sequence * 2 + 1;
    // An odd stamp is one that somebody is writing: this writer has been lapped, or laps.
    if stamp % 2 == 1
        || stamp > writing
        || change.stamp.compare_exchange(stamp, writing, Acquire, Relaxed).is_err()
    {
        journal.lost.fetch_add(1, Relaxed);
        return;
    }
    // ORDERING: whoever reads something of what follows, reads this stamp or a later one behind it.
    fence(Release);
    // ORDERING: Release, so that who reads a word of this record and then the stamp finds the odd one at least.
    fence(Release);
    fill(journal, change, happening);
    change.stamp.store(writing + 1, Release);
}

fn fill(journal: &Journal, change: &Change, happening: &Happening<'_>) {
    let set = |word: &AtomicU64, value: u64| word.store(value, Relaxed);
    set(&change.time, happening.time);
    set(&change.caller, happening.caller as u64);
    set(&change.old_handler, happening.old.handler as u64);
    set(&change.old_flags, happening.old.flags);
    set(&change.new_handler, happening.new.handler as u64);
    set(&change.new_flags, happening.new.flags);
    set(&change.new_mask, happening.new.mask);
    change.pid.store(happening.pid, Relaxed);
    change.tid.store(happening.tid, Relaxed);
    change.kind.store(happening.kind as u8, Relaxed);
    change.call.store(happening.call, Relaxed);
    change.signal.store(happening.signal as u8, Relaxed);
    let object = |address| name(journal, happening.pid, address);
    change.caller_object.store(object(happening.caller), Relaxed);
    // A handler that is being replaced may be of an object that is gone; then it has no name here.
    change.old_object.store(object(happening.old.handler), Relaxed);
    change.new_object.store(object(happening.new.handler), Relaxed);
}

/// The caller's process id; gives the journal its first words if it has none yet.
///
/// The journal knows it, so no system call is made (a filter may not allow one), but for a `vfork` child.
pub(super) fn here(journal: &Journal) -> u32 {
    if journal.magic.load(Acquire) == 0 {
        begin(journal, getpid());
    }
    if legacy::is_borrowed() { getpid() } else { journal.pid.load(Relaxed) }
}

/// Raw, because a `vfork` child is told by it.
pub(super) fn getpid() -> u32 {
    // SAFETY: it takes nothing and cannot fail.
    unsafe { libc::syscall(libc::SYS_getpid) as u32 }
}

/// Gives a journal its first words. Done twice, it does the same.
pub(super) fn begin(journal: &Journal, pid: u32) {
    journal.version.store(VERSION, Relaxed);
    journal.size.store(size_of::<Journal>() as u32, Relaxed);
    journal.pid.store(pid, Relaxed);
    journal.started.store(now(), Relaxed);
    object::put_program(&journal.executable);
    journal.magic.store(MAGIC, Release);
}

/// Notes in `journal` that this process began, with the program's entry for a caller.
pub(super) fn started(journal: &Journal) {
    note_in(journal, Kind::Started);
}

fn note_in(journal: &Journal, kind: Kind) {
    let none = Action { handler: 0, flags: 0, restorer: 0, mask: 0 };
    // A reporter's journal knows another process's, with `--follow`.
    let (pid, tid, time) = (getpid(), gettid(), now());
    // SAFETY: a query.
    let caller = unsafe { libc::getauxval(libc::AT_ENTRY) } as usize;
    push(
        journal,
        &Happening { kind, call: 0, signal: 0, old: &none, new: &none, caller, pid, tid, time },
    );
}

fn gettid() -> u32 {
    legacy::tid() as u32
}

/// Coarse, because a system call is not worth a finer one: the vDSO reads a word.
fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists, and the result has its place.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
