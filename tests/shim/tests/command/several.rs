//! `sigplane run --report` of more than one program.

use super::{both, object, path, written};
use serde_json::Value;
use sigplane_tests::{Exit, output_of};
use sigplane_tests_shim::program::Scratch;
use sigplane_tests_shim::sigplane;

/// The report goes on with the program that the first one executes in its place, as wrappers do.
pub fn report_follows_exec() {
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

/// With `--follow`, the report has what the program's children had; each under its own name.
pub fn report_follows_children() {
    let scratch = Scratch::new("command-follow");
    let (both, file) = (both(&scratch), scratch.path().join("report"));
    let output = path(&file);
    let script = format!("{both}; {both}; true");
    let arguments = ["run", "--follow", "--report", "json", "--output", &output, "--", "sh", "-c"];
    assert_eq!(output_of(sigplane(&[&arguments[..], &[&script]].concat())).0, Exit::Code(0));
    let report: Value = serde_json::from_str(&written(&file)).expect("JSON");
    let followed = report["followed"].as_array().expect("a list");
    assert_eq!(followed.len(), 2, "{report:#}");
    for process in followed {
        assert_eq!(process["program"], both);
        let signals = process["signals"].as_array().expect("a list");
        let of = |name: &str| signals.iter().find(|one| one["signal"] == name).expect("it was set");
        assert_eq!(of("SIGTERM")["new"]["function"]["symbol"], "on_term");
        assert_eq!(object(&of("SIGTERM")["by"]), "both");
        assert_eq!(object(&of("SIGSEGV")["by"]), "liblate.so");
        let of_this = |one: &&Value| one["process"] == process["process"];
        let replaced = report["replaced"].as_array().expect("a list").iter().filter(of_this);
        assert_eq!(replaced.count(), 1, "{report:#}");
    }
}

/// A `sigplane run` under a `sigplane run`: the inner report is about the program, the outer one says where it
/// is; and where the inner one has no report, the outer one goes on.
pub fn nested_runs_report_each() {
    let scratch = Scratch::new("command-nested");
    let both = both(&scratch);
    let (outer, inner) = (scratch.path().join("outer"), scratch.path().join("inner"));
    let command = path(&sigplane_tests_shim::command());
    let (outer_path, inner_path) = (path(&outer), path(&inner));
    let first = ["run", "--report", "json", "--output", &outer_path, "--", &command, "run"];
    let second = ["--report", "json", "--output", &inner_path];
    let arguments = [&first[..], &second, &["--", &both]].concat();
    assert_eq!(output_of(sigplane(&arguments)).0, Exit::Code(3));
    let read = |file| serde_json::from_str::<Value>(&written(file)).expect("JSON");
    assert_eq!(read(&outer)["left"], true);
    let (inner, replaced) = (read(&inner), "SIGSEGV");
    assert_eq!(
        (&inner["left"], &inner["replaced"][0]["signal"]),
        (&false.into(), &replaced.into())
    );
    std::fs::remove_file(&outer).expect("it is there");
    assert_eq!(output_of(sigplane(&[&first[..], &["--", &both]].concat())).0, Exit::Code(3));
    let outer = read(&outer);
    assert_eq!(
        (&outer["left"], &outer["replaced"][0]["signal"]),
        (&false.into(), &replaced.into())
    );
}
