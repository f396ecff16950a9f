//! The core dump of a death that sigplane let happen: it carries the sender's information, or the
//! fault's, and the interrupted code. Acceptance line 5 of the issue, and BRIEF §5 and §7.

use sigplane::Signal;
use sigplane_tests::core_dump::{Cores, Dump, allow};
use sigplane_tests::observer::{WAYS, numbers, observer, send_as_told};
use sigplane_tests::{Exit, Suite, victim};

/// Lets a victim die when it is ready; what it printed, and its dump.
fn dump(cores: &Cores, name: &str, sent: impl Fn(i32)) -> (Exit, String, Dump) {
    cores.dump(victim(name), |child| {
        child.expect("ready");
        sent(child.pid());
    })
}

// Issue line 5: the core dump of a defaulted SIGQUIT carries the sender's siginfo, whichever way it was
// sent, and shows the code that was interrupted.
fn a_core_dump_carries_the_sender() {
    let cores = Cores::new_or_skip();
    for (way, code) in WAYS {
        let (exit, output, dump) =
            dump(&cores, "dumps", |pid| send_as_told(pid, pid, Signal::QUIT, way));
        assert_eq!(exit, Exit::Signal { number: 3, core: true }, "{way}: {output}");
        let saw = numbers(output.trim_end());
        assert_eq!((dump.signo, dump.cursig, dump.code), (3, 3, code), "{way}: {dump:?}");
        assert_eq!(dump.words[0], std::process::id() as i32, "{way}: {dump:?}");
        if code == libc::SI_QUEUE {
            assert_eq!(dump.value as i32, 77, "{way}");
        }
        assert_eq!((saw[2], saw[4]), (dump.words[0].into(), dump.rip), "{way}: {dump:?}");
    }
}

fn dumps() {
    allow();
    let _sub = observer(Signal::QUIT);
    println!("ready");
    loop {
        std::hint::spin_loop();
    }
}

// BRIEF §5, a synchronous fault that an immediate entry only observed: exit status, dump and fault
// address are those of the original fault; the same for an int3, which does not repeat.
fn a_fault_keeps_its_core_dump() {
    let cores = Cores::new_or_skip();
    let (exit, output, death) = dump(&cores, "segv", |_| ());
    assert_eq!(exit, Exit::Signal { number: libc::SIGSEGV, core: true }, "{output}");
    let saw = numbers(output.trim_end());
    assert_eq!((death.signo, death.cursig, death.code), (11, 11, 1), "SEGV_MAPERR: {death:?}");
    assert_eq!((death.address(), death.rip), (0x1234_5678, saw[4]), "{death:?}");
    assert_eq!(saw[..3], [11, 1, 0x1234_5678], "seen once: {output}");

    let (exit, output, death) = dump(&cores, "int3", |_| ());
    assert_eq!(exit, Exit::Signal { number: libc::SIGTRAP, core: true }, "{output}");
    let saw = numbers(output.trim_end());
    assert_eq!((death.signo, death.cursig, death.code), (5, 5, 0x80), "SI_KERNEL: {death:?}");
    assert_eq!((saw[0], saw[1], saw[4]), (5, 0x80, death.rip), "{output}");
}

fn segv() {
    allow();
    // In front of the default, not of Rust's own handler, which would report the fault otherwise.
    sigplane_tests::raw::install(libc::SIGSEGV, libc::SIG_DFL, 0, &[]);
    let _sub = observer(Signal::SEGV);
    println!("ready");
    // SAFETY: none: it is meant to fault.
    unsafe { std::ptr::with_exposed_provenance::<u8>(0x1234_5678).read_volatile() };
    println!("survived");
}

fn int3() {
    allow();
    let _sub = observer(Signal::TRAP);
    println!("ready");
    // SAFETY: a breakpoint.
    unsafe { std::arch::asm!("int3") };
    println!("survived");
}

fn main() {
    Suite {
        tests: &[
            ("a_core_dump_carries_the_sender", a_core_dump_carries_the_sender),
            ("a_fault_keeps_its_core_dump", a_fault_keeps_its_core_dump),
        ],
        victims: &[("dumps", dumps), ("segv", segv), ("int3", int3)],
    }
    .main()
}
