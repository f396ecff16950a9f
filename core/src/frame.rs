//! What a delivery interrupted: the machine context of a handler, or, when a deferred signal is run
//! in ordinary code, just the mask that the thread will have afterwards.
//!
//! **Used inside signal handlers.**
//!
//! # Safety
//! `context` is null or the frame that the kernel gave the running handler, which nobody else
//! touches while the handler runs.
#![allow(unsafe_code)]

use crate::sys;

pub(crate) struct Frame {
    context: *mut libc::ucontext_t,
    mask: u64,
}

impl Frame {
    /// The frame of the running handler.
    ///
    /// # Safety
    /// `context` is what the kernel passed to this handler, or null.
    pub(crate) unsafe fn of_handler(context: *mut libc::ucontext_t) -> Self {
        Self { context, mask: 0 }
    }

    /// No frame: the thread will have `mask` when the caller is done.
    pub(crate) fn virtual_with(mask: u64) -> Self {
        Self { context: core::ptr::null_mut(), mask }
    }

    pub(crate) fn context_ptr(&self) -> *mut libc::ucontext_t {
        self.context
    }

    pub(crate) fn context(&mut self) -> Option<&mut libc::ucontext_t> {
        // SAFETY: by the module's invariant.
        unsafe { self.context.as_mut() }
    }

    /// Notes in the kernel's frame that our entries have had their turn in this delivery: the word below
    /// the machine context, to which the handler returns, becomes our restorer. Whether it was already,
    /// or cannot be told.
    pub(crate) fn mark_as_ours(&mut self) -> bool {
        let restorer = sys::arch::restorer();
        let word = self.context.cast::<usize>().wrapping_sub(1);
        // SAFETY: what a handler passes on as the machine context is the kernel's, whose frame begins
        // one word below it (asm/sigframe.h), or our own `defer::Interrupted`, made alike.
        if self.context.is_null() || unsafe { word.read() } == restorer {
            return true;
        }
        if !sys::arch::has_shadow_stack() {
            // SAFETY: as above. Every restorer makes the same system call.
            unsafe { word.write(restorer) };
        }
        false
    }

    /// The mask with which the interrupted code goes on.
    pub(crate) fn mask(&mut self) -> &mut u64 {
        if self.context.is_null() {
            return &mut self.mask;
        }
        // SAFETY: not null, and by the module's invariant.
        sys::context_mask(unsafe { &mut *self.context })
    }
}
