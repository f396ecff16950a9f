//! What `table()` says of faults.
#![allow(unsafe_code)]

use super::fixup;
use crate::engine::Engine;
use crate::set::SignalSet;
use crate::sync::Ordering;
use crate::sys;
use core::fmt;

/// What is registered for faults, and what took how many.
///
/// # Examples
/// ```
/// use sigplane::fault;
/// let before = sigplane::table().faults.by_fixup;
/// assert!(fault::try_read::<u8>(std::ptr::null()).is_err());
/// let faults = sigplane::table().faults;
/// assert_eq!(faults.by_fixup, before + 1);
/// assert!(faults.objects.iter().any(|object| object.used > 0));
/// ```
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct FaultTable {
    /// Whether the signals of faults are sigplane's.
    pub enabled: bool,
    /// The objects with fixups, by address.
    pub objects: Vec<FixupTable>,
    /// Code ranges registered now.
    pub code_ranges: usize,
    /// Pieces of address space that regions cover now.
    pub regions: usize,
    /// Last-chance hooks registered now.
    pub hooks: usize,
    /// Faults that went to a fixup's landing.
    pub by_fixup: usize,
    /// Faults that ended a guarded call.
    pub by_guard: usize,
    /// Faults that a code range's handler took.
    pub by_code: usize,
    /// Faults that a region's handler took.
    pub by_region: usize,
    /// Faults of what subscribers run inside the handler, which were caught there.
    pub in_handlers: usize,
    /// Threads on which signals of faults are blocked: a fault there kills the process, whoever could
    /// have taken it.
    pub blocked: Vec<BlockedThread>,
}

/// A thread on which signals of faults are blocked.
///
/// # Examples
/// See [`FaultTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct BlockedThread {
    /// The kernel's id of it.
    pub thread: i32,
    /// Which.
    pub signals: SignalSet,
}

/// Reads them from `/proc` (proc(5), `SigBlk`). Empty where that cannot be read.
fn blocked_threads() -> Vec<BlockedThread> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    let of = |entry: std::fs::DirEntry| {
        let thread = entry.file_name().to_str()?.parse().ok()?;
        let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
        let word = status.lines().find_map(|line| line.strip_prefix("SigBlk:"))?;
        let blocked = u64::from_str_radix(word.trim(), 16).ok()? & sys::FAULT_BITS;
        let signals = SignalSet::from_bits(blocked);
        (blocked != 0).then_some(BlockedThread { thread, signals })
    };
    tasks.flatten().filter_map(of).collect()
}

/// The fixups of one object.
///
/// # Examples
/// See [`FaultTable`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct FixupTable {
    /// Its file.
    pub object: String,
    /// How many entries.
    pub entries: usize,
    /// How many faults went to a landing of it.
    pub used: usize,
}

impl FaultTable {
    /// # Safety
    /// The caller holds the table's lock.
    pub(crate) unsafe fn of(engine: &Engine) -> Self {
        let faults = &engine.faults;
        let tally = &faults.tally;
        let load = |count: &crate::sync::AtomicUsize| count.load(Ordering::Relaxed);
        // SAFETY: the caller's promise.
        let lists = unsafe { faults.lists.get() };
        // SAFETY: as above.
        let code = unsafe { faults.code.get() };
        // SAFETY: as above.
        let regions = unsafe { faults.regions.get() };
        // SAFETY: as above.
        let hooks = unsafe { faults.hooks.get() };
        Self {
            enabled: super::is_enabled(),
            objects: lists.map_or_else(Vec::new, fixup::Lists::report),
            code_ranges: code.map_or(0, super::ranges::Ranges::len),
            regions: regions.map_or(0, super::ranges::Ranges::len),
            hooks: hooks.map_or(0, super::last_chance::Hooks::len),
            by_fixup: load(&tally.fixups),
            by_guard: load(&tally.guards),
            by_code: load(&tally.code),
            by_region: load(&tally.regions),
            in_handlers: load(&tally.in_handlers),
            blocked: if super::is_enabled() { blocked_threads() } else { Vec::new() },
        }
    }
}

impl fmt::Display for FaultTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "faults: {} by fixup, {} by guard, {} by code range, {} by region, {} in handlers; \
             {} code ranges, {} pieces of regions, {} last-chance hooks",
            self.by_fixup,
            self.by_guard,
            self.by_code,
            self.by_region,
            self.in_handlers,
            self.code_ranges,
            self.regions,
            self.hooks
        )?;
        for object in &self.objects {
            write!(f, "\n  {} fixups, {} used  {}", object.entries, object.used, object.object)?;
        }
        for BlockedThread { thread, signals } in &self.blocked {
            write!(f, "\n  ! thread {thread} blocks {signals}: a fault there kills the process")?;
        }
        Ok(())
    }
}
