//! The command can be executed and explains itself. (That it is tested here has cargo build it for the
//! tests that run it, in `tests/shim/tests/command.rs`.)

use std::process::Command;

/// `--help` worth reading: every subcommand, with examples, and an answer for each of them.
#[test]
fn explains_itself() {
    let help = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_sigplane")).args(arguments).output();
        let output = output.expect("it starts");
        assert!(output.status.success(), "{arguments:?}");
        assert!(output.stderr.is_empty(), "{arguments:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let overview = help(&["--help"]);
    for action in ["run", "table", "top", "doctor"] {
        assert!(overview.contains(&format!("sigplane {action}")), "an example of {action}");
        let detail = help(&[action, "--help"]);
        assert!(detail.lines().count() > 8, "{action}: {detail}");
    }
    assert!(help(&["run", "--help"]).contains("Exit status"));
}
