//! fork: the child's runtime gets the child's own signals only, from streams made before and after the
//! fork; the parent loses none of its own, whatever the child does with what it has inherited.
//!
//! Issue "Async", what must be shown, 5. A child never returns into the harness, and never drops a
//! runtime that was copied: its threads are gone.

use futures::future::join_all;
use sigplane::Signal;
use sigplane::send::{self, Value};
use sigplane_async::SignalStream;
use sigplane_tests::raw::action;
use sigplane_tests::{Dice, InOrder, Storm, Suite, eventually, mask, quick, sender, value};
use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::yield_now;

/// The values that a child sends itself begin here: those of a storm are smaller.
const OWN: u64 = 1_000_000;

fn rt() -> Signal {
    Signal::rt(2).expect("a real-time signal")
}

fn stream() -> SignalStream {
    sigplane_async::signal(rt()).expect("subscribed")
}

// Without tokio::signal's driver, whose pipe a child would share with its parent.
fn current() -> Runtime {
    Builder::new_current_thread().enable_io().enable_time().build().expect("a runtime")
}

fn shielded() -> Runtime {
    let mut runtime = Builder::new_multi_thread();
    runtime.worker_threads(2).on_thread_start(sigplane::thread::shield);
    sigplane::thread::shielded(|| runtime.enable_io().enable_time().build().expect("a runtime"))
}

/// Forks; the child runs `body` and ends, with status 0 if it got through.
fn fork(body: impl FnOnce()) -> i32 {
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        0 => {
            unsafe { libc::alarm(60) }; // A child that hangs is killed by SIGALRM.
            let failed = catch_unwind(AssertUnwindSafe(body)).is_err();
            unsafe { libc::_exit(i32::from(failed)) }
        }
        child => child,
    }
}

/// Whether a child has ended; if so, it has ended well.
fn has_ended(child: i32) -> bool {
    let mut status = 0;
    match unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } {
        0 => false,
        -1 => panic!("waitpid: {}", std::io::Error::last_os_error()),
        _ => {
            assert_eq!(status, 0, "the child failed; its message is above");
            true
        }
    }
}

/// Sends the calling process a value.
fn tell_myself(value: u64) {
    let value = Value::from_int(value as i32);
    while let Err(error) = send::to_process_with(std::process::id() as i32, rt(), value) {
        // A storm on the parent fills a queue that is the user's, and so the child's too.
        assert!(error.is_retryable(), "{error}");
        std::thread::yield_now();
    }
}

/// What a child's runtime is to show: every stream gets the signals that the child sends itself, in
/// order, and no others; those that wait already, and those that have to wake it.
async fn gets_its_own(mut streams: Vec<SignalStream>) {
    for _ in 0..3 {
        (OWN..OWN + 3).for_each(tell_myself);
        for stream in &mut streams {
            for expected in OWN..OWN + 3 {
                assert_eq!(value(&stream.recv().await), expected, "an event of the parent");
            }
        }
        for expected in OWN + 3..OWN + 6 {
            let all = join_all(streams.iter_mut().map(SignalStream::recv));
            let last = async {
                yield_now().await; // The readers have begun to wait.
                tell_myself(expected);
            };
            for event in tokio::join!(all, last).0 {
                assert_eq!(value(&event), expected, "an event of the parent");
            }
        }
    }
    assert!(streams.iter_mut().all(|stream| stream.try_recv().is_none()), "an event of the parent");
}

/// The whole of a child: a runtime of its own, with the inherited streams and a fresh one.
fn child(runtime: Runtime, mut streams: Vec<SignalStream>) {
    streams.push(stream());
    runtime.block_on(async { tokio::spawn(gets_its_own(streams)).await.expect("its own") });
}

/// One of both kinds of runtime, in turn.
fn either(round: u64) -> Runtime {
    if round.is_multiple_of(2) { current() } else { shielded() }
}

/// How many values one storm has.
const STORM: u64 = 20_000;

/// Storms until `forks` forks have been made in the middle of them. `one` is called for each: it reads
/// some, forks, and says how much it has read by the child's end. That is bounded, so that a full queue
/// holds the signal back, and does not stop, so that the kernel's queue, which the child shares as
/// the same user's, has room at some time.
fn storms(forks: u64, mut one: impl FnMut(u64, &mut InOrder)) -> u64 {
    let (mut forked, mut storms) = (0, 0);
    while forked < forks {
        let mut sender = Storm { gap: 300, ..Storm::here(rt(), STORM) }.start();
        let mut order = InOrder::of(rt());
        while order.seen() < STORM {
            one(forked, &mut order);
            forked += 1;
        }
        assert!(sender.wait().success());
        storms += 1;
    }
    println!("{forked} forks in {storms} storms");
    storms
}

/// Issue, line 5: fork from the main thread, which receives and holds one stream, while a reader in
/// another thread's runtime awaits a second one. The child uses the first one and a fresh one.
fn under_load() {
    let (ready, wait) = mpsc::channel();
    let (stop, mut stopped) = oneshot::channel::<()>();
    let reader = std::thread::spawn(move || {
        sigplane::thread::shield();
        shielded().block_on(async {
            let (mut stream, mut order, mut storms) = (stream(), InOrder::of(rt()), 0);
            ready.send(()).expect("the main thread waits");
            loop {
                tokio::select! {
                    biased;
                    event = stream.recv() => order.see(&event),
                    _ = &mut stopped => return (storms, order.seen()),
                }
                if order.seen() == STORM {
                    (order, storms) = (InOrder::of(rt()), storms + 1);
                }
            }
        })
    });
    wait.recv().expect("it starts");
    let runtime = current();
    // An option, because the child takes its copy apart.
    let mut inherited = Some(stream());
    let mut dice = Dice::new();
    let storms = storms(quick(200), |round, order| {
        let stream = inherited.as_mut().expect("only a child takes it");
        runtime.block_on(async {
            // The rest of a storm may be less than this.
            for _ in 0..dice.roll(150).min(STORM - order.seen()) {
                order.see(&stream.recv().await);
            }
        });
        let pid = fork(|| {
            let mut inherited = inherited.take().expect("it is copied");
            match round % 4 {
                0 => drop(inherited),
                1 => assert!(inherited.try_recv().is_none(), "an event of the parent"),
                _ => return child(either(round / 4), vec![inherited]),
            }
            child(either(round / 2), vec![]);
        });
        let stream = inherited.as_mut().expect("only a child takes it");
        while !has_ended(pid) {
            if let Some(event) = stream.try_recv() {
                order.see(&event);
            }
            std::thread::yield_now();
        }
    });
    drop(stop);
    assert_eq!(reader.join().expect("in order"), (storms, 0));
    let stats = inherited.expect("only a child takes it").stats();
    assert_eq!(stats.queued as u64, storms * STORM, "{stats:?}");
    assert_eq!((stats.dropped, stats.waiting), (0, 0), "{stats:?}");
}

/// What an unshielded runtime's reader sees: everything once, in order for each receiving thread.
#[derive(Default)]
struct Once {
    seen: HashSet<u64>,
    last: BTreeMap<i32, u64>,
}

impl Once {
    fn see(&mut self, event: &sigplane::Event) {
        let value = value(event);
        assert!(self.seen.insert(value), "{event} came twice");
        let before = self.last.insert(event.thread(), value);
        assert!(before < Some(value), "{before:?} before {event}");
    }

    async fn take(&mut self, stream: &mut SignalStream, count: u64) {
        for _ in 0..count {
            self.see(&stream.recv().await);
        }
    }
}

/// In a worker no other runtime can be entered, not even in the copy of a worker: so the child makes a
/// thread, which alone receives its signals.
fn child_of_a_worker(round: u64, stream: SignalStream) {
    sigplane::thread::shield();
    let only = std::thread::spawn(move || {
        mask::unblock(rt());
        child(either(round), vec![stream]);
    });
    only.join().expect("its own");
}

/// Forks of a runtime's own threads, which receive as well: one thread reads, forks, and hands on.
fn from_a_runtimes_threads() {
    let mut runtime = Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_io().enable_time().build().expect("a runtime");
    let forks = quick(100);
    // Half of the storm is for the time before the forks, the other for that of the children.
    let part = STORM / forks / 2;
    runtime.block_on(async {
        let other = tokio::spawn(async move {
            let (mut stream, mut once) = (stream(), Once::default());
            once.take(&mut stream, STORM).await;
            stream
        });
        let (mut stream, mut once) = (stream(), Once::default());
        let mut sender = Storm { gap: 300, ..Storm::here(rt(), STORM) }.start();
        for round in 0..forks {
            once.take(&mut stream, part).await;
            // A task forks on a worker; a closure on a thread of the blocking pool.
            let mut inherited = Some(stream);
            let (back, pid) = if round.is_multiple_of(2) {
                let task = tokio::spawn(async move {
                    let pid =
                        fork(|| child_of_a_worker(round / 2, inherited.take().expect("here")));
                    (inherited.expect("only the child takes it"), pid)
                });
                task.await.expect("forked")
            } else {
                let task = tokio::task::spawn_blocking(move || {
                    let stream = &mut inherited;
                    let pid = fork(|| {
                        // A thread that the pool started while a full queue held the signal has
                        // inherited the mask (design/limitations.md), and its child with it.
                        mask::unblock(rt());
                        child(either(round / 2), vec![stream.take().expect("here")]);
                    });
                    (inherited.expect("only the child takes it"), pid)
                });
                task.await.expect("forked")
            };
            stream = back;
            while !has_ended(pid) {
                if once.seen.len() as u64 + (forks - round) * part < STORM
                    && let Some(event) = stream.try_recv()
                {
                    once.see(&event);
                }
                yield_now().await;
            }
        }
        once.take(&mut stream, STORM - once.seen.len() as u64).await;
        let mut other = other.await.expect("exactly once");
        assert!(sender.wait().success());
        assert!(stream.try_recv().is_none() && other.try_recv().is_none(), "nothing twice");
        assert_eq!((stream.stats().dropped, other.stats().dropped), (0, 0));
    });
}

/// The parent's reactors, of both kinds, still wake its readers after children have dropped, ended or
/// moved to their own runtimes what those reactors have registered; and in the child the last drop
/// gives the signal back.
fn what_a_child_drops() {
    let (here, workers) = (current(), shielded());
    let poll = |runtime: &Runtime, stream: &mut SignalStream| {
        let _entered = runtime.enter();
        assert!(stream.poll_recv(&mut Context::from_waker(Waker::noop())).is_pending());
    };
    let mut streams = [stream(), stream()].map(Some);
    for round in 0..quick(60) {
        let [one, two] = &mut streams;
        poll(&here, one.as_mut().expect("only a child takes it"));
        poll(&workers, two.as_mut().expect("only a child takes it"));
        let pid = fork(|| {
            let both = streams.each_mut().map(|stream| stream.take().expect("it is copied"));
            match round % 4 {
                0 => drop(both),
                1 => both.into_iter().for_each(|stream| {
                    assert_eq!(stream.unsubscribe(), sigplane::Removal::Restored);
                }),
                _ => child(either(round / 4), both.into()),
            }
            assert_eq!(action(rt().number()).handler, libc::SIG_DFL, "it was given back");
        });
        eventually("the end of the child", || has_ended(pid));
        let [one, two] =
            streams.each_mut().map(|stream| stream.as_mut().expect("only a child takes it"));
        let waits = here.block_on(async { tokio::join!(one.recv(), sending(round)).0 });
        assert_eq!(value(&waits), round);
        assert_eq!(value(&workers.block_on(two.recv())), round);
        let waits = workers.block_on(async { tokio::join!(two.recv(), sending(round)).0 });
        assert_eq!(value(&waits), round);
        assert_eq!(value(&here.block_on(one.recv())), round);
    }
}

/// Sends when the others of a `join!` have begun to wait.
async fn sending(value: u64) {
    yield_now().await;
    tell_myself(value);
}

/// Children of children, each with the stream that came all the way down, used in each runtime on it.
fn generations() {
    fn go_on(mut stream: Option<SignalStream>, left: u64) {
        let runtime = either(left);
        for value in 0..3 {
            let stream = stream.as_mut().expect("only a child takes it");
            assert_eq!(
                self::value(
                    &runtime.block_on(async { tokio::join!(stream.recv(), sending(value)).0 })
                ),
                value
            );
        }
        if left == 0 {
            return drop(runtime);
        }
        let pid = fork(|| go_on(stream.take(), left - 1));
        tell_myself(100);
        eventually("the end of the child", || has_ended(pid));
        let stream = &mut stream.expect("only a child takes it");
        assert_eq!(value(&runtime.block_on(stream.recv())), 100);
        assert!(stream.try_recv().is_none(), "an event of the child");
    }
    go_on(Some(stream()), 6);
}

/// Outside of a runtime of its own a child cannot wait on what it has inherited: nothing would ever wake
/// it. It panics, as documented, and then goes on in its own runtime.
fn a_child_without_a_runtime_panics() {
    let runtime = shielded();
    let mut inherited = Some(runtime.block_on(async { stream() }));
    let pid = fork(|| {
        let mut stream = inherited.take().expect("it is copied");
        let waits = catch_unwind(AssertUnwindSafe(|| {
            stream.poll_recv(&mut Context::from_waker(Waker::noop()))
        }));
        assert!(!matches!(waits, Ok(Poll::Pending)), "it would wait for ever");
        assert!(waits.is_err(), "there is no event");
        child(current(), vec![stream]);
    });
    eventually("the end of the child", || has_ended(pid));
    let stream = inherited.as_mut().expect("only a child takes it");
    tell_myself(1);
    assert_eq!(value(&runtime.block_on(stream.recv())), 1);
}

fn main() {
    Suite {
        tests: &[
            ("under_load", under_load),
            ("from_a_runtimes_threads", from_a_runtimes_threads),
            ("what_a_child_drops", what_a_child_drops),
            ("generations", generations),
            ("a_child_without_a_runtime_panics", a_child_without_a_runtime_panics),
        ],
        victims: &[("sender", sender)],
    }
    .main()
}
