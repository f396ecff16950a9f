//! The alternate signal stack of an attached thread.
//!
//! A thread keeps the one it has if that is large enough for this CPU. Otherwise it gets one of ours,
//! and what it had is put back when it detaches, unless somebody (Rust's runtime, at the end of its
//! threads) has changed it meanwhile: then theirs stands. Ours is taken out of the kernel before it is
//! given to another thread.
//!
//! Under the shim a thread keeps what it has: the program asks for it, and sets its own.

use crate::sys;
use crate::sys::altstack::{Stack, required};

/// What attaching did to the thread's alternate stack.
pub(crate) struct Attached {
    ours: Option<Stack>,
    before: Option<libc::stack_t>,
}

fn is_enabled(stack: &libc::stack_t) -> bool {
    stack.ss_flags & libc::SS_DISABLE == 0 && !stack.ss_sp.is_null()
}

/// As a call may set it: `SS_ONSTACK` is only ever reported (sigaltstack(2)).
fn settable(mut stack: libc::stack_t) -> libc::stack_t {
    stack.ss_flags &= !libc::SS_ONSTACK;
    if !is_enabled(&stack) {
        stack.ss_flags = libc::SS_DISABLE;
    }
    stack
}

impl Attached {
    pub(crate) const fn none() -> Self {
        Self { ours: None, before: None }
    }

    /// Gives the calling thread an alternate stack that is large enough. When none can be had, the
    /// thread keeps what it has: its handlers then run as they would without sigplane.
    pub(crate) fn set_up(&mut self) {
        *self = Self::none();
        if crate::engine::get().is_posix() {
            return;
        }
        let Ok(stack) = Stack::take() else { return };
        // EPERM: the thread runs on its alternate stack right now; then that one stays.
        let Ok(before) = sys::sigaltstack(Some(&stack.as_stack_t())) else {
            return stack.give_back();
        };
        if is_enabled(&before) && before.ss_size >= required() {
            let _same = sys::sigaltstack(Some(&settable(before)));
            return stack.give_back();
        }
        *self = Self { ours: Some(stack), before: Some(before) };
    }

    /// Puts back what the calling thread had.
    pub(crate) fn tear_down(&mut self) {
        let Self { ours: Some(stack), before: Some(before) } =
            core::mem::replace(self, Self::none())
        else {
            return;
        };
        let Ok(now) = sys::sigaltstack(None) else { return };
        // A failure means that the thread runs on it: it is then never given to another.
        if !stack.is(&now) || sys::sigaltstack(Some(&settable(before))).is_ok() {
            stack.give_back();
        }
    }

    /// Forgets the stack of a thread that does not exist in this process.
    pub(crate) fn abandon(&mut self) {
        *self = Self::none();
    }
}
