//! What a fork makes of the journal: the child goes on with one of its own, which begins as a copy. (A `vfork`
//! child is told by its process id, or by sigplane, and writes nothing that is its parent's.)

use super::layout::{Journal, Object, Owners};
use super::{MODE, OWN, once, sigplane0_journal, write};
use core::ptr;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

/// In the child of a fork: a journal of its own, which begins as its parent's.
pub(super) extern "C" fn forked() {
    // SAFETY: it takes nothing and cannot fail.
    let pid = unsafe { libc::getpid() } as u32;
    let active = sigplane0_journal.active.load(Acquire);
    if !ptr::eq(active, &raw const OWN) {
        // SAFETY: by the invariant of `journal`.
        let parents = unsafe { &*active };
        OWN.owners.iter().for_each(clear);
        for object in &OWN.objects {
            object.state.store(0, Relaxed);
        }
        copy(parents, &OWN, pid);
        once::forget();
        MODE.store(0, Relaxed);
        sigplane0_journal.active.store((&raw const OWN).cast_mut(), Release);
    }
    OWN.objects.iter().for_each(|object| object.pid.store(pid, Relaxed));
    if OWN.magic.load(Acquire) == 0 {
        if !ptr::eq(active, &raw const OWN) {
            write::begin(&OWN, pid);
        }
    } else {
        OWN.pid.store(pid, Relaxed);
    }
}

fn word(to: &AtomicU64, from: &AtomicU64) {
    to.store(from.load(Relaxed), Relaxed);
}

fn half(to: &AtomicU32, from: &AtomicU32) {
    to.store(from.load(Relaxed), Relaxed);
}

pub(super) fn clear(owners: &Owners) {
    owners.current.store(0, Relaxed);
    owners.crowded.store(0, Relaxed);
    owners.first.store(0, Relaxed);
    for owner in &owners.list {
        owner.state.store(0, Relaxed);
    }
}

/// Copies objects and owners, which name them by index, unless there are others already.
pub(super) fn copy(from: &Journal, to: &Journal, pid: u32) {
    let known = from.objects.iter().take_while(|object| object.state.load(Acquire) != 0);
    if to.objects.first().is_some_and(|object| object.state.load(Acquire) != 0)
        || known.clone().count() == 0
    {
        return;
    }
    for (from, to) in known.zip(&to.objects) {
        copy_object(from, to, pid);
    }
    for (from, to) in from.owners.iter().zip(&to.owners) {
        for (from, to) in from.list.iter().zip(&to.list) {
            for (from, to) in [
                (&from.handler, &to.handler),
                (&from.caller, &to.caller),
                (&from.flags, &to.flags),
                (&from.mask, &to.mask),
                (&from.time, &to.time),
                (&from.count, &to.count),
            ] {
                word(to, from);
            }
            for (from, to) in [
                (&from.call, &to.call),
                (&from.tid, &to.tid),
                (&from.caller_object, &to.caller_object),
                (&from.handler_object, &to.handler_object),
                (&from.state, &to.state),
            ] {
                half(to, from);
            }
        }
        half(&to.crowded, &from.crowded);
        half(&to.first, &from.first);
        half(&to.current, &from.current);
    }
}

fn copy_object(from: &Object, to: &Object, pid: u32) {
    to.pid.store(pid, Relaxed);
    to.blocks.store(0, Relaxed);
    to.refused.store(0, Relaxed);
    for (from, to) in [(&from.bias, &to.bias), (&from.start, &to.start), (&from.end, &to.end)] {
        word(to, from);
    }
    let byte = |from: &AtomicU8, to: &AtomicU8| to.store(from.load(Relaxed), Relaxed);
    from.path.iter().zip(&to.path).for_each(|(from, to)| byte(from, to));
    half(&to.state, &from.state);
}
