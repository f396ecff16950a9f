//! What handlers return to. The kernel wants it with every action (x86_64); libc's is not to be had by name.
//!
//! The bytes are those that libgcc (`linux-unwind.h`) and gdb know a signal frame by, which is how backtraces
//! go on beyond a handler: there is no unwind information for this address, on purpose.
#![allow(unsafe_code)]

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!("sigaction semantics are there for Linux on x86_64");

core::arch::global_asm!(
    ".pushsection .text.sigplane0_posix_restorer, \"ax\", @progbits",
    // Unwinders look up the return address minus one: that is an instruction too.
    ".p2align 4",
    ".byte 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90",
    ".hidden sigplane0_posix_restorer",
    ".globl sigplane0_posix_restorer",
    ".type sigplane0_posix_restorer,@function",
    "sigplane0_posix_restorer:",
    // mov rax, SYS_rt_sigreturn; syscall
    ".byte 0x48, 0xc7, 0xc0, 0x0f, 0x00, 0x00, 0x00, 0x0f, 0x05",
    ".size sigplane0_posix_restorer, . - sigplane0_posix_restorer",
    ".popsection",
);

unsafe extern "C" {
    fn sigplane0_posix_restorer();
}

/// Its address.
pub fn address() -> usize {
    sigplane0_posix_restorer as *const () as usize
}
