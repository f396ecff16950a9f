//! A callback's data, and the destructor that is called with it once, if the registration has succeeded.
//!
//! # Safety
//! C promises that data and destructor may be used on any thread.

use super::abi::{Destructor, Options};
use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// What a registered closure owns.
pub(super) struct User {
    data: *mut c_void,
    destroy: Option<Destructor>,
    registered: Arc<AtomicBool>,
}

// SAFETY: see the module.
unsafe impl Send for User {}
// SAFETY: as above.
unsafe impl Sync for User {}

/// Says that the registration has succeeded.
pub(super) struct Registered(Arc<AtomicBool>);

impl Registered {
    pub(super) fn confirm(&self) {
        // ORDERING: whoever drops the closure has learnt of it through the table, behind this.
        self.0.store(true, Ordering::Release);
    }
}

impl User {
    pub(super) fn new(data: *mut c_void, options: &Options) -> (Self, Registered) {
        let registered = Arc::new(AtomicBool::new(false));
        let user = Self { data, destroy: options.destroy, registered: Arc::clone(&registered) };
        (user, Registered(registered))
    }

    /// What the callback gets.
    #[inline]
    pub(super) fn data(&self) -> *mut c_void {
        self.data
    }
}

impl Drop for User {
    fn drop(&mut self) {
        if self.registered.load(Ordering::Acquire)
            && let Some(destroy) = self.destroy
        {
            // SAFETY: the header's contract of a destructor.
            unsafe { destroy(self.data) };
        }
    }
}
