//! Where access may happen: handlers, threads that sigplane knows nothing of, several at once, before
//! anything else of sigplane was used, vfork children.

use crate::arena::Arena;
use crate::{ERRNO, errno, ops, storm};
use sigplane::fault::{self, Access};
use sigplane::{FaultKind, Signal, Verdict, send, subscribe};
use sigplane_tests::{Dice, Exit, Running, quick, victim};
use std::ffi::c_void;
use std::ptr::{null, null_mut, without_provenance};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};

const ALL: [crate::Case; 6] =
    [ops::copy, ops::copy_from, ops::fill, ops::strlen, ops::scalar, ops::word];

/// What a handler does: a good copy, and a bad one of each sort. The number of wrong results.
fn in_handler(good: &[u8; 100]) -> usize {
    let mut copy = [0; 100];
    let copied = fault::try_copy_from(good.as_ptr(), &mut copy);
    let unread = fault::try_copy_from(null(), &mut copy);
    let unwritten = unsafe { fault::try_fill(null_mut(), 1, 100) };
    let value = fault::try_read::<u64>(without_provenance(8));
    usize::from(copied.is_err())
        + usize::from(copy != *good)
        + usize::from(unread.map_err(|fault| fault.access()) != Err(Some(Access::Read)))
        + usize::from(unwritten.map_err(|fault| fault.access()) != Err(Some(Access::Write)))
        + usize::from(value.map_err(|fault| fault.address()) != Err(Some(8)))
}

/// Async-signal safety: in an immediate handler, with everything asynchronous blocked, while the code it
/// interrupts does the same.
pub fn in_an_immediate_handler() {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    static WRONG: AtomicUsize = AtomicUsize::new(0);
    static GOOD: [u8; 100] = [3; 100];
    fault::enable().expect("this is no vfork child");
    let subscribed = unsafe {
        subscribe(Signal::USR1).immediate(|_| {
            WRONG.fetch_add(in_handler(&GOOD), Relaxed);
            RUNS.fetch_add(1, Relaxed);
            Verdict::Handled
        })
    };
    let _subscribed = subscribed.expect("it is free");
    let main = unsafe { libc::gettid() };
    let count = quick(5_000) as usize;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for sent in 0..count {
                send::to_thread(main, Signal::USR1).expect("it is alive");
                sigplane_tests::eventually("the handler", || RUNS.load(SeqCst) > sent);
            }
        });
        *errno() = ERRNO;
        while RUNS.load(SeqCst) < count {
            assert_eq!(in_handler(&GOOD), 0);
        }
        assert_eq!(*errno(), ERRNO);
    });
    assert_eq!(WRONG.load(SeqCst), 0);
}

/// A thread that was never attached, with nothing but the small alternate stack that Rust's runtime gives.
pub fn on_an_unattached_thread() {
    let thread = std::thread::spawn(|| {
        let mut dice = Dice::new();
        let mut arena = Arena::new(0, &mut dice);
        let before = sigplane::table().threads;
        storm(&mut arena, &mut dice, quick(100_000), false, &ALL);
        assert_eq!(sigplane::table().threads, before, "it was not attached by that");
    });
    thread.join().expect("it does not panic");
}

/// Each in an arena of its own.
pub fn on_four_threads() {
    std::thread::scope(|scope| {
        for number in 0..4 {
            scope.spawn(move || {
                if number % 2 == 0 {
                    let _attached = sigplane::thread::current();
                }
                let mut dice = Dice::new();
                let mut arena = Arena::new(number, &mut dice);
                storm(&mut arena, &mut dice, quick(100_000), false, &ALL);
            });
        }
    });
}

/// Whichever function comes first: it makes the signals sigplane's.
pub fn first_use_enables() {
    for first in ["read", "write", "copy", "fill", "length", "string", "load", "swap", "compare"] {
        let mut process = Running::start(victim("first"));
        process.tell(first);
        assert_eq!(process.wait(), Exit::Code(0), "{first}");
    }
}

pub fn first() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("what to do");
    let mut buffer = [0; 9];
    assert!(!sigplane::table().faults.enabled);
    let fault = unsafe {
        match line.trim_end() {
            "read" => fault::try_read::<u8>(null()).map(drop),
            "write" => fault::try_write(null_mut(), [1u8; 3]),
            "copy" => fault::try_copy(null(), buffer.as_mut_ptr(), 9),
            "fill" => fault::try_fill(null_mut(), 1, 9),
            "length" => fault::try_strlen(null(), 9).map(drop),
            "string" => fault::try_c_str(null(), &mut buffer).map(drop),
            "load" => fault::try_load::<u8>(null(), SeqCst).map(drop),
            "swap" => fault::try_store(null_mut(), 1u64, SeqCst),
            _ => fault::try_compare_exchange(null_mut(), 1u64, 2, SeqCst, SeqCst).map(drop),
        }
    };
    let fault = fault.expect_err("nothing is at 0");
    assert_eq!((fault.kind(), fault.address()), (FaultKind::Unmapped, Some(0)));
    assert!(sigplane::table().faults.enabled);
}

unsafe extern "C" {
    /// `tests/victims/vfork.c`: runs the body in a vfork child; its wait status.
    fn victim_vfork(body: unsafe extern "C" fn(*mut c_void) -> i32, argument: *mut c_void) -> i32;
}

fn vfork(body: unsafe extern "C" fn(*mut c_void) -> i32) -> i32 {
    let status = unsafe { victim_vfork(body, null_mut()) };
    assert!(libc::WIFEXITED(status), "{status:#x}");
    libc::WEXITSTATUS(status)
}

unsafe extern "C" fn access(_: *mut c_void) -> i32 {
    in_handler(&[5; 100]) as i32
}

unsafe extern "C" fn first_access(_: *mut c_void) -> i32 {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let panicked = std::panic::catch_unwind(|| fault::try_read::<u8>(null())).is_err();
    std::panic::set_hook(hook);
    i32::from(!panicked)
}

/// A child whose parent has enabled faults inherits the handlers.
pub fn in_a_vfork_child() {
    fault::enable().expect("this is no vfork child");
    for _ in 0..100 {
        assert_eq!(vfork(access), 0);
        assert_eq!(in_handler(&[6; 100]), 0);
    }
}

/// One whose parent has not panics, as documented, and changes nothing: the parent enables them later.
pub fn in_a_vfork_child_before() {
    assert_eq!(vfork(first_access), 0);
    assert!(!sigplane::table().faults.enabled);
    assert_eq!(in_handler(&[7; 100]), 0);
    assert!(sigplane::table().faults.enabled);
}
