//! Registered actions among sigplane's subscriptions, handlers put in behind their back, and forks. Issue
//! "What to build", "signal-hook-registry, both ways": users move onto sigplane's table.

#[path = "counting.rs"]
mod counting;

use counting::{calls, count, counts};
use signal_hook_registry::unregister;
use sigplane::send::{raise, to_process};
use sigplane::{Removal, Signal, subscribe, table};
use sigplane_tests::Suite;
use sigplane_tests::raw::{self, install};

// A subscription and an action of the same signal both see it; the table shows both, and for the action the
// line that registered it.
fn shares_the_table() {
    let inbox = subscribe(Signal::HUP).name("the other").inbox().unwrap();
    let (id, line) = (counts(libc::SIGHUP), line!());
    raise(Signal::HUP).unwrap();
    assert_eq!((calls(), inbox.recv().signal()), (1, Signal::HUP));
    let row = table().row(Signal::HUP).unwrap().clone();
    assert!(row.ours);
    let names: Vec<_> = row.entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!((names[0], names.len()), ("the other", 3));
    assert!(row.entries[1].location.contains("neighbours.rs"), "{} near {line}", names[1]);
    assert_eq!(names[2], "signal-hook-registry: stays caught");
    // The subscription goes, the signal stays caught; the action goes, the subscription would still be told.
    assert_eq!(inbox.unsubscribe(), Removal::Restored);
    raise(Signal::HUP).unwrap();
    assert_eq!(calls(), 1);
    assert!(unregister(id));
    let inbox = subscribe(Signal::HUP).inbox().unwrap();
    raise(Signal::HUP).unwrap();
    assert_eq!((calls(), inbox.recv().signal()), (0, Signal::HUP));
}

extern "C" fn takes(_: i32) {
    count(100);
}

// Somebody puts a handler over ours and does not chain: it has the signal, until the next registration, which
// takes it into the chain.
fn a_taker_is_taken_in() {
    counts(libc::SIGUSR1);
    install(libc::SIGUSR1, takes as *const () as usize, 0, &[]);
    raise(Signal::USR1).unwrap();
    assert_eq!(calls(), 100);
    let second = counts(libc::SIGUSR1);
    raise(Signal::USR1).unwrap();
    assert_eq!(calls(), 102);
    assert!(unregister(second));
    raise(Signal::USR1).unwrap();
    assert_eq!(calls(), 101);
}

// An ignored signal (nohup) is caught by registering, and stays caught.
fn an_ignored_signal_is_caught() {
    raw::set_action(libc::SIGHUP, raw::Action { handler: libc::SIG_IGN, ..Default::default() });
    let id = counts(libc::SIGHUP);
    raise(Signal::HUP).unwrap();
    assert_eq!((calls(), unregister(id)), (1, true));
    raise(Signal::HUP).unwrap();
    assert!(table().row(Signal::HUP).unwrap().ours);
}

// A forked child has its parent's actions, and may end them and register others; the parent keeps its own.
fn a_forked_child_has_them_too() {
    let id = counts(libc::SIGTERM);
    // SAFETY: the process has one thread of the test's; the child makes few calls and exits.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let raised = raise(Signal::TERM).is_ok() && calls() == 1;
        let ended = unregister(id) && raise(Signal::TERM).is_ok() && calls() == 0;
        counts(libc::SIGTERM);
        let again = raise(Signal::TERM).is_ok() && calls() == 1;
        // SAFETY: ends the child.
        unsafe { libc::_exit(if raised && ended && again { 0 } else { 1 }) };
    }
    let mut status = -1;
    // SAFETY: `status` is valid.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
    to_process(std::process::id() as i32, Signal::TERM).unwrap();
    assert_eq!((calls(), unregister(id)), (1, true));
}

fn main() {
    Suite {
        tests: &[
            ("shares_the_table", shares_the_table),
            ("a_taker_is_taken_in", a_taker_is_taken_in),
            ("an_ignored_signal_is_caught", an_ignored_signal_is_caught),
            ("a_forked_child_has_them_too", a_forked_child_has_them_too),
        ],
        victims: &[],
    }
    .main()
}
