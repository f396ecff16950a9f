//! A Java VM under the shim: it turns faults of compiled code, of guard pages and of mapped files into
//! exceptions, dumps threads on SIGQUIT, and hands signals on to Java code. What it prints and how it
//! ends is the same with and without the shim (issue 4, acceptance 2; BRIEF §9).

use sigplane_tests::{Running, Suite};
use sigplane_tests_shim::program::{Scratch, alike, find_or_skip, kill, observe};
use sigplane_tests_shim::{Mode, compile};
use std::path::PathBuf;
use std::process::Command;

/// The VM, and the compiled class in a folder of its own.
struct Java {
    vm: PathBuf,
    folder: Scratch,
}

impl Java {
    fn new() -> Self {
        let (vm, compiler) = (find_or_skip("java"), find_or_skip("javac"));
        let folder = Scratch::new("jvm");
        compile::java(&compiler, "jvm/Signals.java", folder.path());
        Self { vm, folder }
    }

    /// The VM with these options, on this part of the class.
    fn command(&self, options: &[&str], part: &str) -> Command {
        let mut command = Command::new(&self.vm);
        let crash = self.folder.path().join("crash");
        // A VM that crashes says so on standard output; no cores, which take their time.
        command.args(options).arg(format!("-XX:ErrorFile={}", crash.display()));
        command.arg("-XX:-CreateCoredumpOnCrash").arg("-cp").arg(self.folder.path());
        command.args(["Signals", part]).env_remove("JAVA_TOOL_OPTIONS");
        command
    }

    /// What a part prints with each of the options, in every mode; compared. With the model.
    fn alike(&self, options: &[&str], part: &str) -> String {
        let file = self.folder.path().join("mapped");
        alike(|mode| {
            let mut all = String::new();
            for option in options {
                let mut command = self.command(&[option], part);
                command.arg(&file);
                all += &observe(mode, command);
            }
            all
        })
    }
}

/// Both compilers' code, and the interpreter's.
const COMPILERS: [&str; 3] = ["-XX:-TieredCompilation", "-XX:TieredStopAtLevel=1", "-Xint"];

/// Accesses through null in compiled code, on three threads at once: each is an exception, at its place.
/// (C1's code faults for each of the 2,400, C2's for a part.)
fn null_checks() {
    let model = Java::new().alike(&COMPILERS[..2], "nulls");
    assert_eq!(model.matches("nulls: 800 caught").count(), 6, "{model}");
    assert_eq!(model.matches("Code(0)").count(), 2, "{model}");
}

/// A full Java stack is an exception, again and again, on the main thread and on others.
fn stack_overflow() {
    let model = Java::new().alike(&COMPILERS, "overflow");
    assert_eq!(model.matches(": overflow, deep").count(), 3 * 11, "{model}");
}

/// A mapped file that is cut short: SIGBUS becomes InternalError.
fn truncated_mapping() {
    let model = Java::new().alike(&COMPILERS, "truncated");
    assert_eq!(model.matches("read: InternalError").count(), 3 * 3, "{model}");
}

/// `sun.misc.Signal`: handlers on signals that the VM uses itself and on others, raised, put back, refused;
/// and the dispositions that a child process inherits.
fn sun_misc_signal() {
    let model = Java::new().alike(&["-Xint"], "handlers");
    assert_eq!(model.matches("handled ").count(), 7 * 3, "{model}");
    assert!(model.contains("child: 143\nend\nCode(0)"), "{model}");
}

/// The VM's own check that nobody has changed its handlers: it reads its own actions back.
fn handlers_checked_by_the_vm() {
    let model = Java::new().alike(&["-Xcheck:jni"], "nulls");
    assert!(!model.to_lowercase().contains("warning"), "{model}");
    assert!(model.contains("end\nCode(0)"), "{model}");
}

/// Signals from another process arrive at Java handlers, one by one, and the last ends the program.
fn signals_received() {
    let java = Java::new();
    let model = alike(|mode| {
        let mut command = java.command(&[], "receive");
        mode.apply(&mut command);
        let mut vm = Running::start(command);
        vm.expect("ready");
        let mut seen = String::new();
        for signal in [libc::SIGHUP, libc::SIGWINCH, libc::SIGUSR2].repeat(20) {
            kill(vm.pid(), signal);
            seen += &vm.line().expect("a line for each signal");
        }
        kill(vm.pid(), libc::SIGTERM);
        let (exit, rest) = vm.finish();
        format!("{seen}\n{rest}{exit:?}")
    });
    assert_eq!(model.matches("received USR2").count(), 20, "{model}");
    assert!(model.ends_with("received the last\nCode(7)"), "{model}");
}

/// A thread dump on SIGQUIT, while other threads' faults are being turned into exceptions and after it; then
/// a signal that ends the VM: its shutdown hook runs, and the status is 128 and the signal.
fn dump_and_shutdown() {
    let java = Java::new();
    let model = alike(|mode| {
        let mut all = String::new();
        for last in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            let mut command = java.command(&["-XX:TieredStopAtLevel=1"], "stay");
            mode.apply(&mut command);
            let mut vm = Running::start(command);
            vm.expect("ready");
            kill(vm.pid(), libc::SIGQUIT);
            // The dump comes whenever the VM gets to it; each ends with the heap.
            let first = lines_until(&mut vm, &["the code is hot", "Heap"]);
            kill(vm.pid(), libc::SIGQUIT);
            let second = lines_until(&mut vm, &["Heap"]);
            for wanted in ["Full thread dump", "\"a waiting thread\"", "\"main\""] {
                let of = |lines: &[String]| lines.iter().filter(|l| l.contains(wanted)).count();
                all += &format!("{wanted}: {} {}\n", of(&first), of(&second));
            }
            kill(vm.pid(), last);
            let (exit, rest) = vm.finish();
            let hook = rest.lines().filter(|line| line.contains("hook")).count();
            all += &format!("{hook} hook, {exit:?}\n");
        }
        all
    });
    assert_eq!(model.matches("Full thread dump: 1 1").count(), 3, "{model}");
    for end in ["1 hook, Code(143)", "1 hook, Code(130)", "1 hook, Code(129)"] {
        assert!(model.contains(end), "{end}: {model}");
    }
}

/// Reads until a line of each kind has come. (The VM writes its dump in pieces, beside what Java prints.)
fn lines_until(vm: &mut Running, all: &[&str]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    while !all.iter().all(|wanted| lines.iter().any(|line| line.contains(wanted))) {
        lines.push(vm.line().unwrap_or_else(|| panic!("no {all:?}: {:?}\n{lines:?}", vm.wait())));
    }
    lines
}

/// OpenJDK's own interposer before ours, as the VM's documentation has it loaded.
fn with_libjsig() {
    let java = Java::new();
    let vm = java.vm.canonicalize().expect("it exists");
    let home = vm.parent().and_then(|bin| bin.parent()).expect("bin/java");
    let jsig = home.join("lib/libjsig.so");
    if !jsig.is_file() {
        sigplane_tests::skip("this Java has no libjsig.so");
    }
    for part in ["nulls", "overflow"] {
        let model = alike(|mode| {
            let mut command = java.command(&["-XX:TieredStopAtLevel=1"], part);
            let mut preload = jsig.clone().into_os_string();
            if mode != Mode::Bare {
                preload.push(" ");
                preload.push(sigplane_tests_shim::library());
            }
            if mode == Mode::Owned {
                command.env("SIGPLANE_OWN", "1");
            }
            command.env("LD_PRELOAD", preload);
            let (exit, output) = sigplane_tests::output_of(command);
            format!("{output}{exit:?}")
        });
        assert!(model.ends_with("end\nCode(0)"), "{model}");
    }
}

fn main() {
    Suite {
        tests: &[
            ("null_checks", null_checks),
            ("stack_overflow", stack_overflow),
            ("truncated_mapping", truncated_mapping),
            ("sun_misc_signal", sun_misc_signal),
            ("handlers_checked_by_the_vm", handlers_checked_by_the_vm),
            ("signals_received", signals_received),
            ("dump_and_shutdown", dump_and_shutdown),
            ("with_libjsig", with_libjsig),
        ],
        victims: &[],
    }
    .main()
}
