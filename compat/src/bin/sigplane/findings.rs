//! What is likely to be wrong in a process, as its journal and its `/proc` tell.

use crate::change::{ChangeView, Event};
use crate::history::{History, OwnerView};
use crate::names;
use crate::place::Place;
use serde::Serialize;
use sigplane_compat::journal::FAULTS;
use std::collections::BTreeMap;
use std::fmt;

/// Something that is likely to be wrong.
#[derive(Clone, Serialize, PartialEq, Eq)]
pub struct Finding {
    pub kind: &'static str,
    pub signals: Vec<String>,
    pub text: String,
}

impl Finding {
    fn new(kind: &'static str, number: i32, text: String) -> Self {
        Self { kind, signals: vec![names::signal(number)], text }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind)?;
        for signal in &self.signals {
            write!(f, " {signal}")?;
        }
        write!(f, ": {}", self.text)
    }
}

/// What was seen of a process from time to time.
#[derive(Clone, Debug, Default)]
pub struct Sampled {
    /// Signals of faults, and the threads that blocked them.
    pub blocked: Vec<(i32, i32)>,
    /// The most signals that were queued for the user, and the limit, when that was reached.
    pub full: Option<(u64, u64)>,
}

/// The findings of a history and of samples.
pub fn findings(history: &History, sampled: &Sampled) -> Vec<Finding> {
    let mut findings = Vec::new();
    without_alternate_stack(history, &mut findings);
    // The same thing from the same place is one finding.
    let mut counts: BTreeMap<(Event, i32, u64, u64), (u64, &ChangeView)> = BTreeMap::new();
    for change in &history.changes {
        let by = change.by.as_ref().map_or(0, |by| by.address);
        let found = change.found.as_ref().and_then(|found| found.place());
        let key = (change.event, change.number, by, found.map_or(0, |place| place.address));
        counts.entry(key).or_insert((0, change)).0 += 1;
    }
    findings.extend(counts.values().filter_map(|(count, change)| finding(history, *count, change)));
    for &(signal, thread) in &sampled.blocked {
        let text = format!(
            "seen blocked in thread {thread}: a fault there kills the process whatever handler there is"
        );
        findings.push(Finding::new("fault-blocked", signal, text));
    }
    if let Some((used, limit)) = sampled.full {
        let text = format!(
            "the queue of this user's signals was seen full ({used} of {limit}): real-time signals are \
             refused or merged then; `ulimit -i` sets the limit"
        );
        findings.push(Finding { kind: "queue-full", signals: Vec::new(), text });
    }
    findings
}

fn finding(history: &History, count: u64, change: &ChangeView) -> Option<Finding> {
    let by = change.by.as_ref().map_or_else(String::new, Place::brief);
    let found = change.found.as_ref().map_or_else(String::new, |found| found.brief());
    let (kind, text) = match change.event {
        Event::Changed | Event::Started | Event::AlternateStack | Event::Unknown => return None,
        Event::TakenOver => (
            "taken-over",
            format!(
                "{found} was found set behind the library's back, by a system call of the program's own"
            ),
        ),
        Event::Refused => {
            let total = history.refused.get(&change.number).copied().unwrap_or(count);
            let text = format!(
                "{by} could not queue it (EAGAIN: the user's queue was full), at {}; {total} in all that \
                 this process sent are lost, unless it sent them again",
                names::seconds(change.nanoseconds)
            );
            ("not-queued", text)
        }
        Event::FaultBlocked => {
            let text = format!(
                "{by} blocked {}, at {}: while it is blocked, a fault kills the process whatever handler \
                 there is",
                names::mask(change.mask),
                names::seconds(change.nanoseconds)
            );
            ("fault-blocked", text)
        }
        Event::Unloaded => (
            "unloaded",
            format!(
                "its handler at {found} was left behind by an object that is no longer loaded: the next \
                 one would crash"
            ),
        ),
        // Normal, and good to know.
        Event::Borrowed => (
            "vfork",
            format!(
                "a vfork child (process {}) changed it {count} times from {by}; its parent's table stayed",
                change.process
            ),
        ),
    };
    let of_faults = || names::members(change.mask & FAULTS).map(names::signal).collect::<Vec<_>>();
    let signals = match change.event {
        Event::FaultBlocked => of_faults(),
        _ => vec![names::signal(change.number)],
    };
    Some(Finding { kind, signals, text })
}

/// Handlers that would run on a stack that overflowed, where others took care.
fn without_alternate_stack(history: &History, findings: &mut Vec<Finding>) {
    let is_on_stack = |owner: &OwnerView| owner.raw_flags & libc::SA_ONSTACK as u64 != 0;
    let mut owners = history.signals.values().flat_map(|signal| &signal.owners);
    let of_this = history.changes.iter().filter(|change| change.process == history.pid);
    let mut set = of_this.filter(|change| change.event == Event::AlternateStack);
    let set = set.next_back().and_then(|change| change.by.as_ref());
    let who = match (owners.find(|owner| is_on_stack(owner)), set) {
        (Some(owner), _) => format!("{} asks for one", owner.installed_by.object_name()),
        (None, Some(by)) => format!("{} has set an alternate stack", by.object_name()),
        (None, None) => return,
    };
    for signal in history.signals.values() {
        let careless = |owner: &&OwnerView| owner.handler.place().is_some() && !is_on_stack(owner);
        for owner in signal.in_effect().filter(careless) {
            let text = format!(
                "{}, set by {}, runs on the stack of whatever it interrupts (no SA_ONSTACK), although {who}",
                owner.handler.brief(),
                owner.installed_by.object_name(),
            );
            // The same handler for several signals is one finding.
            match findings.iter_mut().find(|finding| finding.text == text) {
                Some(finding) => finding.signals.push(signal.signal.clone()),
                None => {
                    let signals = vec![signal.signal.clone()];
                    findings.push(Finding { kind: "no-onstack", signals, text });
                }
            }
        }
    }
}
