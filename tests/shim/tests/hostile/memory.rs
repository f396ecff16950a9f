//! Memory that calls are given pointers into: the same addresses in every process, so that traces of
//! several processes can be compared, with every kind of edge.

use std::ptr;

/// One area per argument, 64 KiB apart:
/// `+0` readable and writable, `+0x1000` no access, `+0x2000` read-only zeros, `+0x3000` nothing,
/// `+0x4000` readable and writable, `+0x5000` nothing.
pub const BASE: u64 = 0x5_0000_0000;
const AREA: u64 = 0x1_0000;
const PAGE: u64 = 0x1000;
const AREAS: u64 = 6;
/// What result buffers are filled with beforehand.
pub const FILLER: u8 = 0xa5;

/// Where in its area an argument points, from a number, and for a structure of so many bytes.
pub fn place(argument: u64, kind: u64, size: u64) -> u64 {
    let area = BASE + argument * AREA;
    let cut = 1 + (kind >> 8) % (size + 8);
    match kind & 0xff {
        0 => 0,
        1 => 1,
        2 => area + PAGE + 0x10,      // No access.
        3 => area + 2 * PAGE + 0x40,  // Read-only.
        4 => area + 3 * PAGE + 0x100, // Unmapped.
        5 => area + PAGE - cut,       // Runs into the page without access, or just not.
        6 => area + 4 * PAGE - cut,   // Begins in nothing.
        7 => area + 5 * PAGE - cut,   // Ends in nothing.
        8 => area + 2 * PAGE - cut,   // From no access into read-only.
        9 => 0xffff_8000_0000_1000,   // The kernel's half.
        10 => 0x8000_0000_0000,       // Not canonical, one past the user's half.
        11 => 0xdead_beef_dead_beef,  // Not canonical.
        12 => u64::MAX,
        13 => u64::MAX - 4095,
        14 => 0x7fff_ffff_ffff,
        15 | 16 => area + 0x101 + (kind >> 8) % 14, // Misaligned.
        _ => area + 0x100,
    }
}

/// How many numbers `place` tells apart.
pub const KINDS: u64 = 32;

fn map(address: u64, protection: i32) {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: a new mapping, refused where there is one already.
    let mapped = unsafe { libc::mmap(address as *mut _, PAGE as usize, protection, flags, -1, 0) };
    assert_eq!(mapped as u64, address, "the address is free: {}", std::io::Error::last_os_error());
}

/// Makes the areas.
pub fn prepare() {
    for area in (0..AREAS).map(|area| BASE + area * AREA) {
        map(area, libc::PROT_READ | libc::PROT_WRITE);
        map(area + PAGE, libc::PROT_NONE);
        map(area + 2 * PAGE, libc::PROT_READ);
        map(area + 4 * PAGE, libc::PROT_READ | libc::PROT_WRITE);
    }
}

fn byte(address: u64, write: bool) -> bool {
    let Some(offset) = address.checked_sub(BASE).filter(|offset| *offset < AREAS * AREA) else {
        return false;
    };
    match offset % AREA / PAGE {
        0 | 4 => true,
        2 => !write,
        _ => false,
    }
}

/// Whether all of it can be read.
pub fn readable(address: u64, size: u64) -> bool {
    (0..size).all(|offset| byte(address.wrapping_add(offset), false))
}

/// Whether all of it can be written.
pub fn writable(address: u64, size: u64) -> bool {
    (0..size).all(|offset| byte(address.wrapping_add(offset), true))
}

/// Writes what can be written there.
pub fn store(address: u64, bytes: &[u8]) {
    for (offset, value) in bytes.iter().enumerate() {
        let target = address.wrapping_add(offset as u64);
        if byte(target, true) {
            // SAFETY: ours, and writable.
            unsafe { ptr::write_volatile(target as *mut u8, *value) };
        }
    }
}

/// The bytes there; the caller has asked whether they can be read.
pub fn load<const N: usize>(address: u64) -> [u8; N] {
    assert!(readable(address, N as u64));
    // SAFETY: ours, readable, and of bytes.
    unsafe { ptr::read_volatile(address as *const [u8; N]) }
}

/// A word there.
pub fn word(address: u64) -> u64 {
    u64::from_le_bytes(load(address))
}

/// Half a word there.
pub fn half(address: u64) -> u32 {
    u32::from_le_bytes(load(address))
}
