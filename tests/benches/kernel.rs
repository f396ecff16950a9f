//! The kernel's calls that the benchmarks make themselves, without sigplane or a peer in between.
//!
//! Not a library for tests: failures end the process with a message, since a bench child whose
//! set-up failed has nothing to measure.

use std::cell::Cell;
use std::ffi::c_void;
use std::mem;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// What the kernel calls, and what the rows called "directly" call.
pub type Handler = unsafe extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void);

thread_local! {
    /// Deliveries that ran on this thread. Constant initialiser and no destructor: one addition to
    /// a word of static TLS, so a handler may do it and two threads share no cache line.
    static HITS: Cell<u64> = const { Cell::new(0) };
}

/// What every measured handler does, bare or subscribed: the least that the bench can verify.
#[inline(always)]
pub fn hit() {
    HITS.with(|hits| hits.set(hits.get() + 1));
}

/// Runs `work` and fails unless it made exactly `expected` deliveries on this thread.
pub fn expect_hits<R>(expected: u64, work: impl FnOnce() -> R) -> R {
    let before = HITS.with(Cell::get);
    let result = work();
    let got = HITS.with(Cell::get) - before;
    assert_eq!(got, expected, "the measured handlers did not run as often as they were meant to");
    result
}

/// The base: a handler with nothing between it and the kernel.
pub unsafe extern "C" fn bare(_: i32, _: *mut libc::siginfo_t, _: *mut c_void) {
    hit();
}

fn check(result: i32, call: &str) {
    assert!(result == 0, "{call}: {}", std::io::Error::last_os_error());
}

/// The real-time signal `SIGRTMIN + n`.
pub fn rt(n: u8) -> i32 {
    libc::SIGRTMIN() + i32::from(n)
}

/// The same as sigplane names it.
pub fn rt_signal(n: u8) -> sigplane::Signal {
    sigplane::Signal::rt(n).expect("a real-time signal")
}

/// sigaction(2) with the flags that signal-hook-registry uses, so that only the handler differs.
pub fn set_action(signal: i32, handler: Handler) {
    // SAFETY: all-zero is a valid `sigaction`, `handler` has the three-argument form that
    // `SA_SIGINFO` promises, and `bare` and the test handlers are async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        check(libc::sigaction(signal, &action, ptr::null_mut()), "sigaction");
    }
}

/// The handler that the kernel would call now: a raw query, behind every library's back.
pub fn installed_handler(signal: i32) -> Handler {
    // The kernel's struct (x86_64, aarch64): handler, flags, restorer, mask.
    let mut action = [0usize; 4];
    let set_size = 8usize;
    // SAFETY: a query; the kernel writes 32 bytes. Whoever installed a real handler with
    // `SA_SIGINFO`, as all measured here do, gave it this type.
    unsafe {
        let null = ptr::null::<c_void>();
        let at = action.as_mut_ptr();
        let result = libc::syscall(libc::SYS_rt_sigaction, signal, null, at, set_size);
        check(result as i32, "rt_sigaction");
        assert!(action[0] > 1, "no handler is installed for signal {signal}");
        assert!(action[1] & libc::SA_SIGINFO as usize != 0, "a handler of another type");
        mem::transmute::<usize, Handler>(action[0])
    }
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: `sigemptyset` initialises the set before it is used.
    unsafe {
        let mut set = mem::zeroed();
        libc::sigemptyset(&mut set);
        for &signal in signals {
            libc::sigaddset(&mut set, signal);
        }
        set
    }
}

/// Blocks `signal` on this thread and on those it creates from now on.
pub fn block(signal: i32) -> libc::sigset_t {
    let set = set_of(&[signal]);
    // SAFETY: both sets are valid.
    unsafe {
        check(libc::pthread_sigmask(libc::SIG_BLOCK, &set, ptr::null_mut()), "pthread_sigmask");
    }
    set
}

/// sigwaitinfo(2), restarted when something else interrupts it.
#[inline]
pub fn wait_for(set: &libc::sigset_t) -> libc::siginfo_t {
    // SAFETY: both pointers are valid; the set holds signals that are blocked on this thread.
    unsafe {
        let mut info = mem::zeroed();
        while libc::sigwaitinfo(set, &mut info) < 0 {}
        info
    }
}

/// The integer that came with a queued signal.
#[inline]
pub fn value(info: &libc::siginfo_t) -> usize {
    // SAFETY: read only from signals sent with sigqueue(3), which set the union's value.
    unsafe { info.si_value() }.sival_ptr as usize & 0xffff_ffff
}

/// Sends `signal` to the calling thread; it is delivered before this returns.
#[inline]
pub fn signal_self(pid: i32, tid: i32, signal: i32) {
    // SAFETY: no memory is passed.
    unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, signal) };
}

/// Sends `signal` to the process `pid`.
#[inline]
pub fn signal_process(pid: i32, signal: i32) {
    // SAFETY: no memory is passed.
    unsafe { libc::kill(pid, signal) };
}

/// sigqueue(3), again and again while the kernel's queue is full. Returns how often it was.
pub fn queue(pid: i32, signal: i32, value: usize) -> u64 {
    let value = libc::sigval { sival_ptr: ptr::without_provenance_mut(value) };
    let mut refused = 0;
    // SAFETY: the value is passed on as a number.
    while unsafe { libc::sigqueue(pid, signal, value) } != 0 {
        let error = std::io::Error::last_os_error();
        assert_eq!(error.raw_os_error(), Some(libc::EAGAIN), "sigqueue: {error}");
        refused += 1;
        yield_now();
    }
    refused
}

pub fn pid() -> i32 {
    // SAFETY: always succeeds.
    unsafe { libc::getpid() }
}

pub fn tid() -> i32 {
    // SAFETY: always succeeds.
    unsafe { libc::gettid() }
}

#[inline]
pub fn yield_now() {
    // SAFETY: no memory is passed.
    unsafe { libc::sched_yield() };
}

/// CLOCK_MONOTONIC in nanoseconds: the same clock in every process of a row.
#[inline]
pub fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid and the clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The CPUs this process may run on.
pub fn cpus() -> Vec<usize> {
    // SAFETY: all-zero is an empty `cpu_set_t`; the kernel fills it.
    unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        check(libc::sched_getaffinity(0, size_of_val(&set), &mut set), "sched_getaffinity");
        (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &set)).collect()
    }
}

/// Two CPUs of this process, as they were before it pinned anything: the same one twice on a machine
/// that has only one.
pub fn two_cpus() -> (usize, usize) {
    static BEFORE: OnceLock<Vec<usize>> = OnceLock::new();
    let cpus = BEFORE.get_or_init(cpus);
    (cpus[0], cpus[1 % cpus.len()])
}

/// Puts the thread `tid` (0: the calling one) on `cpu` alone.
pub fn pin(tid: i32, cpu: usize) {
    // SAFETY: all-zero is an empty `cpu_set_t`, and `cpu` came from `cpus`.
    unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        check(libc::sched_setaffinity(tid, size_of_val(&set), &set), "sched_setaffinity");
    }
}

/// Puts every thread of the process but the calling one on `cpu`, those a library made included.
pub fn pin_others(cpu: usize) {
    let own = tid();
    for task in std::fs::read_dir("/proc/self/task").expect("/proc") {
        let name = task.expect("/proc").file_name();
        let tid: i32 = name.to_str().and_then(|name| name.parse().ok()).expect("a thread id");
        if tid != own {
            pin(tid, cpu);
        }
    }
}

/// Waits while `word` is `old`; may return early. The process's deadline bounds a lost wake-up.
pub fn futex_wait(word: &AtomicU32, old: u32) {
    let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    let for_ever = ptr::null::<libc::timespec>();
    // SAFETY: `word` outlives the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, old, for_ever) };
}

/// Wakes the one thread that waits on `word`.
pub fn futex_wake(word: &AtomicU32) {
    let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: a wake only uses the address as a key.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, 1) };
}

/// Kills the process after `limit`, so that a hang becomes a row that failed.
pub fn deadline(limit: Duration) {
    // SAFETY: SIGALRM has its default action in bench children.
    unsafe { libc::alarm(limit.as_secs() as u32) };
}

/// membarrier(2): 0 registers, otherwise every running thread of the process executes a barrier.
#[derive(Clone, Copy)]
pub struct Barrier;

impl Barrier {
    /// `None` where the kernel has no expedited barrier.
    pub fn register() -> Option<Self> {
        let command = libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED;
        // SAFETY: no memory is passed.
        (unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) } == 0).then_some(Self)
    }

    #[inline]
    pub fn run(self) {
        // SAFETY: no memory is passed.
        unsafe {
            libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0)
        };
    }
}
