//! Code ranges: traps of machine code that a program has made itself.
//!
//! **`handle` runs inside signal handlers**, and so does what the subscriber gives.
//!
//! # Safety
//! See [`CodeRanges::new`].
#![allow(unsafe_code)]

use super::context::FaultContext;
use super::ranges::{Item, Ranges};
use super::words::Words;
use crate::delivery::immediate::Verdict;
use crate::dispatch::{self, Arrival};
use crate::engine;
use crate::error::{Error, Result};
use crate::sync::{AtomicBool, Ordering};
use crate::thread::Record;
use crate::{sys, table};
use core::fmt;
use core::ops::Range;
use std::sync::Arc;

pub(super) type Handler = dyn Fn(&mut FaultContext<'_>) -> Verdict + Send + Sync;

pub(crate) struct Entry {
    handler: Arc<Handler>,
    armed: AtomicBool,
}

pub(crate) type Map = Ranges<Arc<Entry>>;

/// A handler for the traps of generated code, and the ranges of code that are its own: for JITs, which
/// leave out checks because the processor makes them.
///
/// Ranges come and go at run time, at a high rate: adding one copies some 20 kilobytes among 100,000
/// others; removing one waits for handlers that may be running, and [`remove_all`](CodeRange::remove_all)
/// does so once for many.
///
/// # Examples
/// ```
/// use sigplane::fault::{CodeRanges, FaultContext};
/// use sigplane::Verdict;
///
/// // SAFETY: the handler changes registers only, and the code it is for expects that.
/// let traps = unsafe {
///     CodeRanges::new(|context: &mut FaultContext<'_>| {
///         context.set_return_value(usize::MAX); // what the generated code takes for an error
///         let exit = context.fp(); // where it goes on is the code generator's convention
///         context.set_pc(exit);
///         Verdict::Handled
///     })
/// }?;
/// let code = [0xcc_u8; 16]; // machine code, in a real program
/// let range = traps.insert(code.as_ptr().addr()..code.as_ptr().addr() + code.len())?;
/// assert!(traps.insert(range.range()).is_err()); // taken
/// drop(range); // when this returns, the code may be freed
/// # Ok::<(), sigplane::Error>(())
/// ```
#[derive(Clone)]
pub struct CodeRanges {
    handler: Arc<Handler>,
}

impl CodeRanges {
    /// Makes a handler without ranges. It is called in the signal handler, for every fault at an
    /// instruction of one of its ranges that no [fixup](crate::fixup!) and no [guard](super::guarded) has
    /// taken: [`Handled`](Verdict::Handled) goes on as the context then says, [`Pass`](Verdict::Pass)
    /// leaves the fault to the next in order.
    ///
    /// # Errors
    /// As [`enable`](super::enable).
    ///
    /// # Safety
    /// As for [`Builder::immediate`](crate::Builder::immediate); and the changes that it makes to the
    /// context are such that the interrupted code can go on. Where it may fault itself, it holds nothing
    /// that must be given back: a fault of its own ends it there, and counts as `Pass`.
    pub unsafe fn new(
        handler: impl Fn(&mut FaultContext<'_>) -> Verdict + Send + Sync + 'static,
    ) -> Result<Self> {
        super::enable()?;
        Ok(Self { handler: Arc::new(handler) })
    }

    /// Adds a range.
    ///
    /// # Errors
    /// [`Error::EmptyRange`], [`Error::RangeTaken`] when it overlaps another, whoever's it is,
    /// [`Error::VforkChild`], [`Error::InHandler`].
    ///
    /// # Async-signal safety
    /// No.
    pub fn insert(&self, range: Range<usize>) -> Result<CodeRange> {
        if range.is_empty() {
            return Err(Error::EmptyRange { start: range.start, end: range.end });
        }
        let entry =
            Arc::new(Entry { handler: Arc::clone(&self.handler), armed: AtomicBool::new(true) });
        let mut taken = None;
        table::edit(|engine, retired| {
            // SAFETY: the table's lock is held.
            let map = unsafe { engine.faults.code.get() };
            let edit = |touched: &[Item<Arc<Entry>>]| {
                // Those that were dropped in a handler are only waiting for this.
                let is_armed = |item: &&Item<Arc<Entry>>| item.value.armed.load(Ordering::Relaxed);
                taken = touched.iter().find(is_armed).map(|item| item.range.clone());
                vec![Item { range: range.clone(), value: Arc::clone(&entry) }]
            };
            let next = map.unwrap_or(&Ranges::default()).with(&range, edit);
            match taken.take() {
                Some(Range { start, end }) => Err(Error::RangeTaken { start, end }),
                None => {
                    retired.extend(engine.faults.code.publish(next));
                    Ok(())
                }
            }
        })?;
        Ok(CodeRange { range, entry: Some(entry) })
    }
}

impl fmt::Debug for CodeRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeRanges").finish_non_exhaustive()
    }
}

/// Keeps a range of code with its handler. Dropping it removes the range, quiescently: when `drop`
/// returns, the handler is not running for it and will not be called, so the code may be freed. Inside a
/// handler it returns at once, and the same holds from that handler's end.
///
/// # Examples
/// See [`CodeRanges`].
#[must_use = "dropping it removes the range"]
pub struct CodeRange {
    range: Range<usize>,
    entry: Option<Arc<Entry>>,
}

impl CodeRange {
    /// The addresses.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// Removes many, and waits once.
    pub fn remove_all(ranges: impl IntoIterator<Item = Self>) {
        let mut any = false;
        for mut range in ranges {
            any |= range.take_out();
        }
        if any {
            table::quiesce();
        }
    }

    /// Takes it out of the map; whether handlers have to be waited for.
    fn take_out(&mut self) -> bool {
        let Some(entry) = self.entry.take() else { return false };
        entry.armed.store(false, Ordering::Relaxed);
        let removed = table::edit(|engine, retired| {
            // SAFETY: the table's lock is held.
            if let Some(map) = unsafe { engine.faults.code.get() } {
                let next = map.with(&self.range, |touched| {
                    let others = |item: &&Item<Arc<Entry>>| !Arc::ptr_eq(&item.value, &entry);
                    touched.iter().filter(others).cloned().collect()
                });
                retired.extend(engine.faults.code.publish(next));
            }
            Ok(())
        });
        if removed.is_err() {
            // In a handler, or a vfork child: nothing may be freed here. It is disarmed, and stays.
            core::mem::forget(entry);
        }
        removed.is_ok()
    }
}

impl Drop for CodeRange {
    fn drop(&mut self) {
        if self.take_out() {
            table::quiesce();
        }
    }
}

impl fmt::Debug for CodeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CodeRange({:#x}..{:#x})", self.range.start, self.range.end)
    }
}

/// Step 3: asks the handler of the range that the instruction is in.
pub(super) fn handle(arrival: &Arrival<'_>, context: &mut libc::ucontext_t, words: &Words) -> bool {
    let record: Option<&Record> = arrival.record;
    let reading = dispatch::enter(record);
    // SAFETY: `enter` made this a reader until `exit`.
    let entry = unsafe { engine::get().faults.code.get() }.and_then(|map| map.get(words.pc));
    let taken = entry.is_some_and(|entry| {
        entry.armed.load(Ordering::Relaxed) && ask(arrival, context, words, &*entry.handler)
    });
    dispatch::exit(record, reading);
    taken
}

/// Asks a handler of a region or a code range. What it has done to the registers counts only if it has taken
/// the fault: the next in order, and the core dump, see those of the fault.
pub(super) fn ask(
    arrival: &Arrival<'_>,
    context: &mut libc::ucontext_t,
    words: &Words,
    handler: &Handler,
) -> bool {
    let (registers, mask) = (context.uc_mcontext.gregs, *sys::context_mask(context));
    let mut fault = FaultContext::new(*words, arrival.info, context);
    let verdict = super::contain(arrival.record, || handler(&mut fault));
    if verdict == Some(Verdict::Handled) {
        return true;
    }
    context.uc_mcontext.gregs = registers;
    *sys::context_mask(context) = mask;
    false
}
