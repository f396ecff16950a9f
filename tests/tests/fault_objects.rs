//! Fixups of many objects: C objects opened, closed, preloaded, linked, copied and forked; plugins with a
//! copy of sigplane; tables that are refused. Acceptance line 4 of the issue, "Fixup tables" of what it
//! says to build, and BRIEF §7 ("After `dlclose` of a DSO …") and §8.
//!
//! The objects are those of `victims/objects/`, made by the build script as plain C99 and C++17 with every
//! warning an error.

#[path = "fault_objects/forms.rs"]
mod forms;
#[path = "fault_objects/object.rs"]
mod object;
#[path = "fault_objects/refusals.rs"]
mod refusals;

use object::{FIXUPS, FIXUPS_O0, NULL, Object, listed, unmapped};
use sigplane::{fault, thread};
use sigplane_tests::{Running, Suite, eventually, quick, victim};
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

/// The object that comes and goes: its function while it may be used.
static PROBE: RwLock<Option<extern "C" fn(usize) -> i32>> = RwLock::new(None);

/// Ends the threads of a test, also when it fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

// Issue line 4: an object with fixups, opened, faulting on four threads, closed and opened again 10,000
// times, while the fixups of the executable and of another object are used all the time.
fn opened_and_closed_10_000_times() {
    fault::enable().unwrap();
    let other = Object::open(FIXUPS_O0);
    let before = listed();
    let (stop, counts) = (AtomicBool::new(false), [const { AtomicU64::new(0) }; 4]);
    let elsewhere = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for (number, count) in counts.iter().enumerate() {
            let (stop, other, elsewhere) = (&stop, &other, &elsewhere);
            scope.spawn(move || {
                if number % 2 == 0 {
                    thread::current();
                }
                while !stop.load(SeqCst) {
                    if let Some(probe) = *PROBE.read().unwrap() {
                        assert_eq!(probe(NULL), 0, "its fixup");
                        count.fetch_add(1, SeqCst);
                    }
                    assert_eq!((other.probe)(unmapped()), 0, "the other object's fixup");
                    assert!(fault::try_read::<u8>(std::ptr::null()).is_err(), "our own");
                    elsewhere.fetch_add(1, SeqCst);
                }
            });
        }
        let _stop = Stop(&stop);
        let all = || counts.each_ref().map(|count| count.load(SeqCst));
        for round in 0..quick(10_000) {
            let object = Object::open(FIXUPS);
            assert_eq!((object.state)(), 0, "in round {round}");
            let started = all();
            *PROBE.write().unwrap() = Some(object.probe);
            assert_eq!((object.probe)(NULL), 0);
            if round % 20 == 0 {
                eventually("a fault on each thread", || {
                    std::iter::zip(all(), started).all(|(now, then)| now > then)
                });
            }
            *PROBE.write().unwrap() = None;
            object.close();
        }
    });
    assert_eq!(listed(), before, "it is not registered any more");
    let used = counts.each_ref().map(|count| count.load(SeqCst));
    println!("faults in it: {used:?}, in others: {}", elsewhere.into_inner());
    assert!(fault::try_read::<u8>(std::ptr::null()).is_err());
}

// … after the last close its range takes the default path: the same code, mapped at the same address, has
// no fixup.
fn its_former_range_takes_the_default_path() {
    for (what, expected, line) in
        [("open", None, "survived"), ("closed", Some(libc::SIGSEGV), "mapped again")]
    {
        let mut command = victim("the_same_code_again");
        command.env("SIGPLANE_TEST_WHAT", what);
        let (exit, output) = Running::start(command).finish();
        assert_eq!(exit.signal(), expected, "{what}: {exit:?} {output}");
        assert_eq!(output.lines().last(), Some(line), "{what}: {output}");
    }
}

fn the_same_code_again() {
    const PAGE: usize = 4096;
    fault::enable().unwrap();
    let object = Object::open(FIXUPS);
    let (probe, page) = (object.probe, object.probe as usize & !(PAGE - 1));
    assert_eq!((object.instruction)() & !(PAGE - 1), page, "the function and its instruction");
    assert_eq!(probe(NULL), 0);
    // The code, and the table: what is left of a registration would find it as it was.
    let pages = [page, object.table().start & !(PAGE - 1)];
    // SAFETY: two pages of the object, which can be read.
    let copies = pages.map(|page| unsafe { *(page as *const [u8; PAGE]) });
    if std::env::var("SIGPLANE_TEST_WHAT").unwrap() == "closed" {
        object.close();
        for (page, copy) in std::iter::zip(pages, copies) {
            // SAFETY: nothing is mapped there any more, or this fails.
            unsafe {
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
                let access = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
                let at = libc::mmap(page as *mut _, PAGE, access, flags, -1, 0);
                assert_eq!(at as usize, page, "{}", std::io::Error::last_os_error());
                at.cast::<[u8; PAGE]>().write(copy);
            }
        }
        println!("mapped again");
    }
    let byte = 1u8;
    assert_eq!(probe(&raw const byte as usize), 1, "the code works");
    assert_eq!(probe(NULL), 0);
    println!("survived");
}

// The look-up while four threads register and remove tables, 100,000 times in all: no fault misses its
// fixup, none takes a wrong one.
fn looked_up_while_tables_come_and_go() {
    fault::enable().unwrap();
    let before = listed();
    let (stop, faults) = (AtomicBool::new(false), AtomicU64::new(0));
    let object = Object::open(FIXUPS);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|number| {
                scope.spawn(move || {
                    let table = refusals::Table::new(64);
                    for entry in 0..64 {
                        table.set(entry, [entry * 8, entry * 8 + 4, 4000]);
                    }
                    for _ in 0..quick(100_000) / 4 {
                        // SAFETY: the table stays; nothing executes what it names.
                        unsafe { fault::register(table.bounds(64)) }.unwrap();
                        fault::unregister(table.bounds(64).start).unwrap();
                    }
                    number
                })
            })
            .collect();
        for number in 0..2 {
            let (stop, faults, object) = (&stop, &faults, &object);
            scope.spawn(move || {
                if number == 0 {
                    thread::current();
                }
                while !stop.load(SeqCst) {
                    assert_eq!((object.probe)(NULL), 0);
                    assert_eq!(
                        fault::try_read::<u8>(8 as *const u8).unwrap_err().address(),
                        Some(8)
                    );
                    faults.fetch_add(1, SeqCst);
                }
            });
        }
        let _stop = Stop(&stop);
        writers.into_iter().for_each(|writer| assert!(writer.join().unwrap() < 4));
    });
    object.close();
    assert_eq!(listed(), before);
    assert!(faults.into_inner() > 0);
}

fn main() {
    Suite {
        tests: &[
            ("opened_and_closed_10_000_times", opened_and_closed_10_000_times),
            ("its_former_range_takes_the_default_path", its_former_range_takes_the_default_path),
            ("looked_up_while_tables_come_and_go", looked_up_while_tables_come_and_go),
            ("refused", refusals::refused),
            ("refused_misshapen_twice_unknown", refusals::refused_misshapen_twice_unknown),
            ("random_tables", refusals::random_tables),
            ("compiled_in_many_ways", forms::compiled_in_many_ways),
            ("linked_into_the_executable", forms::linked_into_the_executable),
            ("inline_in_two_units_of_cxx", forms::inline_in_two_units_of_cxx),
            ("opened_before_sigplane_is_enabled", forms::opened_before_sigplane_is_enabled),
            ("preloaded", forms::preloaded),
            ("linked_at_start", forms::linked_at_start),
            ("two_copies", forms::two_copies),
            ("another_namespace", forms::another_namespace),
            ("in_a_forked_child", forms::in_a_forked_child),
            ("never_unloaded", forms::never_unloaded),
            ("closed_when_others_have_the_signals", forms::closed_when_others_have_the_signals),
            ("a_plugin_in_rust", forms::a_plugin_in_rust),
        ],
        victims: &[
            ("the_same_code_again", the_same_code_again),
            ("preloaded_victim", forms::preloaded_victim),
        ],
    }
    .main()
}
