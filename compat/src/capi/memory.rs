//! Pointers that C gives us, which may be anything.
//!
//! **Runs inside signal handlers** (of functions that may be called there).
//!
//! Where faults are sigplane's, the access is made and a fault becomes an error. Otherwise the kernel makes it,
//! by process_vm_readv(2) or process_vm_writev(2) on the own process, and answers `EFAULT`: to check a pointer
//! must not take six signals from the program. Where a filter refuses that, the pointer is trusted.
//!
//! # Safety
//! Reading is safe: the types read are valid with any bits. Writing is what the caller has asked for.

use super::abi::{E_NULL, E_POINTER};
use super::status::{Result, get_errno, set_errno};
use core::ffi::{CStr, c_char};
use core::mem::MaybeUninit;
use sigplane::{capi, fault};

/// Types of which any bytes are a value.
///
/// # Safety
/// They are.
pub(super) unsafe trait Bytes: Copy {}

macro_rules! bytes {
    ($($type:ty)*) => { $(
        // SAFETY: integers, pointers, and function pointers that may be null: plain C data.
        unsafe impl Bytes for $type {}
    )* };
}

bytes! {
    u8 u16 u32 u64 i32 i64 usize [u64; 2] [usize; 6]
    super::abi::Event super::abi::Options super::abi::Subscription super::abi::Delivery super::abi::Stats
    super::abi::Thread super::abi::Fault super::abi::FaultContext super::abi::Region
    super::abi::CodeRange super::abi::LastChance
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

/// Moves `length` bytes between `local` and an address of the caller's.
///
/// # Safety
/// `local` is valid for that.
unsafe fn transfer(way: Way, there: *mut u8, local: *mut u8, length: usize) -> Result {
    if there.is_null() {
        return Err(E_NULL);
    }
    let (from, to) =
        if way == Way::In { (there.cast_const(), local) } else { (local.cast_const(), there) };
    if capi::faults_enabled() {
        // SAFETY: the caller's promise; the other side may be anything, or is what C wants to have written.
        return unsafe { fault::try_copy(from, to, length) }.map_err(|_| E_POINTER);
    }
    let errno = get_errno();
    let here = libc::iovec { iov_base: local.cast(), iov_len: length };
    let far = libc::iovec { iov_base: there.cast(), iov_len: length };
    let call =
        if way == Way::In { libc::SYS_process_vm_readv } else { libc::SYS_process_vm_writev };
    // SAFETY: takes nothing, cannot fail.
    let pid = unsafe { libc::getpid() };
    // SAFETY: two live vectors of one element; `local` is valid, and the kernel checks the other.
    let moved = unsafe {
        libc::syscall(call, pid, &raw const here, 1usize, &raw const far, 1usize, 0usize)
    };
    let failed = get_errno();
    set_errno(errno);
    match moved {
        _ if moved == length as i64 => Ok(()),
        -1 if failed != libc::EFAULT => {
            // SAFETY: the caller's promise, and trust, as the module says.
            unsafe { to.copy_from(from, length) };
            Ok(())
        }
        _ => Err(E_POINTER),
    }
}

/// Reads what `from` points to.
pub(super) fn read<T: Bytes>(from: *const T) -> Result<T> {
    let mut value = MaybeUninit::<T>::uninit();
    let local = value.as_mut_ptr().cast();
    // SAFETY: a local of that size.
    unsafe { transfer(Way::In, from.cast_mut().cast(), local, size_of::<T>()) }?;
    // SAFETY: all bytes are written, and any are a value.
    Ok(unsafe { value.assume_init() })
}

/// Writes to where `to` points.
pub(super) fn write<T: Bytes>(to: *mut T, value: T) -> Result {
    let mut value = value;
    // SAFETY: a local of that size.
    unsafe { transfer(Way::Out, to.cast(), (&raw mut value).cast(), size_of::<T>()) }
}

/// Writes, unless `to` is null.
pub(super) fn write_optional<T: Bytes>(to: *mut T, value: T) -> Result {
    if to.is_null() { Ok(()) } else { write(to, value) }
}

/// Whether there is memory for a result, before anything is done for it: what is there is written back.
pub(super) fn probe<T: Bytes>(to: *mut T) -> Result {
    let value = read(to.cast_const())?;
    write(to, value)
}

/// As [`probe`], unless `to` is null.
pub(super) fn probe_optional<T: Bytes>(to: *mut T) -> Result {
    if to.is_null() { Ok(()) } else { probe(to) }
}

/// Probes the bytes of a buffer, one on each page.
pub(super) fn probe_bytes(to: *mut u8, length: usize) -> Result {
    const PAGE: usize = 4096;
    if length == 0 {
        return Ok(());
    }
    let last = to.addr().checked_add(length - 1).ok_or(E_POINTER)?;
    probe(to)?;
    let mut at = to.addr() / PAGE * PAGE;
    while last - at >= PAGE {
        at += PAGE;
        probe(to.with_addr(at))?;
    }
    Ok(())
}

/// A string of at most 255 bytes; what is behind is cut off.
pub(super) fn text(from: *const c_char) -> Result<String> {
    let mut buffer = [0u8; 256];
    let mut length = 0;
    while length < buffer.len() - 1 {
        let at = from.wrapping_add(length);
        let on_page = 4096 - at.addr() % 4096;
        let rest = buffer.get_mut(length..255).unwrap_or_default();
        let count = on_page.min(rest.len());
        // SAFETY: `rest` has so many bytes.
        unsafe { transfer(Way::In, at.cast_mut().cast(), rest.as_mut_ptr(), count) }?;
        if rest.get(..count).is_some_and(|bytes| bytes.contains(&0)) {
            break;
        }
        length += count;
    }
    let text = CStr::from_bytes_until_nul(&buffer).unwrap_or_default();
    Ok(text.to_string_lossy().into_owned())
}
