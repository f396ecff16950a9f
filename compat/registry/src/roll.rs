//! Who is registered: a list that only grows, whose places are used again.
//!
//! **Leaving runs inside signal handlers** (an action may end itself), so nothing here is locked, and nothing
//! is freed. Entering allocates when no place is free, and is for ordinary code.
//!
//! Refused: a map under a lock, because the interrupted code may be holding it.
//!
//! # Safety
//! A place's subscription belongs to whoever has put [`BUSY`] into its `serial` by a compare-and-swap, until
//! that one stores something else. Places live for ever, so a pointer to one stays good.
//!
//! # Atomic orderings
//! The swap that takes a place is Acquire and pairs with the Release store that gave it up, which orders the
//! accesses to `subscription` between owners. `HEAD` is Release and Acquire, for the contents of a new place.
#![allow(unsafe_code)]

use sigplane::{Removal, Subscription};
use std::cell::UnsafeCell;
use std::cmp::Ordering as Order;
use std::hash::{Hash, Hasher};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, Ordering};

/// In `serial`: nobody is registered here.
const FREE: u64 = 0;
/// In `serial`: somebody is just entering or leaving.
const BUSY: u64 = u64::MAX;

struct Place {
    /// [`FREE`], [`BUSY`], or the number of the registration that is here.
    serial: AtomicU64,
    signal: AtomicI32,
    subscription: UnsafeCell<Option<Subscription>>,
    next: AtomicPtr<Place>,
}

// SAFETY: the one field that is not Sync has one owner at a time, as said above, and is Send.
unsafe impl Sync for Place {}
// Nothing in a place is half changed while code of others runs, so ids may cross `catch_unwind`.
impl std::panic::RefUnwindSafe for Place {}

static HEAD: AtomicPtr<Place> = AtomicPtr::new(null_mut());
/// Numbers are never used twice, so a ticket cannot end a later registration in the same place.
static NEXT_SERIAL: AtomicU64 = AtomicU64::new(1);

/// Names one registration: its number, and where it is.
#[derive(Clone, Copy)]
pub(crate) struct Ticket {
    serial: u64,
    place: &'static Place,
}

/// The place follows from the number.
impl PartialEq for Ticket {
    fn eq(&self, other: &Self) -> bool {
        self.serial == other.serial
    }
}

impl Eq for Ticket {}

impl PartialOrd for Ticket {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl Ord for Ticket {
    fn cmp(&self, other: &Self) -> Order {
        self.serial.cmp(&other.serial)
    }
}

impl Hash for Ticket {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.serial.hash(state);
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.serial.fmt(f)
    }
}

impl Place {
    /// Whether this caller is now the owner; it found `expected`.
    fn seize(&self, expected: u64) -> bool {
        self.serial.compare_exchange(expected, BUSY, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Ends the registration `serial` if it is still here.
    fn vacate(&self, serial: u64) -> Option<Removal> {
        if !self.seize(serial) {
            return None;
        }
        // SAFETY: seized.
        let subscription = unsafe { (*self.subscription.get()).take() };
        self.serial.store(FREE, Ordering::Release);
        // Waits for the action, except in a handler; the place may be somebody else's by then.
        subscription.map(Subscription::unsubscribe)
    }
}

fn places() -> impl Iterator<Item = &'static Place> {
    let mut at = HEAD.load(Ordering::Acquire);
    std::iter::from_fn(move || {
        // SAFETY: null, or a place, which lives for ever.
        let place: &'static Place = unsafe { at.as_ref() }?;
        // Written before the place was published, and not since.
        at = place.next.load(Ordering::Relaxed);
        Some(place)
    })
}

/// Puts a subscription on the roll.
pub(crate) fn enter(signal: i32, subscription: Subscription) -> Ticket {
    let serial = NEXT_SERIAL.fetch_add(1, Ordering::Relaxed);
    let place = places().find(|place| place.seize(FREE)).unwrap_or_else(grow);
    place.signal.store(signal, Ordering::Relaxed);
    // SAFETY: seized, or new and busy from the start.
    unsafe { *place.subscription.get() = Some(subscription) };
    place.serial.store(serial, Ordering::Release);
    Ticket { serial, place }
}

/// A new place, busy, at the head of the list.
fn grow() -> &'static Place {
    let place: &'static Place = Box::leak(Box::new(Place {
        serial: AtomicU64::new(BUSY),
        signal: AtomicI32::new(0),
        subscription: UnsafeCell::new(None),
        next: AtomicPtr::new(null_mut()),
    }));
    let mut head = HEAD.load(Ordering::Relaxed);
    loop {
        place.next.store(head, Ordering::Relaxed);
        let new = std::ptr::from_ref(place).cast_mut();
        match HEAD.compare_exchange_weak(head, new, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return place,
            Err(found) => head = found,
        }
    }
}

/// Ends one registration; `None` if it had ended already.
pub(crate) fn leave(ticket: Ticket) -> Option<Removal> {
    ticket.place.vacate(ticket.serial)
}

/// Ends all registrations of a signal; how many there were.
pub(crate) fn leave_all(signal: i32) -> usize {
    places()
        .filter(|place| {
            // Acquire pairs with the store in `enter`, for the signal.
            let serial = place.serial.load(Ordering::Acquire);
            let here = serial != FREE && serial != BUSY;
            // Should somebody else have moved in meanwhile, the number has changed and nothing happens.
            here && place.signal.load(Ordering::Relaxed) == signal && place.vacate(serial).is_some()
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sigplane::Signal;

    fn subscription() -> Subscription {
        // SAFETY: does nothing.
        unsafe { sigplane::subscribe(Signal::USR2).immediate(|_| sigplane::Verdict::Handled) }
            .unwrap()
    }

    /// A ticket ends its own registration only, once, although the place is used again; and tickets are
    /// ordered by time.
    #[test]
    fn places_are_used_again_and_numbers_are_not() {
        let first = enter(12, subscription());
        assert_eq!(leave(first), Some(Removal::Restored));
        let second = enter(12, subscription());
        assert!(std::ptr::eq(first.place, second.place));
        assert!(first < second && first != second);
        assert_eq!(leave(first), None);
        let third = enter(10, subscription());
        assert_eq!((leave_all(12), leave_all(12)), (1, 0));
        assert_eq!((leave(second), leave(third).is_some()), (None, true));
    }
}
