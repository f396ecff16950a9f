//! A Java VM, a crash reporter and a sigplane subscriber in one process, in every order of installation
//! (issue 4, acceptance 3; BRIEF §9).
//!
//! Each of the three wants SIGSEGV. Java makes exceptions of the faults of its own code; the subscriber is a
//! library that serves the faults of a range of memory, and counts SIGQUIT, which Java answers with a dump;
//! the reporter chains to nobody, and takes every fault that it sees for a crash. Under the shim the
//! subscriber comes first and sees only its own faults, Java's handler second (HotSpot asks for that, in the
//! way it asks OpenJDK's libjsig), and what is nobody's reaches the reporter, whoever came when.

use serde_json::Value;
use sigplane_tests::{Exit, Running, Suite, output_of, skip};
use sigplane_tests_shim::program::{Scratch, find_or_skip};
use sigplane_tests_shim::{Mode, compile, sigplane};
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

/// `sigplane table` of the live process names all three and who installed each, in every order of installation:
/// Java's handler for faults first, the reporter's behind it, the subscriber, and whose dump SIGQUIT prints.
fn the_command_shows_them() {
    let three = Three::new();
    let vm = std::fs::read(&three.vm).expect("libjvm.so can be read");
    // Local functions have names if the object was not stripped of them.
    let is_named = vm.windows(17).any(|bytes| bytes == b"javaSignalHandler");
    for mode in UNDER_THE_SHIM {
        for order in ORDERS {
            let mut child = Running::start(three.command(mode, order, "sw"));
            while child.line().unwrap_or_else(|| panic!("{order}")) != SUBSCRIBER.trim_end() {}
            let pid = child.pid().to_string();
            let (exit, json) = output_of(sigplane(&["table", "--json", &pid]));
            assert_eq!(exit, Exit::Code(0), "{json}");
            let table: Value = serde_json::from_str(&json).expect("JSON");
            let (exit, text) = output_of(sigplane(&["table", &pid]));
            assert_eq!(exit, Exit::Code(0), "{text}");
            child.tell("");
            assert_eq!(child.wait(), Exit::Code(0), "{mode:?} {order}");

            assert_eq!(table["under_shim"], true, "{table:#}");
            let signals = table["signals"].as_array().expect("a list");
            let signal = |name: &str| signals.iter().find(|one| one["signal"] == name);
            let segv = signal("SIGSEGV").expect("a row");
            let who = |at: &str| {
                let at = segv[at].as_u64().unwrap_or_else(|| panic!("{mode:?} {order}: {segv:#}"));
                let owner = &segv["owners"][at as usize];
                let (handler, by) = (&owner["handler"]["function"], &owner["installed_by"]);
                [
                    file(handler),
                    function(handler),
                    file(by),
                    function(by),
                    owner["call"].to_string(),
                ]
            };
            let [java, handler, by, ..] = who("first");
            assert_eq!((&*java, &*by), ("libjvm.so", "libjvm.so"), "{mode:?} {order}: {segv:#}");
            assert!(!is_named || handler == "javaSignalHandler", "{mode:?} {order}: {segv:#}");
            let reporter =
                ["reporter.so", "report", "reporter.so", "reporter_install", "\"sigaction\""];
            assert_eq!(who("current"), reporter, "{mode:?} {order}: {segv:#}");
            let subscriber = &table["subscribers"][0];
            assert_eq!(subscriber["name"], "subscriber.so counted", "{mode:?} {order}: {table:#}");
            assert_eq!(subscriber["signals"], serde_json::json!(["SIGQUIT"]));
            let quit = &signal("SIGQUIT").expect("a row")["owners"][0];
            assert_eq!(
                file(&quit["handler"]["function"]),
                "libjvm.so",
                "{mode:?} {order}: {quit:#}"
            );
            // As it is read: a row, and what is behind it.
            let rows: Vec<_> = text.lines().collect();
            let row = rows.iter().position(|row| row.contains("│ SIGSEGV ")).expect("a row");
            let [first, then] = [rows[row], rows[row + 1]];
            assert!(first.matches("libjvm.so").count() == 2, "{mode:?} {order}:\n{text}");
            let parts = ["then", "reporter.so report ", "reporter.so reporter_install"];
            assert!(parts.iter().all(|part| then.contains(part)), "{mode:?} {order}:\n{text}");
            let quit = rows.iter().find(|row| row.contains("│ SIGQUIT ")).expect("a row");
            assert!(
                quit.contains("[subscriber.so counted] libjvm.so"),
                "{mode:?} {order}:\n{text}"
            );
        }
    }
}

/// Without the shim the command tells what `/proc` does: that SIGSEGV is caught, and not by whom.
fn the_command_without_the_shim() {
    let three = Three::new();
    let mut child = Running::start(three.command(Mode::Bare, "jrs", "w"));
    while child.line().expect("it installs them") != "subscriber: its own handlers" {}
    let (exit, json) = output_of(sigplane(&["table", "--json", &child.pid().to_string()]));
    assert_eq!(exit, Exit::Code(0), "{json}");
    child.tell("");
    assert_eq!(child.wait(), Exit::Code(0));
    let table: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(
        (&table["under_shim"], &table["signals"]),
        (&false.into(), &Value::Null),
        "{table:#}"
    );
    let caught = table["caught"].as_array().expect("a list");
    assert!(caught.contains(&"SIGSEGV".into()) && !json.contains("libjvm.so"), "{table:#}");
}

/// The file name of a place's object.
fn file(place: &Value) -> String {
    place["object"].as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned()
}

/// A place's function.
fn function(place: &Value) -> String {
    place["symbol"].as_str().unwrap_or_default().to_owned()
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
            ("the_command_shows_them", the_command_shows_them),
            ("the_command_without_the_shim", the_command_without_the_shim),
            ("without_the_shim_they_clash", without_the_shim_they_clash),
        ],
        victims: &[],
    }
    .main()
}
