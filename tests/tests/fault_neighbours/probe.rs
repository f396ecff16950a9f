//! Whether sigplane's own ways with faults work, on the calling thread, now.

use sigplane::fault::{self, Region};
use sigplane::{FaultKind, Verdict};
use std::hint::black_box;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Pages that nobody may touch, each for one use, and the region that opens them. Made once: making a
/// region puts sigplane in front of whoever has taken the signals.
struct Forbidden {
    start: usize,
    used: AtomicUsize,
    _region: Region,
}

const PAGE: usize = 4096;
const PAGES: usize = 1 << 18;

impl Forbidden {
    fn new() -> Self {
        let (none, length) = (libc::PROT_NONE, PAGES * PAGE);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let at = unsafe { libc::mmap(ptr::null_mut(), length, none, flags, -1, 0) };
        assert_ne!(at, libc::MAP_FAILED);
        let start = at as usize;
        let open = |context: &mut fault::FaultContext<'_>| {
            let page = context.fault().address().unwrap_or(0) & !(PAGE - 1);
            let opened = unsafe { libc::mprotect(page as *mut _, PAGE, libc::PROT_READ) };
            if opened == 0 { Verdict::Handled } else { Verdict::Pass }
        };
        let region = unsafe { Region::new(start..start + length, open) }.expect("a region");
        Self { start, used: AtomicUsize::new(0), _region: region }
    }

    fn next(&self) -> usize {
        let index = self.used.fetch_add(1, Relaxed);
        assert!(index < PAGES);
        self.start + index * PAGE
    }
}

/// Safe access and a guarded call; cheap enough for a loop.
pub fn access() {
    let good = 0x1234_5678_u32;
    assert_eq!(fault::try_read(&raw const good), Ok(good));
    let bad = fault::try_read::<u32>(ptr::without_provenance(16)).expect_err("nothing is there");
    assert_eq!((bad.kind(), bad.address()), (FaultKind::Unmapped, Some(16)));
    let bad = unsafe { fault::guarded(|| read(8)) }.expect_err("nothing is there");
    assert_eq!((bad.kind(), bad.address()), (FaultKind::Unmapped, Some(8)));
}

/// All of it: arithmetic, an instruction that is none, a region too. The first time, it puts sigplane in
/// front of others.
pub fn everything() {
    access();
    let bad = unsafe { fault::guarded(|| divide(black_box(0))) }.expect_err("a division by zero");
    assert_eq!(bad.kind(), FaultKind::IntegerDivision);
    let bad = unsafe { fault::guarded(|| std::arch::asm!("ud2")) }.expect_err("no instruction");
    assert_eq!(bad.kind(), FaultKind::Instruction);

    static FORBIDDEN: OnceLock<Forbidden> = OnceLock::new();
    let page = FORBIDDEN.get_or_init(Forbidden::new).next();
    assert_eq!(read(page), 0, "the region's handler makes it readable");
}

#[inline(never)]
pub fn read(at: usize) -> u32 {
    unsafe { ptr::without_provenance::<u32>(at).read_volatile() }
}

#[inline(never)]
fn divide(by: u32) {
    unsafe {
        std::arch::asm!("div {by:e}", by = in(reg) by, inout("eax") 1 => _, inout("edx") 0 => _);
    }
}
