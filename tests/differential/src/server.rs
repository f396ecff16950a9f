//! Runs programs: an interpreter stays alive and forks for each. What it logs is grouped by stream, since
//! only the order within one thread of one process is determined.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::program::Program;

/// How programs are run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mode {
    /// As they are.
    Bare,
    /// Under the shim.
    Shim,
    /// Under the shim, which owns every signal.
    Owned,
    /// Under a shim with a bug of this name.
    Wrong(String),
}

impl Mode {
    /// Its name on the command line.
    pub fn name(&self) -> String {
        match self {
            Self::Bare => "bare".into(),
            Self::Shim => "shim".into(),
            Self::Owned => "owned".into(),
            Self::Wrong(bug) => format!("wrong:{bug}"),
        }
    }

    /// The mode of a name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "bare" => Some(Self::Bare),
            "shim" => Some(Self::Shim),
            "owned" => Some(Self::Owned),
            _ => name.strip_prefix("wrong:").map(|bug| Self::Wrong(bug.into())),
        }
    }
}

/// All that was observed of one run, as text: equal runs have equal texts.
pub type Outcome = String;

/// A program that does not end within this has hung.
const PATIENCE: Duration = Duration::from_secs(10);

/// An interpreter that waits for programs.
#[derive(Debug)]
pub struct Server {
    mode: Mode,
    library: PathBuf,
    folder: PathBuf,
    child: Child,
    requests: ChildStdin,
    answers: ChildStdout,
}

impl Server {
    /// Starts one; `folder` is where its programs may drop core dumps.
    pub fn start(mode: Mode, library: &Path, folder: &Path) -> Self {
        let mut command = Command::new(env!("DIFFERENTIAL_VICTIM"));
        command.env_remove("LD_PRELOAD").env_remove("SIGPLANE_OWN").current_dir(folder);
        match &mode {
            Mode::Bare => {}
            Mode::Shim => drop(command.env("LD_PRELOAD", library)),
            Mode::Owned => drop(command.env("LD_PRELOAD", library).env("SIGPLANE_OWN", "1")),
            Mode::Wrong(bug) => {
                command
                    .env("LD_PRELOAD", env!("DIFFERENTIAL_WRONG"))
                    .env("DIFFERENTIAL_WRONG", bug);
            }
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the interpreter can be started");
        let requests = child.stdin.take().expect("it was piped");
        let answers = child.stdout.take().expect("it was piped");
        Self { mode, library: library.into(), folder: folder.into(), child, requests, answers }
    }

    /// How it runs its programs.
    pub fn mode(&self) -> &Mode {
        &self.mode
    }

    /// Runs one program to its end.
    pub fn run(&mut self, program: &Program) -> Outcome {
        match self.try_run(program) {
            Some(outcome) => outcome,
            None => {
                let status = self.child.kill().and_then(|()| self.child.wait());
                let (mode, library, folder) =
                    (self.mode.clone(), self.library.clone(), self.folder.clone());
                *self = Self::start(mode, &library, &folder);
                format!("the interpreter itself ended: {status:?}\n")
            }
        }
    }

    fn try_run(&mut self, program: &Program) -> Option<Outcome> {
        let words = program.encode();
        let mut request = Vec::with_capacity(8 + words.len() * 4);
        for word in [words.len() as i32, i32::from(program.fresh)].iter().chain(&words) {
            request.extend(word.to_ne_bytes());
        }
        self.requests.write_all(&request).ok()?;
        let process = self.word()?;
        let hung = !self.answers_within(PATIENCE);
        let mut states = String::new();
        if hung {
            states = what_hangs(process);
            // SAFETY: kill(2) has no precondition; the group is that of the program, whose leader the
            // interpreter has not reaped yet.
            unsafe { libc::kill(-process, libc::SIGKILL) };
            if !self.answers_within(PATIENCE) {
                return None;
            }
        }
        let status = self.word()?;
        let mut text = vec![0; self.word()? as usize];
        self.answers.read_exact(&mut text).ok()?;
        let text = String::from_utf8_lossy(&text);
        let mut streams: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for line in text.lines() {
            let (stream, line) = line.split_once('\t').unwrap_or(("?", line));
            streams.entry(stream).or_default().push(line);
        }
        let mut outcome = String::new();
        for (stream, lines) in streams {
            for line in lines {
                outcome.push_str(&format!("[{stream}] {line}\n"));
            }
        }
        outcome.push_str(&if hung { format!("HUNG\n{states}") } else { describe(status) });
        Some(outcome)
    }

    fn word(&mut self) -> Option<i32> {
        let mut bytes = [0; 4];
        self.answers.read_exact(&mut bytes).ok()?;
        Some(i32::from_ne_bytes(bytes))
    }

    fn answers_within(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).as_millis() as i32;
            let mut poll =
                libc::pollfd { fd: self.answers.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one valid pollfd.
            match unsafe { libc::poll(&raw mut poll, 1, left) } {
                1.. => return true,
                0 => return false,
                _ => {}
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn describe(status: i32) -> String {
    if libc::WIFEXITED(status) {
        format!("exit status {}\n", libc::WEXITSTATUS(status))
    } else {
        format!("killed by {} core {}\n", libc::WTERMSIG(status), libc::WCOREDUMP(status))
    }
}

/// Where the threads of a process that hangs are, for the reader.
fn what_hangs(process: i32) -> String {
    let mut text = String::new();
    for task in std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten() {
        for file in ["stat", "syscall", "wchan"] {
            let what = std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
            text += &format!("  {} {file}: {}\n", task.file_name().display(), what.trim());
        }
    }
    text
}
