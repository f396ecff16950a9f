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
//! The chain itself is walked in `walk`; what stands behind it is in `behind`.
//!
//! # Safety
//! `dispatch` is called by the entry stub with what the kernel (or a handler that
//! chains to us) passed.
#![allow(unsafe_code)]

mod behind;
mod walk;

use behind::Behind;
pub(crate) use behind::{after_foreign, run_after};
pub(crate) use walk::return_to_kernel;

use crate::defer;
use crate::delivery::doorbell;
use crate::engine;
use crate::event::stamp::Stamp;
use crate::fault;
use crate::frame::Frame;
use crate::sync::Ordering;
use crate::sys::{self, KernelAction};
use crate::table::chain::Chain;
use crate::table::counters::Count;
use crate::table::grace::Reading;
use crate::thread::Record;
use crate::thread::record::{attention, state};
use core::ffi::c_void;

/// What the entry stub does next: put on the mask that it was given and jump to `target`, or, when
/// `after` is not 0, call it and then `after_foreign`; return when `target` is 0.
#[repr(C)]
pub(crate) struct Next {
    pub target: usize,
    pub after: usize,
}

impl Next {
    pub(crate) const RETURN: Self = Self { target: 0, after: 0 };
}

/// One signal on its way through the chain.
pub(crate) struct Arrival<'a> {
    pub number: i32,
    pub info: &'a libc::siginfo_t,
    pub record: Option<&'static Record>,
    /// When and where it arrived, noted when the first one needs it (or when it was deferred).
    pub stamped: Option<Stamp>,
    pub fault: bool,
    /// The entries have had their turn in this delivery: a handler behind us chains to us.
    pub continuation: bool,
    /// The handler behind us is also the one that called us: its turn is now, and not again.
    pub bypass: bool,
    /// An observer on the dispatcher is to run before a default action that ends the process.
    pub awaited: bool,
    /// A handler that took the signal from us calls, and not the kernel.
    pub second_hand: bool,
    /// This is a `vfork` child: the queues it sees are its parent's.
    pub borrowed: bool,
    /// What is to be blocked while the handler runs that comes next ([`Next::target`]).
    pub mask: u64,
}

impl<'a> Arrival<'a> {
    /// A signal that the kernel delivers now, and that is no fault.
    pub(crate) fn new(
        number: i32,
        info: &'a libc::siginfo_t,
        record: Option<&'static Record>,
    ) -> Self {
        Self {
            number,
            info,
            record,
            stamped: None,
            fault: false,
            continuation: false,
            bypass: false,
            second_hand: false,
            awaited: false,
            borrowed: false,
            mask: 0,
        }
    }
}

/// The entry stub's callee. What most signals need comes first: an attached thread that is in no
/// deferral and no wait of ours, and a chain of immediate entries with nothing special behind it. It
/// takes the same steps as [`general`], with those left out that have nothing to do.
///
/// `mask` is where the mask for the next handler goes, if there is one.
pub(crate) unsafe extern "C" fn dispatch(
    number: i32,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
    by_kernel: u32,
    mask: *mut u64,
) -> Next {
    const SPECIAL: u64 = sys::FAULT_BITS | sys::bit(doorbell::SIGNAL);
    if by_kernel != 0
        && SPECIAL & sys::bit(number) == 0
        && let Some(record) = Record::current()
        && record.is_undisturbed()
    {
        let engine = engine::get();
        let slot = engine.slot(number);
        let reading = record.readers.enter(&engine.phase, engine.expedited());
        // SAFETY: `enter` made this a reader until `exit`.
        if let Some(chain) = unsafe { slot.chain() }
            && chain.plain
            && !slot.behind.get().is_handler()
        {
            record.counters.add_own(Count::Delivered, number);
            // SAFETY: the kernel passes valid information for the life of the handler.
            let at = unsafe { &*info };
            let mut delivery = walk::delivery(at, context.cast(), record);
            let taken = walk::immediate(chain.all(), &mut delivery, false, record.errno());
            record.readers.exit(reading);
            if taken {
                return Next::RETURN;
            }
            // SAFETY: this function's own arguments.
            return unsafe { untaken(number, info, context, mask, record) };
        }
        record.readers.exit(reading);
    }
    // SAFETY: this function's own arguments.
    unsafe { general(number, info, context, by_kernel, mask) }
}

/// Step 6 for a chain that [`dispatch`] has been through.
#[cold]
unsafe fn untaken(
    number: i32,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
    mask: *mut u64,
    record: &'static Record,
) -> Next {
    // SAFETY: the arguments of `dispatch`.
    let info = unsafe { &*info };
    // SAFETY: as above.
    let mut frame = unsafe { Frame::of_handler(context.cast()) };
    let mut arrival = Arrival::new(number, info, Some(record));
    let slot = engine::get().slot(number);
    let next = behind::settle(&mut arrival, &mut frame, slot, Behind::of(slot), false, 0);
    // SAFETY: the stub's own word.
    unsafe { mask.write(arrival.mask) };
    next
}

/// Every signal's way. Kept out of `dispatch`, whose frame it would blow up.
#[inline(never)]
unsafe fn general(
    number: i32,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
    by_kernel: u32,
    mask: *mut u64,
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
    let mut arrival = Arrival::new(number, info, record);
    arrival.fault = fault::is_synchronous(number, info);
    let next = if by_kernel == 0 {
        second_hand(&mut arrival, &mut frame)
    } else {
        route(&mut arrival, &mut frame)
    };
    // SAFETY: the stub's own word.
    unsafe { mask.write(arrival.mask) };
    next
}

/// A fault's way, or steps 1 and 2, and then the chain.
#[inline(always)]
fn route(arrival: &mut Arrival<'_>, frame: &mut Frame) -> Next {
    if arrival.fault {
        return fault::deliver(arrival, frame);
    }
    let (record, info) = (arrival.record, arrival.info);
    let bell = arrival.number == doorbell::SIGNAL && doorbell::answer(info, record, frame.mask());
    if let Some(record) = record
        // A fault signal that somebody sent is not held back: it can interrupt the store of deferred
        // events, and blocking it would turn a real fault in the section into the end of the process.
        && sys::FAULT_BITS & sys::bit(arrival.number) == 0
        && (record.depth.load(Ordering::Relaxed) != 0
            || record.attention.load(Ordering::Relaxed) & attention::DEFERRED != 0)
        && defer::hold_back(record, (!bell).then_some(&mut *arrival), frame)
    {
        return Next::RETURN;
    }
    if bell {
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

/// Called by a handler that chains to us, under a mask of its own. Ours is put on for the time being.
///
/// If that handler stands behind us, the entries have had their turn, and the call goes on to what was
/// behind us before; if it stands in front of us, they have not. The signal frame tells: the kernel put
/// our restorer into it if it entered us first, and we do so ourselves on the first call, which is thus
/// remembered for this delivery and no longer.
#[cold]
fn second_hand(arrival: &mut Arrival<'_>, frame: &mut Frame) -> Next {
    arrival.second_hand = true;
    let slot = engine::get().slot(arrival.number);
    let before = sys::block(sys::ASYNC_BITS);
    // The caller's mask usually blocks the signal: a fault in here, or in what subscribers run, would kill.
    sys::unblock(sys::FAULT_BITS & before);
    let reading = enter(arrival.record);
    // SAFETY: `enter` made this a reader until `exit`.
    let older = unsafe { slot.chain() }.is_some_and(|chain| chain.older.is_some());
    exit(arrival.record, reading);
    arrival.continuation = older && frame.mark_as_ours(arrival.info);
    arrival.bypass = older && !arrival.continuation && is_in_kernel_too(arrival);
    let next = if arrival.continuation { deliver(arrival, frame) } else { route(arrival, frame) };
    arrival.mask = before | behind::bell_for(arrival);
    if next.target == 0 {
        sys::set_mask(arrival.mask);
    }
    next
}

/// Whether the foreign handler behind us has also taken the signal from us again, or has put back what it
/// had found, as crash handlers do when they give up: our stub, with libc's restorer instead of ours. Then
/// a fault must not come to it again and again.
fn is_in_kernel_too(arrival: &Arrival<'_>) -> bool {
    let kernel = sys::sigaction(arrival.number, None).unwrap_or(KernelAction::DEFAULT);
    if sys::FAULT_BITS & sys::bit(arrival.number) != 0
        && kernel.is_ours()
        && kernel.restorer != sys::arch::restorer()
    {
        return true;
    }
    let behind = engine::get().slot(arrival.number).behind.get();
    behind.action().handler == kernel.handler
}

/// Steps 3, 4 and 6.
#[inline]
pub(crate) fn deliver(arrival: &mut Arrival<'_>, frame: &mut Frame) -> Next {
    let slot = engine::get().slot(arrival.number);
    let reading = enter(arrival.record);
    // SAFETY: `enter` made this a reader until `exit`.
    let chain = unsafe { slot.chain() };
    let behind = Behind::of(slot);
    if arrival.continuation {
        // A handler that took the signal from us, and stands behind us now, chains to what it found:
        // the entries have had their turn, the call goes on to what was behind us before.
        let older = chain.and_then(|chain| chain.older).map_or(behind, Behind::older);
        // If that is no handler, it counts only if no entry has taken the signal. Which of them did is
        // not known here: one that may have is taken for one that has.
        let may_have = |chain: &Chain| chain.all().iter().any(|at| at.is_armed() && !at.observes);
        let taken = !older.action.is_handler() && chain.is_some_and(may_have);
        exit(arrival.record, reading);
        return behind::settle(arrival, frame, slot, older, taken, 0);
    }
    let handler_behind = behind.action.is_handler();
    let taken = match chain {
        Some(chain) if chain.queued => {
            match walk::queued(chain, handler_behind, arrival, frame, slot) {
                Some(taken) => taken,
                None => {
                    exit(arrival.record, reading);
                    return Next::RETURN;
                }
            }
        }
        Some(chain) => {
            let run = if arrival.fault { walk::run_contained } else { walk::run };
            run(chain.first(handler_behind), arrival, frame)
        }
        None => false,
    };
    count(arrival.record, Count::Delivered, arrival.number);
    let older = chain.and_then(|chain| chain.older);
    let behind = if arrival.bypass { older.map_or(behind, Behind::older) } else { behind };
    // A handler that took the signal from us is called, not jumped to: should it end with a jump to
    // us, the stub can tell.
    // And a fault's, when there are last-chance hooks: it may give up.
    let after = usize::from(
        (handler_behind && chain.is_some_and(Chain::has_second))
            || older.is_some()
            || (arrival.fault && fault::has_last_chance(arrival.record, arrival.number)),
    );
    exit(arrival.record, reading);
    behind::settle(arrival, frame, slot, behind, taken, after)
}

// Not `always`: each copy costs an unoptimised build a hundred bytes of a small alternate stack.
#[inline]
pub(crate) fn enter(record: Option<&Record>) -> Reading {
    let engine = engine::get();
    match record {
        Some(record) => record.readers.enter(&engine.phase, engine.expedited()),
        None => {
            sys::arch::add_stranger_depth(1);
            engine.strangers.enter_shared(&engine.phase)
        }
    }
}

#[inline]
pub(crate) fn exit(record: Option<&Record>, reading: Reading) {
    match record {
        Some(record) => record.readers.exit(reading),
        None => {
            engine::get().strangers.exit_shared(reading);
            sys::arch::add_stranger_depth(-1);
        }
    }
}

#[inline]
pub(crate) fn count(record: Option<&Record>, count: Count, number: i32) {
    match record {
        Some(record) => record.counters.add_own(count, number),
        None => engine::get().stranger_counts.add_shared(count, number),
    }
}

/// What stands behind us on a signal, for handlers that have to give it back.
pub(crate) fn original_action(number: i32) -> KernelAction {
    *engine::get().slot(number).behind.get().action()
}

/// The kernel's id of the thread of a delivery.
#[inline(always)]
pub(crate) fn tid(record: Option<&Record>) -> i32 {
    record.map_or_else(sys::gettid, |record| record.tid.load(Ordering::Relaxed))
}
