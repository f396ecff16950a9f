//! The words that each thread has: its record, and what handlers note of a thread without needing one.
//!
//! **Used inside signal handlers.**
//!
//! # Safety
//! They lie in *initial-exec* thread-local storage: one load from the GOT, one from the thread block, never
//! `__tls_get_addr`, which may allocate. In a `dlopen`ed object they take 64 bytes, with that of `guard`, of the
//! static surplus that glibc reserves (`elf/dl-tls.c`, 1664 bytes by default).
#![allow(unsafe_code)]

use crate::thread::Record;
use core::arch::{asm, global_asm};

global_asm!(
    ".pushsection .tbss.sigplane0_record,\"awT\",@nobits",
    ".hidden sigplane0_record",
    ".globl sigplane0_record",
    ".type sigplane0_record,@object",
    ".p2align 3",
    "sigplane0_record: .zero 8",
    ".size sigplane0_record, 8",
    ".hidden sigplane0_stranger",
    ".globl sigplane0_stranger",
    ".type sigplane0_stranger,@object",
    "sigplane0_stranger: .zero 8",
    ".size sigplane0_stranger, 8",
    ".hidden sigplane0_masked",
    ".globl sigplane0_masked",
    ".type sigplane0_masked,@object",
    "sigplane0_masked: .zero 8",
    ".size sigplane0_masked, 8",
    ".hidden sigplane0_borrowed",
    ".globl sigplane0_borrowed",
    ".type sigplane0_borrowed,@object",
    "sigplane0_borrowed: .zero 8",
    ".size sigplane0_borrowed, 8",
    ".hidden sigplane0_waiting",
    ".globl sigplane0_waiting",
    ".type sigplane0_waiting,@object",
    "sigplane0_waiting: .zero 24",
    ".size sigplane0_waiting, 24",
    ".popsection",
);

/// The calling thread's word of this name.
macro_rules! read_word {
    ($word:literal) => {{
        let value;
        // SAFETY: reads this thread's own word in initial-exec storage, which exists for the whole life
        // of the thread; no flag, no stack, no other memory is touched.
        unsafe {
            core::arch::asm!(
                concat!("mov {r}, qword ptr [rip + ", $word, "@GOTTPOFF]"),
                "mov {r}, qword ptr fs:[{r}]",
                r = out(reg) value,
                options(nostack, preserves_flags, readonly),
            );
        }
        value
    }};
}
pub(super) use read_word;

/// Sets it: one store, so a handler sees the old or the new value.
macro_rules! write_word {
    ($word:literal, $value:expr) => {{
        let value = $value;
        // SAFETY: writes this thread's own word in initial-exec storage and nothing else.
        unsafe {
            core::arch::asm!(
                concat!("mov {r}, qword ptr [rip + ", $word, "@GOTTPOFF]"),
                "mov qword ptr fs:[{r}], {v}",
                r = out(reg) _,
                v = in(reg) value,
                options(nostack, preserves_flags),
            );
        }
    }};
}
pub(super) use write_word;

/// The calling thread's record, or null when it has none.
#[inline(always)]
pub(crate) fn record() -> *mut Record {
    read_word!("sigplane0_record")
}

/// Where a thread's word for its record is, seen from what its thread pointer points to.
pub(crate) fn record_offset() -> isize {
    let offset: isize;
    // SAFETY: reads a word that the dynamic linker has written, and nothing else.
    unsafe {
        asm!(
            "mov {offset}, qword ptr [rip + sigplane0_record@GOTTPOFF]",
            offset = out(reg) offset,
            options(nostack, preserves_flags, pure, readonly),
        );
    }
    offset
}

/// Sets the calling thread's record.
#[inline(always)]
pub(crate) fn set_record(record: *mut Record) {
    write_word!("sigplane0_record", record);
}

/// How many handlers of ours are on the stack of this thread, which has no record; see `Record`.
#[inline(always)]
pub(crate) fn stranger_depth() -> u64 {
    read_word!("sigplane0_stranger")
}

/// Changes it by `by`.
#[inline(always)]
pub(crate) fn add_stranger_depth(by: i64) {
    // SAFETY: changes this thread's own word in initial-exec storage and nothing else.
    unsafe {
        asm!(
            "mov {r}, qword ptr [rip + sigplane0_stranger@GOTTPOFF]",
            "add qword ptr fs:[{r}], {v}",
            r = out(reg) _,
            v = in(reg) by,
            options(nostack),
        );
    }
}

/// The signals of faults that this thread has been told are blocked; see `crate::masks`.
pub(crate) fn masked_faults() -> u64 {
    read_word!("sigplane0_masked")
}

/// Changes them.
pub(crate) fn set_masked_faults(masked: u64) {
    write_word!("sigplane0_masked", masked);
}
