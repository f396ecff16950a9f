//! The C API from C and C++: the examples as their users compile and run them, checks of every part in processes
//! of their own, and the installed tree.
//!
//! For issue 4, "C API …", "C and C++ examples compiled and run in the tests", "`make install`-able layout".

#![allow(clippy::undocumented_unsafe_blocks, reason = "plain system calls")]

use sigplane_tests::{Exit, Running, Suite};
use sigplane_tests_shim::library;
use sigplane_tests_shim::program::{Scratch, find_or_skip};
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Languages, as strict as compilers are.
const C99: &[&str] = &["cc", "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror"];
const CXX17: &[&str] = &["c++", "-std=c++17", "-pedantic", "-Wall", "-Wextra", "-Werror"];

/// Compiles against the tree, with the library beside the test.
fn compile(language: &[&str], source: &str, more: &[&str], scratch: &Scratch) -> PathBuf {
    let name = Path::new(source).file_stem().expect("a file");
    let program = scratch.path().join(name);
    let library = library();
    let beside = library.parent().expect("a folder").display().to_string();
    run(Command::new(language[0])
        .args(&language[1..])
        .args(more)
        .arg(format!("-I{}", root().join("compat/include").display()))
        .arg(format!("-I{}", root().join("core/include").display()))
        .arg(root().join(source))
        .arg("-o")
        .arg(&program)
        .args([format!("-L{beside}"), "-lsigplane_compat".into(), "-pthread".into()])
        // Before LD_LIBRARY_PATH, in which cargo puts a folder that may have an older library.
        .arg(format!("-Wl,--disable-new-dtags,-rpath,{beside}")));
    program
}

/// Runs a command that must succeed; its standard output.
fn run(command: &mut Command) -> String {
    let output = command.output().expect("it starts");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out
}

// The event loop: events through descriptors, a thread-context handler, nothing lost of a burst of queued values
// that is much longer than the queue, the end by a dispatcher handler, and the actions given back.
fn example_service() {
    let scratch = Scratch::new("capi-service");
    let program = compile(C99, "compat/examples/c/service.c", &["-O2"], &scratch);
    let mut service = Running::start(Command::new(program));
    let pid = service.pid();
    service.expect(&format!("ready {pid}"));
    let me = std::process::id();
    send(pid, libc::SIGHUP);
    service.expect(&format!("reloading for process {me}"));
    for number in 1..=1000 {
        queue(pid, libc::SIGRTMIN(), number);
    }
    loop {
        send(pid, libc::SIGUSR1);
        let line = service.line().expect("it answers");
        if line == "jobs 1000 sum 500500" {
            break;
        }
        assert!(line.starts_with("jobs "), "{line}");
    }
    send(pid, libc::SIGTERM);
    service.expect("stopping: asked by another process");
    let (exit, rest) = service.finish();
    assert_eq!(exit, Exit::Code(0));
    assert!(rest.ends_with("1000 jobs, sum 500500, journal whole, actions restored\n"), "{rest}");
}

fn send(pid: i32, signal: i32) {
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

fn queue(pid: i32, signal: i32, value: usize) {
    let value = libc::sigval { sival_ptr: std::ptr::without_provenance_mut(value) };
    while unsafe { libc::sigqueue(pid, signal, value) } != 0 {
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EAGAIN));
        std::thread::yield_now();
    }
}

// Regions, guarded calls, safe copies, and a fixup of the program's own.
fn example_paging() {
    let scratch = Scratch::new("capi-paging");
    for optimisation in ["-O0", "-O2"] {
        let program = compile(C99, "compat/examples/c/paging.c", &[optimisation], &scratch);
        let expected = "paging: 32 of 64 pages, sum 992\n\
                        guarded: faulted, nothing behind the mapping at offset 4096\n\
                        copy: stopped after 4096 bytes\n\
                        strlen: 8, and address not mapped\n\
                        fixup: 7, and a landing\n";
        assert_eq!(run(&mut Command::new(program)), expected, "{optimisation}");
    }
}

// A crash reporter sees what nobody handled, and the parent sees the true end.
fn example_crash_reporter() {
    let scratch = Scratch::new("capi-crash");
    let program = compile(C99, "compat/examples/c/crash_reporter.c", &["-O2"], &scratch);
    let ends = [
        ("segv", libc::SIGSEGV, "crash: signal 11, address not mapped at 0xdead0\n"),
        ("abort", libc::SIGABRT, "crash: signal 6, sent by itself\n"),
        ("term", libc::SIGTERM, "crash: signal 15, sent by itself\n"),
    ];
    for (how, number, expected) in ends {
        let mut command = Command::new(&program);
        command.arg(how);
        let (exit, said) = Running::start(command).finish();
        assert_eq!((exit.signal(), said.as_str()), (Some(number), expected), "{how}");
    }
    assert_eq!(run(Command::new(&program).arg("handled")), "a fault, and no crash\n");
}

// C++: closures, scopes, posted work.
fn example_workers() {
    let scratch = Scratch::new("capi-workers");
    let program = compile(CXX17, "compat/examples/cxx/workers.cpp", &["-O2"], &scratch);
    let expected = "deferred: 1\nsignal 10, value 42\nclosure: alive\nclosure: gone\nposted: 3\n\
                    table: printed\n";
    assert_eq!(run(&mut Command::new(program)), expected);
}

// The header alone, in every standard that it is for.
fn header_in_every_standard() {
    for (language, standard) in [
        ("c", "c99"),
        ("c", "c11"),
        ("c", "gnu99"),
        ("c++", "c++11"),
        ("c++", "c++17"),
        ("c++", "c++20"),
    ] {
        let header = root().join("compat/include/sigplane.h");
        run(Command::new("cc")
            .args(["-x", language, &format!("-std={standard}"), "-fsyntax-only", "-pedantic"])
            .args(["-Wall", "-Wextra", "-Wshadow", "-Werror"])
            .args(["-masm=intel", "-I"])
            .arg(root().join("core/include"))
            .arg("-I")
            .arg(root().join("compat/include"))
            .arg("-include")
            .arg(header)
            .arg("/dev/null"));
    }
}

// Each check of programs/capi/checks.c.
fn checks() {
    let scratch = Scratch::new("capi-checks");
    let program = compile(C99, "tests/shim/programs/capi/checks.c", &["-O2"], &scratch);
    let names = [
        "events",
        "contexts",
        "inside_a_handler",
        "deferral",
        "threads",
        "closing",
        "waits",
        "accesses",
        "code",
        "processes",
        "forks_beside_calls",
        "table",
        "sending",
    ];
    for name in names {
        run(Command::new(&program).arg(name));
    }
}

// A critical section is a few instructions and makes no call: the whole of it is inline.
fn deferral_is_inline() {
    let scratch = Scratch::new("capi-inline");
    let source = scratch.path().join("inline.c");
    let text = "#include <sigplane.h>\nint value;\n\
                int update(void) { sigplane_defer(); value += 1; sigplane_undefer(); return value; }\n";
    std::fs::write(&source, text).expect("written");
    let assembly = run(Command::new("cc")
        .args(["-std=c99", "-O2", "-fPIC", "-S", "-o", "-"])
        .arg(format!("-I{}", root().join("compat/include").display()))
        .arg(format!("-I{}", root().join("core/include").display()))
        .arg(&source));
    let body = assembly.split("update:").nth(1).expect("the function");
    let instruction =
        |line: &&str| line.starts_with('\t') && !line.trim_start().starts_with(['.', '#']);
    let hot: Vec<_> =
        body.lines().take_while(|line| line.trim() != "ret").filter(instruction).collect();
    assert!(hot.iter().any(|line| line.contains("%fs:(")), "{hot:#?}");
    assert!(!hot.iter().any(|line| line.contains("__tls_get_addr")), "{hot:#?}");
    let calls = hot.iter().filter(|line| line.contains("call")).count();
    assert_eq!(calls, 0, "up to its return nothing is called: {hot:#?}");
    assert!(hot.len() < 36, "{hot:#?}");
}

// `make install` puts the parts where pkg-config says they are, and what is compiled with that runs.
fn installed() {
    for tool in ["make", "pkg-config"] {
        find_or_skip(tool);
    }
    let scratch = Scratch::new("capi-install");
    let command = scratch.path().join("sigplane");
    // The command itself has tests of its own; here it is a file.
    std::fs::write(&command, "#!/bin/sh\n").expect("written");
    let make = |destination: &str, prefix: &str| {
        run(Command::new("make")
            .args(["--no-print-directory", "-C"])
            .arg(root().join("compat"))
            .args([
                "install",
                "BUILT=1",
                &format!("DESTDIR={destination}"),
                &format!("PREFIX={prefix}"),
            ])
            .arg(format!("LIBRARY={}", library().display()))
            .arg(format!("COMMAND={}", command.display())))
    };
    let staged = scratch.path().join("stage");
    make(&staged.display().to_string(), "/usr");
    for file in [
        "bin/sigplane",
        "lib/libsigplane_compat.so",
        "lib/pkgconfig/sigplane.pc",
        "include/sigplane.h",
        "include/sigplane/fixup.h",
    ] {
        assert!(staged.join("usr").join(file).is_file(), "{file}");
    }
    let pc = std::fs::read_to_string(staged.join("usr/lib/pkgconfig/sigplane.pc")).expect("there");
    assert!(pc.starts_with("prefix=/usr\n") && !pc.contains('@'), "{pc}");

    let prefix = scratch.path().join("prefix");
    make("", &prefix.display().to_string());
    let ask = |what: &str| {
        let paths = prefix.join("lib/pkgconfig");
        run(Command::new("pkg-config").args([what, "sigplane"]).env("PKG_CONFIG_PATH", paths))
    };
    assert_eq!(ask("--modversion").trim(), env!("CARGO_PKG_VERSION"));
    let program = scratch.path().join("paging");
    run(Command::new("cc")
        .args(["-std=c99", "-o"])
        .arg(&program)
        .args(ask("--cflags").split_whitespace())
        .arg(root().join("compat/examples/c/paging.c"))
        .args(ask("--libs").split_whitespace()));
    let out = run(Command::new(&program).env("LD_LIBRARY_PATH", prefix.join("lib")));
    assert!(out.starts_with("paging: 32 of 64 pages"), "{out}");
}

fn main() {
    Suite {
        tests: &[
            ("example_service", example_service),
            ("example_paging", example_paging),
            ("example_crash_reporter", example_crash_reporter),
            ("example_workers", example_workers),
            ("header_in_every_standard", header_in_every_standard),
            ("checks", checks),
            ("deferral_is_inline", deferral_is_inline),
            ("installed", installed),
        ],
        victims: &[],
    }
    .main()
}
