//! The mask that a thread has for the time of a wait.
//!
//! **Runs inside signal handlers.**

use crate::frame::Frame;
use crate::sys;
use crate::sys::arch::Wait;

/// A mask that the calling thread has for the time of a wait, by a system call that puts it on and takes it
/// off. A handler that interrupts the wait is to have it, and cannot see it: our own action blocks everything,
/// and the interrupted context has the mask from before the call.
///
/// # Async-signal safety
/// Yes.
#[doc(hidden)]
#[derive(Debug)]
pub struct WaitMask {
    before: Wait,
}

impl WaitMask {
    /// Notes `mask`, which the kernel is going to be told from `at`, until this is dropped. `below` is an
    /// address on the stack of the caller.
    #[inline]
    #[must_use]
    pub fn note(mask: u64, at: usize, below: usize) -> Self {
        let before = sys::arch::wait();
        sys::arch::set_wait(Wait { below, mask, at });
        Self { before }
    }
}

impl Drop for WaitMask {
    fn drop(&mut self) {
        sys::arch::set_wait(self.before);
    }
}

/// The mask that a thread really had when the signal with this frame came, if it had one for the time of a
/// wait. Only the first handler of a wait: the kernel takes the mask off when that returns.
pub(crate) fn take_wait_mask(frame: &mut Frame) -> Option<u64> {
    let wait = sys::arch::wait();
    if wait.below == 0 {
        return None;
    }
    let interrupted = frame.context().is_some_and(|context| sys::arch::is_in(&wait, context));
    if interrupted {
        sys::arch::set_wait(Wait::NONE);
    }
    interrupted.then_some(wait.mask)
}
