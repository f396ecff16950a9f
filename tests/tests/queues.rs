//! 100,000 queued real-time signals from another process, through every context that has a queue:
//! nothing lost, nothing twice, in order, with a consumer slower than the sender.
//!
//! Issue "Core", what must be shown, 2; BRIEF §6.6 (lossless under back-pressure into the kernel).

use sigplane::{Builder, Event, Inbox, Signal, SignalSet, SubscriptionStats};
use sigplane_tests::{Storm, Suite, eventually, mask, quick, sender};
use std::collections::{BTreeMap, HashSet};
use std::hint::black_box;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, mpsc};

const CAPACITY: usize = 64;

fn rt() -> Signal {
    Signal::rt(3).expect("a real-time signal")
}

fn count() -> u64 {
    quick(100_000)
}

fn builder() -> Builder {
    sigplane::subscribe(rt()).capacity(CAPACITY)
}

/// Work per event: more than a send costs, so that the queue fills.
fn work(units: u32) {
    for unit in 0..units * 100 {
        black_box(unit);
    }
}

fn value(event: &Event) -> u64 {
    event.value().expect("a queued signal has a value").int() as u64
}

/// What must hold for one queue, fed through one thread, when all has been taken.
fn check(stats: SubscriptionStats) {
    let all = count() as usize;
    assert_eq!((stats.queued, stats.taken), (all, all), "{stats:?}");
    assert_eq!((stats.dropped, stats.discarded, stats.waiting), (0, 0, 0), "{stats:?}");
    assert_eq!(stats.deepest, CAPACITY, "the queue was full at some time, and held back in time");
}

/// Checks that values come as 0, 1, 2, …
#[derive(Default)]
struct InOrder(u64);

impl InOrder {
    fn see(&mut self, event: &Event) {
        assert_eq!((event.signal(), value(event)), (rt(), self.0), "lost, doubled or out of order");
        self.0 += 1;
        work(4);
    }
}

/// Issue, line 2: the dispatcher thread. The main thread is the receiver.
fn dispatcher() {
    let (tell, told) = mpsc::channel();
    let mut next = 0;
    let handler = move |event: &Event| {
        work(4);
        if value(event) != next || next + 1 == count() {
            tell.send((value(event), next)).expect("the test waits");
        }
        next += 1;
    };
    let sub = builder().dispatcher(handler).expect("subscribed");
    let mut sender = Storm::here(rt(), count()).start();
    let (got, expected) = told.recv().expect("the handler lives");
    assert_eq!((got, expected), (count() - 1, count() - 1), "lost, doubled or out of order");
    assert!(sender.wait().success());
    check(sub.stats());
}

/// Issue, line 2: the thread context. The receiver is its own consumer.
fn thread() {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut order = InOrder::default();
    let sub = builder().thread(move |event| {
        order.see(event);
        NEXT.store(order.0, Ordering::Relaxed);
    });
    let sub = sub.expect("subscribed");
    let mut sender = Storm::here(rt(), count()).start();
    while NEXT.load(Ordering::Relaxed) < count() {
        sigplane::thread::wait(None);
        assert_eq!(sub.stats().panics, 0, "lost, doubled or out of order");
    }
    assert!(sender.wait().success());
    check(sub.stats());
}

/// Issue, line 2: an inbox, read with the blocking call.
fn inbox_blocking() {
    let inbox = builder().inbox().expect("subscribed");
    let mut sender = Storm::here(rt(), count()).start();
    let mut order = InOrder::default();
    while order.0 < count() {
        order.see(&inbox.recv());
    }
    assert!(sender.wait().success());
    assert!(inbox.try_recv().is_none(), "nothing twice");
    check(inbox.stats());
}

/// Level-triggered: one event is taken each time the descriptor polls readable.
fn inbox_poll_level() {
    let inbox = builder().inbox().expect("subscribed");
    let mut sender = Storm::here(rt(), count()).start();
    let mut order = InOrder::default();
    let mut poll = libc::pollfd { fd: inbox.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    while order.0 < count() {
        // A receiver that is interrupted by what it waits for polls again.
        if unsafe { libc::poll(&raw mut poll, 1, -1) } == 1
            && let Some(event) = inbox.try_recv()
        {
            order.see(&event);
        }
    }
    assert!(sender.wait().success());
    assert!(inbox.try_recv().is_none(), "nothing twice");
    assert_eq!(unsafe { libc::poll(&raw mut poll, 1, 0) }, 0, "an empty inbox is not readable");
    check(inbox.stats());
}

/// Edge-triggered: at each edge everything is taken, then the next edge is waited for.
fn inbox_epoll_edge() {
    let inbox = builder().inbox().expect("subscribed");
    let mut event = libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLET) as u32, u64: 7 };
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    let added =
        unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, inbox.as_raw_fd(), &raw mut event) };
    assert_eq!(added, 0);
    let mut sender = Storm::here(rt(), count()).start();
    let mut order = InOrder::default();
    while order.0 < count() {
        if unsafe { libc::epoll_wait(epoll, &raw mut event, 1, -1) } == 1 {
            inbox.try_iter().for_each(|event| order.see(&event));
        }
    }
    assert!(sender.wait().success());
    check(inbox.stats());
}

/// Issue, line 2: a crossbeam channel in `select!`.
fn channel() {
    let (sub, receiver) = builder().channel().expect("subscribed");
    let never = crossbeam_channel::never::<()>();
    let mut sender = Storm::here(rt(), count()).start();
    let mut order = InOrder::default();
    while order.0 < count() {
        crossbeam_channel::select! {
            recv(receiver) -> event => order.see(&event.expect("subscribed")),
            recv(never) -> _ => unreachable!(),
        }
    }
    assert!(sender.wait().success());
    check(sub.stats());
    drop(sub);
    assert!(receiver.recv().is_err(), "nothing twice, and the channel ends with its subscription");
}

/// Two inboxes of different speed on one signal: the fast one sees all although the slow one holds the
/// signal back again and again.
fn two_speeds() {
    let slow = builder().name("slow").inbox().expect("subscribed");
    let fast = builder().name("fast").capacity(2 * CAPACITY).inbox().expect("subscribed");
    let read = |inbox: &Inbox, ready: &Barrier, units: u32| {
        mask::block(SignalSet::all());
        ready.wait();
        for expected in 0..count() {
            assert_eq!(value(&inbox.recv()), expected, "lost, doubled or out of order");
            work(units);
        }
        assert!(inbox.try_recv().is_none(), "nothing twice");
    };
    // Nobody but the main thread may receive, or the order would be per thread only.
    let ready = Barrier::new(3);
    std::thread::scope(|scope| {
        let slow_reader = scope.spawn(|| read(&slow, &ready, 8));
        let fast_reader = scope.spawn(|| read(&fast, &ready, 0));
        ready.wait();
        let mut sender = Storm::here(rt(), count()).start();
        sender.expect("done");
        // The main thread is the receiver: it goes on taking what the kernel still holds.
        eventually("the end of the readers", || {
            slow_reader.is_finished() && fast_reader.is_finished()
        });
    });
    check(slow.stats());
    assert_eq!(fast.stats().queued, count() as usize);
}

/// The signal is unblocked in four more threads: the kernel picks the receiver, and what holds is that
/// nothing is lost or doubled, and the order per receiving thread.
fn several_receivers() {
    let inbox = builder().inbox().expect("subscribed");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    work(1);
                }
            });
        }
        let mut sender = Storm::here(rt(), count()).start();
        let mut seen = HashSet::new();
        let mut last = BTreeMap::new();
        while (seen.len() as u64) < count() {
            let event = inbox.recv();
            assert!(seen.insert(value(&event)), "{event} came twice");
            let before = last.insert(event.thread(), value(&event));
            assert!(before < Some(value(&event)), "{before:?} before {event}");
        }
        over.store(true, Ordering::Relaxed);
        assert!(sender.wait().success());
        assert!(inbox.try_recv().is_none(), "nothing twice");
        assert!(last.len() > 1, "only one thread ever received");
    });
    let row = sigplane::table().row(rt()).cloned().expect("subscribed");
    assert_eq!(row.lost, 0);
}

fn main() {
    Suite {
        tests: &[
            ("dispatcher", dispatcher),
            ("thread", thread),
            ("inbox_blocking", inbox_blocking),
            ("inbox_poll_level", inbox_poll_level),
            ("inbox_epoll_edge", inbox_epoll_edge),
            ("channel", channel),
            ("two_speeds", two_speeds),
            ("several_receivers", several_receivers),
        ],
        victims: &[("sender", sender)],
    }
    .main()
}
