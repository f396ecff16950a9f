//! x86_64: what the rest of the crate needs of the processor, and what of it is assembly.
//!
//! **Runs inside signal handlers.** Nothing here calls into libc, but for the failure of `vfork`.
//!
//! * `entry` — the handler's entry stub, the restorer. `thread_words` — what each thread has.
//! * `alertable` — the restartable system call. `wait` — the mask of one that has its own. `vfork` — its child.
//! * `guard`, `trap`, `access`, `registers` — faults. Here: single instructions.
//!
//! # Safety
//! Each module says what it promises. Symbols carry the ABI number of this copy, so that two incompatible
//! copies can be linked.
#![allow(unsafe_code)]

pub(crate) mod access;
mod alertable;
mod entry;
pub(crate) mod guard;
pub(crate) mod registers;
mod thread_words;
pub(crate) mod trap;
mod vfork;
mod wait;

pub(crate) use alertable::{alertable, restart_alertable};
pub(crate) use entry::{entered, restorer, trampoline};
pub(crate) use thread_words::{
    add_stranger_depth, masked_faults, record, record_offset, set_masked_faults, set_record,
    stranger_depth,
};
pub(crate) use vfork::{is_borrowed, lend, set_borrowed, sigplane0_vfork};
pub(crate) use wait::{Wait, is_in, set_wait, wait};

use crate::fault::words::Words;
use core::arch::asm;

/// Makes a system call with up to six arguments; `-errno` on failure, `errno` itself untouched.
///
/// # Safety
/// The call must be sound with these arguments.
#[inline(always)]
pub(crate) unsafe fn syscall(number: i64, arguments: [usize; 6]) -> isize {
    let result: isize;
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the caller answers for the call; the registers follow syscall(2).
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// Whether the calling thread has a user shadow stack, which return addresses must agree with.
pub(crate) fn has_shadow_stack() -> bool {
    let pointer: u64;
    // SAFETY: `rdsspq` leaves its operand alone where shadow stacks are off (it is a long no-op).
    unsafe {
        asm!("rdsspq {p}", p = inout(reg) 0u64 => pointer, options(nomem, nostack, preserves_flags))
    };
    pointer != 0
}

/// Ends the process by an instruction that traps, for a process 1 that no signal can end.
pub(crate) fn trap() -> ! {
    // SAFETY: `ud2` raises SIGILL and does nothing else; it never falls through because the
    // caller has given SIGILL its default action.
    unsafe { asm!("ud2", options(noreturn, nostack)) }
}

/// The base of the fs segment: the thread's control block, whose first word is its own address (ELF TLS,
/// variant 2).
pub(crate) fn fs_base() -> usize {
    let base: usize;
    // SAFETY: reads the first word of the thread control block.
    unsafe {
        asm!("mov {b}, qword ptr fs:[0]", b = out(reg) base, options(nostack, preserves_flags, readonly))
    };
    base
}

/// Has the handler return to `landing`, with the three registers that a landing finds changed.
pub(crate) fn land(context: &mut libc::ucontext_t, landing: usize, words: &Words) {
    let registers = &mut context.uc_mcontext.gregs;
    registers[libc::REG_RIP as usize] = landing as i64;
    registers[libc::REG_RAX as usize] = words.address as i64;
    registers[libc::REG_RDX as usize] = words.code as i64;
    registers[libc::REG_R11 as usize] = words.pc as i64;
}

/// The calling object's own list of fixups: the linker's bounds of the section of that name. Weak, for an
/// object that has none.
pub(crate) fn own_fixups() -> (usize, usize) {
    let (start, stop): (usize, usize);
    // SAFETY: loads two addresses from the GOT.
    unsafe {
        asm!(
            ".weak __start_sigplane_fixups",
            ".hidden __start_sigplane_fixups",
            ".weak __stop_sigplane_fixups",
            ".hidden __stop_sigplane_fixups",
            "mov {a}, qword ptr [rip + __start_sigplane_fixups@GOTPCREL]",
            "mov {b}, qword ptr [rip + __stop_sigplane_fixups@GOTPCREL]",
            a = out(reg) start,
            b = out(reg) stop,
            options(nostack, preserves_flags, readonly, pure),
        )
    };
    (start, stop)
}
