//! The C programs in `programs/`, compiled when a test wants them.

use crate::Mode;
use crate::program::script;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Compiles `programs/{name}` to `output`; the arguments come after the source.
pub fn c(name: &str, output: PathBuf, arguments: &[&str]) -> PathBuf {
    let mut command = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    command.args(["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-o"]);
    run(command.arg(&output).arg(script(name)).args(arguments));
    output
}

/// Compiles `programs/{name}` to the shared object `output`.
pub fn shared(name: &str, output: PathBuf, arguments: &[&str]) -> PathBuf {
    c(name, output, &[&["-shared", "-fPIC"], arguments].concat())
}

/// Compiles a Java class into a folder.
pub fn java(compiler: &Path, name: &str, folder: &Path) {
    run(Command::new(compiler)
        .args(["-nowarn", "-XDignore.symbol.file", "-d"])
        .arg(folder)
        .arg(script(name)));
}

/// Runs a command that must succeed, bare; what it printed on standard output.
pub fn run(command: &mut Command) -> String {
    Mode::Bare.apply(command);
    let output = command.stdin(Stdio::null()).output().expect("it starts");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out
}
