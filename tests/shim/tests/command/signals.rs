//! What a report finds beside handlers: blocked faults, and signals that were not queued.

use super::trace::lines;
use super::{path, written};
use serde_json::Value;
use sigplane_tests::{Exit, Running, output_of};
use sigplane_tests_shim::program::{Scratch, kill, until};
use sigplane_tests_shim::{Mode, compile, sigplane};
use std::process::Command;

/// The findings of this kind: signals and text.
fn findings(report: &Value, kind: &str) -> Vec<(Vec<Value>, String)> {
    let all = report["findings"].as_array().expect("a list").iter();
    let all = all.filter(|one| one["kind"] == kind);
    let text = |one: &Value| one["text"].as_str().expect("a text").to_owned();
    all.map(|one| (one["signals"].as_array().expect("a list").clone(), text(one))).collect()
}

/// Who blocks the signals of faults is noted, once for each object, by whichever function; also for a thread by
/// its attributes. Other signals are nobody's concern.
pub fn who_blocks_faults() {
    let scratch = Scratch::new("command-blocks");
    let (folder, file) = (scratch.path(), scratch.path().join("report"));
    compile::shared("command/careful.c", folder.join("libcareful.so"), &[]);
    let (place, rpath) =
        (format!("-L{}", folder.display()), format!("-Wl,-rpath,{}", folder.display()));
    let arguments = ["-pthread", place.as_str(), &rpath, "-lcareful"];
    let blocks = path(&compile::c("command/blocks.c", folder.join("blocks"), &arguments));
    let all = ["SIGILL", "SIGTRAP", "SIGBUS", "SIGFPE", "SIGSEGV", "SIGSYS"].map(Value::from);
    for way in ["sigprocmask", "pthread_sigmask", "sighold", "sigblock", "syscall", "thread"] {
        let _none = std::fs::remove_file(&file);
        let output = path(&file);
        let run = sigplane(&["run", "--report", "json", "--output", &output, "--", &blocks, way]);
        assert_eq!(output_of(run), (Exit::Code(0), "done\n".to_owned()), "{way}");
        let report: Value = serde_json::from_str(&written(&file)).expect("JSON");
        let mut noted = findings(&report, "fault-blocked");
        // What the reporter happened to see is said otherwise.
        noted.retain(|(_, text)| !text.starts_with("seen blocked"));
        let [(one, program), (six, library)] = &noted[..] else { panic!("{way}: {report:#}") };
        assert_eq!((&one[..], &six[..]), (&["SIGSEGV".into()][..], &all[..]), "{way}");
        assert!(program.starts_with("blocks block_one") && program.contains("SEGV"), "{program}");
        assert!(
            library.starts_with("libcareful.so take_care") && library.contains("all"),
            "{library}"
        );
    }
}

/// Instances that the kernel refuses are counted, and who sent them is named; the answers are libc's.
pub fn what_is_not_queued() {
    let scratch = Scratch::new("command-floods");
    let file = scratch.path().join("report");
    let floods =
        path(&compile::c("command/floods.c", scratch.path().join("floods"), &["-pthread"]));
    let mut bare = Command::new(&floods);
    Mode::Bare.apply(&mut bare);
    let model = output_of(bare);
    assert_eq!(model, (Exit::Code(0), "3 refused, 2 refused, EINVAL, 0\n".to_owned()));
    let run = sigplane(&["run", "--report", "json", "--output", &path(&file), "--", &floods]);
    assert_eq!(output_of(run), model);
    let report: Value = serde_json::from_str(&written(&file)).expect("JSON");
    let [(signals, text)] = &findings(&report, "not-queued")[..] else { panic!("{report:#}") };
    assert_eq!(signals[..], [Value::from("SIGRTMIN")]);
    assert!(text.starts_with("floods flood") && text.contains("5 in all"), "{text}");
}

/// A queue that is full while the program runs is seen, whoever filled it.
pub fn a_full_queue() {
    let scratch = Scratch::new("command-full");
    let (file, trace) = (scratch.path().join("report"), scratch.path().join("trace"));
    let floods =
        path(&compile::c("command/floods.c", scratch.path().join("floods"), &["-pthread"]));
    let (file_path, trace_path) = (path(&file), path(&trace));
    let options = ["run", "--trace", &trace_path, "--report", "json", "--output", &file_path, "--"];
    let mut run = Running::start(sigplane(&[&options[..], &[&floods, "fill"]].concat()));
    run.expect("ready");
    // The reporter looks at the queue behind each look at the changes: between two lines, it has.
    for changes in 1..=2 {
        run.tell("");
        run.expect("filled");
        let of_program = |line: &&Value| line["event"] == "changed" && line["signal"] == "SIGUSR2";
        until("the change", || lines(&trace).iter().filter(of_program).count() == changes);
    }
    kill(run.pid(), libc::SIGKILL);
    assert_eq!(run.wait().signal(), Some(libc::SIGKILL));
    let report: Value = serde_json::from_str(&written(&file)).expect("JSON");
    assert_eq!(findings(&report, "queue-full").len(), 1, "{report:#}");
}
