//! Programs that shall do the same with `tokio::signal` and with the module that replaces it: what tokio
//! tests of its signals. `programs.rs` has what else is relied on.
//!
//! Compiled twice, with another `use` each time. They say nothing that one of the two would have to be
//! asked for: signals are sent by `kill`, and runtimes are built by hand.

#[path = "programs.rs"]
mod programs;
pub use programs::*;

use crate::{Build, current_thread, end_of, multi_thread, panics_in, send, within};
use futures::poll;
use std::pin::pin;
use std::thread;
use tokio::sync::{mpsc, oneshot};

under_test!();
use signal::unix::{Signal, SignalKind, signal};

fn usr1() -> Signal {
    signal(SignalKind::user_defined1()).expect("a listener")
}

fn usr2() -> Signal {
    signal(SignalKind::user_defined2()).expect("a listener")
}

/// tokio's `ctrl_c`: a SIGINT after the first poll completes it.
pub fn ctrl_c(build: Build) {
    build().block_on(async {
        let mut interrupted = pin!(signal::ctrl_c());
        assert!(poll!(interrupted.as_mut()).is_pending(), "nobody has pressed it");
        send(libc::SIGINT);
        within(interrupted).await.expect("it can listen");
    });
}

/// The same, awaited by a task in the background.
pub fn ctrl_c_in_a_task(build: Build) {
    build().block_on(async {
        let (tell, told) = oneshot::channel();
        let task = tokio::spawn(async {
            let mut interrupted = pin!(signal::ctrl_c());
            assert!(poll!(interrupted.as_mut()).is_pending(), "nobody has pressed it");
            tell.send(()).expect("the test waits");
            interrupted.await
        });
        within(told).await.expect("it listens");
        send(libc::SIGINT);
        within(task).await.expect("no panic").expect("it can listen");
    });
}

/// Each call awaits a SIGINT of its own, and two calls share one.
pub fn ctrl_c_again(build: Build) {
    build().block_on(async {
        for _ in 0..3 {
            let (mut first, mut second) = (pin!(signal::ctrl_c()), pin!(signal::ctrl_c()));
            assert!(poll!(first.as_mut()).is_pending(), "the one before has been taken");
            assert!(poll!(second.as_mut()).is_pending(), "the one before has been taken");
            send(libc::SIGINT);
            within(first).await.expect("it can listen");
            within(second).await.expect("it can listen");
        }
    });
}

/// Calling it is not listening: SIGINT kills until it has been polled.
pub fn ctrl_c_listens_when_polled() {
    assert_eq!(end_of(&format!("{SIDE}::unpolled")).signal(), Some(libc::SIGINT));
}

pub fn unpolled() {
    current_thread().block_on(async {
        let _interrupted = signal::ctrl_c();
        send(libc::SIGINT);
    });
}

/// tokio's `signal_usr1`.
pub fn one(build: Build) {
    build().block_on(async {
        let mut listener = usr1();
        send(libc::SIGUSR1);
        assert_eq!(within(listener.recv()).await, Some(()));
    });
}

/// tokio's `twice`.
pub fn twice(build: Build) {
    build().block_on(async {
        let mut listener = usr1();
        for _ in 0..2 {
            send(libc::SIGUSR1);
            assert!(within(listener.recv()).await.is_some());
        }
    });
}

/// tokio's `notify_both`, and a third listener in a task.
pub fn both_are_told(build: Build) {
    build().block_on(async {
        let (mut first, mut second, mut third) = (usr2(), usr2(), usr2());
        let task = tokio::spawn(async move { third.recv().await });
        send(libc::SIGUSR2);
        within(first.recv()).await.expect("the first");
        within(second.recv()).await.expect("the second");
        within(task).await.expect("no panic").expect("the third");
    });
}

/// tokio's `dropping_signal_does_not_deregister_any_other_instances`.
pub fn others_are_dropped(build: Build) {
    build().block_on(async {
        let (older, mut listener, younger) = (usr1(), usr1(), usr1());
        drop((older, younger));
        send(libc::SIGUSR1);
        within(listener.recv()).await.expect("the one that is left");
    });
}

/// What programs may rely on of tokio's `drop_then_get_a_signal`: the last listener is dropped, and the
/// next one works.
pub fn dropped_and_made_anew(build: Build) {
    build().block_on(async {
        for _ in 0..3 {
            drop(usr1());
            let mut listener = usr1();
            send(libc::SIGUSR1);
            within(listener.recv()).await.expect("the new one");
        }
    });
}

/// tokio's `dropping_loops_does_not_cause_starvation`.
pub fn runtime_dropped(build: Build) {
    let (first, second) = (build(), build());
    let mut first_listener = first.block_on(async { usr1() });
    let mut second_listener = second.block_on(async { usr1() });
    send(libc::SIGUSR1);
    first.block_on(async { within(first_listener.recv()).await }).expect("told in the first");
    drop((first, first_listener));
    // One for the signal above, one for this: merged or not, they arrive here.
    second.block_on(async { within(second_listener.recv()).await }).expect("told in the second");
    send(libc::SIGUSR1);
    second.block_on(async { within(second_listener.recv()).await }).expect("told again");
}

/// tokio's `multi_loop`: four runtimes, each on a thread of its own, ten times.
pub fn many_runtimes(build: Build) {
    for _ in 0..10 {
        let (ready, is_ready) = std::sync::mpsc::channel();
        let run = |ready: std::sync::mpsc::Sender<()>| {
            build().block_on(async {
                let mut listener = signal(SignalKind::hangup()).expect("a listener");
                ready.send(()).expect("the test waits");
                within(listener.recv()).await.expect("told");
            });
        };
        thread::scope(|scope| {
            for _ in 0..4 {
                let ready = ready.clone();
                scope.spawn(|| run(ready));
            }
            (0..4).for_each(|_| is_ready.recv().expect("it listens"));
            send(libc::SIGHUP);
        });
    }
}

/// tokio's `signal_realtime`: every one can be listened to, and arrives.
pub fn realtime(build: Build) {
    build().block_on(async {
        let all = || libc::SIGRTMIN()..=libc::SIGRTMAX();
        let mut listeners: Vec<_> =
            all().map(|number| signal(SignalKind::from_raw(number)).expect("a listener")).collect();
        all().for_each(send);
        for (listener, number) in listeners.iter_mut().zip(all()) {
            assert_eq!(within(listener.recv()).await, Some(()), "signal {number}");
        }
    });
}

/// A panic in a task that listens takes its listener with it, and no other.
pub fn a_task_panics(build: Build) {
    build().block_on(async {
        let (tell, mut told) = mpsc::unbounded_channel();
        let mut tasks = Vec::new();
        for number in 0..3 {
            let (mut listener, tell) = (usr1(), tell.clone());
            tasks.push(tokio::spawn(async move {
                loop {
                    listener.recv().await.expect("told");
                    // Resumed, not raised: the report of a panic that is meant to be is noise.
                    if number == 1 {
                        std::panic::resume_unwind(Box::new("the second listener"));
                    }
                    tell.send(number).expect("the test waits");
                }
            }));
        }
        for _ in 0..2 {
            send(libc::SIGUSR1);
            let mut round = [within(told.recv()).await, within(told.recv()).await];
            round.sort_unstable();
            assert_eq!(round, [Some(0), Some(2)]);
        }
        let panicked = within(tasks.remove(1)).await.expect_err("it has panicked");
        assert_eq!(panicked.into_panic().downcast_ref(), Some(&"the second listener"));
    });
}

/// tokio's `signal_panic_caller`: the panic of a runtime that cannot listen is reported at the call.
pub fn panics_at_the_caller() {
    let without_drivers = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let place = panics_in(|| {
        let _guard = without_drivers.enter();
        let _listener = signal(SignalKind::hangup());
    });
    assert_eq!(place.as_deref(), Some(file!()));
}

// What the two sides end differently with: see `differences.rs`.

/// The last listener is dropped, then the signal comes.
pub fn dropped() {
    multi_thread().block_on(async {
        drop(usr1());
        send(libc::SIGUSR1);
    });
}

/// A second Ctrl-C after the first has been taken.
pub fn completed() {
    ctrl_c(current_thread);
    send(libc::SIGINT);
}

/// A Ctrl-C after a `select!` that something else has won.
pub fn lost() {
    current_thread().block_on(async {
        tokio::select! {
            biased;
            _ = signal::ctrl_c() => unreachable!("nobody has pressed it"),
            () = tokio::task::yield_now() => {}
        }
    });
    send(libc::SIGINT);
}
