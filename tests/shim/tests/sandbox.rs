//! Programs that have forbidden themselves all system calls but those that they need. The shim makes no other
//! where a function can do without; `design/limitations.md` ("Programs that install a seccomp filter") names those
//! that cannot.

use sigplane_tests::Suite;
use sigplane_tests_shim::program::{Scratch, observe};
use sigplane_tests_shim::{Mode, compile};
use std::process::Command;

fn run(function: &str, mode: Mode) -> String {
    let scratch = Scratch::new("sandbox");
    let program = compile::c("sandbox.c", scratch.path().join("sandbox"), &["-ldl"]);
    let mut command = Command::new(&program);
    command.arg(function);
    observe(mode, command)
}

/// Each function with its own system call allowed, and nothing else.
fn no_other_system_call() {
    let functions = [
        "sigaction",
        "signal",
        "sigprocmask",
        "ppoll",
        "sigaltstack",
        "dlclose",
        "execv",
        "delivery",
    ];
    for function in functions {
        for mode in [Mode::Bare, Mode::Shim] {
            assert_eq!(run(function, mode), "Code(0)\n", "{function}, {mode:?}");
        }
    }
}

/// The filter is there, and kills for another call.
fn another_one_kills() {
    let seen = run("another", Mode::Bare);
    assert!(seen.starts_with("Signal { number: 31"), "{seen}");
}

fn main() {
    Suite {
        tests: &[
            ("no_other_system_call", no_other_system_call),
            ("another_one_kills", another_one_kills),
        ],
        victims: &[],
    }
    .main()
}
