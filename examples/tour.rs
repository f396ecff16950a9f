//! A tour of sigplane on live signals: sharing, payloads, deferral, queues, threads, posting, the
//! machine context and removal. Every line with a mark is a claim that the program has just checked.
//!
//! Run it:
//!
//! ```sh
//! cargo run --release --example tour
//! ```
//!
//! The last line says whether everything held; the exit status is 0 if so and 1 if not. Colours
//! appear on a terminal only, and not when `NO_COLOR` is set. The program starts itself a few times,
//! as a sender or as a process that is to die by a signal: see `roles` in `main`.

#[path = "tour/context.rs"]
mod context;
#[path = "tour/deferral.rs"]
mod deferral;
#[path = "tour/payload.rs"]
mod payload;
#[path = "tour/queues.rs"]
mod queues;
#[path = "tour/removal.rs"]
mod removal;
#[path = "tour/report.rs"]
mod report;
#[path = "tour/roles.rs"]
mod roles;
#[path = "tour/sharing.rs"]
mod sharing;
#[path = "tour/threads.rs"]
mod threads;

use report::{Report, Section};
use std::process::ExitCode;

/// Longer than the tour takes on a slow machine. A tour that hangs ends by SIGALRM, visibly.
const LIMIT_SECONDS: u32 = 180;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((role, rest)) = arguments.split_first() {
        return roles::play(role, rest);
    }
    // SAFETY: takes a number; the default action of SIGALRM ends the process.
    unsafe { libc::alarm(LIMIT_SECONDS) };

    let mut report = Report::begin();
    let sections: [Section; 10] = [
        ("Sharing: two owners, and a handler that was there before", sharing::shared),
        ("Payloads: who sent it, and what came with it", payload::payloads),
        ("Deferral: critical sections without a system call", deferral::deferral),
        ("Queues: a full one pushes back into the kernel", queues::back_pressure),
        ("Other policies: merge, or drop and count", queues::policies),
        ("Thread context: a thread's own handlers, at its safe points", threads::context),
        ("Posting: a closure for another thread", threads::posting),
        ("Immediate context: in the handler, with the registers", context::immediate),
        ("Removal: the signal is given back", removal::removal),
        ("The table: who owns what", sharing::table),
    ];
    for (title, section) in sections {
        report.section(title);
        if let Err(error) = section(&mut report) {
            report.claim("the section ran to its end", false, error);
        }
    }
    report.end()
}
