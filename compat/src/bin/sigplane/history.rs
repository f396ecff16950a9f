//! A journal in words: owners and changes with the names of objects and functions.

use crate::names;
use crate::symbols::Symbols;
use serde::Serialize;
use sigplane_compat::journal::layout::{
    CHANGES, Call, Change, Journal, NONE, OWNERS, Object, Owner, PATH,
};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::{AtomicU8, fence};

/// An address of code.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Place {
    /// As the process has it.
    #[serde(serialize_with = "hexadecimal")]
    pub address: u64,
    /// Path of the object that it is in.
    pub object: Option<PathBuf>,
    /// Of the address in that file, as its symbols count.
    pub offset: Option<u64>,
    /// The function.
    pub symbol: Option<String>,
    /// Distance from the function's start.
    pub distance: Option<u64>,
}

fn hexadecimal<S: serde::Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{value:#x}"))
}

impl Place {
    /// The object's file name: `libjvm.so`.
    pub fn object_name(&self) -> String {
        match self.object.as_ref().and_then(|path| path.file_name()) {
            Some(name) => name.to_string_lossy().into_owned(),
            None => "code of no file".to_owned(),
        }
    }

    /// `handler+0x12`, or the offset in the object.
    pub fn function(&self) -> String {
        match (&self.symbol, self.distance, self.offset) {
            (Some(symbol), Some(0), _) => symbol.clone(),
            (Some(symbol), Some(distance), _) => format!("{symbol}+{distance:#x}"),
            (_, _, Some(offset)) => format!("+{offset:#x}"),
            _ => format!("{:#x}", self.address),
        }
    }

    /// Both, as a table shows them.
    pub fn brief(&self) -> String {
        format!("{} {}", self.object_name(), self.function())
    }
}

/// What an action does.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Handler {
    Default,
    Ignored,
    Function(Place),
}

impl Handler {
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Function(place) => Some(place),
            _ => None,
        }
    }

    pub fn brief(&self) -> String {
        match self {
            Self::Default => "default".to_owned(),
            Self::Ignored => "ignored".to_owned(),
            Self::Function(place) => place.brief(),
        }
    }
}

/// A handler that somebody set.
#[derive(Clone, Debug, Serialize)]
pub struct OwnerView {
    pub handler: Handler,
    pub installed_by: Place,
    pub call: &'static str,
    /// Of the first time, from the start of the journal.
    pub nanoseconds: u64,
    pub thread: u32,
    pub times: u64,
    pub flags: String,
    pub mask: String,
    #[serde(skip)]
    pub raw_flags: u64,
}

/// The owners that a signal has had.
#[derive(Clone, Debug, Serialize)]
pub struct SignalView {
    pub signal: String,
    /// Index into `owners`.
    pub current: Option<usize>,
    pub owners: Vec<OwnerView>,
    /// Changes for which there was no place.
    pub crowded: u32,
}

impl SignalView {
    pub fn present(&self) -> Option<&OwnerView> {
        self.owners.get(self.current?)
    }
}

/// One record of the ring.
#[derive(Clone, Debug, Serialize)]
pub struct ChangeView {
    pub sequence: u64,
    pub event: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub signal: String,
    #[serde(skip)]
    pub number: i32,
    pub nanoseconds: u64,
    pub process: u32,
    pub thread: u32,
    pub call: &'static str,
    pub by: Place,
    pub old: Handler,
    pub new: Handler,
    pub flags: String,
    pub mask: String,
    #[serde(skip)]
    pub raw_flags: u64,
}

/// All of a journal.
#[derive(Clone, Debug)]
pub struct History {
    pub pid: u32,
    pub executable: PathBuf,
    pub signals: BTreeMap<i32, SignalView>,
    pub changes: Vec<ChangeView>,
    /// Changes that the ring no longer has, or never had.
    pub missing: u64,
}

/// Reads journals; remembers what files hold.
#[derive(Default)]
pub struct Reader {
    symbols: Symbols,
}

struct Objects {
    executable: PathBuf,
    list: Vec<Option<(PathBuf, u64)>>,
    started: u64,
}

impl Reader {
    /// What a journal tells now.
    pub fn history(&mut self, journal: &Journal) -> History {
        let objects = objects(journal);
        let mut signals = BTreeMap::new();
        for (number, owners) in journal.owners.iter().enumerate() {
            let current = owners.current.load(Acquire);
            let list = owners.list.iter().filter(|owner| owner.state.load(Acquire) == 2);
            let list: Vec<_> = list.map(|owner| self.owner(&objects, owner)).collect();
            let crowded = owners.crowded.load(Relaxed);
            if !list.is_empty() || crowded > 0 {
                let current = (current as usize).checked_sub(1).filter(|&at| at < OWNERS);
                let signal = names::signal(number as i32);
                let view = SignalView { signal, current, owners: list, crowded };
                signals.insert(number as i32, view);
            }
        }
        let (changes, missing) = self.changes(journal, 0);
        // A signal whose owner found no place has it in the ring.
        for (number, view) in &mut signals {
            let crowded = view.current.is_none() && view.crowded > 0;
            let last = changes.iter().rev().find(|c| c.number == *number && c.event == "changed");
            if let (true, Some(last)) = (crowded, last) {
                view.current = Some(view.owners.len());
                view.owners.push(OwnerView {
                    handler: last.new.clone(),
                    installed_by: last.by.clone(),
                    call: last.call,
                    nanoseconds: last.nanoseconds,
                    thread: last.thread,
                    times: 1,
                    flags: last.flags.clone(),
                    mask: last.mask.clone(),
                    raw_flags: last.raw_flags,
                });
            }
        }
        History {
            pid: journal.pid.load(Relaxed),
            executable: objects.executable,
            signals,
            changes,
            missing,
        }
    }

    /// The changes from the one numbered `from` on, and how many of these are not there any more.
    pub fn changes(&mut self, journal: &Journal, from: u64) -> (Vec<ChangeView>, u64) {
        let objects = objects(journal);
        let next = journal.next.load(Acquire);
        let first = from.max(next.saturating_sub(CHANGES as u64));
        let mut missing = first - from;
        let mut changes = Vec::new();
        for sequence in first..next {
            let place = &journal.ring[sequence as usize % CHANGES];
            let stamp = place.stamp.load(Acquire);
            let change =
                (stamp == sequence * 2 + 2).then(|| self.change(&objects, sequence, place));
            // ORDERING: the stamp is read again behind everything; see `Change::stamp`.
            fence(Acquire);
            match change {
                Some(change) if place.stamp.load(Relaxed) == stamp => changes.push(change),
                _ => missing += 1,
            }
        }
        (changes, missing)
    }

    fn owner(&mut self, objects: &Objects, owner: &Owner) -> OwnerView {
        let flags = owner.flags.load(Relaxed);
        let handler = owner.handler.load(Relaxed);
        let caller = owner.caller.load(Relaxed);
        OwnerView {
            handler: self.handler(objects, handler, owner.handler_object.load(Relaxed)),
            installed_by: self.place(objects, caller, owner.caller_object.load(Relaxed)),
            call: Call::name(owner.call.load(Relaxed)),
            nanoseconds: owner.time.load(Relaxed).saturating_sub(objects.started),
            thread: owner.tid.load(Relaxed),
            times: owner.count.load(Relaxed),
            flags: names::flags(flags),
            mask: names::mask(owner.mask.load(Relaxed)),
            raw_flags: flags,
        }
    }

    fn change(&mut self, objects: &Objects, sequence: u64, change: &Change) -> ChangeView {
        let number = i32::from(change.signal.load(Relaxed));
        let flags = change.new_flags.load(Relaxed);
        let mask = change.new_mask.load(Relaxed);
        let (old, new) = (change.old_handler.load(Relaxed), change.new_handler.load(Relaxed));
        let caller = change.caller.load(Relaxed);
        ChangeView {
            sequence,
            event: event(change.kind.load(Relaxed)),
            signal: if number == 0 { String::new() } else { names::signal(number) },
            number,
            nanoseconds: change.time.load(Relaxed).saturating_sub(objects.started),
            process: change.pid.load(Relaxed),
            thread: change.tid.load(Relaxed),
            call: Call::name(change.call.load(Relaxed).into()),
            by: self.place(objects, caller, change.caller_object.load(Relaxed)),
            old: self.handler(objects, old, change.old_object.load(Relaxed)),
            new: self.handler(objects, new, change.new_object.load(Relaxed)),
            flags: names::flags(flags),
            mask: names::mask(mask),
            raw_flags: flags,
        }
    }

    fn handler(&mut self, objects: &Objects, address: u64, object: u32) -> Handler {
        match address {
            0 => Handler::Default,
            1 => Handler::Ignored,
            _ => Handler::Function(self.place(objects, address, object)),
        }
    }

    fn place(&mut self, objects: &Objects, address: u64, object: u32) -> Place {
        let known = if object == NONE { None } else { objects.list.get(object as usize) };
        let Some(Some((path, bias))) = known else {
            return Place { address, object: None, offset: None, symbol: None, distance: None };
        };
        let offset = address.wrapping_sub(*bias);
        let (symbol, distance) = self.symbols.function(path, offset).unzip();
        Place { address, object: Some(path.clone()), offset: Some(offset), symbol, distance }
    }
}

fn event(kind: u8) -> &'static str {
    match kind {
        1 => "changed",
        2 => "started",
        3 => "taken over",
        4 => "lost",
        5 => "fault blocked",
        6 => "unloaded",
        7 => "alternate stack",
        8 => "changed in a vfork child",
        _ => "unknown",
    }
}

fn objects(journal: &Journal) -> Objects {
    let executable = path(&journal.executable);
    let list = journal.objects.iter().map(|object: &Object| {
        if object.state.load(Acquire) != 2 {
            return None;
        }
        let path = path(&object.path);
        let path = if path.as_os_str().is_empty() { executable.clone() } else { path };
        Some((path, object.bias.load(Relaxed)))
    });
    Objects { list: list.collect(), started: journal.started.load(Relaxed), executable }
}

fn path(bytes: &[AtomicU8; PATH]) -> PathBuf {
    let bytes: Vec<u8> =
        bytes.iter().map(|byte| byte.load(Relaxed)).take_while(|&byte| byte != 0).collect();
    PathBuf::from(OsStr::from_bytes(&bytes))
}
