//! Tables that are refused: with an error that names the object and the entry, by the Rust function and by
//! the C header alike, and nothing is changed.

use crate::object::{FIXUPS, NULL, Object, listed};
use sigplane::Error;
use sigplane::fault::{self, FixupError};
use sigplane_tests::{Dice, quick};
use std::ops::Range;

const EMPTY: &str = env!("SIGPLANE_TEST_REFUSED_EMPTY");
const OUT_OF_ORDER: &str = env!("SIGPLANE_TEST_REFUSED_OUT_OF_ORDER");
const OVERLAPPING: &str = env!("SIGPLANE_TEST_REFUSED_OVERLAPPING");
const CYCLE: &str = env!("SIGPLANE_TEST_REFUSED_CYCLE");

pub(crate) fn refused() {
    fault::enable().unwrap();
    let before = listed();
    type IsIt = fn(&FixupError, &str) -> bool;
    let expected: [(&str, i32, IsIt); 4] = [
        (EMPTY, 2, |e, o| matches!(e, FixupError::Empty { object, entry: 1 } if object == o)),
        (
            OUT_OF_ORDER,
            3,
            |e, o| matches!(e, FixupError::OutOfOrder { object, entry: 1 } if object == o),
        ),
        (
            OVERLAPPING,
            4,
            |e, o| matches!(e, FixupError::Overlapping { object, entry: 2, other: 1, .. } if object == o),
        ),
        (CYCLE, 5, |e, o| matches!(e, FixupError::Cycle { object, entry: 1 } if object == o)),
    ];
    for (path, code, is_it) in expected {
        let object = Object::open(path);
        assert_eq!((object.state)(), code, "{path}: the constructor");
        let (again, message) = object.attach();
        assert_eq!(again, code, "{message}");
        assert!(message.contains(path), "names the object: {message}");
        assert!(message.contains("entry 1") || message.contains(" and 1 "), "and it: {message}");
        // SAFETY: a list that stays meanwhile, of code that is not executed.
        match unsafe { fault::register(object.table()) } {
            Err(Error::Fixup(error)) => {
                assert!(is_it(&error, path), "{path}: {error:?}");
                assert_eq!(error.to_string(), message);
            }
            other => panic!("{path}: {other:?}"),
        }
        // A message that does not fit is cut, and ends.
        let mut short = [0xffu8; 8];
        assert_eq!((object.attach)(short.as_mut_ptr(), 4), code);
        assert_eq!(short, *b"fix\0\xff\xff\xff\xff");
        assert_eq!((object.attach)(std::ptr::null_mut(), 0), code);
        assert_eq!(listed(), before, "{path}");
        object.close();
    }
    assert_eq!(listed(), before);
}

pub(crate) fn refused_misshapen_twice_unknown() {
    fault::enable().unwrap();
    let before = listed();
    let object = Object::open(FIXUPS);
    let Range { start, end } = object.table();
    assert_eq!(end - start, 2 * 12, "two entries");
    let with = listed();
    assert_eq!(with.len(), before.len() + 1);

    let is_misshapen =
        |error: &FixupError| matches!(error, FixupError::Misshapen { object } if object == FIXUPS);
    for (from, to) in [(start, end - 4), (start + 1, end + 1), (start, start + 1), (end, start)] {
        let (code, message) = object.give(from, to);
        assert_eq!(code, 1, "{from:#x}..{to:#x}: {message}");
        assert!(message.contains(FIXUPS), "{message}");
        // SAFETY: refused before anything is read.
        match unsafe { fault::register(from..to) } {
            Err(Error::Fixup(error)) if is_misshapen(&error) => {
                assert_eq!(error.to_string(), message);
            }
            other => panic!("{from:#x}..{to:#x}: {other:?}"),
        }
    }
    // Twice, and a part of it.
    for (from, to) in [(start, end), (start, start + 12), (start + 12, end)] {
        let (code, message) = object.give(from, to);
        assert_eq!(code, 6, "{message}");
        assert_eq!(message.matches(FIXUPS).count(), 2, "by itself: {message}");
        // SAFETY: it is there already.
        match unsafe { fault::register(from..to) } {
            Err(Error::Fixup(FixupError::Registered { object, by })) => {
                assert_eq!((&object[..], &by[..]), (FIXUPS, FIXUPS));
            }
            other => panic!("{other:?}"),
        }
    }
    // Not the start of one.
    assert_eq!((object.take)(start + 12), 7);
    assert_eq!((object.take)(0), 7);
    assert!(matches!(fault::unregister(start + 12), Err(Error::Fixup(FixupError::Unknown))));
    assert_eq!(listed(), with, "nothing has changed");
    assert_eq!((object.probe)(NULL), 0);

    assert_eq!(((object.detach)(), (object.detach)()), (0, 7));
    assert!(matches!(fault::unregister(start), Err(Error::Fixup(FixupError::Unknown))));
    assert_eq!(listed(), before);
    assert_eq!(object.attach(), (0, String::new()));
    assert_eq!(listed(), with);
    // An empty list is nothing.
    assert_eq!(object.give(start, start), (0, String::new()));
    object.close();
    assert_eq!(listed(), before);
}

/// A table, and the code that it might be for, in memory of its own. Nothing executes that code.
pub(crate) struct Table {
    base: usize,
}

const LENGTH: usize = 8192;

impl Table {
    /// One with room for so many entries.
    pub(crate) fn new(entries: usize) -> Self {
        assert!(entries * 12 <= LENGTH / 2);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let base = unsafe { libc::mmap(std::ptr::null_mut(), LENGTH, access, flags, -1, 0) };
        assert_ne!(base, libc::MAP_FAILED);
        Self { base: base as usize }
    }

    pub(crate) fn code(&self) -> usize {
        self.base + LENGTH / 2
    }

    /// Start, end and landing, from the beginning of the code.
    pub(crate) fn set(&self, entry: usize, words: [usize; 3]) {
        for (index, word) in words.into_iter().enumerate() {
            let at = self.base + entry * 12 + index * 4;
            let relative = (self.code() + word) as i64 - at as i64;
            unsafe { (at as *mut i32).write(relative as i32) };
        }
    }

    pub(crate) fn bounds(&self, entries: usize) -> Range<usize> {
        self.base..self.base + entries * 12
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        unsafe { libc::munmap(self.base as *mut _, LENGTH) };
    }
}

/// What is to be said of a table, by the definitions; with the entries where the choice is free.
fn judge(entries: &[[usize; 3]]) -> Option<&'static str> {
    if let Some(entry) = entries.iter().find(|entry| entry[0] >= entry[1]) {
        return Some(if entry[0] == entry[1] { "empty" } else { "out of order" });
    }
    let covers = |entry: &[usize; 3], pc: usize| (entry[0]..entry[1]).contains(&pc);
    // The same line twice is what a linker leaves that folds identical functions.
    let distinct: std::collections::BTreeSet<&[usize; 3]> = entries.iter().collect();
    if (0..128).any(|pc| distinct.iter().filter(|entry| covers(entry, pc)).count() > 1) {
        return Some("overlapping");
    }
    let next = |pc: usize| entries.iter().find(|entry| covers(entry, pc)).map(|entry| entry[2]);
    for entry in entries {
        // With this many entries a longer way has been somewhere twice.
        let way = std::iter::successors(Some(entry[2]), |pc| next(*pc)).take(20).count();
        if way == 20 {
            return Some("cycle");
        }
    }
    None
}

// Random small tables against the definitions.
pub(crate) fn random_tables() {
    let before = listed();
    let (mut dice, table) = (Dice::new(), Table::new(8));
    let mut seen = [0u32; 5];
    for _ in 0..quick(100_000) {
        let count = 1 + dice.roll(6) as usize;
        // Mostly sensible ones, in and out of order of address.
        let spread = if dice.roll(2) == 0 { 16 } else { 120 };
        let mut entries = [[0; 3]; 6];
        for entry in &mut entries[..count] {
            let start = dice.roll(spread) as usize;
            let end =
                (start + dice.roll(6) as usize).saturating_sub(usize::from(dice.roll(12) == 0));
            let far = if dice.roll(2) == 0 { 16 } else { 400 };
            *entry = [start, end, dice.roll(far) as usize];
        }
        for (at, entry) in entries[..count].iter().enumerate() {
            table.set(at, *entry);
        }
        let entries = &entries[..count];
        // SAFETY: the list stays until it is removed; its code is never executed.
        let result = unsafe { fault::register(table.bounds(count)) };
        let (kind, said) = match &result {
            Ok(()) => (0, None),
            Err(Error::Fixup(FixupError::Empty { entry, .. })) => {
                assert_eq!(entries[*entry][0], entries[*entry][1]);
                (1, Some("empty"))
            }
            Err(Error::Fixup(FixupError::OutOfOrder { entry, .. })) => {
                assert!(entries[*entry][0] > entries[*entry][1]);
                (2, Some("out of order"))
            }
            Err(Error::Fixup(FixupError::Overlapping { entry, other, pc, .. })) => {
                let pc = pc - table.code();
                for at in [entry, other] {
                    assert!(
                        (entries[*at][0]..entries[*at][1]).contains(&pc),
                        "{entries:?} {result:?}"
                    );
                }
                (3, Some("overlapping"))
            }
            Err(Error::Fixup(FixupError::Cycle { .. })) => (4, Some("cycle")),
            Err(other) => panic!("{entries:?}: {other}"),
        };
        assert_eq!(said, judge(entries), "{entries:?}");
        seen[kind] += 1;
        if result.is_ok() {
            fault::unregister(table.bounds(count).start).unwrap();
        }
    }
    println!("right, empty, out of order, overlapping, cycle: {seen:?}");
    assert!(quick(100_000) < 10_000 || seen.iter().all(|count| *count > 100), "{seen:?}");
    assert_eq!(listed(), before);
}
