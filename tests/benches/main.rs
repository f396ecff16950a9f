//! `cargo bench -p sigplane-tests`: every row of speed, loss and memory, in one table with peers.
//!
//! ```text
//! cargo bench -p sigplane-tests -- [--quick] [--list] [--json FILE] [FILTER]...
//! ```
//!
//! A FILTER selects the groups and rows whose name contains it. Without `--bench`, which cargo
//! passes for `cargo bench` only, the run is a quick one: `cargo test --benches` sees that all rows
//! run. Nothing is asserted about time; the exit status is 1 when a row could not be measured.
//!
//! The executable starts itself again, once per group of rows and pass (`--child`), and those start
//! it again where a figure takes a process of its own (`--actor`).

// The bases are what programs do without sigplane: bare `sigaction` handlers, `pthread_sigmask`
// pairs, alternate stacks set by hand.
#![allow(clippy::disallowed_methods)]

mod burst;
mod call;
mod critical;
mod delivery;
mod direct;
mod fault;
mod fault_copy;
mod fault_lists;
mod kernel;
mod measure;
mod memory;
mod report;
mod shim;
mod subscribe;
mod threads;
mod tokio_burst;
mod tokio_wake;
mod wake;

use measure::{Effort, Series};
use report::{Group, Line, Row};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

const GROUPS: [Group; 13] = [
    delivery::GROUP,
    direct::GROUP,
    critical::GROUP,
    wake::GROUP,
    burst::GROUP,
    tokio_wake::GROUP,
    tokio_burst::GROUP,
    threads::GROUP,
    subscribe::GROUP,
    memory::GROUP,
    fault::GROUP,
    fault_copy::GROUP,
    shim::GROUP,
];

/// Every group is run this often, in processes of its own: memory is laid out anew each time.
const PASSES: usize = 3;

#[derive(Default)]
struct Options {
    bench: bool,
    quick: bool,
    list: bool,
    json: Option<String>,
    filters: Vec<String>,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--bench" => options.bench = true,
                "--quick" => options.quick = true,
                "--list" => options.list = true,
                "--json" => {
                    let file = arguments.next().ok_or("--json takes the name of a file")?;
                    options.json = Some(file.clone());
                }
                option if option.starts_with('-') => {
                    return Err(format!("{option} is none of --quick, --list, --json FILE"));
                }
                filter => options.filters.push(filter.to_lowercase()),
            }
        }
        options.quick |= !options.bench;
        Ok(options)
    }

    fn selects(&self, group: &Group, row: &Row) -> bool {
        let contains = |filter: &String| {
            group.name.contains(filter.as_str()) || row.name.to_lowercase().contains(filter)
        };
        self.filters.is_empty() || self.filters.iter().any(contains)
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("--child") => child(&arguments[1..]),
        Some("--actor") if arguments[1] == "burst" => burst::act(&arguments[2..]),
        Some("--actor") if arguments[1] == "tokio-wake" => tokio_wake::act(&arguments[2..]),
        Some("--actor") if arguments[1] == "shim" => shim::act(&arguments[2]),
        Some("--actor") => memory::act(&arguments[2]),
        _ => match Options::parse(&arguments) {
            Ok(options) => return run(&options),
            Err(message) => {
                eprintln!("{message}");
                return ExitCode::from(2);
            }
        },
    }
    ExitCode::SUCCESS
}

/// Measures one child's part of one group and prints it as one line.
fn child(arguments: &[String]) {
    let [group, name, effort] = arguments else { panic!("--child takes GROUP NAME EFFORT") };
    let effort = if effort == "full" { Effort::Full } else { Effort::Quick };
    kernel::deadline(Duration::from_secs(150));
    let measure = GROUPS
        .iter()
        .filter(|known| known.name == group)
        .flat_map(|known| known.children)
        .find_map(|(known, measure)| (known == name).then_some(measure))
        .expect("a child that a group names");
    let series = measure(effort);
    println!("{}", serde_json::to_string(&series).expect("numbers"));
}

fn run(options: &Options) -> ExitCode {
    let chosen = |group: &&Group| group.rows.iter().any(|row| options.selects(group, row));
    let groups: Vec<&Group> = GROUPS.iter().filter(chosen).collect();
    if options.list {
        for group in &groups {
            for row in group.rows.iter().filter(|row| options.selects(group, row)) {
                println!("{}: {}", group.name, row.name);
            }
        }
        return ExitCode::SUCCESS;
    }
    let mut measured: Vec<Vec<Series>> = groups.iter().map(|_| Vec::new()).collect();
    let passes = if options.quick { 1 } else { PASSES };
    for pass in 1..=passes {
        for (group, all) in groups.iter().zip(&mut measured) {
            eprintln!("pass {pass} of {passes}: {}", group.name);
            for (name, _) in group.children {
                merge(all, spawn(group.name, name, options.quick));
            }
        }
    }
    let lines: Vec<Line> = groups
        .iter()
        .zip(&measured)
        .flat_map(|(group, all)| group.rows.iter().map(move |row| (group, row, all)))
        .filter(|(group, row, _)| options.selects(group, row))
        .map(|(_, row, all)| Line::new(row, all))
        .collect();
    report::print(&lines);
    if let Some(file) = &options.json {
        let text = format!("{:#}\n", report::to_json(&lines, options.quick));
        if let Err(error) = std::fs::write(file, text) {
            eprintln!("{file}: {error}");
            return ExitCode::FAILURE;
        }
    }
    if lines.iter().all(Line::ran) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one child to its end. One that dies leaves its rows without figures.
fn spawn(group: &str, name: &str, quick: bool) -> Vec<Series> {
    let effort = if quick { "quick" } else { "full" };
    let output = Command::new(std::env::current_exe().expect("this executable"))
        .args(["--child", group, name, effort])
        .stderr(Stdio::inherit())
        .output()
        .expect("a process");
    if !output.status.success() {
        eprintln!("{group}, {name}: {}", output.status);
        return Vec::new();
    }
    serde_json::from_slice(&output.stdout).expect("what a child prints")
}

/// Adds the rounds of another process to those of the same series.
fn merge(all: &mut Vec<Series>, new: Vec<Series>) {
    for series in new {
        match all.iter_mut().find(|known| known.name == series.name) {
            Some(known) => known.rounds.extend(series.rounds),
            None => all.push(series),
        }
    }
}
