//! How an object that does not contain sigplane finds the one that does.
//!
//! A plugin written in C, or one loaded from elsewhere, has fixups and no library to give them to; and it
//! cannot rely on a symbol, because executables do not export theirs. What both share is the kernel's table:
//! it says which handler is installed, and where that returns to. In front of sigplane's restorer there
//! are a mark and the distance to this table of functions (`sys/arch`). The other side reads them with
//! process_vm_readv(2), so that it may look in front of any restorer, and calls. `include/sigplane/fixup.h`
//! does that.
//!
//! The layout below never changes; functions are only added, and `size` tells how many there are.
#![allow(unsafe_code)]

use crate::error::Error;
use crate::fault::{self, FixupError};
use core::ffi::{c_char, c_int, c_void};

/// The table. Its first words are checked by who finds it.
#[repr(C)]
pub(crate) struct Abi {
    version: u32,
    size: u32,
    register_fixups: unsafe extern "C" fn(
        start: *const c_void,
        stop: *const c_void,
        message: *mut c_char,
        length: usize,
    ) -> c_int,
    unregister_fixups: unsafe extern "C" fn(start: *const c_void) -> c_int,
}

pub(crate) static ABI: Abi =
    Abi { version: 0, size: size_of::<Abi>() as u32, register_fixups, unregister_fixups };

/// The C side's error numbers; never reused.
fn code(error: &Error) -> c_int {
    match error {
        Error::Fixup(FixupError::Misshapen { .. }) => 1,
        Error::Fixup(FixupError::Empty { .. }) => 2,
        Error::Fixup(FixupError::OutOfOrder { .. }) => 3,
        Error::Fixup(FixupError::Overlapping { .. }) => 4,
        Error::Fixup(FixupError::Cycle { .. }) => 5,
        Error::Fixup(FixupError::Registered { .. }) => 6,
        Error::Fixup(FixupError::Unknown) => 7,
        Error::VforkChild => 8,
        Error::InHandler => 9,
        _ => 10,
    }
}

/// `fault::register`, and `fault::enable`. 0, or the number of an error whose text is then in `message`.
unsafe extern "C" fn register_fixups(
    start: *const c_void,
    stop: *const c_void,
    message: *mut c_char,
    length: usize,
) -> c_int {
    // SAFETY: the caller promises what `register` asks for.
    let registered = unsafe { fault::register(start.addr()..stop.addr()) };
    let enabled = registered.and_then(|()| {
        fault::enable().inspect_err(|_| {
            // An error means that nothing has changed.
            let _unknown_if_empty = fault::unregister(start.addr());
        })
    });
    let Err(error) = enabled else { return 0 };
    if !message.is_null() && length > 0 {
        let text = error.to_string();
        let fits = text.len().min(length - 1);
        // SAFETY: `message` has `length` bytes, more than are written.
        unsafe { message.cast::<u8>().copy_from_nonoverlapping(text.as_ptr(), fits) };
        let end = message.wrapping_add(fits);
        // SAFETY: as above.
        unsafe { end.write(0) };
    }
    code(&error)
}

/// `fault::unregister`.
unsafe extern "C" fn unregister_fixups(start: *const c_void) -> c_int {
    fault::unregister(start.addr()).map_or_else(|error| code(&error), |()| 0)
}
