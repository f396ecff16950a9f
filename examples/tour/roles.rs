//! The parts that the program plays for itself as another process.

use crate::report::Outcome;
use crate::{deferral, payload, queues, removal};
use std::io::Read;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};

/// Runs the part called `role`.
pub fn play(role: &str, arguments: &[String]) -> ExitCode {
    let outcome: Outcome = match role {
        "--send" => payload::send(arguments),
        "--flood" => queues::flood(arguments),
        "--pairs" => deferral::pairs(),
        "--give-back" => removal::give_back(),
        "--observe" => removal::observe(),
        _ => Err(format!("no part is called {role}; run it without arguments").into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tour {role}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Starts a part, with its input and output connected to us.
pub fn start(role: &str, arguments: &[String]) -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(role).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
}

/// A part's standard input; when it is closed, the part ends.
pub fn keep_alive(child: &mut Child) -> Option<ChildStdin> {
    child.stdin.take()
}

/// Waits until whoever started this process has closed its standard input.
pub fn until_abandoned() {
    let _end = std::io::stdin().read_to_end(&mut Vec::new());
}
