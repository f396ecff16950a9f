//! The differential test (issue "Compat", what must be shown, 1): random programs give the same observations
//! with the shim and without it. Before that it proves itself: bare against bare it finds nothing, and it
//! finds and shrinks the bug of every deliberately wrong shim.

use std::process::ExitCode;
use std::time::Duration;

use sigplane_differential::check::{self, Folder, first_difference};
use sigplane_differential::generate;
use sigplane_differential::listing::listing;
use sigplane_differential::options::Options;
use sigplane_differential::server::{Mode, Server};

fn main() -> ExitCode {
    let options = Options::parse();
    let folder = Folder::new();
    if let Some(seed) = options.replay {
        return replay(&options, seed, &folder);
    }
    if !options.only && !self_test(&options, &folder) {
        return ExitCode::FAILURE;
    }
    let names: Vec<_> = options.modes.iter().map(Mode::name).collect();
    println!(
        "seed {}, modes {}, {} s",
        options.seed,
        names.join(" and "),
        options.budget.as_secs()
    );
    let found = check::run(&options, folder.as_ref());
    for (kind, (count, ..)) in &found.differences {
        println!("{count} programs: {kind}");
    }
    let differences: u64 = found.differences.values().map(|(count, ..)| count).sum();
    println!(
        "{} programs, {} operations: {differences} differences, {} not the same twice without a shim",
        found.programs, found.operations, found.unsteady
    );
    let good = differences == 0 && is_steady(&found) && found.programs > 0;
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether the programs are what the comparison needs them to be. On a machine that is busy otherwise, one in a
/// thousand meets a race of its own, with a child that ends while it is asked about; it is printed, and proves
/// nothing either way.
fn is_steady(found: &check::Found) -> bool {
    found.unsteady <= 1 + found.programs / 200
}

/// One program in full.
fn replay(options: &Options, seed: u64, folder: &Folder) -> ExitCode {
    let program = generate::program(seed);
    println!("{}", listing(&program));
    let mut bare = Server::start(Mode::Bare, &options.library, folder.as_ref());
    let expected = bare.run(&program);
    println!("{expected}");
    let mut same = true;
    for mode in &options.modes {
        let got = Server::start(mode.clone(), &options.library, folder.as_ref()).run(&program);
        if got != expected {
            same = false;
            println!("{}:\n{}", mode.name(), first_difference(&expected, &got));
        }
    }
    if same { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The test finds what is wrong and only that.
fn self_test(options: &Options, folder: &Folder) -> bool {
    let quiet = Options {
        modes: vec![Mode::Bare],
        count: 150,
        budget: Duration::from_secs(60),
        ..options.clone()
    };
    let found = check::run(&quiet, folder.as_ref());
    println!(
        "self-test: {} programs, bare against bare: {} unsteady",
        found.programs, found.unsteady
    );
    let mut good = is_steady(&found) && found.differences.is_empty();
    for bug in ["nodefer", "mask", "reset", "everything-restarts", "stack"] {
        let modes = vec![Mode::Wrong(bug.into())];
        let wrong =
            Options { modes, count: 60, budget: Duration::from_secs(60), ..options.clone() };
        let found = check::run(&wrong, folder.as_ref());
        let smallest =
            found.differences.values().map(|(.., size)| *size).filter(|size| *size > 0).min();
        println!("self-test: a shim that is wrong about {bug}: shrunk to {smallest:?} operations");
        good &= smallest.is_some_and(|size| size <= 5);
    }
    good
}
