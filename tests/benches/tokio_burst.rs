//! The burst of `burst`, into tokio tasks.
//!
//! The processes, the sender, the tally and the end mark are those of `burst`. The consumer's process has
//! one CPU, for all of its threads.
//!
//! With a current-thread runtime, the main thread receives the signals and runs the task. With a multi-thread
//! one, the main thread is asleep and receives, and a worker runs the task. Our workers are shielded, which keeps
//! the order (one thread receives); the peers see neither values nor order, so that theirs need no shield.

use crate::burst::{COUNT, END, PATIENCE, SIGNAL, Tally, contender, ready};
use crate::kernel::{self, rt, rt_signal};
use crate::measure::{Effort, Series, interleave};
use crate::report::{Figure, Group, Peer, Row};
use crate::tokio_wake::{current_thread, multi_thread};
use futures::{FutureExt, StreamExt};
use signal_hook::iterator::exfiltrator::{Exfiltrator, SignalOnly, WithRawSiginfo};
use sigplane_async::SignalStream;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

pub const GROUP: Group = Group {
    name: "tokio burst",
    rows: &[
        time("burst of 100,000 with values: tokio, current-thread", OURS),
        time("burst of 100,000 with values: tokio, multi-thread", OURS_MULTI),
        first("burst, until the first event: tokio, current-thread", "sigplane-async, first"),
        first(
            "burst, until the first event: tokio, multi-thread",
            "sigplane-async, multi-thread, first",
        ),
    ],
    children: &[("burst", burst)],
};

const BASE: &str = crate::burst::BASE;
const OURS: &str = "sigplane-async";
const OURS_MULTI: &str = "sigplane-async, multi-thread";
const TOKIO: &str = "tokio::signal";
const TOKIO_MULTI: &str = "tokio::signal, multi-thread";
const HOOK: &str = "signal-hook-tokio";
const HOOK_RAW: &str = "signal-hook-tokio raw siginfo";

const fn time(name: &'static str, ours: &'static str) -> Row {
    const PEERS: &[Peer] =
        &[Peer::of(TOKIO), Peer::of(TOKIO_MULTI), Peer::of(HOOK), Peer::of(HOOK_RAW)];
    let (figure, target) = (Figure::Lossless, Some(3.3));
    Row { name, series: "tokio burst", base: BASE, ours, peers: PEERS, figure, target }
}

const fn first(name: &'static str, ours: &'static str) -> Row {
    const PEERS: &[Peer] = &[
        Peer { name: TOKIO, key: "tokio::signal, first", base: "" },
        Peer { name: TOKIO_MULTI, key: "tokio::signal, multi-thread, first", base: "" },
        Peer { name: HOOK, key: "signal-hook-tokio, first", base: "" },
        Peer { name: HOOK_RAW, key: "signal-hook-tokio raw siginfo, first", base: "" },
    ];
    let (base, target) = ("sigwaitinfo draining, first", Some(10e6));
    Row { name, series: "tokio burst", base, ours, peers: PEERS, figure: Figure::Time, target }
}

fn burst(effort: Effort) -> Vec<Series> {
    let contenders = [
        contender(BASE, false),
        contender(OURS, false),
        contender(OURS_MULTI, false),
        contender(TOKIO, true),
        contender(TOKIO_MULTI, true),
        contender(HOOK, true),
        contender(HOOK_RAW, true),
    ];
    vec![interleave("tokio burst", effort.pick(5, 1), contenders.into())]
}

/// The consumers that `burst` does not know. On the main thread.
pub fn consume(who: &str) -> Tally {
    match who {
        OURS => by_stream(current_thread()),
        OURS_MULTI => by_stream(sigplane::thread::shielded(multi_thread)),
        TOKIO => by_tokio(current_thread()),
        TOKIO_MULTI => by_tokio(multi_thread()),
        HOOK => by_signal_hook::<SignalOnly>(|signal| *signal, |_| None),
        HOOK_RAW => {
            by_signal_hook::<WithRawSiginfo>(|info| info.si_signo, |info| Some(kernel::value(info)))
        }
        _ => panic!("{who} is no consumer"),
    }
}

fn by_stream(runtime: Runtime) -> Tally {
    let guard = runtime.enter();
    let stream = sigplane_async::signal(rt_signal(SIGNAL)).expect("a stream");
    drop(guard);
    runtime.block_on(runtime.spawn(read(stream))).expect("the task")
}

async fn read(mut stream: SignalStream) -> Tally {
    let mut tally = Tally::new();
    ready();
    // Not around each event: a timer costs as much as the event.
    let all = async {
        while !tally.complete() {
            tally.event(&stream.recv().await);
        }
    };
    let _in_time = tokio::time::timeout(10 * PATIENCE, all).await;
    tally.ended()
}

fn by_tokio(runtime: Runtime) -> Tally {
    let task = async {
        let listen = |n| signal(SignalKind::from_raw(rt(n))).expect("a listener");
        let (mut burst, mut end) = (listen(SIGNAL), listen(END));
        let mut tally = Tally::new();
        ready();
        loop {
            tokio::select! {
                biased;
                Some(()) = burst.recv() => tally.add(None),
                _ = end.recv() => break,
            }
        }
        while burst.recv().now_or_never().is_some() {
            tally.add(None);
        }
        tally.ended()
    };
    runtime.block_on(runtime.spawn(task)).expect("the task")
}

fn by_signal_hook<E>(signal: fn(&E::Output) -> i32, value: fn(&E::Output) -> Option<usize>) -> Tally
where
    E: Exfiltrator + Default,
    E::Output: Unpin,
{
    current_thread().block_on(async {
        let mut signals = signal_hook_tokio::SignalsInfo::<E>::new([rt(SIGNAL), rt(END)])
            .expect("signal-hook-tokio");
        let mut tally = Tally::new();
        ready();
        while let Some(output) = signals.next().await {
            if signal(&output) == rt(END) {
                break;
            }
            tally.add(value(&output));
        }
        while let Some(Some(output)) = signals.next().now_or_never() {
            if signal(&output) != rt(END) {
                tally.add(value(&output));
            }
        }
        tally.ended()
    })
}

const _: () = assert!(COUNT == 100_000, "the rows' names say so");
