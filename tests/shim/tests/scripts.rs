//! Interpreters under the shim: scripts that do with signals what their languages can.
//!
//! Issue, what must be shown, 2: "Perl, Tcl, Node signal scripts".

use sigplane_tests::{Suite, skip};
use sigplane_tests_shim::program::{alike, find_or_skip, observe, script};
use std::process::Command;

fn runs_alike(interpreter: &str, file: &str) -> String {
    let interpreter = find_or_skip(interpreter);
    alike(|mode| {
        let mut command = Command::new(&interpreter);
        command.arg(script(file)).env("LC_ALL", "C").env("TERM", "dumb");
        observe(mode, command)
    })
}

/// `%SIG`, safe and unsafe handlers, `local`, `alarm` and `die`, POSIX's calls with their read-back, masks
/// inside and after handlers, children and how they ended.
fn perl() {
    let seen = runs_alike("perl", "signals.pl");
    assert!(seen.contains("mask inside: 1,10,12,37\nmask after: \n"), "{seen}");
    assert!(seen.contains("out=50\n"), "{seen}");
    assert!(seen.ends_with("TERM\nEND block\nCode(17)\n"), "{seen}");
}

/// How children end in Tcl's eyes; Expect's traps and terminals.
fn tcl() {
    let seen = runs_alike("tclsh", "signals.tcl");
    assert!(seen.contains("TERM: CHILDKILLED SIGTERM"), "{seen}");
    assert!(seen.contains("timer\n"), "{seen}");
    assert!(seen.ends_with("Signal { number: 15, core: false }\n"), "{seen}");
}

/// `signal trap`, `block`, `error` of TclX.
fn tclx() {
    let seen = runs_alike("tclsh", "tclx.tcl");
    if seen.contains("no Tclx") {
        skip("TclX is not installed");
    }
    assert!(seen.contains("blocked: 6\nunblocked: 7\n"), "{seen}");
    assert!(seen.ends_with("Signal { number: 15, core: false }\n"), "{seen}");
}

/// Listeners for signals, children and how they ended, the ways in which node itself ends: among them its
/// handlers of faults, which it reads back and chains to.
fn node() {
    let seen = runs_alike("node", "signals.js");
    assert!(seen.contains("seen 200 caught\n"), "{seen}");
    assert!(seen.ends_with("TERM\nexit 23\nCode(23)\n"), "{seen}");
}

fn main() {
    Suite { tests: &[("perl", perl), ("tcl", tcl), ("tclx", tclx), ("node", node)], victims: &[] }
        .main()
}
