//! The example `crash_report`: its report tells kind, address and the name of the function that crashed, and the
//! process ends as it would have without, with its core dump.

use sigplane_tests::examples::example;
use sigplane_tests::{Exit, Running, core_dump};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

/// A directory for the reports; removed afterwards.
struct Reports(PathBuf);

impl Reports {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("sigplane-reports-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Runs the example: how it ended, and the reports there are now, which are taken away.
    fn of(&self, arguments: &[&str]) -> (Exit, Vec<String>) {
        let directory = self.0.to_str().expect("a plain path");
        let mut command = example("crash_report", &["--directory", directory]);
        command.args(arguments).current_dir(&self.0);
        unsafe {
            command.pre_exec(|| {
                core_dump::allow();
                Ok(())
            })
        };
        let (exit, _) = Running::start(command).finish();
        let files = std::fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path());
        let reports = files.filter(|file| file.extension().is_some_and(|it| it == "txt"));
        let take = |file: PathBuf| {
            let text = std::fs::read_to_string(&file).unwrap();
            std::fs::remove_file(&file).unwrap();
            text
        };
        (exit, reports.map(take).collect())
    }
}

impl Drop for Reports {
    fn drop(&mut self) {
        let _removed = std::fs::remove_dir_all(&self.0);
    }
}

/// For each way to crash: the signal, what the report says of it, the function.
const CRASHES: [(&str, i32, &[&str], &str); 5] = [
    (
        "null",
        libc::SIGSEGV,
        &["kind      address not mapped", "address   0x10", "access    write", "signal    SIGSEGV"],
        "write_through_null",
    ),
    // Rust's runtime prints its message, and aborts.
    (
        "overflow",
        libc::SIGABRT,
        &["kind      stack overflow", "signal    SIGABRT", "cause     SIGSEGV"],
        "recurse_without_end",
    ),
    ("abort", libc::SIGABRT, &["signal    SIGABRT", "(itself)"], "give_up"),
    ("div", libc::SIGFPE, &["kind      integer division by zero"], "divide_by"),
    (
        "bus",
        libc::SIGBUS,
        &["kind      nothing behind the mapping", "access    read", "<- address"],
        "read_behind_the_end",
    ),
];

pub fn reports() {
    let reports = Reports::new();
    for (crash, signal, said, function) in CRASHES {
        let (exit, texts) = reports.of(&["--crash", crash]);
        let [text] = &texts[..] else { panic!("{crash}: {exit:?}, {} reports", texts.len()) };
        assert_eq!(exit.signal(), Some(signal), "{crash}: {exit:?}\n{text}");
        if core_dump::unavailable().is_none() {
            assert_eq!(exit, Exit::Signal { number: signal, core: true }, "{crash}");
        }
        for what in said {
            assert!(text.contains(what), "{crash}: no {what:?}\n{text}");
        }
        let backtrace = text.split("\nbacktrace\n").nth(1).expect("a backtrace");
        let backtrace = backtrace.split("\nregisters\n").next().expect("registers");
        assert!(backtrace.contains(function), "{crash}: no {function}\n{text}");
        assert!(backtrace.contains("crash_report::main"), "{crash}: it goes up to main\n{text}");
        assert!(text.contains(&format!("--crash {crash}")), "the command line\n{text}");
    }
}

pub fn leaves_nothing() {
    let (exit, texts) = Reports::new().of(&[]);
    assert_eq!((exit, texts.len()), (Exit::Code(0), 0));
}
