//! Guarded calls: a fault in a call comes back as a value.
//!
//! A guarded call leaves a frame on the stack and its address in one word of the thread's own; see
//! `sys/arch/…/guard` for the frame. A fault goes to the innermost frame that it belongs to, and takes it
//! away. It belongs to the frame if
//! * as many handlers of sigplane's are running on the thread as when the frame was made: a fault of a
//!   handler does not end the call that the handler interrupted;
//! * it is on the same stack as the frame, the alternate one or not, and below it: a handler that is not
//!   sigplane's, or a frame that somebody has jumped over, is no part of the call.
//!
//! **`catch` and `contain` run inside signal handlers.**
//!
//! # Safety
//! See [`guarded`].
#![allow(unsafe_code)]

use super::error::Fault;
use super::words::Words;
use crate::engine;
use crate::sync::Ordering;
use crate::sys::{Errno, arch};
use crate::thread::Record;
use core::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Calls `call`; a fault in it ends it and is returned: any of those of [`FaultKind`](crate::FaultKind)
/// that no [fixup](crate::fixup!) takes before, a stack overflow too where the thread has an alternate
/// stack. Guarded calls nest, and the innermost takes the fault. A panic goes on as if there were no
/// guard.
///
/// It costs a few nanoseconds, no system call, and a delivery by the kernel when there is a fault.
///
/// # Errors
/// The [`Fault`].
///
/// # Panics
/// If `call` does, and as [`try_read`](super::try_read).
///
/// # Safety
/// A fault leaves `call` at the instruction that faults, and nothing between there and here is undone: no
/// destructor runs, no lock is released, no deferral ends. So at every instruction that can fault, the
/// frames of `call` hold nothing that must be given back, and nothing that others rely on is half done.
/// `call` does not leave by `longjmp`, and does not switch to another stack and stay there.
///
/// A fault of a handler that interrupts `call` is not the call's, and ends the process as it would without.
/// There is one exception: a handler that is not sigplane's, and runs on the stack of `call` because
/// the thread has no alternate stack or the handler no `SA_ONSTACK`, cannot be told from it.
///
/// # Async-signal safety
/// Yes, once faults are [enabled](super::enable), if `call` is and does not panic. A fault inside a handler
/// needs room for a second signal frame: an attached thread's alternate stack has it, the small one that
/// Rust's runtime gives its threads may not.
///
/// # Examples
/// ```
/// use sigplane::{FaultKind, fault};
/// let table = [1u32, 2, 3];
/// // SAFETY: a loop over plain memory: nothing to give back.
/// let sum = unsafe { fault::guarded(|| table.iter().sum::<u32>()) };
/// assert_eq!(sum.ok(), Some(6));
/// // SAFETY: as above.
/// let broken = unsafe { fault::guarded(|| std::ptr::null::<u32>().wrapping_add(1).read_volatile()) };
/// assert_eq!(broken.unwrap_err().kind(), FaultKind::Unmapped);
/// ```
#[doc(alias("sigsetjmp", "__try", "__except"))]
#[inline]
pub unsafe fn guarded<R>(call: impl FnOnce() -> R) -> Result<R, Fault> {
    if !super::is_enabled() {
        super::enable_or_panic();
    }
    let mut words = Words::default();
    let call = || catch_unwind(AssertUnwindSafe(call));
    // SAFETY: the caller's promise.
    match unsafe { frame(call, &mut words, nesting(Record::current())) } {
        Some(Ok(value)) => Ok(value),
        Some(Err(payload)) => resume_unwind(payload),
        None => Err(Fault::new(words)),
    }
}

/// Runs `call` in a frame; `None` after a fault.
///
/// # Safety
/// As [`guarded`]. `call` does not unwind.
#[inline(always)]
unsafe fn frame<R, F: FnOnce() -> R>(call: F, words: &mut Words, nesting: u64) -> Option<R> {
    struct Call<F, R> {
        function: Option<F>,
        result: Option<R>,
    }
    unsafe extern "C" fn run<R, F: FnOnce() -> R>(call: *mut c_void) {
        // SAFETY: `frame` passes its own local.
        let call = unsafe { &mut *call.cast::<Call<F, R>>() };
        if let Some(function) = call.function.take() {
            // An assignment would look for something to drop, and save registers for that.
            let result = &raw mut call.result;
            // SAFETY: a field of the above, in which there is nothing yet.
            unsafe { result.write(Some(function())) };
        }
    }
    let mut call = Call { function: Some(call), result: None };
    let at = (&raw mut call).cast();
    // SAFETY: the caller's promise; `run` gets what it is for.
    let faulted = unsafe { arch::guard::call(run::<R, F>, at, words, nesting) };
    if faulted {
        // What it holds was in use when the fault happened.
        core::mem::forget(call);
        return None;
    }
    call.result
}

/// How many handlers of ours are running on the calling thread.
#[inline(always)]
pub(super) fn nesting(record: Option<&Record>) -> u64 {
    record.map_or_else(arch::stranger_depth, |record| record.readers.nesting().into())
}

/// Runs what a subscriber has given for faults, in the handler, with the fault that it may cause itself
/// caught: `None` then. `errno` stays what it was.
pub(crate) fn contain<R>(record: Option<&Record>, call: impl FnOnce() -> R) -> Option<R> {
    // SAFETY: the calling thread's own.
    let errno = unsafe { Errno::save(Errno::location()) };
    let mut words = Words::default();
    // SAFETY: the contract of such code says that it holds nothing where it can fault, and must not unwind.
    let result = unsafe { frame(call, &mut words, nesting(record)) };
    errno.restore();
    if result.is_none() {
        engine::get().faults.tally.in_handlers.fetch_add(1, Ordering::Relaxed);
    }
    result
}

/// Has the thread go on behind its innermost guarded call, if the fault belongs to that.
pub(super) fn catch(
    record: Option<&Record>,
    context: &mut libc::ucontext_t,
    words: &Words,
) -> bool {
    let Some((at, frame)) = arch::guard::innermost() else {
        return false;
    };
    let stack_pointer = arch::trap::stack_pointer(context);
    // What the kernel found when the handler was entered (rt_sigframe; sigaltstack(2)).
    let stack = context.uc_stack;
    let is_alternate = |at: usize| {
        stack.ss_flags & libc::SS_DISABLE == 0
            && at.wrapping_sub(stack.ss_sp as usize) < stack.ss_size
    };
    let belongs = frame.nesting == nesting(record)
        && stack_pointer <= at
        && is_alternate(stack_pointer) == is_alternate(at);
    if belongs {
        arch::guard::resume(context, at, &frame, words);
    }
    belongs
}
