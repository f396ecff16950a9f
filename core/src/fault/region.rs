//! Regions: faults of accesses to a range of addresses.
//!
//! **`handle` runs inside signal handlers**, and so does what the subscriber gives.
//!
//! Regions may overlap. The map is of the pieces into which all of them together cut the address space,
//! each with the regions that cover it, highest priority first; so the handler searches once.
//!
//! # Safety
//! See [`Region::new`].
#![allow(unsafe_code)]

use super::code::{self, Handler};
use super::context::FaultContext;
use super::ranges::{Item, Ranges};
use super::words::Words;
use crate::delivery::immediate::Verdict;
use crate::dispatch::{self, Arrival};
use crate::engine;
use crate::error::{Error, Result};
use crate::sync::{AtomicBool, Ordering};
use crate::table;
use core::fmt;
use core::ops::Range;
use std::sync::Arc;

pub(crate) struct Entry {
    range: Range<usize>,
    priority: i32,
    handler: Box<Handler>,
    armed: AtomicBool,
}

/// The regions of one piece, highest priority first.
type Covers = Arc<[Arc<Entry>]>;

pub(crate) type Map = Ranges<Covers>;

/// A range of addresses whose faults (SIGSEGV, SIGBUS) a handler of its own may take: for paging in user
/// space, write barriers, mappings of files that others truncate.
///
/// The handler may
/// * make the memory accessible and return [`Handled`](Verdict::Handled): the access is done again;
/// * do the access itself and [skip](FaultContext::skip) the instruction;
/// * have the code go on elsewhere: [`set_pc`](FaultContext::set_pc), [`land`](FaultContext::land);
/// * return [`Pass`](Verdict::Pass): the next region, or the next step, is asked, and sees the registers as
///   they were at the fault.
///
/// It is asked after [fixups](crate::fixup!) and [guarded calls](super::guarded): an access by
/// [`try_read`](super::try_read) to memory that is paged in on demand fails where plain code would succeed.
///
/// The kernel does not call it: a system call that is given such memory fails with `EFAULT`, as its manual
/// page says (read(2), write(2)). Touch the memory first.
///
/// Dropping it removes it, quiescently: when `drop` returns, the handler is not running and will not be
/// called. Inside a handler it returns at once, and the same holds from that handler's end.
///
/// # Examples
/// ```
/// use sigplane::{Verdict, fault::Region};
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// static FAULTS: AtomicUsize = AtomicUsize::new(0);
/// const PAGE: usize = 4096;
///
/// // SAFETY: a new mapping, without access.
/// let base = unsafe {
///     let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
///     libc::mmap(std::ptr::null_mut(), 16 * PAGE, libc::PROT_NONE, flags, -1, 0)
/// };
/// let start = base.addr();
/// // SAFETY: mprotect and an atomic are all that the handler uses.
/// let region = unsafe {
///     Region::new(start..start + 16 * PAGE, |context| {
///         FAULTS.fetch_add(1, Ordering::Relaxed);
///         let Some(address) = context.fault().address() else { return Verdict::Pass };
///         let page = std::ptr::without_provenance_mut(address & !(PAGE - 1));
///         match libc::mprotect(page, PAGE, libc::PROT_READ | libc::PROT_WRITE) {
///             0 => Verdict::Handled,
///             _ => Verdict::Pass,
///         }
///     })
/// }?;
/// let third_page = base.cast::<u8>().wrapping_add(2 * PAGE);
/// // SAFETY: within the mapping; the handler makes it accessible.
/// unsafe { third_page.write_volatile(7) };
/// assert_eq!(FAULTS.load(Ordering::Relaxed), 1);
/// drop(region);
/// # Ok::<(), sigplane::Error>(())
/// ```
#[doc(alias("userfaultfd", "mprotect"))]
#[must_use = "dropping it removes the region"]
pub struct Region {
    entry: Option<Arc<Entry>>,
}

impl Region {
    /// A region of priority 0.
    ///
    /// # Errors
    /// [`Error::EmptyRange`], [`Error::InHandler`], and those of [`enable`](super::enable).
    ///
    /// # Safety
    /// As for [`CodeRanges::new`](super::CodeRanges::new).
    ///
    /// # Async-signal safety
    /// No.
    pub unsafe fn new(
        range: Range<usize>,
        handler: impl Fn(&mut FaultContext<'_>) -> Verdict + Send + Sync + 'static,
    ) -> Result<Self> {
        // SAFETY: the caller's promise.
        unsafe { Self::with_priority(range, 0, handler) }
    }

    /// A region that is asked before those of lower priority that cover the same address. Within one
    /// priority, the one that was made first goes first.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    ///
    /// # Safety
    /// As [`new`](Self::new).
    ///
    /// # Async-signal safety
    /// No.
    pub unsafe fn with_priority(
        range: Range<usize>,
        priority: i32,
        handler: impl Fn(&mut FaultContext<'_>) -> Verdict + Send + Sync + 'static,
    ) -> Result<Self> {
        if range.is_empty() {
            return Err(Error::EmptyRange { start: range.start, end: range.end });
        }
        super::enable()?;
        let (handler, armed) = (Box::new(handler), AtomicBool::new(true));
        let entry = Arc::new(Entry { range: range.clone(), priority, handler, armed });
        edit(&range, |touched| covered(&range, touched, &entry))?;
        Ok(Self { entry: Some(entry) })
    }

    /// The addresses.
    pub fn range(&self) -> Range<usize> {
        self.entry.as_ref().map_or(0..0, |entry| entry.range.clone())
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let Some(entry) = self.entry.take() else { return };
        entry.armed.store(false, Ordering::Relaxed);
        // With its neighbours, so that what it has cut into pieces becomes whole again.
        let window = entry.range.start.saturating_sub(1)..entry.range.end.saturating_add(1);
        if edit(&window, |touched| uncovered(touched, &entry)).is_ok() {
            table::quiesce();
        } else {
            // In a handler, or a vfork child: nothing may be freed here. It is disarmed, and stays.
            core::mem::forget(entry);
        }
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { start, end } = self.range();
        write!(f, "Region({start:#x}..{end:#x})")
    }
}

fn edit(
    window: &Range<usize>,
    change: impl FnOnce(&[Item<Covers>]) -> Vec<Item<Covers>>,
) -> Result<()> {
    table::edit(|engine, retired| {
        // SAFETY: the table's lock is held.
        let map = unsafe { engine.faults.regions.get() };
        let next = map.unwrap_or(&Ranges::default()).with(window, change);
        retired.extend(engine.faults.regions.publish(next));
        Ok(())
    })
}

/// Those that have not been dropped. What was dropped in a handler is only waiting for the next change.
fn armed(covers: &Covers) -> Vec<Arc<Entry>> {
    covers.iter().filter(|entry| entry.armed.load(Ordering::Relaxed)).cloned().collect()
}

/// The pieces of `touched` with `entry` added where `range` covers them, and new ones for the gaps.
fn covered(
    range: &Range<usize>,
    touched: &[Item<Covers>],
    entry: &Arc<Entry>,
) -> Vec<Item<Covers>> {
    let mut pieces = Vec::with_capacity(2 * touched.len() + 1);
    let mut add = |range: Range<usize>, value: Covers| {
        if !range.is_empty() {
            pieces.push(Item { range, value });
        }
    };
    let alone: Covers = Arc::from([Arc::clone(entry)]);
    let mut at = range.start;
    for Item { range: piece, value } in touched {
        add(piece.start..piece.start.max(range.start).min(piece.end), Arc::clone(value));
        add(at..piece.start.max(at), Arc::clone(&alone));
        let (start, end) = (piece.start.max(range.start), piece.end.min(range.end));
        let mut both = armed(value);
        let place = both.partition_point(|other| other.priority >= entry.priority);
        both.insert(place, Arc::clone(entry));
        add(start..end, Covers::from(both));
        add(end.max(start)..piece.end, Arc::clone(value));
        at = end;
    }
    add(at..range.end, alone);
    pieces
}

/// The pieces of `touched` without `entry`; neighbours that are then alike become one.
fn uncovered(touched: &[Item<Covers>], entry: &Arc<Entry>) -> Vec<Item<Covers>> {
    let mut pieces: Vec<Item<Covers>> = Vec::with_capacity(touched.len());
    for Item { range, value } in touched {
        let mut rest = armed(value);
        rest.retain(|other| !Arc::ptr_eq(other, entry));
        if rest.is_empty() {
            continue;
        }
        let alike = |other: &Covers| {
            other.len() == rest.len() && other.iter().zip(&rest).all(|(a, b)| Arc::ptr_eq(a, b))
        };
        match pieces.last_mut() {
            Some(last) if last.range.end == range.start && alike(&last.value) => {
                last.range.end = range.end;
            }
            _ => pieces.push(Item { range: range.clone(), value: Covers::from(rest) }),
        }
    }
    pieces
}

/// Step 4: asks the regions that cover the address.
pub(super) fn handle(arrival: &Arrival<'_>, context: &mut libc::ucontext_t, words: &Words) -> bool {
    if !matches!(arrival.number, libc::SIGSEGV | libc::SIGBUS) {
        return false;
    }
    let Some(address) = words.address() else { return false };
    let record = arrival.record;
    let reading = dispatch::enter(record);
    // SAFETY: `enter` made this a reader until `exit`.
    let covers = unsafe { engine::get().faults.regions.get() }.and_then(|map| map.get(address));
    let taken = covers.is_some_and(|covers| {
        covers.iter().any(|entry| {
            entry.armed.load(Ordering::Relaxed)
                && code::ask(arrival, context, words, &*entry.handler)
        })
    });
    dispatch::exit(record, reading);
    taken
}
