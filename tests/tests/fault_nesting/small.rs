//! Alternate stacks that are too small, and other places where a fault could go on for ever.

use super::{crash, recurse, victim_starts};
use sigplane::fault::{self, CodeRanges, Region};
use sigplane::{FaultKind, Signal, SignalSet, Verdict, subscribe};
use sigplane_tests::observer::say;
use sigplane_tests::{Running, victim};
use std::hint::black_box;

// A handler that needs more than its alternate stack has: the process ends by SIGSEGV, and does not begin
// again and again at the stack's top, whether a guard page follows it or other memory.
pub fn alternate_stacks() {
    for what in ["region", "code", "entry", "hook"] {
        for below in [0, 64 << 10] {
            let mut command = victim("small");
            command.env("SIGPLANE_WHAT", what).env("SIGPLANE_BELOW", below.to_string());
            let (exit, output) = Running::start(command).finish();
            let told = format!(
                "{what}, {below} bytes below: {exit:?} {}",
                &output[..output.len().min(500)]
            );
            assert_eq!(exit.signal(), Some(libc::SIGSEGV), "{told}");
            assert_eq!(output.lines().filter(|line| *line == what).count(), 1, "{told}");
        }
    }
}

/// An alternate stack of 16 KiB with so many bytes of other memory between it and a guard page.
#[allow(clippy::disallowed_methods, reason = "plays a program with a stack of its own")]
fn alternate_stack(below: usize) {
    const SIZE: usize = 16 << 10;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping, whose upper part becomes the stack.
    unsafe {
        let length = 4096 + below + SIZE;
        let at = libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0);
        assert_ne!(at, libc::MAP_FAILED);
        assert_eq!(libc::mprotect(at, 4096, libc::PROT_NONE), 0);
        let base = at.cast::<u8>().add(4096 + below).cast();
        let stack = libc::stack_t { ss_sp: base, ss_flags: 0, ss_size: SIZE };
        assert_eq!(libc::sigaltstack(&raw const stack, std::ptr::null_mut()), 0);
    }
}

pub fn small() {
    let what = std::env::var("SIGPLANE_WHAT").unwrap();
    let below = std::env::var("SIGPLANE_BELOW").unwrap().parse().unwrap();
    victim_starts();
    // No dump of this one.
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a valid limit.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
    let too_much = |name: &'static str| {
        move || {
            say(name, &[]);
            black_box(recurse(0));
        }
    };
    // SAFETY: they overflow their stack, holding nothing.
    unsafe {
        match &*what {
            "region" => {
                let run = too_much("region");
                let region = Region::new(0..usize::MAX, move |_| {
                    run();
                    Verdict::Handled
                });
                std::mem::forget(region.unwrap());
            }
            "code" => {
                let run = too_much("code");
                let code = CodeRanges::new(move |_| {
                    run();
                    Verdict::Handled
                });
                std::mem::forget(code.unwrap().insert(0..usize::MAX).unwrap());
            }
            "entry" => {
                let run = too_much("entry");
                let sub = subscribe(Signal::SEGV).immediate(move |_| {
                    run();
                    Verdict::Handled
                });
                sub.unwrap().detach();
            }
            _ => {
                let run = too_much("hook");
                fault::last_chance(SignalSet::FAULTS, 0, move |_| run()).unwrap().detach();
            }
        }
    }
    alternate_stack(below);
    crash();
}

// A program that has misaligned accesses trap (the AC flag) faults: the handler runs with the flag as it was
// (the kernel leaves it on), and the fault is recovered nevertheless.
pub fn alignment_checks() {
    fault::enable().unwrap();
    for _ in 0..100 {
        let (code, pc): (u64, usize);
        // SAFETY: a fault that lands, with the flag set meanwhile.
        unsafe {
            std::arch::asm!(
                "pushfq",
                "or dword ptr [rsp], 0x40000",
                "popfq",
                "xor edx, edx",
                "2: mov eax, [r8]",
                "3: pushfq",
                "and dword ptr [rsp], ~0x40000",
                "popfq",
                sigplane::fixup!("2b", "3b", "3b"),
                in("r8") 0x19usize,
                out("rax") _,
                out("r11") pc,
                out("rdx") code,
            );
        }
        let fault = fault::Fault::from_landing(0x19, code, pc);
        // Which of the two the processor finds first is its own matter.
        assert!(matches!(fault.kind(), FaultKind::Unmapped | FaultKind::Misaligned), "{fault:?}");
    }
}
