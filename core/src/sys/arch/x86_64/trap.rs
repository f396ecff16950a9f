//! x86_64: what the machine context says of a fault, beyond `siginfo_t`.
//!
//! **Runs inside signal handlers.**
//!
//! The kernel reports a general protection fault (trap 13) and a stack segment fault (trap 12) without an
//! address (arch/x86/kernel/traps.c, `SI_KERNEL`, `si_addr` 0): a non-canonical address, a misaligned
//! vector access and a privileged instruction look alike. The instruction tells them apart: it is read
//! where the fault happened, and the address of its memory operand is computed from the registers. What is
//! not understood stays unspecified.
//!
//! # References
//! Intel SDM volume 2, chapter 2 ("Instruction Format") and appendix A (opcode maps); volume 3, 6.15.
#![allow(unsafe_code)]

use libc::{REG_ERR, REG_RIP, REG_RSP, REG_TRAPNO, ucontext_t};

/// The processor's exceptions that the kernel turns into signals (asm/trapnr.h).
const BREAKPOINT: i64 = 3;
const STACK_SEGMENT: i64 = 12;
const GENERAL_PROTECTION: i64 = 13;
const PAGE_FAULT: i64 = 14;

/// Length of the `syscall` instruction, and of `int3`: the kernel reports the address after it.
const SYSCALL_LENGTH: usize = 2;
const INT3_LENGTH: usize = 1;

/// What an instruction that raised trap 12 or 13 was about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operand {
    /// An address that has no meaning: its upper bits are not all equal.
    NonCanonical(usize),
    /// An aligned vector access to an address that is not.
    Misaligned(usize),
    /// An instruction that only the kernel may execute.
    Privileged,
    /// Something else.
    Unknown,
}

/// The register file of a machine context, by number in the instruction encoding.
const ENCODED: [i32; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

fn register(context: &ucontext_t, name: i32) -> usize {
    context.uc_mcontext.gregs.get(name as usize).map_or(0, |value| *value as usize)
}

/// The instruction that a fault belongs to. For a breakpoint and a filtered system call, the kernel
/// reports the one after it.
pub(crate) fn faulting_pc(context: &ucontext_t, signal: i32) -> usize {
    let pc = register(context, REG_RIP);
    match signal {
        libc::SIGTRAP if register(context, REG_TRAPNO) as i64 == BREAKPOINT => {
            pc.wrapping_sub(INT3_LENGTH)
        }
        libc::SIGSYS => pc.wrapping_sub(SYSCALL_LENGTH),
        _ => pc,
    }
}

/// The stack pointer of the interrupted code.
pub(crate) fn stack_pointer(context: &ucontext_t) -> usize {
    register(context, REG_RSP)
}

/// The error code of a page fault: bit 0 protection, 1 write, 4 instruction fetch (asm/trap_pf.h).
pub(crate) fn page_fault(context: &ucontext_t) -> Option<u8> {
    (register(context, REG_TRAPNO) as i64 == PAGE_FAULT).then(|| register(context, REG_ERR) as u8)
}

/// What a fault without an address was about.
pub(crate) fn operand(context: &ucontext_t) -> Operand {
    let trap = register(context, REG_TRAPNO) as i64;
    if !matches!(trap, STACK_SEGMENT | GENERAL_PROTECTION) {
        return Operand::Unknown;
    }
    let pc = register(context, REG_RIP);
    if !is_canonical(pc) {
        return Operand::NonCanonical(pc); // A jump to nowhere: AMD reports it at the target.
    }
    let mut code = [0; 15];
    // Up to the end of the page when the next one cannot be read.
    let read = super::access::copy_in(pc, &mut code);
    decode(code.get(..read).unwrap_or(&[]), pc, context)
}

/// Whether bits 47 to 63 are equal. Where 57 bits count (LA57), addresses between the two raise page
/// faults, and never come here.
fn is_canonical(address: usize) -> bool {
    let upper = (address as i64) >> 47;
    upper == 0 || upper == -1
}

#[derive(Default)]
struct Prefixes {
    rex: u8,
    fs: bool,
    gs: bool,
    /// 66, F2 or F3.
    mandatory: bool,
}

fn decode(code: &[u8], pc: usize, context: &ucontext_t) -> Operand {
    let mut bytes = Bytes { code, at: 0 };
    let mut prefixes = Prefixes::default();
    let mut opcode = loop {
        match bytes.next() {
            Some(0x66 | 0xf2 | 0xf3) => prefixes.mandatory = true,
            Some(0x64) => prefixes.fs = true,
            Some(0x65) => prefixes.gs = true,
            Some(0x26 | 0x2e | 0x36 | 0x3e | 0x67 | 0xf0) => {}
            Some(byte) => break byte,
            None => return Operand::Unknown,
        }
    };
    if opcode & 0xf0 == 0x40 {
        prefixes.rex = opcode & 0xf;
        opcode = match bytes.next() {
            Some(byte) => byte,
            None => return Operand::Unknown,
        };
    }
    let vector = match opcode {
        0x0f => match bytes.next() {
            Some(0x38 | 0x3a) => {
                bytes.skip(1);
                true
            }
            Some(second) if is_system(second) => return Operand::Privileged,
            // Without an operand in memory that is encoded.
            Some(0x05 | 0x07 | 0x0b | 0x77 | 0x80..=0x8f | 0xa2 | 0xc8..=0xcf) | None => {
                return Operand::Unknown;
            }
            Some(second) => {
                matches!(second, 0x10..=0x17 | 0x28..=0x2f | 0x50..=0x7f | 0xc2..=0xc6 | 0xd0..=0xff)
            }
        },
        // VEX with two and three bytes: the inverted register bits.
        0xc5 => {
            prefixes.rex = (!bytes.next().unwrap_or(0) >> 5) & 4;
            bytes.skip(1);
            true
        }
        0xc4 | 0x62 => {
            prefixes.rex = (!bytes.next().unwrap_or(0) >> 5) & 7;
            bytes.skip(if opcode == 0xc4 { 2 } else { 3 });
            true
        }
        0xf4 | 0xfa | 0xfb | 0xe4..=0xe7 | 0xec..=0xef | 0x6c..=0x6f => return Operand::Privileged,
        // String instructions, push, pop, call and return: their operands are in fixed registers.
        0xa4..=0xa7 | 0xaa..=0xaf => {
            let mut at =
                [libc::REG_RSI, libc::REG_RDI].map(|name| register(context, name)).into_iter();
            return at
                .find(|at| !is_canonical(*at))
                .map_or(Operand::Unknown, Operand::NonCanonical);
        }
        0x50..=0x5f | 0x68 | 0x6a | 0xe8 | 0xc2 | 0xc3 | 0xc9 => {
            let at = register(context, REG_RSP);
            return if is_canonical(at) { Operand::Unknown } else { Operand::NonCanonical(at) };
        }
        _ if has_modrm(opcode) => false,
        _ => return Operand::Unknown,
    };
    let indirect = opcode == 0xff;
    match bytes.effective_address(&prefixes, pc, context, indirect) {
        Some(at) if !is_canonical(at) => Operand::NonCanonical(at),
        // A legacy vector instruction that wants alignment, or one that says so itself.
        Some(at) if vector && !at.is_multiple_of(16) => Operand::Misaligned(at),
        _ => Operand::Unknown,
    }
}

/// Two-byte opcodes that only the kernel may execute, or not at all here.
fn is_system(second: u8) -> bool {
    matches!(second, 0x00 | 0x01 | 0x06 | 0x08 | 0x09 | 0x20..=0x23 | 0x30..=0x37)
}

/// One-byte opcodes that are followed by a ModRM byte.
fn has_modrm(opcode: u8) -> bool {
    match opcode {
        0x00..=0x3f => opcode & 7 < 4,
        0x63
        | 0x69
        | 0x6b
        | 0x80..=0x8f
        | 0xc0
        | 0xc1
        | 0xc6
        | 0xc7
        | 0xd0..=0xd3
        | 0xd8..=0xdf => true,
        0xf6 | 0xf7 | 0xfe | 0xff => true,
        _ => false,
    }
}

/// The bytes of one instruction.
struct Bytes<'a> {
    code: &'a [u8],
    at: usize,
}

impl Bytes<'_> {
    fn next(&mut self) -> Option<u8> {
        let byte = self.code.get(self.at).copied();
        self.at += 1;
        byte
    }

    fn skip(&mut self, count: usize) {
        self.at += count;
    }

    fn displacement(&mut self, length: usize) -> Option<usize> {
        let bytes = self.code.get(self.at..self.at + length)?;
        self.at += length;
        match *bytes {
            [byte] => Some(byte as i8 as isize as usize),
            [a, b, c, d] => Some(i32::from_le_bytes([a, b, c, d]) as isize as usize),
            _ => Some(0),
        }
    }

    /// The address of the operand in memory; of an `indirect` jump through a register, its target. (A
    /// displacement relative to the next instruction leaves out an immediate that follows: close enough to
    /// tell canonical from not.)
    fn effective_address(
        &mut self,
        prefixes: &Prefixes,
        pc: usize,
        context: &ucontext_t,
        indirect: bool,
    ) -> Option<usize> {
        let number = |number: u8| {
            ENCODED.get(usize::from(number)).map_or(0, |name| register(context, *name))
        };
        let modrm = self.next()?;
        let (mode, low) = (modrm >> 6, modrm & 7);
        let base_extension = (prefixes.rex & 1) << 3;
        if mode == 3 {
            return indirect.then(|| number(low | base_extension));
        }
        let mut address = 0usize;
        let mut wide = mode == 2;
        if low == 4 {
            let sib = self.next()?;
            let index = (sib >> 3) & 7 | (prefixes.rex & 2) << 2;
            if index != 4 {
                address = number(index) << (sib >> 6);
            }
            if sib & 7 == 5 && mode == 0 {
                wide = true;
            } else {
                address = address.wrapping_add(number(sib & 7 | base_extension));
            }
        } else if low == 5 && mode == 0 {
            let offset = self.displacement(4)?;
            return Some(pc.wrapping_add(self.at).wrapping_add(offset));
        } else {
            address = number(low | base_extension);
        }
        let offset = if wide {
            self.displacement(4)?
        } else if mode == 1 {
            self.displacement(1)?
        } else {
            0
        };
        let segment = if prefixes.fs { super::fs_base() } else { 0 };
        if prefixes.gs {
            return None; // Its base is not known here.
        }
        Some(address.wrapping_add(offset).wrapping_add(segment))
    }
}
