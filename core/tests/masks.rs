//! Feature `masks`: a fault in code that has blocked everything still reaches its fixup, and the mask reads
//! back as it was set.
//!
//! Issue "Faults", "Blocked masks"; BRIEF §7. One test, because masks and handlers are the process's.
#![allow(clippy::disallowed_methods, reason = "plays a program that blocks everything")]

use libc::{SIG_BLOCK, SIG_SETMASK, SIG_UNBLOCK, c_int, sigset_t};
use sigplane::FaultKind;
use sigplane::fault::{guarded, try_read};
use std::ptr::{null, null_mut};

type Call = unsafe extern "C" fn(c_int, *const sigset_t, *mut sigset_t) -> c_int;

fn set(fill: unsafe extern "C" fn(*mut sigset_t) -> c_int) -> sigset_t {
    // SAFETY: all zero bytes are a valid set.
    let mut set = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is valid.
    assert_eq!(unsafe { fill(&raw mut set) }, 0);
    set
}

fn has(set: &sigset_t, signal: c_int) -> bool {
    // SAFETY: `set` is valid.
    unsafe { libc::sigismember(set, signal) == 1 }
}

fn change(call: Call, how: c_int, new: Option<&sigset_t>) -> sigset_t {
    let mut old = set(libc::sigemptyset);
    // SAFETY: both are null or valid.
    assert_eq!(unsafe { call(how, new.map_or(null(), |new| new), &raw mut old) }, 0);
    old
}

/// What the kernel has for this thread.
fn kernel() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("proc(5)");
    let word = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).expect("proc(5)");
    u64::from_str_radix(word.trim(), 16).expect("a number")
}

fn faults_are_survived() {
    let fault = try_read::<u64>(null()).expect_err("nothing is there");
    assert_eq!(fault.kind(), FaultKind::Unmapped);
    let at = null::<u32>().wrapping_add(4);
    // SAFETY: none: it is meant to fault.
    let read = || unsafe { at.read_volatile() };
    // SAFETY: one read, and nothing to give back.
    assert!(unsafe { guarded(read) }.is_err());
}

fn with_everything_blocked(call: Call) {
    let segv = 1 << (libc::SIGSEGV - 1);
    let (all, none) = (set(libc::sigfillset), set(libc::sigemptyset));
    let before = change(call, SIG_BLOCK, Some(&all));
    assert!(!has(&before, libc::SIGSEGV) && !has(&before, libc::SIGTERM));
    assert!(kernel() & segv == 0 && kernel() & 1 << (libc::SIGTERM - 1) != 0);
    faults_are_survived();
    // It reads back as it was asked for, also as the old mask of another change.
    let now = change(call, SIG_BLOCK, None);
    assert!(
        [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGTERM].iter().all(|s| has(&now, *s))
    );
    let mut only_segv = none;
    // SAFETY: the set is valid.
    unsafe { libc::sigaddset(&raw mut only_segv, libc::SIGSEGV) };
    change(call, SIG_UNBLOCK, Some(&only_segv));
    let now = change(call, SIG_BLOCK, None);
    assert!(!has(&now, libc::SIGSEGV) && has(&now, libc::SIGBUS) && has(&now, libc::SIGTERM));
    // What was saved can be put back, and is the same again.
    let saved = change(call, SIG_SETMASK, Some(&none));
    assert!(has(&saved, libc::SIGBUS) && !has(&saved, libc::SIGSEGV));
    change(call, SIG_SETMASK, Some(&saved));
    let again = change(call, SIG_SETMASK, Some(&before));
    assert!((1..=64).all(|signal| has(&saved, signal) == has(&again, signal)));
    faults_are_survived();
}

#[test]
fn blocked_masks() {
    // Before: blocked is blocked.
    let mut segv = set(libc::sigemptyset);
    // SAFETY: the set is valid.
    unsafe { libc::sigaddset(&raw mut segv, libc::SIGSEGV) };
    change(libc::pthread_sigmask, SIG_BLOCK, Some(&segv));
    assert_ne!(kernel() & 1 << (libc::SIGSEGV - 1), 0);
    // Enabling unblocks.
    sigplane::fault::enable().expect("enabled");
    faults_are_survived();
    change(libc::pthread_sigmask, SIG_UNBLOCK, Some(&segv));

    with_everything_blocked(libc::pthread_sigmask);
    with_everything_blocked(libc::sigprocmask);
    std::thread::spawn(|| with_everything_blocked(libc::pthread_sigmask)).join().unwrap();

    let all = set(libc::sigfillset);
    // SAFETY: the set is valid.
    assert_eq!(unsafe { libc::pthread_sigmask(77, &raw const all, null_mut()) }, libc::EINVAL);
    // SAFETY: as above.
    assert_eq!(unsafe { libc::sigprocmask(77, &raw const all, null_mut()) }, -1);
    assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EINVAL));

    // The system call itself is not seen; the table says so.
    let mask = u64::MAX;
    // SAFETY: `mask` is valid.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, SIG_BLOCK, &raw const mask, null_mut::<u64>(), 8)
    };
    let table = sigplane::table();
    assert!(table.faults.blocked.iter().any(|b| b.signals.contains(sigplane::Signal::SEGV)));
    assert!(table.to_string().contains("a fault there kills the process"), "{table}");

    // Shared objects are bound to ours too.
    // SAFETY: a name that every process has.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"pthread_sigmask".as_ptr()) };
    assert_eq!(found.addr(), libc::pthread_sigmask as *const () as usize);
}
