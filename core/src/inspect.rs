//! Introspection: a snapshot of the table, printed as text or serialised.

use crate::delivery::{Context, Overflow, Place};
use crate::engine::{self, Engine};
use crate::fault::FaultTable;
use crate::signal::Signal;
use crate::subscribe::SubscriptionStats;
use crate::sync::Ordering;
use crate::sys::{self, KernelAction};
use crate::table::counters::{Count, Counters};
use crate::table::slot::Slot;
use core::fmt;

/// Who owns what, now: one row per signal that sigplane has ever taken.
///
/// Each row is read under the table's lock; counters are read while handlers go on counting.
///
/// # Async-signal safety
/// No.
///
/// # Examples
/// ```
/// use sigplane::Signal;
/// let _sub = sigplane::subscribe(Signal::TERM).name("drain").dispatcher(|_| ())?;
/// let table = sigplane::table();
/// let row = table.row(Signal::TERM).unwrap();
/// assert!(row.ours);
/// assert_eq!(row.entries[0].name, "drain");
/// println!("{table}");
/// # Ok::<(), sigplane::Error>(())
/// ```
#[allow(unsafe_code)]
pub fn table() -> Table {
    let engine = engine::started();
    crate::table::reap();
    let _critical = crate::defer::Critical::enter();
    let writer = engine.writer.lock();
    let rows = (1..crate::table::counters::SIGNALS as i32)
        .filter_map(|number| Signal::try_from(number).ok())
        .filter_map(|signal| row(engine, signal, writer.usurped & sys::bit(signal.number()) != 0))
        .collect();
    // SAFETY: the lock is held.
    let faults = unsafe { FaultTable::of(engine) };
    drop(writer);
    Table {
        rows,
        threads: alive(engine),
        panics: engine.dispatcher.panics(),
        expedited: engine.expedited(),
        faults,
    }
}

fn alive(engine: &Engine) -> usize {
    engine.threads.iter().filter(|record| record.mailbox.lock().alive).count()
}

/// A snapshot of the process's signal table; see [`table`].
///
/// # Examples
/// See [`table`].
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Table {
    /// By signal number.
    pub rows: Vec<Row>,
    /// Threads attached now.
    pub threads: usize,
    /// Panics of subscribers' code, over all subscriptions there ever were.
    pub panics: usize,
    /// Whether membarrier(2) spares handlers a fence.
    pub expedited: bool,
    /// Fixups, regions, code ranges, hooks.
    pub faults: FaultTable,
}

impl Table {
    /// The row of a signal, if sigplane has ever taken it.
    pub fn row(&self, signal: Signal) -> Option<&Row> {
        self.rows.iter().find(|row| row.signal == signal)
    }
}

/// One signal.
///
/// # Examples
/// See [`table`].
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Row {
    /// Which.
    pub signal: Signal,
    /// Who subscribes, in the order in which they see it.
    pub entries: Vec<EntryInfo>,
    /// What was in the kernel before sigplane, or was found there since: it stands behind the entries
    /// placed before it.
    pub foreign: ActionInfo,
    /// What the kernel has now.
    pub kernel: ActionInfo,
    /// Whether that is sigplane's own handler.
    pub ours: bool,
    /// Somebody else replaced sigplane's handler while it was wanted. The entries are not called until
    /// the signal is subscribed again, which goes in front of that handler.
    pub taken_over: bool,
    /// Deliveries that went through the chain.
    pub delivered: usize,
    /// Of these, those that an entry, the foreign handler or an ignored disposition took.
    pub handled: usize,
    /// Of these, those that got the default action.
    pub passed: usize,
    /// Deliveries that had to wait for the end of a deferral.
    pub deferred: usize,
    /// Deliveries that went back to the kernel because a queue had no place at all.
    pub pushed_back: usize,
    /// Deliveries that were lost: the kernel would not take one back, or a queue after the legacy
    /// action had no place.
    pub lost: usize,
}

/// One subscription.
///
/// # Examples
/// See [`table`].
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct EntryInfo {
    /// The name it was given, or where it was made.
    pub name: String,
    /// Where it runs.
    pub context: Context,
    /// Higher goes first.
    pub priority: i32,
    /// Relative to the foreign handler.
    pub place: Place,
    /// Whether it only looks.
    pub observes: bool,
    /// False when it has been stopped: disarmed, or, in a forked child, found in the middle of its code.
    pub armed: bool,
    /// The place in the source where it was subscribed, as `file:line:column`.
    pub location: String,
    /// Its queue's capacity; none in the immediate context.
    pub capacity: Option<usize>,
    /// Its queue's policy.
    pub overflow: Option<Overflow>,
    /// What its queue has seen, over all signals of the subscription.
    pub stats: SubscriptionStats,
}

/// An action as the kernel has it.
///
/// # Examples
/// ```
/// use sigplane::{Handler, Signal};
/// let _sub = sigplane::on(Signal::USR1, |_| ())?;
/// assert_eq!(sigplane::table().row(Signal::USR1).unwrap().foreign.handler, Handler::Default);
/// # Ok::<(), sigplane::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ActionInfo {
    /// What is done.
    pub handler: Handler,
    /// The flags of sigaction(2).
    pub flags: u64,
    /// The signals blocked meanwhile: bit n - 1 for signal n.
    pub mask: u64,
}

/// What an action does.
///
/// # Examples
/// See [`ActionInfo`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub enum Handler {
    /// `SIG_DFL`.
    Default,
    /// `SIG_IGN`.
    Ignore,
    /// Sigplane's.
    Sigplane,
    /// Somebody's, at this address.
    At(usize),
}

impl From<KernelAction> for ActionInfo {
    fn from(action: KernelAction) -> Self {
        let handler = match action.handler {
            libc::SIG_DFL => Handler::Default,
            libc::SIG_IGN => Handler::Ignore,
            _ if action.is_ours() => Handler::Sigplane,
            address => Handler::At(address),
        };
        Self { handler, flags: action.flags, mask: action.mask }
    }
}

/// # Safety
/// The table's lock is held by the caller, so the chain stays.
#[allow(unsafe_code)]
fn row(engine: &Engine, signal: Signal, usurped: bool) -> Option<Row> {
    let number = signal.number();
    let slot: &Slot = engine.slot(number);
    // SAFETY: `table` holds the lock.
    let chain = unsafe { slot.chain() }?;
    let kernel = sys::sigaction(number, None).unwrap_or(KernelAction::DEFAULT);
    let sum = |count: Count| {
        let of = |counters: &Counters| counters.get(count, number);
        of(&engine.stranger_counts)
            + engine.threads.iter().map(|record| of(&record.counters)).sum::<usize>()
    };
    let (delivered, passed) = (sum(Count::Delivered), sum(Count::Passed));
    let entries = chain.all().iter().map(|entry| EntryInfo {
        name: entry.label().into_owned(),
        context: entry.context(),
        priority: entry.priority,
        place: entry.place,
        observes: entry.observes,
        armed: entry.is_armed(),
        location: entry.location.to_string(),
        capacity: entry.queue().map(|queue| queue.capacity()),
        overflow: entry.queue().map(|queue| queue.overflow),
        stats: SubscriptionStats::of(entry),
    });
    Some(Row {
        signal,
        entries: entries.collect(),
        foreign: (*slot.behind.get().action()).into(),
        kernel: kernel.into(),
        ours: kernel.is_ours(),
        taken_over: usurped || (slot.is_wanted() && !kernel.is_ours()),
        delivered,
        handled: delivered.saturating_sub(passed),
        passed,
        deferred: sum(Count::Deferred),
        pushed_back: slot.pushed_back.load(Ordering::Relaxed),
        lost: slot.lost.load(Ordering::Relaxed),
    })
}

impl fmt::Display for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.pad("default"),
            Self::Ignore => f.pad("ignored"),
            Self::Sigplane => f.pad("sigplane"),
            Self::At(address) => f.pad(&format!("{address:#x}")),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<10} {:<14} {:<14} {:>9} {:>9} {:>9} {:>9} {:>6}",
            "SIGNAL", "KERNEL", "BEHIND", "DELIVERED", "HANDLED", "PASSED", "DEFERRED", "LOST"
        )?;
        for row in &self.rows {
            writeln!(
                f,
                "{:<10} {:<14} {:<14} {:>9} {:>9} {:>9} {:>9} {:>6}",
                row.signal.name(),
                row.kernel.handler,
                row.foreign.handler,
                row.delivered,
                row.handled,
                row.passed,
                row.deferred,
                row.lost
            )?;
            if let Handler::At(address) = row.foreign.handler
                && let Some(place) = place_of(address)
            {
                writeln!(f, "  behind: {place}")?;
            }
            if row.taken_over {
                writeln!(f, "  ! taken over by {} behind sigplane's back", row.kernel.handler)?;
            }
            for entry in &row.entries {
                write_entry(f, entry)?;
            }
        }
        write!(f, "{} threads attached, {} panics", self.threads, self.panics)?;
        if self.faults.enabled { write!(f, "\n{}", self.faults) } else { Ok(()) }
    }
}

/// The object and the function that an address lies in, as far as the loader knows.
#[allow(unsafe_code)]
fn place_of(address: usize) -> Option<String> {
    use std::ffi::CStr;
    // SAFETY: all zero bytes are such a structure.
    let mut about: libc::Dl_info = unsafe { core::mem::zeroed() };
    // SAFETY: dladdr takes any address.
    if unsafe { libc::dladdr(address as *const core::ffi::c_void, &raw mut about) } == 0 {
        return None;
    }
    let text = |at: *const core::ffi::c_char| {
        // SAFETY: null, or a string of an object that is loaded.
        (!at.is_null()).then(|| unsafe { CStr::from_ptr(at) }.to_string_lossy().into_owned())
    };
    let object = text(about.dli_fname)?;
    let object = object.rsplit('/').next().unwrap_or_default();
    Some(match text(about.dli_sname) {
        Some(name) => format!("{object} ({name}+{:#x})", address - about.dli_saddr.addr()),
        None => format!("{object}+{:#x}", address - about.dli_fbase.addr()),
    })
}

fn write_entry(f: &mut fmt::Formatter<'_>, entry: &EntryInfo) -> fmt::Result {
    let context = format!("{:?}", entry.context).to_lowercase();
    let verb = if entry.observes { "observes" } else { "handles" };
    write!(f, "  {:<10} {:<8} {:>4}  {}", context, verb, entry.priority, entry.name)?;
    if !entry.armed {
        write!(f, " (stopped)")?;
    }
    if entry.place == Place::AfterLegacy {
        write!(f, " (after legacy)")?;
    }
    if let (Some(capacity), Some(overflow)) = (entry.capacity, entry.overflow) {
        let stats = &entry.stats;
        write!(
            f,
            "  [{}/{capacity} waiting, deepest {}, {overflow:?}",
            stats.waiting, stats.deepest
        )?;
        if stats.dropped > 0 {
            write!(f, ", dropped {}", stats.dropped)?;
        }
        if stats.discarded > 0 {
            write!(f, ", discarded {}", stats.discarded)?;
        }
        if stats.panics > 0 {
            write!(f, ", {} panics", stats.panics)?;
        }
        if stats.holding {
            write!(f, ", holding the kernel")?;
        }
        write!(f, "]")?;
    }
    if entry.name != entry.location {
        write!(f, "  at {}", entry.location)?;
    }
    writeln!(f)
}
