//! Types that any bytes are a value of.
//!
//! # Safety
//! See [`Plain`] and [`Word`].
#![allow(unsafe_code)]

/// A type of which every pattern of bits is a value, without padding and without anything to drop: what
/// may be read from memory of which nothing is known.
///
/// # Safety
/// Just that.
///
/// # Examples
/// ```
/// use sigplane::fault::{self, Plain};
///
/// #[derive(Clone, Copy, PartialEq, Debug)]
/// #[repr(C)]
/// struct Header {
///     magic: u32,
///     length: u32,
/// }
/// // SAFETY: two integers, and no padding between.
/// unsafe impl Plain for Header {}
///
/// let header = Header { magic: 7, length: 100 };
/// assert_eq!(fault::try_read(&raw const header)?, header);
/// # Ok::<(), fault::Fault>(())
/// ```
pub unsafe trait Plain: Copy + 'static {}

macro_rules! plain {
    ($($type:ty)*) => {$(
        // SAFETY: an integer or a floating-point number.
        unsafe impl Plain for $type {}
    )*};
}

plain! { u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64 }

// SAFETY: as its elements, without padding between them.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// An integer of 1, 2, 4 or 8 bytes, which the processor reads, writes and exchanges as one.
///
/// # Safety
/// Its size is one of these, and it is [`Plain`].
///
/// # Examples
/// ```
/// use sigplane::fault;
/// use std::sync::atomic::{AtomicU32, Ordering};
/// let word = AtomicU32::new(5);
/// assert_eq!(fault::try_load::<u32>(word.as_ptr(), Ordering::Acquire)?, 5);
/// # Ok::<(), fault::Fault>(())
/// ```
pub unsafe trait Word: Plain + PartialEq {}

macro_rules! word {
    ($($type:ty)*) => {$(
        // SAFETY: an integer of one of these sizes.
        unsafe impl Word for $type {}
    )*};
}

word! { u8 u16 u32 u64 usize i8 i16 i32 i64 isize }
