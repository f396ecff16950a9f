//! Handlers that do what no handler should: they leave deferrals, unsubscribe, panic, take signals behind
//! sigplane's back and chain to it. Each scenario once hung, looped, killed the process or ran code where
//! none may run. The point "Foreign handlers", and BRIEF §6.3.

use sigplane::send::{Value, raise, raise_with};
use sigplane::{Removal, Signal, Subscription, Verdict, on, subscribe, thread};
use sigplane_tests::raw::{self, bit, install};
use sigplane_tests::{Suite, eventually};
use std::ffi::c_void;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering::SeqCst};

unsafe extern "C" {
    safe fn hostile_usurp(signal: i32, place: i32, jump: i32) -> i32;
    safe fn hostile_entered(place: i32) -> i32;
    fn foreign_jump(signal: i32);
    fn foreign_land(interrupted: extern "C" fn(*mut c_void), argument: *mut c_void) -> i32;
}

const USR1: i32 = libc::SIGUSR1;

/// How often immediate entries, and the foreign handler that was there first, have run.
static ENTRIES: AtomicUsize = AtomicUsize::new(0);
static BASE: AtomicUsize = AtomicUsize::new(0);
/// How deep a handler stands on top of itself, and the deepest yet.
static DEPTH: AtomicUsize = AtomicUsize::new(0);
static DEEPEST: AtomicUsize = AtomicUsize::new(0);
/// What was blocked in every run of a handler.
static BLOCKED: AtomicU64 = AtomicU64::new(u64::MAX);

extern "C" fn base(_: i32) {
    BASE.fetch_add(1, SeqCst);
}

fn base_first(signal: i32) {
    install(signal, base as extern "C" fn(i32) as usize, 0, &[]);
}

/// An immediate entry that says so.
fn entry(signal: Signal, verdict: Verdict) -> Subscription {
    // SAFETY: the handler makes a system call and writes to atomics.
    let subscribed = unsafe {
        subscribe(signal).immediate(move |_| {
            ENTRIES.fetch_add(1, SeqCst);
            BLOCKED.fetch_and(raw::mask(), SeqCst);
            verdict
        })
    };
    subscribed.expect("subscribed")
}

/// Entries, first handler, first usurper, second usurper: how often each ran since the last look.
fn runs() -> (usize, usize, i32, i32) {
    (ENTRIES.swap(0, SeqCst), BASE.swap(0, SeqCst), hostile_entered(0), hostile_entered(1))
}

fn usurp(signal: i32, place: i32, jump: i32) {
    assert_eq!(hostile_usurp(signal, place, jump), 1, "there is a handler to chain to");
}

fn rt() -> Signal {
    Signal::rt(2).unwrap()
}

/// Sends so many to this thread while it is deferred; afterwards the deferral is over.
fn in_a_section(count: i32) {
    let _section = sigplane::defer();
    for n in 0..count {
        raise_with(rt(), Value::from_int(n)).unwrap();
    }
}

fn nested(inside: impl FnOnce()) {
    let depth = DEPTH.fetch_add(1, SeqCst) + 1;
    DEEPEST.fetch_max(depth, SeqCst);
    BLOCKED.fetch_and(raw::mask(), SeqCst);
    inside();
    DEPTH.fetch_sub(1, SeqCst);
}

// The end of a deferral inside an immediate entry would be taken for a safe point: the closure of the
// waiting event would run in the handler, where it may not allocate or lock.
fn leaving_in_an_entry_runs_nothing() {
    static RAN: AtomicUsize = AtomicUsize::new(0);
    static TOO_EARLY: AtomicBool = AtomicBool::new(false);
    let _waits = subscribe(Signal::USR1).thread(|_| _ = RAN.fetch_add(1, SeqCst)).unwrap();
    // SAFETY: the thread is attached: the handler only enters and leaves a deferral.
    let leaves = unsafe {
        subscribe(Signal::USR2).immediate(|_| {
            let before = RAN.load(SeqCst);
            drop(sigplane::defer());
            TOO_EARLY.fetch_or(RAN.load(SeqCst) != before, SeqCst);
            ENTRIES.fetch_add(1, SeqCst);
            Verdict::Handled
        })
    };
    let _leaves = leaves.unwrap();
    {
        let _section = sigplane::defer();
        raise(Signal::USR1).unwrap();
        raise(Signal::USR2).unwrap();
    }
    assert_eq!((ENTRIES.load(SeqCst), RAN.load(SeqCst)), (1, 1), "at the end of the outer one");
    raise(Signal::USR1).unwrap();
    raise(Signal::USR2).unwrap();
    assert_eq!((ENTRIES.load(SeqCst), TOO_EARLY.load(SeqCst)), (2, false));
    thread::poll();
    assert_eq!(RAN.load(SeqCst), 2, "at the next safe point");
}

// The same with more events than a deferral has places for: leaving the inner one would put back the
// outer one's mask, unblock everything in the entry, and run the entry on top of itself.
fn leaving_in_an_entry_unblocks_nothing() {
    // SAFETY: as above.
    let leaves = unsafe {
        subscribe(rt()).immediate(|_| {
            nested(|| drop(sigplane::defer()));
            BLOCKED.fetch_and(raw::mask(), SeqCst);
            ENTRIES.fetch_add(1, SeqCst);
            Verdict::Handled
        })
    };
    let _leaves = leaves.unwrap();
    let before = raw::mask();
    in_a_section(12);
    assert_eq!((ENTRIES.load(SeqCst), DEEPEST.load(SeqCst), raw::mask()), (12, 1, before));
    let wanted = bit(USR1) | bit(libc::SIGUSR2) | bit(libc::SIGTERM) | bit(rt().number());
    assert_eq!(BLOCKED.load(SeqCst) & wanted, wanted);
}

static ORDER: [AtomicI32; 16] = [const { AtomicI32::new(-1) }; 16];

extern "C" fn defers(_: i32, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: as the kernel passes it.
    let value = unsafe { (*info).si_value() }.sival_ptr.addr() as i32;
    ORDER[BASE.fetch_add(1, SeqCst)].store(value, SeqCst);
    nested(|| drop(sigplane::defer()));
    BLOCKED.fetch_and(raw::mask(), SeqCst);
}

// A foreign handler without SA_NODEFER, called as a deferral ends, enters and leaves one itself: that
// would take its own signal out of its mask, run it on top of itself, and reorder what comes.
fn a_handler_that_defers_is_not_reentered() {
    type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void);
    install(rt().number(), defers as Handler as usize, libc::SA_SIGINFO, &[]);
    let inbox = subscribe(rt()).inbox().unwrap();
    in_a_section(12);
    let order: Vec<_> = ORDER[..12].iter().map(|value| value.load(SeqCst)).collect();
    assert_eq!(order, (0..12).collect::<Vec<_>>());
    assert_eq!((DEEPEST.load(SeqCst), inbox.len()), (1, 12));
    assert_ne!(BLOCKED.load(SeqCst) & bit(rt().number()), 0);
}

extern "C" fn sends_another(_: i32) {
    BASE.fetch_add(1, SeqCst);
    nested(|| assert!(raise(Signal::USR2).is_ok()));
}

// While the foreign handler of a deferred signal runs, another signal comes: what is still deferred
// would be delivered on top of the handler, which has its own signal blocked. With few events, with more
// than there are places, and with a queue that holds the signal.
fn a_deferred_handler_is_not_reentered() {
    install(rt().number(), sends_another as extern "C" fn(i32) as usize, 0, &[]);
    let others = subscribe(Signal::USR2).inbox().unwrap();
    for (count, capacity) in [(3, 64), (9, 64), (3, 1), (9, 1)] {
        let inbox = subscribe(rt()).observe().capacity(capacity).inbox().unwrap();
        in_a_section(count);
        let mut values = Vec::new();
        eventually("all of them", || {
            values.extend(inbox.try_iter().map(|event| event.value().unwrap().int()));
            values.len() == count as usize
        });
        let all: Vec<_> = (0..count).collect();
        assert_eq!((values, BASE.swap(0, SeqCst)), (all, count as usize));
        assert_eq!((DEEPEST.load(SeqCst), others.try_iter().count()), (1, count as usize));
    }
}

// Dropping a panic's payload panics in turn: that would end the dispatcher, and every later event of
// every subscriber would stay where it is.
fn a_payload_that_panics_ends_nothing() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("the payload's own");
        }
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    let _panics = on(Signal::USR1, move |_| {
        sender.send(()).unwrap();
        std::panic::panic_any(Bomb)
    });
    for _ in 0..3 {
        raise(Signal::USR1).unwrap();
        receiver.recv_timeout(sigplane_tests::DEADLINE).unwrap();
    }
}

// A subscription dropped by an immediate entry on a thread that sigplane has never seen: the drop would
// wait for the end of all handlers, this one included.
fn unsubscribing_on_an_unknown_thread() {
    static MINE: Mutex<Option<Subscription>> = Mutex::new(None);
    // SAFETY: nobody else locks it meanwhile, and ending a subscription is allowed in a handler.
    let subscribed = unsafe {
        subscribe(Signal::USR1).immediate(|_| {
            drop(MINE.lock().unwrap().take());
            Verdict::Handled
        })
    };
    *MINE.lock().unwrap() = Some(subscribed.unwrap());
    let raised = || assert_eq!(unsafe { libc::raise(USR1) }, 0);
    std::thread::spawn(raised).join().unwrap();
    assert!(MINE.lock().unwrap().is_none());
    eventually("its removal", || {
        sigplane::table().row(Signal::USR1).is_none_or(|row| row.entries.is_empty())
    });
}

// A usurper that chains, and behind it an entry that takes the signal: going in front of the usurper
// again would let its chaining reach the default action, and the second subscription kill the process.
fn a_chaining_usurper_does_not_kill() {
    for jump in [0, 1] {
        let first = subscribe(Signal::USR1).inbox().unwrap();
        usurp(USR1, 0, jump);
        raise(Signal::USR1).unwrap();
        assert_eq!((first.try_iter().count(), runs()), (1, (0, 0, 1, 0)), "behind, jump {jump}");
        let second = subscribe(Signal::USR1).inbox().unwrap();
        raise(Signal::USR1).unwrap();
        assert_eq!((first.len(), second.len(), runs()), (1, 1, (0, 0, 1, 0)), "jump {jump}");
        drop((first, second));
        raw::set_action(USR1, raw::Action::default());
    }
}

// A usurper that chains by a jump stands where the kernel's frame is: its call would be taken for the
// kernel's own. In front of us the entries would run with nothing blocked, behind us again and again.
fn a_usurper_that_ends_in_a_jump() {
    base_first(USR1);
    let _first = entry(Signal::USR1, Verdict::Handled);
    usurp(USR1, 0, 1);
    raise(Signal::USR1).unwrap();
    assert_eq!(runs(), (1, 1, 1, 0));
    assert_ne!(BLOCKED.load(SeqCst) & bit(libc::SIGUSR2), 0, "blocked in the entry");
    let _second = entry(Signal::USR1, Verdict::Handled);
    raise(Signal::USR1).unwrap();
    assert_eq!(runs(), (2, 1, 1, 0));
}

// All entries leave behind a usurper and others come: with what the usurper has kept forgotten, it would
// chain to the entries again, which would go on to it again, until the stack ends.
fn leaving_and_coming_back_behind_a_usurper() {
    base_first(USR1);
    let first = entry(Signal::USR1, Verdict::Handled);
    usurp(USR1, 0, 0);
    assert_eq!(first.unsubscribe(), Removal::TakenOver);
    let _second = entry(Signal::USR1, Verdict::Handled);
    raise(Signal::USR1).unwrap();
    assert_eq!(runs(), (1, 1, 1, 0));
}

// One usurper is behind us again and a second one in front, chaining politely: its call would be taken
// for the first one's, and pass by the entries and the first usurper.
fn a_second_usurper_hides_nothing() {
    base_first(USR1);
    let _first = entry(Signal::USR1, Verdict::Handled);
    usurp(USR1, 0, 0);
    let _second = entry(Signal::USR1, Verdict::Handled);
    usurp(USR1, 1, 0);
    raise(Signal::USR1).unwrap();
    assert_eq!(runs(), (2, 1, 1, 1));
}

extern "C" fn fault(_: *mut c_void) {
    // SAFETY: none: it is meant to fault.
    unsafe { std::ptr::with_exposed_provenance::<u8>(8).read_volatile() };
}

// Faults that a usurper chains, from in front of us and from behind us again: an entry would be passed
// by or run twice, or the handler that was first, which ends the fault by a jump, never be reached.
fn usurped_faults_run_each_handler_once() {
    // SAFETY: the frame that is jumped over owns nothing.
    let jumped = || unsafe { foreign_land(fault, std::ptr::null_mut()) };
    for jump in [0, 1] {
        install(libc::SIGSEGV, foreign_jump as *const () as usize, 0, &[]);
        let mask = raw::mask();
        let first = entry(Signal::SEGV, Verdict::Pass);
        usurp(libc::SIGSEGV, 0, jump);
        assert_eq!((jumped(), runs()), (1, (1, 0, 1, 0)), "in front, jump {jump}");
        let second = entry(Signal::SEGV, Verdict::Pass);
        for _ in 0..3 {
            assert_eq!((jumped(), runs()), (1, (2, 0, 1, 0)), "behind, jump {jump}");
        }
        drop((first, second));
        assert_eq!(raw::mask(), mask);
        raw::set_action(libc::SIGSEGV, raw::Action::default());
    }
}

fn main() {
    Suite {
        tests: &[
            ("leaving_in_an_entry_runs_nothing", leaving_in_an_entry_runs_nothing),
            ("leaving_in_an_entry_unblocks_nothing", leaving_in_an_entry_unblocks_nothing),
            ("a_handler_that_defers_is_not_reentered", a_handler_that_defers_is_not_reentered),
            ("a_deferred_handler_is_not_reentered", a_deferred_handler_is_not_reentered),
            ("a_payload_that_panics_ends_nothing", a_payload_that_panics_ends_nothing),
            ("unsubscribing_on_an_unknown_thread", unsubscribing_on_an_unknown_thread),
            ("a_chaining_usurper_does_not_kill", a_chaining_usurper_does_not_kill),
            ("a_usurper_that_ends_in_a_jump", a_usurper_that_ends_in_a_jump),
            ("leaving_and_coming_back_behind_a_usurper", leaving_and_coming_back_behind_a_usurper),
            ("a_second_usurper_hides_nothing", a_second_usurper_hides_nothing),
            ("usurped_faults_run_each_handler_once", usurped_faults_run_each_handler_once),
        ],
        victims: &[],
    }
    .main()
}
