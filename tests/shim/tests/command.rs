//! The `sigplane` command, as its users run it: "The `sigplane` command" and "Report" of the shim's issue,
//! and its line "Screens … looked at in a real terminal".
#![allow(clippy::disallowed_methods, reason = "a test here is a program that blocks a signal")]

#[path = "command/report.rs"]
mod report;
#[path = "command/run.rs"]
mod run;
#[path = "command/several.rs"]
mod several;
#[path = "command/signals.rs"]
mod signals;
#[path = "command/table.rs"]
mod table;
#[path = "command/top.rs"]
mod top;
#[path = "command/trace.rs"]
mod trace;

use serde_json::Value;
use sigplane_tests::{Exit, Suite, output_of};
use sigplane_tests_shim::program::{Scratch, until};
use sigplane_tests_shim::{compile, sigplane};
use std::path::Path;

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

/// The file name of a place's object.
fn object(place: &Value) -> String {
    let path = place["object"].as_str().unwrap_or_default();
    Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned()
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
            ("ends_as_without", run::ends_as_without),
            ("own_failures", run::own_failures),
            ("nothing_is_left_behind", run::nothing_is_left_behind),
            ("input_and_interrupts_arrive", run::input_and_interrupts_arrive),
            ("static_program", run::static_program),
            ("privileged_program", run::privileged_program),
            ("report_names_objects", report::report_names_objects),
            ("names_of_cxx", report::names_of_cxx),
            ("report_follows_exec", several::report_follows_exec),
            ("report_follows_children", several::report_follows_children),
            ("nested_runs_report_each", several::nested_runs_report_each),
            ("trace_has_every_change", trace::trace_has_every_change),
            ("own_mode_counts_deliveries", trace::own_mode_counts_deliveries),
            ("who_blocks_faults", signals::who_blocks_faults),
            ("what_is_not_queued", signals::what_is_not_queued),
            ("a_full_queue", signals::a_full_queue),
            ("table_of_a_process_under_the_shim", table::table_of_a_process_under_the_shim),
            ("table_of_a_foreign_process", table::table_of_a_foreign_process),
            ("table_shows_subscribers", table::table_shows_subscribers),
            ("top_in_a_terminal", top::top_in_a_terminal),
            ("top_stops_and_goes_on", top::top_stops_and_goes_on),
            ("doctor", doctor),
        ],
        victims: &[("subscriber", table::subscriber)],
    }
    .main()
}
