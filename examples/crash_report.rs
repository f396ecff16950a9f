//! A crash reporter: when the process is about to die of a signal, a helper process writes down why, and
//! then it dies of it.
//!
//! ```sh
//! cargo run --release --example crash_report -- --crash null
//! cargo run --release --example crash_report -- --crash overflow   # or abort, div, bus
//! ```
//!
//! It prints where the report is: signal and kind of the fault, address and access, a backtrace with names
//! and lines, the registers, the mappings around them, the threads, the command line. Without `--crash` it
//! ends normally, and nothing is written.
//!
//! The work is split by what may be relied on. What to look at:
//! * `hook` runs in the process that crashes, of which nothing may be relied on any more. It sends one
//!   record through a socket and waits for an answer, for a limited time: three system calls.
//! * `helper` is another process, started at the beginning. It allocates, reads files and memory, and may
//!   take its time; if it fails, the crash goes on without a report.
//! * Nobody changes how it ends. After the hook, sigplane takes the default action of the original signal:
//!   exit status and core dump are those of a process without a crash reporter.
//!
//! A stack overflow shows why the order matters: Rust's runtime takes it before a last-chance hook would,
//! prints its message and aborts. So `hook` also has a region that notes the fault and passes it on, and
//! the report of that SIGABRT tells its cause.

#[path = "crash_report/backtrace.rs"]
mod backtrace;
#[path = "crash_report/crashes.rs"]
mod crashes;
#[path = "crash_report/helper.rs"]
mod helper;
#[path = "crash_report/hook.rs"]
mod hook;
#[path = "crash_report/image.rs"]
mod image;
#[path = "crash_report/process.rs"]
mod process;
#[path = "crash_report/record.rs"]
mod record;
#[path = "crash_report/report.rs"]
mod report;

use clap::Parser;
use crashes::Crash;
use std::error::Error;
use std::path::PathBuf;

/// Crashes in a chosen way, and leaves a report that a helper process writes.
#[derive(Parser)]
struct Options {
    /// How to crash.
    #[arg(long, value_enum)]
    crash: Option<Crash>,
    /// Where reports go.
    #[arg(long, value_name = "DIRECTORY", default_value_os_t = std::env::temp_dir())]
    directory: PathBuf,
    /// This is the helper process; standard input is its socket.
    #[arg(long, hide = true)]
    helper: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    if options.helper {
        return helper::run(&options.directory);
    }
    // A stack overflow is handled on the thread's alternate stack, which sigplane makes large enough.
    sigplane::thread::current();
    let _reporter = hook::Reporter::start(&options.directory)?;
    if let Some(crash) = options.crash {
        crash.happen();
    }
    println!("nothing crashed");
    Ok(())
}
