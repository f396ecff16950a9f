//! One test file: its tests and victims, each run as a process of its own.

use crate::child::{TEST, VICTIM, output_of, this_executable};
use crate::raw;
use libtest_mimic::{Arguments, Failed, Trial};
use std::process::exit;

/// A named function: a test, or a victim.
pub type Named = (&'static str, fn());

/// The tests and victims of one file; its `main` is `Suite { … }.main()`.
pub struct Suite {
    /// Each runs alone in a child process, on its main thread. A panic fails it.
    pub tests: &'static [Named],
    /// What [`victim`](crate::victim) can start.
    pub victims: &'static [Named],
}

/// What a skipped test prints, so that the parent can tell.
const SKIP: &str = "sigplane-test-skipped: ";

impl Suite {
    /// Runs as the harness, as one test, or as one victim, as the environment says.
    pub fn main(&self) -> ! {
        for (variable, functions) in [(VICTIM, self.victims), (TEST, self.tests)] {
            if let Ok(wanted) = std::env::var(variable) {
                // Grandchildren are told anew what to be.
                // SAFETY: the process has one thread here.
                unsafe { std::env::remove_var(variable) };
                let Some((_, function)) = functions.iter().find(|(name, _)| *name == wanted) else {
                    eprintln!("no {variable} is called {wanted}");
                    exit(2);
                };
                function();
                exit(0);
            }
        }
        restore_defaults();
        let trials =
            self.tests.iter().map(|(name, _)| Trial::test(*name, move || parent(name))).collect();
        let mut arguments = Arguments::from_args();
        // Storms want the processors for themselves.
        arguments.test_threads.get_or_insert(1);
        libtest_mimic::run(&arguments, trials).exit()
    }
}

/// A shell without job control starts what it runs in the background with SIGINT and SIGQUIT ignored, and
/// nohup(1) ignores SIGHUP. The tests, which inherit that, are about what happens otherwise.
fn restore_defaults() {
    for signal in
        [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU]
    {
        if raw::action(signal).handler == libc::SIG_IGN {
            raw::set_action(signal, raw::Action::default());
        }
    }
}

fn parent(name: &'static str) -> Result<(), Failed> {
    let mut command = this_executable();
    command.env(TEST, name);
    let (exit, output) = output_of(command);
    for line in output.lines().filter(|line| line.starts_with(SKIP)) {
        println!("{name}: skipped: {}", &line[SKIP.len()..]);
    }
    if exit.success() {
        return Ok(());
    }
    Err(Failed::from(format!("{exit:?}\n{output}")))
}

/// Ends the test as skipped, visibly, for want of something in the system.
pub fn skip(reason: &str) -> ! {
    println!("{SKIP}{reason}");
    exit(0);
}

/// A count for a loop: `full` normally, less when `SIGPLANE_TEST_SCALE` (a divisor) says so, for
/// sanitizers and slow machines.
pub fn quick(full: u64) -> u64 {
    let scale =
        std::env::var("SIGPLANE_TEST_SCALE").ok().and_then(|scale| scale.parse::<u64>().ok());
    (full / scale.unwrap_or(1).max(1)).max(1)
}
