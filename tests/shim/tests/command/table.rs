//! `sigplane table`.

use super::{both, path};
use serde_json::Value;
use sigplane_tests::{Exit, Running, output_of};
use sigplane_tests_shim::program::{Scratch, kill};
use sigplane_tests_shim::{Mode, command, sigplane};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// `table` of a process under the shim: handlers by object and function, who installed them, what is
/// pending and blocked; as text and as JSON.
pub fn table_of_a_process_under_the_shim() {
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
pub fn table_of_a_foreign_process() {
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
        std::fs::copy(command(), &program).expect("it can be copied");
        let mut nobody = Command::new(&program);
        Mode::Bare
            .apply(nobody.current_dir("/").args(["table", &run.pid().to_string()]).uid(65534));
        let (exit, text) = output_of(nobody);
        assert_eq!(exit, Exit::Code(0), "{text}");
        assert!(text.contains("closed to this user") && text.contains("SIGUSR2"), "{text}");
    }
}

/// Somebody who subscribes through sigplane, with a handler of POSIX's beside it.
pub fn subscriber() {
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
pub fn table_shows_subscribers() {
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
        assert!(one["location"].as_str().is_some_and(|file| file.contains("table.rs:")), "{one}");
        assert_eq!(table["deliveries"]["SIGUSR1"]["delivered"], 3, "{table:#}");
        let (_, text) = output_of(sigplane(&["table", &run.pid().to_string()]));
        assert!(text.contains("drain") && text.contains("3 went through sigplane"), "{text}");
        assert_eq!(run.wait(), Exit::Code(0));
    }
}
