//! A record of the journal's ring in words.

use crate::names;
use crate::place::{Handler, Objects, Place, hexadecimal};
use crate::symbols::Symbols;
use serde::Serialize;
use sigplane_compat::journal::Call;
use sigplane_compat::journal::read::Record;
use std::path::PathBuf;

/// One record of the ring; what an event has not is left out.
#[derive(Clone, Debug, Serialize)]
pub struct ChangeView {
    pub sequence: u64,
    pub event: Event,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub signal: String,
    #[serde(skip)]
    pub number: i32,
    pub nanoseconds: u64,
    pub process: u32,
    pub thread: u32,
    /// Which began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<Place>,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    pub change: Option<ActionView>,
    /// What was found there, or left behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<Handler>,
    /// What was blocked with the signals of faults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked: Option<Vec<String>>,
    #[serde(skip)]
    pub mask: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<StackView>,
}

impl ChangeView {
    /// A record in words.
    pub fn of(record: &Record, objects: &Objects, symbols: &mut Symbols) -> Self {
        let event = Event::from(record.kind);
        let number = i32::from(record.signal);
        let is_action = matches!(event, Event::Changed | Event::Borrowed);
        let new = objects.handler(symbols, record.new_handler, record.new_object);
        let change = is_action.then(|| ActionView {
            call: Call::name(record.call.into()),
            old: objects.handler(symbols, record.old_handler, record.old_object),
            new: new.clone(),
            flags: names::flags(record.new_flags),
            mask: names::mask(record.new_mask),
            raw_flags: record.new_flags,
        });
        let by = (record.caller != 0)
            .then(|| objects.place(symbols, record.caller, record.caller_object));
        let is_start = event == Event::Started;
        let is_blocking = event == Event::FaultBlocked;
        let stack = StackView { address: record.new_handler, size: record.new_mask };
        Self {
            sequence: record.sequence,
            event,
            signal: if number == 0 { String::new() } else { names::signal(number) },
            number,
            nanoseconds: record.time.saturating_sub(objects.started),
            process: record.pid,
            thread: record.tid,
            program: by.as_ref().filter(|_| is_start).and_then(|entry| entry.object.clone()),
            by: by.filter(|_| !is_start),
            change,
            found: matches!(event, Event::TakenOver | Event::Unloaded).then_some(new),
            blocked: is_blocking
                .then(|| names::members(record.new_mask).map(names::signal).collect()),
            mask: if is_blocking { record.new_mask } else { 0 },
            stack: (event == Event::AlternateStack).then_some(stack),
        }
    }
}

/// An action that was changed.
#[derive(Clone, Debug, Serialize)]
pub struct ActionView {
    pub call: &'static str,
    pub old: Handler,
    pub new: Handler,
    pub flags: String,
    pub mask: String,
    #[serde(skip)]
    pub raw_flags: u64,
}

/// An alternate stack.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct StackView {
    #[serde(serialize_with = "hexadecimal")]
    pub address: u64,
    pub size: u64,
}

/// What a record tells, as in `journal::Kind`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub enum Event {
    #[serde(rename = "changed")]
    Changed,
    #[serde(rename = "started")]
    Started,
    #[serde(rename = "taken over")]
    TakenOver,
    #[serde(rename = "not queued")]
    Refused,
    #[serde(rename = "fault blocked")]
    FaultBlocked,
    #[serde(rename = "unloaded")]
    Unloaded,
    #[serde(rename = "alternate stack")]
    AlternateStack,
    #[serde(rename = "changed in a vfork child")]
    Borrowed,
    #[serde(rename = "unknown")]
    Unknown,
}

impl From<u8> for Event {
    fn from(kind: u8) -> Self {
        const IN_ORDER: [Event; 8] = [
            Event::Changed,
            Event::Started,
            Event::TakenOver,
            Event::Refused,
            Event::FaultBlocked,
            Event::Unloaded,
            Event::AlternateStack,
            Event::Borrowed,
        ];
        (kind as usize).checked_sub(1).and_then(|at| IN_ORDER.get(at)).map_or(Self::Unknown, |e| *e)
    }
}
