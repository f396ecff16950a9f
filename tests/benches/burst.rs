//! A burst of queued real-time signals with values, from another process.
//!
//! Three processes per figure: the coordinator (a bench child), a consumer, and a sender that
//! queues 100,000 signals as fast as the kernel takes them. Consumer and sender each have a CPU.
//! All read the same clock: a burst's time runs from before the first send until the consumer has
//! the last event, its first event likewise. Who loses events gets a second, later signal as the
//! end mark (the kernel hands out lower numbers first), and its time runs until then.

use crate::kernel::{self, rt, rt_signal};
use crate::measure::{Contender, Effort, Round, Series, interleave};
use crate::report::{Figure, Group, Peer, Row};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::{Exfiltrator, WithOrigin, WithRawSiginfo};
use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub const GROUP: Group = Group {
    name: "burst",
    rows: &[
        time("burst of 100,000 with values: inbox", INBOX),
        time("burst of 100,000 with values: dispatcher", DISPATCHER),
        time("burst of 100,000 with values: thread context", THREAD),
        first("burst, until the first event: inbox", "inbox, first"),
        first("burst, until the first event: dispatcher", "dispatcher, first"),
        first("burst, until the first event: thread context", "thread context, first"),
    ],
    children: &[("burst", burst)],
};

pub const BASE: &str = "sigwaitinfo draining";
const INBOX: &str = "inbox";
const DISPATCHER: &str = "dispatcher";
const THREAD: &str = "thread context";
const RAW: &str = "signal-hook raw siginfo";
const ORIGIN: &str = "signal-hook origin";

const fn time(name: &'static str, ours: &'static str) -> Row {
    const PEERS: &[Peer] = &[Peer::of(RAW), Peer::of(ORIGIN)];
    let target = Some(3.3);
    Row { name, series: "burst", base: BASE, ours, peers: PEERS, figure: Figure::Lossless, target }
}

const fn first(name: &'static str, ours: &'static str) -> Row {
    const PEERS: &[Peer] = &[
        Peer { name: RAW, key: "signal-hook raw siginfo, first", base: "" },
        Peer { name: ORIGIN, key: "signal-hook origin, first", base: "" },
    ];
    let (base, target) = ("sigwaitinfo draining, first", Some(10e6));
    Row { name, series: "burst", base, ours, peers: PEERS, figure: Figure::Time, target }
}

pub const SIGNAL: u8 = 1;
pub const END: u8 = 20;
pub const COUNT: usize = 100_000;

/// How long a consumer waits for an event that does not come.
pub const PATIENCE: Duration = Duration::from_secs(5);

fn burst(effort: Effort) -> Vec<Series> {
    let contenders = [BASE, INBOX, DISPATCHER, THREAD, RAW, ORIGIN]
        .map(|who| contender(who, who == RAW || who == ORIGIN));
    vec![interleave("burst", effort.pick(5, 1), contenders.into())]
}

/// One burst to `who` per turn; who may lose events needs the end mark.
pub fn contender(who: &'static str, marked: bool) -> Contender<'static> {
    Contender::several(move |round: &mut Round| {
        let mut consumer = actor(&["consumer", who]);
        let mut output = BufReader::new(consumer.stdout.take().expect("a pipe"));
        let mut line = String::new();
        output.read_line(&mut line).expect("the consumer");
        assert_eq!(line, "ready\n", "{who}: the consumer did not start");
        let end = if marked { "end" } else { "" };
        let sender = actor(&["sender", &consumer.id().to_string(), end]);
        let sent = sender.wait_with_output().expect("the sender");
        let start: u64 = String::from_utf8_lossy(&sent.stdout).trim().parse().expect("a time");
        let mut report = String::new();
        output.read_to_string(&mut report).expect("the consumer");
        assert!(consumer.wait().expect("the consumer").success(), "{who}: the consumer failed");
        let numbers: Vec<u64> =
            report.split_whitespace().map(|word| word.parse().expect("a number")).collect();
        let [first, last, received, in_order] = numbers[..] else { panic!("{who}: {report:?}") };
        let mut enter = |key: String, value| round.insert(key, value);
        enter(who.to_owned(), last.saturating_sub(start) as f64);
        enter(format!("{who}, share"), received as f64 / COUNT as f64);
        enter(format!("{who}, in order"), in_order as f64);
        if received > 0 {
            enter(format!("{who}, first"), first.saturating_sub(start) as f64);
        }
    })
}

fn actor(arguments: &[&str]) -> std::process::Child {
    Command::new(std::env::current_exe().expect("this executable"))
        .args(["--actor", "burst"])
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process")
}

/// The other two processes.
pub fn act(arguments: &[String]) {
    kernel::deadline(Duration::from_secs(60));
    let (here, there) = kernel::two_cpus();
    match arguments[0].as_str() {
        "sender" => {
            kernel::pin(0, there);
            let consumer = arguments[1].parse().expect("a process");
            println!("{}", send(consumer));
            if arguments[2] == "end" {
                kernel::queue(consumer, rt(END), 0);
            }
        }
        _ => {
            kernel::pin(0, here);
            let tally = consume(&arguments[1]);
            println!("{} {} {} {}", tally.first, tally.last, tally.count, u8::from(tally.in_order));
        }
    }
}

fn send(pid: i32) -> u64 {
    let start = kernel::now();
    for value in 0..COUNT {
        kernel::queue(pid, rt(SIGNAL), value);
    }
    start
}

/// What a consumer saw.
#[derive(Clone)]
pub struct Tally {
    first: u64,
    last: u64,
    count: usize,
    /// Every value was the one after the last. False for who sees no values.
    in_order: bool,
}

impl Tally {
    pub const fn new() -> Self {
        Self { first: 0, last: 0, count: 0, in_order: true }
    }

    #[inline]
    pub fn add(&mut self, value: Option<usize>) {
        if self.count == 0 {
            self.first = kernel::now();
        }
        self.in_order &= value == Some(self.count);
        self.count += 1;
        if self.count == COUNT {
            self.last = kernel::now();
        }
    }

    pub fn complete(&self) -> bool {
        self.count >= COUNT
    }

    pub fn event(&mut self, event: &sigplane::Event) {
        self.add(event.value().map(|value| value.int() as u32 as usize));
    }

    /// For a consumer that gave up before it had all.
    pub fn ended(mut self) -> Self {
        if self.last == 0 {
            self.last = kernel::now();
        }
        self
    }
}

pub fn ready() {
    println!("ready");
}

fn consume(who: &str) -> Tally {
    match who {
        BASE => by_sigwaitinfo(),
        INBOX => by_inbox(),
        DISPATCHER => by_dispatcher(),
        THREAD => by_thread_context(),
        RAW => {
            by_signal_hook::<WithRawSiginfo>(|info| info.si_signo, |info| Some(kernel::value(info)))
        }
        ORIGIN => by_signal_hook::<WithOrigin>(|origin| origin.signal, |_| None),
        other => crate::tokio_burst::consume(other),
    }
}

fn by_sigwaitinfo() -> Tally {
    let mut tally = Tally::new();
    let set = kernel::block(rt(SIGNAL));
    ready();
    while !tally.complete() {
        tally.add(Some(kernel::value(&kernel::wait_for(&set))));
    }
    tally
}

fn by_inbox() -> Tally {
    let mut tally = Tally::new();
    let inbox = sigplane::subscribe(rt_signal(SIGNAL)).inbox().expect("an inbox");
    ready();
    while !tally.complete() {
        let Some(event) = inbox.recv_timeout(PATIENCE) else { break };
        tally.event(&event);
    }
    tally.ended()
}

fn by_dispatcher() -> Tally {
    let tally = Arc::new(Mutex::new(Tally::new()));
    let (main, shared) = (std::thread::current(), tally.clone());
    let subscription = sigplane::on(rt_signal(SIGNAL), move |event| {
        let mut tally = shared.lock().expect("the lock");
        tally.event(event);
        if tally.complete() {
            main.unpark();
        }
    });
    let subscription = subscription.expect("a subscription");
    // The dispatcher may have been started on both CPUs.
    kernel::pin_others(kernel::two_cpus().0);
    ready();
    let deadline = Instant::now() + 4 * PATIENCE;
    while !tally.lock().expect("the lock").complete() && Instant::now() < deadline {
        std::thread::park_timeout(PATIENCE);
    }
    drop(subscription);
    let tally = tally.lock().expect("the lock").clone();
    tally.ended()
}

fn by_thread_context() -> Tally {
    let tally = Rc::new(RefCell::new(Tally::new()));
    let shared = tally.clone();
    let subscription = sigplane::subscribe(rt_signal(SIGNAL))
        .thread(move |event| shared.borrow_mut().event(event))
        .expect("a subscription");
    ready();
    let deadline = Instant::now() + 4 * PATIENCE;
    while !tally.borrow().complete() && Instant::now() < deadline {
        sigplane::thread::wait(Some(Instant::now() + PATIENCE));
    }
    drop(subscription);
    let tally = tally.borrow().clone();
    tally.ended()
}

fn by_signal_hook<E: Exfiltrator + Default>(
    signal: fn(&E::Output) -> i32,
    value: fn(&E::Output) -> Option<usize>,
) -> Tally {
    let mut tally = Tally::new();
    let mut signals = SignalsInfo::<E>::new([rt(SIGNAL), rt(END)]).expect("signal-hook");
    ready();
    let mut at_end = false;
    while !at_end {
        for output in signals.wait() {
            if signal(&output) == rt(END) {
                at_end = true;
            } else {
                tally.add(value(&output));
            }
        }
    }
    for output in signals.pending() {
        if signal(&output) != rt(END) {
            tally.add(value(&output));
        }
    }
    tally.ended()
}
