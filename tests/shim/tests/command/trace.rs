//! `sigplane run --trace`.

use super::{both, object, path, written};
use serde_json::Value;
use sigplane_tests::{Exit, Running, output_of};
use sigplane_tests_shim::program::{Scratch, kill, until};
use sigplane_tests_shim::sigplane;
use std::path::Path;

/// The lines that are there.
pub fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The trace has every change, in order, one JSON object a line.
pub fn trace_has_every_change() {
    let scratch = Scratch::new("command-trace");
    let (both, file) = (both(&scratch), scratch.path().join("trace"));
    let (exit, _) = output_of(sigplane(&["run", "--trace", &path(&file), "--", &both]));
    assert_eq!(exit, Exit::Code(3));
    let mut lines: Vec<Value> = Vec::new();
    until("the trace", || {
        lines = self::lines(&file);
        lines.iter().filter(|line| line["event"] == "changed").count() >= 4
    });
    let changed = lines.iter().filter(|line| line["event"] == "changed");
    let order: Vec<_> = changed.map(|line| line["signal"].as_str().unwrap_or_default()).collect();
    assert_eq!(order, ["SIGTERM", "SIGSEGV", "SIGUSR2", "SIGSEGV"], "{lines:#?}");
    let sequence: Vec<_> = lines.iter().map(|line| line["sequence"].as_u64()).collect();
    assert!(sequence.is_sorted() && !sequence.contains(&None), "{sequence:?}");
    // The alternate stack is noted with who has set it.
    let stacks: Vec<_> = lines.iter().filter(|line| line["event"] == "alternate stack").collect();
    let [stack] = &stacks[..] else { panic!("one stack: {lines:#?}") };
    assert_eq!(
        (&stack["by"]["symbol"], &stack["stack"]["size"]),
        (&"early_start".into(), &65536.into())
    );
    assert_eq!(object(&stack["by"]), "libearly.so");
}

/// With `--own`, deliveries are counted: the trace has them, and the report their sum.
pub fn own_mode_counts_deliveries() {
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
        let lines = lines(&trace);
        let delivered =
            lines.iter().filter(|line| line["event"] == "delivered" && line["signal"] == "SIGUSR1");
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
