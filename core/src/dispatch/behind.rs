//! What stands behind the entries: the foreign handler, the entries after it, the default action.
//!
//! **Runs inside signal handlers.** Nothing is held here: a foreign handler may never return.
//!
//! # Safety
//! `after_foreign` is called by the entry stub with the arguments that `dispatch` got.
#![allow(unsafe_code)]

use super::{Arrival, Next, count, enter, exit, tid, walk};
use crate::delivery::doom::Doom;
use crate::delivery::doorbell;
use crate::engine;
use crate::fault;
use crate::frame::Frame;
use crate::legacy;
use crate::signal::Signal;
use crate::sync::Ordering;
use crate::sys::{self, KernelAction};
use crate::table::counters::Count;
use crate::table::default_action;
use crate::table::disposition::Word;
use crate::table::slot::Slot;
use crate::thread::Record;
use core::ffi::c_void;

/// The action behind the entries as a delivery has found it: one copy, whatever is set meanwhile.
#[derive(Clone, Copy)]
pub(super) struct Behind {
    pub action: KernelAction,
    /// Where it was read; none for what a chain remembers as older.
    word: Option<Word>,
}

impl Behind {
    #[inline(always)]
    pub(super) fn of(slot: &Slot) -> Self {
        let word = slot.behind.get();
        Self { action: *word.action(), word: Some(word) }
    }

    pub(super) fn older(action: KernelAction) -> Self {
        Self { action, word: None }
    }
}

/// Step 4 or 6. `after` tells whether entries follow a foreign handler.
#[inline(always)]
pub(super) fn settle(
    arrival: &mut Arrival<'_>,
    frame: &mut Frame,
    slot: &Slot,
    behind: Behind,
    taken: bool,
    after: usize,
) -> Next {
    // A signal of faults that has been taken goes no further, a sent one neither: handlers for it take it for a
    // fault that they do not know, and give up the signal (std's does).
    let of_faults = sys::FAULT_BITS & sys::bit(arrival.number) != 0;
    if taken && (of_faults || !behind.action.is_handler()) {
        return Next::RETURN;
    }
    settle_rest(arrival, frame, slot, behind, taken, after)
}

fn settle_rest(
    arrival: &mut Arrival<'_>,
    frame: &mut Frame,
    slot: &Slot,
    mut behind: Behind,
    mut taken: bool,
    after: usize,
) -> Next {
    // SIG_DFL and SIG_IGN are looked at before the flags: they are no addresses.
    let was_handler = behind.action.is_handler();
    if claim(slot, arrival, &mut behind) {
        let action = &behind.action;
        let mut mask = legacy::take_wait_mask(frame).unwrap_or(*frame.mask()) | action.mask;
        if !action.has(libc::SA_NODEFER) {
            mask |= sys::bit(arrival.number);
        }
        mask |= bell_for(arrival);
        // Who enters the handler puts it on, last of all: what it lets through is delivered on top.
        arrival.mask = mask;
        return Next { target: action.handler, after };
    }
    if was_handler {
        // A one-shot handler that has had its call: the default stands behind us now.
        taken |= after != 0 && run_after(arrival, frame);
    }
    if taken || (behind.action.handler == libc::SIG_IGN && !arrival.fault) {
        return Next::RETURN;
    }
    count(arrival.record, Count::Passed, arrival.number);
    if arrival.second_hand && !arrival.fault {
        // Whoever chains to us has taken the signal; without us it would have found nobody to call, and the
        // default is not taken behind its back. A fault's is: the instruction would only repeat.
        return Next::RETURN;
    }
    // SAFETY: the kernel delivers numbers 1 to 64 only.
    let signal = unsafe { Signal::from_raw_unchecked(arrival.number as u8) };
    fault::run_last_chance(arrival, frame, signal);
    if arrival.awaited
        && Doom::concerns(arrival.number)
        && let Some(stamp) = arrival.stamped
    {
        let dispatcher = &engine::get().dispatcher;
        dispatcher.doom.put_off(arrival.info, stamp);
        dispatcher.wake.notify();
        dispatcher.doom.await_end();
        return Next::RETURN;
    }
    default_action::perform(signal, arrival.info, frame, arrival.fault);
    Next::RETURN
}

/// Whether there is a handler to call: always when one is set, but once only with `SA_RESETHAND`, however
/// many threads deliver at the same time. Who loses against another delivery, or against somebody who sets
/// another action, gets what is there then.
fn claim(slot: &Slot, arrival: &Arrival<'_>, behind: &mut Behind) -> bool {
    loop {
        if !behind.action.is_handler() {
            return false;
        }
        if !behind.action.has(libc::SA_RESETHAND) {
            return true;
        }
        let Some(word) = behind.word else {
            let (set, failed) = (Ordering::SeqCst, Ordering::Relaxed);
            return slot.spent.compare_exchange(false, true, set, failed).is_ok();
        };
        if legacy::spend(slot, arrival.number, word) {
            return true;
        }
        *behind = Behind::of(slot);
    }
}

/// Step 5, called by the entry stub when a foreign handler has returned.
pub(crate) unsafe extern "C" fn after_foreign(
    number: i32,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
) {
    let mask = sys::block(sys::ASYNC_BITS);
    // The handler that has returned had its signal blocked; a fault of what runs now is to be recovered.
    sys::unblock(sys::FAULT_BITS);
    let record = Record::current();
    // SAFETY: the same arguments as `dispatch` got.
    let info = unsafe { &*info };
    // SAFETY: as above.
    let mut frame = unsafe { Frame::of_handler(context.cast()) };
    let mut arrival = Arrival::new(number, info, record);
    arrival.fault = fault::is_synchronous(number, info);
    let taken = run_after(&mut arrival, &mut frame);
    if arrival.fault && !taken && has_given_up(number) {
        // SAFETY: the kernel delivers numbers 1 to 64 only.
        let signal = unsafe { Signal::from_raw_unchecked(number as u8) };
        fault::run_last_chance(&arrival, &mut frame, signal);
    }
    // Whoever called the handler that has returned, if it was not the kernel, goes on under its mask.
    sys::set_mask(mask | bell_for(&arrival));
}

/// Whether a handler for faults that has returned has put the default in, as that of Rust's runtime does
/// with faults that are not its own: the fault is about to repeat and to end the process.
fn has_given_up(number: i32) -> bool {
    sys::sigaction(number, None).is_ok_and(|action| action.handler == libc::SIG_DFL)
}

/// What a handler's mask needs besides its own while something is held on the thread: a hold must not be
/// lifted on top of a handler, whose frame would put it back.
pub(super) fn bell_for(arrival: &Arrival<'_>) -> u64 {
    let held = engine::get().holds.held_on(tid(arrival.record));
    if held != 0 { sys::bit(doorbell::SIGNAL) } else { 0 }
}

/// Runs the entries after the legacy action; whether one of them took the signal.
pub(crate) fn run_after(arrival: &mut Arrival<'_>, frame: &mut Frame) -> bool {
    let slot = engine::get().slot(arrival.number);
    let reading = enter(arrival.record);
    // SAFETY: `enter` made this a reader until `exit`.
    let taken =
        unsafe { slot.chain() }.is_some_and(|chain| walk::after(chain, arrival, frame, slot));
    exit(arrival.record, reading);
    taken
}
