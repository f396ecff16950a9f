//! Compiles the C parts of the tests: every file of `victims/`, into one static library; and those of
//! `victims/objects/` into shared objects of their own, whose paths the tests find in `env!`.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=victims");
    println!("cargo::rerun-if-changed={HEADERS}");
    let files = Path::new("victims").read_dir().expect("the folder is in the repository");
    let is_c = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "c");
    let mut sources: Vec<PathBuf> = files.flatten().map(|file| file.path()).filter(is_c).collect();
    sources.sort();
    cc::Build::new()
        .files(sources)
        .include(HEADERS)
        // A handler that ends in a call is to end in a jump, in every profile.
        .opt_level(2)
        .flag("-fno-omit-frame-pointer")
        .warnings_into_errors(true)
        .compile("sigplane_test_victims");
    objects();
}

const HEADERS: &str = "../core/include";

/// What is made of `victims/objects/`: a variable's name, the sources, and how they are compiled.
const OBJECTS: [(&str, &[&str], &[&str]); 8] = [
    ("FIXUPS", &["fixups.c"], &["-O2"]),
    ("FIXUPS_O0", &["fixups.c"], &["-O0"]),
    ("FIXUPS_UNSORTED", &["fixups.c"], &["-O2", "-ffunction-sections", "-DUNSORTED"]),
    ("REFUSED_EMPTY", &["refused.c"], &["-O2", "-DREFUSED=2"]),
    ("REFUSED_OUT_OF_ORDER", &["refused.c"], &["-O2", "-DREFUSED=3"]),
    ("REFUSED_OVERLAPPING", &["refused.c"], &["-O2", "-DREFUSED=4"]),
    ("REFUSED_CYCLE", &["refused.c"], &["-O2", "-DREFUSED=5"]),
    ("FIXUPS_CXX", &["inline_one.cpp", "inline_two.cpp"], &["-O0"]),
];

/// The header promises to be plain C99 and C++17.
const STRICT: [&str; 5] = ["-pedantic", "-Wall", "-Wextra", "-Werror", "-fPIC"];

fn objects() {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    for (name, sources, flags) in OBJECTS {
        let is_cxx = sources.iter().any(|source| source.ends_with("cpp"));
        let object = out.join(format!("lib{}.so", name.to_lowercase()));
        let standard = if is_cxx { "-std=c++17" } else { "-std=c99" };
        let mut command = compiler(is_cxx);
        command.args(STRICT).arg(standard).args(flags).arg("-shared").arg("-o").arg(&object);
        command.args(sources.iter().map(|source| format!("victims/objects/{source}")));
        let made = run(command.arg(format!("-I{HEADERS}")), is_cxx);
        let path = if made { object.display().to_string() } else { String::new() };
        println!("cargo::rustc-env=SIGPLANE_TEST_{name}={path}");
    }
    // An executable that is linked with the first of them.
    let starter = out.join("starter");
    let mut command = compiler(false);
    command.args(STRICT).args(["-std=c99", "-O2", "victims/objects/starter.c", "-o"]).arg(&starter);
    command.arg(format!("-I{HEADERS}")).arg(out.join("libfixups.so")).arg("-ldl");
    run(command.arg(format!("-Wl,-rpath,{}", out.display())), false);
    println!("cargo::rustc-env=SIGPLANE_TEST_STARTER={}", starter.display());
}

fn compiler(is_cxx: bool) -> Command {
    let tool = cc::Build::new().cpp(is_cxx).warnings(false).get_compiler();
    Command::new(tool.path())
}

/// Whether it has been made. A compiler for C++ may be missing: its test then says so.
fn run(command: &mut Command, may_be_missing: bool) -> bool {
    match command.status() {
        Ok(status) if status.success() => true,
        Err(error) if may_be_missing && error.kind() == std::io::ErrorKind::NotFound => false,
        other => panic!("{command:?}: {other:?}"),
    }
}
