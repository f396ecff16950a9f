//! The journal: who set which handler for which signal, when, and from which object.
//!
//! **Written inside signal handlers**, at every instruction, on every thread and nested to any depth:
//! nothing is allocated, nothing waits, and no writer can find a state that another has left half done
//! and not know it. What must be dropped for that is counted.
//!
//! * [`start`] — once, in the library's constructor; looks for a reporter (`session`).
//! * [`changed`] — after each change of an action.
//! * [`note`] — what else a report tells: takeovers, leftovers of unloaded objects, `vfork` children.
//! * [`stays_first`] — a Java VM's handlers for faults.
//! * [`blocks`], [`refused`], [`alternate_stack`] — what programs do in loops, noted once for each object.
//!
//! A change that repeats (the same handler from the same place, for a signal that has it) costs three
//! loads and a count. A new one is stored twice: as an *owner* of its signal, and in a ring of changes
//! whose oldest are overwritten. Addresses get the path of their object at once, because the object may
//! be gone when somebody reads. Nothing of this is ever printed by the program itself: the `sigplane`
//! command reads it from outside, through [`layout`] and [`read`], found by the symbol `sigplane0_journal`.
//!
//! What it is not: a place that anything depends on. No decision of the shim reads it.
//!
//! # Safety
//! `ACTIVE` is never null and points to a journal that stays for ever: the static one, or a mapping that
//! is never undone. A session, once set, is such a mapping too.
#![allow(unsafe_code)]

mod fork;
mod kind;
pub mod layout;
mod object;
mod once;
pub mod read;
mod session;
mod write;

pub use kind::{Call, Kind};
pub use once::{FAULTS, alternate_stack, blocks, refused};
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
    match repeats(signal, new.handler, caller) {
        Some(repeat) => write::repeat(repeat.owner, new),
        None => write::changed(active(), call, signal, old, new, caller),
    }
}

/// A change in which [`changed`] would find nothing new, whatever the action before was.
#[derive(Clone, Copy, Debug)]
pub struct Repeat {
    owners: &'static layout::Owners,
    owner: &'static layout::Owner,
    place: u32,
}

/// Whether setting `handler` for `signal` from `caller` would be one. It is made, and then noted.
///
/// # Async-signal safety
/// Yes.
#[inline(always)]
pub fn repeats(signal: i32, handler: usize, caller: usize) -> Option<Repeat> {
    let owners = active().owners.get(signal as usize)?;
    let place = owners.current.load(Ordering::Relaxed);
    let owner = owners.list.get(place.wrapping_sub(1) as usize)?;
    let is_one = owner.handler.load(Ordering::Relaxed) == handler as u64
        && owner.caller.load(Ordering::Relaxed) == caller as u64
        && MODE.load(Ordering::Relaxed) & layout::mode::TRACE == 0;
    is_one.then_some(Repeat { owners, owner, place })
}

impl Repeat {
    /// Notes that `new` has been set.
    ///
    /// # Async-signal safety
    /// Yes.
    #[inline(always)]
    pub fn note(self, call: Call, signal: i32, new: &Action, caller: usize) {
        // A handler that has interrupted the change may have made one of its own.
        if self.owners.current.load(Ordering::Relaxed) == self.place {
            write::repeat(self.owner, new);
        } else {
            let new = *new;
            write::changed(active(), call, signal, &new, &new, caller);
        }
    }
}

/// Notes something else about `signal`; see [`Kind`] for what `address` (a handler, or a caller) and
/// `detail` (a handler for [`Kind::Borrowed`]) are.
///
/// # Async-signal safety
/// Yes.
#[cold]
pub fn note(kind: Kind, signal: i32, address: usize, detail: u64) {
    let handler = if kind == Kind::Borrowed { detail as usize } else { address };
    let new = Action { handler, flags: 0, restorer: 0, mask: 0 };
    let caller = if kind == Kind::Borrowed { address } else { 0 };
    write::noted(kind, signal, caller, &new);
}

/// Notes that the present owner of `signal` stays in front of what anybody else sets, as a Java VM asks for; the
/// action with the handler `behind` is the program's then.
///
/// # Async-signal safety
/// Yes.
pub fn stays_first(signal: i32, behind: usize) {
    let Some(owners) = active().owners.get(signal as usize) else { return };
    let present = owners.current.load(Ordering::Relaxed);
    if owners.first.compare_exchange(0, present, Ordering::Release, Ordering::Relaxed).is_err() {
        return;
    }
    let is_behind = |owner: &layout::Owner| {
        owner.state.load(Ordering::Acquire) == 2
            && owner.handler.load(Ordering::Relaxed) == behind as u64
    };
    let at = owners.list.iter().rposition(is_behind).map_or(0, |at| at as u32 + 1);
    owners.current.store(at, Ordering::Release);
}

/// Whether somebody has set an action of `signal` through the shim.
///
/// # Async-signal safety
/// Yes.
pub fn is_set(signal: i32) -> bool {
    let owners = active().owners.get(signal as usize);
    owners.is_some_and(|owners| owners.current.load(Ordering::Relaxed) != 0)
}

/// The journal in use, for whoever reads it from inside.
///
/// # Async-signal safety
/// Yes.
pub fn current() -> &'static Journal {
    active()
}

const _: () = assert!(OWNERS < u32::MAX as usize, "an index and one more");
