//! An immutable map from disjoint address ranges to values, cheap to copy with a change.
//!
//! **`get` runs inside signal handlers**: two binary searches.
//!
//! The ranges are kept in chunks of at most [`CHUNK`], which copies share. A change copies the chunks that
//! it touches and the list of chunks, so with 100,000 ranges it moves 20 kilobytes and not megabytes: the
//! list and a chunk are then of about the same size.
//! Refused: a balanced tree (a pointer chase per level in the handler), one array (a JIT that registers
//! code all the time would copy all of it each time).

use core::ops::Range;
use std::sync::Arc;

/// Ranges in a chunk. Few in the unit test, so that it has many chunks.
const CHUNK: usize = if cfg!(test) { 8 } else { 256 };

#[derive(Clone)]
pub(crate) struct Item<V> {
    pub range: Range<usize>,
    pub value: V,
}

type Chunk<V> = Arc<[Item<V>]>;

#[derive(Clone)]
pub(crate) struct Ranges<V> {
    /// None is empty. Sorted, as what is in them.
    chunks: Vec<Chunk<V>>,
}

impl<V> Default for Ranges<V> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

fn last_end<V>(chunk: &Chunk<V>) -> usize {
    chunk.last().map_or(0, |item| item.range.end)
}

impl<V> Ranges<V> {
    /// The value of the range that contains `at`.
    pub(crate) fn get(&self, at: usize) -> Option<&V> {
        let chunk = self.chunks.get(self.chunks.partition_point(|chunk| last_end(chunk) <= at))?;
        let item = chunk.get(chunk.partition_point(|item| item.range.end <= at))?;
        (item.range.start <= at).then_some(&item.value)
    }

    /// All, in order.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Item<V>> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.len()).sum()
    }
}

impl<V: Clone> Ranges<V> {
    /// A copy in which `edit` has changed those items that touch `window`: it gets them in order, and
    /// gives back what is to be there instead, sorted, disjoint, and within the span of `window` and those.
    pub(crate) fn with(
        &self,
        window: &Range<usize>,
        edit: impl FnOnce(&[Item<V>]) -> Vec<Item<V>>,
    ) -> Self {
        let first = self.chunks.partition_point(|chunk| last_end(chunk) <= window.start);
        let starts = |chunk: &Chunk<V>| chunk.first().map_or(0, |item| item.range.start);
        let mut last = self.chunks.partition_point(|chunk| starts(chunk) < window.end).max(first);
        // A neighbour to grow into, so that appending one by one fills chunks.
        let first = if first == last { first.saturating_sub(1) } else { first };
        if first == last && last < self.chunks.len() {
            last += 1;
        }
        let old: Vec<Item<V>> =
            self.chunks[first..last].iter().flat_map(|chunk| chunk.iter().cloned()).collect();
        let from = old.partition_point(|item| item.range.end <= window.start);
        let to = old.partition_point(|item| item.range.start < window.end).max(from);
        let new = edit(&old[from..to]);
        let mut items = Vec::with_capacity(old.len() + new.len());
        items.extend_from_slice(&old[..from]);
        items.extend(new);
        items.extend_from_slice(&old[to..]);
        // Halves, and not a full chunk and a rest, so that the next change does not split again.
        let pieces = items.len().div_ceil(CHUNK);
        let size = items.len().div_ceil(pieces.max(1)).max(1);
        let mut chunks = Vec::with_capacity(self.chunks.len() + 1);
        chunks.extend_from_slice(&self.chunks[..first]);
        chunks.extend(items.chunks(size).map(Chunk::from));
        chunks.extend_from_slice(&self.chunks[last..]);
        Self { chunks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(ranges: &Ranges<usize>, range: Range<usize>, value: usize) -> Ranges<usize> {
        ranges.with(&range.clone(), |touched| {
            assert!(touched.is_empty());
            vec![Item { range, value }]
        })
    }

    /// Against a plain list, with every address looked up after every change.
    #[test]
    fn agrees_with_a_list() {
        let mut random = 1u64;
        let mut next = move |below: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random % below as u64) as usize
        };
        let mut ranges = Ranges::default();
        let mut model: Vec<Option<usize>> = vec![None; 4096];
        for round in 1..4000 {
            let start = next(4090);
            let length = 1 + next(5);
            let window = start..start + length;
            if model[window.clone()].iter().all(Option::is_none) {
                ranges = insert(&ranges, window.clone(), round);
                model[window].fill(Some(round));
            } else {
                let mut gone = Vec::new();
                ranges = ranges.with(&window, |touched| {
                    gone.extend(touched.iter().map(|item| item.range.clone()));
                    Vec::new()
                });
                assert!(!gone.is_empty());
                gone.into_iter().for_each(|range| model[range].fill(None));
            }
            if round % 16 == 0 {
                for (at, value) in model.iter().enumerate() {
                    assert_eq!(ranges.get(at), value.as_ref(), "at {at}");
                }
            }
        }
        assert!(ranges.chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= CHUNK));
        assert!(ranges.iter().map(|item| item.range.start).is_sorted());
        assert_eq!(ranges.iter().count(), ranges.len());
    }
}
