//! Runtimes that are not Rust's and load sigplane as a shared object: CPython with faulthandler, and a
//! Java VM, which turns null accesses of hot code into exceptions by the faults that they are.

use sigplane_tests::{Exit, Running, quick, skip};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn plugin() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let beside = test.with_file_name("libsigplane_test_plugin.so");
    assert!(beside.exists(), "cargo has put the plugin at {}", beside.display());
    beside
}

/// Skips the test, visibly, where the program is not installed.
fn want(program: &str, argument: &str) {
    let mut command = Command::new(program);
    let tried = command.arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status();
    match tried {
        Ok(status) if status.success() => {}
        Err(error) if error.kind() != ErrorKind::NotFound => panic!("{program}: {error}"),
        _ => skip(&format!("{program} is not installed")),
    }
}

const PYTHON: &str = r#"
import ctypes, faulthandler, os, sys
order, path = sys.argv[1:]
os.dup2(1, 2)
say = lambda *words: print(*words, flush=True)
if order == 'first':
    faulthandler.enable()
plugin = ctypes.CDLL(path)
assert plugin.plugin_enable() == 0
say('probe', plugin.plugin_probe())
if order != 'first':
    faulthandler.enable()
    say('taken over', plugin.plugin_taken_over())
    assert plugin.plugin_enable() == 0
    say('taken over', plugin.plugin_taken_over())
for _ in range(1000):
    assert plugin.plugin_probe() == 0
say('probe', plugin.plugin_probe())
def the_crash():
    ctypes.string_at(16)
the_crash()
say('survived')
"#;

/// faulthandler does not chain: enabled last, it would take every fault for the end. The table tells, and
/// sigplane goes in front of it again. A real crash is faulthandler's in both orders: it prints Python's
/// own backtrace, once, and the process dies of SIGSEGV.
pub fn python() {
    want("python3", "-V");
    for (order, said) in [
        ("first", "probe 0\nprobe 0\n"),
        ("last", "probe 0\ntaken over 1\ntaken over 0\nprobe 0\n"),
    ] {
        let mut command = Command::new("python3");
        command.args(["-c", PYTHON, order]).arg(plugin());
        let (exit, output) = Running::start(command).finish();
        let rest = output.strip_prefix(said).unwrap_or_else(|| panic!("{order}: {output}"));
        assert_eq!(rest.matches("Fatal Python error: Segmentation fault").count(), 1, "{output}");
        assert!(rest.contains("in the_crash") && !rest.contains("survived"), "{order}: {output}");
        assert_eq!(exit.signal(), Some(libc::SIGSEGV), "{order}: {output}");
    }
}

/// Reads a field through null in a compiled loop: the VM compiles the check away and relies on the fault.
const JAVA: &str = r#"
public class Neighbour {
    static native int enable();
    static native int probe();
    int field = 1;

    static int sum(Neighbour[] all) {
        int sum = 0;
        for (Neighbour one : all) sum += one.field;
        return sum;
    }

    static int nulls(Neighbour[] good, Neighbour[] bad, int times) {
        int caught = 0;
        for (int n = 0; n < times; n++) {
            try { sum(n % 10 == 9 ? bad : good); } catch (NullPointerException e) { caught++; }
        }
        return caught;
    }

    static int deep(int depth) { return deep(depth + 1) + 1; }

    static void round(String what, int times) throws Exception {
        Neighbour[] good = new Neighbour[100], bad = new Neighbour[100];
        for (int n = 0; n < 100; n++) good[n] = bad[n] = new Neighbour();
        bad[99] = null;
        Thread[] threads = new Thread[4];
        int[] caught = new int[4];
        for (int n = 0; n < 4; n++) {
            int me = n;
            threads[n] = new Thread(() -> { caught[me] = nulls(good, bad, times); });
            threads[n].start();
        }
        int all = 0;
        for (int n = 0; n < 4; n++) { threads[n].join(); all += caught[n]; }
        boolean overflow = false;
        try { deep(0); } catch (StackOverflowError e) { overflow = true; }
        System.out.println(what + ": " + (all == 4 * (times / 10)) + " " + overflow);
    }

    public static void main(String[] arguments) throws Exception {
        int times = Integer.parseInt(arguments[1]);
        round("before", times);
        System.load(arguments[0]);
        System.out.println("enabled " + enable() + ", probe " + probe());
        round("after", times);
        for (int n = 0; n < 1000; n++) if (probe() != 0) System.out.println("a probe failed");
        Thread beside = new Thread(() -> System.out.println("probe on a thread: " + probe()));
        beside.start();
        beside.join();
        round("at last", times);
    }
}
"#;

/// A directory for the source; removed afterwards.
struct Source(PathBuf);

impl Source {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("sigplane-java-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("Neighbour.java"), JAVA).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        Path::new(&self.0).join("Neighbour.java")
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let _removed = std::fs::remove_dir_all(&self.0);
    }
}

/// The VM was there before sigplane, as it is where sigplane comes with a native library: its handler
/// stands behind, and gets the faults of its own code.
pub fn java() {
    want("java", "-version");
    want("javac", "-version");
    let source = Source::new();
    let mut command = Command::new("java");
    command.args(["-Xmx64m", "-XX:-OmitStackTraceInFastThrow"]).arg(source.file());
    command.arg(plugin()).arg(quick(20_000).max(10).to_string());
    let (exit, output) = Running::start(command).finish();
    assert_eq!(
        (exit, &output[..]),
        (
            Exit::Code(0),
            "before: true true\nenabled 0, probe 0\nafter: true true\nprobe on a thread: 0\nat last: true true\n"
        )
    );
}
