//! Faults of what handles faults: in a landing, a region's or code range's handler, an immediate entry, a
//! last-chance hook, a guarded call inside a handler, on the dispatcher, in a foreign handler. Whoever faults
//! has not taken the fault; the process ends by the original one, with its signal, core dump, address and
//! program counter, and never loops. Issue 5, "What must be shown", line 6.
//!
//! Every victim has an alarm: a loop would be the end by SIGALRM.

#[path = "fault_nesting/small.rs"]
mod small;

use sigplane::fault::{self, CodeRanges, FaultContext, Region};
use sigplane::{Signal, SignalSet, Verdict, subscribe};
use sigplane_tests::core_dump::{Cores, allow};
use sigplane_tests::observer::say;
use sigplane_tests::{Exit, Suite, eventually, quick, victim};
use std::arch::{asm, global_asm};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

global_asm!(
    ".globl sigplane_test_crash, sigplane_test_crash_at",
    "sigplane_test_crash: mov rax, rdi",
    "sigplane_test_crash_at: mov al, [rdi]",
    "ret",
);

unsafe extern "C" {
    fn sigplane_test_crash(at: usize);
    fn sigplane_test_crash_at();
}

/// Where every original fault is, and its address.
const ADDRESS: usize = 0x1234_5670;

fn crash_pc() -> usize {
    sigplane_test_crash_at as *const () as usize
}

fn crash() {
    println!("at {} {}", crash_pc() as i64, ADDRESS);
    // SAFETY: none: it is meant to fault.
    unsafe { sigplane_test_crash(ADDRESS) };
    println!("survived");
}

/// Faults in a handler, in a way that depends on `how`.
fn fault_again(how: usize) {
    // SAFETY: none, and nothing is held.
    unsafe {
        match how % 3 {
            0 => drop((0x18 as *const u8).read_volatile()),
            1 => asm!("ud2"),
            _ => {
                asm!("xor ecx, ecx", "mov eax, 1", "xor edx, edx", "div ecx", out("eax") _, out("ecx") _, out("edx") _)
            }
        }
    }
}

/// Prepares a victim: its core dump, its alarm, and the default behind sigplane.
fn victim_starts() {
    allow();
    // SAFETY: a system call.
    unsafe { libc::alarm(100) };
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        sigplane_tests::raw::install(signal, libc::SIG_DFL, 0, &[]);
    }
    fault::enable().unwrap();
}

fn bad_region(how: usize) -> Region {
    // SAFETY: it is meant to fault.
    let region = unsafe {
        Region::new(0..usize::MAX, move |_| {
            say("region", &[]);
            fault_again(how);
            Verdict::Handled
        })
    };
    region.unwrap()
}

fn bad_code(how: usize) -> impl Sized {
    // SAFETY: as above.
    let traps = unsafe {
        CodeRanges::new(move |_| {
            say("code", &[]);
            fault_again(how);
            Verdict::Handled
        })
    };
    let traps = traps.unwrap();
    traps.insert(crash_pc()..crash_pc() + 2).unwrap()
}

fn bad_entry(how: usize) -> sigplane::Subscription {
    // SAFETY: as above.
    let sub = unsafe {
        subscribe(Signal::SEGV).immediate(move |_| {
            say("entry", &[]);
            fault_again(how);
            Verdict::Handled
        })
    };
    sub.unwrap()
}

fn bad_hook(how: usize) -> fault::LastChance {
    // SAFETY: as above.
    let hook = unsafe {
        fault::last_chance(SignalSet::FAULTS, 0, move |_| {
            say("hook", &[]);
            fault_again(how);
        })
    };
    hook.unwrap()
}

// Each handler faults, alone and all of them, and the end is that of the original fault.
fn handlers_that_fault() {
    let cores = Cores::new_or_skip();
    let each: [(&str, &[&str]); 5] = [
        ("in_a_region", &["region"]),
        ("in_a_code_range", &["code"]),
        ("in_an_entry", &["entry"]),
        ("in_a_hook", &["hook"]),
        ("in_all", &["code", "region", "entry", "hook"]),
    ];
    for (name, asked) in each {
        let (exit, output, dump) = cores.dump(victim(name), |_| ());
        let lines: Vec<_> = output.lines().collect();
        assert_eq!(exit, Exit::Signal { number: libc::SIGSEGV, core: true }, "{name}: {lines:?}");
        assert_eq!(lines[1..], *asked, "{name}");
        dump.is_of(lines[0], libc::SIGSEGV, 1);
    }
}

fn in_a_region() {
    victim_starts();
    let _region = bad_region(0);
    crash();
}

fn in_a_code_range() {
    victim_starts();
    let _code = bad_code(1);
    crash();
}

fn in_an_entry() {
    victim_starts();
    let _entry = bad_entry(2);
    crash();
}

fn in_a_hook() {
    victim_starts();
    let _hook = bad_hook(0);
    crash();
}

fn in_all() {
    victim_starts();
    let (_region, _code, _entry, _hook) = (bad_region(1), bad_code(2), bad_entry(0), bad_hook(1));
    crash();
}

// A fixup's landing is ordinary code again: its fault is one of its own, and the end.
fn in_a_landing() {
    let cores = Cores::new_or_skip();
    let (exit, output, dump) = cores.dump(victim("lands_badly"), |_| ());
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(exit, Exit::Signal { number: libc::SIGSEGV, core: true }, "{lines:?}");
    dump.is_of(lines[0], libc::SIGSEGV, 1);
    // And one whose landing has a fixup too goes on there.
    victim_starts();
    let result: usize;
    // SAFETY: both faults land.
    unsafe {
        asm!(
            "2: mov rcx, [rcx]",
            "3: mov rcx, [rcx + 8]",
            "4: mov ecx, 77",
            sigplane::fixup!("2b", "3b", "3b"),
            sigplane::fixup!("3b", "4b", "4b"),
            inout("rcx") 8usize => result,
            out("rax") _, out("rdx") _, out("r11") _,
        );
    }
    assert_eq!(result, 77);
}

fn lands_badly() {
    victim_starts();
    let bad: usize;
    // SAFETY: the address of the label, for the test.
    unsafe {
        asm!(
            "lea rax, [rip + 5f]",
            "mov {bad}, rax",
            "jmp 6f",
            "5: mov al, [rdi]",
            "ud2",
            "6:",
            bad = out(reg) bad,
            out("rax") _,
        );
    }
    println!("at {} {}", bad as i64, ADDRESS);
    // SAFETY: the landing faults.
    unsafe {
        asm!(
            "2: mov rcx, [rcx]",
            "3: ud2",
            "4: jmp r8",
            sigplane::fixup!("2b", "3b", "4b"),
            in("r8") bad,
            in("rcx") 8usize,
            in("rdi") ADDRESS,
            options(noreturn),
        );
    }
}

// What faulted is counted, and the next in order is asked, who may take the fault.
fn the_next_is_asked() {
    static RIGHT: AtomicUsize = AtomicUsize::new(0);
    let before = sigplane::table().faults.in_handlers;
    // SAFETY: goes on behind the instruction.
    let _good = unsafe {
        Region::new(0..usize::MAX, |context: &mut FaultContext<'_>| {
            assert_eq!(context.fault().address(), Some(ADDRESS));
            RIGHT.fetch_add(1, Ordering::Relaxed);
            context.skip(2);
            Verdict::Handled
        })
    };
    let _code = bad_code(0);
    // SAFETY: faults.
    let bad = unsafe {
        Region::with_priority(0..usize::MAX, 7, |_| {
            fault_again(2);
            Verdict::Handled
        })
    };
    let rounds = quick(1000) as usize;
    for _ in 0..rounds {
        // SAFETY: it is skipped.
        unsafe { sigplane_test_crash(ADDRESS) };
    }
    drop(bad);
    assert_eq!(RIGHT.load(Ordering::Relaxed), rounds);
    let faults = sigplane::table().faults;
    assert_eq!(faults.in_handlers - before, 2 * rounds);
    assert_eq!(faults.by_region, rounds);
}

// Guarded calls and safe accesses inside handlers end there, and nothing of the outer call is lost.
fn guards_in_handlers() {
    static INNER: AtomicUsize = AtomicUsize::new(0);
    // SAFETY: as above.
    let _region = unsafe {
        Region::new(ADDRESS..ADDRESS + 1, |context: &mut FaultContext<'_>| {
            let nested = fault::guarded(|| {
                assert!(fault::guarded(|| fault_again(1)).is_err());
                fault_again(0);
            });
            let ok = nested.is_err_and(|fault| fault.address() == Some(0x18))
                && fault::try_read(0x20 as *const u8).is_err();
            INNER.fetch_add(usize::from(ok), Ordering::Relaxed);
            context.skip(2);
            Verdict::Handled
        })
    };
    let before = sigplane::table().faults;
    for _ in 0..100 {
        // SAFETY: the region skips it.
        unsafe { sigplane_test_crash(ADDRESS) };
    }
    assert_eq!(INNER.load(Ordering::Relaxed), 100);
    let after = sigplane::table().faults;
    assert_eq!(after.in_handlers, before.in_handlers);
    assert_eq!(after.by_guard - before.by_guard, 200);
    // A fault in a handler of another signal does not end the call that it interrupted.
    // SAFETY: as above.
    let _sub = unsafe {
        subscribe(Signal::USR1).immediate(|_| {
            let inner = fault::guarded(|| fault_again(0));
            INNER.fetch_add(usize::from(inner.is_err()), Ordering::Relaxed);
            Verdict::Handled
        })
    };
    // SAFETY: nothing is held.
    let outer = unsafe {
        fault::guarded(|| {
            sigplane::send::raise(Signal::USR1).unwrap();
            assert_eq!(INNER.load(Ordering::Relaxed), 101);
            fault_again(1);
        })
    };
    assert_eq!(outer.unwrap_err().signal(), Signal::ILL);
}

// A plain fault on the dispatcher's thread, in a subscriber's closure: the default, and the process ends.
fn on_the_dispatcher() {
    let cores = Cores::new_or_skip();
    let (exit, output, dump) = cores.dump(victim("dispatched"), |_| ());
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(exit, Exit::Signal { number: libc::SIGSEGV, core: true }, "{lines:?}");
    dump.is_of(lines[0], libc::SIGSEGV, 1);
}

fn dispatched() {
    victim_starts();
    let _sub = sigplane::on(Signal::USR2, |_| {
        // Recoverable ones are no matter there.
        assert!(fault::try_read(ADDRESS as *const u8).is_err());
        // SAFETY: nothing is held.
        assert!(unsafe { fault::guarded(|| fault_again(0)) }.is_err());
        crash();
    })
    .unwrap();
    sigplane::send::raise(Signal::USR2).unwrap();
    eventually("the end", || false);
}

// A handler that somebody else installed, for a signal of faults, on top of which a fault happens: it is not
// asked again, and the end is the second one's.
fn in_a_foreign_handler() {
    let cores = Cores::new_or_skip();
    let (exit, output, dump) = cores.dump(victim("foreign"), |_| ());
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(exit, Exit::Signal { number: libc::SIGSEGV, core: true }, "{lines:?}");
    assert_eq!(lines[1..], ["recovered", "foreign"]);
    dump.is_of(lines[0], libc::SIGSEGV, 1);
}

fn foreign() {
    extern "C" fn handler(_: i32) {
        // A fixup reaches its landing there.
        if fault::try_read(0x18 as *const u8).is_err() {
            say("recovered", &[]);
        }
        say("foreign", &[]);
        // SAFETY: meant to fault.
        unsafe { sigplane_test_crash(ADDRESS) };
    }
    sigplane_tests::raw::install(libc::SIGILL, handler as *const () as usize, 0, &[]);
    victim_starts();
    println!("at {} {}", crash_pc() as i64, ADDRESS);
    fault_again(1);
}

// 100,000 faults, and a storm of signals by another thread that comes at every instruction of the landings
// and the handlers: each is recovered.
fn under_a_storm() {
    static STORM: AtomicUsize = AtomicUsize::new(0);
    static END: AtomicBool = AtomicBool::new(false);
    // SAFETY: faults are recovered in the handler, too.
    let _sub = unsafe {
        subscribe(Signal::USR1).immediate(|_| {
            let n = STORM.fetch_add(1, Ordering::Relaxed);
            if n.is_multiple_of(4) && fault::try_read(0x18 as *const u8).is_ok() {
                std::process::abort();
            }
            Verdict::Handled
        })
    };
    let _sub = _sub.unwrap();
    // SAFETY: skips.
    let region = unsafe {
        Region::new(ADDRESS..ADDRESS + 1, |context: &mut FaultContext<'_>| {
            context.skip(2);
            Verdict::Handled
        })
    };
    let _region = region.unwrap();
    // SAFETY: names this thread, which outlives the storm.
    let me = unsafe { libc::pthread_self() };
    let storm = std::thread::spawn(move || {
        while !END.load(Ordering::Relaxed) {
            // SAFETY: as above.
            unsafe { libc::pthread_kill(me, libc::SIGUSR1) };
            (0..200).for_each(|_| std::hint::spin_loop());
        }
    });
    let mut buffer = [0u8; 64];
    for round in 0..quick(100_000) as usize {
        match round % 4 {
            0 => assert!(
                fault::try_read((8 * round) as *const u64 as usize as *const u8).is_err()
                    || round > 500
            ),
            1 => {
                // SAFETY: nothing is held.
                let fault = unsafe { fault::guarded(|| fault_again(round)) }.unwrap_err();
                assert_eq!(fault.done(), 0);
            }
            2 => {
                let fault = fault::try_copy_from(0x30 as *const u8, &mut buffer).unwrap_err();
                assert_eq!((fault.address(), fault.done()), (Some(0x30), 0));
            }
            // SAFETY: the region skips it.
            _ => unsafe { sigplane_test_crash(ADDRESS) },
        }
    }
    END.store(true, Ordering::Relaxed);
    storm.join().unwrap();
    assert!(STORM.load(Ordering::Relaxed) > 100, "{STORM:?}");
    assert_eq!(sigplane::table().faults.in_handlers, 0);
}

#[inline(never)]
#[allow(unconditional_recursion, reason = "it is meant to overflow")]
pub fn recurse(depth: usize) -> usize {
    let frame = black_box([depth; 32]);
    recurse(depth + 1) + frame[depth % 32]
}

fn main() {
    Suite {
        tests: &[
            ("handlers_that_fault", handlers_that_fault),
            ("in_a_landing", in_a_landing),
            ("the_next_is_asked", the_next_is_asked),
            ("guards_in_handlers", guards_in_handlers),
            ("on_the_dispatcher", on_the_dispatcher),
            ("in_a_foreign_handler", in_a_foreign_handler),
            ("under_a_storm", under_a_storm),
            ("small_alternate_stacks", small::alternate_stacks),
            ("entries_after_a_handler", small::entries_after_a_handler),
            ("sent_ones_dump_their_sender", small::sent_ones_dump_their_sender),
            ("alignment_checks", small::alignment_checks),
        ],
        victims: &[
            ("in_a_region", in_a_region),
            ("in_a_code_range", in_a_code_range),
            ("in_an_entry", in_an_entry),
            ("in_a_hook", in_a_hook),
            ("in_all", in_all),
            ("lands_badly", lands_badly),
            ("dispatched", dispatched),
            ("foreign", foreign),
            ("small", small::small),
            ("sent_by_kill", small::sent_by_kill),
            ("sent_by_queue", small::sent_by_queue),
        ],
    }
    .main()
}
