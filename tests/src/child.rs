//! Child processes of a test, and how they ended.

use crate::wait::DEADLINE;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

pub(crate) const TEST: &str = "SIGPLANE_TEST";
pub(crate) const VICTIM: &str = "SIGPLANE_VICTIM";

pub(crate) fn this_executable() -> Command {
    Command::new(std::env::current_exe().expect("the test's own path"))
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// By `exit`, with this status.
    Code(i32),
    /// By this signal.
    Signal {
        /// Which.
        number: i32,
        /// Whether it left a core dump.
        core: bool,
    },
}

impl Exit {
    /// Whether it ended with status 0.
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }

    /// The signal that ended it.
    pub fn signal(self) -> Option<i32> {
        match self {
            Self::Signal { number, .. } => Some(number),
            Self::Code(_) => None,
        }
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (_, Some(number)) => Self::Signal { number, core: status.core_dumped() },
            _ => unreachable!("a process that was waited for has exited or was killed"),
        }
    }
}

/// A command for a victim of this test file; adjust it, then [`Running::start`] it.
pub fn victim(name: &str) -> Command {
    let mut command = this_executable();
    command.env(VICTIM, name);
    command
}

/// A running child whose standard input and output the test talks to. Killed when dropped.
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Running {
    /// Starts it.
    pub fn start(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the child starts");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, stdin, stdout }
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// The next line it prints, without the newline; `None` at the end of its output.
    pub fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.stdout.read_line(&mut line).expect("its output can be read");
        (read > 0).then(|| line.trim_end().to_owned())
    }

    /// Reads lines until it prints `expected`. Panics at the end of its output.
    pub fn expect(&mut self, expected: &str) {
        loop {
            match self.line() {
                Some(line) if line == expected => return,
                Some(_) => {}
                None => panic!("the child ended without printing {expected:?}: {:?}", self.wait()),
            }
        }
    }

    /// Writes a line to it.
    pub fn tell(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().expect("not closed yet"), "{line}").expect("it reads");
    }

    /// Closes its standard input.
    pub fn close(&mut self) {
        drop(self.stdin.take());
    }

    /// Waits for its end, up to the deadline.
    pub fn wait(&mut self) -> Exit {
        drop(self.stdin.take());
        wait_for(&mut self.child).unwrap_or_else(|| panic!("the child did not end in {DEADLINE:?}"))
    }

    /// The rest of its output, then its end.
    pub fn finish(mut self) -> (Exit, String) {
        let mut rest = String::new();
        drop(self.stdin.take());
        self.stdout.read_to_string(&mut rest).expect("its output is text");
        (self.wait(), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn wait_for(child: &mut Child) -> Option<Exit> {
    let end = Instant::now() + DEADLINE;
    let mut pause = Duration::from_micros(100);
    loop {
        if let Some(status) = child.try_wait().expect("a child of ours") {
            return Some(status.into());
        }
        if Instant::now() > end {
            let _killed = child.kill();
            let _reaped = child.wait();
            return None;
        }
        // Between two looks at a condition, under a deadline.
        std::thread::park_timeout(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Runs a command to its end; what it printed on both outputs. Killed at the deadline.
pub fn output_of(mut command: Command) -> (Exit, String) {
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    command.stdin(Stdio::null()).stdout(writer.try_clone().expect("a descriptor")).stderr(writer);
    let mut child = command.spawn().expect("the test starts");
    drop(command); // Closes our copies of the pipe's writing end.
    let collector = std::thread::spawn(move || {
        let mut output = Vec::new();
        let _partial = reader.read_to_end(&mut output);
        String::from_utf8_lossy(&output).into_owned()
    });
    let exit = wait_for(&mut child);
    match exit {
        Some(exit) => (exit, collector.join().unwrap_or_default()),
        // Grandchildren may keep the pipe open: what they hold back is not waited for.
        None => (Exit::Code(-1), format!("the test did not end in {DEADLINE:?} and was killed")),
    }
}
