//! Streams: 100,000 queued real-time signals with values from another process, awaited in every kind of
//! runtime, with queues of every size and consumers of every speed: nothing lost, nothing twice, in order.
//!
//! Issue "Async", what must be shown, 1. The modules: `cancel`, what a dropped future leaves behind
//! (line 4), wakers, budget; `moves`, between runtimes, tasks and executors; `calls`, the system calls of
//! a wake (line 3, the count; its times are the benchmarks').
//!
//! Where order is asserted across the whole storm, one thread receives, and all others are shielded:
//! "Threads and order" in the documentation of sigplane-async.

use sigplane::{Builder, Event, Signal, SubscriptionStats};
use sigplane_async::{BuilderExt, SignalStream};
use sigplane_tests::{InOrder, Storm, Suite, quick, sender, value};
use std::collections::{BTreeMap, HashSet};
use std::hint::black_box;
use std::sync::mpsc;
use tokio::runtime::Runtime;

#[path = "async_streams/calls.rs"]
mod calls;
#[path = "async_streams/cancel.rs"]
mod cancel;
#[path = "async_streams/moves.rs"]
mod moves;

/// What `sigplane::subscribe` gives a queue when nobody says otherwise.
const DEFAULT_CAPACITY: usize = 128;

/// How far beyond its capacity a queue may get until the signal is held everywhere.
const RESERVE: usize = 64;

fn rt() -> Signal {
    Signal::rt(3).expect("a real-time signal")
}

fn builder() -> Builder {
    sigplane::subscribe(rt())
}

fn stream() -> SignalStream {
    sigplane_async::signal(rt()).expect("subscribed")
}

/// A runtime for the calling thread.
fn current() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// One whose workers receive no signals, as the documentation advises where order matters: not even while
/// they start, before the hook runs: they begin with the mask of the thread that builds the runtime.
fn shielded() -> Runtime {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).on_thread_start(sigplane::thread::shield);
    sigplane::thread::shielded(|| runtime.enable_all().build().expect("a runtime"))
}

/// Work per event: 20 units are more than the sender needs for its next one.
fn work(units: u32) {
    for unit in 0..units * 100 {
        black_box(unit);
    }
}

/// Reads `count` values to the end, and what the queue has seen of them.
async fn read(mut stream: SignalStream, count: u64, units: u32) -> SubscriptionStats {
    let mut order = InOrder::of(rt());
    while order.seen() < count {
        order.see(&stream.recv().await);
        work(units);
    }
    assert!(stream.try_recv().is_none(), "nothing twice");
    let stats = stream.stats();
    assert_eq!((stats.queued, stats.taken), (count as usize, count as usize), "{stats:?}");
    assert_eq!((stats.dropped, stats.discarded, stats.waiting), (0, 0, 0), "{stats:?}");
    stats
}

/// Reads a storm of `count` in a task of `runtime`, to the end of its sender.
fn read_storm(
    runtime: &Runtime,
    stream: SignalStream,
    count: u64,
    units: u32,
) -> SubscriptionStats {
    runtime.block_on(async {
        let reader = tokio::spawn(read(stream, count, units));
        let mut sender = Storm::here(rt(), count).start();
        let stats = reader.await.expect("in order");
        assert!(sender.wait().success());
        stats
    })
}

/// Issue, line 1: one stream, in a task of a current-thread runtime, which is the receiver too.
fn one_stream() {
    read_storm(&current(), stream(), quick(100_000), 0);
}

/// Issue, line 1: one stream, in a task of a multi-thread runtime with shielded workers.
fn one_stream_on_workers() {
    read_storm(&shielded(), stream(), quick(100_000), 0);
}

/// Reads the storm in four tasks of `runtime` with four streams of their own. The last is slow: the
/// others see all although it holds the signal back again and again.
fn read_four(runtime: &Runtime) {
    runtime.block_on(async {
        let count = quick(100_000);
        let read = |slow| tokio::spawn(read(stream(), count, slow));
        let readers = [read(0), read(0), read(0), read(2)];
        let mut sender = Storm::here(rt(), count).start();
        for reader in readers {
            reader.await.expect("in order");
        }
        assert!(sender.wait().success());
    });
}

/// Issue, line 1: four streams at once, in one runtime of one thread.
fn four_streams() {
    read_four(&current());
}

/// Issue, line 1: four streams at once, over the workers of one runtime.
fn four_streams_on_workers() {
    read_four(&shielded());
}

/// Issue, line 1: streams on two runtimes: a current-thread one on the main thread, which receives, and
/// `other` on a shielded thread. Two streams in each.
fn read_on_two(other: fn() -> Runtime) {
    let count = quick(100_000);
    let two_readers = move || [stream(), stream()].map(|s| tokio::spawn(read(s, count, 0)));
    let (ready, wait) = mpsc::channel();
    let elsewhere = std::thread::spawn(move || {
        sigplane::thread::shield();
        other().block_on(async {
            let readers = two_readers();
            ready.send(()).expect("the main thread waits");
            for reader in readers {
                reader.await.expect("in order");
            }
        });
    });
    wait.recv().expect("it starts");
    current().block_on(async {
        let readers = two_readers();
        let mut sender = Storm::here(rt(), count).start();
        for reader in readers {
            reader.await.expect("in order");
        }
        assert!(sender.wait().success());
    });
    elsewhere.join().expect("in order there");
}

fn two_current_threads() {
    read_on_two(current);
}

fn current_thread_and_workers() {
    read_on_two(shielded);
}

/// A queue of one place: every event holds the signal until it has been read. What a deferral has stored
/// comes on top of it.
fn capacity_of_one() {
    for runtime in [current(), shielded()] {
        let stream = builder().capacity(1).stream().expect("subscribed");
        let stats = read_storm(&runtime, stream, quick(20_000), 0);
        assert!(stats.deepest <= 1 + RESERVE, "{stats:?}");
    }
}

/// A consumer slower than the sender: the queue fills, and the kernel's too.
fn slow_consumer() {
    for runtime in [current(), shielded()] {
        let stats = read_storm(&runtime, stream(), quick(20_000), 20);
        let depths = DEFAULT_CAPACITY..=DEFAULT_CAPACITY + RESERVE;
        assert!(depths.contains(&stats.deepest), "full, and held back in time: {stats:?}");
    }
}

/// Without a shield every worker receives too: every value exactly once, and in the order in which each
/// thread received them. In two streams, whose views of a thread must agree.
fn workers_that_receive() {
    async fn read(mut stream: SignalStream, count: u64) -> BTreeMap<i32, Vec<u64>> {
        let mut seen = HashSet::new();
        let mut threads = BTreeMap::<i32, Vec<u64>>::new();
        while (seen.len() as u64) < count {
            let event: Event = stream.recv().await;
            assert!(seen.insert(value(&event)), "{event} came twice");
            let of_thread = threads.entry(event.thread()).or_default();
            assert!(of_thread.last() < Some(&value(&event)), "{of_thread:?} before {event}");
            of_thread.push(value(&event));
        }
        assert!(stream.try_recv().is_none(), "nothing twice");
        let stats = stream.stats();
        assert_eq!((stats.queued, stats.taken), (count as usize, count as usize), "{stats:?}");
        assert_eq!((stats.dropped, stats.discarded), (0, 0), "{stats:?}");
        threads
    }
    let count = quick(100_000);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(3).enable_all().build().expect("a runtime");
    let [left, right] = runtime.block_on(async {
        let readers = [stream(), stream()].map(|stream| tokio::spawn(read(stream, count)));
        let mut sender = Storm::here(rt(), count).start();
        let [left, right] = readers;
        let both = [left.await.expect("exactly once"), right.await.expect("exactly once")];
        assert!(sender.wait().success());
        both
    });
    assert!(left.len() > 1, "only one thread ever received");
    assert_eq!(left, right);
    assert_eq!(sigplane::table().row(rt()).expect("it is listed").lost, 0);
}

fn main() {
    Suite {
        tests: &[
            ("one_stream", one_stream),
            ("one_stream_on_workers", one_stream_on_workers),
            ("four_streams", four_streams),
            ("four_streams_on_workers", four_streams_on_workers),
            ("two_current_threads", two_current_threads),
            ("current_thread_and_workers", current_thread_and_workers),
            ("capacity_of_one", capacity_of_one),
            ("slow_consumer", slow_consumer),
            ("workers_that_receive", workers_that_receive),
            ("drops_in_the_receiver", cancel::drops_in_the_receiver),
            ("drops_on_workers", cancel::drops_on_workers),
            ("the_last_waker_is_woken", cancel::the_last_waker_is_woken),
            ("a_backlog_starves_nobody", cancel::a_backlog_starves_nobody),
            ("the_last_drop_gives_back", cancel::the_last_drop_gives_back),
            ("through_runtimes_that_end", moves::through_runtimes_that_end),
            ("through_runtimes_that_live", moves::through_runtimes_that_live),
            ("from_task_to_task", moves::from_task_to_task),
            ("another_executor", moves::another_executor),
            ("made_outside_any_runtime", moves::made_outside_any_runtime),
            ("no_runtime_panics", moves::no_runtime_panics),
            ("no_driver_panics", moves::no_driver_panics),
            ("a_runtime_shut_down_panics", moves::a_runtime_shut_down_panics),
            ("out_of_descriptors", moves::out_of_descriptors),
            ("calls_of_a_receiving_runtime", calls::of_a_receiving_runtime),
            ("calls_of_a_shielded_runtime", calls::of_a_shielded_runtime),
        ],
        victims: &[
            ("sender", sender),
            ("gives_back", cancel::gives_back),
            ("receiving", calls::receiving),
            ("shielded", calls::shielded),
        ],
    }
    .main()
}
