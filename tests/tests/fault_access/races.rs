//! Pages that come and go while they are copied: never the end, and the count is that of what was done.

use crate::arena::{PAGE, file, map};
use sigplane::FaultKind;
use sigplane::fault::{self, Access};
use sigplane_tests::{Dice, quick};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

const PAGES: usize = 6;
const SIZE: usize = PAGES * PAGE;
const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;
/// Every byte of a shared page is one of these, or what a copy writes.
const THERE: u8 = 1;
const CANARY: u8 = 9;

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Runs `copy` while another thread disturbs, until some have faulted too.
fn beside(disturb: impl Fn(&mut Dice) + Sync, mut copy: impl FnMut(&mut Dice) -> bool) {
    let (stop, disturbed) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut dice = Dice::new();
    let mut faults = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut dice = Dice::new();
            while !stop.load(SeqCst) {
                disturb(&mut dice);
                disturbed.fetch_add(1, SeqCst);
            }
        });
        // Also when an assertion fails.
        let _stop = Stop(&stop);
        let (count, mut done) = (quick(1_000_000), 0);
        // On one processor they take turns: both have had some, and have met.
        while done < count || disturbed.load(SeqCst) < 1_000 || faults == 0 {
            faults += usize::from(copy(&mut dice));
            done += 1;
        }
    });
    println!("{faults} faults, pages changed {disturbed:?} times");
}

/// Mostly none: what interrupts a copy that is running on another processor is the interesting case. But on
/// one processor the copies are to meet a page that is not there, too.
fn pause(dice: &mut Dice) {
    if dice.roll(16) == 0 {
        std::thread::yield_now();
    }
}

/// Whether all bytes are the same, this one: each is its neighbour.
fn is_all(bytes: &[u8], byte: u8) -> bool {
    bytes.first().is_none_or(|first| *first == byte && bytes[1..] == bytes[..bytes.len() - 1])
}

/// A range of the pages; long ones too.
fn range(dice: &mut Dice) -> (usize, usize) {
    let from = dice.roll(SIZE as u64) as usize;
    let most = if dice.roll(4) == 0 { SIZE } else { 200 };
    (from, dice.roll((SIZE - from).min(most) as u64 + 1) as usize)
}

/// A page is taken away and given back by mprotect(2): what is said to be done has been copied, and what
/// is not has not been touched, out of it and into it.
pub fn pages_protected_meanwhile() {
    let fd = file(SIZE);
    let (shared, view) = (map(fd, 0, SIZE, 0, RW), map(fd, 0, SIZE, 0, RW) as *mut u8);
    unsafe { view.write_bytes(THERE, SIZE) };
    let protect = |dice: &mut Dice| {
        let page = shared + PAGE * (1 + dice.roll(PAGES as u64 - 2) as usize);
        for protection in [libc::PROT_NONE, RW] {
            assert_eq!(unsafe { libc::mprotect(page as *mut _, PAGE, protection) }, 0);
            pause(dice);
        }
    };
    let mut buffer = vec![CANARY; SIZE];
    beside(protect, |dice| {
        let (from, length) = range(dice);
        let at = std::ptr::with_exposed_provenance_mut::<u8>(shared + from);
        let inward = dice.roll(2) == 0;
        let local = &mut buffer[..length];
        let result = if inward {
            fault::try_copy_from(at, local)
        } else {
            unsafe { fault::try_copy_to(local, at) }
        };
        let done = result.map_or_else(|fault| fault.done(), |()| length);
        if let Err(fault) = result {
            let access = if inward { Access::Read } else { Access::Write };
            assert_eq!(fault.address(), Some(shared + from + done), "{fault:x?}");
            assert_eq!((fault.kind(), fault.access()), (FaultKind::Protected, Some(access)));
        }
        let seen = unsafe { std::slice::from_raw_parts_mut(view.add(from), length) };
        let target = if inward { local } else { seen };
        let (written, rest) = if inward { (THERE, CANARY) } else { (CANARY, THERE) };
        assert!(is_all(&target[..done], written), "{result:?} of {length}");
        assert!(is_all(&target[done..], rest), "{result:?} of {length}");
        target.fill(rest);
        result.is_err()
    });
}

/// The file behind the pages is truncated and extended again, by another descriptor: as a reader of
/// `mmap`ed files sees it.
pub fn pages_truncated_meanwhile() {
    let fd = file(SIZE);
    let shared = map(fd, 0, SIZE, 0, RW);
    let truncate = |dice: &mut Dice| {
        let pages = 1 + dice.roll(PAGES as u64 - 1) as usize;
        for length in [pages * PAGE, SIZE] {
            assert_eq!(unsafe { libc::ftruncate(fd, length as i64) }, 0);
            pause(dice);
        }
    };
    let mut buffer = vec![CANARY; SIZE];
    beside(truncate, |dice| {
        let (from, length) = range(dice);
        let at = std::ptr::with_exposed_provenance_mut::<u8>(shared + from);
        let local = &mut buffer[..length];
        if dice.roll(2) == 0 {
            let filled = unsafe { fault::try_fill(at, 0, length) };
            if let Err(fault) = filled {
                let expected = (FaultKind::NoMemory, Some(Access::Write));
                assert_eq!((fault.kind(), fault.access()), expected);
                assert_eq!(fault.address(), Some(shared + from + fault.done()), "{fault:x?}");
            }
            return filled.is_err();
        }
        let result = fault::try_copy_from(at, local);
        let done = result.map_or_else(|fault| fault.done(), |()| length);
        if let Err(fault) = result {
            assert_eq!(fault.address(), Some(shared + from + done), "{fault:x?}");
            assert_eq!((fault.kind(), fault.access()), (FaultKind::NoMemory, Some(Access::Read)));
        }
        // What is extended is zero, and nothing else is written.
        assert!(is_all(&local[..done], 0), "{result:?} of {length}");
        assert!(is_all(&local[done..], CANARY), "{result:?} of {length}");
        local.fill(CANARY);
        result.is_err()
    });
}
