//! Hostile input: every wrapped function with wild pointers, numbers and sizes answers as the kernel does,
//! changes what the kernel would have changed, and never crashes (issue, "What must be shown" 7).
//!
//! One sequence of random calls is made in three processes: on a bare system by a *model* (libc's source
//! over raw system calls), and with the shim, without and with `SIGPLANE_OWN`, by the real functions. What
//! is seen of each call and of the process's state after it is printed, and must be the same. The model is
//! held against libc itself in the same run, wherever libc does not crash.
//!
//! `SIGPLANE_HOSTILE=N` makes N calls (default 4,000); `SIGPLANE_TEST_SEED` chooses them.
#![allow(clippy::disallowed_methods, reason = "plays the programs that call these")]
#![allow(clippy::multiple_unsafe_ops_per_block, reason = "blocks are one exchange with libc each")]

#[path = "hostile/cases.rs"]
mod cases;
#[path = "hostile/memory.rs"]
mod memory;
#[path = "hostile/model.rs"]
mod model;
#[path = "hostile/observed.rs"]
mod observed;
#[path = "hostile/others.rs"]
mod others;
#[path = "hostile/stack.rs"]
mod stack;

use cases::Call;
use observed::State;
use sigplane_tests::{Dice, Exit, Running, Suite, victim};
use sigplane_tests_shim::Mode;
use std::io::Write;

const CALLS: &str = "SIGPLANE_HOSTILE";
const SEED: &str = "SIGPLANE_TEST_SEED";

fn calls() -> u64 {
    std::env::var(CALLS).ok().and_then(|count| count.parse().ok()).unwrap_or(4_000)
}

/// Says a line at once: what comes after may be the end.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("the test reads");
}

/// Makes the calls for real.
fn real() {
    observed::prepare();
    make_calls();
}

/// The same with subscribers of some signals in the process, and the signals of faults sigplane's: through
/// the C API of the same shared object.
fn subscribed() {
    extern "C" fn nobody_sends() {
        std::process::abort();
    }
    observed::prepare();
    let set = [libc::SIGINT, libc::SIGUSR1, libc::SIGCHLD, libc::SIGWINCH, libc::SIGTSTP, 34, 64];
    let set = set.into_iter().map(sigplane_tests::raw::bit).sum();
    let mut subscription = 0u64;
    let (handler, result) = (nobody_sends as *const () as u64, &raw mut subscription as u64);
    let no_options = 0;
    let arguments = [set, no_options, handler, 0, result, 0];
    let answer = cases::call_by_name(c"sigplane_subscribe_dispatcher", arguments, false);
    assert_eq!(answer, Some(Ok(0)), "a subscription");
    let answer = cases::call_by_name(c"sigplane_faults_enable", [0; 6], false);
    assert_eq!(answer, Some(Ok(0)), "the signals of faults");
    make_calls();
}

/// Of libc's own signals a process inherits what posix_spawn has left of them, or has libc's handler if it has
/// had a second thread.
fn reset_internal_signals() {
    let default = [0u64; 4];
    for internal in [32, 33] {
        let arguments = [internal, default.as_ptr() as u64, 0, 8, 0, 0];
        model::raw(libc::SYS_rt_sigaction, arguments).expect("the default action");
    }
}

fn make_calls() {
    reset_internal_signals();
    let mut dice = Dice::new();
    let mut state = State::default();
    state.changes();
    for number in 0..calls() {
        let call = Call::roll(&mut dice);
        call.fill();
        say(&format!("{number}: {}", call.describe(Ok(0))));
        match call.perform() {
            Some(answer) => say(&format!("= {}{}", call.describe(answer), state.changes())),
            None => say("= absent"),
        }
    }
}

/// Makes the calls as the model has them, each first in a child by libc, to see whether that agrees.
fn modelled() {
    observed::prepare();
    reset_internal_signals();
    let mut dice = Dice::new();
    let mut state = State::raw();
    state.changes();
    for number in 0..calls() {
        let call = Call::roll(&mut dice);
        call.fill();
        say(&format!("{number}: {}", call.describe(Ok(0))));
        let libc = observed::in_a_child(&|| {
            let mut state = state.clone();
            call.perform().map(|answer| call.describe(answer) + &state.changes())
        });
        call.fill();
        let answer = model::call(call.function.name, call.arguments);
        let text = call.describe(answer) + &state.changes();
        if let Some(libc) = libc {
            assert_eq!(libc, text, "libc (left) is not as the model (right)");
        }
        if call.function.name == "siginterrupt" {
            call.perform(); // Once more is the same; now libc has it in the next child.
        }
        say(&format!("= {text}"));
    }
}

/// Runs the victims side by side and compares what they say.
fn compare(names: [(&str, Mode); 3], seed: u64) -> Result<u64, String> {
    let mut runs = names.map(|(name, mode)| {
        let mut command = victim(name);
        mode.apply(&mut command);
        command.env(SEED, seed.to_string()).env(CALLS, calls().to_string());
        (mode, Running::start(command))
    });
    let mut said = 0;
    let mut last = String::new();
    loop {
        let [model, others @ ..] = &mut runs;
        let line = model.1.line();
        for (mode, other) in others {
            let theirs = other.line();
            // What a process does not have (an old compat name) is not compared.
            if theirs != line && theirs.as_deref() != Some("= absent") {
                return Err(format!(
                    "seed {seed}, {mode:?}, after\n {last}\nhas\n {theirs:?}\nand the model\n {line:?}"
                ));
            }
        }
        let Some(line) = line else { break };
        (last, said) = (line, said + 1);
    }
    for (mode, run) in runs {
        let (exit, _) = run.finish();
        if exit != Exit::Code(0) {
            return Err(format!("seed {seed}, {mode:?} ends with {exit:?} after\n {last}"));
        }
    }
    Ok(said)
}

/// Functions whose model is the kernel.
fn random_calls() {
    let mut dice = Dice::new();
    let names = [("modelled", Mode::Bare), ("real", Mode::Shim), ("real", Mode::Owned)];
    let seed = dice.roll(1 << 40) | 1;
    match compare(names, seed) {
        Ok(said) => assert!(said > 2 * calls(), "every call is seen"),
        Err(difference) => panic!("{difference}"),
    }
}

/// What sigplane holds for others in the same process makes no difference.
fn random_calls_beside_subscribers() {
    let mut dice = Dice::new();
    let names = [("modelled", Mode::Bare), ("subscribed", Mode::Shim), ("subscribed", Mode::Owned)];
    let seed = dice.roll(1 << 40) | 1;
    match compare(names, seed) {
        Ok(said) => assert!(said > 2 * calls(), "every call is seen"),
        Err(difference) => panic!("{difference}"),
    }
}

/// Functions whose model is libc, where that does not crash: they end in a new program, or fail.
fn failing_starts() {
    let names = [Mode::Bare, Mode::Shim, Mode::Owned].map(|mode| ("others", mode));
    match compare(names, 1) {
        Ok(said) => assert!(said > 40, "every call is seen: {said}"),
        Err(difference) => panic!("{difference}"),
    }
}

/// An action that libc sets by itself is read as it is. (Where sigplane owns the handlers, such a change is a
/// take-over, which the table reports: `design/libc-functions.md`.)
fn changes_behind_the_table() {
    let [bare, shim] = [Mode::Bare, Mode::Shim].map(|mode| {
        let mut command = victim("behind");
        mode.apply(&mut command);
        Running::start(command).finish()
    });
    assert!(bare.1.contains("SIGPROF has changed: true"), "{bare:?}");
    assert_eq!(bare, shim);
}

/// Pointers just past the stack in use: EFAULT where the kernel would say so.
fn pointers_beside_the_stack() {
    const ANSWERS: [&str; 6] = [
        "ask, into a page that can be read: Some(Err(14))",
        "ask, across the end: Some(Err(14))",
        "ask, into no page: Some(Err(14))",
        "set, from a page of zeros: Some(Ok(0))",
        "set, across into no page: Some(Err(14))",
        "set, from that page after a change: Some(Err(14))",
    ];
    for mode in [Mode::Shim, Mode::Owned] {
        let mut command = victim("stack");
        mode.apply(&mut command);
        let (exit, output) = Running::start(command).finish();
        let lines: Vec<_> = output.lines().collect();
        assert_eq!(lines.get(..6), Some(&ANSWERS[..]), "{mode:?} {exit:?}");
        // In the second round the page is not there, and comes back.
        let gone = lines.get(9).copied();
        assert_eq!(gone, Some("set, from a page of zeros: Some(Err(14))"), "{mode:?} {exit:?}");
        let back = lines.get(11).copied();
        assert_eq!(
            back,
            Some("set, from that page after a change: Some(Ok(0))"),
            "{mode:?} {exit:?}"
        );
        assert_eq!((lines.len(), exit), (18, Exit::Code(0)), "{mode:?}");
    }
}

fn main() {
    Suite {
        tests: &[
            ("random_calls", random_calls),
            ("random_calls_beside_subscribers", random_calls_beside_subscribers),
            ("failing_starts", failing_starts),
            ("changes_behind_the_table", changes_behind_the_table),
            ("pointers_beside_the_stack", pointers_beside_the_stack),
        ],
        victims: &[
            ("modelled", modelled),
            ("real", real),
            ("subscribed", subscribed),
            ("others", others::run),
            ("behind", others::behind),
            ("stack", stack::run),
        ],
    }
    .main()
}
