//! The mask that a thread has for the time of a wait, as a handler that interrupts it finds it.
//!
//! **Used inside signal handlers.**
//!
//! # Safety
//! As in `thread_words`.
#![allow(unsafe_code)]

use core::arch::asm;

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
