//! sigaltstack(2): nothing is changed. The journal notes that there is such a stack, so that a report can
//! name handlers that do not ask for it.

use super::real::call;
use super::user::{self, here};
use crate::journal::{self, Kind};
use core::ffi::c_int;
use libc::stack_t;

/// sigaltstack(2).
///
/// # Safety
/// As libc's.
pub unsafe extern "C" fn sigaltstack(new: *const stack_t, old: *mut stack_t) -> c_int {
    // Before the call, which may write the old one over it.
    // SAFETY: the caller's promise.
    let given = unsafe { user::read_if(new, here!()) };
    let result: c_int = call!(sigaltstack(new, old));
    if result == 0
        && let Ok(Some(stack)) = given
        && stack.ss_flags & libc::SS_DISABLE == 0
    {
        journal::note(Kind::AltStack, 0, stack.ss_sp.addr(), stack.ss_size as u64);
    }
    result
}
