//! x86_64: the handler's entry, the restorer, the thread's record, the restartable system call.
//!
//! **Runs inside signal handlers.** Nothing here calls into libc.
//!
//! # Safety
//! The assembly below fixes four contracts that the rest of the crate relies on:
//! 1. [`trampoline`] is entered with the kernel's three arguments, calls
//!    [`crate::dispatch::dispatch`], and then either returns to the restorer, or puts on the mask
//!    that it was told and *jumps* to a foreign handler with the arguments and the stack pointer it
//!    had at entry, so that the foreign handler's caller is the kernel's frame.
//! 2. The restorer's bytes are those that libgcc (`linux-unwind.h`) and gdb
//!    (`amd64_linux_sigtramp_code`) recognise: `48 c7 c0 0f 00 00 00 0f 05`.
//! 3. The record lives in *initial-exec* thread-local storage: one load from the GOT, one from the
//!    thread block, never `__tls_get_addr`, which may allocate. In a `dlopen`ed object it takes
//!    16 bytes of the static surplus that glibc reserves (`elf/dl-tls.c`, 1664 bytes by default).
//! 4. [`alertable`] can be restarted from its begin label at any instruction up to and including
//!    `syscall`: its inputs stay in registers that the system call preserves (rbx, r12 and the
//!    argument registers; the kernel clobbers only rax, rcx and r11: syscall(2), "Architecture
//!    calling conventions").
//!
//! Symbols carry the ABI number of this copy, so that two incompatible copies can be linked.
#![allow(unsafe_code)]

pub(crate) mod access;
pub(crate) mod guard;
pub(crate) mod registers;
pub(crate) mod trap;

use crate::dispatch::{after_foreign, dispatch};
use crate::fault::words::Words;
use crate::thread::Record;
use core::arch::{asm, global_asm};
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

global_asm!(
    ".pushsection .tbss.sigplane0_record,\"awT\",@nobits",
    ".hidden sigplane0_record",
    ".globl sigplane0_record",
    ".type sigplane0_record,@object",
    ".p2align 3",
    "sigplane0_record: .zero 8",
    ".size sigplane0_record, 8",
    ".hidden sigplane0_stranger",
    ".globl sigplane0_stranger",
    ".type sigplane0_stranger,@object",
    "sigplane0_stranger: .zero 8",
    ".size sigplane0_stranger, 8",
    ".hidden sigplane0_masked",
    ".globl sigplane0_masked",
    ".type sigplane0_masked,@object",
    "sigplane0_masked: .zero 8",
    ".size sigplane0_masked, 8",
    ".hidden sigplane0_borrowed",
    ".globl sigplane0_borrowed",
    ".type sigplane0_borrowed,@object",
    "sigplane0_borrowed: .zero 8",
    ".size sigplane0_borrowed, 8",
    ".hidden sigplane0_waiting",
    ".globl sigplane0_waiting",
    ".type sigplane0_waiting,@object",
    "sigplane0_waiting: .zero 24",
    ".size sigplane0_waiting, 24",
    ".popsection",
);

global_asm!(
    ".pushsection .text.sigplane0_alertable,\"ax\",@progbits",
    ".hidden sigplane0_alertable, sigplane0_alertable_begin, sigplane0_alertable_end",
    ".globl sigplane0_alertable, sigplane0_alertable_begin, sigplane0_alertable_end",
    ".type sigplane0_alertable,@function",
    ".p2align 4",
    "sigplane0_alertable:",
    ".cfi_startproc",
    "push rbx",
    ".cfi_adjust_cfa_offset 8",
    ".cfi_rel_offset rbx, 0",
    "push r12",
    ".cfi_adjust_cfa_offset 8",
    ".cfi_rel_offset r12, 0",
    "mov rbx, rdi",
    "mov r12, rsi",
    "mov rax, rdx",
    "mov rdi, [rax]",
    "mov rsi, [rax + 8]",
    "mov rdx, [rax + 16]",
    "mov r10, [rax + 24]",
    "mov r8, [rax + 32]",
    "mov r9, [rax + 40]",
    // From here to the end label a handler restarts an interrupted thread at the begin label.
    "sigplane0_alertable_begin:",
    "cmp dword ptr [rbx], 0",
    "jne 4f",
    "mov rax, r12",
    "syscall",
    "sigplane0_alertable_end:",
    "pop r12",
    ".cfi_adjust_cfa_offset -8",
    ".cfi_restore r12",
    "pop rbx",
    ".cfi_adjust_cfa_offset -8",
    ".cfi_restore rbx",
    "ret",
    ".cfi_adjust_cfa_offset 16",
    ".cfi_rel_offset rbx, 8",
    ".cfi_rel_offset r12, 0",
    // -EINTR, as if the kernel had been interrupted before it did anything.
    "4: mov rax, -4",
    "jmp sigplane0_alertable_end",
    ".cfi_endproc",
    ".size sigplane0_alertable, . - sigplane0_alertable",
    ".popsection",
);

// vfork(2) as libc's (glibc sysdeps/unix/sysv/linux/x86_64/vfork.S): the child returns first, on the stack of
// the parent, and may overwrite the return address there, so that is kept in a register meanwhile. The thread is
// marked as borrowed before the call, so that the child is from its first instruction on; the parent, which
// goes on when the child has ended or executed something, puts the mark back as it was, from a register.
global_asm!(
    ".pushsection .text.sigplane0_vfork,\"ax\",@progbits",
    ".hidden sigplane0_vfork",
    ".globl sigplane0_vfork",
    ".type sigplane0_vfork,@function",
    ".p2align 4",
    "sigplane0_vfork:",
    ".cfi_startproc",
    "endbr64",
    "mov r8, [rip + sigplane0_borrowed@GOTTPOFF]",
    "mov rsi, fs:[r8]",
    "lea r9, [rsi + 1]",
    "mov fs:[r8], r9",
    "pop rdi",
    ".cfi_adjust_cfa_offset -8",
    ".cfi_register rip, rdi",
    "mov eax, 58",
    "syscall",
    "push rdi",
    ".cfi_adjust_cfa_offset 8",
    ".cfi_rel_offset rip, 0",
    "test eax, eax",
    "jz 2f",
    // What came meanwhile has been delivered in front of this very instruction; see `is_borrowed`.
    "mov fs:[r8], rsi",
    "js 3f", // `mov` changes no flag.
    "2: ret",
    "3: neg eax",
    "push rax",
    ".cfi_adjust_cfa_offset 8",
    "call __errno_location@PLT",
    "pop rcx",
    ".cfi_adjust_cfa_offset -8",
    "mov [rax], ecx",
    "mov eax, -1",
    "ret",
    ".cfi_endproc",
    ".size sigplane0_vfork, . - sigplane0_vfork",
    ".popsection",
);

unsafe extern "C" {
    /// vfork(2), after which sigplane knows that the child is one.
    pub(crate) fn sigplane0_vfork() -> i32;
    fn sigplane0_trampoline(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void);
    fn sigplane0_entered();
    fn sigplane0_restorer();
    fn sigplane0_alertable(attention: *const u32, number: usize, arguments: *const usize) -> isize;
    fn sigplane0_alertable_begin();
    fn sigplane0_alertable_end();
}

/// How many handlers of ours are on the stack of this thread, which has no record; see `Record`.
#[inline(always)]
pub(crate) fn stranger_depth() -> u64 {
    let depth: u64;
    // SAFETY: as in `record`.
    unsafe {
        asm!(
            "mov {r}, qword ptr [rip + sigplane0_stranger@GOTTPOFF]",
            "mov {r}, qword ptr fs:[{r}]",
            r = out(reg) depth,
            options(nostack, preserves_flags, readonly),
        );
    }
    depth
}

/// Changes it by `by`.
#[inline(always)]
pub(crate) fn add_stranger_depth(by: i64) {
    // SAFETY: changes this thread's own word in initial-exec storage and nothing else.
    unsafe {
        asm!(
            "mov {r}, qword ptr [rip + sigplane0_stranger@GOTTPOFF]",
            "add qword ptr fs:[{r}], {v}",
            r = out(reg) _,
            v = in(reg) by,
            options(nostack),
        );
    }
}

/// Whether this is a `vfork` child, or one of its own: memory and thread are the parent's, the kernel's actions
/// are not. Known of those that were made by [`sigplane0_vfork`].
#[inline(always)]
pub(crate) fn is_borrowed() -> bool {
    let borrowed: u64;
    // SAFETY: as in `record`.
    unsafe {
        asm!(
            "mov {r}, qword ptr [rip + sigplane0_borrowed@GOTTPOFF]",
            "mov {r}, qword ptr fs:[{r}]",
            r = out(reg) borrowed,
            options(nostack, preserves_flags, readonly),
        );
    }
    borrowed != 0 && is_another_process()
}

/// The parent's handlers may find the mark as well: those of the signals that came meanwhile run before the
/// parent's first instruction, and one that leaves from there by a jump leaves the mark behind.
#[cold]
fn is_another_process() -> bool {
    crate::engine::get().is_borrowed()
}

/// A mask that the calling thread has for the time of a wait; see `legacy::WaitMask`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    /// An address on the stack, below which the wait happens; 0 if there is none.
    pub below: usize,
    pub mask: u64,
    /// Where the mask is that the kernel is told.
    pub at: usize,
}

impl Wait {
    pub(crate) const NONE: Self = Self { below: 0, mask: 0, at: 0 };
}

/// That of the calling thread.
#[inline(always)]
pub(crate) fn wait() -> Wait {
    let (below, mask, at): (usize, u64, usize);
    // SAFETY: as in `record`, three words.
    unsafe {
        asm!(
            "mov {r}, qword ptr [rip + sigplane0_waiting@GOTTPOFF]",
            "mov {m}, qword ptr fs:[{r} + 8]",
            "mov {a}, qword ptr fs:[{r} + 16]",
            "mov {r}, qword ptr fs:[{r}]",
            r = out(reg) below,
            m = out(reg) mask,
            a = out(reg) at,
            options(nostack, preserves_flags, readonly),
        );
    }
    Wait { below, mask, at }
}

/// Sets it: the address that makes it count is taken away first, and written last.
#[inline(always)]
pub(crate) fn set_wait(wait: Wait) {
    // SAFETY: as in `set_record`, three words.
    unsafe {
        asm!(
            "mov {r}, qword ptr [rip + sigplane0_waiting@GOTTPOFF]",
            "mov qword ptr fs:[{r}], 0",
            "mov qword ptr fs:[{r} + 8], {m}",
            "mov qword ptr fs:[{r} + 16], {a}",
            "mov qword ptr fs:[{r}], {b}",
            r = out(reg) _,
            m = in(reg) wait.mask,
            a = in(reg) wait.at,
            b = in(reg) wait.below,
            options(nostack, preserves_flags),
        );
    }
}

/// Whether the context is that of this wait, ended by a signal: a system call with the result `EINTR`, made not
/// far below its place on the stack, that was told this very mask. A call that puts a mask on ends so whenever a
/// handler runs (sigsuspend(2), ppoll(2); kernel/signal.c, `set_restore_sigmask`). The place alone says little: a
/// handler that has left the wait by a jump has left the note behind.
pub(crate) fn is_in(wait: &Wait, context: &libc::ucontext_t) -> bool {
    const FRAMES: usize = 2048;
    const PAIR: usize = size_of::<[usize; 2]>();
    const SIZE: usize = 8;
    let registers = &context.uc_mcontext.gregs;
    let register = |at: i32| registers[at as usize] as usize;
    let stack = register(libc::REG_RSP);
    let room = wait.below.wrapping_sub(stack);
    if registers[libc::REG_RAX as usize] != -i64::from(libc::EINTR) || room > FRAMES {
        return false;
    }
    // The kernel leaves the arguments in their registers (syscall(2)). rt_sigsuspend has the mask and its size
    // first, ppoll fourth, epoll_pwait and epoll_pwait2 fifth, and pselect6 has a pair of them sixth, which libc
    // makes on its stack.
    let is = |set: i32, size: i32| register(set) == wait.at && register(size) == SIZE;
    let pair = register(libc::REG_R9);
    is(libc::REG_RDI, libc::REG_RSI)
        || is(libc::REG_R10, libc::REG_R8)
        || is(libc::REG_R8, libc::REG_R9)
        || (pair.is_multiple_of(SIZE)
            && pair.wrapping_sub(stack) < room.saturating_sub(PAIR)
            // SAFETY: aligned, and on the stack in use, between the interrupted stack pointer and the caller.
            && unsafe { (pair as *const [usize; 2]).read() } == [wait.at, SIZE])
}

/// Sets whether this is a `vfork` child: not, in one that `fork` has made.
pub(crate) fn set_borrowed(borrowed: u64) {
    // SAFETY: as in `set_record`.
    unsafe {
        asm!(
            "mov {r}, qword ptr [rip + sigplane0_borrowed@GOTTPOFF]",
            "mov qword ptr fs:[{r}], {v}",
            r = out(reg) _,
            v = in(reg) borrowed,
            options(nostack, preserves_flags),
        );
    }
}

/// The signals of faults that this thread has been told are blocked; see `crate::masks`.
pub(crate) fn masked_faults() -> u64 {
    let masked: u64;
    // SAFETY: as in `record`.
    unsafe {
        asm!(
            "mov {r}, qword ptr [rip + sigplane0_masked@GOTTPOFF]",
            "mov {r}, qword ptr fs:[{r}]",
            r = out(reg) masked,
            options(nostack, preserves_flags, readonly),
        );
    }
    masked
}

/// Changes them.
pub(crate) fn set_masked_faults(masked: u64) {
    // SAFETY: as in `set_record`.
    unsafe {
        asm!(
            "mov {r}, qword ptr [rip + sigplane0_masked@GOTTPOFF]",
            "mov qword ptr fs:[{r}], {v}",
            r = out(reg) _,
            v = in(reg) masked,
            options(nostack, preserves_flags),
        );
    }
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

/// The calling thread's record, or null when it has none.
#[inline(always)]
pub(crate) fn record() -> *mut Record {
    let record: *mut Record;
    // SAFETY: reads this thread's own word in initial-exec storage, which exists for the whole life
    // of the thread; no flag, no stack, no other memory is touched.
    unsafe {
        asm!(
            "mov {r}, qword ptr [rip + sigplane0_record@GOTTPOFF]",
            "mov {r}, qword ptr fs:[{r}]",
            r = out(reg) record,
            options(nostack, preserves_flags, readonly),
        );
    }
    record
}

/// Where a thread's word for its record is, seen from what its thread pointer points to.
pub(crate) fn record_offset() -> isize {
    let offset: isize;
    // SAFETY: reads a word that the dynamic linker has written, and nothing else.
    unsafe {
        asm!(
            "mov {offset}, qword ptr [rip + sigplane0_record@GOTTPOFF]",
            offset = out(reg) offset,
            options(nostack, preserves_flags, pure, readonly),
        );
    }
    offset
}

/// Sets the calling thread's record: one store, so a handler sees the old or the new one.
#[inline(always)]
pub(crate) fn set_record(record: *mut Record) {
    // SAFETY: writes this thread's own word in initial-exec storage and nothing else.
    unsafe {
        asm!(
            "mov {r}, qword ptr [rip + sigplane0_record@GOTTPOFF]",
            "mov qword ptr fs:[{r}], {v}",
            r = out(reg) _,
            v = in(reg) record,
            options(nostack, preserves_flags),
        );
    }
}

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

/// Makes a system call unless `*attention` is non-zero when the call is entered, with no instant in
/// between at which a handler that sets it could be missed.
///
/// # Safety
/// The call must be sound with these arguments, and `attention` readable.
pub(crate) unsafe fn alertable(
    attention: *const u32,
    number: i64,
    arguments: &[usize; 6],
) -> isize {
    // SAFETY: the caller answers for the call; `arguments` has the six words the stub loads.
    unsafe { sigplane0_alertable(attention, number as usize, arguments.as_ptr()) }
}

/// Moves a thread that was interrupted between the check and the system call of [`alertable`] back
/// to the check. Returns whether it was there.
///
/// A call that the kernel is about to restart has its program counter on the `syscall` instruction
/// (`arch/x86/kernel/signal.c`, `handle_signal`: `regs->ip -= 2`), which is in the range too; one
/// that has ended has it on the end label, which is not, and its result is kept.
pub(crate) fn restart_alertable(context: &mut libc::ucontext_t) -> bool {
    let begin = sigplane0_alertable_begin as *const () as i64;
    let end = sigplane0_alertable_end as *const () as i64;
    let pc = &mut context.uc_mcontext.gregs[libc::REG_RIP as usize];
    let inside = (begin..end).contains(pc);
    if inside {
        *pc = begin;
    }
    inside
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
