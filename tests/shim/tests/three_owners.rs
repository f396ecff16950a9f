//! A Java VM, a crash reporter and a sigplane subscriber in one process, in every order of installation
//! (issue 4, acceptance 3; BRIEF §9).
//!
//! Each of the three wants SIGSEGV. Java makes exceptions of the faults of its own code; the subscriber is a
//! library that serves the faults of a range of memory, and counts SIGQUIT, which Java answers with a dump;
//! the reporter chains to nobody, and takes every fault that it sees for a crash. Under the shim the
//! subscriber comes first and sees only its own faults, Java's handler second (HotSpot asks for that, in the
//! way it asks OpenJDK's libjsig), and what is nobody's reaches the reporter, whoever came when.

use sigplane_tests::{Exit, Running, Suite, output_of, skip};
use sigplane_tests_shim::program::{Scratch, find_or_skip};
use sigplane_tests_shim::{Mode, compile};
use std::path::{Path, PathBuf};
use std::process::Command;

/// j: Java, r: the reporter, s: the subscriber.
const ORDERS: [&str; 6] = ["jrs", "jsr", "rjs", "rsj", "sjr", "srj"];

/// The launcher and what it loads.
struct Three {
    vm: PathBuf,
    folder: Scratch,
}

impl Three {
    fn new() -> Self {
        let compiler = find_or_skip("javac");
        let real = compiler.canonicalize().expect("it exists");
        let home = real.parent().and_then(Path::parent).expect("bin/javac");
        let (vm, headers) = (home.join("lib/server/libjvm.so"), home.join("include"));
        if !vm.is_file() || !headers.join("jni.h").is_file() {
            skip("this JDK has no libjvm.so or no jni.h");
        }
        let folder = Scratch::new("three");
        let out = |name: &str| folder.path().join(name);
        compile::java(&compiler, "three_owners/Owners.java", folder.path());
        let include = |path: &Path| format!("-I{}", path.display());
        let (jni, jni_linux) = (include(&headers), include(&headers.join("linux")));
        let launcher = ["-ldl", "-pthread", &jni, &jni_linux];
        compile::c("three_owners/launcher.c", out("launcher"), &launcher);
        compile::shared("three_owners/reporter.c", out("reporter.so"), &[]);
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let ours = ["compat/include", "core/include"].map(|path| include(&root.join(path)));
        compile::shared("three_owners/subscriber.c", out("subscriber.so"), &[&ours[0], &ours[1]]);
        Self { vm, folder }
    }

    /// The three, installed in this order, and then these deeds.
    fn command(&self, mode: Mode, order: &str, deeds: &str) -> Command {
        let file = |name| self.folder.path().join(name);
        let mut command = Command::new(file("launcher"));
        command.arg(&self.vm).arg(self.folder.path()).arg(file("reporter.so"));
        command.arg(file("subscriber.so")).args([order, deeds]).env_remove("JAVA_TOOL_OPTIONS");
        mode.apply(&mut command);
        command
    }

    /// What it says and how it ends.
    fn run(&self, mode: Mode, order: &str, deeds: &str) -> (Exit, String) {
        output_of(self.command(mode, order, deeds))
    }
}

const UNDER_THE_SHIM: [Mode; 2] = [Mode::Shim, Mode::Owned];
const JAVA: &str = "Java: 1400\n";
const SUBSCRIBER: &str = "subscriber: 64\n";

/// All three work, one after the other and again, until a crash in C code, which is reported as what it is:
/// by a thread that Java knows, by one that it does not, and by `abort`.
fn all_work_in_every_order() {
    let three = Three::new();
    for mode in UNDER_THE_SHIM {
        for order in ORDERS {
            for (last, report) in [
                ("c", "reporter: signal 11 at 0x10\n"),
                ("p", "reporter: signal 11 at 0x18\n"),
                ("a", "reporter: signal 6 at (nil)\n"),
            ] {
                let (exit, output) = three.run(mode, order, &format!("jsjs{last}"));
                let expected =
                    format!("subscriber: sigplane\n{JAVA}{SUBSCRIBER}{JAVA}{SUBSCRIBER}{report}");
                assert_eq!(output, expected, "{mode:?} {order} {last}: {exit:?}");
                assert_eq!(exit, Exit::Code(99), "{mode:?} {order} {last}: {output}");
            }
        }
    }
}

/// SIGQUIT reaches the subscriber and Java, which prints its dump, and the faults go on as before.
fn a_signal_reaches_both() {
    let three = Three::new();
    for mode in UNDER_THE_SHIM {
        for order in ORDERS {
            let mut child = Running::start(three.command(mode, order, "jqwjs"));
            let (mut dump, mut counted) = (0, 0);
            while (dump, counted) != (1, 1) {
                let line = child.line().unwrap_or_else(|| panic!("{mode:?} {order}: the end"));
                // Java writes in pieces: a line of ours may come in the middle of one of its lines.
                dump += i32::from(line.contains("Full thread dump"));
                counted += i32::from(line.contains("quit counted"));
            }
            child.tell("");
            let (exit, rest) = child.finish();
            for said in [JAVA, SUBSCRIBER, "end\n"] {
                assert!(rest.contains(said), "{mode:?} {order}: {rest}");
            }
            assert_eq!(exit, Exit::Code(0), "{mode:?} {order}: {rest}");
        }
    }
}

/// The library's own table shows the subscriber, and that somebody is behind sigplane at SIGSEGV; the address
/// is one of Java's.
fn the_table_shows_them() {
    let three = Three::new();
    for mode in UNDER_THE_SHIM {
        for order in ORDERS {
            let mut child = Running::start(three.command(mode, order, "tw"));
            let mut table = String::new();
            while !table.ends_with("libsigplane_compat.so\n") {
                table += &child.line().unwrap_or_else(|| panic!("{mode:?} {order}: {table}"));
                table.push('\n');
            }
            assert!(table.contains("subscriber.so"), "{mode:?} {order}: {table}");
            let row = table.lines().find(|line| line.starts_with("SIGSEGV")).expect("a row");
            let behind = row.split_whitespace().nth(2).expect("a column");
            let maps =
                std::fs::read_to_string(format!("/proc/{}/maps", child.pid())).expect("it runs");
            assert_eq!(object_of(behind, &maps), "libjvm.so", "{mode:?} {order}: {table}");
            child.tell("");
            assert_eq!(child.wait(), Exit::Code(0), "{mode:?} {order}");
        }
    }
}

/// The object that a column names, or in which its address is.
fn object_of(behind: &str, maps: &str) -> String {
    let Some(address) = behind.strip_prefix("0x") else {
        return behind.split('+').next().unwrap_or(behind).to_owned();
    };
    let number = |digits: &str| usize::from_str_radix(digits, 16).expect("a number");
    let within = |line: &&str| {
        let (start, rest) = line.split_once('-').expect("a range");
        let end = rest.split(' ').next().expect("a range");
        (number(start)..number(end)).contains(&number(address))
    };
    let line = maps.lines().find(within).unwrap_or_default();
    line.rsplit('/').next().unwrap_or_default().to_owned()
}

/// The same three without the shim, where the subscriber has handlers of its own: alone, each works; together,
/// in no order do all. Who came last has the signal, and Java asks at most the one before it.
fn without_the_shim_they_clash() {
    let three = Three::new();
    let works = |order: &str, deed: &str, said: &str| {
        let (_, output) = three.run(Mode::Bare, order, deed);
        output.lines().any(|line| line == said.trim_end())
    };
    let deeds = [("j", JAVA), ("s", SUBSCRIBER), ("c", "reporter: signal 11 at 0x10\n")];
    for (owner, (deed, said)) in ["j", "s", "r"].into_iter().zip(deeds) {
        assert!(works(owner, deed, said), "{owner} does not work alone");
    }
    for order in ORDERS {
        let seen = deeds.map(|(deed, said)| works(order, deed, said));
        assert!(seen.contains(&false), "{order}: no clash");
        println!("{order}: Java {}, subscriber {}, reporter {}", seen[0], seen[1], seen[2]);
    }
}

fn main() {
    Suite {
        tests: &[
            ("all_work_in_every_order", all_work_in_every_order),
            ("a_signal_reaches_both", a_signal_reaches_both),
            ("the_table_shows_them", the_table_shows_them),
            ("without_the_shim_they_clash", without_the_shim_they_clash),
        ],
        victims: &[],
    }
    .main()
}
