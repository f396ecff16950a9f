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

/// The 64-bit words of the kernel's `struct ucontext` on x86_64 (asm/ucontext.h with asm/sigcontext.h):
/// glibc's is longer, but begins alike.
const CONTEXT_WORDS: usize = 38;

/// The kernel's `struct rt_sigframe` (asm/sigframe.h): where a handler returns to, the machine context,
/// the information.
#[repr(C, align(16))]
pub(crate) struct SignalFrame {
    restorer: usize,
    context: [u64; CONTEXT_WORDS],
    info: libc::siginfo_t,
}

impl SignalFrame {
    /// One that looks as if the kernel had interrupted `context` with `info`. The floating-point state
    /// stays where `context` points to.
    pub(crate) fn imitate(context: &libc::ucontext_t, info: &libc::siginfo_t) -> Self {
        const { assert!(size_of::<libc::ucontext_t>() >= size_of::<[u64; CONTEXT_WORDS]>()) };
        let words = core::ptr::from_ref(context).cast::<[u64; CONTEXT_WORDS]>();
        // SAFETY: `context` is at least as long, and plain data.
        let context = unsafe { words.read() };
        Self { restorer: sys::arch::restorer(), context, info: *info }
    }

    /// What the kernel would pass to the handler besides the number.
    pub(crate) fn arguments(&mut self) -> (*mut libc::siginfo_t, *mut core::ffi::c_void) {
        (&raw mut self.info, (&raw mut self.context).cast())
    }

    /// The mask in it, the last word of the machine context.
    pub(crate) fn mask(&self) -> u64 {
        let [.., mask] = self.context;
        mask
    }
}

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
    pub(crate) fn mark_as_ours(&mut self, info: &libc::siginfo_t) -> bool {
        // A handler may pass on a copy, or nothing useful: only what lies as in a signal frame is one.
        let distance = (core::ptr::from_ref(info) as usize).wrapping_sub(self.context as usize);
        if self.context.is_null() || distance != size_of::<[u64; CONTEXT_WORDS]>() {
            return true;
        }
        let frame =
            self.context.cast::<u8>().wrapping_sub(size_of::<usize>()).cast::<SignalFrame>();
        // SAFETY: the kernel's frame, or our own imitation: see `SignalFrame`.
        let word = unsafe { &raw mut (*frame).restorer };
        // SAFETY: as above.
        if unsafe { word.read() } == sys::arch::restorer() {
            return true;
        }
        if !sys::arch::has_shadow_stack() {
            // SAFETY: as above. Every restorer makes the same system call.
            unsafe { word.write(sys::arch::restorer()) };
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
