//! What programs rely on besides what tokio tests: that kinds are told apart, notifications merged, races
//! lost without loss, listeners moved. A part of `scenarios.rs`, and compiled with it.

use super::{Signal, SignalKind, signal, usr1, usr2};
use crate::{Build, current_thread, send, within};
use futures::poll;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use tokio::sync::oneshot;

/// Two kinds are told apart.
pub fn two(build: Build) {
    build().block_on(async {
        let (mut first, mut second) = (usr1(), usr2());
        send(libc::SIGUSR2);
        assert_eq!(within(second.recv()).await, Some(()));
        assert!(poll!(pin!(first.recv())).is_pending(), "nobody has sent it");
        send(libc::SIGUSR1);
        assert_eq!(within(first.recv()).await, Some(()));
    });
}

/// Made in one runtime, awaited in another, while the first lives and after it has been dropped.
pub fn moved_to_another_runtime(build: Build) {
    let (first, second) = (build(), build());
    let mut listener = first.block_on(async { usr1() });
    send(libc::SIGUSR1);
    second.block_on(async { within(listener.recv()).await }).expect("told in the second");
    send(libc::SIGUSR1);
    first.block_on(async { within(listener.recv()).await }).expect("told in the first");
    drop(first);
    send(libc::SIGUSR1);
    second.block_on(async { within(listener.recv()).await }).expect("told in the one that is left");
}

/// Wakes a thread that polls by itself.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polled outside of its runtime, by an executor of the program's, while the runtime runs elsewhere.
pub fn awaited_outside(build: Build) {
    let runtime = build();
    let mut listener = runtime.block_on(async { usr1() });
    let (stop, stopped) = oneshot::channel::<()>();
    let running = thread::spawn(move || runtime.block_on(stopped).expect("stopped by the test"));
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    for _ in 0..3 {
        assert!(listener.poll_recv(&mut cx).is_pending(), "nobody has sent it");
        send(libc::SIGUSR1);
        while listener.poll_recv(&mut cx).is_pending() {
            thread::park();
        }
    }
    stop.send(()).expect("it runs");
    running.join().expect("no panic");
}

/// Signals that nobody has asked about yet are one notification.
pub fn merged() {
    // On one thread: then the runtime cannot pass on the first of them before the third has been sent.
    current_thread().block_on(async {
        let (mut listener, mut end) = (usr1(), usr2());
        (0..3).for_each(|_| send(libc::SIGUSR1));
        within(listener.recv()).await.expect("the three");
        send(libc::SIGUSR2);
        within(end.recv()).await.expect("what was sent after them");
        assert!(poll!(pin!(listener.recv())).is_pending(), "nothing is left of them");
    });
}

/// A `recv` that loses a race takes nothing with it.
pub fn cancelled(build: Build) {
    build().block_on(async {
        let (mut listener, mut other) = (usr1(), usr2());
        for _ in 0..100 {
            assert!(poll!(pin!(listener.recv())).is_pending(), "nobody has sent it");
            [libc::SIGUSR1, libc::SIGUSR2].into_iter().for_each(send);
            // The branches are polled in random order: each is the loser now and then.
            tokio::select! {
                _ = listener.recv() => within(other.recv()).await.expect("the loser, later"),
                _ = other.recv() => within(listener.recv()).await.expect("the loser, later"),
            }
        }
    });
}

struct Next(Signal);

impl Future for Next {
    type Output = Option<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<()>> {
        self.0.poll_recv(cx)
    }
}

/// `poll_recv` in a future of the program's own, which moves from task to task.
pub fn by_hand(build: Build) {
    build().block_on(async {
        let mut next = Next(usr1());
        assert!(poll!(&mut next).is_pending(), "nobody has sent it");
        let task = tokio::spawn(next);
        send(libc::SIGUSR1);
        assert_eq!(within(task).await.expect("no panic"), Some(()));
    });
}

/// What comes while the program is busy with something else is there when it asks.
pub fn while_nobody_awaits(build: Build) {
    build().block_on(async {
        let (mut listener, mut other) = (usr1(), usr2());
        send(libc::SIGUSR1);
        for _ in 0..3 {
            send(libc::SIGUSR2);
            within(other.recv()).await.expect("something else");
        }
        within(listener.recv()).await.expect("it has waited");
    });
}

/// A signal that is ignored, as SIGPIPE is in every Rust program, can be listened to.
pub fn ignored_before(build: Build) {
    build().block_on(async {
        send(libc::SIGPIPE);
        let mut listener = signal(SignalKind::pipe()).expect("a listener");
        send(libc::SIGPIPE);
        within(listener.recv()).await.expect("not ignored");
    });
}

/// SIGCHLD beside `tokio::process`, which listens to it too: both see the child's end.
pub fn children(build: Build) {
    build().block_on(async {
        for _ in 0..3 {
            let before = tokio::process::Command::new("true").spawn();
            let mut listener = signal(SignalKind::child()).expect("a listener");
            let after = tokio::process::Command::new("true").spawn();
            within(listener.recv()).await.expect("told");
            for child in [before, after] {
                let status = within(child.expect("started").wait()).await.expect("waited for");
                assert!(status.success());
            }
        }
    });
}

/// The kinds are the system's numbers.
pub fn kinds() {
    for (kind, number) in [
        (SignalKind::alarm(), libc::SIGALRM),
        (SignalKind::child(), libc::SIGCHLD),
        (SignalKind::hangup(), libc::SIGHUP),
        (SignalKind::interrupt(), libc::SIGINT),
        (SignalKind::io(), libc::SIGIO),
        (SignalKind::pipe(), libc::SIGPIPE),
        (SignalKind::quit(), libc::SIGQUIT),
        (SignalKind::terminate(), libc::SIGTERM),
        (SignalKind::user_defined1(), libc::SIGUSR1),
        (SignalKind::user_defined2(), libc::SIGUSR2),
        (SignalKind::window_change(), libc::SIGWINCH),
        (SignalKind::from_raw(-1), -1),
    ] {
        assert_eq!((kind.as_raw_value(), i32::from(kind)), (number, number));
        assert_eq!((SignalKind::from(number), SignalKind::from_raw(number)), (kind, kind));
        assert_eq!(format!("{kind:?}"), format!("SignalKind({number})"));
    }
}
