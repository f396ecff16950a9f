//! The map of regions: any number, overlapping in any way.

use crate::memory::{LENGTH, Memory, PAGE, load};
use sigplane::fault::{CodeRanges, Region};
use sigplane::{Error, Verdict};
use sigplane_tests::{Dice, quick};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Which regions were asked, in order.
static ASKED: [AtomicUsize; 256] = [const { AtomicUsize::new(0) }; 256];
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// A region that notes that it was asked, and passes.
fn noting(number: usize, range: Range<usize>, priority: i32) -> Region {
    let region = unsafe {
        Region::with_priority(range, priority, move |_| {
            ASKED[COUNT.fetch_add(1, SeqCst) % ASKED.len()].store(number, SeqCst);
            Verdict::Pass
        })
    };
    region.unwrap()
}

/// One that takes what the others leave.
fn taking(range: Range<usize>) -> Region {
    let region = unsafe {
        Region::with_priority(range, i32::MIN, |context| {
            context.skip(LENGTH);
            Verdict::Handled
        })
    };
    region.unwrap()
}

fn asked_at(address: usize) -> Vec<usize> {
    COUNT.store(0, SeqCst);
    unsafe { load(address) };
    ASKED[..COUNT.load(SeqCst)].iter().map(|number| number.load(SeqCst)).collect()
}

// Regions come and go at random, from single bytes to everything; after every change each page, at a random
// byte, and both ends of what has changed ask exactly those that a plain list names, in its order.
pub(crate) fn random_overlaps() {
    const PAGES: usize = 48;
    const MOST: usize = 24;
    let memory = Memory::new(PAGES);
    let (start, mut dice) = (memory.page(0), Dice::new());
    let _last = taking(memory.range());
    let mut model: Vec<(usize, i32, Range<usize>, Region)> = Vec::new();
    for number in 0..quick(3000) as usize {
        let length = PAGES * PAGE;
        let changed = if model.len() < MOST && dice.roll(5) < 3 {
            let mut ends = [0; 2].map(|_| dice.roll(length as u64 + 1) as usize);
            if dice.roll(3) > 0 {
                ends = ends.map(|end| end.next_multiple_of(PAGE)); // So that ends meet.
            }
            ends.sort();
            let end = ends[1].max(ends[0] + 1).min(length);
            let range = start + ends[0].min(end - 1)..start + end;
            let priority = dice.roll(5) as i32 - 2;
            let region = noting(number, range.clone(), priority);
            assert_eq!(region.range(), range);
            // Behind those of the same priority.
            let at = model.partition_point(|(_, other, ..)| *other >= priority);
            model.insert(at, (number, priority, range.clone(), region));
            range
        } else if !model.is_empty() {
            model.remove(dice.roll(model.len() as u64) as usize).2
        } else {
            continue;
        };
        let pages = (0..PAGES).map(|page| start + page * PAGE + dice.roll(PAGE as u64) as usize);
        let mut addresses: Vec<usize> = pages.collect();
        addresses.extend([changed.start - 1, changed.start, changed.end - 1, changed.end]);
        for at in addresses.into_iter().filter(|at| memory.range().contains(at)) {
            let expected = model.iter().filter(|(_, _, range, _)| range.contains(&at));
            let expected: Vec<usize> = expected.map(|(number, ..)| *number).collect();
            assert_eq!(asked_at(at), expected, "in round {number}, at {:#x}", at - start);
        }
    }
    drop(model);
    assert_eq!(sigplane::table().faults.regions, 1, "no piece is left but the last region's");
}

// "any number of regions": each of 100,000 is found, and none where there is none.
pub(crate) fn a_hundred_thousand() {
    let count = quick(100_000) as usize;
    let memory = Memory::new(count + 1);
    let mut dice = Dice::new();
    let _last = taking(memory.page(count)..memory.page(count + 1));
    let mut regions: Vec<Option<Region>> = (0..count)
        .map(|number| {
            // A gap at the end of each page.
            let range = memory.page(number)..memory.page(number + 1) - 8;
            let region = unsafe {
                Region::new(range, move |context| {
                    context.set_return_value(number);
                    context.skip(LENGTH);
                    Verdict::Handled
                })
            };
            Some(region.unwrap())
        })
        .collect();
    assert_eq!(sigplane::table().faults.regions, count + 1);
    let probe = |number: usize| unsafe { load(memory.page(number) + 8 * (number % 511)) };
    for number in (0..1000).map(|_| dice.roll(count as u64) as usize).chain([0, count - 1]) {
        assert_eq!(probe(number), number as u64);
    }
    // Gone and others still there; the gaps and those that are gone go to somebody else.
    let gone: Vec<usize> = (0..200).map(|_| dice.roll(count as u64) as usize).collect();
    gone.iter().for_each(|number| drop(regions[*number].take()));
    let everywhere = taking(memory.range());
    for number in gone.iter().flat_map(|number| [number.saturating_sub(1), *number, number + 1]) {
        match regions.get(number) {
            Some(Some(_)) => assert_eq!(probe(number), number as u64),
            Some(None) => assert_eq!(asked_at(memory.page(number)), []),
            None => {}
        }
        assert_eq!(asked_at(memory.page(number) + PAGE - 8), []);
    }
    drop(everywhere);
    // The process ends: they need not go one by one.
    std::mem::forget(regions);
}

pub(crate) fn empty_ranges_are_refused() {
    #[allow(clippy::reversed_empty_ranges, reason = "what is refused")]
    for range in [0..0, 8..8, 16..8, usize::MAX..0] {
        let region = unsafe { Region::new(range.clone(), |_| Verdict::Pass) };
        assert!(
            matches!(region, Err(Error::EmptyRange { start, end }) if start == range.start && end == range.end),
            "{region:?}"
        );
        let ranges = unsafe { CodeRanges::new(|_| Verdict::Pass) }.unwrap();
        assert!(matches!(ranges.insert(range), Err(Error::EmptyRange { .. })));
    }
    // Everything is a range, too.
    let everything = noting(1, 0..usize::MAX, 0);
    let memory = Memory::new(1);
    let _last = taking(memory.range());
    assert_eq!(asked_at(memory.page(0)), [1]);
    drop(everything);
    assert_eq!(asked_at(memory.page(0)), []);
}
