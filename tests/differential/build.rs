//! Compiles the interpreter of `victim/` and the deliberately wrong shim of `wrong/`. Neither is linked with
//! sigplane: the first is what the shim is preloaded into, the second is preloaded instead of it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "src/opcode.rs"]
mod opcode;

fn main() {
    println!("cargo::rerun-if-changed=victim");
    println!("cargo::rerun-if-changed=wrong");
    println!("cargo::rerun-if-changed=src/opcode.rs");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    let mut header = String::from("/* Written from src/opcode.rs. */\nenum {\n");
    for name in opcode::NAMES {
        writeln!(header, "  OP_{name},").expect("a string can be written to");
    }
    header += "};\n";
    std::fs::write(out.join("ops.h"), header).expect("the header can be written");

    let victim = out.join("differential-victim");
    // Bound at its start: a call that is looked up late could sleep where nobody expects it.
    link("victim", &victim, &["-pthread", "-Wl,-z,now", "-fno-strict-aliasing", "-I"], Some(&out));
    println!("cargo::rustc-env=DIFFERENTIAL_VICTIM={}", victim.display());
    let wrong = out.join("libdifferential_wrong.so");
    link("wrong", &wrong, &["-shared", "-fPIC"], None);
    println!("cargo::rustc-env=DIFFERENTIAL_WRONG={}", wrong.display());
}

/// One linked object of all C files of a folder.
fn link(folder: &str, output: &Path, flags: &[&str], include: Option<&Path>) {
    let mut sources: Vec<PathBuf> = Path::new(folder)
        .read_dir()
        .expect("the folder is in the repository")
        .flatten()
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
        .collect();
    sources.sort();
    let compiler = cc::Build::new().opt_level(2).cargo_metadata(false).get_compiler();
    let mut command = Command::new(compiler.path());
    command
        .args(["-O2", "-g", "-std=gnu11", "-Wall", "-Wextra", "-fno-omit-frame-pointer"])
        .args(flags);
    command.args(include).args(sources).arg("-o").arg(output).arg("-ldl");
    let status = command.status().expect("the C compiler runs");
    assert!(status.success(), "{command:?} failed");
}
