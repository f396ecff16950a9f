//! Making events: the copy a handler takes, and the information sigplane sends to itself.
//!
//! **Runs inside signal handlers.**
//!
//! # Safety
//! As in `fields.rs`: `siginfo_t` is 128 plain bytes, with the layout of the kernel's
//! `include/uapi/asm-generic/siginfo.h`.
#![allow(unsafe_code)]

use super::{RawEvent, fields};
use crate::sys;
use libc::siginfo_t;

/// The start of `siginfo_t` for `SI_QUEUE` (`_rt`).
#[repr(C)]
struct Queued {
    signal: i32,
    errno: i32,
    code: i32,
    padding: i32,
    pid: i32,
    uid: u32,
    value: usize,
}

const _: () = assert!(size_of::<Queued>() <= size_of::<siginfo_t>());
const _: () = assert!(core::mem::offset_of!(Queued, value) == 24);

/// When and where a signal arrived: what makes an event of a `siginfo_t`.
#[derive(Clone, Copy)]
pub(crate) struct Stamp {
    pub(crate) arrival_ns: u64,
    pub(crate) tid: i32,
}

impl Stamp {
    /// Now, on thread `tid`.
    pub(crate) fn now(tid: i32) -> Self {
        Self { arrival_ns: sys::now().as_nanos() as u64, tid }
    }

    /// An event of `info`.
    pub(crate) fn event(self, info: &siginfo_t) -> RawEvent {
        RawEvent { info: *info, arrival_ns: self.arrival_ns, tid: self.tid, instances: 1 }
    }

    /// The same, made in place: a handler may run on 8 KiB of alternate stack, where an unoptimised
    /// build must not move 150 bytes from frame to frame.
    ///
    /// # Safety
    /// `at` is valid for writing.
    pub(crate) unsafe fn write(self, info: &siginfo_t, at: *mut RawEvent) {
        let Self { arrival_ns, tid } = self;
        // SAFETY: the caller's promise.
        let to = unsafe { &raw mut (*at).info };
        // SAFETY: as above; the event is not part of the information it is made of.
        unsafe { to.copy_from_nonoverlapping(info, 1) };
        // SAFETY: as above; plain integers need no drop.
        unsafe { (*at).arrival_ns = arrival_ns };
        // SAFETY: as above.
        unsafe { (*at).tid = tid };
        // SAFETY: as above.
        unsafe { (*at).instances = 1 };
    }
}

impl RawEvent {
    /// When and where it arrived.
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp { arrival_ns: self.arrival_ns, tid: self.tid }
    }
}

/// What `sigqueue` from process `pid` with `value` would carry.
pub(crate) fn queued_info(signal: i32, pid: i32, value: usize) -> siginfo_t {
    // SAFETY: all zero bytes are a valid `siginfo_t`.
    let mut info: siginfo_t = unsafe { core::mem::zeroed() };
    let start = (&raw mut info).cast::<Queued>();
    let queued = Queued { signal, errno: 0, code: libc::SI_QUEUE, padding: 0, pid, uid: 0, value };
    // SAFETY: `Queued` fits into `info` and is not more aligned (both 8).
    unsafe { start.write(queued) };
    info
}

/// `info` as `sigqueue` would have carried it. The sender and the value are where they were (`_kill` and
/// `_rt` begin alike).
pub(crate) fn as_queued(info: &siginfo_t) -> siginfo_t {
    let mut queued = *info;
    queued.si_code = libc::SI_QUEUE;
    queued
}

/// The value that came with a queued signal.
pub(crate) fn value_of(info: &siginfo_t) -> usize {
    fields::value(info)
}

/// The process that sent it.
pub(crate) fn pid_of(info: &siginfo_t) -> i32 {
    fields::pid(info)
}
