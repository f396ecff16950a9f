//! x86_64: the frame of a guarded call, and how a fault comes back to it.
//!
//! **`catch` runs inside signal handlers.**
//!
//! `sigplane0_guarded` saves on the stack what the psABI says a function preserves, puts the frame's
//! address into the thread's own word, and calls. A fault edits the machine context so that the handler
//! returns to the landing with the frame as its stack; everything else is taken from there. The kernel's
//! `rt_sigreturn` restores mask, alternate stack and vector state, so nothing of the handler is left.
//!
//! With a user shadow stack, the entries of the frames that are left are dropped (`incssp`); it cannot be
//! left out, because the landing's `ret` would fault on the first of them.
//!
//! # Safety
//! The layout of [`Frame`] is that of the pushes below, from the last one up.
#![allow(unsafe_code)]

use crate::fault::words::Words;
use core::arch::{asm, global_asm};
use core::ffi::c_void;

/// A frame on the stack of a guarded call in progress.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(dead_code, reason = "the layout, of which assembly uses the rest")]
pub(crate) struct Frame {
    /// The frame that was the innermost before.
    previous: usize,
    /// How many handlers of ours were on the stack when it was made; see `fault::guarded`.
    pub nesting: u64,
    /// Where the words of a fault go.
    words: *mut Words,
    /// [`MARK`], so that a frame that somebody has jumped over is told from one in use.
    mark: u64,
    shadow: u64,
    /// The control word of the x87.
    control: u16,
    /// The control and status register of SSE.
    mxcsr: u32,
    // What follows is the landing's: one word unused, rbp, rbx, r12 to r15, the return address.
}

/// What a frame in use contains.
const MARK: u64 = u64::from_le_bytes(*b"guarded\0");

global_asm!(
    ".pushsection .tbss.sigplane0_guard,\"awT\",@nobits",
    ".hidden sigplane0_guard",
    ".globl sigplane0_guard",
    ".type sigplane0_guard,@object",
    ".p2align 3",
    "sigplane0_guard: .zero 8",
    ".size sigplane0_guard, 8",
    ".popsection",
    // (function rdi, argument rsi, words rdx, nesting rcx) -> eax: 1 after a fault.
    ".pushsection .text.sigplane0_guarded,\"ax\",@progbits",
    ".hidden sigplane0_guarded, sigplane0_guard_landing",
    ".globl sigplane0_guarded, sigplane0_guard_landing",
    ".type sigplane0_guarded,@function",
    ".p2align 5",
    "sigplane0_guarded:",
    ".cfi_startproc",
    "push rbp",
    ".cfi_def_cfa_offset 16",
    ".cfi_offset rbp, -16",
    "push rbx",
    ".cfi_def_cfa_offset 24",
    ".cfi_offset rbx, -24",
    "push r12",
    ".cfi_def_cfa_offset 32",
    ".cfi_offset r12, -32",
    "push r13",
    ".cfi_def_cfa_offset 40",
    ".cfi_offset r13, -40",
    "push r14",
    ".cfi_def_cfa_offset 48",
    ".cfi_offset r14, -48",
    "push r15",
    ".cfi_def_cfa_offset 56",
    ".cfi_offset r15, -56",
    "sub rsp, 32", // One word more than is used, for the alignment of the call.
    ".cfi_def_cfa_offset 88",
    "fnstcw [rsp + 16]",
    "stmxcsr [rsp + 20]",
    "xor eax, eax",
    "rdsspq rax", // Leaves rax alone where shadow stacks are off.
    "mov [rsp + 8], rax",
    "mov rax, {mark}",
    "mov [rsp], rax",
    "mov rbx, qword ptr [rip + sigplane0_guard@GOTTPOFF]",
    "mov r12, qword ptr fs:[rbx]",
    "push rdx",
    "push rcx",
    "push r12",
    ".cfi_def_cfa_offset 112",
    "mov rax, rdi",
    "mov rdi, rsi",
    // A handler sees the guard from here on.
    "mov qword ptr fs:[rbx], rsp",
    "call rax",
    // rbx, r12 and the others are the callee's to preserve: only those two have to be put back.
    "mov qword ptr fs:[rbx], r12",
    // So that what stays on the stack is not taken for a frame.
    "mov qword ptr [rsp + 24], 0",
    "mov rbx, [rsp + 88]",
    "mov r12, [rsp + 80]",
    "xor eax, eax",
    ".cfi_remember_state",
    ".cfi_restore rbp",
    ".cfi_restore rbx",
    ".cfi_restore r12",
    ".cfi_restore r13",
    ".cfi_restore r14",
    ".cfi_restore r15",
    "add rsp, 104",
    ".cfi_def_cfa_offset 8",
    "ret",
    ".cfi_restore_state",
    // Entered by the return from a handler, with rsp at the frame and rax, rdx, r11 as in `access`.
    "sigplane0_guard_landing:",
    "mov rbx, qword ptr [rip + sigplane0_guard@GOTTPOFF]",
    "pop qword ptr fs:[rbx]",
    "pop rcx", // nesting
    "pop rcx", // words
    ".cfi_def_cfa_offset 88",
    "mov [rcx], rax",
    "mov [rcx + 8], rdx",
    "mov [rcx + 16], r11",
    "mov qword ptr [rsp], 0",
    // Drop the shadow stack's entries of the frames between; at most 255 at a time.
    "mov rcx, [rsp + 8]",
    "test rcx, rcx",
    "jz 5f",
    "xor eax, eax",
    "rdsspq rax",
    "sub rcx, rax",
    "shr rcx, 3",
    "4: mov eax, 255",
    "cmp rcx, rax",
    "cmovb rax, rcx",
    "incsspq rax",
    "sub rcx, rax",
    "jnz 4b",
    "5: add rsp, 32",
    ".cfi_def_cfa_offset 56",
    "pop r15",
    ".cfi_def_cfa_offset 48",
    "pop r14",
    ".cfi_def_cfa_offset 40",
    "pop r13",
    ".cfi_def_cfa_offset 32",
    "pop r12",
    ".cfi_def_cfa_offset 24",
    "pop rbx",
    ".cfi_def_cfa_offset 16",
    "pop rbp",
    ".cfi_def_cfa_offset 8",
    "mov eax, 1",
    "ret",
    ".cfi_endproc",
    ".size sigplane0_guarded, . - sigplane0_guarded",
    ".popsection",
    mark = const MARK,
);

unsafe extern "C" {
    fn sigplane0_guarded(
        function: unsafe extern "C" fn(*mut c_void),
        argument: *mut c_void,
        words: *mut Words,
        nesting: u64,
    ) -> u32;
    fn sigplane0_guard_landing();
}

/// Calls `function(argument)`; true if a fault ended it, which `words` then describes.
///
/// # Safety
/// The call is sound, and so is leaving it at any instruction that can fault.
#[inline(always)]
pub(crate) unsafe fn call(
    function: unsafe extern "C" fn(*mut c_void),
    argument: *mut c_void,
    words: &mut Words,
    nesting: u64,
) -> bool {
    // SAFETY: the caller's promise.
    unsafe { sigplane0_guarded(function, argument, words, nesting) != 0 }
}

/// Where the innermost frame of the calling thread is, or was before somebody jumped over it; 0 for none.
pub(crate) fn place() -> usize {
    let at: usize;
    // SAFETY: reads this thread's own word in initial-exec storage.
    unsafe {
        asm!(
            "mov {r}, qword ptr [rip + sigplane0_guard@GOTTPOFF]",
            "mov {r}, qword ptr fs:[{r}]",
            r = out(reg) at,
            options(nostack, preserves_flags, readonly),
        );
    }
    at
}

/// The innermost frame of the calling thread: its address and a copy. None when there is none, or it
/// is no frame any more.
pub(crate) fn innermost() -> Option<(usize, Frame)> {
    let at = place();
    if at == 0 {
        return None;
    }
    let mut bytes = [0; size_of::<Frame>()];
    // The stack that it was on may be gone.
    if super::access::copy_in(at, &mut bytes) != bytes.len() {
        return None;
    }
    // SAFETY: a frame is plain words.
    let frame = unsafe { bytes.as_ptr().cast::<Frame>().read_unaligned() };
    (frame.mark == MARK).then_some((at, frame))
}

/// Has the handler return to the landing of the frame at `at`, with the fault's words.
pub(crate) fn resume(context: &mut libc::ucontext_t, at: usize, frame: &Frame, words: &Words) {
    const DIRECTION_AND_ALIGNMENT: i64 = 1 << 10 | 1 << 18;
    super::land(context, sigplane0_guard_landing as *const () as usize, words);
    let registers = &mut context.uc_mcontext.gregs;
    registers[libc::REG_RSP as usize] = at as i64;
    // The psABI wants the first clear at every call and return; the second is as nobody expects it.
    registers[libc::REG_EFL as usize] &= !DIRECTION_AND_ALIGNMENT;
    reset_floating_point(context, frame.control, frame.mxcsr);
}

/// What the psABI says of floating point at a return (3.2.1): no register of the x87 in use, the control word
/// of the x87 and that of SSE as they were.
///
/// All of it is changed where the kernel restores it from; at the landing it would take far longer.
fn reset_floating_point(context: &mut libc::ucontext_t, control: u16, mxcsr: u32) {
    const INITIAL: u16 = 0x37f;
    // asm/sigcontext.h: FP_XSTATE_MAGIC1 says that a header of XSAVE follows the 512 bytes of FXSAVE.
    const MAGIC: (usize, u32) = (464, 0x4650_5853);
    const IN_USE: usize = 512;
    let at = context.uc_mcontext.fpregs;
    // SAFETY: the kernel's, in the same frame as the context, or null.
    let Some(state) = (unsafe { at.as_mut() }) else { return };
    (state.cwd, state.swd, state.ftw) = (control, 0, 0);
    state.mxcsr = mxcsr;
    if control != INITIAL {
        let magic_at = at.wrapping_byte_add(MAGIC.0).cast::<u32>();
        let in_use = at.wrapping_byte_add(IN_USE).cast::<u64>();
        // SAFETY: within the 512 bytes.
        if unsafe { magic_at.read() } == MAGIC.1 {
            // Else the kernel would initialise the x87, whatever the words above say.
            // SAFETY: the header is there.
            unsafe { *in_use |= 1 };
        }
    }
}
