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

    /// The mask with which the interrupted code goes on.
    pub(crate) fn mask(&mut self) -> &mut u64 {
        if self.context.is_null() {
            return &mut self.mask;
        }
        // SAFETY: not null, and by the module's invariant.
        sys::context_mask(unsafe { &mut *self.context })
    }
}
