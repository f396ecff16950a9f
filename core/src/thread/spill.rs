//! Places for deferred events of which the record has no room: shared by all threads, few, rarely used.
//!
//! **Runs inside signal handlers.** Only the owning thread touches a place after it has claimed it.
//!
//! A thread whose deferral has stored as many events as its record holds has everything blocked, so
//! nothing more arrives, unless the program unblocks signals inside the section. Each such call lets one
//! event through, which must come before those that the kernel still keeps, and a kernel queue cannot be
//! put in front of. So it is kept here.
//!
//! # Safety
//! `event` is written and read by the thread whose id is in `owner`, which sets and clears it.
#![allow(unsafe_code)]

use crate::event::RawEvent;
use crate::sync::{AtomicU32, Ordering};
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::AtomicI32;

const PLACES: usize = 512;

struct Place {
    /// The thread that uses it; 0 when it is free.
    owner: AtomicI32,
    /// Where it stands in that thread's order.
    ticket: AtomicU32,
    event: UnsafeCell<MaybeUninit<RawEvent>>,
}

pub(crate) struct Spill([Place; PLACES]);

// SAFETY: see the module.
unsafe impl Sync for Spill {}

impl Spill {
    pub(crate) const fn new() -> Self {
        Self(
            [const {
                Place {
                    owner: AtomicI32::new(0),
                    ticket: AtomicU32::new(0),
                    event: UnsafeCell::new(MaybeUninit::uninit()),
                }
            }; PLACES],
        )
    }

    /// Keeps an event of thread `tid`, the calling one, after those kept with lower tickets. False when
    /// every place is in use.
    pub(crate) fn put(&self, tid: i32, ticket: u32, event: RawEvent) -> bool {
        for place in &self.0 {
            if place.owner.load(Ordering::Relaxed) != 0
                || place
                    .owner
                    .compare_exchange(0, tid, Ordering::Acquire, Ordering::Relaxed)
                    .is_err()
            {
                continue;
            }
            place.ticket.store(ticket, Ordering::Relaxed);
            // SAFETY: claimed just now, so nobody else touches it.
            unsafe { &mut *place.event.get() }.write(event);
            return true;
        }
        false
    }

    /// Takes the event of thread `tid`, the calling one, with the lowest ticket that `mask` does not
    /// block.
    pub(crate) fn take(&self, tid: i32, mask: u64) -> Option<RawEvent> {
        let read = |place: &Place| {
            // SAFETY: the calling thread's own place.
            let cell = unsafe { &*place.event.get() };
            // SAFETY: written when it was claimed.
            unsafe { cell.assume_init_read() }
        };
        let wanted = |place: &&Place| {
            place.owner.load(Ordering::Relaxed) == tid
                && crate::sys::bit(read(place).info.si_signo) & mask == 0
        };
        let order = |place: &&Place| place.ticket.load(Ordering::Relaxed);
        let place = self.0.iter().filter(wanted).min_by_key(order)?;
        let event = read(place);
        // ORDERING: Release pairs with the Acquire of the next claim.
        place.owner.store(0, Ordering::Release);
        Some(event)
    }

    /// Frees every place, in a forked child.
    pub(crate) fn reset_after_fork(&self) {
        self.0.iter().for_each(|place| place.owner.store(0, Ordering::Relaxed));
    }
}
