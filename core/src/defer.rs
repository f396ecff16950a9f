//! Deferral: a critical section in which no asynchronous handler of sigplane runs on this thread.
//!
//! **`hold_back` and `drain` run inside signal handlers.**
//!
//! Entering and leaving cost a few instructions on the thread's own record and no system call. A
//! handler that finds the thread in a deferral stores the event and returns; when it takes the last
//! place it also blocks everything in the interrupted mask, so that the kernel keeps what follows, in
//! order and with its values (the way of FreeBSD's libthr, with more than one place). Leaving the
//! outermost deferral delivers what was stored and puts the mask back.
//!
//! Invariants:
//! * The stored events are touched with every asynchronous signal blocked: in a handler by the
//!   kernel's mask of our action, in ordinary code by `flush`.
//! * As long as one is stored, a new arrival is stored behind it or delivered after it, whatever the
//!   depth: nothing overtakes, not even between the end of the section and its flush.
//! * Faults never come here.
//!
//! # Safety
//! `Record::deferred` is called under the first invariant.
#![allow(unsafe_code)]

use crate::Wake;
use crate::delivery::doorbell;
use crate::dispatch::{self, Arrival, Next};
use crate::engine;
use crate::event::RawEvent;
use crate::event::stamp::Stamp;
use crate::frame::{Frame, SignalFrame};
use crate::sync::{Ordering, compiler_fence};
use crate::sys;
use crate::table::counters::Count;
use crate::thread::record::{attention, state};
use crate::thread::{self, Record, safe_point};
use core::ffi::c_void;
use core::marker::PhantomData;
use std::time::Instant;

/// Enters a deferral: until the guard is dropped, no asynchronous handler of sigplane runs on this
/// thread, immediate ones included; they run when the outermost guard is dropped, in the order in
/// which the signals came. Nothing is lost. Faults are delivered all the same.
///
/// Attaches the thread on its first use; after that, entering and leaving make no system call unless
/// a signal did arrive in between. Leaving the outermost deferral is a safe point.
///
/// A signal that sigplane does not own (a handler installed by `sigaction` behind its back) is not
/// held back.
///
/// # Async-signal safety
/// On an attached thread, yes. Leaving one inside an immediate handler is no safe point.
///
/// # Examples
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use sigplane::{Signal, Verdict, send};
/// static SEEN: AtomicU32 = AtomicU32::new(0);
/// // SAFETY: adds to a number.
/// let _sub = unsafe {
///     sigplane::subscribe(Signal::USR1).immediate(|_| {
///         SEEN.fetch_add(1, Ordering::Relaxed);
///         Verdict::Handled
///     })
/// }?;
/// {
///     let _critical = sigplane::defer();
///     send::raise(Signal::USR1)?;
///     assert_eq!(SEEN.load(Ordering::Relaxed), 0);
/// }
/// assert_eq!(SEEN.load(Ordering::Relaxed), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[inline]
pub fn defer() -> DeferGuard {
    let record = thread::attached();
    enter(record);
    DeferGuard { record, not_send: PhantomData }
}

/// Whether the calling thread is in a deferral.
///
/// # Async-signal safety
/// Yes.
///
/// # Examples
/// ```
/// let guard = sigplane::defer();
/// assert!(sigplane::is_deferred());
/// drop(guard);
/// assert!(!sigplane::is_deferred());
/// ```
pub fn is_deferred() -> bool {
    Record::current().is_some_and(|record| record.depth.load(Ordering::Relaxed) != 0)
}

/// The guard of a deferral; see [`defer`]. Bound to its thread.
///
/// # Examples
/// ```
/// let outer = sigplane::defer();
/// let inner = sigplane::defer(); // nests
/// drop(inner);
/// drop(outer); // a safe point
/// ```
#[must_use = "the deferral ends when the guard is dropped"]
#[derive(Debug)]
pub struct DeferGuard {
    record: &'static Record,
    not_send: PhantomData<*const ()>,
}

#[inline(always)]
fn enter(record: &Record) {
    // Plain load and store: only this thread writes the depth, and a handler that defers itself
    // leaves it as it found it.
    let depth = record.depth.load(Ordering::Relaxed);
    record.depth.store(depth.wrapping_add(1), Ordering::Relaxed);
    // ORDERING: the section's accesses stay behind this; the handler is on the same thread, so the
    // compiler is all that could move them.
    compiler_fence(Ordering::SeqCst);
}

/// Leaves; tells whether that was the outermost and something waits.
#[inline(always)]
fn leave(record: &Record) -> bool {
    compiler_fence(Ordering::SeqCst);
    let Some(depth) = record.depth.load(Ordering::Relaxed).checked_sub(1) else {
        // A guard from outside a `wait` is dropped by what runs inside it.
        let suspended = record.suspended.load(Ordering::Relaxed);
        record.suspended.store(suspended.saturating_sub(1), Ordering::Relaxed);
        return false;
    };
    record.depth.store(depth, Ordering::Relaxed);
    compiler_fence(Ordering::SeqCst);
    depth == 0 && record.attention.load(Ordering::Relaxed) != 0
}

impl Drop for DeferGuard {
    #[inline]
    fn drop(&mut self) {
        if leave(self.record) {
            safe_point::reach(self.record);
        }
    }
}

impl DeferGuard {
    /// The guard of a deferral that the calling thread, whose record this is, has entered without one.
    pub(crate) fn of(record: &'static Record) -> Self {
        Self { record, not_send: PhantomData }
    }

    /// Leaves the deferral, however deep, waits until a signal has been delivered on this thread or
    /// work has been run at this safe point, and enters it again as deep as before. A signal that
    /// came while the deferral was on counts, so there is no instant at which one could be missed:
    /// test a condition that handlers change, and wait here while it does not hold.
    ///
    /// # Async-signal safety
    /// No.
    ///
    /// # References
    /// The deferral's equivalent of sigsuspend(2).
    ///
    /// # Examples
    /// ```
    /// use std::sync::atomic::{AtomicBool, Ordering};
    /// use sigplane::{Signal, Verdict, send};
    /// static DONE: AtomicBool = AtomicBool::new(false);
    /// // SAFETY: stores a flag.
    /// let _sub = unsafe {
    ///     sigplane::subscribe(Signal::USR1).immediate(|_| {
    ///         DONE.store(true, Ordering::Relaxed);
    ///         Verdict::Handled
    ///     })
    /// }?;
    /// let mut guard = sigplane::defer();
    /// send::raise(Signal::USR1)?; // held back
    /// while !DONE.load(Ordering::Relaxed) {
    ///     guard.wait(None);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait(&mut self, deadline: Option<Instant>) -> Wake {
        let record = self.record;
        let deadline = sys::deadline(deadline);
        thread::forget_wait(record);
        // From here on a handler on this thread leaves a mark, also when it runs before the wait.
        record.state.store(state::WAITING_ANY, Ordering::SeqCst);
        let outer = record.suspended.swap(record.depth.swap(0, Ordering::SeqCst), Ordering::SeqCst);
        // Inside a thread-context handler, others' turn does not come: their work wakes nobody.
        let busy = record.at_safe_point.load(Ordering::Relaxed) != 0;
        let wanted = if busy { !attention::WORK } else { !0 };
        let mut woken = false;
        loop {
            let seen = record.attention.load(Ordering::SeqCst);
            if seen & wanted != 0 {
                safe_point::reach(record);
                woken = true;
                break;
            }
            if !sys::futex_wait(&record.attention, seen, deadline) {
                break;
            }
        }
        record.depth.store(record.suspended.swap(outer, Ordering::SeqCst), Ordering::SeqCst);
        record.state.store(state::RUNNING, Ordering::SeqCst);
        let left = record.attention.fetch_and(!attention::DELIVERED, Ordering::SeqCst);
        if woken || left & attention::DELIVERED != 0 { Wake::Work } else { Wake::Timeout }
    }
}

/// A deferral of sigplane's own, around its locks. Leaving it delivers what was stored, but is no safe
/// point: subscribers' code does not run in the middle of a call that changes the table.
pub(crate) struct Critical(&'static Record);

impl Critical {
    pub(crate) fn enter() -> Self {
        let record = thread::attached();
        enter(record);
        Self(record)
    }
}

impl Drop for Critical {
    fn drop(&mut self) {
        leave_quietly(self.0);
    }
}

/// Leaves a deferral of sigplane's own.
pub(crate) fn leave_quietly(record: &Record) {
    if leave(record) && record.attention.load(Ordering::Relaxed) & attention::DEFERRED != 0 {
        flush(record);
    }
}

/// Step 2 of a delivery: stores the arrival, if there is one (a doorbell brings none). When the deferral
/// is over but its events have not been delivered yet, delivers them too, the arrival last. Whether the
/// arrival is dealt with.
#[cold]
pub(crate) fn hold_back(
    record: &Record,
    arrival: Option<&mut Arrival<'_>>,
    frame: &mut Frame,
) -> bool {
    if engine::get().is_borrowed() {
        // A vfork child of the section: what would be stored is its parent's. It is on its way to
        // exec, which takes the default; so does this.
        if let Some(arrival) = arrival {
            arrival.borrowed = true;
        }
        return false;
    }
    if let Some(arrival) = arrival {
        store(record, arrival, frame);
    }
    if record.depth.load(Ordering::Relaxed) == 0 {
        let mut at = Frame::virtual_with(*frame.mask());
        drain(record, &mut at);
        *frame.mask() = *at.mask();
    }
    true
}

fn store(record: &Record, arrival: &Arrival<'_>, frame: &mut Frame) {
    dispatch::count(Some(record), Count::Deferred, arrival.number);
    let tid = record.tid.load(Ordering::Relaxed);
    let slot = engine::get().slot(arrival.number);
    // SAFETY: in a handler, where everything asynchronous is blocked.
    let deferred = unsafe { record.deferred() };
    // Only a program that unblocks signals inside the section gets here with the store full; what does
    // not even find a shared place goes behind what the kernel keeps already.
    if !deferred.push(Stamp::now(tid).event(arrival.info)) {
        dispatch::return_to_kernel(arrival, tid, slot);
    }
    record.attention.fetch_or(attention::DEFERRED, Ordering::SeqCst);
    if deferred.is_full() {
        let blocked = record.blocked.load(Ordering::Relaxed) | sys::ASYNC_BITS & !*frame.mask();
        record.blocked.store(blocked, Ordering::Relaxed);
        *frame.mask() |= sys::ASYNC_BITS;
    }
}

/// Delivers what a deferral stored. Ordinary code, outside any deferral.
#[cold]
pub(crate) fn flush(record: &Record) {
    if Record::in_handler() {
        // An immediate entry leaves a deferral of its own. Whoever is delivering what is stored goes on
        // with it; if nobody is, the bell sees to it when the handler has returned.
        doorbell::ring(record.tid.load(Ordering::Relaxed));
        return;
    }
    if is_inside_foreign_call(record) {
        // A foreign handler that an outer call of this has called leaves a deferral of its own: what its
        // mask blocks, and the mask below it, stay the outer call's business.
        let mut frame = Frame::virtual_with(sys::block(sys::ASYNC_BITS));
        drain(record, &mut frame);
        sys::set_mask(*frame.mask());
        return;
    }
    let mask = sys::block(sys::ASYNC_BITS) & !record.blocked.load(Ordering::Relaxed);
    let mut frame = Frame::virtual_with(mask);
    drain(record, &mut frame);
    // What is left came before the program blocked it: the kernel keeps it until that is lifted.
    while let Some(event) = take(record, 0) {
        let arrival = Arrival::new(event.info.si_signo, &event.info, Record::current());
        dispatch::return_to_kernel(&arrival, event.tid, engine::get().slot(arrival.number));
    }
    sys::set_mask(*frame.mask());
    // Only now: a foreign handler that left by siglongjmp may have gone back to a mask that was saved
    // while the store was full. Then this is not reached, and the next safe point lifts it. Handlers
    // that come between these lines find the depth 0 and leave the store empty.
    record.blocked.store(0, Ordering::Relaxed);
    record.attention.fetch_and(!attention::DEFERRED, Ordering::SeqCst);
}

/// Whether a foreign handler that `call_foreign` has called is further up this very stack. One that has
/// left by `siglongjmp` is not, and is forgotten.
fn is_inside_foreign_call(record: &Record) -> bool {
    let mark = 0u8;
    let here = core::ptr::from_ref(&mark) as usize;
    let above = record.foreign_at.load(Ordering::Relaxed).wrapping_sub(here);
    let inside = (1..FOREIGN_STACK).contains(&above);
    if !inside {
        record.foreign_at.store(0, Ordering::Relaxed);
    }
    inside
}

/// How much stack a foreign handler may use and still be recognised.
const FOREIGN_STACK: usize = 256 * 1024;

/// Takes the oldest stored event that `mask` does not block.
fn take(record: &Record, mask: u64) -> Option<RawEvent> {
    // SAFETY: everything asynchronous is blocked, and the reference ends here.
    unsafe { record.deferred() }.pop(record.tid.load(Ordering::Relaxed), mask)
}

/// Delivers the stored events, oldest first, with everything asynchronous blocked; `frame` has the
/// mask that the thread will go on with, and what that blocks stays stored: this may run on top of a
/// foreign handler that an outer call of this very function has called.
fn drain(record: &Record, frame: &mut Frame) {
    let at_first = *frame.mask();
    loop {
        // What a hold blocks that was placed meanwhile is delivered all the same, into the queue's spare
        // places: the kernel may keep younger ones, and it has no way to put one in front of them.
        let held = engine::get().holds.held_on(record.tid.load(Ordering::Relaxed)) & !at_first;
        let Some(event) = take(record, *frame.mask() & !held) else { break };
        deliver_stored(record, &event, frame);
    }
}

fn deliver_stored(record: &Record, event: &RawEvent, frame: &mut Frame) {
    // SAFETY: everything asynchronous is blocked, and the reference ends here.
    let more = !unsafe { record.deferred() }.is_empty();
    let mut arrival = Arrival::new(event.info.si_signo, &event.info, Record::current());
    arrival.stamped = Some(event.stamp());
    let next = dispatch::deliver(&mut arrival, frame);
    if next.target != 0 {
        call_foreign(more, &next, &mut arrival, frame);
    }
}

/// Calls a foreign handler in ordinary code, with a machine context of here and now: what the signal
/// interrupted has gone on long ago. The event is out of the store already, and nothing is held, so
/// the handler may leave by `siglongjmp`.
fn call_foreign(more: bool, next: &Next, arrival: &mut Arrival<'_>, frame: &mut Frame) {
    // SAFETY: all zero bytes are a valid `ucontext_t`.
    let mut here: libc::ucontext_t = unsafe { core::mem::zeroed() };
    // SAFETY: `here` is valid for writing.
    unsafe { libc::getcontext(&raw mut here) };
    *sys::context_mask(&mut here) = *frame.mask();
    let mut made = SignalFrame::imitate(&here, arrival.info);
    type Handler = extern "C-unwind" fn(i32, *mut libc::siginfo_t, *mut c_void);
    // SAFETY: `target` is the address of a handler that the program gave to sigaction(2); one of the
    // one-argument form ignores the other registers.
    let handler: Handler = unsafe { core::mem::transmute::<usize, Handler>(next.target) };
    sys::set_mask(arrival.mask);
    if more {
        // Should the handler leave by siglongjmp, the rest is delivered when the bell gets through, which
        // is when the handler's mask is gone.
        sys::block(sys::bit(doorbell::SIGNAL));
        doorbell::ring(dispatch::tid(arrival.record));
    }
    let (info, context) = made.arguments();
    let foreign_at = Record::current().map(|record| &record.foreign_at);
    let before = foreign_at.map_or(0, |at| at.swap(context as usize, Ordering::Relaxed));
    handler(arrival.number, info, context);
    if let Some(at) = foreign_at {
        at.store(before, Ordering::Relaxed);
    }
    *frame.mask() = made.mask();
    sys::block(sys::ASYNC_BITS);
    if next.after != 0 {
        let _taken = dispatch::run_after(arrival, frame);
    }
}
