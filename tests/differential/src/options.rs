//! The command line.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::server::Mode;

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Options {
    /// The first seed; program `n` has seed `seed + n`.
    pub seed: u64,
    /// For how long.
    pub budget: Duration,
    /// How many programs at most.
    pub count: u64,
    /// Only this program, with its log.
    pub replay: Option<u64>,
    /// The modes that are compared with bare.
    pub modes: Vec<Mode>,
    /// The shim.
    pub library: PathBuf,
    /// No self-test before.
    pub only: bool,
}

/// The text of `--help`.
pub const HELP: &str = "\
Runs random programs of signal operations bare and under the shim, and compares what they observe.

  --budget SECONDS   for how long (10)
  --count N          at most so many programs
  --seed N           the first program's seed (1; 0: from the clock)
  --mode MODE        bare, shim, owned, or wrong:BUG; may be repeated (shim and owned)
                     BUG: nodefer, mask, reset, everything-restarts, stack
  --replay SEED      one program: its listing, its log, what differs
  --library PATH     the shim (libsigplane_compat.so beside this test)
  --only             without the self-test, which needs a few seconds
";

impl Options {
    /// Of this process; an argument that cargo's own tests know is passed over.
    pub fn parse() -> Self {
        let now =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64);
        let beside = std::env::current_exe()
            .map_or_else(|_| PathBuf::new(), |test| test.with_file_name("libsigplane_compat.so"));
        let mut options = Self {
            seed: 1,
            budget: Duration::from_secs(10),
            count: u64::MAX,
            replay: None,
            modes: Vec::new(),
            library: beside,
            only: false,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value =
                || arguments.next().unwrap_or_else(|| wrong(&format!("{argument} needs a value")));
            match argument.as_str() {
                "--seed" => {
                    let seed = number(&value());
                    options.seed = if seed == 0 { now / 1000 % 1_000_000_000 } else { seed };
                }
                "--budget" => options.budget = Duration::from_secs(number(&value())),
                "--count" => options.count = number(&value()),
                "--replay" => options.replay = Some(number(&value())),
                "--mode" => {
                    let name = value();
                    let mode = Mode::parse(&name)
                        .unwrap_or_else(|| wrong(&format!("no mode is called {name}")));
                    options.modes.push(mode);
                }
                "--library" => options.library = value().into(),
                "--only" => options.only = true,
                "--help" => {
                    print!("{HELP}");
                    std::process::exit(0);
                }
                _ => {}
            }
        }
        if options.modes.is_empty() {
            options.modes = vec![Mode::Shim, Mode::Owned];
        }
        options
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| wrong(&format!("{text} is no number")))
}

fn wrong(message: &str) -> ! {
    eprintln!("{message}\n\n{HELP}");
    std::process::exit(2)
}
