//! `sigplane run`: the program is what it is without.

use super::{path, written};
use sigplane_tests::{Exit, Running, output_of, skip};
use sigplane_tests_shim::program::{Scratch, script};
use sigplane_tests_shim::pty::Terminal;
use sigplane_tests_shim::{Mode, compile, library, sigplane};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The program's pid is the command's, and its exit status and the signal that ends it are the bare
/// program's, with and without a reporter.
pub fn ends_as_without() {
    let scratch = Scratch::new("command-ends");
    let output = path(&scratch.path().join("report"));
    let reported = ["run", "--report", "json", "--output", &output, "--", "sh", "-c"];
    for script in
        ["exit 0", "exit 7", "kill -TERM $$", "kill -KILL $$", "kill -SEGV $$", "kill -40 $$"]
    {
        let mut bare = Command::new("sh");
        Mode::Bare.apply(bare.args(["-c", script]));
        let (model, _) = output_of(bare);
        for arguments in
            [&["run", "--", "sh", "-c"][..], &["run", "--own", "--", "sh", "-c"], &reported]
        {
            let (exit, output) = output_of({
                let mut command = sigplane(arguments);
                command.arg(script);
                command
            });
            assert_eq!(exit, model, "{script} by {arguments:?}");
            assert_eq!(output, "", "{script} by {arguments:?}");
        }
    }
    for arguments in
        [&["run", "--", "sh", "-c", "echo $$"][..], &[&reported[..], &["echo $$"]].concat()]
    {
        let mut run = Running::start(sigplane(arguments));
        assert_eq!(run.line(), Some(run.pid().to_string()), "{arguments:?}");
        assert_eq!(run.wait(), Exit::Code(0));
    }
}

/// Failures of the command's own, as env(1): 127 for what is not found, 126 for what cannot be executed,
/// 125 for the rest, each with a reason.
pub fn own_failures() {
    let says = |command: Command, status: i32, reason: &str| {
        let (exit, output) = output_of(command);
        assert_eq!(exit, Exit::Code(status), "{output}");
        assert!(output.contains(reason), "{reason:?} in {output:?}");
    };
    says(sigplane(&["run", "--", "/nowhere/program"]), 127, "No such file");
    says(sigplane(&["run", "--", "no-program-of-this-name"]), 127, "No such file");
    says(sigplane(&["run", "--", "/proc/self/status"]), 126, "Permission denied");
    // Nobody is left to report about nothing.
    says(sigplane(&["run", "--report", "text", "--", "/nowhere/program"]), 127, "No such file");
    says(sigplane(&["run"]), 125, "COMMAND");
    says(
        sigplane(&["run", "--report", "text", "--output", "/nowhere/x", "--", "true"]),
        125,
        "/nowhere/x",
    );
    let mut without = sigplane(&["run", "--", "true"]);
    without.env("SIGPLANE_LIBRARY", "/nowhere/libsigplane_compat.so");
    says(without, 125, "SIGPLANE_LIBRARY");
    says(sigplane(&["table", "999999999"]), 1, "no process 999999999");
}

/// Descriptors, environment, masks, dispositions and children are those of a program that was started
/// with LD_PRELOAD alone, also under a reporter, and where SIGCHLD is blocked.
pub fn nothing_is_left_behind() {
    let scratch = Scratch::new("command-left");
    let report = path(&scratch.path().join("report"));
    let look = "cd /proc/self/fd; for fd in 0 1 2 3 4 5 6 7 8 9; do [ -e $fd ] && echo fd $fd; done; \
                env | grep -v ^_= | sort; grep -E '^(Sig|Shd)' /proc/self/status | grep -v SigQ; \
                cat /proc/$$/task/$$/children";
    let with_mask = |mut command: Command| {
        let block = || {
            // SAFETY: all zeroes are an empty set.
            let mut set = unsafe { std::mem::zeroed::<libc::sigset_t>() };
            // SAFETY: a set of our own, and a signal.
            unsafe { libc::sigaddset(&raw mut set, libc::SIGCHLD) };
            // SAFETY: as above. Done in the child, about to execute.
            unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
            Ok(())
        };
        // SAFETY: a system call.
        unsafe { command.pre_exec(block) };
        output_of(command)
    };
    let shell = |mut command: Command| {
        command.args(["bash", "--norc", "-c", look]).env("SIGPLANE_LIBRARY", library());
        with_mask(command)
    };
    // The first thread of this process changes what its children inherit for one of libc's own signals.
    std::thread::spawn(|| ()).join().expect("it ends");
    let mut model = Command::new("env");
    Mode::Shim.apply(&mut model);
    let model = shell(model);
    assert!(model.1.contains("LD_PRELOAD=") && model.1.contains("fd 2\n"), "{}", model.1);
    assert_eq!(shell(sigplane(&["run", "--"])), model);
    let trace = format!("{report}.trace");
    let reported = ["run", "--report", "json", "--output", &report, "--trace", &trace, "--"];
    assert_eq!(shell(sigplane(&reported)), model);
}

/// A program without a loader runs as ever, and the warning says that the shim is not there.
pub fn static_program() {
    let scratch = Scratch::new("command-static");
    let program = scratch.path().join("still");
    let source = script("command/still.c");
    let compiler = Command::new("cc").arg("-static").arg("-o").args([&program, &source]).output();
    if !compiler.is_ok_and(|output| output.status.success()) {
        skip("no static C library");
    }
    let (exit, output) = output_of(sigplane(&["run", "--report", "text", "--", &path(&program)]));
    assert_eq!(exit, Exit::Code(4));
    assert!(output.contains("still here\n") && output.contains("statically linked"), "{output}");
    assert!(output.contains("never loaded the library"), "{output}");
}

/// Input and keys of the terminal reach the program as ever, also under a reporter, which is not in the terminal's
/// session.
pub fn input_and_interrupts_arrive() {
    let scratch = Scratch::new("command-input");
    let report = path(&scratch.path().join("report"));
    let reported = ["run", "--report", "text", "--output", &report, "--"];
    let mut run = Running::start(sigplane(&[&reported[..], &["cat"]].concat()));
    run.tell("hello");
    run.expect("hello");
    assert_eq!(run.wait(), Exit::Code(0));
    let _none = std::fs::remove_file(&report);
    let mut terminal = Terminal::start_as_it_is(sigplane(&[&reported[..], &["cat"]].concat()));
    terminal.type_in("hello\n");
    // The terminal's echo, and the program's answer: it reads.
    terminal.wait_for("hello\nhello\n");
    terminal.type_in("\u{3}");
    assert_eq!(terminal.finish().1, Exit::Signal { number: libc::SIGINT, core: false });
    assert!(written(report.as_ref()).contains("sigplane report: process"));
}

/// A program that the loader runs with privileges is run, and the warning says that the shim is not there.
pub fn privileged_program() {
    // SAFETY: it takes nothing and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        skip("only root can give a program to somebody else");
    }
    let scratch = Scratch::new("command-privileged");
    let program = compile::c("command/still.c", scratch.path().join("still"), &[]);
    chown(&program, Some(65534), None).expect("root may");
    let mode = std::fs::Permissions::from_mode(0o4755);
    std::fs::set_permissions(&program, mode).expect("it is there");
    let (exit, output) = output_of(sigplane(&["run", "--", &path(&program)]));
    assert_eq!(exit, Exit::Code(4));
    assert!(output.contains("still here\n") && output.contains("set-user-id"), "{output}");
}
