//! The immutable ordered list of entries of one signal, with the actions behind it.
//!
//! **Read inside signal handlers.** A writer makes a new one and publishes it; see `slot`.

use crate::delivery::entry::{Entry, Link};
use crate::delivery::queue::Consumer;
use crate::delivery::{Overflow, Place};
use crate::sys::KernelAction;
use std::sync::Arc;

#[derive(Clone)]
pub(crate) struct Chain {
    /// Highest priority first, those before the legacy action before those after it; within equal
    /// ones, in the order of subscription.
    entries: Vec<Link>,
    /// Where those that wait for a handler behind us begin, if there is one.
    split: usize,
    /// What was behind us before a foreign handler took the signal from us and we took it back in
    /// front of it. When that handler chains to us, this is where the call goes on.
    pub older: Option<KernelAction>,
    /// Whether an entry has a queue that must not lose anything: those need two passes.
    pub lossless: bool,
    /// Entries of the immediate context only, and nothing special behind them: see `dispatch`.
    pub plain: bool,
    /// Whether an entry has a queue.
    pub queued: bool,
    /// Whether two threads subscribe in the thread context.
    pub per_thread: bool,
}

impl Chain {
    pub(crate) fn new() -> Self {
        Self {
            entries: Vec::new(),
            split: 0,
            older: None,
            lossless: false,
            plain: false,
            queued: false,
            per_thread: false,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries whose turn comes first: all of them, unless a handler stands behind some.
    #[inline(always)]
    pub(crate) fn first(&self, handler_behind: bool) -> &[Link] {
        if handler_behind { self.entries.get(..self.split).unwrap_or(&[]) } else { &self.entries }
    }

    /// The entries that follow a handler behind us.
    pub(crate) fn second(&self) -> &[Link] {
        self.entries.get(self.split..).unwrap_or(&[])
    }

    #[inline(always)]
    pub(crate) fn has_second(&self) -> bool {
        self.split < self.entries.len()
    }

    pub(crate) fn all(&self) -> &[Link] {
        &self.entries
    }

    /// A copy with `entry` at its place.
    pub(crate) fn with(&self, entry: &Arc<Entry>) -> Self {
        let rank = |e: &Entry| (e.place == Place::AfterLegacy, core::cmp::Reverse(e.priority));
        let at = self.entries.partition_point(|other| rank(other) <= rank(entry));
        let mut entries = Vec::with_capacity(self.entries.len() + 1);
        entries.extend_from_slice(&self.entries[..at]);
        entries.push(Link::to(entry));
        entries.extend_from_slice(&self.entries[at..]);
        self.replaced(entries)
    }

    /// A copy without `entry`.
    pub(crate) fn without(&self, entry: &Entry) -> Self {
        self.replaced(self.entries.iter().copied().filter(|other| !other.is(entry)).collect())
    }

    /// A copy that remembers what was behind us before the foreign handler, unless it knows already.
    pub(crate) fn with_older(&self, before: KernelAction) -> Self {
        let older = Some(self.older.unwrap_or(before));
        Self { older, ..self.clone() }.replaced(self.entries.clone())
    }

    fn replaced(&self, entries: Vec<Link>) -> Self {
        let before = entries.partition_point(|entry| entry.place == Place::BeforeLegacy);
        let threads = entries.iter().filter(|entry| {
            entry.queue().is_some_and(|queue| matches!(queue.consumer, Consumer::Thread(_)))
        });
        Self {
            split: before,
            lossless: entries
                .iter()
                .any(|e| e.queue().is_some_and(|q| q.overflow == Overflow::Backpressure)),
            plain: !entries.is_empty()
                && entries.iter().all(|entry| entry.queue().is_none())
                && self.older.is_none(),
            queued: entries.iter().any(|entry| entry.queue().is_some()),
            per_thread: threads.count() > 1,
            older: self.older,
            entries,
        }
    }
}
