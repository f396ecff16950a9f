//! Subscriptions and counts of a process that has sigplane in it, read from outside.
//!
//! # Safety
//! As in `remote`: integers only, copied by the kernel.
#![allow(unsafe_code)]

use crate::failure::Result;
use crate::names;
use crate::remote::{Remote, copy};
use serde::Serialize;
use sigplane::exhibit::{Exhibit, MAGIC, VERSION};
use std::sync::atomic::Ordering::Relaxed;

/// One subscription.
#[derive(Clone, Debug, Serialize)]
pub struct Subscriber {
    pub name: String,
    pub signals: Vec<String>,
    #[serde(skip)]
    pub set: u64,
    pub context: &'static str,
    pub priority: i32,
    pub observes: bool,
    pub after_legacy: bool,
    pub location: String,
    pub queued: u64,
    pub taken: u64,
    pub dropped: u64,
    pub deepest: u64,
}

/// Counts of one signal.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Counts {
    pub delivered: u64,
    pub passed: u64,
    pub deferred: u64,
    pub pushed_back: u64,
    pub lost: u64,
}

/// What was seen.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Seen {
    pub subscribers: Vec<Subscriber>,
    /// By signal number.
    #[serde(skip)]
    pub counts: Vec<Counts>,
}

/// How many thread records are followed; a list that is read while it grows must end.
const RECORDS: usize = 100_000;

impl Seen {
    /// The counts of a signal.
    pub fn of(&self, number: i32) -> Counts {
        self.counts.get(number as usize).copied().unwrap_or_default()
    }

    /// Who subscribes to a signal.
    pub fn subscribers(&self, number: i32) -> impl Iterator<Item = &Subscriber> {
        self.subscribers.iter().filter(move |one| one.set >> (number - 1) & 1 == 1)
    }
}

/// Looks at the exhibits of a process, if it has any that this command understands.
pub fn look(remote: &Remote) -> Result<Option<Seen>> {
    let mut all = None::<Seen>;
    for at in remote.exhibits.into_iter().flatten() {
        let Some(seen) = look_at(remote.pid, at)? else { continue };
        let all = all.get_or_insert_default();
        all.subscribers.extend(seen.subscribers);
        all.counts.resize(all.counts.len().max(seen.counts.len()), Counts::default());
        for (sum, more) in all.counts.iter_mut().zip(seen.counts) {
            sum.delivered += more.delivered;
            sum.passed += more.passed;
            sum.deferred += more.deferred;
            sum.pushed_back += more.pushed_back;
            sum.lost += more.lost;
        }
    }
    Ok(all)
}

fn look_at(pid: i32, at: u64) -> Result<Option<Seen>> {
    let exhibit = Box::into_raw(Box::<Exhibit>::new_uninit());
    // SAFETY: allocated above, of this size.
    let copied = unsafe { copy(pid, at, exhibit.cast(), size_of::<Exhibit>()) };
    // SAFETY: from `into_raw` above, not used since.
    let exhibit = unsafe { Box::from_raw(exhibit) };
    copied?;
    // SAFETY: every byte was written, and any bytes are valid.
    let exhibit = unsafe { exhibit.assume_init() };
    let size = size_of::<Exhibit>() as u32;
    if (exhibit.magic, exhibit.version, exhibit.size) != (MAGIC, VERSION, size) {
        return Ok(None);
    }
    let subscribers = exhibit.rows.iter().filter(|row| row.identity() > 1).filter_map(|row| {
        let kind = row.kind.load(Relaxed);
        let text = |address: &std::sync::atomic::AtomicUsize,
                    length: &std::sync::atomic::AtomicUsize| {
            text(pid, address.load(Relaxed) as u64, length.load(Relaxed))
        };
        let location = format!("{}:{}", text(&row.file, &row.file_length)?, row.line.load(Relaxed));
        // From C there is no line of the caller's.
        let is_from_c = location.contains("compat/src/capi/");
        let location = if is_from_c { "C".to_owned() } else { location };
        let name = text(&row.name, &row.name_length)?;
        let tally = row.tally.load(Relaxed) as u64;
        let count = |at: usize| {
            if tally == 0 {
                0
            } else {
                word(pid, tally + u64::from(exhibit.tally[at])).unwrap_or(0)
            }
        };
        let set = row.set.load(Relaxed);
        Some(Subscriber {
            name: if name.is_empty() { location.clone() } else { name },
            signals: names::members(set).map(names::signal).collect(),
            set,
            context: ["dispatcher", "thread", "inbox", "immediate"][(kind & 3) as usize],
            priority: row.priority.load(Relaxed).cast_signed(),
            observes: kind & 4 != 0,
            after_legacy: kind & 8 != 0,
            location,
            queued: count(0),
            taken: count(1),
            dropped: count(2),
            deepest: count(3),
        })
    });
    let subscribers = subscribers.collect();
    Ok(Some(Seen { subscribers, counts: counts(pid, &exhibit).unwrap_or_default() }))
}

fn counts(pid: i32, exhibit: &Exhibit) -> Option<Vec<Counts>> {
    let signals = exhibit.signals as usize;
    let mut counts = vec![Counts::default(); signals];
    let mut add = |at: u64| -> Option<()> {
        for (which, &offset) in exhibit.counts.iter().enumerate() {
            let values = words(pid, at + u64::from(offset), signals)?;
            for (counts, value) in counts.iter_mut().zip(values) {
                let count = [&mut counts.delivered, &mut counts.passed, &mut counts.deferred];
                *count.into_iter().nth(which)? += value;
            }
        }
        Some(())
    };
    add(exhibit.strangers.addr() as u64)?;
    let mut record = word(pid, exhibit.records.addr() as u64)?;
    for _ in 0..RECORDS {
        if record == 0 {
            break;
        }
        add(record + u64::from(exhibit.record_counts))?;
        record = word(pid, record + u64::from(exhibit.record_next))?;
    }
    for (number, counts) in counts.iter_mut().enumerate() {
        let slot = exhibit.slots.addr() as u64 + number as u64 * u64::from(exhibit.slot);
        let [pushed_back, lost] = exhibit.slot_counts;
        counts.pushed_back = word(pid, slot + u64::from(pushed_back))?;
        counts.lost = word(pid, slot + u64::from(lost))?;
    }
    Some(counts)
}

fn word(pid: i32, at: u64) -> Option<u64> {
    words(pid, at, 1)?.first().copied()
}

fn words(pid: i32, at: u64, count: usize) -> Option<Vec<u64>> {
    let mut words = vec![0_u64; count];
    // SAFETY: as many bytes, of which any are valid.
    unsafe { copy(pid, at, words.as_mut_ptr().cast(), count * 8) }.ok()?;
    Some(words)
}

fn text(pid: i32, at: u64, length: usize) -> Option<String> {
    let mut bytes = vec![0_u8; length.min(4096)];
    // SAFETY: as many bytes, of which any are valid.
    unsafe { copy(pid, at, bytes.as_mut_ptr(), bytes.len()) }.ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
