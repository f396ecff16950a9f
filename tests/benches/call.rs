//! Calls a handler as the kernel would, without the kernel: with its stack layout, in which the
//! return address lies directly below the machine context.
//!
//! sigplane's handler also looks at the return address, to tell the kernel from another handler that
//! passes a signal on. That address leads to `rt_sigreturn`, and from there nobody comes back. So
//! sigplane is entered behind that test, which is made here instead, in full: [`enter_sigplane`].

use crate::kernel::{Handler, expect_hits, installed_handler, now, rt};
use crate::measure::Contender;
use std::ffi::c_void;
use std::hint::black_box;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A handler, and the three arguments it is called with.
#[derive(Clone, Copy)]
pub struct Call {
    handler: Handler,
    signal: i32,
}

impl Call {
    /// Of the handler that is installed for `SIGRTMIN + n`.
    pub fn installed(n: u8) -> Self {
        Self { handler: installed_handler(rt(n)), signal: rt(n) }
    }

    /// Of sigplane's handler for `SIGRTMIN + n`.
    pub fn sigplane(n: u8) -> Self {
        let (installed, entered) = (Self::installed(n), sigplane::bench::entered());
        let skipped = entered.wrapping_sub(installed.handler as usize);
        assert!(skipped < 64, "the kernel calls another handler than sigplane's");
        ENTERED.store(entered, Ordering::Relaxed);
        Self { handler: enter_sigplane, ..installed }
    }

    /// Nanoseconds per call.
    pub fn time(self, batch: usize) -> f64 {
        // SAFETY: all-zero is a valid `siginfo_t`.
        let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
        info.si_signo = self.signal;
        info.si_code = libc::SI_TKILL;
        let handler = black_box(self.handler);
        expect_hits(batch as u64, || {
            let start = now();
            // SAFETY: the handler has this type, and a handler may run at any instruction.
            unsafe { call_as_the_kernel(handler, self.signal, &raw mut info, batch) };
            (now() - start) as f64 / batch as f64
        })
    }

    /// Measured in turns with others.
    pub fn contender(self, name: &'static str, batch: usize) -> Contender<'static> {
        Contender::new(name, move || self.time(batch))
    }
}

/// Where sigplane's handler goes on after the test.
static ENTERED: AtomicUsize = AtomicUsize::new(0);

/// The handler's first instructions (core/src/sys/arch/x86_64/entry.rs) with another outcome: 1 in ecx.
#[unsafe(naked)]
unsafe extern "C" fn enter_sigplane(_: i32, _: *mut libc::siginfo_t, _: *mut c_void) {
    core::arch::naked_asm!(
        "endbr64",
        "lea r8, [rsp + 8]",
        "lea r9, [rip + {entered}]",
        "xor r8, rdx",
        "xor r9, [rsp]",
        "xor ecx, ecx",
        "or r8, r9",
        "sete cl",
        "mov ecx, 1",
        "jmp qword ptr [rip + {entered}]",
        entered = sym ENTERED,
    )
}

/// Calls `handler` `count` times with an empty machine context that lies where the kernel's does.
///
/// # Safety
/// `info` is valid, `count` is not 0, and `handler` returns.
#[unsafe(naked)]
unsafe extern "C" fn call_as_the_kernel(
    handler: Handler,
    signal: i32,
    info: *mut libc::siginfo_t,
    count: usize,
) {
    core::arch::naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "mov rbx, rdi",
        "mov r12d, esi",
        "mov r13, rdx",
        "mov r14, rcx",
        // A `ucontext_t` (968 bytes) of zeros at the top of the stack.
        "sub rsp, 1024",
        "and rsp, -64",
        "mov rdi, rsp",
        "mov ecx, 128",
        "xor eax, eax",
        "rep stosq",
        "2:",
        "mov edi, r12d",
        "mov rsi, r13",
        "mov rdx, rsp",
        "call rbx",
        "dec r14",
        "jnz 2b",
        "lea rsp, [rbp - 32]",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}
