//! Random instructions with an operand in memory whose address has no meaning: the processor does not say
//! which it was, so it is computed from the instruction and the registers, and has to be the one that this
//! file computed when it made the instruction.

use sigplane::fault;
use sigplane::{FaultKind, Signal};
use sigplane_tests::{Dice, quick};

/// An instruction: what stands before the REX prefix, the opcode, the bits of ModRM that are not free, and
/// how many bytes follow the operand.
struct Template {
    name: &'static str,
    prefix: &'static [u8],
    opcode: Opcode,
    /// Of ModRM.
    extension: Option<u8>,
    immediate: usize,
}

enum Opcode {
    /// With an optional REX prefix.
    Plain(&'static [u8]),
    /// REX.W is part of it.
    Wide(&'static [u8]),
    /// The map (1: 0f, 2: 0f 38, 3: 0f 3a), W, L and pp of the last byte, the opcode; two bytes if possible.
    Vex(u8, u8, u8),
    /// The map, the second payload byte, the third, the opcode, how much a displacement of one byte counts.
    Evex(u8, u8, u8, u8, usize),
}

const fn plain(name: &'static str, opcode: &'static [u8]) -> Template {
    Template { name, prefix: &[], opcode: Opcode::Plain(opcode), extension: None, immediate: 0 }
}

const fn grouped(
    name: &'static str,
    opcode: &'static [u8],
    extension: u8,
    immediate: usize,
) -> Template {
    let opcode = Opcode::Plain(opcode);
    Template { name, prefix: &[], opcode, extension: Some(extension), immediate }
}

const fn vector(
    name: &'static str,
    prefix: &'static [u8],
    opcode: &'static [u8],
    immediate: usize,
) -> Template {
    Template { name, prefix, opcode: Opcode::Plain(opcode), extension: None, immediate }
}

const fn vex(name: &'static str, map: u8, last: u8, opcode: u8, immediate: usize) -> Template {
    let opcode = Opcode::Vex(map, last, opcode);
    Template { name, prefix: &[], opcode, extension: None, immediate }
}

const TEMPLATES: &[Template] = &[
    plain("mov load", &[0x8b]),
    plain("mov store", &[0x89]),
    plain("mov byte load", &[0x8a]),
    plain("mov byte store", &[0x88]),
    plain("add to memory", &[0x01]),
    plain("sub from memory", &[0x2b]),
    plain("cmp", &[0x39]),
    plain("test", &[0x85]),
    plain("xchg", &[0x87]),
    plain("movsxd", &[0x63]),
    Template { immediate: 4, ..plain("imul, 4 bytes", &[0x69]) },
    Template { immediate: 1, ..plain("imul, 1 byte", &[0x6b]) },
    grouped("mov immediate byte", &[0xc6], 0, 1),
    grouped("mov immediate", &[0xc7], 0, 4),
    grouped("or byte", &[0x80], 1, 1),
    grouped("and", &[0x81], 4, 4),
    grouped("cmp short", &[0x83], 7, 1),
    grouped("shl", &[0xc1], 4, 1),
    grouped("sar by one", &[0xd1], 7, 0),
    grouped("rol by cl", &[0xd3], 0, 0),
    grouped("test immediate", &[0xf7], 0, 4),
    grouped("neg", &[0xf7], 3, 0),
    grouped("div", &[0xf7], 6, 0),
    grouped("inc", &[0xff], 0, 0),
    grouped("dec byte", &[0xfe], 1, 0),
    grouped("call through memory", &[0xff], 2, 0),
    grouped("jmp through memory", &[0xff], 4, 0),
    grouped("push", &[0xff], 6, 0),
    grouped("pop", &[0x8f], 0, 0),
    grouped("fld m64", &[0xdd], 0, 0),
    grouped("fstp m80", &[0xdb], 7, 0),
    grouped("fadd m32", &[0xd8], 0, 0),
    plain("movzx", &[0x0f, 0xb6]),
    plain("movsx", &[0x0f, 0xbf]),
    plain("imul", &[0x0f, 0xaf]),
    plain("cmove", &[0x0f, 0x44]),
    plain("cmpxchg", &[0x0f, 0xb1]),
    plain("xadd", &[0x0f, 0xc1]),
    plain("movnti", &[0x0f, 0xc3]),
    plain("bsf", &[0x0f, 0xbc]),
    grouped("sete", &[0x0f, 0x94], 0, 0),
    grouped("bts immediate", &[0x0f, 0xba], 5, 1),
    Template { immediate: 1, ..plain("shld", &[0x0f, 0xa4]) },
    grouped("cmpxchg8b", &[0x0f, 0xc7], 1, 0),
    Template { opcode: Opcode::Wide(&[0x0f, 0xc7]), ..grouped("cmpxchg16b", &[], 1, 0) },
    grouped("ldmxcsr", &[0x0f, 0xae], 2, 0),
    grouped("fxsave", &[0x0f, 0xae], 0, 0),
    plain("movbe", &[0x0f, 0x38, 0xf0]),
    vector("movups", &[], &[0x0f, 0x10], 0),
    vector("movaps", &[], &[0x0f, 0x28], 0),
    vector("movaps store", &[], &[0x0f, 0x29], 0),
    vector("movdqa", &[0x66], &[0x0f, 0x6f], 0),
    vector("movdqu", &[0xf3], &[0x0f, 0x6f], 0),
    vector("movsd", &[0xf2], &[0x0f, 0x10], 0),
    vector("movq store", &[0x66], &[0x0f, 0xd6], 0),
    vector("addps", &[], &[0x0f, 0x58], 0),
    vector("shufps", &[], &[0x0f, 0xc6], 1),
    vector("cmpps", &[], &[0x0f, 0xc2], 1),
    vector("pshufd", &[0x66], &[0x0f, 0x70], 1),
    vector("pinsrw", &[0x66], &[0x0f, 0xc4], 1),
    vector("pshufb", &[0x66], &[0x0f, 0x38, 0x00], 0),
    vector("palignr", &[0x66], &[0x0f, 0x3a, 0x0f], 1),
    vector("cvtsi2sd", &[0xf2], &[0x0f, 0x2a], 0),
    vex("vmovups", 1, 0x78, 0x10, 0),
    vex("vmovdqa ymm", 1, 0x7d, 0x6f, 0),
    vex("vaddpd ymm", 1, 0x75, 0x58, 0),
    vex("vmovsd", 1, 0x7b, 0x10, 0),
    vex("vbroadcastss", 2, 0x7d, 0x18, 0),
    vex("vpalignr", 3, 0x71, 0x0f, 1),
    Template { opcode: Opcode::Evex(1, 0x7c, 0x48, 0x10, 64), ..plain("vmovups zmm", &[]) },
    Template { opcode: Opcode::Evex(1, 0xfd, 0x28, 0x6f, 32), ..plain("vmovdqa64 ymm", &[]) },
];

/// Registers by number in the encoding; 4 is the stack pointer.
type Registers = [u64; 16];

const RSP: u8 = 4;

/// A page that is written and executed.
struct Page {
    at: usize,
    length: usize,
}

/// Where the code of a page leaves the stack pointer.
const SAVED: usize = 4000;

impl Page {
    fn new() -> Self {
        let protection = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
        assert_ne!(at, libc::MAP_FAILED);
        Self { at: at as usize, length: 0 }
    }

    fn emit(&mut self, bytes: &[u8]) {
        let to = (self.at + self.length) as *mut u8;
        // SAFETY: within the page: an instruction and the sixteen in front of it are short.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        self.length += bytes.len();
    }

    /// Code that notes the stack pointer and loads the registers; where the next instruction goes.
    fn prologue(&mut self, registers: &Registers) -> usize {
        self.length = 0;
        // mov rax, imm64; mov [rax], rsp
        self.emit(&[0x48, 0xb8]);
        self.emit(&(self.at + SAVED).to_le_bytes());
        self.emit(&[0x48, 0x89, 0x20]);
        for (number, value) in registers.iter().enumerate() {
            if number as u8 != RSP {
                self.emit(&[0x48 | (number >> 3) as u8, 0xb8 | (number & 7) as u8]);
                self.emit(&value.to_le_bytes());
            }
        }
        self.at + self.length
    }
}

/// A ModRM operand.
struct Operand {
    bytes: Vec<u8>,
    /// REX.X and REX.B, as bits 1 and 0.
    extend: u8,
    base: Option<u8>,
    index: Option<(u8, u32)>,
    displacement: i32,
    /// The segment is that of the stack.
    stack: bool,
}

impl Operand {
    /// A random one; `unit` is what a displacement of one byte is multiplied with.
    fn roll(dice: &mut Dice, reg: u8, unit: usize) -> Self {
        let reg = (reg & 7) << 3;
        let mode = dice.roll(3) as u8;
        let base = dice.roll(16) as u8;
        let index = dice.roll(16) as u8;
        let scale = dice.roll(4) as u8;
        let wide = dice.roll(1 << 32) as i32;
        let short = wide as i8;
        let mut operand = Self {
            bytes: Vec::new(),
            extend: base >> 3,
            base: Some(base),
            index: None,
            displacement: 0,
            stack: matches!(base, 4 | 5),
        };
        let mut absolute = false;
        if base & 7 == 4 || dice.roll(2) == 0 {
            operand.bytes = vec![mode << 6 | reg | 4, scale << 6 | (index & 7) << 3 | base & 7];
            operand.extend |= (index >> 3) << 1;
            operand.index = (index != 4).then_some((index, scale.into()));
            absolute = mode == 0 && base & 7 == 5;
        } else {
            let mode = if mode == 0 && base & 7 == 5 { 2 } else { mode };
            operand.bytes = vec![mode << 6 | reg | base & 7];
        }
        if absolute {
            (operand.base, operand.stack) = (None, false);
        }
        let mode = operand.bytes[0] >> 6;
        if absolute || mode == 2 {
            operand.displacement = wide;
            operand.bytes.extend(wide.to_le_bytes());
        } else if mode == 1 {
            operand.displacement = i32::from(short) * unit as i32;
            operand.bytes.push(short as u8);
        }
        operand
    }

    fn address(&self, registers: &Registers) -> u64 {
        let base = self.base.map_or(0, |base| registers[usize::from(base)]);
        let index = self.index.map_or(0, |(index, scale)| registers[usize::from(index)] << scale);
        base.wrapping_add(index).wrapping_add(self.displacement as u64)
    }
}

/// The bytes of an instruction, and of its operand what they say.
fn instruction(dice: &mut Dice, template: &Template) -> (Vec<u8>, Operand) {
    let reg = template.extension.unwrap_or(dice.roll(16) as u8 & 0xb);
    let high = if template.extension.is_none() { reg >> 3 } else { 0 };
    let unit = if let Opcode::Evex(.., unit) = template.opcode { unit } else { 1 };
    let operand = Operand::roll(dice, reg, unit);
    let rex = high << 2 | operand.extend;
    let mut bytes = template.prefix.to_vec();
    match template.opcode {
        Opcode::Plain(opcode) => {
            // An empty REX prefix is allowed, and W where nobody minds.
            if rex != 0 || dice.roll(3) == 0 {
                bytes.push(0x40 | rex);
            }
            bytes.extend(opcode);
        }
        Opcode::Wide(opcode) => {
            bytes.push(0x48 | rex);
            bytes.extend(opcode);
        }
        Opcode::Vex(map, last, opcode) => {
            if map == 1 && rex & 3 == 0 && dice.roll(2) == 0 {
                bytes.extend([0xc5, (!rex & 4) << 5 | last & 0x7f]);
            } else {
                bytes.extend([0xc4, (!rex & 7) << 5 | map, last]);
            }
            bytes.push(opcode);
        }
        Opcode::Evex(map, second, third, opcode, _) => {
            bytes.extend([0x62, (!rex & 7) << 5 | 0x10 | map, second, third, opcode]);
        }
    }
    bytes.extend(&operand.bytes);
    bytes.extend(vec![0x5a; template.immediate]);
    (bytes, operand)
}

fn is_canonical(at: u64) -> bool {
    matches!(at as i64 >> 47, 0 | -1)
}

fn is_runnable(template: &Template) -> bool {
    match template.opcode {
        Opcode::Vex(..) => std::arch::is_x86_feature_detected!("avx2"),
        Opcode::Evex(..) => {
            std::arch::is_x86_feature_detected!("avx512f")
                && std::arch::is_x86_feature_detected!("avx512vl")
        }
        _ => true,
    }
}

// Every form of an operand, of every kind of instruction, with every register.
pub fn addresses_that_only_the_instruction_tells() {
    let mut dice = Dice::new();
    let mut page = Page::new();
    let templates: Vec<_> = TEMPLATES.iter().filter(|template| is_runnable(template)).collect();
    for round in 0..quick(6000) {
        let template = templates[round as usize % templates.len()];
        let mut registers: Registers = std::array::from_fn(|_| dice.roll(1 << 53) << 11);
        let (bytes, operand) = instruction(&mut dice, template);
        let start = page.prologue(&registers);
        page.emit(&bytes);
        page.emit(&[0xcc]);
        // SAFETY: the code above, which ends in a fault; the guard restores the registers.
        let code: extern "C" fn() = unsafe { std::mem::transmute(page.at) };
        // SAFETY: as above.
        let fault = unsafe { fault::guarded(|| code()) }.unwrap_err();
        // SAFETY: the code's own word.
        registers[usize::from(RSP)] = unsafe { ((page.at + SAVED) as *const u64).read() };
        let address = operand.address(&registers);
        let told = format!("{}: {bytes:02x?}, {registers:x?}", template.name);
        if is_canonical(address) {
            continue;
        }
        assert_eq!(fault.pc(), start, "{told}: {fault:?}");
        assert_eq!(fault.kind(), FaultKind::NonCanonical, "{told}: {address:#x}, {fault:?}");
        let expected = if template.name == "pop" && operand.base == Some(RSP) {
            address + 8 // The operand of pop is computed after it.
        } else {
            address
        };
        assert_eq!(fault.address(), Some(expected as usize), "{told}: {address:#x}, {fault:?}");
        // What is not aligned either may be told so first.
        if address.is_multiple_of(64) || template.prefix.is_empty() {
            let segment = if operand.stack { Signal::BUS } else { Signal::SEGV };
            let either = !address.is_multiple_of(64) && fault.signal() == Signal::SEGV;
            assert!(either || fault.signal() == segment, "{told}: {fault:?}");
        }
    }
}

// An aligned access to a mapped address that is not aligned: the address, and the kind.
pub fn misaligned_addresses() {
    let mut dice = Dice::new();
    let mut page = Page::new();
    let data = Page::new();
    let strict = ["movaps", "movaps store", "movdqa", "addps", "pshufb", "palignr", "vmovdqa ymm"];
    let templates: Vec<_> = TEMPLATES
        .iter()
        .filter(|template| strict.contains(&template.name) && is_runnable(template))
        .collect();
    let mut seen = 0;
    for round in 0..quick(2000) {
        let template = templates[round as usize % templates.len()];
        let mut registers: Registers = std::array::from_fn(|_| dice.roll(1 << 47));
        let (bytes, operand) = instruction(&mut dice, template);
        let Some(base) = operand.base.filter(|base| *base != RSP) else { continue };
        if operand.index.is_some_and(|(index, _)| index == base || index == RSP) {
            continue;
        }
        let wanted = data.at as u64 + 1024 + 1 + dice.roll(14);
        let base = &mut registers[usize::from(base)];
        *base = 0;
        let rest = operand.address(&registers);
        registers[usize::from(operand.base.unwrap())] = wanted.wrapping_sub(rest);
        let start = page.prologue(&registers);
        page.emit(&bytes);
        page.emit(&[0xcc]);
        // SAFETY: as above.
        let code: extern "C" fn() = unsafe { std::mem::transmute(page.at) };
        // SAFETY: as above.
        let fault = unsafe { fault::guarded(|| code()) }.unwrap_err();
        let told = format!("{}: {bytes:02x?} {fault:?}", template.name);
        assert_eq!((fault.pc(), fault.kind()), (start, FaultKind::Misaligned), "{told}");
        assert_eq!(fault.address(), Some(wanted as usize), "{told}");
        seen += 1;
    }
    assert!(seen > quick(2000) / 2, "only {seen}");
}
