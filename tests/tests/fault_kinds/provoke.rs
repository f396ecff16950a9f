//! The faults of `fault_kinds`: what provokes each, and what it is.
//!
//! Each is a few instructions between two labels: where the fault is expected, and where a handler that
//! cannot end a guarded call has the code go on. What was changed before the fault (stack and frame
//! pointer, flags, floating-point control) is put back behind the second.

use sigplane::fault::{Access, Fault};
use sigplane::{FaultKind, Signal};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is provoked, how, and the signal it gives.
type Wild = (&'static str, unsafe fn(usize), Signal);
/// The same for what always gives SIGSEGV.
type System = (&'static str, unsafe fn(usize));

/// The instruction that is expected to fault, and where to go on after it.
pub static EXPECTED: AtomicUsize = AtomicUsize::new(0);
pub static RESUME: AtomicUsize = AtomicUsize::new(0);

/// Executes lines in which label 5 is the instruction that faults; rbx is the argument.
macro_rules! provoke {
    ($name:ident, $($line:literal),+) => {
        pub unsafe fn $name(at: usize) {
            // SAFETY: every register that the lines change is named or put back; a fault goes to label 6.
            unsafe {
                std::arch::asm!(
                    "lea rax, [rip + 5f]",
                    "mov [rip + {expected}], rax",
                    "lea rax, [rip + 6f]",
                    "mov [rip + {resume}], rax",
                    "mov r12, rsp",
                    "mov r13, rbp",
                    "mov r14, rbx",
                    "mov rbx, r15",
                    "xor edx, edx",
                    $($line,)+
                    "6:",
                    "mov rsp, r12",
                    "mov rbp, r13",
                    "mov rbx, r14",
                    "sub rsp, 256",
                    "pushfq",
                    "and qword ptr [rsp], ~0x40500",
                    "popfq",
                    "mov dword ptr [rsp], 0x1f80",
                    "ldmxcsr [rsp]",
                    "fninit",
                    "add rsp, 256",
                    expected = sym EXPECTED,
                    resume = sym RESUME,
                    inout("r15") at => _,
                    out("rax") _, out("rcx") _, out("rdx") _, out("rsi") _, out("rdi") _,
                    out("r8") _, out("r9") _, out("r10") _, out("r11") _,
                    out("r12") _, out("r13") _, out("r14") _,
                    clobber_abi("C"),
                )
            }
        }
    };
}

provoke!(read, "5: mov rax, [rbx]");
provoke!(write, "5: mov byte ptr [rbx], 1");
provoke!(modify, "5: lock add dword ptr [rbx], 1");
provoke!(execute, "5: jmp rbx");
provoke!(call, "5: call rbx");
provoke!(call_memory, "push rbx", "5: call [rsp]");
provoke!(ret, "push rbx", "5: ret");
provoke!(indexed, "xor r8d, r8d", "5: mov eax, [r8 + rbx*1 + 0]");
provoke!(stack_index, "sub rbx, rsp", "5: mov eax, [rsp + rbx]");
provoke!(frame_base, "mov rbp, rbx", "5: mov rax, [rbp]");
provoke!(string_from, "mov rsi, rbx", "lea rdi, [rsp - 256]", "mov ecx, 4", "5: rep movsb");
provoke!(string_to, "mov rdi, rbx", "mov rsi, rsp", "mov ecx, 4", "5: rep movsb");
provoke!(string_fill, "mov rdi, rbx", "mov rsi, 0x1234567812345678", "5: stosq");
provoke!(string_load, "mov rsi, rbx", "mov rdi, 0x1234567812345678", "5: lodsq");
provoke!(translate, "mov eax, 0", "5: xlatb");
provoke!(absolute, "5: movabs rax, [0x8000000000007777]");
provoke!(masked, "mov rdi, rbx", "pcmpeqb xmm0, xmm0", "5: maskmovdqu xmm1, xmm0");
provoke!(bits, "mov rdx, -0x2000000000000000", "5: bts [rbx], rdx");
provoke!(thread_relative, "sub rbx, fs:[0]", "5: mov rax, fs:[rbx]");
provoke!(gs_relative, "5: mov rax, gs:[rbx]");
provoke!(short_address, "5: movaps xmm0, [ebx + 1]");
provoke!(pushed, "5: push qword ptr [rbx]");
provoke!(float, "5: fld qword ptr [rbx]");
provoke!(vex, "5: vmovups xmm0, [rbx]");
provoke!(aligned, "5: movaps xmm0, [rbx]");
provoke!(aligned_write, "5: movdqa [rbx], xmm0");
provoke!(vex_aligned, "5: vmovdqa ymm0, [rbx]");
provoke!(exchange_16, "xor eax, eax", "xor ecx, ecx", "5: cmpxchg16b [rbx]");
provoke!(state, "5: fxsave [rbx]");
provoke!(checked, "pushfq", "or dword ptr [rsp], 0x40000", "popfq", "5: mov eax, [rbx]");
provoke!(
    checked_string,
    "pushfq",
    "or dword ptr [rsp], 0x40000",
    "popfq",
    "mov rsi, rbx",
    "5: lodsd"
);
provoke!(halt, "5: hlt");
provoke!(input, "mov edx, 0x70", "5: in al, dx");
provoke!(output, "mov edx, 0x70", "5: out dx, al");
provoke!(clear_interrupts, "5: cli");
provoke!(control_register, "5: mov rax, cr0");
provoke!(model_register, "mov ecx, 0x10", "5: rdmsr");
provoke!(divide, "xor ecx, ecx", "mov eax, 1", "5: div ecx");
provoke!(divide_overflow, "mov eax, 0x80000000", "cdq", "mov ecx, -1", "5: idiv ecx");
provoke!(
    sse_divide,
    "push 0x1d80",
    "ldmxcsr [rsp]",
    "xorps xmm0, xmm0",
    "mov eax, 1",
    "cvtsi2ss xmm1, eax",
    "5: divss xmm1, xmm0"
);
provoke!(sse_invalid, "push 0x1f00", "ldmxcsr [rsp]", "xorps xmm0, xmm0", "5: divss xmm0, xmm0");
provoke!(
    sse_overflow,
    "push 0x1b80",
    "ldmxcsr [rsp]",
    "mov eax, 0x7f7fffff",
    "movd xmm0, eax",
    "5: mulss xmm0, xmm0"
);
provoke!(
    sse_underflow,
    "push 0x1780",
    "ldmxcsr [rsp]",
    "mov eax, 0x00800000",
    "movd xmm0, eax",
    "5: mulss xmm0, xmm0"
);
provoke!(
    sse_inexact,
    "push 0x0f80",
    "ldmxcsr [rsp]",
    "mov eax, 3",
    "cvtsi2ss xmm0, eax",
    "mov eax, 1",
    "cvtsi2ss xmm1, eax",
    "5: divss xmm1, xmm0"
);
provoke!(x87_divide, "push 0x37b", "fldcw [rsp]", "fld1", "fldz", "fdivp", "5: fwait");
provoke!(undefined, "5: ud2");
provoke!(breakpoint, "5: int3");
provoke!(breakpoint_long, "5: .byte 0xcd, 0x03");
provoke!(breakpoint_ice, "5: .byte 0xf1");
provoke!(filtered, "mov eax, 10000", "5: syscall");
provoke!(step, "pushfq", "or dword ptr [rsp], 0x100", "popfq", "nop", "5: nop");

/// What a fault's address is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum At {
    /// What `go` was given.
    Argument,
    /// The instruction.
    Pc,
    /// A number.
    This(usize),
}

/// One way to fault.
#[derive(Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub go: unsafe fn(usize),
    pub argument: usize,
    pub signal: Signal,
    pub kind: FaultKind,
    pub at: At,
    pub access: Option<Access>,
    /// The program counter is the argument, and not where it came from.
    pub there: bool,
}

impl Case {
    pub fn address(&self) -> Option<usize> {
        match self.at {
            At::Argument => Some(self.argument),
            At::Pc => Some(self.pc()),
            At::This(at) => Some(at),
        }
    }

    pub fn pc(&self) -> usize {
        if self.there { self.argument } else { EXPECTED.load(Ordering::Relaxed) }
    }

    #[track_caller]
    pub fn check(&self, way: &str, fault: &Fault) {
        let got = (fault.signal(), fault.kind(), fault.address(), fault.access(), fault.pc());
        let want = (self.signal, self.kind, self.address(), self.access, self.pc());
        assert_eq!(got, want, "{} by {way}: {fault:x?}", self.name);
    }
}

/// The memory that cases fault on.
pub struct Places {
    pub unmapped: usize,
    pub closed: usize,
    pub read_only: usize,
    pub writable: usize,
    pub truncated: usize,
}

const PAGE: usize = 4096;

impl Places {
    pub fn new() -> Self {
        let map = |length, protection, flags, fd| {
            // SAFETY: a new mapping.
            let at = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, fd, 0) };
            assert_ne!(at, libc::MAP_FAILED);
            at as usize
        };
        let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new file in memory.
        let fd = unsafe { libc::memfd_create(c"truncated".as_ptr(), 0) };
        // SAFETY: as above.
        unsafe { assert_eq!(libc::ftruncate(fd, 2 * PAGE as i64), 0) };
        let both = libc::PROT_READ | libc::PROT_WRITE;
        let truncated = map(2 * PAGE, both, libc::MAP_SHARED, fd) + PAGE;
        // SAFETY: as above.
        unsafe { assert_eq!(libc::ftruncate(fd, PAGE as i64), 0) };
        let closed = map(PAGE, libc::PROT_NONE, private, -1);
        let read_only = map(PAGE, libc::PROT_READ, private, -1);
        let writable = map(PAGE, both, private, -1);
        // Under the first gigabyte, where nothing else is put.
        let unmapped = 0x1000_0000;
        Self { unmapped, closed, read_only, writable, truncated }
    }
}

/// The first address that has no meaning; one of the kernel's.
pub const WILD: usize = 0x8000_0000_0000_0000 + 0x7777;
pub const KERNEL: usize = 0xffff_8000_0000_1000;
/// The last byte of the lower half.
pub const EDGE: usize = 0x7fff_ffff_ffff;

/// Every case that this machine can have; `filtered` needs a seccomp filter.
pub fn cases(places: &Places) -> Vec<Case> {
    use At::{Argument, Pc, This};
    use FaultKind as K;
    const READ: Option<Access> = Some(Access::Read);
    const WRITE: Option<Access> = Some(Access::Write);
    const EXECUTE: Option<Access> = Some(Access::Execute);
    let mut cases = Vec::new();
    let mut add = |name, go: unsafe fn(usize), argument, signal, kind, at, access| {
        cases.push(Case { name, go, argument, signal, kind, at, access, there: false });
    };
    let (segv, bus, fpe) = (Signal::SEGV, Signal::BUS, Signal::FPE);
    add("read of address 0", read, 0, segv, K::Unmapped, This(0), READ);
    add("write to address 0", write, 0, segv, K::Unmapped, This(0), WRITE);
    add("unmapped, read", read, places.unmapped + 5, segv, K::Unmapped, Argument, READ);
    add("unmapped, write", write, places.unmapped, segv, K::Unmapped, Argument, WRITE);
    add("unmapped, locked", modify, places.unmapped, segv, K::Unmapped, Argument, WRITE);
    add("PROT_NONE, read", read, places.closed, segv, K::Protected, Argument, READ);
    add("PROT_NONE, write", write, places.closed + 4095, segv, K::Protected, Argument, WRITE);
    add("read-only, write", write, places.read_only, segv, K::Protected, Argument, WRITE);
    add("truncated, read", read, places.truncated, bus, K::NoMemory, Argument, READ);
    add("truncated, write", write, places.truncated + 9, bus, K::NoMemory, Argument, WRITE);
    add("kernel, read", read, KERNEL, segv, K::Unmapped, Argument, READ);
    add("kernel, write", write, KERNEL, segv, K::Unmapped, Argument, WRITE);
    add("last address", write, usize::MAX, segv, K::Unmapped, Argument, WRITE);

    let wild: [Wild; 22] = [
        ("base", read, segv),
        ("base, write", write, segv),
        ("base, locked", modify, segv),
        ("index", indexed, segv),
        ("rsp and index", stack_index, bus),
        ("rbp", frame_base, bus),
        ("rep movs from", string_from, segv),
        ("rep movs to", string_to, segv),
        ("stos", string_fill, segv),
        ("lods", string_load, segv),
        ("xlat", translate, segv),
        ("absolute", absolute, segv),
        ("maskmovdqu", masked, segv),
        ("fs", thread_relative, segv),
        ("gs", gs_relative, segv),
        ("push", pushed, segv),
        ("x87", float, segv),
        ("AVX", vex, segv),
        ("16 bytes", exchange_16, segv),
        ("jmp", execute, segv),
        ("call", call, segv),
        ("fxsave", state, segv),
    ];
    for (name, go, signal) in wild {
        let avx = name == "AVX" && !std::arch::is_x86_feature_detected!("avx");
        if !avx {
            add(name, go, WILD, signal, K::NonCanonical, Argument, None);
        }
    }
    add("ret to nowhere", ret, WILD, segv, K::NonCanonical, Argument, None);
    add("call through memory", call_memory, WILD, segv, K::NonCanonical, Argument, None);
    add("over the edge", read, EDGE - 3, segv, K::NonCanonical, Argument, None);

    let odd = places.writable + 1;
    add("movaps", aligned, odd, segv, K::Misaligned, Argument, None);
    add("movdqa, write", aligned_write, odd + 7, segv, K::Misaligned, Argument, None);
    add("cmpxchg16b", exchange_16, odd + 7, segv, K::Misaligned, Argument, None);
    add("fxsave, misaligned", state, odd + 7, segv, K::Misaligned, Argument, None);
    if std::arch::is_x86_feature_detected!("avx") {
        add("vmovdqa ymm", vex_aligned, places.writable + 16, segv, K::Misaligned, Argument, None);
    }
    add("AC", checked, odd, bus, K::Misaligned, Argument, None);
    add("AC, string", checked_string, odd, bus, K::Misaligned, Argument, None);

    let system: [System; 6] = [
        ("hlt", halt),
        ("in", input),
        ("out", output),
        ("cli", clear_interrupts),
        ("mov from cr0", control_register),
        ("rdmsr", model_register),
    ];
    for (name, go) in system {
        add(name, go, 0, segv, K::Privileged, Pc, None);
    }
    add("div", divide, 0, fpe, K::IntegerDivision, Pc, None);
    add("idiv overflow", divide_overflow, 0, fpe, K::IntegerDivision, Pc, None);
    add("SSE division", sse_divide, 0, fpe, K::FloatDivision, Pc, None);
    add("SSE invalid", sse_invalid, 0, fpe, K::FloatInvalid, Pc, None);
    add("SSE overflow", sse_overflow, 0, fpe, K::FloatOverflow, Pc, None);
    add("SSE underflow", sse_underflow, 0, fpe, K::FloatUnderflow, Pc, None);
    add("SSE inexact", sse_inexact, 0, fpe, K::FloatInexact, Pc, None);
    add("x87 division", x87_divide, 0, fpe, K::FloatDivision, Pc, None);
    add("ud2", undefined, 0, Signal::ILL, K::Instruction, Pc, None);
    add("int3", breakpoint, 0, Signal::TRAP, K::Breakpoint, Pc, None);
    add("int 3", breakpoint_long, 0, Signal::TRAP, K::Breakpoint, Pc, None);
    add("icebp", breakpoint_ice, 0, Signal::TRAP, K::Breakpoint, Pc, None);
    add("filtered", filtered, 0, Signal::SYS, K::FilteredCall, Pc, None);
    // The bit -2^61 is 2^58 bytes in front.
    let far = places.writable.wrapping_sub(1 << 58);
    add("bts", bits, places.writable, segv, K::NonCanonical, This(far), None);
    // Only the lower half of the register counts.
    let low = 0x1234_5678_1000_0000;
    add("addr32", short_address, low, segv, K::Misaligned, This(0x1000_0001), None);
    cases.push(Case {
        name: "execute",
        go: execute,
        argument: places.writable,
        signal: segv,
        kind: K::Protected,
        at: Argument,
        access: EXECUTE,
        there: true,
    });
    cases.push(Case {
        name: "execute unmapped",
        go: execute,
        argument: places.unmapped,
        signal: segv,
        kind: K::Unmapped,
        at: Argument,
        access: EXECUTE,
        there: true,
    });
    cases.push(Case {
        name: "call to address 0",
        go: call,
        argument: 0,
        signal: segv,
        kind: K::Unmapped,
        at: This(0),
        access: EXECUTE,
        there: true,
    });
    cases
}

/// A filter that traps system call 10000 and lets everything else be.
pub fn filter() {
    #[repr(C)]
    struct Program {
        length: u16,
        code: *const libc::sock_filter,
    }
    let code = [
        libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 },
        libc::sock_filter { code: 0x15, jt: 0, jf: 1, k: 10000 },
        libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_TRAP },
        libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW },
    ];
    let program = Program { length: 4, code: code.as_ptr() };
    // SAFETY: a filter for this process, of four valid instructions.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, 2, &raw const program), 0);
    }
}
