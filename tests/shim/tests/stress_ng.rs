//! stress-ng's stressors of signals, and of what goes with them, under the shim, with its own verification.
//!
//! Issue, what must be shown, 2: "`stress-ng`'s signal stressors with `--verify`".

use sigplane_tests::{Suite, quick};
use sigplane_tests_shim::Mode;
use sigplane_tests_shim::program::{Scratch, alike, find_or_skip, observe};
use std::path::Path;
use std::process::Command;

/// Stressors with the number of their rounds. A version of stress-ng that does not have one does without.
type Stressors = &'static [Stressor];
type Stressor = (&'static str, u64);

const DISPOSITIONS: Stressors = &[
    ("signal", 20_000),
    ("signest", 500),
    ("sigpending", 5_000),
    ("sigsuspend", 2_000),
    ("sigfd", 5_000),
    ("sigq", 5_000),
    ("sigrt", 5_000),
    ("sigpipe", 200),
    ("sigxcpu", 200),
    ("sigxfsz", 200),
    ("kill", 2_000),
    ("alarm", 10),
    ("timer", 500),
    ("timerfd", 500),
    ("itimer", 20),
];

/// Not among the others: the stressor has a race of its own, and then waits for ever. Its writer may fill the
/// pipe before the reader has set `O_ASYNC`, and a pipe that stays full sends no SIGIO; with every `fcntl`
/// of the bare program delayed by 50 ms, it never makes a round.
const INPUT: Stressors = &[("sigio", 200)];
const ATTEMPTS: usize = 20;

const FAULTS: Stressors = &[
    ("sigabrt", 100),
    ("sigbus", 500),
    ("sigfpe", 500),
    ("sigill", 500),
    ("sigsegv", 500),
    ("sigtrap", 1_000),
    ("bad-altstack", 50),
    ("fault", 500),
    ("longjmp", 5_000),
    ("nop", 10),
    ("opcode", 20),
    ("priv-instr", 50),
    ("usersyscall", 50),
];

const PROCESSES: Stressors = &[
    ("sigchld", 200),
    ("fork", 200),
    ("vfork", 200),
    ("clone", 50),
    ("context", 200),
    ("daemon", 50),
    ("exec", 30),
    ("pidfd", 100),
    ("prctl", 20),
    ("pthread", 50),
    ("resched", 10),
    ("rlimit", 20),
    ("session", 50),
    ("spawn", 20),
    ("wait", 50),
    ("zombie", 50),
];

/// The stressors run side by side, one process tree each; the outcome is what stress-ng says of each, that
/// each made its rounds, and the exit status.
fn pass(stressors: Stressors) {
    let program = find_or_skip("stress-ng");
    let known = known(&program, stressors);
    assert!(known.len() > 8, "{} of {} are known", known.len(), stressors.len());
    let scratch = Scratch::new("stress-ng");
    agree(|mode| run(&program, &scratch, mode, &known, 60));
}

fn known(program: &Path, stressors: Stressors) -> Vec<Stressor> {
    let mut list = Command::new(program);
    list.arg("--stressors");
    let known = observe(Mode::Bare, list);
    let is_known = |name: &str| known.split_whitespace().any(|known| known == name);
    stressors.iter().filter(|(name, _)| is_known(name)).copied().collect()
}

fn run(
    program: &Path,
    scratch: &Scratch,
    mode: Mode,
    stressors: &[Stressor],
    seconds: u64,
) -> String {
    let mut command = Command::new(program);
    command.args(["--verify", "--metrics-brief", "--timeout", &seconds.to_string()]);
    command.arg("--temp-path").arg(scratch.path()).current_dir(scratch.path());
    for (name, rounds) in stressors {
        let rounds = quick(*rounds).to_string();
        command.args([&format!("--{name}"), "1", &format!("--{name}-ops"), &rounds]);
    }
    let output = observe(mode, command);
    format!("{}{}", verdicts(&output, stressors), exit_of(&output))
}

/// The same in every mode, and all is well.
fn agree(observe: impl FnMut(Mode) -> String) {
    let seen = alike(observe);
    assert!(seen.ends_with("successful run completed\nCode(0)\n"), "{seen}");
    assert!(!seen.contains("fail"), "{seen}");
}

/// `NAME: done` for each that made its rounds, and every complaint in full.
fn verdicts(output: &str, stressors: &[Stressor]) -> String {
    let mut verdicts = String::new();
    for (name, rounds) in stressors {
        let done = output.lines().filter(|line| line.contains("metrc: ")).find_map(|line| {
            let mut words = line.split(']').next_back()?.split_whitespace();
            (words.next() == Some(name)).then(|| words.next()?.parse::<u64>().ok()).flatten()
        });
        let word = match done {
            Some(done) if done >= quick(*rounds) => "done".to_owned(),
            Some(done) => format!("{done} of {rounds}"),
            None => "not run".to_owned(),
        };
        verdicts += &format!("{name}: {word}\n");
    }
    let complaints = output.lines().filter(|line| line.contains("fail") || line.contains("error:"));
    complaints.for_each(|line| verdicts += &format!("{line}\n"));
    verdicts
}

fn exit_of(output: &str) -> String {
    let completed = output.contains("successful run completed");
    let exit = output.lines().next_back().unwrap_or_default();
    format!("{} run completed\n{exit}\n", if completed { "successful" } else { "no" })
}

/// Handlers set and reset, masks, queues, waits, descriptors, timers.
fn dispositions() {
    pass(DISPOSITIONS);
}

/// Signals of input, until a round in which the stressor's race went well.
fn input() {
    let program = find_or_skip("stress-ng");
    let known = known(&program, INPUT);
    assert_eq!(known.len(), INPUT.len(), "not known to this stress-ng");
    let scratch = Scratch::new("stress-ng-input");
    agree(|mode| {
        let mut seen = (0..ATTEMPTS).map(|_| run(&program, &scratch, mode, &known, 5));
        seen.find(|seen| seen.starts_with("sigio: done\n")).unwrap_or("never done\n".to_owned())
    });
}

/// Faults that are handled again and again, on ordinary, alternate and broken stacks, left by `siglongjmp`.
fn faults() {
    pass(FAULTS);
}

/// SIGCHLD, and the ways to make processes and threads.
fn processes() {
    pass(PROCESSES);
}

fn main() {
    Suite {
        tests: &[
            ("dispositions", dispositions),
            ("input", input),
            ("faults", faults),
            ("processes", processes),
        ],
        victims: &[],
    }
    .main()
}
