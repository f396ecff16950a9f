//! A bounded queue of plain values: many producers in signal handlers, many consumers.
//!
//! **`push_with` and `pop` run inside signal handlers.** Neither ever waits for another thread, nor for
//! the code that the handler interrupted.
//!
//! Problem: the well-known bounded queues wait in one rare case. `crossbeam_queue::ArrayQueue::push`
//! spins while the cell it needs is being emptied; when the emptying code is what this very handler
//! interrupted, that is for ever. Here pushing calls the ring full instead, and the caller has an
//! answer to *full* anyway. Likewise `pop` calls the ring empty while the cell at its head is being
//! filled; whoever fills it tells the consumer when it has.
//!
//! Each cell has a sequence word: `2 * lap` free, `2 * lap + 1` filled, where `lap` is how often the
//! ring has wrapped. A position is claimed by advancing `tail` (or `head`) past it, which only one
//! can do; the claimer then owns the cell until it publishes the next sequence (after Vyukov's
//! bounded queue, and the same idea as in crossbeam).
//!
//! # Atomic orderings
//! * A cell's sequence is stored with Release after the value is written (or read) and loaded with
//!   Acquire before it is read (or written): that pair alone hands the value over.
//! * `head` and `tail` are advanced with Relaxed: they hand out positions, no data.
//!
//! # Safety
//! A value is touched only between the claim of its position and the publication of its sequence.
#![allow(unsafe_code)]

use crate::sync::{AtomicUsize, Ordering, UnsafeCell};
use core::mem::MaybeUninit;

struct Cell<T> {
    sequence: AtomicUsize,
    value: UnsafeCell<MaybeUninit<T>>,
}

/// On a cache line of its own: producers advance `tail`, consumers `head`.
#[repr(align(128))]
struct Position(AtomicUsize);

pub(crate) struct Ring<T> {
    cells: Box<[Cell<T>]>,
    shift: u32,
    tail: Position,
    head: Position,
}

// SAFETY: a value is reached by one thread at a time, handed over by the cell's sequence.
unsafe impl<T: Copy + Send> Send for Ring<T> {}
// SAFETY: as above.
unsafe impl<T: Copy + Send> Sync for Ring<T> {}

impl<T: Copy> Ring<T> {
    /// A ring of at least `capacity` cells, rounded up to a power of two.
    pub(crate) fn new(capacity: usize) -> Self {
        let size = capacity.max(2).next_power_of_two();
        let cell = || Cell {
            sequence: AtomicUsize::new(0),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        };
        Self {
            cells: core::iter::repeat_with(cell).take(size).collect(),
            shift: size.trailing_zeros(),
            tail: Position(AtomicUsize::new(0)),
            head: Position(AtomicUsize::new(0)),
        }
    }

    fn at(&self, position: usize) -> (&Cell<T>, usize) {
        let index = position & (self.cells.len() - 1);
        // SAFETY: the length is a power of two, so the masked index is below it. Unchecked because
        // a panic is not possible in a handler, not even as dead code.
        (unsafe { self.cells.get_unchecked(index) }, (position >> self.shift).wrapping_mul(2))
    }

    /// Appends what `fill` writes into the cell, or returns false when no cell is free right now.
    pub(crate) fn push_with(&self, fill: impl FnOnce(*mut T)) -> bool {
        let mut position = self.tail.0.load(Ordering::Relaxed);
        loop {
            let (cell, free) = self.at(position);
            // ORDERING: Acquire pairs with the Release in `pop`: the last value has been read out.
            let ahead = cell.sequence.load(Ordering::Acquire).wrapping_sub(free) as isize;
            if ahead < 0 {
                return false;
            }
            if ahead > 0 {
                let now = self.tail.0.load(Ordering::Relaxed);
                if now == position {
                    return false; // Torn by a fork in the middle of a pop: full, not for ever.
                }
                position = now;
                continue;
            }
            let next = position.wrapping_add(1);
            let claim = self.tail.0.compare_exchange_weak(
                position,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match claim {
                Ok(_) => {
                    // The position was claimed just now and the cell is free: it is ours to write.
                    cell.value.with_mut(|at| fill(at.cast::<T>()));
                    // ORDERING: Release pairs with the Acquire in `pop`.
                    cell.sequence.store(free.wrapping_add(1), Ordering::Release);
                    return true;
                }
                Err(actual) => position = actual,
            }
        }
    }

    /// Appends a value, or gives it back when no cell is free right now.
    #[cfg(test)]
    pub(crate) fn push(&self, value: T) -> Result<(), T> {
        // SAFETY: `push_with` passes a place for one value.
        let pushed = self.push_with(|at| unsafe { at.write(value) });
        if pushed { Ok(()) } else { Err(value) }
    }

    /// Takes the oldest value, or `None` when there is none that is completely written.
    pub(crate) fn pop(&self) -> Option<T> {
        let mut position = self.head.0.load(Ordering::Relaxed);
        loop {
            let (cell, free) = self.at(position);
            let full = free.wrapping_add(1);
            // ORDERING: Acquire pairs with the Release in `push`.
            let ahead = cell.sequence.load(Ordering::Acquire).wrapping_sub(full) as isize;
            if ahead < 0 {
                return None;
            }
            if ahead > 0 {
                let now = self.head.0.load(Ordering::Relaxed);
                if now == position {
                    return None;
                }
                position = now;
                continue;
            }
            let next = position.wrapping_add(1);
            match self.head.0.compare_exchange_weak(
                position,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    // SAFETY: the position was claimed just now, and its value is published.
                    let value = cell.value.with(|at| unsafe { at.cast::<T>().read() });
                    // ORDERING: Release pairs with the Acquire in `push`, one lap later.
                    cell.sequence.store(free.wrapping_add(2), Ordering::Release);
                    return Some(value);
                }
                Err(actual) => position = actual,
            }
        }
    }

    /// Empties the ring in a forked child, where a producer or consumer that was in the middle of
    /// it may no longer exist.
    pub(crate) fn reset_after_fork(&self) {
        for cell in &self.cells {
            cell.sequence.store(0, Ordering::Relaxed);
        }
        self.tail.0.store(0, Ordering::Relaxed);
        self.head.0.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::Ring;

    #[test]
    fn keeps_order_over_many_laps() {
        let ring = Ring::new(4);
        for lap in 0..1000 {
            for i in 0..4 {
                ring.push(lap * 4 + i).unwrap();
            }
            assert_eq!(ring.push(7), Err(7), "a full ring gives the value back");
            for i in 0..4 {
                assert_eq!(ring.pop(), Some(lap * 4 + i));
            }
            assert_eq!(ring.pop(), None);
        }
    }

    #[test]
    fn hands_each_value_to_one_consumer() {
        let ring = Ring::new(8);
        let total = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for value in 1..=10_000usize {
                        while ring.push(value).is_err() {
                            std::thread::yield_now();
                        }
                    }
                });
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let value = loop {
                            match ring.pop() {
                                Some(value) => break value,
                                None => std::thread::yield_now(),
                            }
                        };
                        total.fetch_add(value, std::sync::atomic::Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(total.into_inner(), 10_000 * 10_001);
    }
}
