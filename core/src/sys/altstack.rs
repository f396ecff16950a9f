//! Memory for alternate signal stacks: mapped once, guarded, reused.
//!
//! Sizes come from `AT_MINSIGSTKSZ` (getauxval(3)): with AVX-512 or AMX a signal frame alone
//! outgrows the constant `SIGSTKSZ`. A stack is never unmapped: a thread that attaches takes one of
//! those that ended threads have left, so that 100,000 threads cost no more than were alive at once.
//!
//! # Safety
//! A [`Stack`] is handed to one thread at a time; the pool owns it otherwise. Whoever gives one back
//! has made sure that the kernel no longer uses it (`thread::altstack`).
#![allow(unsafe_code)]

use super::lock::Lock;
use core::ffi::c_void;

/// What handlers need besides the kernel's frame: ours, legacy ones that print, and some of those nested
/// (a `siglongjmp` that restores a mask lets the next one in while it is still on this stack). Pages
/// that are never touched cost nothing.
const ROOM: usize = 256 * 1024;
const PAGE: usize = 4096;

/// A mapped alternate stack, its guard page excluded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stack {
    base: usize,
    size: usize,
}

static POOL: Lock<Vec<Stack>> = Lock::new(Vec::new());

/// The smallest alternate stack with which sigplane's handlers and a printing one run on this CPU.
pub(crate) fn required() -> usize {
    // SAFETY: getauxval only reads the auxiliary vector.
    let frame = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
    (frame.max(libc::MINSIGSTKSZ) + ROOM).next_multiple_of(PAGE)
}

impl Stack {
    /// Takes one from the pool, or maps one.
    pub(crate) fn take() -> Result<Self, i32> {
        if let Some(stack) = POOL.lock().pop() {
            return Ok(stack);
        }
        let size = required();
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice.
        let base =
            unsafe { libc::mmap(core::ptr::null_mut(), size + PAGE, protection, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(libc::ENOMEM);
        }
        // SAFETY: the first page of the mapping just made; stacks grow down to it.
        unsafe { libc::mprotect(base, PAGE, libc::PROT_NONE) };
        Ok(Self { base: base as usize + PAGE, size })
    }

    /// Gives it to the next thread.
    pub(crate) fn give_back(self) {
        POOL.lock().push(self);
    }

    pub(crate) fn as_stack_t(self) -> libc::stack_t {
        libc::stack_t { ss_sp: self.base as *mut c_void, ss_flags: 0, ss_size: self.size }
    }

    pub(crate) fn is(self, other: &libc::stack_t) -> bool {
        other.ss_sp as usize == self.base && other.ss_flags & libc::SS_DISABLE == 0
    }
}

/// The pool, for `fork`.
pub(crate) fn pool() -> &'static Lock<Vec<Stack>> {
    &POOL
}
