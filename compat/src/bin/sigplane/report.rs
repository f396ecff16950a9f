//! What a report says: owners, replacements, what is likely to be wrong (`findings`), deliveries.

use crate::change::{ChangeView, Event};
use crate::exhibit::Counts;
use crate::findings::{Finding, Sampled, findings};
use crate::followed::{self, Followed};
use crate::history::{History, SignalView};
use crate::names;
use crate::place::{Handler, Place};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// All of it, as JSON has it.
#[derive(Serialize)]
pub struct Report {
    pub version: u32,
    pub command: Vec<String>,
    pub pid: u32,
    pub executable: PathBuf,
    /// False: the program never loaded the library, and nothing is known.
    pub under_shim: bool,
    pub signals: Vec<SignalView>,
    pub replaced: Vec<Replacement>,
    pub findings: Vec<Finding>,
    /// With `--own`: counts, as last seen before the end.
    pub deliveries: BTreeMap<String, Counts>,
    /// Changes that the ring no longer has.
    pub missing_changes: u64,
    /// With `--follow`: the processes that wrote as well.
    pub followed: Vec<Followed>,
    /// The process went on as a `sigplane run` with a report of its own.
    pub left: bool,
}

/// A handler of one object that gave way to a handler of another.
#[derive(Clone, Serialize)]
pub struct Replacement {
    pub signal: String,
    pub nanoseconds: u64,
    pub process: u32,
    pub thread: u32,
    pub call: &'static str,
    pub by: Place,
    pub old: Handler,
    pub new: Handler,
}

impl Report {
    pub fn new(
        history: History,
        command: &[OsString],
        sampled: &Sampled,
        delivered: &[Counts],
    ) -> Self {
        let stays = |one: &Replacement| {
            let signal = history.signals.values().find(|signal| signal.signal == one.signal);
            let first = signal.and_then(|signal| signal.owners.get(signal.first?));
            first.is_some_and(|first| first.handler == one.new)
        };
        let replaced = history.changes.iter().filter_map(replacement);
        // Who stays in front of the other has not replaced it.
        let replaced = replaced.filter(|one| !stays(one)).collect();
        let followed = followed::of(&history);
        Self {
            version: 1,
            command: command.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
            pid: history.pid,
            under_shim: history.pid != 0,
            findings: findings(&history, sampled),
            executable: history.executable,
            signals: history.signals.into_values().collect(),
            replaced,
            deliveries: (delivered.iter().enumerate())
                .filter(|(_, counts)| counts.delivered > 0)
                .map(|(number, counts)| (names::signal(number as i32), *counts))
                .collect(),
            missing_changes: history.missing,
            followed,
            left: history.left,
        }
    }
}

/// A change that took a handler of another object away.
fn replacement(change: &ChangeView) -> Option<Replacement> {
    let (action, by) = (change.change.as_ref()?, change.by.as_ref()?);
    let old = action.old.place()?;
    let is_foreign = match &action.new {
        Handler::Function(new) => new.object != old.object,
        _ => by.object != old.object,
    };
    (change.event == Event::Changed && is_foreign).then(|| Replacement {
        signal: change.signal.clone(),
        nanoseconds: change.nanoseconds,
        process: change.process,
        thread: change.thread,
        call: action.call,
        by: by.clone(),
        old: action.old.clone(),
        new: action.new.clone(),
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let command = self.command.join(" ");
        if !self.under_shim {
            return writeln!(
                f,
                "sigplane report: `{command}` never loaded the library (statically linked, privileged, \
                 or it did not start): nothing is known"
            );
        }
        writeln!(f, "sigplane report: process {}, `{command}`", self.pid)?;
        if self.left {
            writeln!(f, "  it went on as another `sigplane run`, which has a report of its own")?;
        } else if self.signals.is_empty() {
            writeln!(f, "  no handler was set")?;
        }
        for signal in &self.signals {
            writeln!(f, "\n{}", signal.signal)?;
            for (at, owner) in signal.owners.iter().enumerate() {
                let mark = match at {
                    at if signal.first == Some(at) => "1",
                    at if signal.current == Some(at) => "*",
                    _ => " ",
                };
                writeln!(
                    f,
                    " {mark} {:>9}  {}  by {}  {}()  flags {}{}",
                    names::seconds(owner.nanoseconds),
                    owner.handler.brief(),
                    owner.installed_by.brief(),
                    owner.call,
                    owner.flags,
                    if owner.times > 1 {
                        format!("  {} times", owner.times)
                    } else {
                        String::new()
                    },
                )?;
            }
        }
        for process in &self.followed {
            write!(f, "{process}")?;
        }
        if !self.replaced.is_empty() {
            writeln!(f, "\nReplaced")?;
            for replaced in &self.replaced {
                let old = replaced.old.place();
                writeln!(
                    f,
                    "  {} replaced {}'s {} handler ({}) at {} by {}() with {}{}",
                    replaced.by.object_name(),
                    old.map_or_else(String::new, Place::object_name),
                    replaced.signal,
                    old.map_or_else(String::new, Place::function),
                    names::seconds(replaced.nanoseconds),
                    replaced.call,
                    replaced.new.brief(),
                    match replaced.process {
                        process if process == self.pid => String::new(),
                        process => format!(", in process {process}"),
                    },
                )?;
            }
        }
        if !self.findings.is_empty() {
            writeln!(f, "\nFindings")?;
            for finding in &self.findings {
                writeln!(f, "  {finding}")?;
            }
        }
        if !self.deliveries.is_empty() {
            writeln!(f, "\nDeliveries (as last seen before the end)")?;
            for (signal, counts) in &self.deliveries {
                writeln!(f, "  {signal} {}, {} lost", counts.delivered, counts.lost)?;
            }
        }
        if self.missing_changes > 0 {
            writeln!(
                f,
                "\n{} earlier changes are not listed one by one (the ring was full); owners are complete",
                self.missing_changes
            )?;
        }
        if self.signals.iter().any(|signal| signal.first.is_some()) {
            writeln!(f, "\n1 entered first, whatever others set (a Java VM asks for that)")?;
        }
        writeln!(f, "\n* in effect at the end; times from the start of the program")
    }
}
