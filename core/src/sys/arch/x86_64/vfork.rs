//! vfork(2), by which sigplane knows the child for one, and the mark that says so.
//!
//! **Used inside signal handlers.**
//!
//! # Safety
//! As in `thread_words`. `sigplane0_vfork` has to be jumped to: it returns twice.
#![allow(unsafe_code)]

use super::thread_words::{read_word, write_word};
use core::arch::global_asm;

// vfork(2) as libc's (glibc sysdeps/unix/sysv/linux/x86_64/vfork.S): the child returns first, on the stack of
// the parent, and may overwrite the return address there, so that is kept in a register meanwhile. The thread is
// marked as borrowed before the call, so that the child is from its first instruction on; the parent, which
// goes on when the child has ended or executed something, puts the mark back as it was, from a register.
global_asm!(
    ".pushsection .text.sigplane0_vfork,\"ax\",@progbits",
    ".hidden sigplane0_vfork",
    ".globl sigplane0_vfork",
    ".type sigplane0_vfork,@function",
    ".p2align 4",
    "sigplane0_vfork:",
    ".cfi_startproc",
    "endbr64",
    "mov r8, [rip + sigplane0_borrowed@GOTTPOFF]",
    "mov rsi, fs:[r8]",
    "lea r9, [rsi + 1]",
    "mov fs:[r8], r9",
    "pop rdi",
    ".cfi_adjust_cfa_offset -8",
    ".cfi_register rip, rdi",
    "mov eax, 58",
    "syscall",
    "push rdi",
    ".cfi_adjust_cfa_offset 8",
    ".cfi_rel_offset rip, 0",
    "test eax, eax",
    "jz 2f",
    // What came meanwhile has been delivered in front of this very instruction; see `is_borrowed`.
    "mov fs:[r8], rsi",
    "js 3f", // `mov` changes no flag.
    "2: ret",
    "3: neg eax",
    "push rax",
    ".cfi_adjust_cfa_offset 8",
    "call __errno_location@PLT",
    "pop rcx",
    ".cfi_adjust_cfa_offset -8",
    "mov [rax], ecx",
    "mov eax, -1",
    "ret",
    ".cfi_endproc",
    ".size sigplane0_vfork, . - sigplane0_vfork",
    ".popsection",
);

unsafe extern "C" {
    /// vfork(2), after which sigplane knows that the child is one.
    pub(crate) fn sigplane0_vfork() -> i32;
}

/// Whether this is a `vfork` child, or one of its own: memory and thread are the parent's, the kernel's actions
/// are not. Known of those that were made by [`sigplane0_vfork`], or after [`lend`].
#[inline(always)]
pub(crate) fn is_borrowed() -> bool {
    let borrowed: u64 = read_word!("sigplane0_borrowed");
    borrowed != 0 && is_another_process()
}

/// The parent's handlers may find the mark as well: those of the signals that came meanwhile run before the
/// parent's first instruction, and one that leaves from there by a jump leaves the mark behind.
#[cold]
fn is_another_process() -> bool {
    crate::engine::get().is_borrowed()
}

/// Marks the thread, for a child that shares memory and thread pointer with it, made by a call that returns once.
/// In the parent the mark stays, and does not count ([`is_borrowed`]).
pub(crate) fn lend() {
    set_borrowed(1);
}

/// Sets whether this is a `vfork` child: not, in one that `fork` has made.
pub(crate) fn set_borrowed(borrowed: u64) {
    write_word!("sigplane0_borrowed", borrowed);
}
