//! Walking a chain: immediate entries are run, the others' queues are filled.
//!
//! **Runs inside signal handlers**, with the chain held as a reader.
//!
//! # Safety
//! `errno` is that of the thread that the handler runs on.
#![allow(unsafe_code)]

use super::{Arrival, tid};
use crate::delivery::Overflow;
use crate::delivery::entry::{Kind, Link};
use crate::delivery::immediate::{Delivery, Verdict};
use crate::delivery::queue::{Consumer, Queue};
use crate::engine;
use crate::event::stamp::Stamp;
use crate::fault;
use crate::frame::Frame;
use crate::sync::Ordering;
use crate::sys::{self, Errno};
use crate::table::chain::Chain;
use crate::table::slot::Slot;
use crate::thread::Record;
use core::marker::PhantomData;

/// Runs immediate entries; whether one of them took the signal. Of a `fault`, up to that one.
#[inline(always)]
pub(super) fn immediate(
    entries: &[Link],
    delivery: &mut Delivery<'_>,
    fault: bool,
    errno: *mut i32,
) -> bool {
    // SAFETY: the callers pass the location of the thread that this handler runs on.
    let errno = unsafe { Errno::save(errno) };
    let mut taken = false;
    for entry in entries {
        if let Kind::Immediate(callback) = &entry.kind
            && entry.is_armed()
        {
            taken |= callback.call(delivery) == Verdict::Handled && !entry.observes;
            if fault && taken {
                break;
            }
        }
    }
    errno.restore();
    taken
}

/// What an immediate entry is called with for a signal that was neither deferred nor is a fault.
#[inline(always)]
pub(super) fn delivery<'a>(
    info: &'a libc::siginfo_t,
    context: *mut libc::ucontext_t,
    record: &Record,
) -> Delivery<'a> {
    let tid = record.tid.load(Ordering::Relaxed);
    Delivery { info, context, stamped: None, tid, fault: false, lives: PhantomData }
}

/// As `immediate`, for any arrival.
pub(super) fn run(entries: &[Link], arrival: &Arrival<'_>, frame: &Frame) -> bool {
    let mut delivery = Delivery {
        info: arrival.info,
        context: frame.context_ptr(),
        stamped: arrival.stamped,
        tid: arrival.record.map_or(0, |record| record.tid.load(Ordering::Relaxed)),
        fault: arrival.fault,
        lives: PhantomData,
    };
    immediate(entries, &mut delivery, arrival.fault, Errno::location())
}

/// As `run`, for a fault: an entry that faults itself has not taken it, and the next one is asked.
#[inline(never)]
pub(super) fn run_contained(entries: &[Link], arrival: &Arrival<'_>, frame: &Frame) -> bool {
    entries
        .chunks(1)
        .any(|one| fault::contain(arrival.record, || run(one, arrival, frame)).unwrap_or(false))
}

/// Runs and fills queues for the entries whose turn it is; whether one of them took the signal. `None`
/// when a queue that must not lose anything had no place and the event went back to the kernel.
pub(super) fn queued(
    chain: &Chain,
    handler_behind: bool,
    arrival: &mut Arrival<'_>,
    frame: &mut Frame,
    slot: &Slot,
) -> Option<bool> {
    arrival.borrowed |= engine::get().is_borrowed();
    let entries = chain.first(handler_behind);
    if chain.lossless && !admit(entries, arrival, frame, slot) {
        return None;
    }
    Some(each(entries, chain, arrival, frame))
}

/// Runs and fills queues for the entries after a foreign handler that has returned. Places are taken
/// one by one: others have seen the event, so it cannot go back to the kernel, and the places could
/// not be taken before, because the foreign handler might not have returned.
pub(super) fn after(
    chain: &Chain,
    arrival: &mut Arrival<'_>,
    frame: &mut Frame,
    slot: &Slot,
) -> bool {
    arrival.borrowed |= chain.queued && engine::get().is_borrowed();
    let mut taken = false;
    for entry in chain.second() {
        if let Some(queue) = lossless(entry)
            && !arrival.borrowed
            && !queue.reserve()
        {
            queue.hold(arrival.number, tid(arrival.record), frame.mask());
            slot.lost.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        taken |= each(core::slice::from_ref(entry), chain, arrival, frame);
    }
    taken
}

fn each(entries: &[Link], chain: &Chain, arrival: &mut Arrival<'_>, frame: &mut Frame) -> bool {
    let mut taken = false;
    let pid = engine::get().pid();
    for entry in entries {
        if engine::get().pid() != pid {
            // An entry before this one has forked, and this is the child: the event is the parent's,
            // and the places that were taken for it have been given back.
            return true;
        }
        match &entry.kind {
            Kind::Immediate(_) => {
                let run = if arrival.fault { run_contained } else { run };
                taken |= run(core::slice::from_ref(entry), arrival, frame);
                if arrival.fault && taken {
                    break;
                }
            }
            Kind::Queued(_) if arrival.borrowed => {}
            Kind::Queued(queued)
                if !arrival.fault
                    && entry.is_armed()
                    && concerns(&queued.queue, chain, arrival) =>
            {
                enqueue(&queued.queue, arrival, frame);
                arrival.awaited |=
                    entry.observes && matches!(queued.queue.consumer, Consumer::Dispatcher);
                taken |= !entry.observes;
            }
            Kind::Queued(queued) => give_up(&queued.queue, arrival),
        }
    }
    taken
}

/// A signal directed at a thread stays with it: a thread that subscribes for itself gets its own, and
/// another thread's only when that one does not subscribe. Everything else concerns everybody.
fn concerns(queue: &Queue, chain: &Chain, arrival: &Arrival<'_>) -> bool {
    if !chain.per_thread || arrival.info.si_code != libc::SI_TKILL {
        return true;
    }
    let Consumer::Thread(owner) = &queue.consumer else {
        return true;
    };
    let Some(receiver) = arrival.record else {
        return true;
    };
    let subscribes = |entry: &Link| {
        entry.is_armed()
            && entry.queue().is_some_and(
                |queue| matches!(&queue.consumer, Consumer::Thread(at) if core::ptr::eq(*at, receiver)),
            )
    };
    core::ptr::eq(*owner, receiver) || !chain.all().iter().any(subscribes)
}

/// Takes a place in every queue that must not lose the event. When one has none left, the event goes
/// back to the kernel before anybody has seen it, so that nobody sees it twice.
fn admit(entries: &[Link], arrival: &mut Arrival<'_>, frame: &mut Frame, slot: &Slot) -> bool {
    if arrival.fault || arrival.borrowed {
        return true;
    }
    for (index, entry) in entries.iter().enumerate() {
        let Some(queue) = lossless(entry) else { continue };
        if queue.reserve() {
            continue;
        }
        for taken in entries.iter().take(index).filter_map(lossless) {
            taken.cancel();
        }
        push_back(queue, arrival, frame, slot);
        return false;
    }
    true
}

fn lossless(entry: &Link) -> Option<&Queue> {
    entry.queue().filter(|queue| queue.overflow == Overflow::Backpressure)
}

/// Gives back the place of an entry that does not get the event after all.
fn give_up(queue: &Queue, arrival: &Arrival<'_>) {
    if queue.overflow == Overflow::Backpressure && !arrival.fault && !arrival.borrowed {
        queue.cancel();
    }
}

/// Hands the event back to the kernel, for this thread, with its information unchanged, and blocks the
/// signal so that it stays there until `queue` has room.
fn push_back(queue: &Queue, arrival: &Arrival<'_>, frame: &mut Frame, slot: &Slot) {
    let tid = tid(arrival.record);
    queue.hold(arrival.number, tid, frame.mask());
    return_to_kernel(arrival, tid, slot);
}

/// Queues the arrival to this thread again. The kernel can refuse a real-time signal only at
/// `RLIMIT_SIGPENDING`, and it has just taken this one off that account; should another sender have
/// been quicker, the loss is counted.
pub(crate) fn return_to_kernel(arrival: &Arrival<'_>, tid: i32, slot: &Slot) {
    match sys::queue_to_thread(sys::getpid(), tid, arrival.number, arrival.info) {
        Ok(()) => slot.pushed_back.fetch_add(1, Ordering::Relaxed),
        Err(_) => slot.lost.fetch_add(1, Ordering::Relaxed),
    };
}

fn enqueue(queue: &Queue, arrival: &mut Arrival<'_>, frame: &mut Frame) {
    let tid = tid(arrival.record);
    let stamp = *arrival.stamped.get_or_insert_with(|| Stamp::now(tid));
    match queue.overflow {
        Overflow::Backpressure => queue.commit(arrival.info, stamp, frame.mask()),
        _ => queue.offer(arrival.info, stamp, frame.mask()),
    }
}
