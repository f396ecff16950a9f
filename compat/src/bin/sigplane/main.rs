//! The `sigplane` command: runs programs under the shim, and shows who owns which signal.
//!
//! * `run` — a program under the shim, and a report of it (`reporter`, `report`).
//! * `table` — one look at a running process (`remote` for one under the shim, `status` for any).
//! * `top` — the same, live.
//! * `doctor` — what the system is like, and what follows.
//!
//! It begins in C's `main`: the Rust runtime would set SIGPIPE to ignored and open closed descriptors
//! before the program that `run` executes could inherit them as they were.
#![no_main]

mod change;
mod doctor;
mod exhibit;
mod failure;
mod findings;
mod followed;
mod history;
mod library;
mod look;
mod names;
mod observer;
mod place;
mod remote;
mod report;
mod reporter;
mod run;
mod status;
mod symbols;
mod table;
mod top;
mod trace;

use clap::{Parser, Subcommand};
use core::ffi::{c_char, c_int};
use std::io::Write;

/// Who owns which signal of a process: run programs under the shim, look at running ones.
///
/// Signals are one table per process, and the last library that calls sigaction() wins. sigplane puts
/// one owner under that table. This command shows it: for programs that it runs, and for any other.
#[derive(Parser)]
#[command(
    name = "sigplane",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  sigplane run --report text -- python3 server.py    run it; tell afterwards who set which handler
  sigplane table 4711                                who owns what in process 4711
  sigplane top 4711                                  the same, live (q quits)
  sigplane doctor                                    is this system fit for it, and what follows

Environment:
  SIGPLANE_LIBRARY   path of libsigplane_compat.so; by default it is looked for beside this
                     executable, in ../lib, and in deps beside it"
)]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Run(run::Run),
    Table(table::Show),
    Top(top::Top),
    Doctor(doctor::Doctor),
}

/// Entered by the C library, after its constructors.
// SAFETY: this is the program's only `main`; the library's constructors have kept the arguments.
#[unsafe(no_mangle)]
extern "C" fn main(_count: c_int, _arguments: *const *const c_char) -> c_int {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _printed = error.print();
            // For `run`, as env(1) and nohup(1): 125 is this command's own failure.
            let own = std::env::args().nth(1).is_some_and(|first| first == "run");
            return if !error.use_stderr() {
                0
            } else if own {
                run::OWN_FAILURE
            } else {
                2
            };
        }
    };
    let (result, failure_status) = match arguments.action {
        Action::Run(run) => return run.run(),
        Action::Table(show) => (show.run(), 1),
        Action::Top(top) => (top.run(), 1),
        Action::Doctor(doctor) => (doctor.run(), 2),
    };
    let status = result.unwrap_or_else(|failure| {
        eprintln!("sigplane: {failure}");
        failure_status
    });
    let _flushed = std::io::stdout().flush();
    status
}
