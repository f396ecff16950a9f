//! A system call that is not made when something has happened before it, however little before.
//!
//! **Handlers move threads in it.**
//!
//! # Safety
//! It can be restarted from its begin label at any instruction up to and including `syscall`: its inputs stay in
//! registers that the system call preserves (rbx, r12 and the argument registers; the kernel clobbers only rax,
//! rcx and r11: syscall(2), "Architecture calling conventions").
#![allow(unsafe_code)]

use core::arch::global_asm;

global_asm!(
    ".pushsection .text.sigplane0_alertable,\"ax\",@progbits",
    ".hidden sigplane0_alertable, sigplane0_alertable_begin, sigplane0_alertable_end",
    ".globl sigplane0_alertable, sigplane0_alertable_begin, sigplane0_alertable_end",
    ".type sigplane0_alertable,@function",
    ".p2align 4",
    "sigplane0_alertable:",
    ".cfi_startproc",
    "push rbx",
    ".cfi_adjust_cfa_offset 8",
    ".cfi_rel_offset rbx, 0",
    "push r12",
    ".cfi_adjust_cfa_offset 8",
    ".cfi_rel_offset r12, 0",
    "mov rbx, rdi",
    "mov r12, rsi",
    "mov rax, rdx",
    "mov rdi, [rax]",
    "mov rsi, [rax + 8]",
    "mov rdx, [rax + 16]",
    "mov r10, [rax + 24]",
    "mov r8, [rax + 32]",
    "mov r9, [rax + 40]",
    // From here to the end label a handler restarts an interrupted thread at the begin label.
    "sigplane0_alertable_begin:",
    "cmp dword ptr [rbx], 0",
    "jne 4f",
    "mov rax, r12",
    "syscall",
    "sigplane0_alertable_end:",
    "pop r12",
    ".cfi_adjust_cfa_offset -8",
    ".cfi_restore r12",
    "pop rbx",
    ".cfi_adjust_cfa_offset -8",
    ".cfi_restore rbx",
    "ret",
    ".cfi_adjust_cfa_offset 16",
    ".cfi_rel_offset rbx, 8",
    ".cfi_rel_offset r12, 0",
    // -EINTR, as if the kernel had been interrupted before it did anything.
    "4: mov rax, -4",
    "jmp sigplane0_alertable_end",
    ".cfi_endproc",
    ".size sigplane0_alertable, . - sigplane0_alertable",
    ".popsection",
);

unsafe extern "C" {
    fn sigplane0_alertable(attention: *const u32, number: usize, arguments: *const usize) -> isize;
    fn sigplane0_alertable_begin();
    fn sigplane0_alertable_end();
}

/// Makes a system call unless `*attention` is non-zero when the call is entered, with no instant in
/// between at which a handler that sets it could be missed.
///
/// # Safety
/// The call must be sound with these arguments, and `attention` readable.
pub(crate) unsafe fn alertable(
    attention: *const u32,
    number: i64,
    arguments: &[usize; 6],
) -> isize {
    // SAFETY: the caller answers for the call; `arguments` has the six words the stub loads.
    unsafe { sigplane0_alertable(attention, number as usize, arguments.as_ptr()) }
}

/// Moves a thread that was interrupted between the check and the system call of [`alertable`] back
/// to the check. Returns whether it was there.
///
/// A call that the kernel is about to restart has its program counter on the `syscall` instruction
/// (`arch/x86/kernel/signal.c`, `handle_signal`: `regs->ip -= 2`), which is in the range too; one
/// that has ended has it on the end label, which is not, and its result is kept.
pub(crate) fn restart_alertable(context: &mut libc::ucontext_t) -> bool {
    let begin = sigplane0_alertable_begin as *const () as i64;
    let end = sigplane0_alertable_end as *const () as i64;
    let pc = &mut context.uc_mcontext.gregs[libc::REG_RIP as usize];
    let inside = (begin..end).contains(pc);
    if inside {
        *pc = begin;
    }
    inside
}
