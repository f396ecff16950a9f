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
const DEBUG: i64 = 1;
const BREAKPOINT: i64 = 3;
const STACK_SEGMENT: i64 = 12;
const GENERAL_PROTECTION: i64 = 13;
const PAGE_FAULT: i64 = 14;
const ALIGNMENT: i64 = 17;

/// Length of the `syscall` instruction: the kernel reports the address after it.
const SYSCALL_LENGTH: usize = 2;

/// The flag by which a program has misaligned accesses trap.
const ALIGNMENT_CHECK: usize = 1 << 18;

/// What an instruction that raised trap 12, 13 or 17 was about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operand {
    /// An address that has no meaning: its upper bits are not all equal.
    NonCanonical(usize),
    /// An access that must be aligned to an address that is not.
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
    match (signal, register(context, REG_TRAPNO) as i64) {
        (libc::SIGTRAP, BREAKPOINT | DEBUG) => pc.wrapping_sub(breakpoint_length(pc)),
        (libc::SIGSYS, _) => pc.wrapping_sub(SYSCALL_LENGTH),
        _ => pc,
    }
}

/// How long the breakpoint instruction in front of `pc` is: `int3` and `icebp` have one byte, `int 3` has
/// two. 0 where there is none: a single step, a watchpoint.
fn breakpoint_length(pc: usize) -> usize {
    let mut before = [0; 2];
    match (super::access::copy_in(pc.wrapping_sub(2), &mut before), before) {
        (2, [0xcd, 3]) => 2,
        (2, [_, 0xcc | 0xf1]) => 1,
        (2, _) => 0,
        // The first instruction of a page behind a hole.
        _ => 1,
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

/// Has the rest of the handler take no notice of misaligned addresses: the kernel leaves the flag of the
/// interrupted code on (arch/x86/kernel/signal.c, `handle_signal`), and ordinary code does not expect it.
#[inline(always)]
pub(crate) fn allow_misaligned(context: &ucontext_t) {
    if register(context, libc::REG_EFL) & ALIGNMENT_CHECK != 0 {
        // SAFETY: clears one flag, which no compiled code relies on.
        unsafe {
            core::arch::asm!("pushfq", "and dword ptr [rsp], {off}", "popfq", off = const !(ALIGNMENT_CHECK as i32))
        };
    }
}

/// What a fault without an address was about.
pub(crate) fn operand(context: &ucontext_t) -> Operand {
    let trap = register(context, REG_TRAPNO) as i64;
    if !matches!(trap, STACK_SEGMENT | GENERAL_PROTECTION | ALIGNMENT) {
        return Operand::Unknown;
    }
    let pc = register(context, REG_RIP);
    if !is_canonical(pc) {
        return Operand::NonCanonical(pc); // A jump to nowhere, where it is reported at the target.
    }
    let mut code = [0; 15];
    // Up to the end of the page when the next one cannot be read.
    let read = super::access::copy_in(pc, &mut code);
    let mut bytes = Bytes { code: code.get(..read).unwrap_or(&[]), at: 0, pc, context };
    match bytes.decode() {
        Some(Decoded::Privileged) => Operand::Privileged,
        Some(Decoded::Memory(memory)) if trap == ALIGNMENT => memory.least_aligned(),
        Some(Decoded::Memory(memory)) => memory.what(),
        None => Operand::Unknown,
    }
}

/// Whether bits 47 to 63 are equal. Where 57 bits count (LA57), addresses between the two raise page
/// faults, and never come here.
fn is_canonical(address: usize) -> bool {
    let upper = (address as i64) >> 47;
    upper == 0 || upper == -1
}

/// What an instruction says of itself.
enum Decoded {
    Memory(Memory),
    Privileged,
}

/// The memory that it accesses.
#[derive(Default)]
struct Memory {
    /// In the order of the accesses.
    at: [Option<usize>; 2],
    /// Where it goes.
    target: Option<usize>,
    /// What the first is to be a multiple of; 0 when it need not be.
    align: usize,
}

impl Memory {
    fn one(at: usize) -> Decoded {
        Self::two(Some(at), None)
    }

    fn two(first: Option<usize>, second: Option<usize>) -> Decoded {
        Decoded::Memory(Self { at: [first, second], ..Self::default() })
    }

    fn what(&self) -> Operand {
        // One that begins below the hole between the halves may reach into it.
        let bad = |at: &usize| !is_canonical(*at) || !is_canonical(at.wrapping_add(LONGEST - 1));
        if let Some(at) = self.at.iter().flatten().find(|at| bad(at)) {
            return Operand::NonCanonical(*at);
        }
        match (self.target, self.at) {
            (Some(target), _) if !is_canonical(target) => Operand::NonCanonical(target),
            (_, [Some(at), _]) if self.align != 0 && !at.is_multiple_of(self.align) => {
                Operand::Misaligned(at)
            }
            _ => Operand::Unknown,
        }
    }

    /// With alignment checks on, nothing tells which access it was, if there are two.
    fn least_aligned(&self) -> Operand {
        let at = self.at.iter().flatten().min_by_key(|at| at.trailing_zeros());
        at.map_or(Operand::Unknown, |at| Operand::Misaligned(*at))
    }
}

/// The longest access that does not count: a vector of 64 bytes.
const LONGEST: usize = 64;

#[derive(Clone, Copy, Default, PartialEq)]
enum Segment {
    #[default]
    Flat,
    Fs,
    Gs,
}

#[derive(Clone, Copy, Default)]
struct Prefixes {
    rex: u8,
    segment: Segment,
    /// 66: operands of two bytes.
    narrow: bool,
    /// 67: addresses of four bytes.
    short: bool,
}

impl Prefixes {
    /// An address from the instruction: cut off if it is to be, and in its segment.
    fn address(&self, offset: usize) -> usize {
        let offset = if self.short { offset & 0xffff_ffff } else { offset };
        offset.wrapping_add(match self.segment {
            Segment::Flat => 0,
            Segment::Fs => super::fs_base(),
            Segment::Gs => gs_base(),
        })
    }
}

fn gs_base() -> usize {
    const ARCH_GET_GS: usize = 0x1004;
    let mut base = 0usize;
    let to = &raw mut base as usize;
    // SAFETY: writes the base of gs into a local (arch_prctl(2)).
    let result = unsafe { super::syscall(libc::SYS_arch_prctl, [ARCH_GET_GS, to, 0, 0, 0, 0]) };
    if result == 0 { base } else { 0 }
}

/// The bytes of one instruction, and the registers that it was executed with.
struct Bytes<'a> {
    code: &'a [u8],
    at: usize,
    pc: usize,
    context: &'a ucontext_t,
}

/// A ModRM byte and what belongs to it.
struct ModRm {
    register: u8,
    /// None of a register.
    address: Option<usize>,
    /// The register's value, if it is one.
    value: usize,
    base_is_stack: bool,
}

impl Bytes<'_> {
    fn next(&mut self) -> Option<u8> {
        let byte = self.code.get(self.at).copied();
        self.at += 1;
        byte
    }

    fn register(&self, name: i32) -> usize {
        register(self.context, name)
    }

    /// A register by its number in the encoding.
    fn numbered(&self, number: u8) -> usize {
        ENCODED.get(usize::from(number)).map_or(0, |name| self.register(*name))
    }

    /// Below the stack pointer, where `push` and `call` write.
    fn pushed(&self) -> usize {
        self.register(REG_RSP).wrapping_sub(8)
    }

    /// None where it is not understood.
    fn decode(&mut self) -> Option<Decoded> {
        let mut prefixes = Prefixes::default();
        let mut opcode = loop {
            match self.next()? {
                0x66 => prefixes.narrow = true,
                0x67 => prefixes.short = true,
                0x64 => prefixes.segment = Segment::Fs,
                0x65 => prefixes.segment = Segment::Gs,
                0x26 | 0x2e | 0x36 | 0x3e | 0xf0 | 0xf2 | 0xf3 => {}
                byte => break byte,
            }
        };
        if opcode & 0xf0 == 0x40 {
            prefixes.rex = opcode & 0xf;
            opcode = self.next()?;
        }
        match opcode {
            0x0f => self.two_bytes(prefixes),
            0xc4 | 0xc5 | 0x62 => self.vector(opcode, prefixes),
            _ => self.one_byte(opcode, prefixes),
        }
    }

    fn one_byte(&mut self, opcode: u8, prefixes: Prefixes) -> Option<Decoded> {
        let (from, to) = (self.register(libc::REG_RSI), self.register(libc::REG_RDI));
        let from = prefixes.address(from);
        Some(match opcode {
            0xf4 | 0xfa | 0xfb | 0xe4..=0xe7 | 0xec..=0xef | 0x6c..=0x6f => Decoded::Privileged,
            0xa4..=0xa7 => Memory::two(Some(from), Some(to)),
            0xac | 0xad => Memory::one(from),
            0xaa | 0xab | 0xae | 0xaf => Memory::one(to),
            // xlat
            0xd7 => {
                let index = self.register(libc::REG_RAX) & 0xff;
                let table = self.register(libc::REG_RBX).wrapping_add(index);
                Memory::one(prefixes.address(table))
            }
            // mov with an absolute address
            0xa0..=0xa3 => {
                let offset = self.displacement(if prefixes.short { 4 } else { 8 })?;
                Memory::one(prefixes.address(offset))
            }
            // push, call, pushf, enter
            0x50..=0x57 | 0x68 | 0x6a | 0xe8 | 0x9c | 0xc8 => Memory::one(self.pushed()),
            // pop, popf
            0x58..=0x5f | 0x9d => Memory::one(self.register(REG_RSP)),
            // leave
            0xc9 => Memory::one(self.register(libc::REG_RBP)),
            // ret
            0xc2 | 0xc3 => {
                let at = self.register(REG_RSP);
                Decoded::Memory(Memory { at: [Some(at), None], target: word(at), align: 0 })
            }
            0xff => self.group_5(prefixes)?,
            0x8f => {
                // pop: the address is computed with the stack pointer that it leaves behind.
                let operand = self.modrm(prefixes, 0, 1)?;
                let by = if operand.base_is_stack { 8 } else { 0 };
                let at = operand.address?.wrapping_add(by);
                Memory::two(Some(self.register(REG_RSP)), Some(at))
            }
            _ if has_modrm(opcode) => {
                let wide = if prefixes.narrow { 2 } else { 4 };
                let immediate = match opcode {
                    0x6b | 0x80 | 0x83 | 0xc0 | 0xc1 | 0xc6 => 1,
                    0x69 | 0x81 | 0xc7 => wide,
                    // test has one, its neighbours have none.
                    0xf6 if self.peek() & 0x30 == 0 => 1,
                    0xf7 if self.peek() & 0x30 == 0 => wide,
                    _ => 0,
                };
                Memory::one(self.modrm(prefixes, immediate, 1)?.address?)
            }
            _ => return None,
        })
    }

    /// inc, dec, call, jmp, push.
    fn group_5(&mut self, prefixes: Prefixes) -> Option<Decoded> {
        let operand = self.modrm(prefixes, 0, 1)?;
        let goes = matches!(operand.register, 2 | 4);
        let pushes = matches!(operand.register, 2 | 3 | 6);
        let target = match operand.address {
            Some(at) if goes => word(at),
            None if goes => Some(operand.value),
            _ => None,
        };
        let at = [operand.address, pushes.then(|| self.pushed())];
        Some(Decoded::Memory(Memory { at, target, align: 0 }))
    }

    fn two_bytes(&mut self, prefixes: Prefixes) -> Option<Decoded> {
        let second = self.next()?;
        let (immediate, align) = match second {
            0x38 => {
                self.next()?;
                (0, 16)
            }
            0x3a => {
                self.next()?;
                (1, 16)
            }
            0x00 | 0x01 => return self.system_group(second, prefixes),
            0x06..=0x09 | 0x20..=0x23 | 0x30..=0x37 => return Some(Decoded::Privileged),
            // Without an operand in memory.
            0x05 | 0x0b | 0x77 | 0x80..=0x8f | 0xa2 | 0xc8..=0xcf => return None,
            // push and pop of fs and gs
            0xa0 | 0xa8 => return Some(Memory::one(self.pushed())),
            0xa1 | 0xa9 => return Some(Memory::one(self.register(REG_RSP))),
            0xa3 | 0xab | 0xb3 | 0xbb => return self.bit(prefixes),
            // maskmovq, maskmovdqu
            0xf7 => return Some(Memory::one(prefixes.address(self.register(libc::REG_RDI)))),
            // fxsave and fxrstor; xsave, xrstor, xsaveopt; the others want nothing
            0xae => match (self.peek() >> 3) & 7 {
                0 | 1 => (0, 16),
                4..=6 => (0, 64),
                _ => (0, 0),
            },
            // cmpxchg8b, cmpxchg16b; xsavec and its like
            0xc7 => match (self.peek() >> 3) & 7 {
                1 => (0, if prefixes.rex & 8 != 0 { 16 } else { 0 }),
                _ => (0, 64),
            },
            0xc2 | 0xc4..=0xc6 | 0x70..=0x73 => (1, 16),
            0x10..=0x17 | 0x28..=0x2f | 0x50..=0x6f | 0x74..=0x7f | 0xd0..=0xff => (0, 16),
            0xa4 | 0xac | 0xba => (1, 0),
            _ => (0, 0),
        };
        let at = self.modrm(prefixes, immediate, 1)?.address?;
        Some(Decoded::Memory(Memory { at: [Some(at), None], target: None, align }))
    }

    /// What loads and stores the tables of the processor, and some others.
    fn system_group(&mut self, second: u8, prefixes: Prefixes) -> Option<Decoded> {
        const XGETBV: u8 = 0xd0;
        let modrm = self.peek();
        let operand = self.modrm(prefixes, 0, 1)?;
        let privileged = match (second, operand.register) {
            (0x00, register) => matches!(register, 2 | 3),
            (_, register) => matches!(register, 2 | 3 | 6 | 7),
        };
        match operand.address {
            Some(at) if !privileged => Some(Memory::one(at)),
            None if second == 0x01 && modrm == XGETBV => None,
            _ => Some(Decoded::Privileged),
        }
    }

    /// bt and its like, with a register that counts bits from the address on, either way.
    fn bit(&mut self, prefixes: Prefixes) -> Option<Decoded> {
        let register = (self.peek() >> 3) & 7 | (prefixes.rex & 4) << 1;
        let count = self.numbered(register);
        let by = if prefixes.rex & 8 != 0 {
            (count as i64 >> 6) << 3
        } else if prefixes.narrow {
            i64::from((count as i16) >> 4) << 1
        } else {
            i64::from((count as i32) >> 5) << 2
        };
        let at = self.modrm(prefixes, 0, 1)?.address?;
        Some(Memory::one(at.wrapping_add(by as usize)))
    }

    /// VEX and EVEX, whose first bytes have the bits of REX inverted.
    fn vector(&mut self, opcode: u8, mut prefixes: Prefixes) -> Option<Decoded> {
        let first = self.next()?;
        let (map, length, mut unit) = match opcode {
            0xc5 => {
                prefixes.rex = (!first >> 5) & 4;
                (1, (first >> 2) & 1, 1)
            }
            0xc4 => {
                prefixes.rex = (!first >> 5) & 7;
                (first & 0x1f, (self.next()? >> 2) & 1, 1)
            }
            _ => {
                prefixes.rex = (!first >> 5) & 7;
                let (second, third) = (self.next()?, self.next()?);
                let (length, one) = ((third >> 5) & 3, if second & 0x80 != 0 { 8 } else { 4 });
                // A displacement of one byte counts in units of the operand: one element, if that is
                // loaded into all, or a vector. (Of narrower ones the address is not exact.)
                (first & 7, length, if third & 0x10 != 0 { one } else { 16 << length })
            }
        };
        let opcode_is = self.next()?;
        if map == 2 && matches!(opcode_is, 0x90..=0x93 | 0xa0..=0xa3 | 0xc6 | 0xc7) {
            return None; // Gathers and scatters: the addresses are in a vector.
        }
        if (map, opcode_is) == (1, 0xf7) {
            return Some(Memory::one(prefixes.address(self.register(libc::REG_RDI))));
        }
        if map == 1 && opcode_is == 0xae {
            unit = 1;
        }
        let immediate = usize::from(
            map == 3 || map == 1 && matches!(opcode_is, 0x70..=0x73 | 0xc2 | 0xc4..=0xc6),
        );
        let at = self.modrm(prefixes, immediate, unit)?.address?;
        let align = 16 << length.min(2);
        Some(Decoded::Memory(Memory { at: [Some(at), None], target: None, align }))
    }

    fn peek(&self) -> u8 {
        self.code.get(self.at).copied().unwrap_or(0)
    }

    fn displacement(&mut self, length: usize) -> Option<usize> {
        let bytes = self.code.get(self.at..self.at + length)?;
        self.at += length;
        match *bytes {
            [byte] => Some(byte as i8 as isize as usize),
            [a, b, c, d] => Some(i32::from_le_bytes([a, b, c, d]) as isize as usize),
            [a, b, c, d, e, f, g, h] => Some(usize::from_le_bytes([a, b, c, d, e, f, g, h])),
            _ => None,
        }
    }

    /// The ModRM byte and the address that it stands for; `immediate` bytes follow, and a displacement of
    /// one byte counts `unit` times.
    fn modrm(&mut self, prefixes: Prefixes, immediate: usize, unit: usize) -> Option<ModRm> {
        let modrm = self.next()?;
        let (mode, register, low) = (modrm >> 6, (modrm >> 3) & 7, modrm & 7);
        let base_extension = (prefixes.rex & 1) << 3;
        if mode == 3 {
            let value = self.numbered(low | base_extension);
            return Some(ModRm { register, address: None, value, base_is_stack: false });
        }
        let mut base_is_stack = false;
        let mut offset = 0usize;
        let mut wide = mode == 2;
        let mut relative = false;
        if low == 4 {
            let sib = self.next()?;
            let index = (sib >> 3) & 7 | (prefixes.rex & 2) << 2;
            if index != 4 {
                offset = self.numbered(index) << (sib >> 6);
            }
            if sib & 7 == 5 && mode == 0 {
                wide = true;
            } else {
                let base = sib & 7 | base_extension;
                base_is_stack = base == 4;
                offset = offset.wrapping_add(self.numbered(base));
            }
        } else if low == 5 && mode == 0 {
            (wide, relative) = (true, true);
        } else {
            offset = self.numbered(low | base_extension);
        }
        if wide {
            offset = offset.wrapping_add(self.displacement(4)?);
        } else if mode == 1 {
            offset = offset.wrapping_add(self.displacement(1)?.wrapping_mul(unit));
        }
        if relative {
            // To the next instruction.
            offset = offset.wrapping_add(self.pc).wrapping_add(self.at + immediate);
        }
        Some(ModRm { register, address: Some(prefixes.address(offset)), value: 0, base_is_stack })
    }
}

/// The word at an address, if it can be read: where an indirect jump goes.
fn word(at: usize) -> Option<usize> {
    let mut bytes = [0; 8];
    (super::access::copy_in(at, &mut bytes) == 8).then(|| usize::from_le_bytes(bytes))
}

/// One-byte opcodes that are followed by a ModRM byte.
fn has_modrm(opcode: u8) -> bool {
    match opcode {
        0x00..=0x3f => opcode & 7 < 4,
        0x63 | 0x69 | 0x6b | 0x80..=0x8f | 0xc0 | 0xc1 | 0xc6 | 0xc7 => true,
        0xd0..=0xd3 | 0xd8..=0xdf | 0xf6 | 0xf7 | 0xfe | 0xff => true,
        _ => false,
    }
}
