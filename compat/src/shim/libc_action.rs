//! An action as callers of libc have it, and what libc makes of it for the kernel.

use super::restorer;
use core::ffi::c_int;
use sigplane::legacy::Action;

/// The flag that says a restorer is given (asm/signal.h).
const SA_RESTORER: u64 = 0x0400_0000;

/// glibc's `struct sigaction` (sysdeps/unix/sysv/linux/bits/sigaction.h): the kernel's words in another order,
/// with a longer mask.
#[repr(C)]
#[derive(Clone, Copy, PartialEq)]
pub struct LibcAction {
    handler: usize,
    mask: [u64; 16],
    flags: c_int,
    restorer: usize,
}

const _: () = assert!(size_of::<LibcAction>() == size_of::<libc::sigaction>());

impl LibcAction {
    pub(super) const DEFAULT: Self = Self { handler: 0, mask: [0; 16], flags: 0, restorer: 0 };
}

impl From<Action> for LibcAction {
    #[inline(always)]
    fn from(action: Action) -> Self {
        let Action { handler, flags, restorer, mask: first } = action;
        let mut mask = [0; 16];
        mask[0] = first;
        Self { handler, mask, flags: flags as c_int, restorer }
    }
}

/// What glibc reads of one that is to be set: the restorer, and what is in front of it to align it, need not be
/// there.
#[repr(C, packed(4))]
#[derive(Clone, Copy)]
pub struct Given {
    handler: usize,
    mask: [u64; 16],
    flags: c_int,
}

const _: () = assert!(size_of::<Given>() == 140);

impl From<Given> for Action {
    #[inline(always)]
    fn from(given: Given) -> Self {
        let Given { handler, mask: [first, ..], flags } = given;
        with_restorer(handler, flags, first)
    }
}

/// What libc's functions make of an action for the kernel (sysdeps/unix/sysv/linux/libc_sigaction.c).
#[inline(always)]
pub(super) fn with_restorer(handler: usize, flags: c_int, mask: u64) -> Action {
    Action { handler, flags: u64::from(flags as u32) | SA_RESTORER, restorer: restorer(), mask }
}
