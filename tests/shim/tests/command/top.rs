//! `sigplane top`, in a terminal of the test's.

use super::{both, path};
use sigplane_tests::{Exit, Running, output_of};
use sigplane_tests_shim::program::{Scratch, kill};
use sigplane_tests_shim::pty::Terminal;
use sigplane_tests_shim::{Mode, command, sigplane};
use std::process::{Command, Stdio};

/// `top` draws owners, follows a stop, and leaves the terminal as it was by `q` and by SIGTERM, which
/// also ends it as such; the settings are compared by stty.
pub fn top_in_a_terminal() {
    let scratch = Scratch::new("command-top");
    let both = both(&scratch);
    let mut run = Running::start(sigplane(&["run", "--", &both, "wait"]));
    run.expect("waiting");
    let command = path(&command());
    let script = format!(
        "stty cols 150 rows 30; stty -g; {command} top {pid}; echo status $?; stty -g; \
         {command} top {pid}; echo status $?; stty -g; echo end",
        pid = run.pid()
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).env("TERM", "xterm");
    let mut terminal = Terminal::start(Mode::Bare, shell);
    let settings = terminal.wait_for("\n");
    terminal.wait_for("late_handler");
    terminal.type_in("q");
    terminal.wait_for("status 0\n");
    assert_eq!(terminal.wait_for("\n"), settings, "after q");
    terminal.wait_for("late_handler");
    let top = children(terminal.pid());
    let [top] = &top[..] else { panic!("the shell runs top alone: {top:?}") };
    kill(*top, libc::SIGTERM);
    // Out of the alternate screen, with the cursor shown.
    terminal.wait_for("\u{1b}[?1049l");
    terminal.wait_for("status 143\n");
    assert_eq!(terminal.wait_for("\n"), settings, "after SIGTERM");
    let (_, exit) = terminal.finish();
    assert_eq!(exit, Exit::Code(0));
    // Without a terminal it says so.
    let mut piped = sigplane(&["top", &run.pid().to_string()]);
    piped.stdin(Stdio::null());
    let (exit, output) = output_of(piped);
    assert!(exit == Exit::Code(1) && output.contains("sigplane table"), "{output}");
}

fn children(pid: i32) -> Vec<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let text = text.expect("the kernel lists children");
    text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// ^Z stops it by SIGTSTP, as the shell sees, with the terminal given back; it goes on where it was, draws anew
/// in a terminal of another size, and ends when the process does.
pub fn top_stops_and_goes_on() {
    let scratch = Scratch::new("command-stop");
    let both = both(&scratch);
    let mut run = Running::start(sigplane(&["run", "--", &both, "wait"]));
    run.expect("waiting");
    let command = path(&command());
    let script = format!(
        "set -m; stty cols 150 rows 30; stty -g; {command} top {pid}; echo status $?; stty -g; \
         fg; echo status $?; stty -g; echo end",
        pid = run.pid()
    );
    let mut shell = Command::new("bash");
    shell.args(["--norc", "-c", &script]).env("TERM", "xterm");
    let mut terminal = Terminal::start(Mode::Bare, shell);
    let settings = terminal.wait_for("\n");
    terminal.wait_for("late_handler");
    terminal.type_in("\u{1a}");
    terminal.wait_for("\u{1b}[?1049l");
    terminal.wait_for(&format!("status {}\n", 128 + libc::SIGTSTP));
    assert_eq!(terminal.wait_for("\n"), settings, "after ^Z");
    terminal.wait_for("\u{1b}[?1049h");
    terminal.wait_for("late_handler");
    let device = std::fs::read_link(format!("/proc/{}/fd/0", terminal.pid())).expect("a terminal");
    let resized = Command::new("stty").arg("-F").arg(device).args(["cols", "140"]).status();
    assert!(resized.is_ok_and(|status| status.success()), "stty sets the size");
    // What has not changed is drawn again only where everything is.
    terminal.wait_for("late_handler");
    kill(run.pid(), libc::SIGKILL);
    assert_eq!(run.wait().signal(), Some(libc::SIGKILL));
    terminal.wait_for(&format!("process {} has ended\n", run.pid()));
    terminal.wait_for("status 0\n");
    assert_eq!(terminal.wait_for("\n"), settings, "after its end");
    assert_eq!(terminal.finish().1, Exit::Code(0));
}
