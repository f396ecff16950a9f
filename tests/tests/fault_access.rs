//! Safe access: exactly as many bytes as could be done, the right ones, nothing else touched, and a fault
//! that says what was wrong where.
//!
//! Issue "Faults", what must be shown, 2. The modules: `arena`, pages in known states; `ops`, one random
//! case of each function with its prediction; `edges`, the ends of the address space and of pages;
//! `races`, pages that come and go meanwhile; `places`, the contexts that access may happen in.

use sigplane_tests::{Dice, Suite, quick};

#[path = "fault_access/arena.rs"]
mod arena;
#[path = "fault_access/edges.rs"]
mod edges;
#[path = "fault_access/ops.rs"]
mod ops;
#[path = "fault_access/places.rs"]
mod places;
#[path = "fault_access/races.rs"]
mod races;

use arena::Arena;
use ops::Buffer;

type Case = fn(&mut Arena, &mut Buffer, &mut Dice);

/// What access leaves `errno` at.
pub const ERRNO: i32 = 4321;

pub fn errno() -> &'static mut i32 {
    unsafe { &mut *libc::__errno_location() }
}

/// How many cases pages keep their states for.
const LAYOUT: u64 = 10_000;

/// Runs random cases in an arena, and looks at all of it now and then.
pub fn storm(arena: &mut Arena, dice: &mut Dice, count: u64, strings: bool, cases: &[Case]) {
    let mut buffer = Buffer::new();
    let mut left = count;
    while left > 0 {
        // From one bad page among 400 to one of two.
        arena.shuffle([400, 400, 100, 20, 8, 2][dice.roll(6) as usize], dice);
        let zeros = strings.then(|| dice.roll(2000));
        arena.fill(zeros, dice);
        let round = left.min(LAYOUT);
        *errno() = ERRNO;
        for case in 0..round {
            cases[dice.roll(cases.len() as u64) as usize](arena, &mut buffer, dice);
            if case % 1024 == 0 {
                assert!(arena.check(), "something else has been written to");
            }
        }
        assert_eq!(*errno(), ERRNO);
        assert!(arena.check(), "something else has been written to");
        left -= round;
    }
}

fn report(count: u64) {
    let faults = sigplane::table().faults.by_fixup;
    println!("{count} cases, {faults} faults");
}

/// Issue, "What must be shown", 2: `try_copy` and its kin over random layouts, alignments and lengths.
fn copies() {
    let (mut dice, count) = (Dice::new(), quick(2_400_000));
    let mut arena = Arena::new(0, &mut dice);
    let cases = [ops::copy, ops::copy, ops::copy_from, ops::copy_to, ops::fill];
    storm(&mut arena, &mut dice, count, false, &cases);
    report(count);
}

/// The same for strings.
fn strings() {
    let (mut dice, count) = (Dice::new(), quick(500_000));
    let mut arena = Arena::new(0, &mut dice);
    storm(&mut arena, &mut dice, count, true, &[ops::strlen, ops::c_str]);
    report(count);
}

/// The same for values of every size, and for atomic words.
fn values() {
    let (mut dice, count) = (Dice::new(), quick(1_200_000));
    let mut arena = Arena::new(0, &mut dice);
    storm(&mut arena, &mut dice, count, false, &[ops::scalar, ops::scalar, ops::word]);
    report(count);
}

fn main() {
    Suite {
        tests: &[
            ("copies", copies),
            ("strings", strings),
            ("values", values),
            ("nothing_at_a_bad_address", edges::nothing_at_a_bad_address),
            ("ends_of_the_address_space", edges::ends_of_the_address_space),
            ("stores_across_pages", edges::stores_across_pages),
            ("sixteen_bytes_anywhere", edges::sixteen_bytes_anywhere),
            ("pages_protected_meanwhile", races::pages_protected_meanwhile),
            ("pages_truncated_meanwhile", races::pages_truncated_meanwhile),
            ("in_an_immediate_handler", places::in_an_immediate_handler),
            ("on_an_unattached_thread", places::on_an_unattached_thread),
            ("on_four_threads", places::on_four_threads),
            ("first_use_enables", places::first_use_enables),
            ("in_a_vfork_child", places::in_a_vfork_child),
            ("in_a_vfork_child_before", places::in_a_vfork_child_before),
        ],
        victims: &[("first", places::first)],
    }
    .main()
}
