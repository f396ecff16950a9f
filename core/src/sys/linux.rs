//! The kernel's calls that sigplane makes, each with the facts it relies on.
//!
//! **Runs inside signal handlers.** No allocation, no lock, no `errno`.
//!
//! # Safety
//! Each wrapper passes pointers that are valid for the call, or says what its caller must uphold.
#![allow(unsafe_code)]

use super::arch::{restorer, syscall, trampoline};
use core::ffi::c_void;
use core::sync::atomic::AtomicU32;
use core::time::Duration;
use std::io;

/// `si_code > 0` on one of these is a synchronous fault: SEGV, BUS, FPE, ILL, TRAP, SYS.
pub(crate) const FAULT_BITS: u64 = bit(libc::SIGSEGV)
    | bit(libc::SIGBUS)
    | bit(libc::SIGFPE)
    | bit(libc::SIGILL)
    | bit(libc::SIGTRAP)
    | bit(libc::SIGSYS);

/// The numbers that libc uses for itself, to cancel a thread and to change the ids of all (glibc
/// `sysdeps/unix/sysv/linux/internal-signals.h`; musl `src/internal/pthread_impl.h`, timers too). libc
/// keeps them out of every mask that goes through it, and a thread that has one blocked hangs `setuid`.
pub(crate) const LIBC_BITS: u64 =
    if cfg!(target_env = "musl") { bit(32) | bit(33) | bit(34) } else { bit(32) | bit(33) };

/// Every signal that may be held back: all but the synchronous faults and libc's own. A blocked
/// synchronous fault kills the process without running any handler (kernel/signal.c,
/// `force_sig_info_to_task`).
pub(crate) const ASYNC_BITS: u64 = !(FAULT_BITS | LIBC_BITS);

/// The kernel's flag that says a restorer is given (asm/signal.h).
pub(crate) const SA_RESTORER: u64 = 0x0400_0000;

/// The bit of a signal number in the kernel's 64-bit mask.
#[inline(always)]
pub(crate) const fn bit(signal: i32) -> u64 {
    1u64 << ((signal - 1) as u32 & 63)
}

/// The kernel's `struct sigaction` (x86_64: asm/signal.h), kept word for word so that an action can
/// be put back exactly as it was, its restorer included.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct KernelAction {
    pub handler: usize,
    pub flags: u64,
    pub restorer: usize,
    pub mask: u64,
}

impl KernelAction {
    pub(crate) const DEFAULT: Self =
        Self { handler: libc::SIG_DFL, flags: 0, restorer: 0, mask: 0 };

    /// Our own action in front of `foreign`.
    ///
    /// * `SA_SIGINFO`: the three-argument form, for the event.
    /// * `SA_ONSTACK`: a handler without it kills a process whose threads have small stacks (Go). A
    ///   foreign handler without it, which runs in our frame's place, keeps the stack that it had, unless
    ///   the signal is a fault's: the thread's own stack may be what is exhausted.
    /// * `SA_NODEFER`, for faults: see below. A foreign handler that did not ask for it has its signal
    ///   blocked as it expects (`dispatch::behind`).
    /// * `SA_RESTART`: programs that did not ask for `EINTR` do not get it; taken from a foreign
    ///   handler where there is one, because that program does expect what it asked for.
    /// * `SA_NOCLDSTOP`, `SA_NOCLDWAIT`: the kernel's own behaviour for SIGCHLD; kept, and an
    ///   ignored SIGCHLD, which reaps children by itself, becomes `SA_NOCLDWAIT` (sigaction(2)).
    /// * `SA_RESTORER`: x86_64 has no other way back (`get_sigframe` fails without it).
    /// * The mask holds back everything but faults while sigplane's own code runs, so that a
    ///   foreign handler that leaves by `siglongjmp` cannot leave from on top of it.
    ///
    /// `first` tells whether anything of sigplane's goes before the foreign handler: without, that handler is
    /// to find the stack that it asked for also when the signal is a fault's.
    pub(crate) fn ours(foreign: &Self, signal: i32, first: bool) -> Self {
        let kept = (libc::SA_NOCLDSTOP | libc::SA_NOCLDWAIT) as u64;
        let mut flags = libc::SA_SIGINFO as u64 | SA_RESTORER | foreign.flags & kept;
        let (restart, onstack) = (libc::SA_RESTART as u64, libc::SA_ONSTACK as u64);
        flags |= if foreign.is_handler() {
            foreign.flags & (restart | onstack)
        } else {
            restart | onstack
        };
        if FAULT_BITS & bit(signal) != 0 {
            // A fault in a handler for faults is to reach its fixup: the kernel would kill the process for
            // a synchronous signal that is blocked (kernel/signal.c, `force_sig_info_to_task`).
            if first {
                flags |= onstack | libc::SA_NODEFER as u64;
            }
        }
        if !first {
            // The kernel resets it, exactly once, and discards nothing that is pending; see `legacy::spend`.
            flags |= foreign.flags & libc::SA_RESETHAND as u32 as u64;
        }
        if signal == libc::SIGCHLD && foreign.handler == libc::SIG_IGN {
            flags |= libc::SA_NOCLDWAIT as u64;
        }
        // Nothing of a subscriber's runs there that could fault; and one that is sent is to wait for the mask of
        // the handler, rather than to come on top of ours.
        let mask = if first { ASYNC_BITS } else { !LIBC_BITS };
        Self { handler: trampoline(), flags, restorer: restorer(), mask }
    }

    pub(crate) fn is_ours(&self) -> bool {
        self.handler == trampoline()
    }

    /// Whether it is ours, or was until the kernel reset it (`SA_RESETHAND`, which leaves all but the handler).
    pub(crate) fn was_ours(&self) -> bool {
        self.is_ours() || (self.handler == libc::SIG_DFL && self.restorer == restorer())
    }

    pub(crate) fn is_handler(&self) -> bool {
        self.handler != libc::SIG_DFL && self.handler != libc::SIG_IGN
    }

    pub(crate) fn has(&self, flag: i32) -> bool {
        self.flags & flag as u32 as u64 != 0
    }
}

fn check(result: isize) -> Result<usize, i32> {
    if result < 0 { Err(-result as i32) } else { Ok(result as usize) }
}

/// Wraps an error number as the crate's error for `call`.
pub(crate) fn os_error(call: &'static str, errno: i32) -> crate::Error {
    crate::Error::Os { call, source: io::Error::from_raw_os_error(errno) }
}

/// rt_sigaction(2): sets the action when `new` is given, returns the previous one.
pub(crate) fn sigaction(signal: i32, new: Option<&KernelAction>) -> Result<KernelAction, i32> {
    let mut old = KernelAction::DEFAULT;
    let new = new.map_or(0, |action| core::ptr::from_ref(action) as usize);
    let old_at = &raw mut old as usize;
    // SAFETY: both pointers are null or valid for the struct; 8 is the kernel's mask size.
    let result =
        unsafe { syscall(libc::SYS_rt_sigaction, [signal as usize, new, old_at, 8, 0, 0]) };
    check(result).map(|_| old)
}

/// rt_sigaction(2) that does not ask for the previous action, whose copy costs a tenth of the call.
#[inline(always)]
pub(crate) fn set_action(signal: i32, new: &KernelAction) -> Result<(), i32> {
    let new = core::ptr::from_ref(new) as usize;
    // SAFETY: the pointer is valid for the struct; 8 is the kernel's mask size.
    let result = unsafe { syscall(libc::SYS_rt_sigaction, [signal as usize, new, 0, 8, 0, 0]) };
    check(result).map(|_| ())
}

/// rt_sigprocmask(2): changes the calling thread's mask when `mask` is given, returns the old one. It fails
/// only for a `how` that is none of the three constants.
pub(crate) fn sigprocmask(how: i32, mask: Option<u64>) -> Result<u64, i32> {
    let mut old = 0u64;
    let new = mask.as_ref().map_or(0, |mask| core::ptr::from_ref(mask) as usize);
    let old_at = &raw mut old as usize;
    // SAFETY: both pointers are null or valid for 8 bytes.
    let result = unsafe { syscall(libc::SYS_rt_sigprocmask, [how as usize, new, old_at, 8, 0, 0]) };
    check(result).map(|_| old)
}

/// Replaces the calling thread's mask, returns the old one.
pub(crate) fn set_mask(mask: u64) -> u64 {
    sigprocmask(libc::SIG_SETMASK, Some(mask)).unwrap_or(0)
}

/// Adds to the calling thread's mask, returns the old one.
pub(crate) fn block(mask: u64) -> u64 {
    sigprocmask(libc::SIG_BLOCK, Some(mask)).unwrap_or(0)
}

/// Takes from the calling thread's mask, returns the old one.
pub(crate) fn unblock(mask: u64) -> u64 {
    sigprocmask(libc::SIG_UNBLOCK, Some(mask)).unwrap_or(0)
}

/// Whether eight bytes at `at` can be read. rt_sigprocmask copies the new mask in before it looks at `how`
/// (kernel/signal.c), so with a senseless `how` it does nothing but copy.
pub(crate) fn is_readable(at: usize) -> bool {
    const SENSELESS: usize = 77;
    // SAFETY: the kernel reads eight bytes, if they are there.
    let result = unsafe { syscall(libc::SYS_rt_sigprocmask, [SENSELESS, at, 0, 8, 0, 0]) };
    at != 0 && result != -(libc::EFAULT as isize)
}

/// Whether eight bytes at `at` can be written; the calling thread's mask is written there.
pub(crate) fn is_writable(at: usize) -> bool {
    // SAFETY: the kernel writes eight bytes, if they are there, which the caller has been given for writing.
    let result =
        unsafe { syscall(libc::SYS_rt_sigprocmask, [libc::SIG_BLOCK as usize, 0, at, 8, 0, 0]) };
    at != 0 && result == 0
}

/// The process id as the kernel sees it now: a `vfork` child's differs from the cached one.
#[inline]
pub(crate) fn getpid() -> i32 {
    // SAFETY: takes no argument and cannot fail.
    unsafe { syscall(libc::SYS_getpid, [0; 6]) as i32 }
}

/// The kernel's id of the calling thread.
pub(crate) fn gettid() -> i32 {
    // SAFETY: takes no argument and cannot fail.
    unsafe { syscall(libc::SYS_gettid, [0; 6]) as i32 }
}

/// rt_tgsigqueueinfo(2). Any `si_code` is allowed towards the calling thread itself; towards others a
/// non-negative one and `SI_TKILL` are refused (kernel/signal.c, `do_rt_tgsigqueueinfo`).
pub(crate) fn queue_to_thread(
    pid: i32,
    tid: i32,
    signal: i32,
    info: &libc::siginfo_t,
) -> Result<(), i32> {
    let info = core::ptr::from_ref(info) as usize;
    // SAFETY: `info` is valid for the 128 bytes that the kernel reads.
    let result = unsafe {
        syscall(
            libc::SYS_rt_tgsigqueueinfo,
            [pid as usize, tid as usize, signal as usize, info, 0, 0],
        )
    };
    check(result).map(|_| ())
}

/// rt_sigqueueinfo(2) to the calling process. A non-negative `si_code` and `SI_TKILL` are allowed on the
/// main thread only (kernel/signal.c, `do_rt_sigqueueinfo` compares with the calling *thread*'s id).
pub(crate) fn queue_to_process(pid: i32, signal: i32, info: &libc::siginfo_t) -> Result<(), i32> {
    let info = core::ptr::from_ref(info) as usize;
    // SAFETY: `info` is valid for the 128 bytes that the kernel reads.
    let result = unsafe {
        syscall(libc::SYS_rt_sigqueueinfo, [pid as usize, signal as usize, info, 0, 0, 0])
    };
    check(result).map(|_| ())
}

/// rt_sigtimedwait(2) without waiting: one pending signal of `mask`, which the caller has blocked.
pub(crate) fn take_pending(mask: u64) -> Option<libc::siginfo_t> {
    // SAFETY: all zero bytes are a valid `siginfo_t`.
    let mut info: libc::siginfo_t = unsafe { core::mem::zeroed() };
    let zero = timespec(Duration::ZERO);
    let (mask_at, info_at, zero_at) =
        (&raw const mask as usize, &raw mut info as usize, &raw const zero as usize);
    // SAFETY: the three pointers are valid for the call.
    let result =
        unsafe { syscall(libc::SYS_rt_sigtimedwait, [mask_at, info_at, zero_at, 8, 0, 0]) };
    (result > 0).then_some(info)
}

/// exit_group(2).
pub(crate) fn exit_group(status: i32) {
    // SAFETY: ends the process.
    unsafe { syscall(libc::SYS_exit_group, [status as usize, 0, 0, 0, 0, 0]) };
}

fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: duration.as_secs().min(i64::MAX as u64) as i64,
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

/// Waits while `*word == expected`, until woken, interrupted, or `deadline` (CLOCK_MONOTONIC, since
/// its epoch) has passed. futex(2): `FUTEX_WAIT_BITSET` takes an absolute time, so that a restart
/// after a signal does not lengthen the wait. Returns false when the deadline has passed.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, deadline: Option<Duration>) -> bool {
    let time = deadline.map(timespec);
    let time = time.as_ref().map_or(0, |time| core::ptr::from_ref(time) as usize);
    let operation = libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG;
    let any = libc::FUTEX_BITSET_MATCH_ANY as u32 as usize;
    let at = word.as_ptr() as usize;
    // SAFETY: `word` and `time` outlive the call.
    let result = unsafe {
        syscall(libc::SYS_futex, [at, operation as usize, expected as usize, time, 0, any])
    };
    result != -(libc::ETIMEDOUT as isize)
}

/// Wakes up to `count` threads that wait on `word`.
pub(crate) fn futex_wake(word: &AtomicU32, count: i32) {
    let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    let at = word.as_ptr() as usize;
    // SAFETY: a wake only uses the address as a key.
    unsafe { syscall(libc::SYS_futex, [at, operation as usize, count as usize, 0, 0, 0]) };
}

/// CLOCK_MONOTONIC. clock_gettime is async-signal-safe (signal-safety(7)) and needs no system call.
pub(crate) fn now() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid; the clock exists on every Linux, so the call cannot fail and leaves
    // `errno` alone.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What a `deadline` of the public interface is on the clock of [`now`].
pub(crate) fn deadline(at: Option<std::time::Instant>) -> Option<Duration> {
    at.map(|at| now() + at.saturating_duration_since(std::time::Instant::now()))
}

const MEMBARRIER_PRIVATE_EXPEDITED: usize = 1 << 3;
const MEMBARRIER_REGISTER_PRIVATE_EXPEDITED: usize = 1 << 4;

/// membarrier(2): asks to use the expedited barrier; false where the kernel refuses.
pub(crate) fn membarrier_register() -> bool {
    // SAFETY: no memory is passed.
    unsafe {
        syscall(libc::SYS_membarrier, [MEMBARRIER_REGISTER_PRIVATE_EXPEDITED, 0, 0, 0, 0, 0]) == 0
    }
}

/// membarrier(2): every running thread of the process executes a full barrier before it returns. False
/// when the kernel refuses, as it may when a seccomp filter has been installed since the registration.
pub(crate) fn membarrier() -> bool {
    // SAFETY: no memory is passed.
    unsafe { syscall(libc::SYS_membarrier, [MEMBARRIER_PRIVATE_EXPEDITED, 0, 0, 0, 0, 0]) == 0 }
}

/// nanosleep(2), for a writer that waits; a signal may shorten it.
pub(crate) fn pause(time: Duration) {
    let time = timespec(time);
    // SAFETY: `time` is valid for the call, and nothing is written back.
    unsafe { syscall(libc::SYS_nanosleep, [&raw const time as usize, 0, 0, 0, 0, 0]) };
}

/// kill(2).
pub(crate) fn kill(pid: i32, signal: i32) -> Result<(), i32> {
    // SAFETY: no memory is passed.
    check(unsafe { syscall(libc::SYS_kill, [pid as usize, signal as usize, 0, 0, 0, 0]) })
        .map(|_| ())
}

/// Whether a thread of this process has this id (tgkill(2) with signal 0).
pub(crate) fn is_own_thread(tid: i32) -> bool {
    // SAFETY: no memory is passed, and nothing is sent.
    let sent = unsafe { syscall(libc::SYS_tgkill, [getpid() as usize, tid as usize, 0, 0, 0, 0]) };
    check(sent).is_ok()
}

/// eventfd(2), non-blocking and closed on exec. Not for handlers (it makes a descriptor).
pub(crate) fn eventfd() -> Result<i32, i32> {
    let flags = (libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) as usize;
    // SAFETY: no memory is passed.
    let result = unsafe { syscall(libc::SYS_eventfd2, [0, flags, 0, 0, 0, 0]) };
    check(result).map(|fd| fd as i32)
}

/// Makes an eventfd readable. It can only fail with EAGAIN at 2^64 - 2, when it is readable anyway.
pub(crate) fn eventfd_set(fd: i32) {
    let one = 1u64;
    // SAFETY: `one` is valid for 8 bytes.
    unsafe { syscall(libc::SYS_write, [fd as usize, &raw const one as usize, 8, 0, 0, 0]) };
}

/// Makes an eventfd unreadable; EAGAIN says that it was.
pub(crate) fn eventfd_clear(fd: i32) {
    let mut count = 0u64;
    // SAFETY: `count` is valid for 8 bytes.
    unsafe { syscall(libc::SYS_read, [fd as usize, &raw mut count as usize, 8, 0, 0, 0]) };
}

/// dup3(2) with close-on-exec: `new` becomes another name of `old`.
pub(crate) fn dup_onto(old: i32, new: i32) {
    // SAFETY: both are descriptors of ours.
    unsafe {
        syscall(libc::SYS_dup3, [old as usize, new as usize, libc::O_CLOEXEC as usize, 0, 0, 0])
    };
}

/// openat(2) for reading, closed on exec.
pub(crate) fn open_read(path: &core::ffi::CStr) -> Result<i32, i32> {
    let (at, flags) = (libc::AT_FDCWD as usize, (libc::O_RDONLY | libc::O_CLOEXEC) as usize);
    // SAFETY: `path` is a string that ends with a zero.
    let result = unsafe { syscall(libc::SYS_openat, [at, path.as_ptr() as usize, flags, 0, 0, 0]) };
    check(result).map(|fd| fd as i32)
}

/// read(2), again when a signal interrupts it.
pub(crate) fn read(fd: i32, buffer: &mut [u8]) -> Result<usize, i32> {
    loop {
        let (at, length) = (buffer.as_mut_ptr() as usize, buffer.len());
        // SAFETY: `buffer` is valid for writing.
        let result = unsafe { syscall(libc::SYS_read, [fd as usize, at, length, 0, 0, 0]) };
        match check(result) {
            Err(libc::EINTR) => {}
            other => return other,
        }
    }
}

/// close(2) of a descriptor of ours.
pub(crate) fn close(fd: i32) {
    // SAFETY: the caller owns `fd`.
    unsafe { syscall(libc::SYS_close, [fd as usize, 0, 0, 0, 0, 0]) };
}

/// sigaltstack(2): sets the calling thread's alternate stack when `new` is given, returns the old.
pub(crate) fn sigaltstack(new: Option<&libc::stack_t>) -> Result<libc::stack_t, i32> {
    let mut old = libc::stack_t { ss_sp: core::ptr::null_mut::<c_void>(), ss_flags: 0, ss_size: 0 };
    let new = new.map_or(0, |stack| core::ptr::from_ref(stack) as usize);
    let old_at = &raw mut old as usize;
    // SAFETY: both pointers are null or valid; what `new` names is kept mapped by its owner.
    let result = unsafe { syscall(libc::SYS_sigaltstack, [new, old_at, 0, 0, 0, 0]) };
    check(result).map(|_| old)
}

/// mmap(2): new memory, all zero.
pub(crate) fn map_zeroed(size: usize) -> Option<*mut c_void> {
    let protection = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let result = unsafe { syscall(libc::SYS_mmap, [0, size, protection, flags, usize::MAX, 0]) };
    check(result).ok().map(|at| at as *mut c_void)
}

/// munmap(2) of what `map_zeroed` has given and nobody uses.
pub(crate) fn unmap(at: *mut c_void, size: usize) {
    // SAFETY: the caller's own mapping.
    unsafe { syscall(libc::SYS_munmap, [at as usize, size, 0, 0, 0, 0]) };
}

/// sched_yield(2).
pub(crate) fn yield_now() {
    // SAFETY: no memory is passed.
    unsafe { syscall(libc::SYS_sched_yield, [0; 6]) };
}

/// The signal mask in a machine context. The kernel uses 8 bytes of glibc's 128 (asm/ucontext.h).
pub(crate) fn context_mask(context: &mut libc::ucontext_t) -> &mut u64 {
    let at = (&raw mut context.uc_sigmask).cast::<u64>();
    // SAFETY: `uc_sigmask` is at least 8 bytes, aligned to 8, and borrowed with `context`.
    unsafe { &mut *at }
}

/// `errno` as the interrupted code left it, saved around a subscriber's code in a handler.
pub(crate) struct Errno {
    at: *mut i32,
    value: i32,
}

impl Errno {
    /// Where the calling thread's is: the same for all its life.
    pub(crate) fn location() -> *mut i32 {
        // SAFETY: only computes an address in libc's own initial-exec storage.
        unsafe { libc::__errno_location() }
    }

    /// Saves it.
    ///
    /// # Safety
    /// `at` is the calling thread's [`Errno::location`].
    #[inline(always)]
    pub(crate) unsafe fn save(at: *mut i32) -> Self {
        // SAFETY: the caller's promise: valid for the life of the thread.
        let value = unsafe { *at };
        Self { at, value }
    }

    #[inline(always)]
    pub(crate) fn restore(self) {
        // SAFETY: `save` and this run on one thread.
        unsafe { *self.at = self.value };
    }
}
