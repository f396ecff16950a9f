//! From the sending of a signal until a tokio task that waits for it runs.
//!
//! The method is that of `wake`, with the same link between sender and consumer. But every contender has
//! a process of its own (`--actor`), which waits on a pipe until it is its turn, so that the rounds are
//! interleaved all the same: tokio wakes every runtime of a process that has an I/O driver for every
//! signal that one of its listeners gets, which other contenders would have to pay.
//!
//! What a contender's process consists of is the same for all. The main thread makes the listener, as
//! `#[tokio::main]` does, and is the one that the kernel prefers for a process's signals. The task runs on
//! a thread of the runtime: the one that drives a current-thread runtime, or one of two workers.
//!
//! * On one CPU, the main thread is asleep, and a thread apart sends, as when a signal comes from elsewhere:
//!   a handler costs a switch of its own, the base's `sigwaitinfo` does not.
//! * Across CPUs, the main thread sends and so receives, and all threads of the runtime are on the other CPU:
//!   what crosses is the runtime's wake and nothing else.
//!
//! The limit is the least that can be done with a handler and tokio: the handler writes an eventfd and does
//! nothing else, the task awaits it by `AsyncFd`, edge-triggered, and never reads it. There is one
//! per kind of runtime, since a multi-thread one is slower to wake by itself.
//!
//! A batch is large enough that its slowest hundredth has ten wakes in it; p99 is one batch's, and the
//! figure is the median of the batches' ratios, as everywhere. Its base is `tokio::signal` on the same kind of
//! runtime.
//!
//! One contender alone, for strace(1) and the like, with the number of wakes as its input:
//! `echo 10000 | strace -fc compare --actor tokio-wake "sigplane-async" one-cpu`.

use crate::kernel::{self, rt, rt_signal};
use crate::measure::{Contender, Effort, Round, Series, interleave};
use crate::report::{Figure, Group, Peer, Row};
use crate::wake::{Link, Where, start_base};
use futures::StreamExt;
use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc;
use std::task::ready;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

pub const GROUP: Group = Group {
    name: "tokio wake",
    rows: &[
        p50("wake of a tokio task, one CPU: current-thread", ONE_CPU, OURS, SINGLE, Some(2.15)),
        p50("wake of a tokio task, one CPU: multi-thread", ONE_CPU, OURS_MULTI, MULTI, Some(2.15)),
        p50("wake of a tokio task across CPUs: current-thread", TWO_CPUS, OURS, SINGLE, Some(1.2)),
        p50(
            "wake of a tokio task across CPUs: multi-thread",
            TWO_CPUS,
            OURS_MULTI,
            MULTI,
            Some(1.2),
        ),
        p99("wake of a tokio task across CPUs, p99: current-thread", &P99),
        p99("wake of a tokio task across CPUs, p99: multi-thread", &P99_MULTI),
    ],
    children: &[
        ("one-cpu", |effort| wake(effort, ONE_CPU)),
        ("two-cpus", |effort| wake(effort, TWO_CPUS)),
    ],
};

const ONE_CPU: &str = "one-cpu";
const TWO_CPUS: &str = "two-cpus";

const BASE: &str = "thread in sigwaitinfo";
const OURS: &str = "sigplane-async";
const OURS_MULTI: &str = "sigplane-async, multi-thread";
const TOKIO: &str = "tokio::signal";
const TOKIO_MULTI: &str = "tokio::signal, multi-thread";
const HOOK: &str = "signal-hook-tokio";
const LIMIT: &str = "handler + eventfd + AsyncFd";
const LIMIT_MULTI: &str = "handler + eventfd + AsyncFd, multi-thread";

const CONTENDERS: [&str; 8] =
    [BASE, OURS, OURS_MULTI, TOKIO, TOKIO_MULTI, HOOK, LIMIT, LIMIT_MULTI];

const SINGLE: &[Peer] = &[Peer::of(TOKIO), Peer::of(HOOK), Peer::of(LIMIT)];
const MULTI: &[Peer] = &[
    Peer { name: TOKIO, key: TOKIO_MULTI, base: "" },
    Peer { name: LIMIT, key: LIMIT_MULTI, base: "" },
];

const fn p50(
    name: &'static str,
    series: &'static str,
    ours: &'static str,
    peers: &'static [Peer],
    target: Option<f64>,
) -> Row {
    Row { name, series, base: BASE, ours, peers, figure: Figure::Ratio, target }
}

struct Tail {
    ours: &'static str,
    tokio: &'static str,
    peers: &'static [Peer],
}

const P99: Tail = Tail {
    ours: "sigplane-async, p99",
    tokio: "tokio::signal, p99",
    peers: &[
        Peer { name: HOOK, key: "signal-hook-tokio, p99", base: "" },
        Peer { name: LIMIT, key: "handler + eventfd + AsyncFd, p99", base: "" },
        Peer { name: BASE, key: "thread in sigwaitinfo, p99", base: "" },
    ],
};

const P99_MULTI: Tail = Tail {
    ours: "sigplane-async, multi-thread, p99",
    tokio: "tokio::signal, multi-thread, p99",
    peers: &[
        Peer { name: LIMIT, key: "handler + eventfd + AsyncFd, multi-thread, p99", base: "" },
        Peer { name: BASE, key: "thread in sigwaitinfo, p99", base: "" },
    ],
};

const fn p99(name: &'static str, tail: &Tail) -> Row {
    let Tail { ours, tokio, peers } = *tail;
    let (figure, target) = (Figure::Ratio, Some(1.0));
    Row { name, series: TWO_CPUS, base: tokio, ours, peers, figure, target }
}

const SIGNAL: u8 = 1;

// The coordinator.

fn wake(effort: Effort, place: &'static str) -> Vec<Series> {
    let (rounds, batch) = match place {
        ONE_CPU => (effort.pick(60, 3), effort.pick(200, 100)),
        _ => (effort.pick(25, 3), effort.pick(1000, 200)),
    };
    let contenders = CONTENDERS.map(|who| {
        let mut actor = Actor::start(who, place);
        Contender::several(move |round| actor.run(batch, round))
    });
    vec![interleave(place, rounds, contenders.into())]
}

/// A contender's process, ready for its turn.
struct Actor {
    who: &'static str,
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Actor {
    fn start(who: &'static str, place: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this executable"))
            .args(["--actor", "tokio-wake", who, place])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        Self { who, input: process.stdin.take(), process, output }
    }

    fn run(&mut self, batch: usize, round: &mut Round) {
        writeln!(self.input.as_mut().expect("a pipe"), "{batch}").expect("the actor");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the actor");
        let mut times = line.split_whitespace().map(|word| word.parse().expect("a time"));
        let (p50, p99) = (times.next(), times.next());
        round.insert(self.who.to_owned(), p50.expect("a batch's median"));
        round.insert(format!("{}, p99", self.who), p99.expect("a batch's slowest"));
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.input = None; // Its end.
        let status = self.process.wait().expect("the actor");
        assert!(status.success() || std::thread::panicking(), "{}: {status}", self.who);
    }
}

// The actors.

/// One contender: measures as many wakes as each line of its input says, until its input ends.
pub fn act(arguments: &[String]) {
    kernel::deadline(std::time::Duration::from_secs(120));
    let (who, place) = (arguments[0].as_str(), arguments[1].as_str());
    let (first, second) = kernel::two_cpus();
    kernel::pin(0, first);
    let place = if place == ONE_CPU { Where::OneCpu } else { Where::TwoCpus };
    let link = Link::new(place);
    match who {
        BASE => start_base(kernel::block(rt(SIGNAL)), link),
        OURS => run_ours(current_thread(), link),
        OURS_MULTI => run_ours(multi_thread(), link),
        TOKIO => run_tokio(current_thread(), link),
        TOKIO_MULTI => run_tokio(multi_thread(), link),
        HOOK => run_signal_hook(current_thread(), link),
        LIMIT => run_limit(current_thread(), link),
        LIMIT_MULTI => run_limit(multi_thread(), link),
        _ => panic!("{who} is no contender"),
    }
    match place {
        Where::OneCpu => std::thread::spawn(move || serve(link)).join().expect("figures"),
        Where::TwoCpus => {
            kernel::pin_others(second);
            serve(link);
        }
    }
}

fn serve(link: &Link) {
    let (pid, signal) = (kernel::pid(), rt(SIGNAL));
    // Whoever has just been started goes to sleep.
    std::thread::sleep(std::time::Duration::from_millis(20));
    for line in std::io::stdin().lines() {
        let batch: usize = line.expect("the coordinator").trim().parse().expect("a number");
        let mut times: Vec<f64> = Vec::with_capacity(batch);
        for _ in 0..batch {
            times.push(link.send(pid, signal));
            link.settle();
        }
        times.sort_by(f64::total_cmp);
        println!("{} {}", times[batch / 2], times[batch * 99 / 100]);
    }
}

/// With everything enabled, as `#[tokio::main]` makes it.
pub fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Two workers, whatever the machine has.
pub fn multi_thread() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// Runs a task that has its listener already; returns when the task has run.
fn consume<F>(runtime: Runtime, task: impl FnOnce(mpsc::Sender<()>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (ready, wait) = mpsc::channel();
    let task = task(ready);
    std::thread::spawn(move || runtime.block_on(runtime.spawn(task)));
    wait.recv().expect("the task");
}

fn run_ours(runtime: Runtime, link: &'static Link) {
    let guard = runtime.enter();
    let mut events = sigplane_async::signal(rt_signal(SIGNAL)).expect("a stream");
    drop(guard);
    consume(runtime, |ready| async move {
        ready.send(()).expect("the main thread");
        loop {
            std::hint::black_box(events.recv().await);
            link.arrived();
        }
    });
}

fn run_tokio(runtime: Runtime, link: &'static Link) {
    let guard = runtime.enter();
    let mut signals = signal(SignalKind::from_raw(rt(SIGNAL))).expect("a listener");
    drop(guard);
    consume(runtime, |ready| async move {
        ready.send(()).expect("the main thread");
        while signals.recv().await.is_some() {
            link.arrived();
        }
    });
}

fn run_signal_hook(runtime: Runtime, link: &'static Link) {
    let guard = runtime.enter();
    let mut signals = signal_hook_tokio::Signals::new([rt(SIGNAL)]).expect("signal-hook-tokio");
    drop(guard);
    consume(runtime, |ready| async move {
        ready.send(()).expect("the main thread");
        while signals.next().await.is_some() {
            link.arrived();
        }
    });
}

static EVENTFD: AtomicI32 = AtomicI32::new(-1);

/// The limit's handler: the least that can wake a task from a handler.
unsafe extern "C" fn write_eventfd(_: i32, _: *mut libc::siginfo_t, _: *mut std::ffi::c_void) {
    let one = 1u64;
    // SAFETY: `one` is valid for 8 bytes; `errno` stays as it is, since the count cannot overflow.
    unsafe { libc::write(EVENTFD.load(Ordering::Relaxed), (&raw const one).cast(), 8) };
}

fn run_limit(runtime: Runtime, link: &'static Link) {
    // SAFETY: no memory is passed.
    let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
    EVENTFD.store(fd, Ordering::Relaxed);
    let guard = runtime.enter();
    // SAFETY: nobody closes the descriptor.
    let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    let fd = fd.expect("a registration");
    drop(guard);
    kernel::set_action(rt(SIGNAL), write_eventfd);
    consume(runtime, |ready| async move {
        ready.send(()).expect("the main thread");
        loop {
            std::future::poll_fn(|cx| {
                ready!(fd.poll_read_ready(cx)).expect("the reactor").clear_ready();
                std::task::Poll::Ready(())
            })
            .await;
            link.arrived();
        }
    });
}
