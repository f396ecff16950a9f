//! The library can be preloaded, and a program does not notice.

use sigplane_tests::Suite;
use sigplane_tests_shim::Mode;
use std::process::Command;

/// A program runs, says the same and nothing more, and ends in the same way.
fn says_nothing() {
    for mode in Mode::ALL {
        let mut command = Command::new("sh");
        mode.apply(command.args(["-c", "echo out; exit 7"]));
        let output = command.output().expect("sh runs");
        assert_eq!(output.status.code(), Some(7), "{mode:?}");
        assert_eq!(output.stdout, b"out\n", "{mode:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{mode:?}");
    }
}

fn main() {
    Suite { tests: &[("says_nothing", says_nothing)], victims: &[] }.main()
}
