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

impl RawEvent {
    /// A copy of `info`, which arrives now on thread `tid`.
    pub(crate) fn now(info: &siginfo_t, tid: i32) -> Self {
        Self { info: *info, arrival_ns: sys::now().as_nanos() as u64, tid, instances: 1 }
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
