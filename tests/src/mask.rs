//! The calling thread's signal mask, by the raw system call: tests play programs that change it.

use sigplane::SignalSet;

fn change(how: i32, set: SignalSet) -> SignalSet {
    let (new, mut old) = (set.bits(), 0u64);
    let (new, size) = (&raw const new, size_of::<u64>());
    // SAFETY: both point to locals of the size that is passed.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, new, &raw mut old, size) };
    SignalSet::from_bits(old)
}

/// Blocks signals on the calling thread.
pub fn block(set: impl Into<SignalSet>) {
    change(libc::SIG_BLOCK, set.into());
}

/// Unblocks signals on the calling thread.
pub fn unblock(set: impl Into<SignalSet>) {
    change(libc::SIG_UNBLOCK, set.into());
}

/// What the calling thread has blocked.
pub fn blocked() -> SignalSet {
    change(libc::SIG_BLOCK, SignalSet::EMPTY)
}
