//! Alternate stacks that are too small, and other places where a fault could go on for ever.

use super::{crash, recurse, victim_starts};
use sigplane::fault::{self, CodeRanges, Region};
use sigplane::{FaultKind, Signal, SignalSet, Verdict, subscribe};
use sigplane_tests::core_dump::Cores;
use sigplane_tests::observer::{say, send_as_told};
use sigplane_tests::{Exit, Running, victim};
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

// The signals of faults that somebody sent, in the middle of a guarded call and of copies (issue 5, line 7): the
// core dump has the sender, by kill and by sigqueue.
pub fn sent_ones_dump_their_sender() {
    let cores = Cores::new_or_skip();
    for number in
        [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS]
    {
        for (name, code) in [("sent_by_kill", libc::SI_USER), ("sent_by_queue", libc::SI_QUEUE)] {
            // SAFETY: this test has one thread.
            unsafe { std::env::set_var("SIGPLANE_SIGNAL", number.to_string()) };
            let (exit, output, dump) = cores.dump(victim(name), |_| ());
            let lines: Vec<_> = output.lines().collect();
            assert_eq!(exit, Exit::Signal { number, core: true }, "{name}: {lines:?}");
            dump.is_sent(number, code, lines[0].parse().unwrap());
        }
    }
}

fn sent(way: &str) {
    victim_starts();
    let number: i32 = std::env::var("SIGPLANE_SIGNAL").unwrap().parse().unwrap();
    let (pid, signal) = (std::process::id() as i32, Signal::try_from(number).unwrap());
    println!("{pid}");
    // SAFETY: a system call, and copies of memory of its own.
    let ended = unsafe {
        fault::guarded(|| {
            send_as_told(pid, pid, signal, way);
            let (from, mut to) = ([1u8; 4096], [0u8; 4096]);
            (0..100).for_each(|_| fault::try_copy_from(from.as_ptr(), &mut to).unwrap());
        })
    };
    println!("survived: {ended:?}");
}

pub fn sent_by_kill() {
    sent("kill");
}

pub fn sent_by_queue() {
    sent("sigqueue");
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

// An entry after the legacy action: the handler before it had its signal blocked, and the entry may fault and
// recover all the same; if it faults without recovering it has not taken the fault.
pub fn entries_after_a_handler() {
    extern "C" fn handler(_: i32) {}
    sigplane_tests::raw::install(libc::SIGSEGV, handler as *const () as usize, 0, &[]);
    // SAFETY: recovers, and skips the instruction.
    let sub = unsafe {
        subscribe(Signal::SEGV).place(sigplane::Place::AfterLegacy).immediate(|delivery| {
            if fault::try_read(0x18 as *const u8).is_err()
                && let Some(context) = delivery.machine_context()
            {
                context.uc_mcontext.gregs[libc::REG_RIP as usize] += 2;
            }
            Verdict::Handled
        })
    };
    let _sub = sub.unwrap();
    // SAFETY: faults, and does not read anything.
    let bad = unsafe {
        let bad = subscribe(Signal::SEGV).place(sigplane::Place::AfterLegacy).priority(5);
        bad.immediate(|_| {
            super::fault_again(1);
            Verdict::Handled
        })
    };
    let _bad = bad.unwrap();
    fault::enable().unwrap();
    // SAFETY: skipped.
    unsafe { super::sigplane_test_crash(super::ADDRESS) };
}
