//! Where the kernel enters and leaves sigplane: the entry stub and the restorer.
//!
//! **Runs inside signal handlers.**
//!
//! # Safety
//! 1. [`trampoline`] is entered with the kernel's three arguments, calls
//!    [`crate::dispatch::dispatch`], and then either returns to the restorer, or puts on the mask
//!    that it was told and *jumps* to a foreign handler with the arguments and the stack pointer it
//!    had at entry, so that the foreign handler's caller is the kernel's frame.
//! 2. The restorer's bytes are those that libgcc (`linux-unwind.h`) and gdb
//!    (`amd64_linux_sigtramp_code`) recognise: `48 c7 c0 0f 00 00 00 0f 05`.
#![allow(unsafe_code)]

use crate::dispatch::{after_foreign, dispatch};
use core::arch::global_asm;
use core::ffi::c_void;

global_asm!(
    ".pushsection .text.sigplane0_entry,\"ax\",@progbits",
    ".hidden sigplane0_trampoline",
    ".globl sigplane0_trampoline",
    ".type sigplane0_trampoline,@function",
    ".p2align 5",
    "sigplane0_trampoline:",
    ".cfi_startproc",
    "endbr64",
    // The kernel's rt_sigframe is {return address, ucontext, siginfo} (asm/sigframe.h), and the return
    // address is the restorer of the action that it delivers. Entered by the kernel for our action,
    // rdx is rsp + 8 and the return address our restorer. A handler that chains to us fails the first
    // if it calls us, and the second if a compiler has made its call a jump.
    "lea r8, [rsp + 8]",
    "lea r9, [rip + sigplane0_restorer]",
    "xor r8, rdx",
    "xor r9, [rsp]",
    "xor ecx, ecx",
    "or r8, r9",
    "sete cl",
    ".hidden sigplane0_entered",
    ".globl sigplane0_entered",
    "sigplane0_entered:",
    "push rdi",
    ".cfi_adjust_cfa_offset 8",
    "push rsi",
    ".cfi_adjust_cfa_offset 8",
    "push rdx",
    ".cfi_adjust_cfa_offset 8",
    // Room for a mask.
    "sub rsp, 16",
    ".cfi_adjust_cfa_offset 16",
    "mov r8, rsp",
    "call {dispatch}",
    ".cfi_remember_state",
    "test rax, rax",
    "jz 2f",
    "mov r8, rax",
    "mov r9, rdx",
    // rt_sigprocmask(SIG_SETMASK, ...): the handler's mask. What it lets through is delivered on top of
    // these five words, and so of hardly more stack than the handler alone would have below it. The
    // kernel keeps all registers but rax, rcx and r11 (syscall(2)).
    "mov eax, 14",
    "mov edi, 2",
    "mov rsi, rsp",
    "xor edx, edx",
    "mov r10d, 8",
    "syscall",
    "add rsp, 16",
    ".cfi_adjust_cfa_offset -16",
    "pop rdx",
    ".cfi_adjust_cfa_offset -8",
    "pop rsi",
    ".cfi_adjust_cfa_offset -8",
    "pop rdi",
    ".cfi_adjust_cfa_offset -8",
    "test r9, r9",
    "jnz 3f",
    "jmp r8",
    "2:",
    ".cfi_restore_state",
    "add rsp, 40",
    ".cfi_adjust_cfa_offset -40",
    "ret",
    // Entries placed after the legacy action: it has to be called rather than jumped to.
    "3: push rdi",
    ".cfi_adjust_cfa_offset 8",
    "push rsi",
    ".cfi_adjust_cfa_offset 8",
    "push rdx",
    ".cfi_adjust_cfa_offset 8",
    "call r8",
    "pop rdx",
    ".cfi_adjust_cfa_offset -8",
    "pop rsi",
    ".cfi_adjust_cfa_offset -8",
    "pop rdi",
    ".cfi_adjust_cfa_offset -8",
    "jmp {after}",
    ".cfi_endproc",
    ".size sigplane0_trampoline, . - sigplane0_trampoline",
    ".hidden sigplane0_restorer",
    ".globl sigplane0_restorer",
    ".type sigplane0_restorer,@function",
    // What `crate::abi` describes, in front of the restorer and at a fixed distance.
    ".p2align 4",
    ".ascii \"sigplane-abi-0\"",
    ".byte 0, 0",
    ".quad {abi} - .",
    // Unwinders look up the return address minus one: that is an instruction too.
    ".byte 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90",
    "sigplane0_restorer:",
    ".byte 0x48, 0xc7, 0xc0, 0x0f, 0x00, 0x00, 0x00, 0x0f, 0x05",
    ".size sigplane0_restorer, . - sigplane0_restorer",
    ".popsection",
    dispatch = sym dispatch,
    after = sym after_foreign,
    abi = sym crate::abi::ABI,
);

unsafe extern "C" {
    fn sigplane0_trampoline(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void);
    fn sigplane0_entered();
    fn sigplane0_restorer();
}

/// The address that sigplane gives the kernel as its handler.
pub(crate) fn trampoline() -> usize {
    sigplane0_trampoline as *const () as usize
}

/// The entry stub behind its test of who enters, whose outcome is in ecx: what a benchmark calls, which
/// cannot make a frame that returns through the restorer.
pub(crate) fn entered() -> usize {
    sigplane0_entered as *const () as usize
}

/// The address that the kernel returns to after a handler of ours: it calls `rt_sigreturn`.
pub(crate) fn restorer() -> usize {
    sigplane0_restorer as *const () as usize
}
