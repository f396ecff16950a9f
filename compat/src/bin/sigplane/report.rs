//! What a report says: owners, replacements, and what is likely to be wrong.

use crate::exhibit::Counts;
use crate::history::{ChangeView, Handler, History, OwnerView, Place, SignalView};
use crate::names;
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
    pub processes: Vec<u32>,
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

/// Something that is likely to be wrong.
#[derive(Clone, Serialize, PartialEq, Eq)]
pub struct Finding {
    pub kind: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub signal: String,
    pub text: String,
}

impl Report {
    pub fn new(
        history: History,
        command: &[OsString],
        blocked: &[(i32, i32)],
        delivered: &[Counts],
    ) -> Self {
        let replaced = history.changes.iter().filter_map(replacement).collect();
        let mut processes: Vec<_> = history.changes.iter().map(|change| change.process).collect();
        processes.sort_unstable();
        processes.dedup();
        Self {
            version: 1,
            command: command.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
            pid: history.pid,
            under_shim: history.pid != 0,
            findings: findings(&history, blocked),
            executable: history.executable,
            signals: history.signals.into_values().collect(),
            replaced,
            deliveries: (delivered.iter().enumerate())
                .filter(|(_, counts)| counts.delivered > 0)
                .map(|(number, counts)| (names::signal(number as i32), *counts))
                .collect(),
            missing_changes: history.missing,
            processes,
        }
    }
}

/// A change that took a handler of another object away.
fn replacement(change: &ChangeView) -> Option<Replacement> {
    let old = change.old.place()?;
    let is_foreign = match &change.new {
        Handler::Function(new) => new.object != old.object,
        _ => change.by.object != old.object,
    };
    (change.event == "changed" && is_foreign).then(|| Replacement {
        signal: change.signal.clone(),
        nanoseconds: change.nanoseconds,
        process: change.process,
        thread: change.thread,
        call: change.call,
        by: change.by.clone(),
        old: change.old.clone(),
        new: change.new.clone(),
    })
}

/// The findings of a history; `blocked` are signals of faults and the threads that blocked them.
pub fn findings(history: &History, blocked: &[(i32, i32)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    without_alternate_stack(history, &mut findings);
    let mut counts: BTreeMap<(&str, i32, u64), (u64, &ChangeView)> = BTreeMap::new();
    for change in &history.changes {
        if !matches!(change.event, "changed" | "started" | "alternate stack") {
            let key = (change.event, change.number, change.by.address);
            counts.entry(key).or_insert((0, change)).0 += 1;
        }
    }
    for (count, change) in counts.values() {
        let text = match change.event {
            "taken over" => format!(
                "{} was found set behind the library's back, by a system call of the program's own",
                change.new.brief()
            ),
            "lost" => format!("{count} instances could not be kept"),
            "fault blocked" => format!(
                "{} blocked it: while it is blocked, a fault kills the process whatever handler there is",
                change.by.brief()
            ),
            "unloaded" => format!(
                "its handler at {} was left behind by an object that is no longer loaded: the next \
                 one would crash",
                change.new.brief()
            ),
            _ => format!(
                "a vfork child (process {}) changed it {count} times from {}; its parent's table stayed",
                change.process,
                change.by.brief()
            ),
        };
        let kind = match change.event {
            "taken over" => "taken-over",
            "lost" => "lost",
            "fault blocked" => "fault-blocked",
            "unloaded" => "unloaded",
            // Normal, and good to know.
            _ => "vfork",
        };
        findings.push(Finding { kind, signal: names::signal(change.number), text });
    }
    for &(signal, thread) in blocked {
        let text = format!(
            "seen blocked in thread {thread}: a fault there kills the process whatever handler there is"
        );
        findings.push(Finding { kind: "fault-blocked", signal: names::signal(signal), text });
    }
    findings
}

/// Handlers that would run on a stack that overflowed, where others took care.
fn without_alternate_stack(history: &History, findings: &mut Vec<Finding>) {
    let is_on_stack = |owner: &OwnerView| owner.raw_flags & libc::SA_ONSTACK as u64 != 0;
    let mut owners = history.signals.values().flat_map(|signal| &signal.owners);
    let is_set = history.changes.iter().any(|change| change.event == "alternate stack");
    let who = match owners.find(|owner| is_on_stack(owner)) {
        Some(owner) => format!("{} asks for one", owner.installed_by.object_name()),
        None if is_set => "alternate stacks are set".to_owned(),
        None => return,
    };
    for signal in history.signals.values() {
        let Some(owner) = signal.present() else { continue };
        if owner.handler.place().is_some() && !is_on_stack(owner) {
            let text = format!(
                "{}, set by {}, runs on the stack of whatever it interrupts (no SA_ONSTACK), although {who}",
                owner.handler.brief(),
                owner.installed_by.object_name(),
            );
            findings.push(Finding { kind: "no-onstack", signal: signal.signal.clone(), text });
        }
    }
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
        if self.signals.is_empty() {
            writeln!(f, "  no handler was set")?;
        }
        for signal in &self.signals {
            writeln!(f, "\n{}", signal.signal)?;
            for (at, owner) in signal.owners.iter().enumerate() {
                let mark = if signal.current == Some(at) { "*" } else { " " };
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
        if !self.replaced.is_empty() {
            writeln!(f, "\nReplaced")?;
            for replaced in &self.replaced {
                let old = replaced.old.place();
                writeln!(
                    f,
                    "  {} replaced {}'s {} handler ({}) at {} by {}() with {}",
                    replaced.by.object_name(),
                    old.map_or_else(String::new, Place::object_name),
                    replaced.signal,
                    old.map_or_else(String::new, Place::function),
                    names::seconds(replaced.nanoseconds),
                    replaced.call,
                    replaced.new.brief(),
                )?;
            }
        }
        if !self.findings.is_empty() {
            writeln!(f, "\nFindings")?;
            for finding in &self.findings {
                writeln!(f, "  {} {}: {}", finding.kind, finding.signal, finding.text)?;
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
        writeln!(f, "\n* in effect at the end; times from the start of the program")
    }
}
