//! `sigplane run --report`: whose handler it was, and who replaced it.

use super::{both, object, path, written};
use serde_json::Value;
use sigplane_tests::{Exit, output_of, skip};
use sigplane_tests_shim::program::{Scratch, script};
use sigplane_tests_shim::sigplane;
use std::process::Command;

/// The report names the objects: who installed, who replaced whose handler, who runs without SA_ONSTACK
/// beside an alternate stack; when the program exits and when a signal ends it.
pub fn report_names_objects() {
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
        let replaced = report["replaced"].as_array().expect("a list");
        let [replaced] = &replaced[..] else { panic!("one replacement: {report:#}") };
        assert_eq!(replaced["signal"], "SIGSEGV");
        assert_eq!(object(&replaced["by"]), "liblate.so");
        assert_eq!(object(&replaced["old"]["function"]), "libearly.so");
        assert_eq!(replaced["old"]["function"]["symbol"], "early_handler");
        assert_eq!(object(&replaced["new"]["function"]), "liblate.so");
        let signals = report["signals"].as_array().expect("a list");
        let term = signals.iter().find(|signal| signal["signal"] == "SIGTERM").expect("SIGTERM");
        let owner = &term["owners"][term["current"].as_u64().expect("an owner") as usize];
        assert_eq!(object(&owner["installed_by"]), "both");
        assert_eq!(owner["installed_by"]["symbol"], "main");
        assert_eq!(owner["handler"]["function"]["symbol"], "on_term");
        assert_eq!(owner["call"], "signal");
        let findings = report["findings"].as_array().expect("a list");
        let finds = |signal: &str| {
            let has = |one: &Value| {
                one["signals"].as_array().is_some_and(|all| all.contains(&signal.into()))
            };
            findings.iter().any(|one| one["kind"] == "no-onstack" && has(one))
        };
        assert!(finds("SIGSEGV") && !finds("SIGUSR2"), "{findings:#?}");
    }
    // As text, on standard error, behind what the program said.
    let (exit, output) = output_of(sigplane(&["run", "--report", "text", "--", &both]));
    assert_eq!(exit, Exit::Code(3));
    let line = "liblate.so replaced libearly.so's SIGSEGV handler (early_handler) at";
    assert!(output.starts_with("ready ") && output.contains(line), "{output}");
}

/// Functions of C++ have the names that they have in the source.
pub fn names_of_cxx() {
    let scratch = Scratch::new("command-cxx");
    let (program, file) = (path(&scratch.path().join("handler")), scratch.path().join("report"));
    let source = path(&script("command/handler.cpp"));
    let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let compiled = Command::new(compiler).args(["-g", "-O0", "-o", &program, &source]).status();
    if !compiled.is_ok_and(|status| status.success()) {
        skip("no C++ compiler");
    }
    let run = sigplane(&["run", "--report", "json", "--output", &path(&file), "--", &program]);
    assert_eq!(output_of(run).0, Exit::Code(0));
    let report: Value = serde_json::from_str(&written(&file)).expect("JSON");
    let owner = |signal: &str| {
        let all = report["signals"].as_array().expect("a list");
        all.iter().find(|one| one["signal"] == signal).expect("it was set")["owners"][0].clone()
    };
    let term = owner("SIGTERM");
    assert_eq!(term["handler"]["function"]["symbol"], "demo::Handler::on_term");
    assert_eq!(term["installed_by"]["symbol"], "demo::Handler::install");
    let hangup = owner("SIGHUP");
    let symbol = hangup["handler"]["function"]["symbol"].as_str().expect("a name").to_owned();
    assert_eq!(symbol, "demo::(anonymous namespace)::on_any<1>", "{hangup:#}");
}
