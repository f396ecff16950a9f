//! How much stack lies between a handler and what interrupted it: what the kernel needs, and hardly more.
//!
//! BRIEF §7: "An alternate stack of only 1 KiB more than `AT_MINSIGSTKSZ` must still suffice." It must also
//! when signals arrive on a handler's very entry, one on top of the other, where the kernel alone stacks
//! nothing but its frames.
#![allow(clippy::disallowed_methods, reason = "plays a program that knows nothing of sigplane")]

use sigplane_tests::{Exit, Running, Suite, victim};
use sigplane_tests_shim::Mode;
use std::sync::atomic::{AtomicUsize, Ordering};

const DEPTH: usize = 8;
/// Frames begin at multiples of 64 bytes (arch/x86/kernel/signal.c, `get_sigframe`, aligned for XSAVE), so a
/// few words more can cost as many.
const MORE: usize = 128;

/// Where the handlers of a burst found the stack, in the order in which they ran.
static FOUND: [AtomicUsize; DEPTH] = [const { AtomicUsize::new(0) }; DEPTH];
static RUNS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn note(_signal: i32) {
    let here = 0u8;
    let run = RUNS.fetch_add(1, Ordering::SeqCst);
    FOUND[run % DEPTH].store((&raw const here).addr(), Ordering::SeqCst);
}

fn set(signal: i32, flags: i32) {
    // SAFETY: all zero bytes are a valid action.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = note as *const () as usize;
    action.sa_flags = flags;
    // SAFETY: a valid action with an async-signal-safe handler.
    assert_eq!(unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) }, 0);
}

fn signals() -> impl Iterator<Item = i32> {
    (0..DEPTH as i32).map(|n| libc::SIGRTMIN() + n)
}

/// Eight signals, sent while they are blocked, and let through at once: the kernel interrupts the entry of each
/// handler for the next signal.
fn burst() {
    // SAFETY: all zero bytes are a valid set.
    let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
    for signal in signals() {
        // SAFETY: a valid set and a signal's number.
        unsafe { libc::sigaddset(&raw mut all, signal) };
    }
    for (how, send) in [(libc::SIG_BLOCK, true), (libc::SIG_UNBLOCK, false)] {
        // SAFETY: a valid set.
        assert_eq!(unsafe { libc::sigprocmask(how, &raw const all, std::ptr::null_mut()) }, 0);
        for signal in signals().filter(|_| send) {
            // SAFETY: sends a signal that is blocked.
            assert_eq!(unsafe { libc::raise(signal) }, 0);
        }
    }
    assert_eq!(RUNS.load(Ordering::SeqCst), DEPTH);
}

/// Prints how far apart the frames of a burst are at most.
fn nested() {
    signals().for_each(|signal| set(signal, 0));
    burst();
    let found: Vec<_> = FOUND.iter().map(|at| at.load(Ordering::SeqCst)).collect();
    let distance = found.windows(2).map(|two| two[0].abs_diff(two[1])).max();
    println!("{}", distance.expect("there are several"));
}

/// The same on an alternate stack that has room for eight of the kernel's frames, and 1 KiB.
fn on_a_small_stack() {
    // SAFETY: reads a number that the kernel has given.
    let least = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
    let size = DEPTH * (least + MORE) + 1024;
    let guard = 4096;
    let (rights, kind) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let length = (size + guard).next_multiple_of(4096);
    // SAFETY: a new mapping.
    let map = unsafe { libc::mmap(std::ptr::null_mut(), length, rights, kind, -1, 0) };
    assert_ne!(map, libc::MAP_FAILED);
    // SAFETY: its first page, which catches an overflow.
    assert_eq!(unsafe { libc::mprotect(map, guard, libc::PROT_NONE) }, 0);
    let stack = libc::stack_t { ss_sp: map.wrapping_byte_add(guard), ss_flags: 0, ss_size: size };
    // SAFETY: memory that stays.
    assert_eq!(unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) }, 0);
    signals().for_each(|signal| set(signal, libc::SA_ONSTACK));
    burst();
    let within = |at: &AtomicUsize| {
        at.load(Ordering::SeqCst).wrapping_sub(stack.ss_sp.addr()) < stack.ss_size
    };
    assert!(FOUND.iter().all(within), "the handlers ran on the alternate stack");
}

fn run(name: &str, mode: Mode) -> (Exit, String) {
    let mut command = victim(name);
    mode.apply(&mut command);
    Running::start(command).finish()
}

/// The kernel's frames are as close together as without sigplane.
fn frames_are_close() {
    let [bare, shim, owned] = Mode::ALL.map(|mode| {
        let (exit, said) = run("nested", mode);
        assert_eq!(exit, Exit::Code(0), "{mode:?}: {said}");
        said.trim().parse::<usize>().expect("a distance")
    });
    assert_eq!(bare, shim);
    assert!(owned <= bare + MORE, "{owned} bytes, and {bare} without sigplane");
}

/// A stack that is just large enough stays so.
fn a_small_stack_suffices() {
    for mode in Mode::ALL {
        assert_eq!(run("on_a_small_stack", mode), (Exit::Code(0), String::new()), "{mode:?}");
    }
}

fn main() {
    Suite {
        tests: &[
            ("frames_are_close", frames_are_close),
            ("a_small_stack_suffices", a_small_stack_suffices),
        ],
        victims: &[("nested", nested), ("on_a_small_stack", on_a_small_stack)],
    }
    .main()
}
