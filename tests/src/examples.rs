//! The executables of `examples/`, as their users run them.
//!
//! `cargo test --workspace` builds them, beside the test's own executable, in `target/…/examples`.

use crate::child::Running;
use sigplane::{Signal, send};
use std::path::PathBuf;
use std::process::Command;

/// An example's executable, with its arguments.
pub fn example(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(example_path(name));
    command.args(arguments).env_remove("NO_COLOR");
    command
}

/// Where it is. Panics, with what to do, if it has not been built.
pub fn example_path(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    // target/debug/deps/examples-0123456789abcdef
    let profile =
        test.parent().and_then(|deps| deps.parent()).expect("two directories above a test");
    let path = profile.join("examples").join(name);
    assert!(
        path.is_file(),
        "{} is missing: run `cargo test --workspace`, or build it with `cargo build --workspace --examples` \
         (and the same profile)",
        path.display()
    );
    path
}

/// The next line that begins with `prefix`, without it; panics at the end of the output.
pub fn line_with(child: &mut Running, prefix: &str) -> String {
    loop {
        match child.line() {
            Some(line) => {
                if let Some(rest) = line.strip_prefix(prefix) {
                    return rest.to_owned();
                }
            }
            None => panic!("the example ended without a line {prefix:?}…: {:?}", child.wait()),
        }
    }
}

/// Sends it a signal.
pub fn signal(child: &Running, signal: Signal) {
    send::to_process(child.pid(), signal).expect("the example runs");
}
