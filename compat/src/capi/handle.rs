//! Objects behind numbers: a handle that is not, or no longer, that of a live object is told by its number.
//!
//! **Runs inside signal handlers**: a look-up is an index and one compare-and-exchange; an object may be ended
//! in an immediate handler. Refused: pointers as handles, which nobody can check; a lock around a map, which a
//! handler could not take.
//!
//! A slot's word is its generation, two flags, and a count of calls that use the object now. Ending marks the
//! slot, so that nobody comes in, wakes readers, waits until the others have left, and takes the object out.
//! In a handler nobody is waited for (it may have interrupted one of them): the last that leaves takes it out.
//! Nor is anybody in a forked child for calls that other threads were in: these threads are the parent's.
//!
//! # Atomic orderings
//! `hold` acquires what `insert` released; `let_go` releases, and who takes the object out acquires.
//!
//! # Safety
//! The cell of a slot is written by who has reserved it, read by who holds it, and taken out by the one for
//! whom the count has come to 1 (itself) under `ENDING`.

use super::abi::{
    E_CLOSED, E_HANDLE, E_TOO_MANY, E_WRONG_CONTEXT, E_WRONG_THREAD, REMOVAL_DEFERRED,
    REMOVAL_RESTORED, REMOVAL_TAKEN_OVER,
};
use super::status::{Result, own_process};
use core::cell::UnsafeCell;
use core::ffi::c_int;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use sigplane::fault::{CodeRange, LastChance, Region};
use sigplane::{Inbox, Removal, Subscription, ThreadSubscription, capi};
use std::sync::Once;

/// What a handle stands for.
pub(super) enum Object {
    Subscription(Subscription),
    /// With the thread that it belongs to.
    Thread(ThreadSubscription, [u64; 2]),
    Inbox(Inbox),
    Region(Region),
    Code(CodeRange),
    Hook(LastChance),
}

/// What a function wants.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Subscription,
    Region,
    Code,
    Hook,
}

/// Dropping it has ended it, and the signals of faults stay sigplane's.
fn ended<T>(object: T) -> Removal {
    drop(object);
    Removal::Restored
}

impl Object {
    fn kind(&self) -> Kind {
        match self {
            Self::Subscription(_) | Self::Thread(..) | Self::Inbox(_) => Kind::Subscription,
            Self::Region(_) => Kind::Region,
            Self::Code(_) => Kind::Code,
            Self::Hook(_) => Kind::Hook,
        }
    }

    /// Ends it; what that did to the kernel's actions.
    fn end(self) -> c_int {
        let removal = match self {
            Self::Subscription(subscription) => subscription.unsubscribe(),
            Self::Thread(subscription, _) => subscription.unsubscribe(),
            Self::Inbox(inbox) => inbox.unsubscribe(),
            Self::Region(region) => ended(region),
            Self::Code(range) => ended(range),
            Self::Hook(hook) => ended(hook),
        };
        match removal {
            Removal::Restored => REMOVAL_RESTORED,
            Removal::TakenOver => REMOVAL_TAKEN_OVER,
            Removal::Deferred => REMOVAL_DEFERRED,
        }
    }
}

const USERS: u64 = (1 << 30) - 1;
const LIVE: u64 = 1 << 30;
const ENDING: u64 = 1 << 31;
const GENERATION: u64 = 1 << 32;

struct Slot {
    /// Generation, `ENDING`, `LIVE`, users. Neither flag: free. `ENDING` alone: reserved, or being emptied.
    word: AtomicU64,
    object: UnsafeCell<Option<Object>>,
}

// SAFETY: see the module. A thread's subscription, which is not Send, is ended by its own thread, or when that
// is gone and has ended it already.
unsafe impl Sync for Slot {}

const SEGMENT: usize = 1024;
const SEGMENTS: usize = 64;

type Segment = [Slot; SEGMENT];

static SLOTS: [AtomicPtr<Segment>; SEGMENTS] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; SEGMENTS];
/// Where the next look for a free slot begins.
static NEXT: AtomicUsize = AtomicUsize::new(0);

fn segment(index: usize) -> Option<&'static Segment> {
    let at = SLOTS.get(index)?.load(Ordering::Acquire);
    // SAFETY: null, or a segment, which is never freed.
    unsafe { at.as_ref() }
}

fn slot(index: usize) -> Option<&'static Slot> {
    segment(index / SEGMENT)?.get(index % SEGMENT)
}

/// The segment, made if there is none.
fn grown(index: usize) -> Option<&'static Segment> {
    if let Some(present) = segment(index) {
        return Some(present);
    }
    let fresh = || Slot { word: AtomicU64::new(0), object: UnsafeCell::new(None) };
    let slots: Box<[Slot]> = (0..SEGMENT).map(|_| fresh()).collect();
    let made = Box::into_raw(slots).cast::<Segment>();
    let place = SLOTS.get(index)?;
    let null = core::ptr::null_mut();
    if place.compare_exchange(null, made, Ordering::AcqRel, Ordering::Acquire).is_err() {
        // SAFETY: made above, and nobody else has seen it.
        drop(unsafe { Box::from_raw(made) });
    }
    segment(index)
}

/// Reserves a free slot: its index, and its generation.
fn reserve() -> Option<(usize, &'static Slot, u64)> {
    let start = NEXT.fetch_add(1, Ordering::Relaxed);
    let grown_slots = SLOTS.iter().take_while(|at| !at.load(Ordering::Acquire).is_null()).count();
    // First what there is, then one segment more.
    let there = grown_slots * SEGMENT;
    let recycled = (0..there).map(|offset| (start + offset) % there);
    let more = (there..SEGMENTS * SEGMENT).take(SEGMENT);
    recycled.chain(more).find_map(|index| {
        grown(index / SEGMENT)?;
        let slot = slot(index)?;
        let word = slot.word.load(Ordering::Relaxed);
        if word & (LIVE | ENDING) != 0 {
            return None;
        }
        let generation = word.wrapping_add(GENERATION) & !(GENERATION - 1);
        let reserved = generation | ENDING;
        slot.word
            .compare_exchange(word, reserved, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
            .then_some((index, slot, generation))
    })
}

/// How many forks lie between this process and the first that had an object.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// In a forked child: takes away the uses of threads that do not exist here. The forking thread may have one itself,
/// if a handler has forked on top of a call: that goes on without being counted.
extern "C" fn forked() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    for slot in (0..SEGMENTS).filter_map(segment).flatten() {
        slot.word.fetch_and(!USERS, Ordering::AcqRel);
    }
}

/// Has forked children begin with [`forked`]: before core's own part in the child, when that is not there yet, since
/// hooks run there in the order of their registration, and core's starts the dispatcher.
pub(crate) fn prepare() {
    static AT_FORK: Once = Once::new();
    // SAFETY: the handler takes nothing, and stays: the library is never unloaded.
    AT_FORK.call_once(|| unsafe {
        libc::pthread_atfork(None, None, Some(forked));
    });
}

/// Gives an object a handle. Ordinary code.
pub(super) fn insert(object: Object) -> Result<u64> {
    prepare();
    let Some((index, slot, generation)) = reserve() else {
        drop(object);
        return Err(E_TOO_MANY);
    };
    // SAFETY: reserved: nobody else looks at it.
    unsafe { *slot.object.get() = Some(object) };
    slot.word.store(generation | LIVE, Ordering::Release);
    Ok(generation | (index as u64 + 1))
}

/// A use of an object; it is not taken out meanwhile.
pub(super) struct Held {
    slot: &'static Slot,
    /// `FORKS` when it began.
    forks: u32,
}

/// Finds the object of a handle.
pub(super) fn hold(id: u64, kind: Kind) -> Result<Held> {
    let index = (id & (GENERATION - 1)).checked_sub(1).ok_or(E_HANDLE)?;
    let slot = slot(index as usize).ok_or(E_HANDLE)?;
    let wanted = |word: u64| {
        let same = word & !(GENERATION - 1) == id & !(GENERATION - 1);
        (same && word & (LIVE | ENDING) == LIVE && word & USERS < USERS).then_some(word + 1)
    };
    // ORDERING: Relaxed: only a fork changes it, and its child has this thread alone.
    let forks = FORKS.load(Ordering::Relaxed);
    slot.word.fetch_update(Ordering::Acquire, Ordering::Relaxed, wanted).map_err(|_| E_HANDLE)?;
    let held = Held { slot, forks };
    if held.object()?.kind() == kind { Ok(held) } else { Err(E_HANDLE) }
}

impl Held {
    pub(super) fn object(&self) -> Result<&Object> {
        // SAFETY: held: it is not taken out, and nobody writes it.
        unsafe { &*self.slot.object.get() }.as_ref().ok_or(E_HANDLE)
    }

    pub(super) fn inbox(&self) -> Result<&Inbox> {
        match self.object()? {
            Object::Inbox(inbox) => Ok(inbox),
            _ => Err(E_WRONG_CONTEXT),
        }
    }

    /// Whether it still counts: not in a child that a handler has forked on top of it.
    fn counts(&self) -> bool {
        self.forks == FORKS.load(Ordering::Relaxed)
    }

    /// Whether somebody is ending it.
    pub(super) fn is_ending(&self) -> bool {
        self.slot.word.load(Ordering::Acquire) & ENDING != 0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.counts() {
            return;
        }
        let before = self.slot.word.fetch_sub(1, Ordering::AcqRel);
        if before & ENDING != 0 && before & USERS == 1 {
            // The one that has ended it did not wait.
            drop(take_out(self.slot));
        }
    }
}

/// # Safety (kept by the callers)
/// The slot is `ENDING`, and nobody uses it, or the caller alone.
fn take_out(slot: &Slot) -> Option<Object> {
    // SAFETY: see above and the module.
    let object = unsafe { (*slot.object.get()).take() };
    let word = slot.word.load(Ordering::Relaxed);
    slot.word.store(word & !(GENERATION - 1), Ordering::Release);
    object
}

/// Ends the object of a handle; what that did to the kernel's actions.
pub(super) fn end(id: u64, kind: Kind) -> Result<c_int> {
    own_process()?;
    let held = hold(id, kind)?;
    if let Object::Thread(_, owner) = held.object()?
        && let Some(thread) = capi::thread(*owner)
        // SAFETY: takes nothing, cannot fail.
        && thread.tid() != unsafe { libc::gettid() }
    {
        return Err(E_WRONG_THREAD);
    }
    let slot = held.slot;
    if slot.word.fetch_or(ENDING, Ordering::AcqRel) & ENDING != 0 {
        return Err(E_CLOSED); // Somebody else is ending it just now.
    }
    if let Object::Inbox(inbox) = held.object()? {
        capi::close(inbox);
    }
    if let Object::Subscription(subscription) = held.object()? {
        subscription.disarm();
    }
    if capi::in_handler() {
        let alone = slot.word.load(Ordering::Acquire) & USERS == 1;
        if !alone {
            return Ok(REMOVAL_DEFERRED); // The last that leaves takes it out: this, or one interrupted.
        }
    }
    // Those inside do nothing that takes long: readers have been woken.
    while slot.word.load(Ordering::Acquire) & USERS > 1 {
        std::thread::yield_now();
    }
    if !held.counts() {
        // A handler has forked just here, and this is the child: the slot stays as it is, closed.
        return Err(E_CLOSED);
    }
    core::mem::forget(held);
    Ok(take_out(slot).map_or(REMOVAL_RESTORED, Object::end))
}
