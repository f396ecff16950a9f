//! Actions that end: in themselves, in each other, under a storm, and over a handler that leaves by a jump.
//! The published 1.4.8 hangs in all of these but the fourth, the storm. BRIEF §7 "Dispatch and removal".

#[path = "counting.rs"]
mod counting;

use counting::{calls, count, counts};
use signal_hook_registry::{SigId, register, unregister};
use sigplane::Signal;
use sigplane::send::{raise, to_thread};
use sigplane::thread;
use sigplane_tests::raw::{self, install};
use sigplane_tests::{Suite, eventually, quick};
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};

unsafe extern "C" {
    fn foreign_jump(signal: i32);
    fn foreign_land(interrupted: extern "C" fn(*mut c_void), argument: *mut c_void) -> i32;
}

/// Registers an action that ends the one in `whom` and counts; whether it found it is added to `FOUND`.
fn ends(signal: i32, whom: &'static OnceLock<SigId>, owned: Arc<()>) -> SigId {
    // SAFETY: `unregister` is async-signal-safe in an action; the rest changes atomics.
    let registered = unsafe {
        register(signal, move || {
            let _owned = &owned;
            FOUND.fetch_add(usize::from(unregister(*whom.get().unwrap())), SeqCst);
            count(1);
        })
    };
    registered.unwrap()
}

static FOUND: AtomicUsize = AtomicUsize::new(0);

// An action ends itself: it is called once, those around it go on, what it owned is dropped by the next call,
// and registrations go on too.
fn an_action_ends_itself() {
    static ITSELF: OnceLock<SigId> = OnceLock::new();
    let owned = Arc::new(());
    counts(libc::SIGUSR1);
    ITSELF.set(ends(libc::SIGUSR1, &ITSELF, Arc::clone(&owned))).unwrap();
    counts(libc::SIGUSR1);
    raise(Signal::USR1).unwrap();
    assert_eq!((calls(), FOUND.load(SeqCst), Arc::strong_count(&owned)), (3, 1, 2));
    raise(Signal::USR1).unwrap();
    assert_eq!(calls(), 2);
    assert!(!unregister(*ITSELF.get().unwrap()));
    counts(libc::SIGUSR2);
    assert_eq!(Arc::strong_count(&owned), 1);
}

// An action ends another one, whose turn has not come yet: it does not come. And one of another signal.
fn an_action_ends_others() {
    static SAME: OnceLock<SigId> = OnceLock::new();
    static OTHER: OnceLock<SigId> = OnceLock::new();
    ends(libc::SIGUSR1, &SAME, Arc::default());
    ends(libc::SIGUSR1, &OTHER, Arc::default());
    SAME.set(counts(libc::SIGUSR1)).unwrap();
    OTHER.set(counts(libc::SIGTERM)).unwrap();
    for found in [2, 2] {
        raise(Signal::USR1).unwrap();
        assert_eq!((calls(), FOUND.load(SeqCst)), (2, found));
    }
    raise(Signal::TERM).unwrap();
    assert_eq!(calls(), 0);
}

// On a thread that sigplane has never seen, an action ends itself as well.
fn an_action_ends_itself_on_a_foreign_thread() {
    static ITSELF: OnceLock<SigId> = OnceLock::new();
    ITSELF.set(ends(libc::SIGUSR1, &ITSELF, Arc::default())).unwrap();
    std::thread::spawn(|| {
        // SAFETY: sends a signal to this thread.
        unsafe { libc::raise(libc::SIGUSR1) };
    })
    .join()
    .unwrap();
    raise(Signal::USR1).unwrap();
    assert_eq!((calls(), FOUND.load(SeqCst)), (1, 1));
    counts(libc::SIGUSR1);
}

// When `unregister` returns, the action is not running and does not run again: 2 threads do 10,000 rounds of
// registering and ending under a storm on themselves by 2 others.
fn ending_is_quiescent_under_a_storm() {
    static INSIDE: AtomicUsize = AtomicUsize::new(0);
    let (stop, rounds) = (AtomicBool::new(false), quick(10_000) / 2);
    let tids = [const { AtomicI32::new(0) }; 2];
    let late = Arc::new(AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let leavers = tids.each_ref().map(|tid| {
            let late = &late;
            scope.spawn(move || {
                tid.store(thread::current().tid(), SeqCst);
                for _ in 0..rounds {
                    let dead = Arc::new(AtomicBool::new(false));
                    let (action, count) = (Arc::clone(&dead), Arc::clone(late));
                    // SAFETY: changes atomics.
                    let registered = unsafe {
                        register(libc::SIGUSR1, move || {
                            INSIDE.fetch_add(1, SeqCst);
                            (0..50).for_each(|_| std::hint::spin_loop());
                            count.fetch_add(usize::from(action.load(SeqCst)), SeqCst);
                        })
                    };
                    assert!(unregister(registered.unwrap()));
                    dead.store(true, SeqCst);
                    // What it owned has been dropped with it.
                    assert_eq!(Arc::strong_count(&dead), 1);
                }
            })
        });
        for tid in &tids {
            scope.spawn(|| {
                eventually("the thread has begun", || tid.load(SeqCst) != 0);
                while !stop.load(SeqCst) {
                    let _gone_at_the_end = to_thread(tid.load(SeqCst), Signal::USR1);
                }
            });
        }
        let ends = leavers.map(|leaver| leaver.join());
        stop.store(true, SeqCst);
        assert!(ends.iter().all(Result::is_ok), "{ends:?}");
    });
    assert!(INSIDE.load(SeqCst) > 0, "the storm has met actions");
    assert_eq!(late.load(SeqCst), 0, "actions that ran after their end");
}

extern "C" fn send(_: *mut c_void) {
    raise(Signal::USR1).unwrap();
}

// The handler that was there first leaves by siglongjmp, 1,000 times; between, actions come and go and are
// found to work when it is gone. The published crate's next registration would wait for ever.
fn a_previous_handler_jumps() {
    install(libc::SIGUSR1, foreign_jump as *const () as usize, 0, &[]);
    counts(libc::SIGUSR1);
    let mask = raw::mask();
    for _ in 0..quick(1_000) {
        // SAFETY: the frames that are jumped over own nothing.
        let jumps = unsafe { foreign_land(send, std::ptr::null_mut()) };
        assert_eq!((jumps, calls(), raw::mask()), (1, 0, mask));
        let (here, there) = (counts(libc::SIGUSR1), counts(libc::SIGUSR2));
        raise(Signal::USR2).unwrap();
        assert_eq!((calls(), unregister(here), unregister(there)), (1, true, true));
    }
}

fn main() {
    Suite {
        tests: &[
            ("an_action_ends_itself", an_action_ends_itself),
            ("an_action_ends_others", an_action_ends_others),
            (
                "an_action_ends_itself_on_a_foreign_thread",
                an_action_ends_itself_on_a_foreign_thread,
            ),
            ("ending_is_quiescent_under_a_storm", ending_is_quiescent_under_a_storm),
            ("a_previous_handler_jumps", a_previous_handler_jumps),
        ],
        victims: &[],
    }
    .main()
}
