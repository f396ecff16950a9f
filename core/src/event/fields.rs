//! Reading the union inside `siginfo_t`.
//!
//! It is not the place that decides which member is meaningful: `cause.rs` does, and the
//! views ask it first. A read of the wrong member gives a wrong number, never undefined
//! behaviour.
//!
//! Invariants: every read lies within the 128 bytes (checked at compile time), and every
//! type read is plain old data.
//!
//! # Safety
//! `siginfo_t` is 128 bytes that the kernel wrote in full (it clears what it does not
//! use) or that were zeroed, so each byte is initialised and each integer read from it is
//! valid. libc's accessors do the same where it has them. The other offsets are those of
//! the kernel's `include/uapi/asm-generic/siginfo.h` for 64-bit targets, where the union
//! `_sifields` begins at 16.
#![allow(unsafe_code)]

use libc::siginfo_t;

const _: () = assert!(size_of::<siginfo_t>() == 128);
const _: () = assert!(cfg!(target_pointer_width = "64"), "the offsets are those of 64-bit Linux");

/// Plain integers, for which every bit pattern is a value.
pub(super) trait Plain: Copy {}
impl Plain for i16 {}
impl Plain for i32 {}
impl Plain for u32 {}
impl Plain for i64 {}
impl Plain for usize {}

/// The integer at `OFFSET`.
fn read<T: Plain, const OFFSET: usize>(info: &siginfo_t) -> T {
    const { assert!(OFFSET + size_of::<T>() <= size_of::<siginfo_t>()) };
    let field = std::ptr::from_ref(info).cast::<u8>().wrapping_add(OFFSET).cast::<T>();
    // SAFETY: within `info` by the assertion above, initialised, and valid as any `Plain`.
    unsafe { field.read_unaligned() }
}

/// `_kill`, `_rt`, `_sigchld`: process id of the sender or child.
pub(crate) fn pid(info: &siginfo_t) -> i32 {
    // SAFETY: any bytes of the union are a valid `pid_t` (module invariant).
    unsafe { info.si_pid() }
}

/// `_kill`, `_rt`, `_sigchld`: real user id of the sender or child.
pub(crate) fn uid(info: &siginfo_t) -> u32 {
    // SAFETY: any bytes of the union are a valid `uid_t` (module invariant).
    unsafe { info.si_uid() }
}

/// `_rt`, `_timer`: the value sent along.
pub(crate) fn value(info: &siginfo_t) -> usize {
    // SAFETY: any bytes of the union are a valid `sigval` (module invariant).
    unsafe { info.si_value() }.sival_ptr.addr()
}

/// `_sigchld`: exit status or signal number.
pub(crate) fn status(info: &siginfo_t) -> i32 {
    // SAFETY: any bytes of the union are a valid `int` (module invariant).
    unsafe { info.si_status() }
}

/// `_sigchld._utime`: user time in clock ticks.
pub(crate) fn user_ticks(info: &siginfo_t) -> i64 {
    // SAFETY: any bytes of the union are a valid `clock_t` (module invariant).
    unsafe { info.si_utime() }
}

/// `_sigchld._stime`: system time in clock ticks.
pub(crate) fn system_ticks(info: &siginfo_t) -> i64 {
    // SAFETY: any bytes of the union are a valid `clock_t` (module invariant).
    unsafe { info.si_stime() }
}

/// `_sigfault._addr`, `_sigsys._call_addr`: an address.
pub(crate) fn address(info: &siginfo_t) -> usize {
    // SAFETY: any bytes of the union are a valid pointer value (module invariant).
    unsafe { info.si_addr() }.addr()
}

/// `_sigfault._addr_lsb`: least significant valid bit of the address.
pub(crate) fn address_lsb(info: &siginfo_t) -> i16 {
    read::<_, 24>(info)
}

/// `_sigfault._addr_bnd._lower`.
pub(crate) fn lower_bound(info: &siginfo_t) -> usize {
    read::<_, 32>(info)
}

/// `_sigfault._addr_bnd._upper`.
pub(crate) fn upper_bound(info: &siginfo_t) -> usize {
    read::<_, 40>(info)
}

/// `_sigfault._addr_pkey._pkey`.
pub(crate) fn protection_key(info: &siginfo_t) -> u32 {
    read::<_, 32>(info)
}

/// `_sigfault._perf._data`.
pub(crate) fn perf_data(info: &siginfo_t) -> usize {
    read::<_, 24>(info)
}

/// `_timer._tid`.
pub(crate) fn timer_id(info: &siginfo_t) -> i32 {
    read::<_, 16>(info)
}

/// `_timer._overrun`.
pub(crate) fn timer_overrun(info: &siginfo_t) -> i32 {
    read::<_, 20>(info)
}

/// `_sigpoll._band`.
pub(crate) fn poll_band(info: &siginfo_t) -> i64 {
    read::<_, 16>(info)
}

/// `_sigpoll._fd`.
pub(crate) fn poll_fd(info: &siginfo_t) -> i32 {
    read::<_, 24>(info)
}

/// `_sigsys._syscall`.
pub(crate) fn syscall_number(info: &siginfo_t) -> i32 {
    read::<_, 24>(info)
}

/// `_sigsys._arch`.
pub(crate) fn syscall_arch(info: &siginfo_t) -> u32 {
    read::<_, 28>(info)
}
