//! From the sending of a signal until a thread that waits for it runs ordinary code.
//!
//! The sender takes the time before it sends to its own process; the consumer takes the time when
//! it has the event. Between two sends the consumer is let go back to sleep. Every contender has a
//! signal and a thread of its own in the same process, asleep while others are measured.
//!
//! The base's signal is blocked everywhere, as sigwaitinfo(2) demands. The others' handlers run on
//! the main thread, to which the kernel gives a process's signals first. On one CPU it is asleep
//! too, and the sender a thread apart, as when a signal comes from elsewhere: so the handler costs a
//! switch of its own. Across CPUs the main thread is the sender: what crosses is the consumer's
//! wake and nothing else, since waking an idle CPU costs more than all the rest.

use crate::kernel::{self, rt, rt_signal};
use crate::measure::{Contender, Effort, Series, interleave, median};
use crate::report::{Figure, Group, Peer, Row};
use signal_hook::iterator::Signals;
use sigplane::Signal;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

pub const GROUP: Group = Group {
    name: "wake",
    rows: &[
        row("wake on one CPU: inbox", "one CPU", INBOX, Some(2.2)),
        row("wake on one CPU: dispatcher", "one CPU", DISPATCHER, Some(2.2)),
        row("wake on one CPU: thread context", "one CPU", THREAD, Some(2.2)),
        row("wake on one CPU: channel", "one CPU", CHANNEL, None),
        row("wake across CPUs: inbox", "two CPUs", INBOX, Some(1.15)),
        row("wake across CPUs: dispatcher", "two CPUs", DISPATCHER, Some(1.15)),
        row("wake across CPUs: thread context", "two CPUs", THREAD, Some(1.15)),
        row("wake across CPUs: channel", "two CPUs", CHANNEL, None),
    ],
    children: &[
        ("one-cpu", |effort| wake(effort, Where::OneCpu)),
        ("two-cpus", |effort| wake(effort, Where::TwoCpus)),
    ],
};

const BASE: &str = "thread in sigwaitinfo";
const INBOX: &str = "inbox";
const DISPATCHER: &str = "dispatcher";
const THREAD: &str = "thread context";
const CHANNEL: &str = "channel";
const FOREVER: &str = "signal-hook forever";
const CROSSBEAM: &str = "signal-hook + crossbeam";
const LIMIT: &str = "handler + futex";

const PEERS: &[Peer] = &[Peer::of(FOREVER), Peer::of(CROSSBEAM), Peer::of(LIMIT)];

const fn row(
    name: &'static str,
    series: &'static str,
    ours: &'static str,
    target: Option<f64>,
) -> Row {
    Row { name, series, base: BASE, ours, peers: PEERS, figure: Figure::Ratio, target }
}

#[derive(Clone, Copy, PartialEq)]
pub enum Where {
    OneCpu,
    TwoCpus,
}

/// Between the sender and one consumer.
pub struct Link {
    /// When the consumer had the event.
    seen: AtomicU64,
    /// Events the consumer has had; the sender sleeps on it when both share a CPU.
    count: AtomicU32,
    place: Where,
}

impl Link {
    pub fn new(place: Where) -> &'static Self {
        Box::leak(Box::new(Self { seen: AtomicU64::new(0), count: AtomicU32::new(0), place }))
    }

    /// Called by the consumer as the first thing it does with an event.
    pub fn arrived(&self) {
        self.seen.store(kernel::now(), Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Release);
        if self.place == Where::OneCpu {
            kernel::futex_wake(&self.count);
        }
    }

    /// Sends once and returns the nanoseconds until the consumer had it.
    pub fn send(&self, pid: i32, signal: i32) -> f64 {
        let before = self.count.load(Ordering::Acquire);
        let start = kernel::now();
        kernel::signal_process(pid, signal);
        match self.place {
            Where::OneCpu => {
                while self.count.load(Ordering::Acquire) == before {
                    kernel::futex_wait(&self.count, before);
                }
            }
            Where::TwoCpus => self.spin_until(kernel::now() + 5_000_000_000, before),
        }
        (self.seen.load(Ordering::Relaxed) - start) as f64
    }

    fn spin_until(&self, deadline: u64, before: u32) {
        while self.count.load(Ordering::Acquire) == before {
            assert!(kernel::now() < deadline, "an event never reached its consumer");
            std::hint::spin_loop();
        }
    }

    /// Lets the consumer, and whatever thread stands before it, go back to sleep.
    pub fn settle(&self) {
        match self.place {
            Where::OneCpu => (0..4).for_each(|_| kernel::yield_now()),
            Where::TwoCpus => {
                let until = kernel::now() + 50_000;
                while kernel::now() < until {
                    std::hint::spin_loop();
                }
            }
        }
    }
}

/// Starts a consumer on a thread of its own.
fn consumer(run: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(256 * 1024).spawn(run).expect("a thread");
}

static FUTEX_WORD: AtomicU32 = AtomicU32::new(0);

/// The limit's handler: the least that can wake a thread from a handler.
unsafe extern "C" fn wake_by_futex(_: i32, _: *mut libc::siginfo_t, _: *mut std::ffi::c_void) {
    FUTEX_WORD.fetch_add(1, Ordering::Release);
    kernel::futex_wake(&FUTEX_WORD);
}

fn start_limit(signal: i32, link: &'static Link) {
    kernel::set_action(signal, wake_by_futex);
    consumer(move || {
        let mut taken = 0;
        loop {
            if FUTEX_WORD.load(Ordering::Acquire) == taken {
                kernel::futex_wait(&FUTEX_WORD, taken);
                continue;
            }
            taken += 1;
            link.arrived();
        }
    });
}

pub fn start_base(set: libc::sigset_t, link: &'static Link) {
    consumer(move || {
        loop {
            kernel::wait_for(&set);
            link.arrived();
        }
    });
}

fn start_inbox(signal: Signal, link: &'static Link) {
    let inbox = sigplane::subscribe(signal).inbox().expect("an inbox");
    consumer(move || {
        loop {
            std::hint::black_box(inbox.recv());
            link.arrived();
        }
    });
}

fn start_dispatcher(signal: Signal, link: &'static Link) {
    sigplane::on(signal, move |_| link.arrived()).expect("a subscription").detach();
}

fn start_thread_context(signal: Signal, link: &'static Link) {
    let (ready, wait) = std::sync::mpsc::channel();
    consumer(move || {
        let _subscription =
            sigplane::subscribe(signal).thread(move |_| link.arrived()).expect("a subscription");
        ready.send(()).expect("the main thread");
        loop {
            sigplane::thread::wait(None);
        }
    });
    wait.recv().expect("the consumer");
}

fn start_channel(signal: Signal, link: &'static Link) {
    let (subscription, events) = sigplane::subscribe(signal).channel().expect("a channel");
    subscription.detach();
    consumer(move || {
        for event in events {
            std::hint::black_box(event);
            link.arrived();
        }
    });
}

fn start_forever(signal: i32, link: &'static Link) {
    let mut signals = Signals::new([signal]).expect("signal-hook");
    consumer(move || {
        for _ in signals.forever() {
            link.arrived();
        }
    });
}

fn start_crossbeam(signal: i32, link: &'static Link) {
    let mut signals = Signals::new([signal]).expect("signal-hook");
    let (sender, receiver) = crossbeam_channel::bounded(128);
    consumer(move || {
        for signal in signals.forever() {
            sender.send(signal).expect("the consumer");
        }
    });
    consumer(move || {
        for _ in receiver {
            link.arrived();
        }
    });
}

fn wake(effort: Effort, place: Where) -> Vec<Series> {
    kernel::pin(0, kernel::two_cpus().0);
    // Before there is another thread.
    let set = kernel::block(rt(1));
    match place {
        Where::OneCpu => std::thread::spawn(move || measure(effort, place, set)).join(),
        Where::TwoCpus => Ok(measure(effort, place, set)),
    }
    .expect("figures")
}

fn measure(effort: Effort, place: Where, set: libc::sigset_t) -> Vec<Series> {
    let (first, second) = kernel::two_cpus();
    let elsewhere = if place == Where::OneCpu { first } else { second };
    let mut contenders = Vec::new();
    let mut add = |name, n, start: &dyn Fn(&'static Link)| {
        let link = Link::new(place);
        start(link);
        let (pid, signal) = (kernel::pid(), rt(n));
        let batch = if place == Where::OneCpu { 100 } else { 50 };
        contenders.push(Contender::new(name, move || {
            let times = (0..batch).map(|_| {
                let time = link.send(pid, signal);
                link.settle();
                time
            });
            median(&mut times.collect::<Vec<_>>())
        }));
    };
    add(BASE, 1, &|link| start_base(set, link));
    add(INBOX, 2, &|link| start_inbox(rt_signal(2), link));
    add(DISPATCHER, 3, &|link| start_dispatcher(rt_signal(3), link));
    add(THREAD, 4, &|link| start_thread_context(rt_signal(4), link));
    add(CHANNEL, 5, &|link| start_channel(rt_signal(5), link));
    add(FOREVER, 6, &|link| start_forever(rt(6), link));
    add(CROSSBEAM, 7, &|link| start_crossbeam(rt(7), link));
    add(LIMIT, 8, &|link| start_limit(rt(8), link));
    // Consumers started by a library included.
    kernel::pin_others(elsewhere);
    std::thread::sleep(std::time::Duration::from_millis(20));
    let (name, rounds) = match place {
        Where::OneCpu => ("one CPU", effort.pick(60, 3)),
        Where::TwoCpus => ("two CPUs", effort.pick(50, 3)),
    };
    vec![interleave(name, rounds, contenders)]
}
