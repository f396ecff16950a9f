//! Compares: each program bare and in every mode asked for. A difference counts only if the program is the
//! same bare each time; one that is not is a mistake of the generator, and fails the test as well.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::generate;
use crate::listing::listing;
use crate::options::Options;
use crate::program::Program;
use crate::server::{Mode, Outcome, Server};
use crate::shrink::shrink;

/// What a run of many programs found.
#[derive(Debug, Default)]
pub struct Found {
    /// Programs that were run.
    pub programs: u64,
    /// Operations in them.
    pub operations: u64,
    /// Programs that are not the same twice without any shim.
    pub unsteady: u64,
    /// Differences, by mode and by what differs first; with the first one's report and its size.
    pub differences: BTreeMap<String, (u64, String, usize)>,
}

/// How often a program with a difference is run again before it is believed.
const AGAIN: usize = 3;
/// How many programs a shrinking may run.
const TRIES: usize = 500;

/// Where the programs run: core dumps fall here.
#[derive(Debug)]
pub struct Folder(std::path::PathBuf);

impl Folder {
    /// A new one.
    pub fn new() -> Self {
        let path =
            std::env::temp_dir().join(format!("sigplane-differential-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder for core dumps");
        Self(path)
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl AsRef<Path> for Folder {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

/// Runs programs on every processor until the budget is spent.
pub fn run(options: &Options, folder: &Path) -> Found {
    let next = AtomicU64::new(0);
    let found = Mutex::new(Found::default());
    let end = Instant::now() + options.budget;
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let place = tempdir(folder);
                let mut bare = Server::start(Mode::Bare, &options.library, &place);
                let mut servers: Vec<Server> = options
                    .modes
                    .iter()
                    .map(|mode| Server::start(mode.clone(), &options.library, &place))
                    .collect();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= options.count || Instant::now() >= end {
                        break;
                    }
                    one(options.seed + index, &mut bare, &mut servers, &found);
                }
            });
        }
    });
    found.into_inner().expect("no worker panicked")
}

/// A folder for one worker: a core dump of one is not removed by another before the kernel has written it.
fn tempdir(folder: &Path) -> std::path::PathBuf {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let path = folder.join(NUMBER.fetch_add(1, Ordering::Relaxed).to_string());
    std::fs::create_dir_all(&path).expect("a folder for core dumps");
    path
}

/// How often a program that has differed is run again, to tell a difference from a race of its own.
const CONFIRMED: usize = 20;

fn one(seed: u64, bare: &mut Server, servers: &mut [Server], found: &Mutex<Found>) {
    let program = generate::program(seed);
    let expected = bare.run(&program);
    for server in servers {
        let got = server.run(&program);
        if got == expected {
            continue;
        }
        if expected.contains("HUNG") || !steady(bare, &program, &expected) {
            found.lock().expect("no worker panicked").unsteady += 1;
            println!("seed {seed}: not the same twice without a shim\n{}", listing(&program));
            let again = (0..if expected.contains("HUNG") { 0 } else { 20 })
                .map(|_| bare.run(&program))
                .find(|again| *again != expected);
            println!("{}", first_difference(&expected, &again.unwrap_or(got)));
            continue;
        }
        if !(0..CONFIRMED).any(|_| server.run(&program) != expected) {
            found.lock().expect("no worker panicked").unsteady += 1;
            println!("seed {seed}, {}: differed once, and not again", server.mode().name());
            println!("{}", first_difference(&expected, &got));
            continue;
        }
        let key = format!("{}: {}", server.mode().name(), kind(&expected, &got));
        let known = {
            let mut found = found.lock().expect("no worker panicked");
            let entry = found.differences.entry(key.clone()).or_default();
            entry.0 += 1;
            entry.0 > 1
        };
        if !known {
            let (report, size) = explain(seed, &program, bare, server, &expected, &got);
            println!("{report}");
            let mut found = found.lock().expect("no worker panicked");
            if let Some(entry) = found.differences.get_mut(&key) {
                (entry.1, entry.2) = (report, size);
            }
        }
    }
    let mut found = found.lock().expect("no worker panicked");
    found.programs += 1;
    found.operations += program.len() as u64;
}

fn steady(bare: &mut Server, program: &Program, expected: &Outcome) -> bool {
    (0..2 * AGAIN).all(|_| bare.run(program) == *expected)
}

/// Whether the mode differs from bare, which must not differ from itself.
fn fails(program: &Program, bare: &mut Server, server: &mut Server) -> bool {
    let expected = bare.run(program);
    (0..AGAIN).any(|_| server.run(program) != expected) && steady(bare, program, &expected)
}

fn explain(
    seed: u64,
    program: &Program,
    bare: &mut Server,
    server: &mut Server,
    expected: &Outcome,
    got: &Outcome,
) -> (String, usize) {
    let mode = server.mode().name();
    let head = format!("seed {seed}, {mode}: differs from bare (--replay {seed} --mode {mode})");
    if !fails(program, bare, server) {
        let text = format!(
            "{head}\nonce only, so not shrunk\n{}{}",
            listing(program),
            first_difference(expected, got)
        );
        return (text, program.len());
    }
    let small = shrink(program, TRIES, &mut |program| fails(program, bare, server));
    let expected = bare.run(&small);
    let got = (0..10).map(|_| server.run(&small)).find(|got| *got != expected);
    let difference = first_difference(&expected, got.as_deref().unwrap_or("the same this time"));
    (
        format!(
            "{head}\nshrunk from {} to {} operations\n{}{difference}",
            program.len(),
            small.len(),
            listing(&small)
        ),
        small.len(),
    )
}

/// The first line in which two logs differ, with the two before it.
pub fn first_difference(expected: &str, got: &str) -> String {
    let (left, right): (Vec<_>, Vec<_>) = (expected.lines().collect(), got.lines().collect());
    let at = (0..left.len().max(right.len())).find(|&at| left.get(at) != right.get(at));
    let Some(at) = at else { return "no difference\n".into() };
    let mut text = String::new();
    for line in &left[at.saturating_sub(4).min(left.len())..at] {
        text += &format!("    {line}\n");
    }
    for (sign, lines) in [("bare", &left), ("mode", &right)] {
        for line in lines.iter().skip(at).take(3) {
            text += &format!("{sign}: {line}\n");
        }
        if lines.len() <= at {
            text += &format!("{sign}: (nothing)\n");
        }
    }
    text
}

/// What differs first, without the numbers: differences of one kind are shrunk once.
fn kind(expected: &str, got: &str) -> String {
    let pair = expected.lines().zip(got.lines()).find(|(left, right)| left != right);
    let (left, right) =
        pair.unwrap_or((expected.lines().last().unwrap_or(""), got.lines().last().unwrap_or("")));
    let plain = |line: &str| -> String {
        let line = line.split_once("] ").map_or(line, |(_, line)| line);
        line.chars().filter(|c| !c.is_ascii_digit()).take(24).collect()
    };
    format!("{} / {}", plain(left), plain(right))
}
