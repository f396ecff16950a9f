//! What the tests of the shim share: where its parts are, and how a program is run with and without it.

pub mod compile;
pub mod program;
pub mod pty;

use std::path::{Path, PathBuf};
use std::process::Command;

/// `libsigplane_compat.so`, which cargo puts beside the tests that depend on its package.
pub fn library() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let beside = test.with_file_name("libsigplane_compat.so");
    assert!(beside.is_file(), "cargo has put the shim at {}", beside.display());
    beside
}

/// The `sigplane` command, which cargo puts in the folder above the tests', run with these arguments.
pub fn sigplane(arguments: &[&str]) -> Command {
    let mut command = Command::new(command());
    Mode::Bare.apply(&mut command);
    command.args(arguments).env("SIGPLANE_LIBRARY", library());
    command
}

/// Where it is.
pub fn command() -> PathBuf {
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

/// How a program is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// As it is.
    Bare,
    /// Under the shim as users load it: the kernel enters the program's own handlers.
    Shim,
    /// Under the shim, which owns every signal that the program handles: sigplane's handler goes first.
    Owned,
}

impl Mode {
    /// All three; the first is the model.
    pub const ALL: [Self; 3] = [Self::Bare, Self::Shim, Self::Owned];

    /// Has the command run its program this way.
    pub fn apply(self, command: &mut Command) {
        command.env_remove("LD_PRELOAD").env_remove("SIGPLANE_OWN");
        if self != Self::Bare {
            command.env("LD_PRELOAD", library());
        }
        if self == Self::Owned {
            command.env("SIGPLANE_OWN", "1");
        }
    }
}
