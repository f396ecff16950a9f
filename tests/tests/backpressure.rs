//! Full queues: the policies and their counts, and back-pressure into the kernel where it is hard:
//! signals blocked by the program itself, a bell that is blocked, a kernel that has no room either.
//!
//! BRIEF §6.6 (never lose an event silently); issue "Core", *Queues*.

use sigplane::{Event, Inbox, Overflow, Removal, Signal, SignalSet, SubscriptionStats, send};
use sigplane_tests::{Running, Storm, Suite, eventually, mask, quick, sender};
use std::os::fd::AsRawFd;
use std::sync::Barrier;

fn rt() -> Signal {
    Signal::rt(2).expect("a real-time signal")
}

fn value(event: &Event) -> u64 {
    event.value().expect("a queued signal has a value").int() as u64
}

/// More than a send costs.
fn work() {
    for unit in 0..500 {
        std::hint::black_box(unit);
    }
}

/// Reads slowly until the value `last` has come; returns all values and what each stands for.
fn read_until(inbox: &Inbox, last: u64) -> Vec<(u64, u32)> {
    let mut seen = Vec::new();
    loop {
        let event = inbox.recv();
        seen.push((value(&event), event.instances()));
        work();
        if value(&event) == last {
            return seen;
        }
    }
}

/// Everything that was sent is in exactly one of the counts.
fn check_sum(stats: &SubscriptionStats, sent: u64) {
    let sum = stats.taken + stats.dropped + stats.discarded + stats.waiting;
    assert_eq!(sum as u64, sent, "{stats:?}");
}

fn ascending(seen: &[(u64, u32)]) {
    assert!(seen.is_sorted_by(|a, b| a.0 < b.0), "out of order, or twice");
}

/// A policy in a storm from another process: `after` gets what was read once all has been sent.
fn policy(overflow: Overflow, after: impl FnOnce(&Inbox, Vec<(u64, u32)>, u64)) {
    let sent = quick(50_000);
    let inbox =
        sigplane::subscribe(rt()).capacity(8).overflow(overflow).inbox().expect("subscribed");
    let mut storm = Storm::here(rt(), sent).start();
    let mut seen = Vec::new();
    let ended = std::thread::scope(|scope| {
        // The other thread takes no signal at any time.
        mask::block(SignalSet::all());
        let watch = scope.spawn(|| storm.wait().success());
        mask::unblock(SignalSet::all());
        // What is sent by now has been delivered: to this thread, the only one that takes signals.
        while !watch.is_finished() || !inbox.is_empty() {
            if let Some(event) = inbox.try_recv() {
                seen.push((value(&event), event.instances()));
                work();
            }
        }
        watch.join().expect("no panic")
    });
    assert!(ended);
    ascending(&seen);
    let stats = inbox.stats();
    check_sum(&stats, sent);
    assert!(!stats.holding, "a policy that drops does not push back");
    after(&inbox, seen, sent);
}

/// Coalesce: the instances add up to what was sent.
fn coalesce() {
    policy(Overflow::Coalesce, |inbox, seen, sent| {
        assert_eq!(seen.iter().map(|(_, instances)| u64::from(*instances)).sum::<u64>(), sent);
        assert!((seen.len() as u64) < sent, "some were merged");
        assert_eq!((inbox.stats().dropped, inbox.stats().queued as u64), (0, sent));
    });
}

/// DropNewest: what is queued is read; what found the queue full is counted.
fn drop_newest() {
    policy(Overflow::DropNewest, |inbox, seen, sent| {
        let stats = inbox.stats();
        assert_eq!((stats.queued, stats.taken), (seen.len(), seen.len()));
        assert_eq!((stats.queued + stats.dropped) as u64, sent);
        assert_eq!(seen[0].0, 0, "the first found room");
        assert!(stats.dropped > 0, "the queue was full at some time: {stats:?}");
    });
}

/// DropOldest: the last one sent is always among what is read.
fn drop_oldest() {
    policy(Overflow::DropOldest, |inbox, seen, sent| {
        let stats = inbox.stats();
        assert_eq!((stats.queued as u64, stats.taken), (sent, seen.len()));
        assert_eq!(seen.last().map(|(value, _)| *value), Some(sent - 1), "the newest is kept");
        assert!(stats.dropped > 0, "the queue was full at some time: {stats:?}");
    });
}

/// The policies step by step, with two places: exact counts, waiting ones included.
fn policies_by_hand() {
    let subscribe = |policy| {
        sigplane::subscribe(rt()).capacity(2).overflow(policy).inbox().expect("subscribed")
    };
    let all = [Overflow::Coalesce, Overflow::DropNewest, Overflow::DropOldest].map(subscribe);
    for value in 0..5 {
        send::raise_with(rt(), value.into()).expect("sent");
    }
    let counts = all.each_ref().map(Inbox::stats);
    let counts = counts.map(|stats| (stats.queued, stats.dropped, stats.waiting));
    assert_eq!(counts, [(5, 0, 1), (2, 3, 2), (5, 3, 2)], "merged ones wait as one");
    let read = all.each_ref().map(|inbox| {
        let event = inbox.try_recv().expect("one waits");
        (value(&event), event.instances())
    });
    assert_eq!(read, [(0, 5), (0, 1), (3, 1)]);
    all.iter().for_each(|inbox| while inbox.try_recv().is_some() {});
    all.iter().for_each(|inbox| check_sum(&inbox.stats(), 5));
}

/// The classic pattern: the signal is blocked except while the program waits in ppoll(2). The mask in
/// the interrupted context has it blocked anyway, so back-pressure by the mask alone changes nothing
/// there; still nothing is lost, and the program's own mask is left as it set it.
fn classic_ppoll() {
    let sent = quick(20_000);
    mask::block(rt());
    let before = mask::blocked();
    let inbox = sigplane::subscribe(rt()).capacity(1).inbox().expect("subscribed");
    let _storm = Storm::here(rt(), sent).start();
    let open = before.without(rt()).bits();
    let mut poll = libc::pollfd { fd: inbox.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut expected = 0;
    while expected < sent {
        let (pointer, none) = (&raw mut poll, std::ptr::null::<libc::timespec>());
        unsafe { libc::syscall(libc::SYS_ppoll, pointer, 1, none, &raw const open, 8) };
        // At most one at a time, so that the queue stays full.
        if let Some(event) = inbox.try_recv() {
            assert_eq!(value(&event), expected, "lost, doubled or out of order");
            expected += 1;
        }
        assert_eq!(mask::blocked(), before, "after {expected}: the program's mask is its own");
    }
}

/// The same with sigsuspend(2), and a reader on another thread.
fn classic_sigsuspend() {
    let sent = quick(20_000);
    mask::block(SignalSet::from([rt(), Signal::USR2]));
    let before = mask::blocked();
    let inbox = sigplane::subscribe(rt()).capacity(2).inbox().expect("subscribed");
    let done = sigplane::subscribe(Signal::USR2).inbox().expect("subscribed");
    let open = SignalSet::EMPTY.bits();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            // It inherited the mask: the main thread is the only receiver.
            let seen = read_until(&inbox, sent - 1);
            // Ends the last sigsuspend: the main thread has nothing else to wake it.
            send::to_process(std::process::id() as i32, Signal::USR2).expect("sent");
            seen
        });
        let _storm = Storm::here(rt(), sent).start();
        while done.try_recv().is_none() {
            unsafe { libc::syscall(libc::SYS_rt_sigsuspend, &raw const open, 8) };
            assert_eq!(mask::blocked(), before, "the program's mask is its own");
        }
        let seen = reader.join().expect("no panic");
        ascending(&seen);
        assert_eq!(seen.len() as u64, sent, "nothing lost");
    });
}

/// The kernel has no room either (`RLIMIT_SIGPENDING`): the sender is told so and tries again; what the
/// kernel has accepted arrives, and the bell that ends the back-pressure gets through without room.
fn kernel_is_full() {
    let limit = libc::rlimit { rlim_cur: 40, rlim_max: 40 };
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_SIGPENDING, &raw const limit) }, 0);
    let sent = quick(20_000);
    let inbox = sigplane::subscribe(rt()).capacity(4).inbox().expect("subscribed");
    let start = Barrier::new(2);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            mask::block(SignalSet::all());
            start.wait();
            start.wait();
            read_until(&inbox, sent - 1)
        });
        start.wait(); // From here on the main thread is the only receiver.
        let mut storm: Running = Storm::here(rt(), sent).start();
        storm.expect("full"); // EAGAIN, which `is_retryable`; the sender checks that
        assert!(inbox.stats().holding, "the queue holds the signal back");
        start.wait();
        storm.expect("done");
        eventually("the last event", || reader.is_finished());
        let seen = reader.join().expect("no panic");
        ascending(&seen);
        assert_eq!(seen.len() as u64, sent, "nothing lost");
    });
    assert_eq!(sigplane::table().row(rt()).expect("subscribed").lost, 0);
}

/// The receiver has SIGURG blocked, by which other threads tell it to go on: it hears the bell all the
/// same, and its mask is as it was afterwards.
fn bell_is_blocked() {
    let sent = quick(20_000);
    mask::block(Signal::URG);
    let before = mask::blocked();
    let inbox = sigplane::subscribe(rt()).capacity(4).inbox().expect("subscribed");
    let start = Barrier::new(2);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            mask::block(SignalSet::all());
            start.wait();
            start.wait();
            read_until(&inbox, sent - 1)
        });
        start.wait(); // From here on the main thread is the only receiver.
        let mut storm = Storm::here(rt(), sent).start();
        start.wait();
        storm.expect("done");
        eventually("the last event", || reader.is_finished());
        assert_eq!(reader.join().expect("no panic").len() as u64, sent, "nothing lost");
    });
    assert!(inbox.stats().deepest >= 4, "the queue was full at some time");
    eventually("the mask as it was", || mask::blocked() == before);
}

/// Ending a subscription whose queue is full lets the threads go on that it holds: another subscriber
/// of the signal gets the rest, and the end is clean.
fn unsubscribing_releases() {
    let full = sigplane::subscribe(rt()).name("full").capacity(4).inbox().expect("subscribed");
    let other = sigplane::subscribe(rt()).name("other").inbox().expect("subscribed");
    for value in 0..50 {
        send::raise_with(rt(), value.into()).expect("sent");
    }
    assert!(full.stats().holding);
    assert!(mask::blocked().contains(rt()), "the rest waits in the kernel");
    assert_eq!(other.len(), 4);
    assert_eq!(full.unsubscribe(), Removal::Restored);
    assert!(!mask::blocked().contains(rt()));
    let values: Vec<u64> = other.try_iter().map(|event| value(&event)).collect();
    assert_eq!(values, (0..50).collect::<Vec<_>>());
    // From another thread: the bell is rung for the one that is held.
    let full = sigplane::subscribe(rt()).capacity(1).inbox().expect("subscribed");
    send::raise_with(rt(), 50.into()).expect("sent");
    send::raise_with(rt(), 51.into()).expect("sent");
    assert!(mask::blocked().contains(rt()));
    std::thread::spawn(move || {
        mask::block(SignalSet::all());
        drop(full);
    })
    .join()
    .expect("no panic");
    eventually("the bell", || !mask::blocked().contains(rt()));
    let values: Vec<u64> = other.try_iter().map(|event| value(&event)).collect();
    assert_eq!(values, [50, 51]);
}

fn main() {
    Suite {
        tests: &[
            ("coalesce", coalesce),
            ("drop_newest", drop_newest),
            ("drop_oldest", drop_oldest),
            ("policies_by_hand", policies_by_hand),
            ("classic_ppoll", classic_ppoll),
            ("classic_sigsuspend", classic_sigsuspend),
            ("kernel_is_full", kernel_is_full),
            ("bell_is_blocked", bell_is_blocked),
            ("unsubscribing_releases", unsubscribing_releases),
        ],
        victims: &[("sender", sender)],
    }
    .main()
}
