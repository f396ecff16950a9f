//! A compiler for expressions whose machine code has no checks: the processor makes them.
//!
//! Expressions are written backwards (`a b /` divides a by b; `a @` reads the number at address a) and
//! compiled to a few instructions. A null dereference or a division by zero traps; the handler of the
//! code's range turns the trap into an error that the function returns, as if it had checked. Without a
//! trap the code pays nothing.
//!
//! ```sh
//! cargo run --release --example jit_trap                    # a list of its own, checked
//! cargo run --release --example jit_trap -- 'a b /' 42 0    # yours, with a and b
//! ```
//!
//! The exit status is 1 when a result of its own list is not the expected one. What to look at: `Code::new`
//! and `on_trap`; the rest is the compiler.

use clap::Parser;
use sigplane::fault::{CodeRange, CodeRanges, FaultContext};
use sigplane::{FaultKind, Verdict};
use std::error::Error;
use std::fmt;
use std::io;
use std::process::ExitCode;
use std::ptr::null_mut;

/// Compiles an expression to code without checks, and calls it. Without one: a list of its own, checked.
#[derive(Parser)]
struct Options {
    /// Written backwards: `a b + 2 *`, `a b /`, `a @` (the number at address a).
    expression: Option<String>,
    /// What a and b are; 0 if not given.
    #[arg(allow_negative_numbers = true, num_args = 0..=2)]
    numbers: Vec<i64>,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let Options { expression, numbers } = Options::parse();
    // SAFETY: the handler changes registers of code that this program generates and nothing else.
    let traps = unsafe { CodeRanges::new(on_trap) }?;
    if let Some(expression) = expression {
        let code = Code::new(&compile(&expression)?, &traps)?;
        let argument = |index: usize| numbers.get(index).copied().unwrap_or(0);
        match code.call(argument(0), argument(1)) {
            Ok(value) => println!("{value}"),
            Err(trap) => println!("error: {trap}"),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let number = 1234i64;
    let at = (&raw const number).expose_provenance() as i64;
    let samples = [
        ("a b + 2 *", 20, 1, Ok(42)),
        ("a b /", 42, 6, Ok(7)),
        ("a b /", 42, 0, Err(Trap::Division)),
        ("a b /", i64::MIN, -1, Err(Trap::Division)), // the quotient has no place
        ("a @", at, 0, Ok(1234)),
        ("a @ 1 +", 0, 0, Err(Trap::Memory)),
        ("a @ b /", at, 0, Err(Trap::Division)),
        ("a @", i64::MIN, 0, Err(Trap::Memory)), // no address at all
    ];
    let mut right = true;
    for (expression, a, b, expected) in samples {
        let result = Code::new(&compile(expression)?, &traps)?.call(a, b);
        let mark = if result == expected { "✓" } else { "✗" };
        println!("{mark} {expression:<10} a={a:<20} b={b:<3} {result:?}");
        right &= result == expected;
    }
    println!("{}", sigplane::table().faults);
    Ok(if right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a trap of the generated code means to the language.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Trap {
    Memory = 1,
    Division = 2,
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "nothing to be read at that address",
            Self::Division => "division by zero, or a quotient that has no place",
        })
    }
}

/// The handler of all generated code. **Runs in the signal handler.**
///
/// The convention of the code: rax is the result, rdx 0 or the number of a trap, and the code of the way
/// out, which restores the stack from the frame pointer, is where r10 points.
fn on_trap(context: &mut FaultContext<'_>) -> Verdict {
    let trap = match context.fault().kind() {
        FaultKind::IntegerDivision => Trap::Division,
        FaultKind::Unmapped | FaultKind::Protected | FaultKind::NonCanonical => Trap::Memory,
        _ => return Verdict::Pass,
    };
    let registers = &mut context.raw().uc_mcontext.gregs;
    let way_out = registers[libc::REG_R10 as usize];
    registers[libc::REG_RDX as usize] = trap as i64;
    context.set_pc(way_out as usize);
    Verdict::Handled
}

/// A compiled expression, in memory of its own.
struct Code {
    // Before the memory: when it is gone, no handler believes in the code.
    _range: CodeRange,
    memory: Memory,
}

impl Code {
    fn new(code: &[u8], traps: &CodeRanges) -> Result<Self, Box<dyn Error>> {
        let memory = Memory::with(code)?;
        let start = memory.0.addr();
        Ok(Self { _range: traps.insert(start..start + code.len())?, memory })
    }

    fn call(&self, a: i64, b: i64) -> Result<i64, Trap> {
        #[repr(C)]
        struct Returned {
            value: i64,
            trap: i64,
        }
        // SAFETY: `compile` makes functions of this type.
        let function = unsafe {
            std::mem::transmute::<*mut u8, extern "C" fn(i64, i64) -> Returned>(self.memory.0)
        };
        match function(a, b) {
            Returned { value, trap: 0 } => Ok(value),
            Returned { trap: 2, .. } => Err(Trap::Division),
            Returned { .. } => Err(Trap::Memory),
        }
    }
}

const ROOM: usize = 4096;

/// A page of code.
struct Memory(*mut u8);

impl Memory {
    fn with(code: &[u8]) -> Result<Self, Box<dyn Error>> {
        if code.len() > ROOM {
            return Err(
                format!("the code has {} bytes, and there is room for {ROOM}", code.len()).into()
            );
        }
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let page = unsafe {
            libc::mmap(null_mut(), ROOM, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
        };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error().into());
        }
        let memory = Self(page.cast());
        // SAFETY: the page is ours and large enough.
        unsafe { memory.0.copy_from_nonoverlapping(code.as_ptr(), code.len()) };
        // SAFETY: the same page.
        match unsafe { libc::mprotect(page, ROOM, libc::PROT_READ | libc::PROT_EXEC) } {
            0 => Ok(memory),
            _ => Err(io::Error::last_os_error().into()),
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: made by `with`; the range of the code has been removed.
        unsafe { libc::munmap(self.0.cast(), ROOM) };
    }
}

/// Machine code of an expression: arguments in rdi and rsi, operands on the stack.
fn compile(expression: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    // push rbp; mov rbp, rsp; lea r10, [rip + way out], whose distance is filled in at the end
    let mut code = vec![0x55, 0x48, 0x89, 0xe5, 0x4c, 0x8d, 0x15, 0, 0, 0, 0];
    let after_lea = code.len();
    let mut depth = 0usize;
    for word in expression.split_whitespace() {
        let takes = match word {
            "+" | "-" | "*" | "/" => 2,
            "@" => 1,
            _ => 0,
        };
        if depth < takes {
            return Err(format!("{word} has nothing to work on in {expression:?}").into());
        }
        depth = depth - takes + 1;
        if takes == 2 {
            code.extend([0x59, 0x58]); // pop rcx; pop rax
        }
        match word {
            "a" => code.push(0x57),                                   // push rdi
            "b" => code.push(0x56),                                   // push rsi
            "+" => code.extend([0x48, 0x01, 0xc8, 0x50]),             // add rax, rcx; push rax
            "-" => code.extend([0x48, 0x29, 0xc8, 0x50]),             // sub rax, rcx; push rax
            "*" => code.extend([0x48, 0x0f, 0xaf, 0xc1, 0x50]),       // imul rax, rcx; push rax
            "/" => code.extend([0x48, 0x99, 0x48, 0xf7, 0xf9, 0x50]), // cqo; idiv rcx; push rax
            "@" => code.extend([0x58, 0xff, 0x30]),                   // pop rax; push [rax]
            number => {
                let number: i64 = number.parse().map_err(|_| format!("{number:?} is no word"))?;
                code.extend([0x48, 0xb8]); // mov rax, number; push rax
                code.extend(number.to_le_bytes());
                code.push(0x50);
            }
        }
    }
    if depth != 1 {
        return Err(format!("{expression:?} leaves {depth} results, and one is wanted").into());
    }
    code.extend([0x58, 0x31, 0xd2]); // pop rax; xor edx, edx
    let distance = (code.len() - after_lea) as u32;
    code[after_lea - 4..after_lea].copy_from_slice(&distance.to_le_bytes());
    code.extend([0x48, 0x89, 0xec, 0x5d, 0xc3]); // way out: mov rsp, rbp; pop rbp; ret
    Ok(code)
}
