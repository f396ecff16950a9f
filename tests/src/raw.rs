//! The kernel's side of a signal, word for word, past libc and past sigplane: what a foreign party
//! sees and sets.

use libc::{SYS_rt_sigaction, SYS_rt_sigpending, SYS_rt_sigprocmask, c_long};

/// The kernel's `struct sigaction` (x86_64: asm/signal.h).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Action {
    /// `SIG_DFL`, `SIG_IGN` or an address.
    pub handler: usize,
    /// `SA_*`, the restorer's flag included.
    pub flags: u64,
    /// Where a handler returns to.
    pub restorer: usize,
    /// Bit n - 1 for signal n.
    pub mask: u64,
}

fn call(number: c_long, arguments: [usize; 4]) {
    let [a, b, c, d] = arguments;
    // SAFETY: the callers below pass pointers that are null or valid.
    let result = unsafe { libc::syscall(number, a, b, c, d) };
    assert_eq!(result, 0, "system call {number}: {}", std::io::Error::last_os_error());
}

/// What the kernel has now.
pub fn action(signal: i32) -> Action {
    let mut old = Action::default();
    call(SYS_rt_sigaction, [signal as usize, 0, &raw mut old as usize, 8]);
    old
}

/// Sets it, exactly as given.
pub fn set_action(signal: i32, new: Action) {
    call(SYS_rt_sigaction, [signal as usize, &raw const new as usize, 0, 8]);
}

/// Installs a handler as a C library does: by libc's `sigaction`, with a mask of these signals.
#[allow(clippy::disallowed_methods, reason = "plays the foreign party")]
pub fn install(signal: i32, handler: usize, flags: i32, mask: &[i32]) {
    // SAFETY: all zero bytes are a valid `sigaction` with an empty mask; all pointers are valid.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        for member in mask {
            libc::sigaddset(&raw mut action.sa_mask, *member);
        }
        assert_eq!(libc::sigaction(signal, &raw const action, std::ptr::null_mut()), 0);
    }
}

/// The bit of a signal in a mask.
pub fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// The calling thread's mask.
pub fn mask() -> u64 {
    let mut mask = 0u64;
    call(SYS_rt_sigprocmask, [0, 0, &raw mut mask as usize, 8]);
    mask
}

/// Replaces the calling thread's mask.
pub fn set_mask(mask: u64) {
    call(SYS_rt_sigprocmask, [libc::SIG_SETMASK as usize, &raw const mask as usize, 0, 8]);
}

/// What is pending for the calling thread or its process.
pub fn pending() -> u64 {
    let mut pending = 0u64;
    call(SYS_rt_sigpending, [&raw mut pending as usize, 8, 0, 0]);
    pending
}
