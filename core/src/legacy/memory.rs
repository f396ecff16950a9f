//! What can be said about memory that somebody names.
//!
//! **Runs inside signal handlers.**

use crate::sync::{AtomicUsize, Ordering};
use crate::sys;

const PAGE: usize = 4096;
/// Nothing but the main stack is so close below its end: the kernel keeps at least 128 MiB free for it
/// (mm/util.c, `mmap_base`).
const MAIN: usize = 8 << 20;

static MAIN_END: AtomicUsize = AtomicUsize::new(0);

/// Tells where the main thread's stack began, above which are arguments and environment.
pub fn set_main_stack(end: usize) {
    MAIN_END.store(end, Ordering::Relaxed);
}

/// Whether `length` bytes at `at`, less than a page, are certainly there, seen from `stack`, an address
/// on the calling thread's stack in use: on the same page of it, or further up the main stack.
///
/// # Async-signal safety
/// Yes.
#[inline(always)]
pub fn is_near(at: usize, length: usize, stack: usize) -> bool {
    let page = stack & !(PAGE - 1);
    if at.wrapping_sub(page) <= PAGE - length {
        return true;
    }
    let end = MAIN_END.load(Ordering::Relaxed);
    let above = end.wrapping_sub(stack);
    above < MAIN && at >= page && end.wrapping_sub(at) <= above + PAGE && end - at >= length
}

/// Whether eight bytes at `at` can be read.
///
/// # Async-signal safety
/// Yes.
pub fn is_readable(at: usize) -> bool {
    sys::is_readable(at)
}

/// Whether eight bytes at `at` can be written. Overwrites them.
///
/// # Async-signal safety
/// Yes.
pub fn is_writable(at: usize) -> bool {
    sys::is_writable(at)
}
