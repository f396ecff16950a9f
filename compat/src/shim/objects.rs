//! dlclose(3).

use super::real::call;
use crate::journal::{self, Kind};
use core::ffi::{c_int, c_void};
use sigplane::legacy;

/// dlclose(3). Nothing is changed for the program: a handler in an object that is gone stays what it is. But it
/// is noted, for whoever asks.
///
/// # Safety
/// As libc's.
pub unsafe extern "C" fn dlclose(object: *mut c_void) -> c_int {
    let before = loaded_handlers();
    let failed: c_int = call!(dlclose(object));
    for signal in (1..=64).filter(|signal| before & 1 << (signal - 1) != 0) {
        let handler = handler_of(signal);
        if handler != 0 && !is_loaded(handler) {
            journal::note(Kind::Unloaded, signal, handler, 0);
        }
    }
    failed
}

/// The signals whose handlers are in objects that are there, of those that somebody has set through us.
fn loaded_handlers() -> u64 {
    let is_there = |signal: &i32| {
        let handler = if journal::is_set(*signal) { handler_of(*signal) } else { 0 };
        handler != 0 && is_loaded(handler)
    };
    (1..=64).filter(is_there).fold(0, |all, signal| all | 1 << (signal - 1))
}

/// Whether an address is in an object that the loader knows.
fn is_loaded(address: usize) -> bool {
    // SAFETY: all zero bytes are such a structure.
    let mut about: libc::Dl_info = unsafe { core::mem::zeroed() };
    // SAFETY: dladdr takes any address.
    unsafe { libc::dladdr(address as *const c_void, &raw mut about) != 0 }
}

/// The address of a signal's handler, if it has one.
fn handler_of(signal: i32) -> usize {
    let handler = legacy::sigaction(signal, None).map_or(0, |action| action.handler);
    if handler > libc::SIG_IGN { handler } else { 0 }
}
