//! sigaltstack(2): nothing is changed. The journal notes that there is such a stack, so that a report can
//! name handlers that do not ask for it.

use super::real::call;
use super::user::{self, Stack};
use crate::journal;
use core::ffi::c_int;
use libc::stack_t;

/// sigaltstack(2).
///
/// # Safety
/// As libc's. `stack` is where the caller's return address is.
pub unsafe extern "C" fn sigaltstack(
    new: *const stack_t,
    old: *mut stack_t,
    stack: Stack,
) -> c_int {
    // Before the call, which may write the old one over it.
    // SAFETY: the caller's promise.
    let given = unsafe { user::read_if(new, stack) };
    let result: c_int = call!(sigaltstack(new, old));
    if result == 0
        && let Ok(Some(given)) = given
        && given.ss_flags & libc::SS_DISABLE == 0
    {
        // SAFETY: where the caller's return address is.
        let caller = unsafe { stack.read() };
        journal::alternate_stack(given.ss_sp.addr(), given.ss_size, caller);
    }
    result
}
