//! Actions, each kept once and for ever, so that one small number stands for handler, flags, mask and
//! restorer together.
//!
//! **Runs inside signal handlers**: sigaction(2) is async-signal-safe, and so is what replaces it. No lock,
//! no allocator; more room is mapped from the kernel.
//!
//! Problem: an action has four words, and handlers read it while others replace it. With a number, reading
//! and replacing are one word each, no reader can see parts of two actions, and nothing has to be
//! reclaimed. Refused: a pool of records that are used again, because a handler that interrupts the writer
//! and leaves by `siglongjmp` would keep one claimed for ever; a 16-byte compare-and-swap, because the
//! action has more than 16 bytes.
//!
//! The price is memory: 40 bytes for every *different* action that the process ever sets. Programs have
//! some dozens. After `LIMIT` of them [`intern`] says no.
//!
//! # Atomic orderings
//! A place is written by the one that drew its number, and then linked to its list by a Release exchange;
//! readers come to it by an Acquire load of the list, or by a number that was stored with Release.
//!
//! # Safety
//! A place is not written any more once its number is known to more than the one that drew it. Chunks are
//! never unmapped.
#![allow(unsafe_code)]

use crate::sync::{AtomicU32, Ordering};
use crate::sys::{self, KernelAction};
use core::cell::UnsafeCell;
use core::sync::atomic::AtomicPtr;

/// Numbers have this many bits; see `disposition`.
pub(crate) const INDEX_BITS: u32 = 22;
const LIMIT: u32 = 1 << INDEX_BITS;
const FIRST: usize = 512;
const CHUNK: usize = 4096;
const CHUNKS: usize = (LIMIT as usize - FIRST).div_ceil(CHUNK);
const BUCKETS: usize = 256;

struct Place {
    action: UnsafeCell<KernelAction>,
    /// The number of the next one of its list; 0 at the end.
    next: AtomicU32,
}

// SAFETY: see the module: written before it is shared, read afterwards.
unsafe impl Sync for Place {}

impl Place {
    const fn empty() -> Self {
        Self { action: UnsafeCell::new(KernelAction::DEFAULT), next: AtomicU32::new(0) }
    }
}

/// Number 0 is the default action with nothing else set, which is in no list.
static FIRST_PLACES: [Place; FIRST] = [const { Place::empty() }; FIRST];
static MORE: [AtomicPtr<Place>; CHUNKS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; CHUNKS];
static USED: AtomicU32 = AtomicU32::new(1);
static LISTS: [AtomicU32; BUCKETS] = [const { AtomicU32::new(0) }; BUCKETS];

/// The place of a number that `intern` has given out, or is about to.
#[inline(always)]
fn place(index: u32) -> Option<&'static Place> {
    let index = index as usize;
    if let Some(place) = FIRST_PLACES.get(index) {
        return Some(place);
    }
    let beyond = index - FIRST;
    let chunk = MORE.get(beyond / CHUNK)?.load(Ordering::Acquire);
    // SAFETY: null, or a chunk of this many places that stays mapped.
    unsafe { chunk.wrapping_add(beyond % CHUNK).as_ref() }.filter(|_| !chunk.is_null())
}

/// The action with this number; the default for one that was never given out.
#[inline(always)]
pub(crate) fn action(index: u32) -> &'static KernelAction {
    static DEFAULT: KernelAction = KernelAction::DEFAULT;
    // SAFETY: numbers that callers have belong to places that are complete (see the module).
    place(index).map_or(&DEFAULT, |place| unsafe { &*place.action.get() })
}

/// The number of an action that is the newest of its list, as nearly all are. `None` says nothing: [`intern`]
/// tells.
#[inline(always)]
pub(crate) fn known(wanted: &KernelAction) -> Option<u32> {
    let newest = LISTS.get(bucket(wanted))?.load(Ordering::Acquire);
    let place = FIRST_PLACES.get(newest as usize)?;
    // SAFETY: it is in a list, and so complete; or it is number 0, which is never written.
    (unsafe { *place.action.get() } == *wanted).then_some(newest)
}

/// The number of an action; `None` when there are too many different ones.
#[inline(never)]
pub(crate) fn intern(wanted: &KernelAction) -> Option<u32> {
    if *wanted == KernelAction::DEFAULT {
        return Some(0);
    }
    let list = LISTS.get(bucket(wanted))?;
    let mut head = list.load(Ordering::Acquire);
    if let Some(index) = find(head, 0, wanted) {
        return Some(index);
    }
    let index = draw()?;
    let new = place(index)?;
    // SAFETY: this number was drawn here, and nobody else knows it yet.
    unsafe { *new.action.get() = *wanted };
    loop {
        new.next.store(head, Ordering::Relaxed);
        match list.compare_exchange(head, index, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Some(index),
            Err(now) => {
                // What others have added meanwhile may be it; then the place drawn stays empty.
                if let Some(index) = find(now, head, wanted) {
                    return Some(index);
                }
                head = now;
            }
        }
    }
}

/// Looks from number `from` up to number `end`.
fn find(mut from: u32, end: u32, wanted: &KernelAction) -> Option<u32> {
    while from != end {
        if action(from) == wanted {
            return Some(from);
        }
        from = place(from)?.next.load(Ordering::Relaxed);
    }
    None
}

#[inline(always)]
fn bucket(action: &KernelAction) -> usize {
    let mixed =
        (action.handler as u64 ^ action.mask.rotate_left(21) ^ action.flags.rotate_left(43))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as usize
}

/// A number that nobody has, with its place mapped.
fn draw() -> Option<u32> {
    let index = USED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
        (used < LIMIT).then_some(used + 1)
    });
    let index = index.ok()?;
    let Some(beyond) = (index as usize).checked_sub(FIRST) else { return Some(index) };
    let chunk = MORE.get(beyond / CHUNK)?;
    if chunk.load(Ordering::Acquire).is_null() {
        let new = sys::map_zeroed(CHUNK * size_of::<Place>())?.cast::<Place>();
        let (ok, seen) = (Ordering::AcqRel, Ordering::Acquire);
        if chunk.compare_exchange(core::ptr::null_mut(), new, ok, seen).is_err() {
            sys::unmap(new.cast(), CHUNK * size_of::<Place>());
        }
    }
    Some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(n: usize) -> KernelAction {
        KernelAction { handler: 0x1000 + n, flags: 4, restorer: 7, mask: n as u64 }
    }

    /// Equal actions have one number, different ones different numbers, over the end of a chunk.
    #[test]
    fn one_number_each() {
        let count = FIRST + CHUNK + 10;
        let numbers: Vec<u32> = (0..count).map(|n| intern(&numbered(n)).unwrap()).collect();
        for (n, index) in numbers.iter().enumerate() {
            assert_eq!(*action(*index), numbered(n));
            assert_eq!(intern(&numbered(n)), Some(*index));
        }
        assert_eq!(intern(&KernelAction::DEFAULT), Some(0));
    }

    /// Threads that intern the same actions at once agree on what their numbers mean.
    #[test]
    fn together() {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(|| {
                    for n in 0..2000 {
                        let wanted = numbered(1_000_000 + n);
                        assert_eq!(*action(intern(&wanted).unwrap()), wanted);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    }
}
