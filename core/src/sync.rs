//! The atomic types of the lock-free parts (`delivery/ring.rs`, `table/grace.rs`,
//! `delivery/eventcount.rs`).
//!
//! Those files name their atomics only through here. The model checks in `tests/tests/model.rs`
//! compile the same files with loom's types in this place, so that what is checked is what runs.
#![allow(unsafe_code)]

pub(crate) use core::sync::atomic::{
    AtomicBool, AtomicU32, AtomicUsize, Ordering, compiler_fence, fence,
};

/// `UnsafeCell` with loom's interface: access by closure.
#[derive(Debug)]
pub(crate) struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(core::cell::UnsafeCell::new(value))
    }
    #[inline(always)]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }
    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}
