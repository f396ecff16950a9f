//! Safe access: reading, writing and copying memory that may not be there.
//!
//! The instructions are in `sys/arch/…/access`, one leaf or one inline instruction each, with an entry in
//! the fixup table. Without a fault they cost what a plain access costs; with one, a delivery by the
//! kernel. There is no system call otherwise.
//!
//! # Safety
//! Reading is safe: it can give any bytes, torn and stale ones too, and a [`Plain`] type takes any. It is
//! done by assembly, so the compiler knows nothing of what was read. Writing is as unsafe as through any
//! raw pointer, except that the memory need not be there.
#![allow(unsafe_code)]

use super::error::{Access, Fault};
use super::plain::{Plain, Word};
use super::words::Words;
use crate::sys::arch::access as leaf;
use core::ffi::{CStr, c_char};
use core::mem::{MaybeUninit, transmute_copy};
use core::sync::atomic::{Ordering, fence};

/// The type of `leaf`'s wide accesses.
type Wide = core::arch::x86_64::__m128i;

#[inline(always)]
fn ready() {
    if !super::is_enabled() {
        super::enable_or_panic();
    }
}

/// Whichever of two addresses a fault in a copy was about.
#[cold]
fn copy_fault(words: Words, to: usize, length: usize, done: usize) -> Fault {
    let in_destination =
        words.address().is_some_and(|at| (to..to.saturating_add(length)).contains(&at));
    Fault::of_leaf(words, if in_destination { Access::Write } else { Access::Read }, done)
}

/// Reads a value. 1, 2, 4, 8 and 16 bytes are read with one instruction, and the first four as one where
/// they are aligned; other sizes as [`try_copy`].
///
/// # Errors
/// The [`Fault`], if the memory cannot be read. [`Fault::done`] tells how much of a value of another size
/// could.
///
/// # Panics
/// In a `vfork` child whose parent has not [enabled](super::enable) the handling of faults.
///
/// # Async-signal safety
/// Yes, once faults are [enabled](super::enable).
///
/// # Examples
/// ```
/// use sigplane::fault;
/// assert_eq!(fault::try_read(&raw const *"abcd".as_bytes().first().unwrap())?, b'a');
/// assert!(fault::try_read::<[u64; 3]>(std::ptr::without_provenance(usize::MAX)).is_err());
/// # Ok::<(), fault::Fault>(())
/// ```
#[doc(alias("copy_from_user", "get_user", "process_vm_readv"))]
#[inline]
pub fn try_read<T: Plain>(from: *const T) -> Result<T, Fault> {
    ready();
    let (at, mut words) = (from.expose_provenance(), Words::default());
    macro_rules! with {
        ($read:ident, $type:ty, $zero:expr) => {{
            let mut bits: $type = $zero;
            if !leaf::$read(at, &mut bits, &mut words) {
                return Err(Fault::of_leaf(words, Access::Read, 0));
            }
            // SAFETY: `T` has this size, and any bits are a value of it.
            Ok(unsafe { transmute_copy::<$type, T>(&bits) })
        }};
    }
    match size_of::<T>() {
        1 => with!(read_1, u8, 0),
        2 => with!(read_2, u16, 0),
        4 => with!(read_4, u32, 0),
        8 => with!(read_8, u64, 0),
        // SAFETY: a vector of zero bytes.
        16 => with!(read_16, Wide, unsafe { core::mem::zeroed() }),
        size => {
            let mut value = MaybeUninit::<T>::uninit();
            let to = value.as_mut_ptr().expose_provenance();
            // SAFETY: the destination is a local of that size.
            let left = unsafe { leaf::copy(to, at, size, false, &mut words) };
            if left != 0 {
                return Err(Fault::of_leaf(words, Access::Read, size - left));
            }
            // SAFETY: every byte has been written, and any bytes are a value.
            Ok(unsafe { value.assume_init() })
        }
    }
}

/// Writes a value. 1, 2, 4, 8 and 16 bytes are written with one instruction, and the first four as one
/// where they are aligned; other sizes as [`try_copy`].
///
/// # Errors
/// The [`Fault`], if the memory cannot be written. A value that one instruction writes is then not written
/// at all.
///
/// # Panics
/// As [`try_read`].
///
/// # Safety
/// If the memory is there, it may be written: nothing that Rust or other code relies on is changed by it,
/// and nobody reads or writes it at the same time without expecting that.
///
/// # Async-signal safety
/// Yes, once faults are [enabled](super::enable).
///
/// # Examples
/// ```
/// use sigplane::fault;
/// let mut value = 1u16;
/// // SAFETY: a local, and an address where nothing is.
/// unsafe {
///     fault::try_write(&raw mut value, 2)?;
///     assert!(fault::try_write(std::ptr::null_mut::<u16>(), 2).is_err());
/// }
/// assert_eq!(value, 2);
/// # Ok::<(), fault::Fault>(())
/// ```
#[doc(alias("copy_to_user", "put_user", "process_vm_writev"))]
#[inline]
pub unsafe fn try_write<T: Plain>(to: *mut T, value: T) -> Result<(), Fault> {
    ready();
    let (at, mut words) = (to.expose_provenance(), Words::default());
    macro_rules! with {
        ($write:ident, $type:ty) => {{
            // SAFETY: `T` has this size and no padding.
            let bits = unsafe { transmute_copy::<T, $type>(&value) };
            // SAFETY: the caller's promise.
            if unsafe { leaf::$write(at, bits, &mut words) } {
                Ok(())
            } else {
                Err(Fault::of_leaf(words, Access::Write, 0))
            }
        }};
    }
    match size_of::<T>() {
        1 => with!(write_1, u8),
        2 => with!(write_2, u16),
        4 => with!(write_4, u32),
        8 => with!(write_8, u64),
        16 => with!(write_16, Wide),
        size => {
            let from = (&raw const value).expose_provenance();
            // SAFETY: the caller's promise.
            let left = unsafe { leaf::copy(at, from, size, false, &mut words) };
            if left == 0 { Ok(()) } else { Err(Fault::of_leaf(words, Access::Write, size - left)) }
        }
    }
}

/// Copies `length` bytes, which may overlap: downwards from the end where the destination overlaps the
/// source from above, upwards otherwise.
///
/// # Errors
/// The [`Fault`], with the number of bytes copied: exactly those have been, the first ones, or, of a copy
/// downwards, the last ones. Nothing else of the destination has been touched.
///
/// # Panics
/// As [`try_read`].
///
/// # Safety
/// What is there of the destination may be written; see [`try_write`]. The source may be anything.
///
/// # Async-signal safety
/// Yes, once faults are [enabled](super::enable).
///
/// # Examples
/// ```
/// use sigplane::fault;
/// let mut bytes = *b"abcdef";
/// let start = bytes.as_mut_ptr();
/// // SAFETY: both within the array.
/// unsafe { fault::try_copy(start, start.add(2), 4) }?;
/// assert_eq!(&bytes, b"ababcd");
/// # Ok::<(), fault::Fault>(())
/// ```
#[doc(alias = "memmove")]
#[inline]
pub unsafe fn try_copy(from: *const u8, to: *mut u8, length: usize) -> Result<(), Fault> {
    let down = to.addr().wrapping_sub(from.addr()) < length && to.addr() != from.addr();
    // SAFETY: the caller's promise.
    unsafe { copy(from.expose_provenance(), to.expose_provenance(), length, down) }
}

/// Copies `length` bytes upwards. Where the two overlap, what the destination gets is not specified.
///
/// # Errors
/// As [`try_copy`]; the bytes copied are the first ones.
///
/// # Panics
/// As [`try_read`].
///
/// # Safety
/// As [`try_copy`].
///
/// # Async-signal safety
/// Yes, once faults are [enabled](super::enable).
///
/// # Examples
/// ```
/// use sigplane::fault;
/// let mut page = [0; 8];
/// // SAFETY: the destination is a local.
/// let copied = unsafe { fault::try_copy_nonoverlapping(8 as *const u8, page.as_mut_ptr(), 8) };
/// assert_eq!(copied.unwrap_err().done(), 0);
/// ```
#[doc(alias = "memcpy")]
#[inline]
pub unsafe fn try_copy_nonoverlapping(
    from: *const u8,
    to: *mut u8,
    length: usize,
) -> Result<(), Fault> {
    // SAFETY: the caller's promise.
    unsafe { copy(from.expose_provenance(), to.expose_provenance(), length, false) }
}

/// # Safety
/// As [`try_copy`].
#[inline(always)]
unsafe fn copy(from: usize, to: usize, length: usize, down: bool) -> Result<(), Fault> {
    ready();
    let mut words = Words::default();
    // SAFETY: the caller's promise.
    let left = unsafe { leaf::copy(to, from, length, down, &mut words) };
    if left == 0 { Ok(()) } else { Err(copy_fault(words, to, length, length - left)) }
}

/// Fills a slice from memory that may not be there.
///
/// # Errors
/// As [`try_copy`]: [`Fault::done`] bytes at the start of `to` have been filled.
///
/// # Panics
/// As [`try_read`].
///
/// # Async-signal safety
/// Yes, once faults are [enabled](super::enable).
///
/// # Examples
/// ```
/// use sigplane::fault;
/// let mut buffer = [0; 4];
/// fault::try_copy_from(b"good".as_ptr(), &mut buffer)?;
/// assert_eq!(&buffer, b"good");
/// # Ok::<(), fault::Fault>(())
/// ```
#[inline]
pub fn try_copy_from(from: *const u8, to: &mut [u8]) -> Result<(), Fault> {
    // SAFETY: the destination is borrowed for writing.
    unsafe { copy(from.expose_provenance(), to.as_mut_ptr().expose_provenance(), to.len(), false) }
}

/// Writes a slice to memory that may not be there.
///
/// # Errors
/// As [`try_copy`].
///
/// # Panics
/// As [`try_read`].
///
/// # Safety
/// As [`try_write`].
///
/// # Async-signal safety
/// Yes, once faults are [enabled](super::enable).
///
/// # Examples
/// ```
/// use sigplane::fault;
/// let mut place = [0; 4];
/// // SAFETY: a local.
/// unsafe { fault::try_copy_to(b"good", place.as_mut_ptr()) }?;
/// assert_eq!(&place, b"good");
/// # Ok::<(), fault::Fault>(())
/// ```
#[inline]
pub unsafe fn try_copy_to(from: &[u8], to: *mut u8) -> Result<(), Fault> {
    // SAFETY: the caller's promise.
    unsafe { copy(from.as_ptr().expose_provenance(), to.expose_provenance(), from.len(), false) }
}

/// Fills `length` bytes with one value, upwards.
///
/// # Errors
/// The [`Fault`], with the number of bytes filled, which are the first ones.
///
/// # Panics
/// As [`try_read`].
///
/// # Safety
/// As [`try_write`].
///
/// # Async-signal safety
/// Yes, once faults are [enabled](super::enable).
///
/// # Examples
/// ```
/// use sigplane::fault;
/// let mut bytes = [0u8; 100];
/// // SAFETY: a local.
/// unsafe { fault::try_fill(bytes.as_mut_ptr(), 7, 100) }?;
/// assert_eq!(bytes, [7; 100]);
/// # Ok::<(), fault::Fault>(())
/// ```
#[doc(alias = "memset")]
#[inline]
pub unsafe fn try_fill(to: *mut u8, byte: u8, length: usize) -> Result<(), Fault> {
    ready();
    let mut words = Words::default();
    // SAFETY: the caller's promise.
    let left = unsafe { leaf::fill(to.expose_provenance(), byte, length, &mut words) };
    if left == 0 { Ok(()) } else { Err(Fault::of_leaf(words, Access::Write, length - left)) }
}

/// The length of a string that ends with a zero, at most `limit`. A page is touched only if the string
/// reaches into it; `limit` bytes without a zero among them give `limit`.
///
/// # Errors
/// The [`Fault`], with the number of bytes before it.
///
/// # Panics
/// As [`try_read`].
///
/// # Async-signal safety
/// Yes, once faults are [enabled](super::enable).
///
/// # Examples
/// ```
/// use sigplane::fault;
/// assert_eq!(fault::try_strlen(c"four".as_ptr(), 100)?, 4);
/// assert_eq!(fault::try_strlen(c"four".as_ptr(), 3)?, 3);
/// # Ok::<(), fault::Fault>(())
/// ```
#[doc(alias("strnlen", "strlen", "strnlen_user"))]
#[inline]
pub fn try_strlen(string: *const c_char, limit: usize) -> Result<usize, Fault> {
    ready();
    let mut words = Words::default();
    let length = leaf::length(string.expose_provenance(), limit, &mut words);
    if words.code == 0 { Ok(length) } else { Err(Fault::of_leaf(words, Access::Read, length)) }
}

/// Copies a string that ends with a zero into `buffer`. `None` when it does not fit with its zero; the
/// buffer then has its beginning.
///
/// # Errors
/// The [`Fault`], with the number of bytes copied before.
///
/// # Panics
/// As [`try_read`].
///
/// # Async-signal safety
/// Yes, once faults are [enabled](super::enable).
///
/// # Examples
/// ```
/// use sigplane::fault;
/// let mut buffer = [0; 8];
/// assert_eq!(fault::try_c_str(c"four".as_ptr(), &mut buffer)?, Some(c"four"));
/// assert_eq!(fault::try_c_str(c"far too long".as_ptr(), &mut buffer)?, None);
/// # Ok::<(), fault::Fault>(())
/// ```
#[doc(alias("strlcpy", "strncpy_from_user"))]
pub fn try_c_str(string: *const c_char, buffer: &mut [u8]) -> Result<Option<&CStr>, Fault> {
    let length = match try_strlen(string, buffer.len()) {
        Ok(length) => length,
        Err(fault) => {
            // What is before the fault can be read, unless it is gone by now.
            let readable = fault.done();
            try_copy_from(string.cast(), buffer.get_mut(..readable).unwrap_or_default())?;
            return Err(fault);
        }
    };
    let with_zero = length.saturating_add(1).min(buffer.len());
    try_copy_from(string.cast(), buffer.get_mut(..with_zero).unwrap_or_default())?;
    // Others may have changed the string in between: what has been copied counts.
    Ok(CStr::from_bytes_until_nul(buffer).ok())
}

/// Loads a word atomically. It should be aligned to its size; one that is not may be torn.
///
/// # Errors
/// The [`Fault`].
///
/// # Panics
/// As [`try_read`], and for an ordering that a load cannot have.
///
/// # Async-signal safety
/// Yes, once faults are [enabled](super::enable).
///
/// # Examples
/// See [`Word`].
#[inline]
pub fn try_load<T: Word>(from: *const T, order: Ordering) -> Result<T, Fault> {
    assert!(!matches!(order, Ordering::Release | Ordering::AcqRel), "a load does not release");
    // ORDERING: a load acquires on x86_64 (Intel SDM volume 3, 9.2.2), so this fence is one for the compiler,
    // which may move what follows over the assembly. Sequential consistency is paid for by the stores.
    let value = try_read(from);
    fence(Ordering::Acquire);
    value
}

/// Stores a word atomically. It should be aligned to its size; one that is not may be torn.
///
/// # Errors
/// The [`Fault`]; then nothing is stored.
///
/// # Panics
/// As [`try_read`], and for an ordering that a store cannot have.
///
/// # Safety
/// As [`try_write`].
///
/// # Async-signal safety
/// Yes, once faults are [enabled](super::enable).
///
/// # Examples
/// ```
/// use sigplane::fault;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// let word = AtomicU64::new(0);
/// // SAFETY: a local that may be written at any time.
/// unsafe { fault::try_store(word.as_ptr(), 9, Ordering::Release) }?;
/// assert_eq!(word.into_inner(), 9);
/// # Ok::<(), fault::Fault>(())
/// ```
#[inline]
pub unsafe fn try_store<T: Word>(to: *mut T, value: T, order: Ordering) -> Result<(), Fault> {
    assert!(!matches!(order, Ordering::Acquire | Ordering::AcqRel), "a store does not acquire");
    if order != Ordering::SeqCst {
        // ORDERING: a store releases on x86_64, and the assembly is a barrier for the compiler.
        // SAFETY: the caller's promise.
        return unsafe { try_write(to, value) };
    }
    ready();
    let (at, mut words) = (to.expose_provenance(), Words::default());
    macro_rules! with {
        ($swap:ident, $type:ty) => {{
            // SAFETY: `T` has this size and no padding.
            let bits = unsafe { transmute_copy::<T, $type>(&value) };
            // SAFETY: the caller's promise.
            unsafe { leaf::$swap(at, bits, &mut words) }
        }};
    }
    let done = match size_of::<T>() {
        1 => with!(swap_1, u8),
        2 => with!(swap_2, u16),
        4 => with!(swap_4, u32),
        _ => with!(swap_8, u64),
    };
    if done { Ok(()) } else { Err(Fault::of_leaf(words, Access::Write, 0)) }
}

/// Stores `new` if `current` is there, atomically and as a full barrier: `Ok(Ok(current))`; otherwise
/// `Ok(Err(_))` with what is there. As [`AtomicU64::compare_exchange`](core::sync::atomic::AtomicU64),
/// whose two orderings it takes: of the exchange, and of the load when it fails.
///
/// # Errors
/// The [`Fault`]; then nothing is stored.
///
/// # Panics
/// As [`try_read`], and for a failure ordering that a load cannot have.
///
/// # Safety
/// As [`try_write`].
///
/// # Async-signal safety
/// Yes, once faults are [enabled](super::enable).
///
/// # Examples
/// ```
/// use sigplane::fault;
/// use std::sync::atomic::{AtomicU32, Ordering::{AcqRel, Relaxed}};
/// let word = AtomicU32::new(1);
/// // SAFETY: a local that may be written at any time.
/// let (first, second) = unsafe {
///     (
///         fault::try_compare_exchange(word.as_ptr(), 1, 2, AcqRel, Relaxed)?,
///         fault::try_compare_exchange(word.as_ptr(), 1, 3, AcqRel, Relaxed)?,
///     )
/// };
/// assert_eq!((first, second), (Ok(1), Err(2)));
/// # Ok::<(), fault::Fault>(())
/// ```
#[inline]
pub unsafe fn try_compare_exchange<T: Word>(
    at: *mut T,
    current: T,
    new: T,
    success: Ordering,
    failure: Ordering,
) -> Result<Result<T, T>, Fault> {
    assert!(!matches!(failure, Ordering::Release | Ordering::AcqRel), "a load does not release");
    // ORDERING: a locked instruction is a full barrier, whatever is asked for.
    let _any = success;
    ready();
    let (at, mut words) = (at.expose_provenance(), Words::default());
    macro_rules! with {
        ($compare:ident, $type:ty) => {{
            // SAFETY: `T` has this size and no padding.
            let mut seen = unsafe { transmute_copy::<T, $type>(&current) };
            // SAFETY: as above.
            let bits = unsafe { transmute_copy::<T, $type>(&new) };
            // SAFETY: the caller's promise.
            let done = unsafe { leaf::$compare(at, &mut seen, bits, &mut words) };
            // SAFETY: `T` has this size, and any bits are a value of it.
            (done, unsafe { transmute_copy::<$type, T>(&seen) })
        }};
    }
    let (done, seen) = match size_of::<T>() {
        1 => with!(compare_1, u8),
        2 => with!(compare_2, u16),
        4 => with!(compare_4, u32),
        _ => with!(compare_8, u64),
    };
    if !done {
        return Err(Fault::of_leaf(words, Access::Write, 0));
    }
    Ok(if seen == current { Ok(seen) } else { Err(seen) })
}
