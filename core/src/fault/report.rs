//! What `table()` says of faults.
#![allow(unsafe_code)]

use super::fixup;
use crate::engine::Engine;
use crate::sync::Ordering;
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
        Ok(())
    }
}
