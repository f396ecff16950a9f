//! The word that travels with a queued signal, C's `union sigval`.
//!
//! It is not a pointer in the sense of Rust: it carries an address without provenance,
//! and across processes not even that.
//!
//! Invariant: an integer and a pointer share the word as they do in the union, so a value
//! made here reads right in C and the other way round.

use std::ffi::c_void;

/// A word sent along with a signal: an `int` or a pointer, as both sides agreed.
///
/// # Async-signal safety
/// Every method is async-signal-safe.
///
/// # References
/// `sigval(3type)`, `sigqueue(3)`
///
/// # Examples
/// ```
/// use sigplane::send::Value;
///
/// assert_eq!(Value::from_int(-5).int(), -5);
/// assert_eq!(Value::from_addr(0x1000).ptr() as usize, 0x1000);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
#[doc(alias = "sigval")]
pub struct Value(usize);

impl Value {
    /// An `int`. The other bytes of the word are zero.
    #[must_use]
    #[doc(alias = "sival_int")]
    pub const fn from_int(int: i32) -> Value {
        let mut bytes = [0; size_of::<usize>()];
        let low = int.to_ne_bytes();
        let mut i = 0;
        while i < low.len() {
            bytes[i] = low[i];
            i += 1;
        }
        Value(usize::from_ne_bytes(bytes))
    }

    /// The word read as an `int`.
    #[must_use]
    #[doc(alias = "sival_int")]
    pub const fn int(self) -> i32 {
        let [a, b, c, d, ..] = self.0.to_ne_bytes();
        i32::from_ne_bytes([a, b, c, d])
    }

    /// An address. Its provenance is exposed, for the receiver of the same process.
    #[must_use]
    #[doc(alias = "sival_ptr")]
    pub fn from_ptr<T>(ptr: *const T) -> Value {
        Value(ptr.expose_provenance())
    }

    /// The word read as a pointer, with a provenance that was exposed before. Whether
    /// anything is there, only the sender knows.
    #[must_use]
    #[doc(alias = "sival_ptr")]
    pub fn ptr(self) -> *mut c_void {
        std::ptr::with_exposed_provenance_mut(self.0)
    }

    /// Any word.
    #[must_use]
    pub const fn from_addr(addr: usize) -> Value {
        Value(addr)
    }

    /// The whole word as a number.
    #[must_use]
    pub const fn addr(self) -> usize {
        self.0
    }
}

impl From<i32> for Value {
    fn from(int: i32) -> Value {
        Value::from_int(int)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        for int in [0, 1, -1, i32::MIN, i32::MAX] {
            assert_eq!(Value::from_int(int).int(), int);
            assert_eq!(Value::from(int), Value::from_int(int));
        }
        assert_eq!(Value::from_int(-1).addr(), 0xffff_ffff);
        let local = 7u64;
        let value = Value::from_ptr(&raw const local);
        assert_eq!(value.ptr().cast_const().cast(), &raw const local);
        assert_eq!(Value::from_addr(value.addr()), value);
    }
}
