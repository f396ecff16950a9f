//! A journal in words: owners and changes with the names of objects and functions.

use crate::change::{ChangeView, Event};
use crate::names;
use crate::place::{Handler, Objects, Place};
use crate::remote;
use crate::symbols::Symbols;
use serde::Serialize;
use sigplane_compat::journal::Call;
use sigplane_compat::journal::layout::{CHANGES, Journal, Owner, mode};
use sigplane_compat::journal::read::{Read, Record};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

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
    /// Index of one that is entered first and stays, whoever sets another: a Java VM's.
    pub first: Option<usize>,
    pub owners: Vec<OwnerView>,
    /// Changes for which there was no place.
    pub crowded: u32,
}

impl SignalView {
    /// Those who have the signal, in the order in which they are entered.
    pub fn in_effect(&self) -> impl Iterator<Item = &OwnerView> {
        let behind = self.current.filter(|_| self.current != self.first);
        self.first.into_iter().chain(behind).filter_map(|at| self.owners.get(at))
    }

    /// Those who had it.
    pub fn former(&self) -> impl Iterator<Item = &OwnerView> {
        let has_it = |at: usize| [self.current, self.first].contains(&Some(at));
        self.owners.iter().enumerate().filter(move |(at, _)| !has_it(*at)).map(|(_, owner)| owner)
    }
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
    /// How many instances the kernel did not queue, by signal.
    pub refused: BTreeMap<i32, u64>,
    /// The process has left this journal for another reporter's.
    pub left: bool,
}

/// Reads journals; remembers what files hold.
#[derive(Default)]
pub struct Reader {
    symbols: Symbols,
}

impl Reader {
    /// For the journal of a process whose files are to be seen as it sees them.
    pub fn of(pid: i32) -> Self {
        Self { symbols: Symbols::of(pid) }
    }

    /// A callback that a C program has not named, and that the library names by its place: `libfoo.so+0x1159`.
    pub fn callback(&mut self, pid: i32, name: &str) -> Option<String> {
        let (object, offset) = name.rsplit_once("+0x")?;
        let offset = u64::from_str_radix(offset, 16).ok()?;
        let path = remote::file_of(pid, object)?;
        let (function, _) = self.symbols.function(&path, offset)?;
        Some(format!("{object} {function}"))
    }

    /// What a journal tells now.
    pub fn history(&mut self, journal: &Journal) -> History {
        let objects = Objects::of(journal);
        let mut signals = BTreeMap::new();
        for (number, owners) in journal.owners.iter().enumerate() {
            let current = owners.current.load(Acquire);
            let complete = |place: &(u32, &Owner)| place.1.state.load(Acquire) == 2;
            // Their places, plus 1: one that was never completed leaves a hole.
            let (places, list): (Vec<_>, Vec<_>) = ((1..).zip(&owners.list))
                .filter(complete)
                .map(|(place, owner)| (place, self.owner(&objects, owner)))
                .unzip();
            let crowded = owners.crowded.load(Relaxed);
            if !list.is_empty() || crowded > 0 {
                let index = |wanted| places.iter().position(|&place: &u32| place == wanted);
                let signal = names::signal(number as i32);
                let (current, first) = (index(current), index(owners.first.load(Relaxed)));
                let view = SignalView { signal, current, first, owners: list, crowded };
                signals.insert(number as i32, view);
            }
        }
        let (changes, missing) = self.changes(&objects, journal);
        signals.iter_mut().for_each(|(number, view)| crowded(*number, view, &changes));
        let refused = journal.refused.iter().zip(0..).filter_map(|(count, number)| {
            Some((number, count.load(Relaxed))).filter(|(_, count)| *count > 0)
        });
        History {
            pid: journal.pid.load(Relaxed),
            refused: refused.collect(),
            left: journal.mode.load(Relaxed) & mode::LEFT != 0,
            executable: objects.executable,
            signals,
            changes,
            missing,
        }
    }

    /// The changes that are there, and how many are not there any more.
    fn changes(&mut self, objects: &Objects, journal: &Journal) -> (Vec<ChangeView>, u64) {
        let next = journal.next.load(Acquire);
        let first = next.saturating_sub(CHANGES as u64);
        let complete = (first..next).filter_map(|sequence| match journal.read(sequence) {
            Read::Complete(record) => Some(self.change(objects, &record)),
            Read::Unfinished | Read::Gone => None,
        });
        let changes: Vec<_> = complete.collect();
        let missing = next - changes.len() as u64;
        (changes, missing)
    }

    fn owner(&mut self, objects: &Objects, owner: &Owner) -> OwnerView {
        let symbols = &mut self.symbols;
        let flags = owner.flags.load(Relaxed);
        let handler = owner.handler.load(Relaxed);
        let caller = owner.caller.load(Relaxed);
        OwnerView {
            handler: objects.handler(symbols, handler, owner.handler_object.load(Relaxed)),
            installed_by: objects.place(symbols, caller, owner.caller_object.load(Relaxed)),
            call: Call::name(owner.call.load(Relaxed)),
            nanoseconds: owner.time.load(Relaxed).saturating_sub(objects.started),
            thread: owner.tid.load(Relaxed),
            times: owner.count.load(Relaxed),
            flags: names::flags(flags),
            mask: names::mask(owner.mask.load(Relaxed)),
            raw_flags: flags,
        }
    }

    /// One record in words.
    pub fn change(&mut self, objects: &Objects, record: &Record) -> ChangeView {
        ChangeView::of(record, objects, &mut self.symbols)
    }
}

/// A signal whose owner found no place has it in the ring.
fn crowded(number: i32, view: &mut SignalView, changes: &[ChangeView]) {
    let of_this = |change: &&ChangeView| change.number == number && change.event == Event::Changed;
    if view.current.is_some() || view.first.is_some() || view.crowded == 0 {
        return;
    }
    let Some(last) = changes.iter().rev().find(of_this) else { return };
    let (Some(action), Some(by)) = (&last.change, &last.by) else { return };
    view.current = Some(view.owners.len());
    view.owners.push(OwnerView {
        handler: action.new.clone(),
        installed_by: by.clone(),
        call: action.call,
        nanoseconds: last.nanoseconds,
        thread: last.thread,
        times: 1,
        flags: action.flags.clone(),
        mask: action.mask.clone(),
        raw_flags: action.raw_flags,
    });
}
