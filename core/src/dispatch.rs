//! The handler: decides what becomes of a signal, in the order of the architecture brief; nothing else.
//!
//! **Runs inside signal handlers.** Forbidden here and in everything it calls: allocation, locks that
//! ordinary code holds, `std` I/O, formatting, panics, unwinding, lazily allocated thread-local
//! storage. Instead: rings made beforehand, futex words, raw system calls that leave `errno` alone.
//! User code runs here only in immediate entries, around which `errno` is saved.
//!
//! The order for an asynchronous signal:
//! 1. the doorbell is answered (sigplane's own SIGURG);
//! 2. a thread in a deferral queues it and returns; what an earlier one left goes first;
//! 3. the entries before the legacy action, by priority: immediate ones run, others are queued;
//! 4. the legacy action, the foreign handler: *jumped to* by the entry stub with nothing held, so
//!    that it may leave by `siglongjmp`;
//! 5. the entries after it, if it returns;
//! 6. the default action, if none took it.
//!
//! A synchronous fault takes the way of `crate::fault` and joins at 3.
//!
//! Invariants: everything asynchronous is blocked while this code runs (the kernel's `sa_mask` of our
//! action), so only faults nest on top of it; a reader count is held only while entries run.
//!
//! # Safety
//! `dispatch` and `after_foreign` are called by the entry stub with what the kernel (or a handler that
//! chains to us) passed.
#![allow(unsafe_code)]

use crate::defer;
use crate::delivery::Overflow;
use crate::delivery::doorbell;
use crate::delivery::entry::{Entry, Kind};
use crate::delivery::immediate::{Delivery, Verdict};
use crate::delivery::queue::{Consumer, Queue};
use crate::engine;
use crate::event::RawEvent;
use crate::fault;
use crate::frame::Frame;
use crate::signal::Signal;
use crate::sync::Ordering;
use crate::sys::{self, KernelAction};
use crate::table::chain::Chain;
use crate::table::counters::Count;
use crate::table::default_action;
use crate::table::grace::Reading;
use crate::table::slot::Slot;
use crate::thread::Record;
use crate::thread::record::{attention, state};
use core::ffi::c_void;
use core::marker::PhantomData;
use std::sync::Arc;

/// What the entry stub does next: jump to `target`, or, when `after` is not 0, call it and then
/// `after_foreign`; return when `target` is 0.
#[repr(C)]
pub(crate) struct Next {
    pub target: usize,
    pub after: usize,
}

impl Next {
    const RETURN: Self = Self { target: 0, after: 0 };
}

/// One signal on its way through the chain.
pub(crate) struct Arrival<'a> {
    pub number: i32,
    pub info: &'a libc::siginfo_t,
    pub record: Option<&'static Record>,
    /// The copy for queues, made when the first one needs it (or when it was deferred).
    pub stamped: Option<RawEvent>,
    pub fault: bool,
    /// Entered by the kernel or from a deferral, not by a handler that chains to us.
    pub first_hand: bool,
    /// This is a `vfork` child: the queues it sees are its parent's.
    pub borrowed: bool,
}

/// The entry stub's callee.
pub(crate) unsafe extern "C" fn dispatch(
    number: i32,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
    by_kernel: u32,
) -> Next {
    let record = Record::current();
    // SAFETY: the kernel passes valid information for the life of the handler; a handler that chains
    // to our three-argument action passes on what it got.
    let info = unsafe { &*info };
    // SAFETY: as above.
    let mut frame = unsafe { Frame::of_handler(context.cast()) };
    if let Some(record) = record
        && record.state.load(Ordering::Relaxed) != state::RUNNING
    {
        interrupt_wait(record, &mut frame);
    }
    let fault = fault::is_synchronous(number, info);
    let mut arrival = Arrival {
        number,
        info,
        record,
        stamped: None,
        fault,
        first_hand: by_kernel != 0,
        borrowed: false,
    };
    if fault {
        return fault::deliver(&mut arrival, &mut frame);
    }
    if !arrival.first_hand {
        return second_hand(&mut arrival, &mut frame);
    }
    route(&mut arrival, &mut frame)
}

/// Steps 1 and 2, then the chain.
#[inline(always)]
fn route(arrival: &mut Arrival<'_>, frame: &mut Frame) -> Next {
    let (record, info) = (arrival.record, arrival.info);
    if arrival.number == doorbell::SIGNAL && doorbell::answer(info, record, frame.mask()) {
        return Next::RETURN;
    }
    if let Some(record) = record
        && (record.depth.load(Ordering::Relaxed) != 0
            || record.attention.load(Ordering::Relaxed) & attention::DEFERRED != 0)
        && defer::hold_back(record, arrival, frame)
    {
        return Next::RETURN;
    }
    deliver(arrival, frame)
}

/// A thread that waits in one of sigplane's ways has been interrupted.
#[cold]
fn interrupt_wait(record: &Record, frame: &mut Frame) {
    match record.state.load(Ordering::Relaxed) {
        state::IN_SYSCALL => {
            if let Some(context) = frame.context() {
                // Whatever this signal brings, the check before the system call is made again.
                sys::arch::restart_alertable(context);
            }
        }
        // Nobody else writes this state, and the futex wait looks at the word again afterwards.
        state::WAITING_ANY => {
            record.attention.fetch_or(attention::DELIVERED, Ordering::SeqCst);
        }
        _ => {}
    }
}

/// Called by a handler that took the signal from us and chains to what it found, under a mask of its
/// own. Ours is put on for the time being.
#[cold]
fn second_hand(arrival: &mut Arrival<'_>, frame: &mut Frame) -> Next {
    let slot = engine::get().slot(arrival.number);
    let before = sys::block(sys::ASYNC_BITS);
    let reading = enter(arrival.record);
    // SAFETY: `enter` made this a reader until `exit`.
    let behind_us = unsafe { slot.chain() }.is_some_and(|chain| chain.older.is_some());
    exit(arrival.record, reading);
    // Behind us it is a continuation of a delivery that has already been routed.
    let next = if behind_us { deliver(arrival, frame) } else { route(arrival, frame) };
    if next.target == 0 {
        sys::set_mask(before);
    }
    next
}

/// Steps 3, 4 and 6.
#[inline]
pub(crate) fn deliver(arrival: &mut Arrival<'_>, frame: &mut Frame) -> Next {
    let engine = engine::get();
    let slot = engine.slot(arrival.number);
    let reading = enter(arrival.record);
    // SAFETY: `enter` made this a reader until `exit`.
    let Some(chain) = (unsafe { slot.chain() }) else {
        exit(arrival.record, reading);
        return Next::RETURN;
    };
    count(arrival.record, Count::Delivered, arrival.number);
    let mut taken = false;
    let mut after = chain.after();
    let (mut foreign, mut chained) = (chain.foreign, false);
    match &chain.older {
        // A handler that took the signal from us, and stands behind us now, chains to what it found:
        // the entries have had their turn, the call goes on to what was behind us before.
        Some(older) if !arrival.first_hand => (foreign, chained) = (*older, true),
        _ => {
            // With no handler in between, the entries after the legacy action follow at once.
            let now = if foreign.is_handler() { chain.before() } else { chain.all() };
            arrival.borrowed |= chain.queued && engine.is_borrowed();
            if chain.lossless && !admit(now, arrival, frame, slot) {
                exit(arrival.record, reading);
                return Next::RETURN;
            }
            taken = run(now, chain, arrival, frame);
            if !foreign.is_handler() || arrival.fault && taken {
                after = &[];
            }
        }
    }
    let follow_up = usize::from(!after.is_empty() && !chained);
    exit(arrival.record, reading);
    settle(arrival, frame, slot, foreign, taken, follow_up)
}

/// Step 4 or 6: nothing is held any more.
fn settle(
    arrival: &mut Arrival<'_>,
    frame: &mut Frame,
    slot: &Slot,
    foreign: KernelAction,
    taken: bool,
    after: usize,
) -> Next {
    if arrival.fault && taken {
        count(arrival.record, Count::Handled, arrival.number);
        return Next::RETURN;
    }
    // SIG_DFL and SIG_IGN are looked at before the flags: they are no addresses.
    if foreign.is_handler() && claim(slot, &foreign) {
        count(arrival.record, Count::Handled, arrival.number);
        let mut mask = *frame.mask() | foreign.mask;
        if !foreign.has(libc::SA_NODEFER) {
            mask |= sys::bit(arrival.number);
        }
        // What this lets through is delivered on top of us right here; nothing is held.
        sys::set_mask(mask);
        return Next { target: foreign.handler, after };
    }
    if taken || (foreign.handler == libc::SIG_IGN && !arrival.fault) {
        count(arrival.record, Count::Handled, arrival.number);
        return Next::RETURN;
    }
    // SAFETY: the kernel delivers numbers 1 to 64 only.
    let signal = unsafe { Signal::from_raw_unchecked(arrival.number as u8) };
    default_action::perform(signal, arrival.info, frame, arrival.fault);
    Next::RETURN
}

/// Whether a foreign handler may be called: always, but once only with `SA_RESETHAND`, however many
/// threads deliver at the same time.
fn claim(slot: &Slot, foreign: &KernelAction) -> bool {
    !foreign.has(libc::SA_RESETHAND)
        || slot.spent.compare_exchange(false, true, Ordering::SeqCst, Ordering::Relaxed).is_ok()
}

/// Step 5, called by the entry stub when a foreign handler has returned.
pub(crate) unsafe extern "C" fn after_foreign(
    number: i32,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
) {
    sys::block(sys::ASYNC_BITS);
    let record = Record::current();
    // SAFETY: the same arguments as `dispatch` got.
    let info = unsafe { &*info };
    // SAFETY: as above.
    let mut frame = unsafe { Frame::of_handler(context.cast()) };
    let mut arrival = Arrival {
        number,
        info,
        record,
        stamped: None,
        fault: false,
        first_hand: true,
        borrowed: false,
    };
    run_after(&mut arrival, &mut frame);
}

/// Runs the entries after the legacy action.
pub(crate) fn run_after(arrival: &mut Arrival<'_>, frame: &mut Frame) {
    let reading = enter(arrival.record);
    // SAFETY: `enter` made this a reader until `exit`.
    if let Some(chain) = unsafe { engine::get().slot(arrival.number).chain() } {
        let slot = engine::get().slot(arrival.number);
        arrival.borrowed = chain.queued && engine::get().is_borrowed();
        // Places are taken one by one: the event has been seen by others and cannot go back to the
        // kernel. They could not be taken before, because the foreign handler might not return.
        for entry in chain.after() {
            let one = core::slice::from_ref(entry);
            if let Some(queue) = lossless(entry)
                && !arrival.borrowed
                && !queue.reserve()
            {
                queue.hold(arrival.number, tid(arrival.record), frame.mask());
                slot.lost.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            run(one, chain, arrival, frame);
        }
    }
    exit(arrival.record, reading);
}

/// Runs or queues for some entries; whether one of them took the signal.
fn run(
    entries: &[Arc<Entry>],
    chain: &Chain,
    arrival: &mut Arrival<'_>,
    frame: &mut Frame,
) -> bool {
    let errno = chain.immediate.then(Errno::save);
    let mut taken = false;
    for entry in entries {
        if !entry.is_armed() {
            if let Kind::Queued { queue, .. } = &entry.kind {
                give_up(queue, arrival);
            }
            continue;
        }
        match &entry.kind {
            Kind::Immediate(callback) => {
                let mut delivery = Delivery {
                    info: arrival.info,
                    context: frame.context_ptr(),
                    stamped: arrival.stamped,
                    tid: arrival.record.map_or(0, |record| record.tid.load(Ordering::Relaxed)),
                    fault: arrival.fault,
                    lives: PhantomData,
                };
                let verdict = callback(&mut delivery);
                taken |= verdict == Verdict::Handled && !entry.observes;
                if arrival.fault && taken {
                    break;
                }
            }
            Kind::Queued { .. } if arrival.borrowed => {}
            Kind::Queued { queue, .. } if !arrival.fault && concerns(queue, chain, arrival) => {
                enqueue(queue, arrival, frame);
                taken |= !entry.observes;
            }
            Kind::Queued { queue, .. } => give_up(queue, arrival),
        }
    }
    if let Some(errno) = errno {
        errno.restore();
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
    let subscribes = |entry: &Arc<Entry>| {
        entry.is_armed()
            && entry.queue().is_some_and(
                |queue| matches!(&queue.consumer, Consumer::Thread(at) if core::ptr::eq(*at, receiver)),
            )
    };
    core::ptr::eq(*owner, receiver) || !chain.all().iter().any(subscribes)
}

/// Takes a place in every queue that must not lose the event. When one has none left, the event goes
/// back to the kernel before anybody has seen it, so that nobody sees it twice.
fn admit(
    entries: &[Arc<Entry>],
    arrival: &mut Arrival<'_>,
    frame: &mut Frame,
    slot: &Slot,
) -> bool {
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

fn lossless(entry: &Arc<Entry>) -> Option<&Queue> {
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
pub(crate) fn push_back(queue: &Queue, arrival: &Arrival<'_>, frame: &mut Frame, slot: &Slot) {
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

pub(crate) fn tid(record: Option<&Record>) -> i32 {
    record.map_or_else(sys::gettid, |record| record.tid.load(Ordering::Relaxed))
}

fn enqueue(queue: &Queue, arrival: &mut Arrival<'_>, frame: &mut Frame) {
    let tid = tid(arrival.record);
    let event = *arrival.stamped.get_or_insert_with(|| RawEvent::now(arrival.info, tid));
    match queue.overflow {
        Overflow::Backpressure => queue.commit(event, tid, frame.mask()),
        _ => queue.offer(event, tid, frame.mask()),
    }
}

#[inline(always)]
fn enter(record: Option<&Record>) -> Reading {
    let engine = engine::get();
    match record {
        Some(record) => record.readers.enter(&engine.phase, engine.expedited()),
        None => engine.strangers.enter_shared(&engine.phase),
    }
}

#[inline(always)]
fn exit(record: Option<&Record>, reading: Reading) {
    match record {
        Some(record) => record.readers.exit(reading),
        None => engine::get().strangers.exit_shared(reading),
    }
}

#[inline(always)]
pub(crate) fn count(record: Option<&Record>, count: Count, number: i32) {
    match record {
        Some(record) => record.counters.add_own(count, number),
        None => engine::get().stranger_counts.add_shared(count, number),
    }
}

/// What stands behind us on a signal, for handlers that have to give it back.
pub(crate) fn original_action(number: i32) -> KernelAction {
    let record = Record::current();
    let slot = engine::get().slot(number);
    let reading = enter(record);
    // SAFETY: `enter` made this a reader until `exit`.
    let original = unsafe { slot.chain() }
        .map_or(KernelAction::DEFAULT, |chain| slot.original(&chain.foreign));
    exit(record, reading);
    original
}

/// `errno` as the interrupted code left it.
struct Errno(i32);

impl Errno {
    fn save() -> Self {
        // SAFETY: the location is this thread's own, in libc's initial-exec storage.
        let at = unsafe { libc::__errno_location() };
        // SAFETY: valid for the life of the thread.
        Self(unsafe { *at })
    }

    fn restore(self) {
        // SAFETY: as in `save`.
        let at = unsafe { libc::__errno_location() };
        // SAFETY: as in `save`.
        unsafe { *at = self.0 };
    }
}
