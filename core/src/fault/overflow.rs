//! Whether a fault is that of a stack which has no room left.
//!
//! **Runs inside signal handlers.** Plain system calls, a small buffer, no allocation.
//!
//! The stack that matters is the one that the stack pointer is on, whoever made it: the main thread's,
//! a thread's, a coroutine's. So nothing is remembered of threads; the mappings around the stack pointer
//! are looked at when a fault happens near it (`/proc/self/maps`, proc(5)). An overflow is an access below
//! the mapping that the stack pointer is in, or has just left, to pages that nobody may touch: a guard, or a
//! hole where the main thread's stack cannot grow into (its limit, or the gap that the kernel keeps to
//! the next mapping: mm/mmap.c, `stack_guard_gap`). Another thread's guard page is far from the stack
//! pointer, or not below its own mapping, and so is not taken for one.
//!
//! Guards that madvise(2) has made (`MADV_GUARD_INSTALL`, as glibc 2.42 does) are no mappings of their own:
//! the access is to a page of the stack's own mapping, of which the kernel says that nothing is there.
//!
//! Where `/proc` cannot be read the fault is what the kernel says it is.
#![allow(unsafe_code)]

use crate::dispatch::Arrival;
use crate::event::fields;
use crate::sys;
use crate::sys::arch::{guard, trap};

/// How far from the stack pointer an access may be that belongs to the stack: a frame may be large, and be
/// touched at its far end first, or the stack pointer be moved before anything is touched.
const REACH: usize = 1 << 20;

/// Whether an access to `address` with this stack pointer was a stack overflow. `absent` tells that the
/// kernel found nothing at the address, as opposed to something that may not be touched.
pub(crate) fn is_likely(address: usize, stack_pointer: usize, absent: bool) -> bool {
    address.abs_diff(stack_pointer) < REACH
        && has_no_room(address, stack_pointer, absent).unwrap_or(false)
}

/// How far below its end an alternate stack is left by a handler that needs more of it.
const PAGE: usize = 4096;

/// Whether the fault is that of a handler whose alternate stack was too small. The kernel starts again at
/// its top when the stack pointer has left it (`sas_ss_flags`), over the frames of the handlers that are
/// running, so that none of them can be returned to.
///
/// The stack pointer alone does not tell: another stack may end where the alternate one begins. So either
/// the access is just below it, too (a guard page); or a handler of ours runs, under a guard of its own that
/// is on the alternate stack (memory that was not its own, far down).
pub(crate) fn is_of_alternate_stack(arrival: &Arrival<'_>, context: &libc::ucontext_t) -> bool {
    let stack = &context.uc_stack;
    let (base, stack_pointer) = (stack.ss_sp as usize, trap::stack_pointer(context));
    if stack.ss_flags & libc::SS_DISABLE != 0 || stack.ss_size == 0 {
        return false;
    }
    // As the kernel has it (include/linux/sched/signal.h, `__on_sig_stack`).
    let is_on = |at: usize| at > base && at - base <= stack.ss_size;
    if is_on(stack_pointer) {
        return false;
    }
    let is_just_below = |at: usize| base.wrapping_sub(at) <= PAGE;
    let ran_into_guard = is_just_below(stack_pointer)
        && trap::page_fault(context).is_some()
        && is_just_below(fields::address(arrival.info));
    ran_into_guard || is_on(guard::place()) && super::guarded::nesting(arrival.record) != 0
}

/// One line of the list of mappings.
#[derive(Clone, Copy, Default)]
struct Mapping {
    start: usize,
    end: usize,
    readable: bool,
    writable: bool,
}

#[cold]
#[inline(never)]
fn has_no_room(address: usize, stack_pointer: usize, absent: bool) -> Option<bool> {
    let fd = sys::open_read(c"/proc/self/maps").ok()?;
    let mut lines = Lines { fd, buffer: [0; 128], filled: 0, at: 0 };
    look_around(&mut lines, address, stack_pointer, absent)
}

fn look_around(
    lines: &mut Lines,
    address: usize,
    stack_pointer: usize,
    absent: bool,
) -> Option<bool> {
    // The first mapping that ends above the address: it contains it, or lies above a hole.
    let mut mapping = loop {
        let mapping = lines.next()?;
        if mapping.end > address {
            break mapping;
        }
    };
    if mapping.start <= address {
        if mapping.readable || mapping.writable {
            // A guard inside: that of this stack if it is not above the stack pointer.
            let own = (mapping.start..=mapping.end).contains(&stack_pointer)
                || (1..REACH).contains(&mapping.start.wrapping_sub(stack_pointer));
            return Some(
                absent && mapping.writable && own && address < stack_pointer.saturating_add(PAGE),
            );
        }
        let guard = mapping;
        mapping = lines.next()?;
        if mapping.start != guard.end {
            return Some(false);
        }
    }
    let below = stack_pointer < mapping.start && mapping.start - stack_pointer < REACH;
    let inside = (mapping.start..=mapping.end).contains(&stack_pointer);
    Some(mapping.writable && mapping.start - address < REACH && (inside || below))
}

/// The mappings of this process, in order of address, read in small pieces.
struct Lines {
    fd: i32,
    buffer: [u8; 128],
    filled: usize,
    at: usize,
}

impl Drop for Lines {
    fn drop(&mut self) {
        sys::close(self.fd);
    }
}

impl Lines {
    fn byte(&mut self) -> Option<u8> {
        if self.at == self.filled {
            self.filled = sys::read(self.fd, &mut self.buffer).ok()?;
            self.at = 0;
        }
        let byte = self.buffer.get(self.at..self.filled)?.first().copied()?;
        self.at += 1;
        Some(byte)
    }

    /// A hexadecimal number, and the byte that follows it.
    fn number(&mut self) -> Option<usize> {
        let mut number = 0usize;
        loop {
            match (self.byte()? as char).to_digit(16) {
                Some(digit) => number = number << 4 | digit as usize,
                None => return Some(number),
            }
        }
    }

    /// `start-end rwxp …`
    fn next(&mut self) -> Option<Mapping> {
        let (start, end) = (self.number()?, self.number()?);
        let (readable, writable) = (self.byte()? == b'r', self.byte()? == b'w');
        while self.byte()? != b'\n' {}
        Some(Mapping { start, end, readable, writable })
    }
}
