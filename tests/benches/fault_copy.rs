//! Copies that nothing faults in, against what libc has.

use crate::kernel;
use crate::measure::{Contender, Effort, Series, interleave};
use crate::report::{Figure, Group, Peer, Row};
use sigplane::fault;
use std::hint::black_box;

const PEERS: &[Peer] = &[Peer::of(REP), Peer::of(READ)];

/// A row of one size; those without a target are for information.
const fn row(name: &'static str, series: &'static str, target: Option<f64>) -> Row {
    Row { name, series, base: BASE, ours: OURS, peers: PEERS, figure: Figure::Ratio, target }
}

pub const GROUP: Group = Group {
    name: "copy",
    rows: &[
        row("try_copy of 4 KiB", "4096", Some(1.02)),
        row("try_copy of 1 MiB", "1048576", Some(1.02)),
        row("try_copy of 4 KiB, unaligned", "4096+", None),
        row("try_copy of 1 MiB, unaligned", "1048576+", None),
        row("try_copy of 16 bytes", "16", None),
        row("try_copy of 100 bytes", "100", None),
        row("try_copy of 256 bytes", "256", None),
        row("try_copy of 1,000 bytes", "1000", None),
        row("try_copy of 16 KiB", "16384", None),
        row("try_copy of 100,000 bytes", "100000", None),
    ],
    children: &[("copy", copies)],
};

const BASE: &str = "memcpy";
const OURS: &str = "try_copy";
const REP: &str = "rep movsb";
const READ: &str = "process_vm_readv";

fn copies(effort: Effort) -> Vec<Series> {
    kernel::pin(0, kernel::two_cpus().0);
    fault::enable().expect("the signals of faults");
    let rows = [
        ("4096", 4096, 0),
        ("1048576", 1 << 20, 0),
        ("4096+", 4096, 7),
        ("1048576+", 1 << 20, 7),
        ("16", 16, 0),
        ("100", 100, 0),
        ("256", 256, 0),
        ("1000", 1000, 0),
        ("16384", 16384, 0),
        ("100000", 100_000, 0),
    ];
    rows.map(|(name, length, offset)| copy(effort, name, length, offset)).into()
}

/// Copies `length` bytes from `offset` behind a page's start to twice that behind another's.
fn copy(effort: Effort, name: &str, length: usize, offset: usize) -> Series {
    const ROOM: usize = 1 << 21;
    let page = || {
        let memory = vec![1u8; ROOM].leak();
        let skip = memory.as_ptr().align_offset(4096);
        memory[skip..].as_mut_ptr()
    };
    let (from, to) = (page().wrapping_add(offset), page().wrapping_add(2 * offset));
    let batch = (2_000_000 / (length + 200)).clamp(3, 5_000);
    let contenders = vec![
        Contender::batch(BASE, batch, move || {
            // SAFETY: both have the length.
            unsafe { libc::memcpy(to.cast(), from.cast(), black_box(length)) };
        }),
        Contender::batch(OURS, batch, move || {
            // SAFETY: as above.
            black_box(unsafe { fault::try_copy(from, to, black_box(length)) }.is_ok());
        }),
        Contender::batch(REP, batch, move || {
            // SAFETY: as above.
            unsafe {
                core::arch::asm!(
                    "rep movsb",
                    inout("rcx") black_box(length) => _, inout("rsi") from => _, inout("rdi") to => _,
                );
            }
        }),
        Contender::batch(READ, batch.div_ceil(10), move || {
            let here = libc::iovec { iov_base: to.cast(), iov_len: length };
            let there = libc::iovec { iov_base: from.cast(), iov_len: length };
            // SAFETY: as above.
            let read = unsafe { libc::process_vm_readv(kernel::pid(), &here, 1, &there, 1, 0) };
            assert_eq!(read, length as isize);
        }),
    ];
    interleave(name, effort.pick(200, 5), contenders)
}
