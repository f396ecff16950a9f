//! Children that share their parent's memory, by vfork and posix_spawn, change their own dispositions and
//! masks while signals storm at the parent: the parent's table stays as it is, no signal is lost or handled
//! in the wrong process, and the children start with what they asked for (issue 4, acceptance 5; BRIEF §7).

use sigplane_tests::Suite;
use sigplane_tests_shim::program::{Scratch, alike, find, find_or_skip, observe, script};
use sigplane_tests_shim::{Mode, compile};
use std::process::Command;

/// A C program: 240 children by vfork that call sigaction, signal and sigprocmask, handle a signal by a
/// handler of their own, and execute a program or end; and by posix_spawn with `setsigdefault`. Meanwhile
/// 8,000 queued values arrive at the parent, each in its order. The parent looks at all its dispositions and
/// its mask, in the kernel and as read back: they are what they were.
fn c_program() {
    let scratch = Scratch::new("vfork");
    let storm = compile::c("vfork_storm/storm.c", scratch.path().join("storm"), &[]);
    let model = alike(|mode| {
        let mut command = Command::new(&storm);
        command.args(["240", "4000"]);
        observe(mode, command)
    });
    let good = "sender 0, changed 0, wrong 0, handled in children each, pinged still\n\
                values of 0: all\nvalues of 1: all\n";
    assert!(model.starts_with(good) && model.ends_with("Code(0)\n"), "{model}");
    // Those by vfork kept what they had ignored; those by posix_spawn got the default action for SIGINT.
    for kind in ["kind 0 found 0x82002 0x4000 0", "kind 2 found 0 0x1 0"] {
        assert!(model.contains(kind), "{kind}: {model}");
    }
}

/// What came during vfork is delivered at its return: handlers that run there are the parent's.
fn at_the_return() {
    let scratch = Scratch::new("vfork-return");
    let program = scratch.path().join("returns");
    let program = compile::c("vfork_storm/returns.c", program, &["-pthread"]);
    let model = alike(|mode| observe(mode, Command::new(&program)));
    let good = "set at the return: second\nonce: 1, then default\n\
                after a jump, another thread reads: second\nCode(0)\n";
    assert_eq!(model, good);
}

/// Children by `clone` that share memory but not actions change nothing of their parent's.
fn by_clone() {
    let scratch = Scratch::new("clones");
    let program = compile::c("vfork_storm/clones.c", scratch.path().join("clones"), &[]);
    let model = alike(|mode| observe(mode, Command::new(&program)));
    let good = |status| format!("child: 1, status {status}; parent: unchanged\nthen: default\n");
    assert_eq!(model, good("0x300").repeat(2) + &good("0x400").repeat(2) + "Code(0)\n");
}

/// CPython's subprocess, on two threads, with and without `restore_signals`, under a storm.
fn cpython_subprocess() {
    let python = find("python3").unwrap_or_else(|| find_or_skip("python"));
    let model = alike(|mode| {
        let mut command = Command::new(&python);
        command.arg(script("vfork_storm/storm.py")).arg("40");
        observe(mode, command)
    });
    assert!(model.contains("unchanged: True") && model.ends_with("Code(0)\n"), "{model}");
    assert_eq!(model.matches("handled: True").count(), 3, "{model}");
}

/// A shell that starts children by vfork, as dash does, with its own traps, ignored signals and background
/// jobs: each child gets what the shell means it to have.
fn shell() {
    let program = "trap 'echo trapped' USR1; trap '' USR2 INT; n=0\n\
        (while kill -USR1 $$ 2>/dev/null; do env true; done) & storm=$!\n\
        while [ $n -lt 60 ]; do n=$((n + 1)); grep -E '^Sig(Ign|Blk|Cgt)' /proc/self/status; done\n\
        kill $storm; wait; trap 'echo last' USR1; kill -USR1 $$; trap - USR2; kill -USR2 $$; echo survived";
    let model = alike(|mode| {
        let mut command = Command::new("sh");
        command.args(["-c", program]);
        let seen = observe(mode, command);
        // How often the trap runs depends on time.
        let lines: Vec<&str> = seen.lines().filter(|line| *line != "trapped").collect();
        lines.join("\n")
    });
    assert_eq!(model.matches("SigIgn").count(), 60, "{model}");
    assert!(model.ends_with("last\nSignal { number: 12, core: false }"), "{model}");
}

/// The shim is in the processes that are compared.
fn loaded() {
    for mode in Mode::ALL {
        let mut command = Command::new("cat");
        command.arg("/proc/self/maps");
        let maps = observe(mode, command);
        assert_eq!(maps.contains("libsigplane_compat.so"), mode != Mode::Bare, "{mode:?}: {maps}");
    }
}

fn main() {
    Suite {
        tests: &[
            ("loaded", loaded),
            ("c_program", c_program),
            ("at_the_return", at_the_return),
            ("by_clone", by_clone),
            ("cpython_subprocess", cpython_subprocess),
            ("shell", shell),
        ],
        victims: &[],
    }
    .main()
}
