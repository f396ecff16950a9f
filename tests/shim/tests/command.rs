//! The `sigplane` command, as its users run it: "The `sigplane` command" and "Report" of the shim's issue,
//! and its line "Screens … looked at in a real terminal".
#![allow(clippy::disallowed_methods, reason = "a test here is a program that blocks a signal")]

use serde_json::Value;
use sigplane_tests::{Exit, Running, Suite, output_of, skip};
use sigplane_tests_shim::program::{Scratch, kill, until};
use sigplane_tests_shim::pty::Terminal;
use sigplane_tests_shim::{Mode, compile, library};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The command, which cargo puts in the folder above the tests'.
fn command() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let folder = test.parent().and_then(Path::parent).expect("two directories above a test");
    let path = folder.join("sigplane");
    assert!(
        path.is_file(),
        "{} is missing: run `cargo test --workspace`, or build it with `cargo build -p sigplane-compat`",
        path.display()
    );
    path
}

fn sigplane(arguments: &[&str]) -> Command {
    let mut command = Command::new(self::command());
    Mode::Bare.apply(&mut command);
    command.args(arguments).env("SIGPLANE_LIBRARY", library());
    command
}

/// The program with two libraries that want the same signal.
fn both(scratch: &Scratch) -> String {
    let folder = scratch.path();
    compile::shared("command/early.c", folder.join("libearly.so"), &[]);
    compile::shared("command/late.c", folder.join("liblate.so"), &[]);
    let (place, rpath) =
        (format!("-L{}", folder.display()), format!("-Wl,-rpath,{}", folder.display()));
    let arguments = [place.as_str(), &rpath, "-learly", "-llate"];
    path(&compile::c("command/both.c", folder.join("both"), &arguments))
}

fn path(path: &Path) -> String {
    path.to_str().expect("a path of the tests' own").to_owned()
}

/// What the reporter has written, when it has.
fn written(file: &Path) -> String {
    let mut text = String::new();
    until("the report", || {
        text = std::fs::read_to_string(file).unwrap_or_default();
        text.ends_with('\n')
    });
    text
}

/// The program's pid is the command's, and its exit status and the signal that ends it are the bare
/// program's, with and without a reporter.
fn ends_as_without() {
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
fn own_failures() {
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
fn nothing_is_left_behind() {
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

/// The report names the objects: who installed, who replaced whose handler, who runs without SA_ONSTACK
/// beside an alternate stack; when the program exits and when a signal ends it.
fn report_names_objects() {
    let scratch = Scratch::new("command-report");
    let (both, file) = (both(&scratch), scratch.path().join("report"));
    for (argument, end) in
        [(None, Exit::Code(3)), (Some("9"), Exit::Signal { number: 9, core: false })]
    {
        let _none = std::fs::remove_file(&file);
        let mut run = sigplane(&["run", "--report", "json", "--output", &path(&file), "--", &both]);
        run.args(argument);
        assert_eq!(output_of(run).0, end);
        let report: Value = serde_json::from_str(&written(&file)).expect("JSON");
        assert_eq!(report["under_shim"], true);
        let object = |value: &Value| {
            let path = value["object"].as_str().unwrap_or_default();
            Path::new(path).file_name().map(|name| name.to_string_lossy().into_owned())
        };
        let replaced = report["replaced"].as_array().expect("a list");
        let [replaced] = &replaced[..] else { panic!("one replacement: {report:#}") };
        assert_eq!(replaced["signal"], "SIGSEGV");
        assert_eq!(object(&replaced["by"]).as_deref(), Some("liblate.so"));
        assert_eq!(object(&replaced["old"]["function"]).as_deref(), Some("libearly.so"));
        assert_eq!(replaced["old"]["function"]["symbol"], "early_handler");
        assert_eq!(object(&replaced["new"]["function"]).as_deref(), Some("liblate.so"));
        let signals = report["signals"].as_array().expect("a list");
        let term = signals.iter().find(|signal| signal["signal"] == "SIGTERM").expect("SIGTERM");
        let owner = &term["owners"][term["current"].as_u64().expect("an owner") as usize];
        assert_eq!(object(&owner["installed_by"]).as_deref(), Some("both"));
        assert_eq!(owner["installed_by"]["symbol"], "main");
        assert_eq!(owner["handler"]["function"]["symbol"], "on_term");
        assert_eq!(owner["call"], "signal");
        let findings = report["findings"].as_array().expect("a list");
        let finds = |signal: &str| {
            findings.iter().any(|one| one["kind"] == "no-onstack" && one["signal"] == signal)
        };
        assert!(finds("SIGSEGV") && !finds("SIGUSR2"), "{findings:#?}");
    }
    // As text, on standard error, behind what the program said.
    let (exit, output) = output_of(sigplane(&["run", "--report", "text", "--", &both]));
    assert_eq!(exit, Exit::Code(3));
    let line = "liblate.so replaced libearly.so's SIGSEGV handler (early_handler) at";
    assert!(output.starts_with("ready ") && output.contains(line), "{output}");
}

/// The report goes on with the program that the first one executes in its place, as wrappers do.
fn report_follows_exec() {
    let scratch = Scratch::new("command-exec");
    let (both, file) = (both(&scratch), scratch.path().join("report"));
    let script = format!("trap : USR1; exec env {both}");
    let arguments =
        ["run", "--report", "json", "--output", &path(&file), "--", "bash", "-c", &script];
    assert_eq!(output_of(sigplane(&arguments)).0, Exit::Code(3));
    let report: Value = serde_json::from_str(&written(&file)).expect("JSON");
    assert_eq!(report["executable"], both);
    assert_eq!(report["replaced"][0]["signal"], "SIGSEGV", "{report:#}");
    assert_eq!(report["replaced"][0]["old"]["function"]["symbol"], "early_handler");
}

/// The trace has every change, in order, one JSON object a line.
fn trace_has_every_change() {
    let scratch = Scratch::new("command-trace");
    let (both, file) = (both(&scratch), scratch.path().join("trace"));
    let (exit, _) = output_of(sigplane(&["run", "--trace", &path(&file), "--", &both]));
    assert_eq!(exit, Exit::Code(3));
    let mut lines: Vec<Value> = Vec::new();
    until("the trace", || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        lines = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        lines.iter().filter(|line| line["event"] == "changed").count() >= 4
    });
    let changed = lines.iter().filter(|line| line["event"] == "changed");
    let order: Vec<_> = changed.map(|line| line["signal"].as_str().unwrap_or_default()).collect();
    assert_eq!(order, ["SIGTERM", "SIGSEGV", "SIGUSR2", "SIGSEGV"], "{lines:#?}");
    let sequence: Vec<_> = lines.iter().map(|line| line["sequence"].as_u64()).collect();
    assert!(sequence.is_sorted() && !sequence.contains(&None), "{sequence:?}");
}

/// `table` of a process under the shim: handlers by object and function, who installed them, what is
/// pending and blocked; as text and as JSON.
fn table_of_a_process_under_the_shim() {
    let scratch = Scratch::new("command-table");
    let both = both(&scratch);
    let mut run = Running::start(sigplane(&["run", "--", &both, "wait"]));
    run.expect("waiting");
    let pid = run.pid().to_string();
    let (exit, text) = output_of(sigplane(&["table", &pid]));
    assert_eq!(exit, Exit::Code(0), "{text}");
    for part in [
        "under the shim",
        "liblate.so late_handler",
        "late_start",
        "early_handler",
        "on_term",
        "USR1",
    ] {
        assert!(text.contains(part), "{part:?} in\n{text}");
    }
    let (exit, text) = output_of(sigplane(&["table", "--json", &pid]));
    assert_eq!(exit, Exit::Code(0));
    let table: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(table["process"], run.pid());
    assert_eq!(table["under_shim"], true);
    assert_eq!(table["threads"][0]["blocked"], serde_json::json!(["SIGUSR1"]));
    assert_eq!(table["threads"][0]["pending"], serde_json::json!(["SIGUSR1"]));
    kill(run.pid(), libc::SIGKILL);
    assert_eq!(run.wait().signal(), Some(libc::SIGKILL));
}

/// `table` of any other process: what /proc tells, decoded.
fn table_of_a_foreign_process() {
    let mut shell = Command::new("bash");
    shell.args(["--norc", "-c", "trap : USR2; trap '' PIPE; echo ready; read line"]);
    Mode::Bare.apply(&mut shell);
    let mut run = Running::start(shell);
    run.expect("ready");
    let (exit, text) = output_of(sigplane(&["table", "--json", &run.pid().to_string()]));
    assert_eq!(exit, Exit::Code(0), "{text}");
    let table: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(table["under_shim"], false);
    let has = |list: &str, signal: &str| {
        table[list].as_array().is_some_and(|list| list.iter().any(|one| one == signal))
    };
    assert!(has("caught", "SIGUSR2") && has("ignored", "SIGPIPE"), "{table:#}");
    assert!(!has("caught", "SIGPIPE") && !has("ignored", "SIGUSR2"), "{table:#}");
    let (_, text) = output_of(sigplane(&["table", &run.pid().to_string()]));
    assert!(text.contains("not under the shim") && text.contains("SIGUSR2"), "{text}");
    // Who may not look inside is told so, and still gets what /proc tells everybody.
    // SAFETY: it takes nothing and cannot fail.
    if unsafe { libc::geteuid() } == 0 {
        let copy = Scratch::new("command-nobody");
        let program = copy.path().join("sigplane");
        std::fs::copy(self::command(), &program).expect("it can be copied");
        let mut nobody = Command::new(&program);
        Mode::Bare
            .apply(nobody.current_dir("/").args(["table", &run.pid().to_string()]).uid(65534));
        let (exit, text) = output_of(nobody);
        assert_eq!(exit, Exit::Code(0), "{text}");
        assert!(text.contains("closed to this user") && text.contains("SIGUSR2"), "{text}");
    }
}

/// Somebody who subscribes through sigplane, with a handler of POSIX's beside it.
fn subscriber() {
    extern "C" fn handler(_signal: i32) {}
    // SAFETY: the handler does nothing.
    unsafe { libc::signal(libc::SIGUSR1, handler as extern "C" fn(i32) as libc::sighandler_t) };
    let inbox = sigplane::subscribe(sigplane::Signal::USR1).name("drain").priority(7).inbox();
    let inbox = inbox.expect("it can be subscribed");
    println!("ready");
    let mut line = String::new();
    while std::io::stdin().read_line(&mut line).is_ok_and(|read| read > 0) {
        println!("got {:?}", inbox.recv().signal());
    }
}

/// `table` shows subscriptions beside handlers, and counts what went through sigplane; with sigplane
/// linked into the program, under the shim and without it.
fn table_shows_subscribers() {
    for (arguments, is_under) in [(&[][..], false), (&["run", "--"][..], true)] {
        let test = std::env::current_exe().expect("the test's own path");
        let mut command = match arguments {
            [] => sigplane_tests::victim("subscriber"),
            _ => sigplane(&[arguments, &[&path(&test)]].concat()),
        };
        command.env("SIGPLANE_VICTIM", "subscriber");
        let mut run = Running::start(command);
        run.expect("ready");
        for _ in 0..3 {
            kill(run.pid(), libc::SIGUSR1);
            run.tell("");
            run.expect("got SIGUSR1");
        }
        let (exit, text) = output_of(sigplane(&["table", "--json", &run.pid().to_string()]));
        assert_eq!(exit, Exit::Code(0), "{text}");
        let table: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(table["under_shim"], is_under);
        let list = table["subscribers"].as_array().expect("a list");
        let one = list.iter().find(|one| one["name"] == "drain").expect("the subscriber");
        assert_eq!(one["signals"], serde_json::json!(["SIGUSR1"]));
        assert_eq!((&one["context"], &one["priority"]), (&"inbox".into(), &7.into()));
        assert_eq!((&one["queued"], &one["taken"]), (&3.into(), &3.into()));
        assert!(one["location"].as_str().is_some_and(|file| file.contains("command.rs:")), "{one}");
        assert_eq!(table["deliveries"]["SIGUSR1"]["delivered"], 3, "{table:#}");
        let (_, text) = output_of(sigplane(&["table", &run.pid().to_string()]));
        assert!(text.contains("drain") && text.contains("3 went through sigplane"), "{text}");
        assert_eq!(run.wait(), Exit::Code(0));
    }
}

/// With `--own`, deliveries are counted: the trace has them, and the report their sum.
fn own_mode_counts_deliveries() {
    let scratch = Scratch::new("command-own");
    let (trace, report) = (scratch.path().join("trace"), scratch.path().join("report"));
    let script = "trap 'echo caught' USR1; echo ready; while read line; do :; done";
    let (trace_path, report_path) = (path(&trace), path(&report));
    let options =
        ["run", "--own", "--trace", &trace_path, "--report", "json", "--output", &report_path];
    let mut run =
        Running::start(sigplane(&[&options, &["--", "bash", "--norc", "-c", script][..]].concat()));
    run.expect("ready");
    let total = || {
        let text = std::fs::read_to_string(&trace).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let delivered =
            lines.filter(|line| line["event"] == "delivered" && line["signal"] == "SIGUSR1");
        delivered.filter_map(|line| line["count"].as_u64()).sum::<u64>()
    };
    for count in 1..=3 {
        kill(run.pid(), libc::SIGUSR1);
        until("the delivery's line", || total() == count);
    }
    assert_eq!(run.wait(), Exit::Code(0));
    let report: Value = serde_json::from_str(&written(&report)).expect("JSON");
    assert_eq!(report["deliveries"]["SIGUSR1"]["delivered"], 3, "{report:#}");
}

/// `top` draws owners, follows a stop, and leaves the terminal as it was by `q` and by SIGTERM, which
/// also ends it as such; the settings are compared by stty.
fn top_in_a_terminal() {
    let scratch = Scratch::new("command-top");
    let both = both(&scratch);
    let mut run = Running::start(sigplane(&["run", "--", &both, "wait"]));
    run.expect("waiting");
    let command = path(&command());
    let script = format!(
        "stty cols 150 rows 30; stty -g; {command} top {pid}; echo status $?; stty -g; \
         {command} top {pid}; echo status $?; stty -g; echo end",
        pid = run.pid()
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).env("TERM", "xterm");
    let mut terminal = Terminal::start(Mode::Bare, shell);
    let settings = terminal.wait_for("\n");
    terminal.wait_for("late_handler");
    terminal.type_in("q");
    terminal.wait_for("status 0\n");
    assert_eq!(terminal.wait_for("\n"), settings, "after q");
    terminal.wait_for("late_handler");
    let top = children(terminal.pid());
    let [top] = &top[..] else { panic!("the shell runs top alone: {top:?}") };
    kill(*top, libc::SIGTERM);
    // Out of the alternate screen, with the cursor shown.
    terminal.wait_for("\u{1b}[?1049l");
    terminal.wait_for("status 143\n");
    assert_eq!(terminal.wait_for("\n"), settings, "after SIGTERM");
    let (_, exit) = terminal.finish();
    assert_eq!(exit, Exit::Code(0));
    // Without a terminal it says so.
    let mut piped = sigplane(&["top", &run.pid().to_string()]);
    piped.stdin(Stdio::null());
    let (exit, output) = output_of(piped);
    assert!(exit == Exit::Code(1) && output.contains("sigplane table"), "{output}");
}

fn children(pid: i32) -> Vec<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let text = text.expect("the kernel lists children");
    text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// A program without a loader runs as ever, and the warning says that the shim is not there.
fn static_program() {
    let scratch = Scratch::new("command-static");
    let program = scratch.path().join("still");
    let source = sigplane_tests_shim::program::script("command/still.c");
    let compiler = Command::new("cc").arg("-static").arg("-o").args([&program, &source]).output();
    if !compiler.is_ok_and(|output| output.status.success()) {
        skip("no static C library");
    }
    let (exit, output) = output_of(sigplane(&["run", "--report", "text", "--", &path(&program)]));
    assert_eq!(exit, Exit::Code(4));
    assert!(output.contains("still here\n") && output.contains("statically linked"), "{output}");
    assert!(output.contains("never loaded the library"), "{output}");
}

/// `doctor` tells of each subject, and its status says how bad it is.
fn doctor() {
    let (exit, text) = output_of(sigplane(&["doctor", "--json"]));
    let findings: Value = serde_json::from_str(&text).expect("JSON");
    let checks = findings["checks"].as_array().expect("a list");
    let is = |verdict: &str| checks.iter().any(|check| check["verdict"] == verdict);
    let expected = if is("FATAL") { 2 } else { i32::from(is("bad")) };
    assert_eq!(exit, Exit::Code(expected), "{text}");
    for what in
        ["kernel", "C library", "membarrier", "queued signals", "alternate stacks", "library"]
    {
        assert!(checks.iter().any(|check| check["check"] == what), "{what} in {text}");
    }
    let mut without = sigplane(&["doctor"]);
    without.env("SIGPLANE_LIBRARY", "/nowhere/libsigplane_compat.so");
    let (exit, text) = output_of(without);
    assert!(exit == Exit::Code(2) && text.contains("FATAL"), "{text}");
}

fn main() {
    Suite {
        tests: &[
            ("ends_as_without", ends_as_without),
            ("own_failures", own_failures),
            ("nothing_is_left_behind", nothing_is_left_behind),
            ("report_names_objects", report_names_objects),
            ("report_follows_exec", report_follows_exec),
            ("trace_has_every_change", trace_has_every_change),
            ("table_of_a_process_under_the_shim", table_of_a_process_under_the_shim),
            ("table_of_a_foreign_process", table_of_a_foreign_process),
            ("table_shows_subscribers", table_shows_subscribers),
            ("own_mode_counts_deliveries", own_mode_counts_deliveries),
            ("top_in_a_terminal", top_in_a_terminal),
            ("static_program", static_program),
            ("doctor", doctor),
        ],
        victims: &[("subscriber", subscriber)],
    }
    .main()
}
