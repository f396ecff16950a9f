//! Ways to crash, each in a function of its own name.

use std::fs::File;
use std::hint::black_box;
use std::os::fd::AsRawFd;

/// The ways.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Crash {
    /// A write to address 16.
    Null,
    /// A recursion without end.
    Overflow,
    /// A call of `abort`.
    Abort,
    /// A division by zero, where nothing checks for it.
    Div,
    /// A read from a mapping behind the end of its file.
    Bus,
}

impl Crash {
    /// Does not return.
    pub fn happen(self) {
        match self {
            Self::Null => write_through_null(black_box(16)),
            Self::Overflow => drop(black_box(recurse_without_end(0))),
            Self::Abort => give_up(),
            Self::Div => divide_by(black_box(0)),
            Self::Bus => read_behind_the_end(),
        }
    }
}

#[inline(never)]
fn write_through_null(offset: usize) {
    // SAFETY: it is not sound: this is what a crash is.
    unsafe { std::ptr::without_provenance_mut::<u32>(offset).write_volatile(1) };
}

#[inline(never)]
#[allow(unconditional_recursion, reason = "this is what a stack overflow is")]
fn recurse_without_end(depth: usize) -> usize {
    let room = black_box([depth; 64]);
    recurse_without_end(room[0] + 1) + room[1]
}

#[inline(never)]
fn give_up() {
    std::process::abort();
}

#[inline(never)]
fn divide_by(divisor: u32) {
    // SAFETY: changes two registers; the processor raises an exception if the divisor is 0.
    unsafe {
        std::arch::asm!("div {by:e}", by = in(reg) divisor, inout("eax") 1 => _, inout("edx") 0 => _);
    }
}

#[inline(never)]
fn read_behind_the_end() {
    let path = std::env::temp_dir().join(format!("crash_report-{}.bin", std::process::id()));
    let Ok(file) = File::create_new(&path) else { return };
    let _removed = std::fs::remove_file(&path);
    let (read, shared, fd) = (libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd());
    // SAFETY: a new mapping, of a file that is empty.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), 4096, read, shared, fd, 0) };
    if at != libc::MAP_FAILED {
        // SAFETY: the address is mapped for reading; nothing is behind it.
        black_box(unsafe { at.cast::<u8>().read_volatile() });
    }
}
