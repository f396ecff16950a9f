//! The other processes in a report, with `--follow`: what they had last, as the ring tells.

use crate::change::{ActionView, ChangeView, Event};
use crate::history::History;
use crate::names;
use crate::place::Place;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// One of them.
#[derive(Serialize)]
pub struct Followed {
    pub process: u32,
    /// The last one that it executed.
    pub program: Option<PathBuf>,
    pub signals: Vec<Last>,
}

/// The last change of a signal.
#[derive(Serialize)]
pub struct Last {
    pub signal: String,
    pub nanoseconds: u64,
    pub by: Place,
    #[serde(flatten)]
    pub action: ActionView,
}

/// The processes of a history that are not the one it is about, in the order of their ids.
pub fn of(history: &History) -> Vec<Followed> {
    let mut processes: BTreeMap<u32, (Option<PathBuf>, BTreeMap<i32, Last>)> = BTreeMap::new();
    for change in history.changes.iter().filter(|change| change.process != history.pid) {
        // A vfork child is not one that follows: it shares its parent's journal.
        if change.event == Event::Borrowed {
            continue;
        }
        let (program, signals) = processes.entry(change.process).or_default();
        if change.event == Event::Started {
            program.clone_from(&change.program);
            signals.clear();
        }
        if let Some(last) = last(change) {
            signals.insert(change.number, last);
        }
    }
    let followed = processes.into_iter().map(|(process, (program, signals))| Followed {
        process,
        program,
        signals: signals.into_values().collect(),
    });
    followed.collect()
}

fn last(change: &ChangeView) -> Option<Last> {
    Some(Last {
        signal: change.signal.clone(),
        nanoseconds: change.nanoseconds,
        by: change.by.clone()?,
        action: change.change.clone()?,
    })
}

impl fmt::Display for Followed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = self.program.as_ref().map(|path| path.display().to_string());
        writeln!(f, "\nProcess {}, {}", self.process, program.unwrap_or_default())?;
        for last in &self.signals {
            writeln!(
                f,
                "   {:>9}  {}  {}  by {}  {}()  flags {}",
                names::seconds(last.nanoseconds),
                last.signal,
                last.action.new.brief(),
                last.by.brief(),
                last.action.call,
                last.action.flags,
            )?;
        }
        Ok(())
    }
}
