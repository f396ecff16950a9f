//! CPython's own tests of signals, of child processes and of interrupted calls: each test's outcome is the
//! same with and without the shim (issue 4, acceptance 2; BRIEF §9).
//!
//! An interpreter that has its test package is looked for; without one the tests are skipped, visibly.
//! The outcome of a test that fails bare is compared as well. One that differs is run again, up to three
//! times, alone, before it is called different: some of CPython's tests depend on the load of the machine.

use sigplane_tests::{Suite, skip};
use sigplane_tests_shim::program::{Scratch, end_of, find, script};
use sigplane_tests_shim::{Mode, compile};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Each test's id, and what became of it.
type Outcomes = BTreeMap<String, String>;

const MODULES: [&str; 7] = [
    "test_signal",
    "test_faulthandler",
    "test_threadsignals",
    "test_subprocess",
    "test_eintr",
    "test_posix",
    "test_os",
];

/// An interpreter with its test package: the one that `SIGPLANE_PYTHON` names, or one of those in the path.
fn interpreter() -> PathBuf {
    let probe = format!(
        "import importlib.util as u, sys\n\
         ok = all(u.find_spec('test.' + m) for m in '{}'.split())\n\
         print(sys.executable if ok else '')",
        MODULES.join(" ")
    );
    let given = std::env::var_os("SIGPLANE_PYTHON").map(PathBuf::from);
    let found = ["python3", "python3.13", "python3.12", "python3.11"].into_iter().filter_map(find);
    for candidate in given.into_iter().chain(found).chain(["/usr/bin/python3".into()]) {
        let mut command = Command::new(candidate);
        Mode::Bare.apply(command.args(["-c", &probe]));
        if let Ok(output) = command.stdin(Stdio::null()).output() {
            let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            if output.status.success() && !path.is_empty() {
                return path.into();
            }
        }
    }
    skip("no CPython with its test package (python3 -m test) is installed")
}

/// One run of a module by CPython's own runner.
struct Run {
    module: &'static str,
    mode: Mode,
    folder: PathBuf,
    child: Child,
}

impl Run {
    /// Starts it: all tests of the module, or those given.
    fn start(
        python: &Path,
        module: &'static str,
        mode: Mode,
        scratch: &Scratch,
        only: &[&String],
    ) -> Self {
        let folder = scratch.path().join(format!("{module}-{mode:?}"));
        let _earlier = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder for temporary files");
        let log = File::create(folder.join("log")).expect("a file in it");
        let mut command = Command::new(python);
        // test_eintr is one test, which takes a while: "walltime" allows that. The time-out ends a run that
        // hangs, with a traceback in the log.
        command.args(["-m", "test", "-v", "-u", "walltime", "--timeout", "120"]);
        command.arg("--junit-xml").arg(folder.join("report.xml"));
        command.args(only.iter().flat_map(|id| ["-m", id.as_str()])).arg(module);
        mode.apply(command.env("TMPDIR", &folder).current_dir(&folder));
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
        Self { module, mode, child: command.spawn().expect("CPython starts"), folder }
    }

    /// Waits for its end, and reads its report; or says why there is none.
    fn outcomes(mut self, python: &Path) -> Result<Outcomes, String> {
        let exit = end_of(&mut self.child);
        let report = self.folder.join("report.xml");
        if !report.is_file() {
            let log = fs::read(self.folder.join("log")).expect("its output");
            let log = String::from_utf8_lossy(&log[log.len().saturating_sub(8000)..]).into_owned();
            let (module, mode) = (self.module, self.mode);
            return Err(format!("{module} {mode:?} ended without a report: {exit:?}\n{log}"));
        }
        let mut reader = Command::new(python);
        let printed = compile::run(reader.arg(script("cpython/outcomes.py")).arg(report));
        let pair = |line: &str| line.rsplit_once('\t').map(|(id, end)| (id.into(), end.into()));
        Ok(printed.lines().filter_map(pair).collect())
    }

    /// What its output says of a test.
    fn says(folder: &Path, id: &str) -> String {
        let log = fs::read(folder.join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
        let name = id.rsplit('.').next().unwrap_or(id);
        match log.find(&format!("FAIL: {name}")).or(log.find(&format!("ERROR: {name}"))) {
            Some(at) => log[at..].chars().take(3000).collect(),
            None => String::new(),
        }
    }
}

/// The ids that do not have the same outcome in both.
fn different(bare: &Outcomes, other: &Outcomes) -> Vec<String> {
    let mut ids: Vec<&String> = bare.keys().chain(other.keys()).collect();
    ids.sort();
    ids.dedup();
    ids.into_iter().filter(|id| bare.get(*id) != other.get(*id)).cloned().collect()
}

/// Runs these modules in all modes at once: they mostly wait. Compares the outcome of each test.
fn compare(modules: &[&'static str]) {
    let (python, scratch) = (interpreter(), Scratch::new("cpython"));
    for mode in Mode::ALL {
        let mut command = Command::new(&python);
        let loaded = "print('libsigplane_compat' in open('/proc/self/maps').read())";
        mode.apply(command.args(["-c", loaded]));
        let output = command.output().expect("CPython starts");
        let expected = if mode == Mode::Bare { "False\n" } else { "True\n" };
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{mode:?}");
    }
    let start = |module, mode| Run::start(&python, module, mode, &scratch, &[]);
    let all = modules.iter().flat_map(|module| Mode::ALL.map(|mode| start(*module, mode)));
    let mut seen: BTreeMap<(&str, u8), Outcomes> = BTreeMap::new();
    for run in all.collect::<Vec<_>>() {
        let (module, mode) = (run.module, run.mode);
        // One that hangs or dies on a busy machine has a second chance, alone.
        let outcomes = run.outcomes(&python).or_else(|_| start(module, mode).outcomes(&python));
        let outcomes = outcomes.unwrap_or_else(|why| panic!("{why}"));
        seen.insert((module, mode as u8), outcomes);
    }
    let mut wrong = String::new();
    for module in modules {
        let bare = &seen[&(*module, Mode::Bare as u8)];
        let of = |what: &str| bare.values().filter(|outcome| *outcome == what).count();
        println!("{module}: {} tests: {} ok, {} skipped", bare.len(), of("ok"), of("skipped"));
        assert!(of("ok") > 0, "{module}: no test passes bare: {bare:?}");
        for mode in [Mode::Shim, Mode::Owned] {
            let mut ids = different(bare, &seen[&(*module, mode as u8)]);
            for _ in 0..3 {
                if ids.is_empty() {
                    break;
                }
                let only: Vec<&String> = ids.iter().collect();
                let again = |mode| {
                    let run = Run::start(&python, module, mode, &scratch, &only);
                    run.outcomes(&python).unwrap_or_else(|why| panic!("{why}"))
                };
                ids = different(&again(Mode::Bare), &again(mode));
            }
            for id in ids {
                let folder = scratch.path().join(format!("{module}-{mode:?}"));
                wrong += &format!("{mode:?}: {id} differs\n{}\n", Run::says(&folder, &id));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Handlers, masks, waiting for signals, alarms, faults and their tracebacks, interrupted locks and calls.
fn signals() {
    compare(&["test_signal", "test_faulthandler", "test_threadsignals", "test_eintr"]);
}

/// Children by vfork and posix_spawn, with the dispositions and masks they start with, and their ends.
fn subprocess() {
    compare(&["test_subprocess"]);
}

/// What a process can do to itself and to others.
fn processes() {
    compare(&["test_posix", "test_os"]);
}

fn main() {
    Suite {
        tests: &[("signals", signals), ("subprocess", subprocess), ("processes", processes)],
        victims: &[],
    }
    .main()
}
