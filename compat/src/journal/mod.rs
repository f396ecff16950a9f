//! The journal: who set which handler for which signal, when, and from which object.
//!
//! **Written inside signal handlers**, at every instruction, on every thread and nested to any depth:
//! nothing is allocated, nothing waits, and no writer can find a state that another has left half done
//! and not know it. What must be dropped for that is counted.
//!
//! * [`start`] — once, in the library's constructor; looks for a reporter (`session`).
//! * [`changed`] — after each change of an action.
//! * [`note`] — what else a report tells: takeovers, losses, leftovers of unloaded objects.
//!
//! A change that repeats (the same handler from the same place, for a signal that has it) costs three
//! loads and a count. A new one is stored twice: as an *owner* of its signal, and in a ring of changes
//! whose oldest are overwritten. Addresses get the path of their object at once, because the object may
//! be gone when somebody reads. Nothing of this is ever printed by the program itself: the `sigplane`
//! command reads it from outside, through [`layout`], found by the symbol `sigplane0_journal`.
//!
//! What it is not: a place that anything depends on. No decision of the shim reads it.
//!
//! # Safety
//! `ACTIVE` is never null and points to a journal that stays for ever: the static one, or a mapping that
//! is never undone. A session, once set, is such a mapping too.
#![allow(unsafe_code)]

pub mod layout;
mod object;
mod session;
mod write;

pub use layout::{Call, Kind};
pub use session::{start, with_session};

use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use layout::{Journal, MAGIC, OWNERS, VERSION};
use sigplane::legacy::Action;

/// The journal that every process has.
static OWN: Journal = Journal::new();

/// Where a reader from outside begins. Its first words say what it is; then comes the address of the
/// journal in use.
#[repr(C)]
pub struct Door {
    magic: u64,
    version: u32,
    size: u32,
    active: AtomicPtr<Journal>,
}

/// See [`Door`].
// SAFETY: nothing else in the program has this name, which carries the project's.
#[unsafe(no_mangle)]
#[used]
pub static sigplane0_journal: Door = Door {
    magic: MAGIC,
    version: VERSION,
    size: size_of::<Journal>() as u32,
    active: AtomicPtr::new(ptr::from_ref(&OWN).cast_mut()),
};

/// The reporter's, if there is one; it is also the active one in the process that it is about.
static SESSION: AtomicPtr<Journal> = AtomicPtr::new(ptr::null_mut());

/// A copy of the active journal's [`layout::mode`], beside the words of the fast path.
static MODE: AtomicU32 = AtomicU32::new(0);

#[inline(always)]
fn active() -> &'static Journal {
    // ORDERING: Acquire pairs with the Release in `session`: the mapping is complete.
    let journal = sigplane0_journal.active.load(Ordering::Acquire);
    // SAFETY: by the module's invariant.
    unsafe { &*journal }
}

/// Notes that `call`, which returns to `caller`, changed the action of `signal` from `old` to `new`. What a
/// `vfork` child changes is its own, and is to be told by [`note`] with [`Kind::Borrowed`].
///
/// # Async-signal safety
/// Yes.
#[inline]
pub fn changed(call: Call, signal: i32, old: &Action, new: &Action, caller: usize) {
    let journal = active();
    let Some(owners) = journal.owners.get(signal as usize) else { return };
    let current = owners.current.load(Ordering::Relaxed).wrapping_sub(1);
    if let Some(owner) = owners.list.get(current as usize)
        && owner.handler.load(Ordering::Relaxed) == new.handler as u64
        && owner.caller.load(Ordering::Relaxed) == caller as u64
        && MODE.load(Ordering::Relaxed) & layout::mode::TRACE == 0
    {
        write::repeat(owner, new);
        return;
    }
    write::changed(journal, call, signal, old, new, caller);
}

/// Whether [`changed`] would find nothing new, whatever the action before was.
///
/// # Async-signal safety
/// Yes.
#[inline(always)]
pub fn repeats(signal: i32, handler: usize, caller: usize) -> bool {
    let Some(owners) = active().owners.get(signal as usize) else { return false };
    let current = owners.current.load(Ordering::Relaxed).wrapping_sub(1);
    owners.list.get(current as usize).is_some_and(|owner| {
        owner.handler.load(Ordering::Relaxed) == handler as u64
            && owner.caller.load(Ordering::Relaxed) == caller as u64
            && MODE.load(Ordering::Relaxed) & layout::mode::TRACE == 0
    })
}

/// Notes something else about `signal`; see [`Kind`] for what `address` (a handler, or a caller) and
/// `detail` (a handler for [`Kind::Borrowed`], a size for [`Kind::AltStack`]) are.
///
/// # Async-signal safety
/// Yes.
#[cold]
pub fn note(kind: Kind, signal: i32, address: usize, detail: u64) {
    write::note(kind, signal, address, detail);
}

const _: () = assert!(OWNERS < u32::MAX as usize, "an index and one more");
