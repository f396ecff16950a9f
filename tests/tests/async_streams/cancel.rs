//! What a future that is dropped before it is done leaves behind: nothing. And what a stream does to
//! other tasks, wakers, and the kernel's action.
//!
//! Issue "Async", what must be shown, 4, and "dropping the last stream gives the signal back".

use super::{current, rt, shielded, stream, work};
use futures::{StreamExt, poll};
use sigplane::send::{self, Value};
use sigplane::{Event, Signal};
use sigplane_async::SignalStream;
use sigplane_tests::raw::action;
use sigplane_tests::{Dice, InOrder, Running, Storm, eventually, quick, victim};
use std::future::{poll_fn, ready};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use tokio::task::yield_now;

/// Begins to receive in one of many ways, and most often leaves off. An event that it got is returned.
async fn attempt(stream: &mut SignalStream, dice: &mut Dice) -> Option<Event> {
    match dice.roll(512) {
        // Limits of a microsecond, which a timer makes a millisecond.
        0 => return tokio::time::timeout(Duration::from_micros(1), stream.recv()).await.ok(),
        1..8 => {
            return tokio::select! {
                event = stream.recv() => Some(event),
                _ = tokio::spawn(ready(())) => None,
            };
        }
        _ => {}
    }
    match dice.roll(8) {
        // Never polled.
        0 => {
            drop(stream.recv());
            None
        }
        // Polled once, Pending most often, and so with a waker left in the reactor.
        1 => match poll!(pin!(stream.recv())) {
            Poll::Ready(event) => Some(event),
            Poll::Pending => None,
        },
        2 => match poll!(stream.next()) {
            Poll::Ready(event) => event,
            Poll::Pending => None,
        },
        3 => match poll_fn(|cx| Poll::Ready(stream.poll_recv(cx))).await {
            Poll::Ready(event) => Some(event),
            Poll::Pending => None,
        },
        // With the waker of nobody, which must not stay the last one.
        4 => match stream.poll_recv(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(event) => Some(event),
            Poll::Pending => None,
        },
        // Raced, asked first or second, by chance.
        5 => tokio::select! {
            event = stream.recv() => Some(event),
            () = ready(()) => None,
        },
        6 => tokio::select! {
            event = stream.recv() => Some(event),
            () = yield_now() => None,
        },
        // Polled many times.
        _ => {
            let mut next: Pin<&mut _> = pin!(stream.recv());
            for _ in 0..dice.roll(6) {
                if let Poll::Ready(event) = poll!(next.as_mut()) {
                    return Some(event);
                }
                work(1);
                if dice.roll(4) == 0 {
                    yield_now().await;
                }
            }
            None
        }
    }
}

/// Drops futures until half a million have been dropped, in storms as long as it takes. Now and then one
/// is awaited to its end: an edge that a dropped one took with it would make that last for ever.
async fn drop_at_random() {
    const STORM: u64 = 5_000;
    let (mut stream, mut dice, mut dropped) = (stream(), Dice::new(), 0);
    let mut storms = 0;
    while dropped < quick(500_000) {
        let mut sender = Storm { gap: 2_000, ..Storm::here(rt(), STORM) }.start();
        let mut order = InOrder::of(rt());
        while order.seen() < STORM {
            let event = match dice.roll(64) {
                0 => Some(stream.recv().await),
                _ => attempt(&mut stream, &mut dice).await,
            };
            match event {
                Some(event) => order.see(&event),
                None => dropped += 1,
            }
        }
        assert!(sender.wait().success());
        assert!(stream.try_recv().is_none(), "nothing twice");
        storms += 1;
    }
    let stats = stream.stats();
    assert_eq!(stats.taken as u64, storms * STORM, "{stats:?}");
    assert_eq!((stats.dropped, stats.waiting), (0, 0), "{stats:?}");
    println!("{dropped} futures dropped in {storms} storms");
}

/// Issue, line 4, half of the million: in the thread that the signals interrupt.
pub fn drops_in_the_receiver() {
    current().block_on(drop_at_random());
}

/// Issue, line 4, the other half: in a worker, while another thread receives.
pub fn drops_on_workers() {
    shielded().block_on(async { tokio::spawn(drop_at_random()).await.expect("in order") });
}

/// Counts how often it is woken.
struct Bell(AtomicU64);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Of all that have polled, the last is woken, once per edge, and nobody else.
pub fn the_last_waker_is_woken() {
    let runtime = shielded();
    let _entered = runtime.enter();
    let (mut stream, mut dice) = (stream(), Dice::new());
    let bells = [(); 3].map(|()| Arc::new(Bell(AtomicU64::new(0))));
    let mut expected = [0; 3];
    for round in 0..quick(5_000) as i32 {
        let mut last = 0;
        for _ in 0..=dice.roll(4) {
            last = dice.roll(3) as usize;
            let waker = Waker::from(Arc::clone(&bells[last]));
            assert!(stream.poll_recv(&mut Context::from_waker(&waker)).is_pending());
        }
        send::raise_with(rt(), Value::from_int(round)).expect("there is room");
        expected[last] += 1;
        eventually("the wake", || bells[last].0.load(Ordering::SeqCst) == expected[last]);
        let Poll::Ready(event) = stream.poll_recv(&mut Context::from_waker(Waker::noop())) else {
            panic!("woken for nothing in round {round}");
        };
        assert_eq!(event.value(), Some(Value::from_int(round)));
    }
    assert_eq!(bells.map(|bell| bell.0.load(Ordering::SeqCst)), expected);
}

/// A stream that always has another event lets the other tasks of its thread have their turns.
pub fn a_backlog_starves_nobody() {
    let count = quick(20_000);
    let turns = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&turns);
    current().block_on(async {
        let other = tokio::spawn(async move {
            loop {
                counted.fetch_add(1, Ordering::Relaxed);
                yield_now().await;
            }
        });
        let endless = tokio::spawn(async move {
            let mut stream = stream();
            send::raise(rt()).expect("there is room");
            for round in 0..count {
                let event = if round.is_multiple_of(2) {
                    Some(stream.recv().await)
                } else {
                    stream.next().await
                };
                assert!(event.is_some(), "it never ends");
                send::raise(rt()).expect("there is room"); // Delivered at once: the next one waits.
            }
        });
        endless.await.expect("it ends");
        other.abort();
    });
    let turns = turns.load(Ordering::Relaxed);
    // The runtime's budget is 128 at present.
    assert!(turns >= count / 1_000, "{turns} turns in {count} events");
}

/// The victim: several listeners on SIGTERM, of which one is left at the end.
pub fn gives_back() {
    let before = action(libc::SIGTERM);
    current().block_on(async {
        let mut streams: Vec<_> =
            (0..3).map(|_| sigplane_async::signal(Signal::TERM).expect("subscribed")).collect();
        let first = sigplane_async::terminate();
        send::raise(Signal::TERM).expect("sent");
        assert_eq!(first.await.expect("subscribed").signal(), Signal::TERM);
        while let Some(mut stream) = streams.pop() {
            assert_eq!(stream.recv().await.signal(), Signal::TERM);
            if !streams.is_empty() {
                drop(stream);
                send::raise(Signal::TERM).expect("sent"); // It does not kill yet.
                for stream in &mut streams {
                    assert_eq!(stream.recv().await.signal(), Signal::TERM);
                }
                send::raise(Signal::TERM).expect("sent");
            }
        }
        assert_eq!(action(libc::SIGTERM), before);
        // And once more: a stream that was never polled, and a future that has completed.
        drop(sigplane_async::signal(Signal::TERM));
        let first = sigplane_async::terminate();
        send::raise(Signal::TERM).expect("sent");
        assert!(first.await.is_ok());
        assert_eq!(action(libc::SIGTERM), before);
    });
    println!("ready");
    std::io::stdin().lines().for_each(drop);
}

/// With the last stream SIGTERM is given back: the next one kills.
pub fn the_last_drop_gives_back() {
    let mut running = Running::start(victim("gives_back"));
    running.expect("ready");
    send::to_process(running.pid(), Signal::TERM).expect("it lives");
    assert_eq!(running.wait().signal(), Some(libc::SIGTERM));
}
