//! `sigplane::legacy`: POSIX dispositions while others subscribe, unsubscribe and receive at the same time.
//! What the kernel has in the end must follow from what was set last, and no handler may ever run with parts
//! of two actions.

use sigplane::legacy::{self, Action};
use sigplane::{Signal, Verdict, subscribe};
use sigplane_tests::{Suite, quick, raw};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};

static FIRST: AtomicUsize = AtomicUsize::new(0);
static SECOND: AtomicUsize = AtomicUsize::new(0);
static MIXED: AtomicUsize = AtomicUsize::new(0);

const NUMBER: i32 = libc::SIGUSR1;

/// Each handler is set with a mask of its own, and sees whether it has that.
fn check(counter: &AtomicUsize, own: i32, other: i32) {
    counter.fetch_add(1, SeqCst);
    let mask = raw::mask();
    if mask & raw::bit(own) == 0 || mask & raw::bit(other) != 0 {
        MIXED.fetch_add(1, SeqCst);
    }
}

extern "C" fn first(_: i32) {
    check(&FIRST, libc::SIGHUP, libc::SIGALRM);
}

extern "C" fn second(_: i32) {
    check(&SECOND, libc::SIGALRM, libc::SIGHUP);
}

/// An action as libc would pass it to the kernel.
fn action(handler: extern "C" fn(i32), flags: i32, masked: i32) -> Action {
    raw::install(libc::SIGURG, handler as usize, 0, &[]);
    let restorer = raw::action(libc::SIGURG).restorer;
    let flags = flags as u32 as u64 | 0x0400_0000;
    Action { handler: handler as usize, flags, restorer, mask: raw::bit(masked) }
}

fn kernel(signal: i32) -> Action {
    let raw::Action { handler, flags, restorer, mask } = raw::action(signal);
    Action { handler, flags, restorer, mask }
}

fn subscribed() -> sigplane::Subscription {
    // SAFETY: the handler does nothing.
    unsafe { subscribe(Signal::USR1).observe().immediate(|_| Verdict::Pass) }.expect("subscribed")
}

fn send_to_self() {
    // SAFETY: a signal of ours to the calling thread.
    unsafe { libc::raise(NUMBER) };
}

/// Set and read back, word for word, with nobody else, with a subscriber, and after it has left: then the
/// kernel has what was set last.
fn read_back() {
    let (one, two) =
        (action(first, 0, libc::SIGHUP), action(second, libc::SA_RESTART, libc::SIGALRM));
    let before = legacy::sigaction(NUMBER, Some(&one)).unwrap();
    assert_eq!(before, Action::default());
    assert_eq!(kernel(NUMBER), one);
    let subscription = subscribed();
    assert_eq!(legacy::sigaction(NUMBER, None).unwrap(), one);
    assert_eq!(legacy::sigaction(NUMBER, Some(&two)).unwrap(), one);
    assert_eq!(legacy::sigaction(NUMBER, None).unwrap(), two);
    assert_ne!(kernel(NUMBER), two);
    send_to_self();
    assert_eq!((FIRST.load(SeqCst), SECOND.load(SeqCst), MIXED.load(SeqCst)), (0, 1, 0));
    drop(subscription);
    assert_eq!(kernel(NUMBER), two);
    assert_eq!(legacy::sigaction(NUMBER, Some(&before)).unwrap(), two);
    assert_eq!(kernel(NUMBER), before);
    for bad in [0, -1, 65, libc::SIGKILL, libc::SIGSTOP] {
        assert_eq!(legacy::sigaction(bad, Some(&one)), Err(libc::EINVAL), "{bad}");
    }
}

/// A query is answered without the kernel, and never wrongly: sets come in between.
fn queries_follow_sets() {
    let (one, two) = (action(first, 0, libc::SIGHUP), action(second, 0, libc::SIGALRM));
    for round in 0..quick(100_000) {
        let set = if round % 2 == 0 { one } else { two };
        legacy::set(NUMBER, &set).unwrap();
        assert_eq!(legacy::sigaction(NUMBER, None).unwrap(), set);
        assert_eq!(legacy::sigaction(NUMBER, None).unwrap(), set);
    }
    assert_eq!(kernel(NUMBER), legacy::sigaction(NUMBER, None).unwrap());
}

/// Two threads set, one subscribes and leaves, one asks, the main thread receives: no handler sees the mask of
/// another's action, and whenever all have come to rest, the kernel has the action that a query shows.
fn storm() {
    let actions = [action(first, 0, libc::SIGHUP), action(second, 0, libc::SIGALRM)];
    legacy::set(NUMBER, &actions[0]).unwrap();
    let mut received = 0;
    for _ in 0..quick(300) {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let stop = &stop;
                scope.spawn(move || {
                    raw::set_mask(u64::MAX);
                    let mut round = thread;
                    while !stop.load(SeqCst) {
                        let old = legacy::sigaction(NUMBER, Some(&actions[round % 2])).unwrap();
                        assert!(actions.contains(&old), "{old:?}");
                        round += 1;
                    }
                });
            }
            scope.spawn(|| {
                raw::set_mask(u64::MAX);
                while !stop.load(SeqCst) {
                    drop(subscribed());
                }
            });
            scope.spawn(|| {
                raw::set_mask(u64::MAX);
                while !stop.load(SeqCst) {
                    let now = legacy::sigaction(NUMBER, None).unwrap();
                    assert!(actions.contains(&now), "{now:?}");
                }
            });
            for _ in 0..50 {
                send_to_self();
                received += 1;
            }
            stop.store(true, SeqCst);
        });
        assert_eq!(kernel(NUMBER), legacy::sigaction(NUMBER, None).unwrap());
    }
    assert_eq!(FIRST.load(SeqCst) + SECOND.load(SeqCst), received);
    assert_eq!(MIXED.load(SeqCst), 0);
}

static CALLS: AtomicU64 = AtomicU64::new(0);

extern "C" fn once(_: i32) {
    CALLS.fetch_add(1, SeqCst);
}

/// `SA_RESETHAND` means once, also when four threads receive at the same time; the subscriber that handles
/// keeps the default from ending the process.
fn once_only() {
    // SAFETY: the handler does nothing.
    let _handles =
        unsafe { subscribe(Signal::USR1).immediate(|_| Verdict::Handled) }.expect("subscribed");
    let one_shot = action(once, libc::SA_RESETHAND, libc::SIGHUP);
    let spent = Action { handler: libc::SIG_DFL, ..one_shot };
    let barrier = std::sync::Barrier::new(4);
    let rounds = quick(5_000);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let barrier = &barrier;
            scope.spawn(move || {
                for round in 1..=rounds {
                    if thread == 0 {
                        legacy::set(NUMBER, &one_shot).unwrap();
                    }
                    barrier.wait();
                    send_to_self();
                    barrier.wait();
                    assert_eq!(CALLS.load(SeqCst), round);
                    assert_eq!(legacy::sigaction(NUMBER, None).unwrap(), spent);
                    barrier.wait();
                }
            });
        }
    });
}

fn main() {
    Suite {
        tests: &[
            ("read_back", read_back),
            ("queries_follow_sets", queries_follow_sets),
            ("storm", storm),
            ("once_only", once_only),
        ],
        victims: &[],
    }
    .main()
}
