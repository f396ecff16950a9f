//! What is known of a fault, in three words that fit into registers.
//!
//! **Made inside signal handlers.**
//!
//! A landing gets them in registers and not in memory: the kernel saves and restores registers around
//! every signal, so whatever interrupts the landing and faults itself leaves them alone. A word of the
//! thread's own memory would have to be saved by everybody who runs handlers.
//!
//! The code packs what the kernel and the processor said:
//!
//! | bits | what |
//! |---|---|
//! | 0–7 | the signal; never 0, so a code is never 0 |
//! | 8–9 | [`Refined`]: what `siginfo_t` does not say |
//! | 10 | the error code below is valid (a page fault) |
//! | 11 | the instruction is the kernel's (a general protection fault) |
//! | 16–23 | the page fault's error code |
//! | 24–31 | the protection key, or the least significant valid bit of the address |
//! | 32–63 | `si_code` |
//!
//! # Safety
//! As in `event/fields.rs`.
#![allow(unsafe_code)]

use super::overflow;
use crate::event::{FaultKind, fields};
use crate::signal::Signal;
use crate::sys::arch::trap::{self, Operand};
use libc::{siginfo_t, ucontext_t};

#[repr(C)]
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct Words {
    pub address: usize,
    pub code: u64,
    pub pc: usize,
}

/// What the machine context adds to `si_code`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Refined {
    No = 0,
    StackOverflow = 1,
    NonCanonical = 2,
    Misaligned = 3,
}

/// libc does not name it (asm-generic/siginfo.h).
const SEGV_MAPERR: i32 = 1;

const PAGE_FAULT: u64 = 1 << 10;
const PRIVILEGED: u64 = 1 << 11;

impl Words {
    /// The words of the fault that interrupted `context`.
    pub(crate) fn of(info: &siginfo_t, context: &ucontext_t) -> Self {
        let signal = info.si_signo;
        trap::allow_misaligned(context);
        let mut words = Self { address: 0, code: 0, pc: trap::faulting_pc(context, signal) };
        let mut code = signal as u64 & 0xff | (info.si_code as u32 as u64) << 32;
        let mut refined = Refined::No;
        if matches!(signal, libc::SIGSEGV | libc::SIGBUS) {
            if info.si_code == libc::SI_KERNEL {
                (words.address, refined) = match trap::operand(context) {
                    Operand::NonCanonical(at) => (at, Refined::NonCanonical),
                    Operand::Misaligned(at) => (at, Refined::Misaligned),
                    Operand::Privileged => {
                        code |= PRIVILEGED;
                        (words.pc, Refined::No)
                    }
                    Operand::Unknown => (0, Refined::No),
                };
            } else {
                words.address = fields::address(info);
                if (signal, info.si_code) == (libc::SIGBUS, libc::BUS_ADRALN)
                    && words.address == 0
                    && let Operand::Misaligned(at) = trap::operand(context)
                {
                    words.address = at; // x86 does not report it.
                }
                let detail = match (signal, info.si_code) {
                    (libc::SIGSEGV, 4) => fields::protection_key(info) as u8,
                    (libc::SIGBUS, 4 | 5) => fields::address_lsb(info) as u8,
                    _ => 0,
                };
                code |= u64::from(detail) << 24;
            }
            if let Some(error) = trap::page_fault(context) {
                code |= PAGE_FAULT | u64::from(error) << 16;
                if signal == libc::SIGSEGV
                    && overflow::is_likely(
                        words.address,
                        trap::stack_pointer(context),
                        info.si_code == SEGV_MAPERR,
                    )
                {
                    refined = Refined::StackOverflow;
                }
            }
        } else {
            words.address = words.pc;
        }
        words.code = code | (refined as u64) << 8;
        words
    }

    fn refined(&self) -> Refined {
        match (self.code >> 8) & 3 {
            1 => Refined::StackOverflow,
            2 => Refined::NonCanonical,
            3 => Refined::Misaligned,
            _ => Refined::No,
        }
    }

    /// The signal by which the kernel reported it.
    pub(crate) fn signal(&self) -> Signal {
        Signal::try_from((self.code & 0xff) as i32).unwrap_or(Signal::SEGV)
    }

    /// What kind of fault it was.
    pub(crate) fn kind(&self) -> FaultKind {
        match self.refined() {
            Refined::StackOverflow => FaultKind::StackOverflow,
            Refined::NonCanonical => FaultKind::NonCanonical,
            Refined::Misaligned => FaultKind::Misaligned,
            Refined::No if self.code & PRIVILEGED != 0 => FaultKind::Privileged,
            Refined::No => self.by_code(),
        }
    }

    fn by_code(&self) -> FaultKind {
        let (code, detail) = ((self.code >> 32) as i32, (self.code >> 24) as u8);
        match (self.signal(), code) {
            (Signal::SEGV, 4) => FaultKind::ProtectionKey(detail.into()),
            (Signal::BUS, 4) => FaultKind::MemoryErrorNow { lsb: detail.into() },
            (Signal::BUS, 5) => FaultKind::MemoryErrorElsewhere { lsb: detail.into() },
            // The kernel reports int3 without a code of its own (arch/x86/kernel/traps.c, `do_int3_user`).
            (Signal::TRAP, libc::SI_KERNEL) => FaultKind::Breakpoint,
            (signal, code) => FaultKind::by_code(signal, code),
        }
    }

    /// Whether a SIGTRAP is that of a breakpoint instruction.
    pub(crate) fn is_breakpoint(&self) -> bool {
        self.kind() == FaultKind::Breakpoint
    }

    /// The address that was accessed, or that of the instruction; `None` where nobody knows it.
    pub(crate) fn address(&self) -> Option<usize> {
        let known = match self.kind() {
            FaultKind::Unspecified | FaultKind::ControlFlow => false,
            FaultKind::Misaligned => self.address != 0,
            _ => true,
        };
        known.then_some(self.address)
    }

    /// The page fault's error code.
    pub(crate) fn page_fault(&self) -> Option<u8> {
        (self.code & PAGE_FAULT != 0).then_some((self.code >> 16) as u8)
    }
}
