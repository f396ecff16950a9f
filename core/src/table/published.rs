//! A pointer to something immutable that handlers read and writers replace.
//!
//! **`get` runs inside signal handlers.**
//!
//! # Safety
//! It is null, or points to a value that was boxed by `publish` and is freed only after it has been
//! replaced and every reader that may hold it has left (`grace`). So a reader may use what it gets until
//! it leaves, and a writer that holds the table's lock as long as it holds it.
#![allow(unsafe_code)]

use crate::sync::Ordering;
use core::marker::PhantomData;
use core::sync::atomic::AtomicPtr;

pub(crate) struct Published<T> {
    at: AtomicPtr<T>,
    owns: PhantomData<T>,
}

impl<T: Send + Sync + 'static> Published<T> {
    pub(crate) const fn none() -> Self {
        Self { at: AtomicPtr::new(core::ptr::null_mut()), owns: PhantomData }
    }

    /// The current value.
    ///
    /// # Safety
    /// The caller is a reader (`grace`) or holds the table's lock, for as long as it uses the value.
    #[inline(always)]
    pub(crate) unsafe fn get<'a>(&self) -> Option<&'a T> {
        // ORDERING: Acquire pairs with the Release in `publish`: the value is complete.
        let at = self.at.load(Ordering::Acquire);
        // SAFETY: null or live by the module's invariant.
        unsafe { at.as_ref() }
    }

    /// Whether nothing has ever been published.
    #[inline(always)]
    pub(crate) fn is_none(&self) -> bool {
        self.at.load(Ordering::Relaxed).is_null()
    }

    /// Makes `value` the current one and gives the old one to be retired.
    pub(crate) fn publish(&self, value: T) -> Option<Retired> {
        let new = Box::into_raw(Box::new(value));
        let old = self.at.swap(new, Ordering::AcqRel);
        if old.is_null() { None } else { Some(Retired::new(old)) }
    }
}

/// A value that has been replaced; to be dropped after a grace period.
pub(crate) struct Retired {
    value: *mut (),
    free: unsafe fn(*mut ()),
}

// SAFETY: it owns the value, whose type is Send and Sync (`Published`).
unsafe impl Send for Retired {}

impl Retired {
    fn new<T: Send + Sync + 'static>(value: *mut T) -> Self {
        unsafe fn free<T>(value: *mut ()) {
            // SAFETY: made by `Box::into_raw` for this type, and freed once, by `Drop`.
            drop(unsafe { Box::from_raw(value.cast::<T>()) });
        }
        Self { value: value.cast(), free: free::<T> }
    }
}

impl Drop for Retired {
    fn drop(&mut self) {
        // SAFETY: replaced, and no reader is left: whoever drops this has waited for them.
        unsafe { (self.free)(self.value) };
    }
}
