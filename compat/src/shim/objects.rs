//! dlclose(3).

use super::real::call;
use core::ffi::{c_int, c_void};

/// dlclose(3). Nothing is changed for the program: a handler in an object that is gone stays what it is. But it
/// is noted, for whoever asks.
///
/// # Safety
/// As libc's.
pub unsafe extern "C" fn dlclose(object: *mut c_void) -> c_int {
    call!(dlclose(object))
}
