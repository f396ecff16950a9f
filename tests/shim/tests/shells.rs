//! Shells under the shim: traps, inheritance, statuses, and job control in a terminal.
//!
//! Issue, what must be shown, 2: "bash job control and traps".

use sigplane_tests::Suite;
use sigplane_tests_shim::program::{alike, find_or_skip, observe, script, until, without_numbers};
use sigplane_tests_shim::{Mode, pty::Terminal};
use std::process::Command;

fn runs_alike(shell: &str, file: &str) -> String {
    let shell = find_or_skip(shell);
    alike(|mode| {
        let mut command = Command::new(&shell);
        command.arg(script(file)).env("LC_ALL", "C");
        observe(mode, command)
    })
}

/// Traps of every kind, read-back, what children inherit, interrupted waits, statuses: bash's own words
/// are the same in every mode.
fn bash_traps() {
    let seen = runs_alike("bash", "traps.bash");
    assert!(seen.contains("USR1\nUSR2\nUSR1 ends\n"), "{seen}");
    assert!(seen.contains("seen 200\n"), "{seen}");
    assert!(seen.ends_with("last words\nexit trap, status 42\nCode(42)\n"), "{seen}");
}

/// The same for a shell with its own, smaller, idea of signals.
fn dash_traps() {
    let seen = runs_alike("dash", "traps.sh");
    assert!(seen.contains("seen 200\n"), "{seen}");
    assert!(seen.ends_with("last words\nexit trap 42\nCode(42)\n"), "{seen}");
}

/// What the shell's user types, and what must have happened before the next line is typed.
enum Step {
    /// A command; then the prompt comes back.
    Line(&'static str),
    /// A command that prints `ready` and stays in the foreground.
    Foreground(&'static str),
    /// A key while a job is in the foreground; then the prompt comes back.
    Key(&'static str),
    /// A command, and the text that it is done with, after which the prompt may come at any time.
    Until(&'static str, &'static str),
}
use Step::{Foreground, Key, Line, Until};

const CTRL_C: &str = "\x03";
const CTRL_Z: &str = "\x1a";
const CTRL_BACKSLASH: &str = "\x1c";
/// `rea''dy`: what is typed must not look like what is waited for.
const SLEEPER: &str = "sh -c \"echo rea''dy; exec sleep 1000\"";

const SESSION: &[Step] = &[
    Line("trap 'echo an interrupted prompt' INT; ulimit -c 0"),
    Foreground(SLEEPER),
    Key(CTRL_C),
    Line("echo status $?"),
    Foreground(SLEEPER),
    Key(CTRL_Z),
    Line("echo status $?; jobs"),
    Line("bg; jobs; kill -STOP %1; until [ \"$(jobs -s)\" ]; do :; done"),
    Until("fg", "sleep 1000\"\n"),
    Key(CTRL_Z),
    Line("bg; kill %1; wait %1; echo status $?"),
    Foreground(SLEEPER),
    Key(CTRL_BACKSLASH),
    Line("echo status $?"),
    // A job of several processes stops and continues as one.
    Foreground("sh -c \"echo rea''dy; exec sleep 1000\" | cat"),
    Key(CTRL_Z),
    Until("fg", "cat\n"),
    Key(CTRL_C),
    Line("echo ${PIPESTATUS[@]}"),
    // A child that handles both keys itself.
    Foreground(
        "sh -c 'trap \"echo child INT\" INT; trap \"echo child QUIT; exit 6\" QUIT; echo rea\"\"dy; \
         while :; do :; done'",
    ),
    Until(CTRL_C, "child INT\n"),
    Key(CTRL_BACKSLASH),
    Line("echo status $?"),
    // Background jobs: SIGTTIN for a reader, the status of each by wait.
    Line("cat & until [ \"$(jobs -s)\" ]; do :; done; jobs"),
    Until("fg", "cat\n"),
    Key(CTRL_C),
    Line("echo status $?"),
    Line("(exit 3) & wait %1; echo status $?"),
    Line("trap -p"),
    Line("sh -c 'kill -STOP $$; exit 8'; echo status $?"),
    Until("fg; echo status $?", "status 8\n"),
];

fn session(mode: Mode) -> String {
    let mut command = Command::new("bash");
    command.args(["--norc", "--noprofile", "--noediting", "-i"]);
    command.env("PS1", "@@$ ").env("LC_ALL", "C").env("TERM", "dumb").env("HISTFILE", "");
    command.env_remove("PROMPT_COMMAND").env_remove("ENV").env_remove("BASH_ENV");
    let mut terminal = Terminal::start(mode, command);
    let mut seen = String::new();
    terminal.wait_for("@@$ ");
    terminal.type_in("stty -echo\n");
    terminal.wait_for("@@$ ");
    for step in SESSION {
        match step {
            Line(line) => {
                terminal.type_in(&format!("{line}\n"));
                seen += &format!("$ {line}\n{}", terminal.wait_for("@@$ "));
            }
            Key(key) => {
                in_the_foreground(&terminal);
                terminal.type_in(key);
                seen += &format!("{key:?}\n{}", terminal.wait_for("@@$ "));
            }
            Foreground(line) => {
                terminal.type_in(&format!("{line}\n"));
                seen += &format!("$ {line}\n{}", terminal.wait_for("ready\n"));
            }
            Until(line, text) => {
                let newline = if line.starts_with(char::is_control) { "" } else { "\n" };
                terminal.type_in(&format!("{line}{newline}"));
                seen += &format!("$ {line:?}\n{}{text}", terminal.wait_for(text));
                if text.starts_with("status") {
                    seen += &terminal.wait_for("@@$ ");
                }
            }
        }
    }
    // An interactive shell waits for TERM in vain, and says goodbye to its jobs on HUP.
    terminal.type_in("trap 'echo goodbye' EXIT; kill -TERM $$; echo still here\n");
    seen += &terminal.wait_for("@@$ ");
    terminal.type_in("kill -HUP $$\n");
    let (rest, exit) = terminal.finish();
    let lines: Vec<String> = seen.lines().chain(rest.lines()).map(without_process).collect();
    without_numbers(&format!("{}\n{exit:?}\n", lines.join("\n")), 4)
}

/// `[1] N` for what bash says of a job in the background, whose process may have any number.
fn without_process(line: &str) -> String {
    match line.split_once("] ") {
        Some((job, process)) if job.starts_with('[') && process.parse::<u32>().is_ok() => {
            format!("{job}] N")
        }
        _ => line.to_owned(),
    }
}

/// The job has the terminal and runs: a key that stops it while it is being continued would be lost.
fn in_the_foreground(terminal: &Terminal) {
    until("a running job in the foreground", || {
        let group = terminal.foreground();
        let status = std::fs::read_to_string(format!("/proc/{group}/stat")).unwrap_or_default();
        let state = status.rsplit(')').next().and_then(|fields| fields.trim_start().chars().next());
        group != terminal.pid() && state.is_some_and(|state| state != 'T')
    });
}

/// Ctrl-C, Ctrl-Z, Ctrl-\, fg, bg, jobs, wait, SIGTTIN, in a terminal: the screen is the same.
fn bash_job_control() {
    find_or_skip("bash");
    let seen = alike(session);
    for expected in ["status 130\n", "status 148\n", "status 131\n", "child INT\n", "goodbye\n"] {
        assert!(seen.contains(expected), "{expected:?} in {seen}");
    }
    assert!(seen.contains("[1]+  Stopped"), "{seen}");
}

fn main() {
    Suite {
        tests: &[
            ("bash_traps", bash_traps),
            ("dash_traps", dash_traps),
            ("bash_job_control", bash_job_control),
        ],
        victims: &[],
    }
    .main()
}
