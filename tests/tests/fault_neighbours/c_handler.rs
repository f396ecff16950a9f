//! C crash handlers (`victims/crash_handler.c`): one that was there before sigplane, one that comes later,
//! and that with sigplane in front of it again. Each kind is called once for a real crash, and never for
//! a fault that sigplane takes; the process ends as the handler means it to.

use super::probe;
use sigplane::{Handler, Signal, fault, table};
use sigplane_tests::{Exit, Running, victim as victim_command};

unsafe extern "C" {
    safe fn crash_install(which: i32) -> i32;
    safe fn crash_calls() -> i32;
}

const CHAINS: i32 = 0;

/// The kinds, in the order of the enumeration in C, with how a crash ends where they stand alone.
const KINDS: [(&str, Exit); 6] = [
    ("chains", SEGV),
    ("leaves", Exit::Code(70)),
    ("reraises", SEGV),
    ("restores", SEGV),
    ("raises what it restored", SEGV),
    ("simple", SEGV),
];

const SEGV: Exit = Exit::Signal { number: libc::SIGSEGV, core: false };

fn end_of(order: &str, kind: usize) -> (Exit, String) {
    let mut command = victim_command("has_c_handler");
    command.env("ORDER", order).env("KIND", kind.to_string());
    let (exit, output) = Running::start(command).finish();
    // Whether there is a core dump depends on limits.
    let exit = match exit {
        Exit::Signal { number, .. } => Exit::Signal { number, core: false },
        code => code,
    };
    (exit, output)
}

/// For every kind: the end it has alone, and what is said meanwhile.
fn check(order: &str, expected: impl Fn(usize) -> &'static str) {
    for (kind, (name, exit)) in KINDS.into_iter().enumerate() {
        assert_eq!(end_of("alone", kind), (exit, said(kind, "")), "{name}, alone");
        assert_eq!(end_of(order, kind), (exit, said(kind, expected(kind))), "{name}, {order}");
    }
}

fn said(kind: usize, before: &str) -> String {
    let handler = if kind as i32 == CHAINS { "" } else { "crash handler\n" };
    format!("{before}{handler}")
}

/// It was there before: nothing that sigplane takes is seen by it.
pub fn first() {
    check("first", |_| "probed\n");
}

/// It comes later: the one that chains leaves everything working; of the others the table tells.
pub fn last() {
    check(
        "last",
        |kind| if kind as i32 == CHAINS { "taken over\nprobed\n" } else { "taken over\n" },
    );
}

/// Sigplane goes in front of it again.
pub fn behind_again() {
    check("behind again", |_| "taken over\nin front\nprobed\n");
}

fn is_taken_over() -> bool {
    let table = table();
    let row = table.row(Signal::SEGV).expect("taken");
    assert_eq!(row.ours, row.kernel.handler == Handler::Sigplane);
    assert_ne!(row.ours, row.taken_over);
    row.taken_over
}

/// In the order it is told; then it crashes.
pub fn victim() {
    let told = |what: &str| std::env::var(what).expect("told");
    let kind: i32 = told("KIND").parse().unwrap();
    let install = || assert_eq!(crash_install(kind), 0);
    let mut seen = 0;
    match &told("ORDER")[..] {
        "alone" => install(),
        "first" => {
            install();
            fault::enable().unwrap();
        }
        order => {
            fault::enable().unwrap();
            probe::everything();
            install();
            assert!(is_taken_over());
            println!("taken over");
            if order == "behind again" {
                fault::enable().unwrap();
                assert!(!is_taken_over());
                println!("in front");
            } else if kind == CHAINS {
                seen = 5; // Of what `everything` provokes, all but the fault that is not its.
            } else {
                crash();
            }
        }
    }
    if told("ORDER") != "alone" {
        probe::everything();
        assert!(if seen > 0 { crash_calls() >= seen } else { crash_calls() == 0 });
        println!("probed");
    }
    crash();
}

fn crash() {
    // Without Rust's own handler, which says nothing of this, but stands behind.
    probe::read(4);
    println!("survived");
}
