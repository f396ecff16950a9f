//! The names, each with nothing behind it but a jump.
//!
//! Those that set something pass on where their return address is (one more argument, in the register of
//! the next one): who has set a handler is worth knowing, and memory in that page is certainly there.
//!
//! # Safety
//! Every function has the contract of libc's function of its name (or HotSpot's).
#![allow(non_snake_case)]

use compat::shim::{actions, jvm, masks, objects, programs, raw, sends, stacks, threads, waits};
use core::arch::naked_asm;

/// A function that jumps to another.
macro_rules! jump {
    ($($name:ident => $to:path),* $(,)?) => {$(
        #[doc = concat!("libc's `", stringify!($name), "`.")]
        ///
        /// # Safety
        /// As libc's.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            naked_asm!("endbr64", "jmp {to}", to = sym $to)
        }
    )*};
}

/// As `jump`, with the stack pointer in a further argument.
macro_rules! jump_with_stack {
    ($register:literal: $($name:ident => $to:path),* $(,)?) => {$(
        #[doc = concat!("libc's `", stringify!($name), "`.")]
        ///
        /// # Safety
        /// As libc's.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            naked_asm!("endbr64", concat!("mov ", $register, ", rsp"), "jmp {to}", to = sym $to)
        }
    )*};
}

jump_with_stack! { "rcx": sigaction => actions::sigaction, __sigaction => actions::sigaction, sigvec => actions::sigvec }
jump_with_stack! { "rdx":
    signal => actions::signal, ssignal => actions::signal, bsd_signal => actions::signal,
    sysv_signal => actions::sysv_signal, __sysv_signal => actions::sysv_signal,
    sigset => actions::sigset, siginterrupt => actions::siginterrupt,
    sigaltstack => stacks::sigaltstack,
}
jump_with_stack! { "rsi":
    sigignore => actions::sigignore, sighold => masks::sighold, sigrelse => masks::sigrelse,
    sigblock => masks::sigblock, sigsetmask => masks::sigsetmask,
}
jump_with_stack! { "rcx":
    sigprocmask => masks::sigprocmask, pthread_sigmask => masks::pthread_sigmask,
    sigqueue => sends::sigqueue, pthread_sigqueue => sends::pthread_sigqueue,
}
jump_with_stack! { "r8": pthread_create => threads::pthread_create }

jump! {
    siggetmask => masks::siggetmask,
    sigsuspend => waits::sigsuspend, __sigsuspend => waits::sigsuspend,
    sigpause => waits::sigpause, __sigpause => waits::sigpause_either, __xpg_sigpause => waits::sigpause_xpg,
    ppoll => waits::ppoll, __ppoll_chk => waits::ppoll_checked, pselect => waits::pselect,
    epoll_pwait => waits::epoll_pwait, epoll_pwait2 => waits::epoll_pwait2,
    execve => programs::execve, execv => programs::execv, execvp => programs::execvp,
    execvpe => programs::execvpe, fexecve => programs::fexecve, execveat => programs::execveat,
    posix_spawn => programs::posix_spawn, posix_spawnp => programs::posix_spawnp,
    system => programs::system,
    dlclose => objects::dlclose,
    JVM_begin_signal_setting => jvm::begin, JVM_end_signal_setting => jvm::end,
    JVM_get_signal_action => jvm::get_action,
}

/// The functions with a list of arguments: those in registers are put below those on the stack, which makes
/// one array of all of them.
macro_rules! list {
    ($($name:ident => $to:path),* $(,)?) => {$(
        #[doc = concat!("libc's `", stringify!($name), "`.")]
        ///
        /// # Safety
        /// As libc's.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            naked_asm!(
                "endbr64",
                "pop r10",
                "push r9",
                "push r8",
                "push rcx",
                "push rdx",
                "push rsi",
                "push rdi",
                "mov rdi, rsp",
                // Sixteen bytes aligned at the call: six words and this one have been pushed, the return
                // address popped.
                "push r10",
                "sub rsp, 8",
                "call {to}",
                "add rsp, 8",
                "pop r10",
                "add rsp, 48",
                "push r10",
                "ret",
                to = sym $to,
            )
        }
    )*};
}

list! { execl => programs::execl, execlp => programs::execlp, execle => programs::execle }

/// The arguments in registers, over a call that says where to jump with them. Those on the stack lie where they
/// were.
macro_rules! save_arguments {
    () => {
        "push rdi; push rsi; push rdx; push rcx; push r8; push r9"
    };
}
macro_rules! restore_arguments {
    () => {
        "pop r9; pop r8; pop rcx; pop rdx; pop rsi; pop rdi"
    };
}

/// libc's `vfork`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn vfork() {
    naked_asm!(
        "endbr64",
        "sub rsp, 8",
        "call {stub}",
        "add rsp, 8",
        "jmp rax",
        stub = sym compat::shim::programs::vfork_stub,
    )
}

/// libc's `__vfork`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn __vfork() {
    naked_asm!("endbr64", "jmp {to}", to = sym vfork)
}

/// libc's `clone`, with its arguments as they came.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn clone() {
    naked_asm!(
        "endbr64",
        save_arguments!(),
        "sub rsp, 8",
        "call {stub}",
        "add rsp, 8",
        restore_arguments!(),
        "jmp rax",
        stub = sym compat::shim::programs::clone_stub,
    )
}

/// libc's `__clone`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn __clone() {
    naked_asm!("endbr64", "jmp {to}", to = sym clone)
}

/// libc's `syscall`: the two calls that concern actions and masks are taken out.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn syscall() {
    naked_asm!(
        "endbr64",
        // The kernel looks at the lower half of the number.
        "cmp edi, 13",
        "je 2f",
        "cmp edi, 14",
        "je 3f",
        save_arguments!(),
        // The sixth of the call, from above the return address.
        "push qword ptr [rsp + 56]",
        "call {libc}",
        "add rsp, 8",
        restore_arguments!(),
        "jmp rax",
        "2: mov rdi, rsi",
        "mov rsi, rdx",
        "mov rdx, rcx",
        "mov rcx, r8",
        "mov r8, rsp",
        "jmp {action}",
        "3: mov rdi, rsi",
        "mov rsi, rdx",
        "mov rdx, rcx",
        "mov rcx, r8",
        "mov r8, rsp",
        "jmp {mask}",
        libc = sym raw::libc_syscall,
        action = sym raw::rt_sigaction,
        mask = sym raw::rt_sigprocmask,
    )
}
