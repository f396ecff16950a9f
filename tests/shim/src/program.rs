//! Programs of the system: found, run in every mode, and compared.
//!
//! An outcome is a text: what was observed, in order, with the exit status. What differs from run to run
//! (process ids, ports, times) is replaced before the comparison; nothing else is.

use crate::Mode;
use sigplane_tests::{DEADLINE, Exit, skip};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where the system keeps the program `name`; daemons are often not in the users' `PATH`.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let daemons = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut folders = std::env::split_paths(&path).chain(daemons);
    folders.find_map(|folder| Some(folder.join(name)).filter(|file| file.is_file()))
}

/// The same; without it, the test ends as skipped.
pub fn find_or_skip(name: &str) -> PathBuf {
    find(name).unwrap_or_else(|| skip(&format!("{name} is not installed")))
}

/// A script of `programs/`.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(name)
}

/// Runs `observe` in every mode and compares what it saw with what it saw of the bare program, which it
/// returns: the test asserts on that, so that an empty comparison cannot pass.
pub fn alike(mut observe: impl FnMut(Mode) -> String) -> String {
    let model = observe(Mode::Bare);
    for mode in Mode::ALL {
        if mode != Mode::Bare {
            let seen = observe(mode);
            assert!(seen == model, "{mode:?} differs.\n{}", difference(&model, &seen));
        }
    }
    model
}

fn difference(model: &str, seen: &str) -> String {
    let of = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (model_lines, seen_lines) = (of(model), of(seen));
    let first = model_lines.iter().zip(&seen_lines).take_while(|(one, other)| one == other).count();
    let line = |lines: &[String]| lines.get(first).cloned().unwrap_or("the end".to_owned());
    let (bare, other) = (line(&model_lines), line(&seen_lines));
    format!(
        "Line {} is {other:?}; bare it is {bare:?}.\n--- bare\n{model}\n--- seen\n{seen}",
        first + 1
    )
}

/// Runs the command to its end without input: both outputs as one, and how it ended. The process has a
/// group of its own, so that what it sends to its group does not reach the test.
pub fn observe(mode: Mode, mut command: Command) -> String {
    mode.apply(&mut command);
    observe_as_it_is(command)
}

/// The same with the environment that the command has.
pub fn observe_as_it_is(mut command: Command) -> String {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
    let (exit, output) = sigplane_tests::output_of(command);
    format!("{output}{exit:?}\n")
}

/// Waits for the end of a child, up to the deadline; panics then, after killing it.
pub fn end_of(child: &mut Child) -> Exit {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = child.try_wait().expect("a child of ours") {
            return status.into();
        }
        if Instant::now() > end {
            let _killed = child.kill();
            let _reaped = child.wait();
            panic!("process {} did not end in {DEADLINE:?}", child.id());
        }
        pause();
    }
}

/// Waits for a condition whose looks are costly: a connection, a process, a file.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "{what} did not happen in {DEADLINE:?}");
        pause();
    }
}

/// Between two looks at a condition, under a deadline.
fn pause() {
    std::thread::park_timeout(Duration::from_millis(5));
}

/// A daemon in the foreground, started by the test. Killed when dropped.
pub struct Daemon(Child);

impl Daemon {
    /// Starts it in this mode, without input; its output is what the command says.
    pub fn start(mode: Mode, mut command: Command) -> Self {
        mode.apply(&mut command);
        Self::start_as_it_is(command)
    }

    /// Starts it with the environment that the command has.
    pub fn start_as_it_is(mut command: Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().expect("the daemon starts"))
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.0.id() as i32
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: i32) {
        kill(self.pid(), signal);
    }

    /// Waits for its end.
    pub fn end(&mut self) -> Exit {
        end_of(&mut self.0)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _killed = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// kill(2) of a process that exists.
pub fn kill(pid: i32, signal: i32) {
    // SAFETY: no memory is passed.
    let result = unsafe { libc::kill(pid, signal) };
    assert!(result == 0, "kill {pid} {signal}: {}", std::io::Error::last_os_error());
}

/// Replaces every number of at least `digits` digits by `N`.
pub fn without_numbers(text: &str, digits: usize) -> String {
    let mut clean = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let number = &rest[start..];
        let length = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
        clean.push_str(&rest[..start]);
        clean.push_str(if length >= digits { "N" } else { &number[..length] });
        rest = &number[length..];
    }
    clean + rest
}

/// A folder that anybody may enter, removed when dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes it.
    pub fn new(name: &str) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let folder = std::env::temp_dir().join(format!("sigplane-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for temporary files");
        let anybody = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&folder, anybody).expect("it is ours");
        Self(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _removed = std::fs::remove_dir_all(&self.0);
    }
}
