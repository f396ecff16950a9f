//! A futex lock that a forked child can put back into its unlocked state.
//!
//! Problem: `std::sync::Mutex` held by a thread that `fork` did not copy stays locked for ever in
//! the child, and offers no way to reset it. This lock is three states in one word, is never taken
//! inside a handler, and [`Lock::reset_after_fork`] unlocks it when only one thread is left.
//!
//! A thread that holds one of sigplane's locks is in a deferral (see `crate::defer::Critical`), so
//! that no handler of sigplane runs on top of it.
//!
//! # Atomic orderings
//! Acquire on taking pairs with Release on letting go, so that what the last owner wrote is seen.
//!
//! # Safety
//! The value is only reached through [`Guard`], of which at most one exists: the word is 0 when
//! free, 1 when held, 2 when held and somebody may be waiting.
#![allow(unsafe_code)]

use super::{futex_wait, futex_wake};
use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU32, Ordering};

pub(crate) struct Lock<T> {
    word: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: the lock hands out the value to one thread at a time, which needs `T: Send` only.
unsafe impl<T: Send> Send for Lock<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Lock<T> {}

pub(crate) struct Guard<'a, T>(&'a Lock<T>);

impl<T> Lock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { word: AtomicU32::new(0), value: UnsafeCell::new(value) }
    }

    pub(crate) fn try_lock(&self) -> Option<Guard<'_, T>> {
        let taken = self.word.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed);
        taken.ok().map(|_| Guard(self))
    }

    pub(crate) fn lock(&self) -> Guard<'_, T> {
        if let Some(guard) = self.try_lock() {
            return guard;
        }
        while self.word.swap(2, Ordering::Acquire) != 0 {
            futex_wait(&self.word, 2, None);
        }
        Guard(self)
    }

    /// Takes the lock if it is free before `deadline`, on the clock of [`super::now`].
    pub(crate) fn lock_until(&self, deadline: core::time::Duration) -> Option<Guard<'_, T>> {
        if let Some(guard) = self.try_lock() {
            return Some(guard);
        }
        while self.word.swap(2, Ordering::Acquire) != 0 {
            if !futex_wait(&self.word, 2, Some(deadline)) {
                return None;
            }
        }
        Some(Guard(self))
    }

    /// Waits until the lock has been let go of; it may have been taken again since.
    pub(crate) fn wait_while_locked(&self) {
        // Says that somebody waits, unless it is free already.
        if self.word.compare_exchange(1, 2, Ordering::Relaxed, Ordering::Relaxed) != Err(0) {
            futex_wait(&self.word, 2, None);
        }
    }

    /// Unlocks a lock whose guard was forgotten, over a call that has no place for it.
    ///
    /// # Safety
    /// The calling thread took the lock and forgot its guard.
    pub(crate) unsafe fn unlock_forgotten(&self) {
        drop(Guard(self));
    }

    /// Unlocks a lock whose owner may not exist in this process.
    ///
    /// # Safety
    /// The caller is the only thread, and holds no guard of this lock that it will still use.
    pub(crate) unsafe fn reset_after_fork(&self) {
        self.word.store(0, Ordering::Relaxed);
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard is the proof of exclusive access.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard is the proof of exclusive access.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        if self.0.word.swap(0, Ordering::Release) == 2 {
            futex_wake(&self.0.word, 1);
        }
    }
}
