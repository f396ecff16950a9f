//! One random case of each function, with what it must do predicted from the states of the pages.

use crate::arena::{Arena, Expected, SIZE, length, place};
use sigplane::fault::{self, Access, Fault, Plain, Word};
use sigplane_tests::Dice;
use std::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed, Release, SeqCst};

/// Plain memory that an arena's bytes are copied to and from, all of one value.
pub struct Buffer(Vec<u8>);

const CANARY: u8 = 0xa5;
const MARGIN: usize = 64;

impl Buffer {
    pub fn new() -> Self {
        Self(vec![CANARY; SIZE + 2 * MARGIN])
    }

    fn get(&mut self, length: usize) -> &mut [u8] {
        &mut self.0[MARGIN..MARGIN + length]
    }

    /// Whether it begins with `bytes`, and the rest of `length`, with a margin, is as it was.
    fn holds(&self, bytes: &[u8], length: usize) -> bool {
        const BLANK: [u8; 512] = [CANARY; 512];
        let (before, after) = self.0[..2 * MARGIN + length].split_at(MARGIN);
        let (done, rest) = after.split_at(bytes.len());
        *before == BLANK[..MARGIN]
            && done == bytes
            && rest.chunks(512).all(|rest| *rest == BLANK[..rest.len()])
    }

    fn clean(&mut self, length: usize) {
        self.get(length).fill(CANARY);
    }
}

/// How many bytes a call did, of `all`, which is what it should be.
fn done<T: std::fmt::Debug>(
    result: &Result<T, Fault>,
    all: usize,
    expected: [Option<Expected>; 2],
    what: impl Fn() -> String,
) -> usize {
    let first = expected.iter().flatten().map(|one| one.done).min();
    match (result, first) {
        (Ok(_), None) => all,
        (Err(fault), Some(first)) => {
            // Where the same byte can neither be read nor written, either may be reported.
            let mut choices = expected.iter().flatten().filter(|one| one.done == first);
            assert!(
                choices.any(|one| one.is(fault)),
                "{}: {fault:?}, not {expected:x?}; the address is {:x?}",
                what(),
                fault.address()
            );
            first
        }
        _ => panic!("{}: {result:?}, not {expected:x?}", what()),
    }
}

pub fn copy(arena: &mut Arena, _: &mut Buffer, dice: &mut Dice) {
    let n = length(dice);
    let from = place(n, dice);
    let to = match dice.roll(4) {
        0 => (from + dice.roll(n as u64 + 70) as usize).min(SIZE - n),
        1 => from.saturating_sub(dice.roll(n as u64 + 70) as usize),
        _ => place(n, dice),
    };
    let down = to > from && to - from < n;
    let apart = from.abs_diff(to) >= n && dice.roll(2) == 0;
    let (source, target) = (arena.at(from), arena.at(to));
    let result = unsafe {
        if apart {
            fault::try_copy_nonoverlapping(source, target, n)
        } else {
            fault::try_copy(source, target, n)
        }
    };
    let expected = if n == 0 {
        [None, None]
    } else if down {
        [arena.last_bad(from, n, Access::Read), arena.last_bad(to, n, Access::Write)]
    } else {
        [arena.first_bad(from, n, Access::Read), arena.first_bad(to, n, Access::Write)]
    };
    let what = || format!("copy of {n:#x} from {source:p} to {target:p}, downwards: {down}");
    let done = done(&result, n, expected, what);
    let skip = if down { n - done } else { 0 };
    arena.shadow.copy_within(from + skip..from + skip + done, to + skip);
    assert!(arena.check_near(to, n), "{}, {result:?}", what());
}

pub fn copy_from(arena: &mut Arena, buffer: &mut Buffer, dice: &mut Dice) {
    let n = length(dice);
    let from = place(n, dice);
    let result = fault::try_copy_from(arena.at(from), buffer.get(n));
    let what = || format!("copy of {n:#x} from offset {from:#x}");
    let done = done(&result, n, [arena.first_bad(from, n, Access::Read), None], what);
    assert!(buffer.holds(&arena.shadow[from..from + done], n), "{}", what());
    buffer.clean(n);
}

pub fn copy_to(arena: &mut Arena, buffer: &mut Buffer, dice: &mut Dice) {
    let n = length(dice);
    let to = place(n, dice);
    let seed = dice.roll(256) as u8;
    let source = buffer.get(n);
    for (count, byte) in source.iter_mut().take(40).enumerate() {
        *byte = seed.wrapping_add(count as u8);
    }
    let result = unsafe { fault::try_copy_to(source, arena.at(to)) };
    let what = || format!("copy of {n:#x} to offset {to:#x}");
    let done = done(&result, n, [arena.first_bad(to, n, Access::Write), None], what);
    arena.shadow[to..to + done].copy_from_slice(&source[..done]);
    assert!(arena.check_near(to, n), "{}", what());
    buffer.clean(n.min(40));
}

pub fn fill(arena: &mut Arena, _: &mut Buffer, dice: &mut Dice) {
    let n = length(dice);
    let (to, byte) = (place(n, dice), dice.roll(256) as u8);
    let result = unsafe { fault::try_fill(arena.at(to), byte, n) };
    let what = || format!("fill of {n:#x} at offset {to:#x}");
    let done = done(&result, n, [arena.first_bad(to, n, Access::Write), None], what);
    arena.shadow[to..to + done].fill(byte);
    assert!(arena.check_near(to, n), "{}", what());
}

/// Where a string in the arena should end: its length, or the fault before.
fn end(arena: &Arena, from: usize, limit: usize) -> Result<usize, Expected> {
    let bad = arena.first_bad(from, limit, Access::Read);
    let readable = bad.map_or(limit, |bad| bad.done);
    let string = &arena.shadow[from..from + readable];
    let zero = unsafe { libc::memchr(string.as_ptr().cast(), 0, readable) };
    match bad {
        _ if !zero.is_null() => Ok(zero.addr() - string.as_ptr().addr()),
        Some(bad) => Err(bad),
        None => Ok(limit),
    }
}

pub fn strlen(arena: &mut Arena, _: &mut Buffer, dice: &mut Dice) {
    let mut limit = length(dice);
    let from = place(limit, dice);
    let expected = end(arena, from, limit);
    // The last page of the arena ends every string.
    let expected = if dice.roll(8) == 0 {
        limit = usize::MAX - dice.roll(3) as usize;
        end(arena, from, SIZE - from)
    } else {
        expected
    };
    let result = fault::try_strlen(arena.at(from).cast(), limit);
    let what = || format!("string at {:p}, at most {limit:#x}", arena.at(from));
    let _done = done(&result, 0, [expected.err(), None], what);
    if let Ok(length) = result {
        assert_eq!(Ok(length), expected, "{}", what());
    }
}

pub fn c_str(arena: &mut Arena, buffer: &mut Buffer, dice: &mut Dice) {
    let room = length(dice);
    let from = place(room, dice);
    let expected = end(arena, from, room);
    let result = fault::try_c_str(arena.at(from).cast(), buffer.get(room));
    let what = || format!("string at {:p} into {room:#x}", arena.at(from));
    let copied = match (&expected, &result) {
        (Err(_), _) => done(&result, 0, [expected.err(), None], what),
        (Ok(length), Ok(None)) if *length == room => room,
        (Ok(length), Ok(Some(string))) if string.count_bytes() == *length => length + 1,
        _ => panic!("{}: {result:?}, not {expected:x?}", what()),
    };
    assert!(buffer.holds(&arena.shadow[from..from + copied], room), "{}", what());
    buffer.clean(room);
}

/// A value that is no integer.
#[derive(Clone, Copy, PartialEq, Debug)]
#[repr(C)]
struct Record {
    a: u64,
    b: u32,
    c: [u8; 4],
    d: [u16; 4],
}

// SAFETY: integers without padding between them.
unsafe impl Plain for Record {}

fn bytes<T: Plain>(value: &T) -> &[u8] {
    unsafe { std::slice::from_raw_parts((&raw const *value).cast(), size_of::<T>()) }
}

/// What one instruction does, it does wholly or not.
fn at_once<T>(expected: Option<Expected>) -> Option<Expected> {
    let whole = matches!(size_of::<T>(), 1 | 2 | 4 | 8 | 16);
    expected.map(|expected| if whole { Expected { done: 0, ..expected } } else { expected })
}

fn read<T: Plain + std::fmt::Debug>(arena: &mut Arena, dice: &mut Dice) {
    let (from, size) = (place(size_of::<T>(), dice), size_of::<T>());
    let result = fault::try_read::<T>(arena.at(from).cast());
    let what = || format!("read of {size} at offset {from:#x}");
    let expected = at_once::<T>(arena.first_bad(from, size, Access::Read));
    let _done = done(&result, size, [expected, None], what);
    if let Ok(value) = result {
        assert!(*bytes(&value) == arena.shadow[from..from + size], "{}: {value:x?}", what());
    }
}

fn write<T: Plain + std::fmt::Debug>(arena: &mut Arena, dice: &mut Dice) {
    let (to, size) = (place(size_of::<T>(), dice), size_of::<T>());
    let source = dice.roll((SIZE - size) as u64) as usize;
    let value = unsafe { arena.shadow.as_ptr().add(source).cast::<T>().read_unaligned() };
    let result = unsafe { fault::try_write(arena.at(to).cast(), value) };
    let what = || format!("write of {size} at offset {to:#x}");
    let expected = at_once::<T>(arena.first_bad(to, size, Access::Write));
    let done = done(&result, size, [expected, None], what);
    arena.shadow[to..to + done].copy_from_slice(&bytes(&value)[..done]);
    assert!(arena.check_near(to, size), "{}", what());
}

pub fn scalar(arena: &mut Arena, _: &mut Buffer, dice: &mut Dice) {
    macro_rules! either {
        ($type:ty) => {
            if dice.roll(2) == 0 { read::<$type>(arena, dice) } else { write::<$type>(arena, dice) }
        };
    }
    match dice.roll(12) {
        0 => either!(u8),
        1 => either!(u16),
        2 => either!(i32),
        3 => either!(u64),
        4 => either!(f64),
        5 => either!(u128),
        6 => either!([u8; 16]),
        7 => either!([u8; 3]),
        8 => either!([u16; 7]),
        9 => either!(Record),
        10 => either!([u8; 100]),
        _ => either!([u64; 300]),
    }
}

fn atomic<T: Word + std::fmt::Debug>(arena: &mut Arena, dice: &mut Dice) {
    let size = size_of::<T>();
    let mut at = place(size, dice);
    // Locked instructions within one line: splitting it is slow, and forbidden on some machines.
    if dice.roll(2) == 0 || at % 64 + size > 64 {
        at -= at % size;
    }
    let old: T = unsafe { arena.shadow.as_ptr().add(at).cast::<T>().read_unaligned() };
    let other = dice.roll((SIZE - size) as u64) as usize;
    let new: T = unsafe { arena.shadow.as_ptr().add(other).cast::<T>().read_unaligned() };
    let pick = |dice: &mut Dice, of: &[Ordering]| of[dice.roll(of.len() as u64) as usize];
    let place = arena.at(at).cast::<T>();
    let write = [arena.first_bad(at, size, Access::Write), None];
    let what = || format!("atomic of {size} at {place:p}");
    let changed = match dice.roll(4) {
        0 => {
            let result = fault::try_load(place, pick(dice, &[Relaxed, Acquire, SeqCst]));
            let read = arena.first_bad(at, size, Access::Read);
            let _done = done(&result, size, [read, None], what);
            assert!(result.is_err() || result.is_ok_and(|value| value == old), "{}", what());
            0
        }
        1 => {
            let order = pick(dice, &[Relaxed, Release, SeqCst]);
            done(&unsafe { fault::try_store(place, new, order) }, size, write, what)
        }
        sort => {
            let current = if sort == 2 { old } else { new };
            let (success, failure) = (pick(dice, &[Relaxed, AcqRel, SeqCst]), Relaxed);
            let result =
                unsafe { fault::try_compare_exchange(place, current, new, success, failure) };
            let changed = done(&result, size, write, what);
            if let Ok(outcome) = result {
                assert_eq!(outcome, if current == old { Ok(old) } else { Err(old) }, "{}", what());
            }
            if current == old { changed } else { 0 }
        }
    };
    arena.shadow[at..at + changed].copy_from_slice(&bytes(&new)[..changed]);
    assert!(arena.check_near(at, size), "{}", what());
}

pub fn word(arena: &mut Arena, _: &mut Buffer, dice: &mut Dice) {
    match dice.roll(4) {
        0 => atomic::<u8>(arena, dice),
        1 => atomic::<i16>(arena, dice),
        2 => atomic::<u32>(arena, dice),
        _ => atomic::<usize>(arena, dice),
    }
}
