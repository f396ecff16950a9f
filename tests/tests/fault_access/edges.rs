//! The ends of things: no bytes at all, of the address space, of its two halves, of pages.

use crate::arena::{Arena, PAGE, file, map};
use sigplane::FaultKind;
use sigplane::fault::{self, Access, Fault};
use sigplane_tests::Dice;
use std::ffi::c_char;
use std::ptr::without_provenance_mut as pointer;

/// Where nothing is: no memory, the hole between the halves, the kernel's half, and the ends of all.
const NOWHERE: [usize; 9] = [
    0,
    1,
    4095,
    0x7fff_ffff_f000,
    0x7fff_ffff_ffff,
    0x8000_0000_0000,
    0xdead_beef_dead_beef,
    0xffff_8000_0000_0000,
    usize::MAX,
];

/// No byte is accessed where none is asked for.
pub fn nothing_at_a_bad_address() {
    let mut byte = 7u8;
    for at in NOWHERE {
        let (nowhere, here) = (pointer::<u8>(at), &raw mut byte);
        unsafe {
            fault::try_copy(nowhere, here, 0).unwrap();
            fault::try_copy(here, nowhere, 0).unwrap();
            fault::try_copy(nowhere, nowhere, 0).unwrap();
            fault::try_copy_nonoverlapping(nowhere, here, 0).unwrap();
            fault::try_copy_to(&[], nowhere).unwrap();
            fault::try_fill(nowhere, 1, 0).unwrap();
            fault::try_write(nowhere.cast(), [0u64; 0]).unwrap();
        }
        fault::try_copy_from(nowhere, &mut []).unwrap();
        assert_eq!(fault::try_read(nowhere.cast()), Ok([0u32; 0]));
        assert_eq!(fault::try_strlen(nowhere.cast(), 0), Ok(0));
        assert_eq!(fault::try_c_str(nowhere.cast(), &mut []), Ok(None));
    }
    assert_eq!(byte, 7);
    assert_eq!(sigplane::table().faults.by_fixup, 0);
}

/// A fault at `at`, or behind it in what was accessed there, before anything was done.
fn is_at(fault: &Fault, at: usize, length: usize, access: Access) -> bool {
    let offset = fault.address().map(|address| address.wrapping_sub(at));
    let kind = if at >> 47 == 0 || at >> 47 == 0x1_ffff {
        // Of an access that reaches into the hole both may be said.
        matches!(fault.kind(), FaultKind::Unmapped)
            || (fault.kind() == FaultKind::NonCanonical && at >> 47 == 0)
    } else {
        fault.kind() == FaultKind::NonCanonical
    };
    kind && offset.is_some_and(|offset| offset < length)
        && fault.access() == Some(access)
        && fault.done() == 0
}

/// Every function at the ends of the address space and at those of the hole, where an access wraps around
/// or reaches into the hole: a fault, and nothing copied.
pub fn ends_of_the_address_space() {
    let mut buffer = [7u8; 4096];
    for at in NOWHERE {
        let (nowhere, here) = (pointer::<u8>(at), buffer.as_mut_ptr());
        let check = |fault: Fault, length: usize, access: Access| {
            assert!(is_at(&fault, at, length, access), "{length} at {at:#x}: {fault:x?}");
        };
        macro_rules! values {
            ($($type:ty),*) => {$(
                let size = size_of::<$type>();
                check(fault::try_read::<$type>(nowhere.cast()).unwrap_err(), size, Access::Read);
                let written = unsafe { fault::try_write::<$type>(nowhere.cast(), [1; _]) };
                check(written.unwrap_err(), size, Access::Write);
            )*};
        }
        values!([u8; 1], [u8; 2], [u8; 3], [u8; 4], [u8; 8], [u8; 16], [u8; 24]);
        for length in [1, 2, 3, 4, 7, 8, 15, 16, 17, 63, 64, 65, 200, 1023, 1024, 1025, 2500, 4096]
        {
            unsafe {
                let from = fault::try_copy(nowhere, here, length).unwrap_err();
                check(from, length, Access::Read);
                check(fault::try_copy(here, nowhere, length).unwrap_err(), length, Access::Write);
                // Downwards, from whichever end is bad.
                let up = pointer::<u8>(at.wrapping_add(1));
                if length > 1 {
                    let down = fault::try_copy(nowhere, up, length).unwrap_err();
                    let range = length + 1;
                    let offset = down.address().map(|address| address.wrapping_sub(at));
                    assert!(offset.is_some_and(|offset| offset < range), "{at:#x}: {down:x?}");
                    assert_eq!(down.done(), 0);
                }
                check(fault::try_fill(nowhere, 1, length).unwrap_err(), length, Access::Write);
            }
            let strlen = fault::try_strlen(nowhere.cast(), length).unwrap_err();
            check(strlen, length, Access::Read);
        }
        let endless = fault::try_strlen(nowhere.cast::<c_char>(), usize::MAX).unwrap_err();
        check(endless, PAGE, Access::Read);
    }
    assert!(buffer.iter().all(|byte| *byte == 7), "nothing was copied");
}

/// Page-crossing stores of 2 to 16 bytes, every split, each half bad in turn: nothing is written at all.
pub fn stores_across_pages() {
    let fd = file(2 * PAGE);
    let both = map(fd, 0, 2 * PAGE, 0, libc::PROT_READ | libc::PROT_WRITE);
    let view = map(fd, 0, 2 * PAGE, 0, libc::PROT_READ) as *const u8;
    unsafe { (both as *mut u8).write_bytes(9, 2 * PAGE) };
    for (bad, good) in [(0, 1), (1, 0)] {
        for protection in [libc::PROT_READ, libc::PROT_NONE] {
            let protect = |page: usize, protection: i32| {
                let at = (both + page * PAGE) as *mut _;
                assert_eq!(unsafe { libc::mprotect(at, PAGE, protection) }, 0);
            };
            protect(bad, protection);
            protect(good, libc::PROT_READ | libc::PROT_WRITE);
            macro_rules! sizes {
                ($($type:ty),*) => {$(
                    for before in 1..size_of::<$type>() {
                        let at = both + PAGE - before;
                        let written =
                            unsafe { fault::try_write(pointer::<$type>(at), <$type>::MAX) };
                        let fault = written.unwrap_err();
                        let expected = if bad == 0 { at } else { both + PAGE };
                        assert_eq!(fault.address(), Some(expected), "{fault:x?}");
                        assert_eq!((fault.kind(), fault.done()), (FaultKind::Protected, 0));
                        assert_eq!(fault.access(), Some(Access::Write));
                        let seen = unsafe { std::slice::from_raw_parts(view, 2 * PAGE) };
                        assert!(seen.iter().all(|byte| *byte == 9), "a part was written");
                    }
                )*};
            }
            sizes!(u16, u32, u64, u128);
        }
    }
}

/// 16 bytes, read and written as one value and copied, at every alignment of a line and before every kind
/// of page.
pub fn sixteen_bytes_anywhere() {
    let mut dice = Dice::new();
    let mut arena = Arena::new(0, &mut dice);
    arena.shuffle(3, &mut dice);
    arena.fill(None, &mut dice);
    for at in 0..64 * PAGE {
        if at % PAGE > 160 && at % PAGE < PAGE - 160 {
            continue;
        }
        let bad = arena.first_bad(at, 16, Access::Read);
        let place = arena.at(at).cast::<u128>();
        let wanted = bad.map_or(Ok(()), |bad| Err((bad.kind, Some(bad.at))));
        let read = fault::try_read(place).map_err(|fault| (fault.kind(), fault.address()));
        assert_eq!(read.map(drop), wanted);
        if let Ok(value) = read {
            assert_eq!(value.to_ne_bytes(), arena.shadow[at..at + 16]);
        }
        let value = u128::from(dice.roll(u64::MAX)) << 61;
        let bad = arena.first_bad(at, 16, Access::Write);
        let wanted = bad.map_or(Ok(()), |bad| Err((bad.kind, Some(bad.at))));
        let written = unsafe { fault::try_write(place, value) };
        assert_eq!(written.map_err(|fault| (fault.kind(), fault.address())), wanted);
        if written.is_ok() {
            arena.shadow[at..at + 16].copy_from_slice(&value.to_ne_bytes());
        }
        assert!(arena.check_near(at, 16));
    }
}
